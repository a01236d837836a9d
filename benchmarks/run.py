"""Measure what the project promises: ``python -m benchmarks.run [GROUP...]``.

Each figure is a ratio of medians, all sides measured in turn in one run. The exit status is 1 where one is above its
limit.
"""

from __future__ import annotations

import importlib
import importlib.util
import platform
import sys
from collections.abc import Sequence

from benchmarks.measure import Figure

GROUPS = ("resolver", "dispatcher", "state", "producers", "consumers", "celery_sqs", "django", "cold_start")


def main(groups: Sequence[str]) -> int:
    """Measure the named groups, or all of them, and print a table."""
    print(f"Python {platform.python_version()}, {platform.machine()}, {platform.system()} {platform.release()}")
    all_hold = True
    for group in groups or [name for name in GROUPS if importlib.util.find_spec(f"benchmarks.{name}")]:
        print(f"\n{group}")
        found: list[Figure] = importlib.import_module(f"benchmarks.{group}").figures()
        for figure in found:
            verdict = "" if figure.holds else "  ABOVE ITS LIMIT"
            print(f"  {figure.name:<50} {figure.ratio:6.3f}  at most {figure.limit:<5} ({figure.detail}){verdict}")
        all_hold &= all(figure.holds for figure in found)
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
