"""A task that waits for the test to say how it ends."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field

from lambda_tasks import task


@dataclass
class Control:
    """The control of a test over the task of one thread: it learns the start, and says how the task ends."""

    events: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    orders: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)


controls: dict[str, Control] = {}


@task(retry_on=(ConnectionError,), max_retries=1000)
def controlled() -> None:
    control = controls[threading.current_thread().name]
    control.events.put("started")
    how = control.orders.get()
    if how == "retry":
        raise ConnectionError("again")
    if how == "fail":
        raise ValueError("no")
