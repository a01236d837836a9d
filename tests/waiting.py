"""Wait for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable

_PAUSE_SECONDS = 0.05


def wait_until(holds: Callable[[], object], seconds: float) -> None:
    """Wait until `holds` says so, for at most so long."""
    ends_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends_at
        time.sleep(_PAUSE_SECONDS)
