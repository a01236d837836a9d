"""The interrupter of the thread that asks for one: by signal in the main thread, in any other by its timer."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from lambda_tasks.limits.signal_interrupter import SignalInterrupter

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_tasks.limits.signal_interrupter import Interrupter
    from lambda_tasks.limits.timer import Timer


def of_this_thread(timer: Callable[[], Timer], grace_seconds: float) -> contextlib.closing[Interrupter]:
    """Give what raises limits in this thread, for a ``with`` statement. In the main one it borrows the alarm signal."""
    if threading.current_thread() is threading.main_thread():
        return contextlib.closing(SignalInterrupter(grace_seconds))
    from lambda_tasks.limits.thread_interrupter import ThreadInterrupter  # noqa: PLC0415 - ctypes, rarely needed

    return contextlib.closing(ThreadInterrupter(timer()))
