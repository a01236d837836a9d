"""``lambda-tasks``, also as ``python -m lambda_tasks``."""

from __future__ import annotations

import sys
from importlib import metadata


def main() -> None:
    """Run the command line; say what to install where its libraries are missing. The version takes none of them."""
    if sys.argv[1:] == ["--version"]:
        print(f"lambda-tasks, version {metadata.version('lambda-tasks')}")  # noqa: T201
        return
    try:
        from lambda_tasks.command_line.app import run  # noqa: PLC0415 - it may not be installed
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "lambda_tasks":
            raise
        print(f"lambda-tasks: {error.name} is not installed: pip install 'lambda-tasks[cli]'", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
