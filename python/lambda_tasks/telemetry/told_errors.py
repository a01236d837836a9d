"""What log records and spans tell of errors: all, or no texts with ``LAMBDA_TASKS_LOG_ERRORS=type``.

An application's error says what the application put into it, which may be an argument. Its traceback ends with the same
text. Errors of this package tell no value.
"""

from __future__ import annotations

import logging
from typing import Any

from lambda_tasks import errors
from lambda_tasks.errors import EndedEarlier, LambdaTasksError, Reject, Retry, text_of, type_name_of

_WITH_AN_APPLICATIONS_TEXT = (Reject, Retry, EndedEarlier)

_tells_texts = True


def choose(tells: str) -> None:
    """Tell of errors what `tells` says from now on: ``full`` or ``type``."""
    global _tells_texts
    if _tells_texts == (tells == "full"):
        return
    _tells_texts = not _tells_texts
    if _tells_texts:
        logger.removeFilter(_without_texts)
    else:
        logger.addFilter(_without_texts)


def text(error: BaseException) -> str:
    """Return what may be told of `error`: its text, or its type alone."""
    return text_of(error) if _is_told(error) else type_name_of(error)


def traceback(error: BaseException) -> str:
    """Return the traceback of `error` as text, or the place where it was raised alone."""
    return errors.traceback_of(error) if _tells_texts else _where(error)


def for_invoker(error: BaseException) -> BaseException:
    """Return what an invocation of one message ends with: the runtime logs it. Its type's name stays."""
    if _is_told(error):
        return error
    kind = type(type_name_of(error), (LambdaTasksError,), {})
    told: LambdaTasksError = kind("the error's text is not told", variable="LAMBDA_TASKS_LOG_ERRORS")
    return told


def _is_told(error: BaseException) -> bool:
    return _tells_texts or (
        type(error).__module__ == errors.__name__ and not isinstance(error, _WITH_AN_APPLICATIONS_TEXT)
    )


def _where(error: BaseException) -> str:
    """Return the innermost place in the traceback, or an empty text."""
    found, place = error.__traceback__, ""
    while found is not None:
        code = found.tb_frame.f_code
        place = f"{code.co_name}, {code.co_filename}, line {found.tb_lineno}"
        found = found.tb_next
    return place


class _WithoutTexts(logging.Filter):
    """A filter of this package's records: an error's type and place are there in place of its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        error: Any = record.exc_info[1] if record.exc_info else None
        if error is not None:
            where = _where(error)
            record.msg = f"{record.getMessage()}: {text(error)}" + (f" (in {where})" if where else "")
            record.args, record.exc_info = (), None
            record.__dict__.setdefault("error_type", type_name_of(error))
        return True


_without_texts = _WithoutTexts()
logger = logging.getLogger("lambda_tasks")
