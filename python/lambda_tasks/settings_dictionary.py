"""The dictionary ``LAMBDA_TASKS`` of Django's settings: it says what the environment leaves out.

``{"MODE": "eager", "QUEUE_URLS": {"default": "https://..."}}`` says what ``LAMBDA_TASKS_MODE`` and
``LAMBDA_TASKS_QUEUE_URL`` say in the environment.
"""

from __future__ import annotations

import sys

from lambda_tasks.errors import InvalidSetting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

NAME = "LAMBDA_TASKS"
QUEUE_URLS = "QUEUE_URLS"
# The others are read before there is Django: by the exec wrapper, or by its set-up.
KEYS = frozenset(
    {
        "ATOMIC",
        "CONCURRENCY",
        "DEAD_LETTER_QUEUE_URL",
        "FAILURE_TOPIC_ARN",
        "HARD_TIMEOUT_SECONDS",
        "LOG_CONTEXT",
        "LOG_ERRORS",
        "MEMORY_GUARD",
        "METRICS_NAMESPACE",
        "MODE",
        "MODULES",
        "PAYLOAD_BUCKET",
        QUEUE_URLS,
        "RECORD_ENQUEUED",
        "RECORD_KWARGS",
        "RECORD_TTL_SECONDS",
        "REPORTING_MARGIN_SECONDS",
        "SCHEDULER_ROLE_ARN",
        "SOFT_TIMEOUT_SECONDS",
        "TABLE",
    }
)


def of_django(queue_url_variable: Callable[[str], str]) -> dict[str, str]:
    """Return the dictionary of this process as variables of an environment; empty where Django is not configured.

    `queue_url_variable` gives the variable of a queue's URL.

    Raises:
        InvalidSetting: it has an unknown key, or a value of a type that no setting has.

    """
    configured = sys.modules["django.conf"].settings
    if not configured.configured:
        return {}
    given = getattr(configured, NAME, None)
    return variables(given, queue_url_variable) if given else {}


def variables(given: object, queue_url_variable: Callable[[str], str]) -> dict[str, str]:
    """Return the settings in `given` as variables of an environment.

    Raises:
        InvalidSetting: as `of_django`.

    """
    if not isinstance(given, dict):
        remedy = 'use a dictionary, such as {"MODE": "eager"}'
        raise InvalidSetting(f"it is of type {type(given).__name__}", variable=NAME, remedy=remedy)
    unknown = [key for key in given if key not in KEYS]
    if unknown:
        remedy = f"use {', '.join(sorted(KEYS))}; the function's environment has the others"
        raise InvalidSetting(f"there is no such setting: {unknown[0]!r}", variable=NAME, remedy=remedy)
    found = {f"{NAME}_{key}": _text(key, value) for key, value in given.items() if key != QUEUE_URLS}
    found.update(_queue_urls(given.get(QUEUE_URLS), queue_url_variable))
    return {name: value for name, value in found.items() if value is not None}


def _queue_urls(
    urls: Any,  # noqa: ANN401 - whatever the application's settings hold
    queue_url_variable: Callable[[str], str],
) -> Iterator[tuple[str, str | None]]:
    if urls is None:
        return
    if not isinstance(urls, dict) or not all(isinstance(queue, str) for queue in urls):
        remedy = 'use a dictionary, such as {"default": "https://sqs.<region>.amazonaws.com/<account>/<queue>"}'
        raise InvalidSetting(f"{QUEUE_URLS} is no dictionary of names", variable=NAME, remedy=remedy)
    for queue, url in urls.items():
        yield queue_url_variable(queue), _text(QUEUE_URLS, url)


def _text(key: str, value: Any) -> str | None:  # noqa: ANN401
    """Return a value as the environment has it, or None for the default."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value):
        return ",".join(value)
    raise InvalidSetting(f"{key} is of type {type(value).__name__}", variable=NAME, remedy="use a text or a number")
