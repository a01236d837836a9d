"""The history of a message: its last executions, each as one short text in its item.

An entry is a JSON array, because every kilobyte of an item is another unit of each write. The start of an execution
adds an entry. Its end completes that entry, in the writes that these are anyway. One that stays without an end is of an
execution that runs, or that crashed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lambda_tasks.state.record import PastAttempt, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambda_tasks.state.record import Ending

MAX_ATTEMPTS = 10
MAX_MESSAGE_BYTES = 256  # of each error; the last one is in the record whole

_DECODER = msgspec.json.Decoder(PastAttempt)


def begun(started_at: float, request_id: str) -> str:
    """Return the entry of an execution that starts."""
    return _entry(PastAttempt(round(started_at, 3), request_id))


def ended(earlier: Sequence[str], ending: Ending, ended_at: float, *, has_run: bool) -> list[str]:
    """Return the last entries of a message after an attempt: the last of `earlier`, which it began, is complete now.

    An attempt whose task was not called is no execution, and leaves no entry.
    """
    *others, own = earlier
    if has_run:
        attempt = msgspec.structs.replace(
            _DECODER.decode(own),
            ended_at=round(ended_at, 3),
            outcome=ending.status.value,
            error_type=ending.error_type,
            error_message=shortened(ending.error_message, MAX_MESSAGE_BYTES),
        )
        others.append(_entry(attempt))
    return others[-MAX_ATTEMPTS:]


def read(entries: Sequence[str]) -> tuple[PastAttempt, ...]:
    """Return the last executions of a message, the oldest first, without entries that cannot be read."""
    found = []
    for entry in entries[-MAX_ATTEMPTS:]:
        try:
            found.append(_DECODER.decode(entry))
        except msgspec.MsgspecError:
            continue
    return tuple(found)


def _entry(attempt: PastAttempt) -> str:
    return msgspec.json.encode(attempt).decode()
