"""What /var/runtime/bootstrap.py is on Lambda: compose ``sys.path``, then serve invocations with awslambdaric.

Runs as ``python -S $LAMBDA_RUNTIME_DIR/bootstrap.py OPT HANDLER``, as a copy outside of this package. ``-S`` keeps out
this machine's site-packages, and with them this package's own source.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def search_path(task_root: str, opt: str, runtime: str) -> list[str]:
    """Return the head of ``sys.path`` in the managed runtime's order: function, layers, runtime.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/python-package.html
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return [task_root, f"{opt}/python/lib/python{version}/site-packages", f"{opt}/python", runtime]


def main(arguments: Sequence[str]) -> None:
    """Serve invocations until the emulator ends this process."""
    script, opt, handler = arguments
    # The first entry is the script's own folder, the runtime's.
    sys.path[:1] = search_path(os.environ["LAMBDA_TASK_ROOT"], opt, os.path.dirname(script))  # noqa: PTH120
    from awslambdaric.__main__ import main as serve  # noqa: PLC0415 - found only now

    serve([script, handler])


if __name__ == "__main__":
    main(sys.argv)
