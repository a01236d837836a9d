"""The words for kwargs that do not fit: where, and what was expected there. No value of a message is among them.

msgspec names the values of enums and the fields that it does not know, and repeats what a class of the application's
raises. Its other texts tell types, lengths and limits, which come from the annotations.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from lambda_tasks.definition.values import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLACE = re.compile(r" - at (`key` in )?`\$([^`]*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[([^\]]*)\]")
_UNKNOWN_FIELD = "Object contains unknown field"
_TELL_A_VALUE = ("Invalid enum value", "Invalid value")
_MOST_NAMES = 10


def problem_of(error: Exception, kind: Any) -> str:  # noqa: ANN401 - whatever msgspec can decode to
    """Return what `error`, of msgspec's decoding to `kind`, says, without what the message held."""
    if not isinstance(error, msgspec.MsgspecError):
        return f"they cannot be read ({type(error).__name__})"
    text, cause = str(error), error.__cause__
    if cause is not None and not isinstance(cause, Refused):
        rest = text[len(str(cause)) :]
        return f"Invalid value ({type(cause).__name__}){_expected(kind, rest)}{_place(rest)}"
    for told in _TELL_A_VALUE:
        if text.startswith(told):
            return f"{told}{_expected(kind, text)}{_place(text)}"
    if text.startswith(_UNKNOWN_FIELD):
        return f"{_UNKNOWN_FIELD}{_expected(kind, text, of_fields=True)}{_place(text)}"
    return text


def _place(text: str) -> str:
    found = _PLACE.search(text)
    return found[0] if found else ""


def _expected(kind: Any, text: str, *, of_fields: bool = False) -> str:  # noqa: ANN401
    """Return what is expected at the place that `text` names: a type, or the fields of an object."""
    try:
        names = list(dict.fromkeys(_names(kind, text, of_fields=of_fields)))
    except Exception:  # noqa: BLE001 - an annotation that msgspec decodes but cannot describe
        names = []
    if not names:
        return ", expected none" if of_fields else ""
    more = ", ..." if len(names) > _MOST_NAMES else ""
    return ", expected " + ", ".join(f"`{name}`" for name in names[:_MOST_NAMES]) + more


def _names(kind: Any, text: str, *, of_fields: bool) -> Iterator[str]:  # noqa: ANN401
    from msgspec import inspect  # noqa: PLC0415 - for a message that is rejected

    found = _PLACE.search(text)
    here = [inspect.type_info(kind)]
    if found:
        for step in _STEP.finditer(found[2]):
            here = [inner for outer in here for inner in _below(outer, *step.groups())] or here
        if found[1]:
            here = [outer.key_type for outer in _flat(here) if hasattr(outer, "key_type")]
    for one in _flat(here):
        if of_fields:
            yield from (field.encode_name for field in getattr(one, "fields", ()))
        elif hasattr(one, "values"):
            yield from map(repr, one.values)  # of a Literal
        else:
            yield getattr(getattr(one, "cls", None), "__name__", type(one).__name__.removesuffix("Type").lower())


def _flat(types: list[Any]) -> Iterator[Any]:
    """Yield the types, and those that unions of them are of."""
    for one in types:
        yield from _flat(list(one.types)) if hasattr(one, "types") else (one,)


def _below(outer: Any, field: str | None, index: str | None) -> Iterator[Any]:  # noqa: ANN401
    """Yield the types that one step of a path leads to: ``.field``, ``[...]`` or ``[0]``."""
    for one in _flat([outer]):
        if field is not None:
            yield from (inner.type for inner in getattr(one, "fields", ()) if inner.encode_name == field)
        elif hasattr(one, "item_types"):
            yield from one.item_types[int(index or 0) :][:1]
        else:
            yield from (getattr(one, name) for name in ("item_type", "value_type") if hasattr(one, name))
