"""The duration of a cold start, as this process can measure it: from its own start until now.

The exec wrapper, the resolver and the runtime are one process, which becomes the next of them by ``exec``. So its start
is that of the wrapper.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lambda_tasks import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

# Behind the program's name, which may hold anything: field 22 of all, in ticks since the system's start.
# https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
_START_TIME = 19


def init_ms(environ: Mapping[str, str]) -> float | None:
    """Return the milliseconds since this process began.

    None where it is no cold start: of a snapshot, and of a runtime that was started anew after a stuck task.
    """
    if settings.is_snap_start(environ) or environ.get(settings.RESTARTED):
        return None
    try:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        began = int(fields[_START_TIME]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, round((time.clock_gettime(time.CLOCK_BOOTTIME) - began) * 1000, 3))
    except (OSError, ValueError, IndexError):  # no such system: nobody misses the metric
        return None
