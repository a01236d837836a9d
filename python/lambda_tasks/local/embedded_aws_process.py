"""The process that `embedded_aws` starts: moto's server on a loopback port, until standard input ends.

Standard input is a pipe from the process that started this one, so it ends with that process, however that ends.
"""

from __future__ import annotations

import sys
from typing import TextIO

from moto.server import ThreadedMotoServer


def main(stdin: TextIO, stdout: TextIO, port: int = 0) -> None:
    """Print the server's address as one line, then serve until `stdin` ends; `port` 0 is a free one."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", file=stdout, flush=True)
    stdin.read()  # the server's thread is a daemon and ends with the process; stopping it in order takes half a second


if __name__ == "__main__":
    main(sys.stdin, sys.stdout, int(sys.argv[1]))
