"""What an error says that may be a group of others: pure functions, which run none of the error's own code.

A task group raises one error for all that went wrong in it. Python has groups from 3.11 on; before, the package
``exceptiongroup`` brings them, as for anyio and trio.
"""

from __future__ import annotations

import builtins
import math
import sys
from typing import TYPE_CHECKING, Any

from lambda_tasks.errors import MAX_VISIBILITY_SECONDS, Reject, Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def is_a(error: BaseException, types: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    """Tell whether an ``except`` clause for `types` would take `error`, whatever its ``__class__`` says."""
    return issubclass(type(error), types)


def members_of(error: BaseException) -> tuple[BaseException, ...]:
    """Return the errors that `error` groups, or none where it is no group."""
    kind: Any = getattr(builtins, "BaseExceptionGroup", None)
    if kind is None and "exceptiongroup" in sys.modules:
        kind = sys.modules["exceptiongroup"].BaseExceptionGroup
    if kind is None or not is_a(error, kind):
        return ()
    members: tuple[BaseException, ...] = kind.exceptions.__get__(error)
    return members


def rejects(error: BaseException) -> bool:
    """Tell whether `error` is, or has anywhere in it, a `Reject`."""
    return any(is_a(one, Reject) for one in _all_of(error))


def is_all(error: BaseException, types: tuple[type[BaseException], ...]) -> bool:
    """Tell whether `error` is of one of `types`: by itself, or as a group of which every member is."""
    return all_match(error, lambda one: is_a(one, types))


def all_match(error: BaseException, matches: Callable[[BaseException], bool]) -> bool:
    """Tell whether `error` matches: by itself, or as a group of which every member does."""
    pending = [error]
    while pending:
        one = pending.pop()
        if not matches(one):
            members = members_of(one)
            if not members:
                return False
            pending += members
    return True


def retry_delay_seconds(error: BaseException) -> float | None:
    """Return the longest delay that a `Retry` in `error` asks for, or None where none asks for one."""
    delays: list[Any] = [getattr(one, "delay_seconds", None) for one in _all_of(error) if is_a(one, Retry)]
    return max((seconds for seconds in delays if _is_delay(seconds)), default=None)


def gravest(error: BaseException, kinds: tuple[type[BaseException], ...]) -> BaseException:
    """Return a member of a group that has nothing but errors of `kinds`: of the first kind that is there.

    Any other error is returned as it is.
    """
    leaves = [one for one in _all_of(error) if not members_of(one)]
    if not all(is_a(one, kinds) for one in leaves):
        return error
    return next(one for kind in kinds for one in leaves if is_a(one, kind))


def _all_of(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and all that is in it, at any depth."""
    pending = [error]
    while pending:
        one = pending.pop()
        yield one
        pending += members_of(one)


def _is_delay(seconds: Any) -> bool:  # noqa: ANN401
    """Tell whether a `Retry` has a delay that can be meant: a subclass may have left it out, or changed it."""
    return type(seconds) in (int, float) and math.isfinite(seconds) and 0 <= seconds <= MAX_VISIBILITY_SECONDS
