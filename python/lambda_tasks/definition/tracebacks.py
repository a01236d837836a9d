"""The traceback of what a task raised, which begins in the task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection


def forget_frames(error: BaseException, packages: Collection[str | None]) -> None:
    """Let the traceback begin below the frames of `packages`: how a task was called says nothing about what went wrong.

    By the methods of `BaseException` itself: an error may have others of these names, or refuse to be changed.
    """
    traceback = _TRACEBACK.__get__(error)
    while traceback is not None and traceback.tb_frame.f_globals.get("__package__") in packages:
        traceback = traceback.tb_next
    if traceback is not None:
        BaseException.with_traceback(error, traceback)


_TRACEBACK: Any = BaseException.__dict__["__traceback__"]
