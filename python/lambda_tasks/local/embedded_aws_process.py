"""The process that `embedded_aws` starts: moto's server on a loopback port, until standard input ends.

Standard input is a pipe from the process that started this one, so it ends with that process, however that ends.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, TextIO

from moto.moto_server import threaded_moto_server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import ThreadedMotoServer


class Application(DomainDispatcherApplication):
    """moto's services, with DynamoDB's requests one after the other.

    moto looks at a condition, and then writes: between the two, another thread's write of the same item would pass.
    """

    _dynamodb = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:  # noqa: ANN401 - as WSGI has it
        """Answer one request."""
        if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB_"):
            return super().__call__(environ, start_response)
        with self._dynamodb:
            return super().__call__(environ, start_response)


def main(stdin: TextIO, stdout: TextIO, port: int = 0) -> None:
    """Print the server's address as one line, then serve until `stdin` ends; `port` 0 is a free one."""
    threaded_moto_server.DomainDispatcherApplication = Application  # type: ignore[attr-defined] # imported there
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", file=stdout, flush=True)
    stdin.read()  # the server's thread is a daemon and ends with the process; stopping it in order takes half a second


if __name__ == "__main__":
    main(sys.stdin, sys.stdout, int(sys.argv[1]))
