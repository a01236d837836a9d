"""The progress of a message, as its record tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lambda_tasks.workflow import marks

if TYPE_CHECKING:
    from lambda_tasks.workflow.marks import Loop


class Progress(msgspec.Struct, frozen=True):
    """How far a message has come: `done` of `total`, which is None where nobody knows it, in the loop `name`.

    `rate` is the number of items a second, of the time that was spent on them, and `seconds_left` how long the others
    take at that rate; both are None until something is known. Without a loop `done` counts the steps, and `name` is
    that of the last one.
    """

    name: str
    done: int
    total: int | None = None
    rate: float | None = None
    seconds_left: float | None = None

    @property
    def part(self) -> float | None:
        """The part that is done, from 0 to 1; None where the total is not known."""
        return None if self.total is None else min(1.0, self.done / self.total) if self.total else 1.0


def of_text(steps: str | None) -> Progress | None:
    """Return the progress that the text in a record tells; None where there are no steps.

    It is that of the loop that goes on, the outermost one, else of the last one that is over.
    """
    if not steps:
        return None
    told = marks.read(steps)
    found = _shown(told.loops)
    if found is not None:
        return _of_loop(found, told.loops[found])
    return Progress(told.latest, told.finished) if told.finished else None


def _shown(loops: dict[str, Loop]) -> str | None:
    going_on = [name for name, one in loops.items() if not one.is_over]
    outermost = [name for name in going_on if loops[name].is_top]
    return next(iter(outermost[-1:] or going_on[:1] or list(loops)[-1:]), None)


def _of_loop(name: str, loop: Loop) -> Progress:
    total = loop.done if loop.is_over else loop.total
    rate = loop.done / loop.spent if loop.done and loop.spent > 0 else None
    left = None
    if loop.is_over:
        left = 0.0
    elif rate is not None and total is not None:
        left = max(0, total - loop.done) / rate
    return Progress(name, loop.done, total, rate, left)
