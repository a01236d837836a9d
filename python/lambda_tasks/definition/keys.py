"""The key of a message: what the business calls the same, however often it is sent.

It is the task's name with the values of the kwargs that the task names, or with what the producer gave. Like that of a
singleton it is a hash, since values may be long, or private.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from lambda_tasks.definition import rates
from lambda_tasks.definition.definition import singleton_key
from lambda_tasks.errors import InvalidKwargs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambda_tasks.definition.definition import Definition

logger = logging.getLogger("lambda_tasks")


class Key(NamedTuple):
    """A message's key as a hash, the `check` of what messages with it may not differ in, and how long it is kept."""

    hash: str
    check: str
    seconds: float


def key_of(definition: Definition, kwargs: Any, given: str | None) -> Key | None:  # noqa: ANN401 - of any task
    """Return the key of a message with `kwargs`, converted, to which its producer may have `given` one.

    None where neither says anything: all values that the key is made of are None.

    Raises:
        InvalidKwargs: a path leads nowhere in these kwargs.

    """
    options = definition.options
    if given:
        key = singleton_key(definition.name, {"given": given})
    elif isinstance(options.idempotency_key, tuple):
        values = _values(definition, kwargs, options.idempotency_key)
        if all(value is None for value in values.values()):
            logger.warning("a message of %s has no key: %s", definition.name, ", ".join(values))
            return None
        key = singleton_key(definition.name, {"values": values})
    else:
        return None
    checked = options.idempotency_check
    check = singleton_key("", _values(definition, kwargs, checked)) if checked else ""
    return Key(key, check, options.idempotency_seconds)


def rate_limit_of(definition: Definition, kwargs: Any) -> tuple[str, float, int]:  # noqa: ANN401 - of any task
    """Return the key of the limit that a message with `kwargs` shares, its interval in seconds, and its burst."""
    options = definition.options
    count, seconds = rates.parse("rate_limit", options.rate_limit)
    values = _values(definition, kwargs, options.rate_limit_by)
    return singleton_key(definition.name, {"rate_limit": values}), seconds / count, options.rate_limit_burst or count


def _values(definition: Definition, kwargs: Any, paths: Iterable[str]) -> dict[str, Any]:  # noqa: ANN401
    return {path: _value(definition, kwargs, path) for path in paths}


def _value(definition: Definition, kwargs: Any, path: str) -> Any:  # noqa: ANN401
    name, *rest = path.split(".")
    value = definition.given(kwargs, name)
    for part in rest:
        try:
            value = value[part] if isinstance(value, dict) else getattr(value, part)
        except (KeyError, AttributeError):
            if value is None:
                return None
            problem, remedy = f"the key has no value: {path}", "correct idempotency_key or idempotency_check"
            raise InvalidKwargs(problem, source=f"task {definition.name}", remedy=remedy) from None
    return value.normalize() if isinstance(value, Decimal) else value
