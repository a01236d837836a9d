"""Values that msgspec does not know, or would change in silence: how they travel as JSON, and which cannot.

Nothing is imported for them: a function that has no pydantic and no Django never meets their values.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _datetime(one: datetime.datetime) -> datetime.datetime:
    day = datetime.date(one.year, one.month, one.day)
    time = datetime.time(one.hour, one.minute, one.second, one.microsecond, one.tzinfo, fold=one.fold)
    return datetime.datetime.combine(day, time)


# An instance of a subclass is sent as the plain value of the first of these that it is one of.
_PLAIN: tuple[tuple[type, Callable[[Any], object]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, bytes),
    (datetime.datetime, _datetime),
    (datetime.date, lambda one: datetime.date(one.year, one.month, one.day)),
    (decimal.Decimal, decimal.Decimal),
)


def plain(value: object) -> object:
    """Return `value`, of a type that msgspec does not know, as one that it does: an ``enc_hook``.

    Raises:
        TypeError: it has no form in JSON.

    """
    for base, made_plain in _PLAIN:
        if isinstance(value, base):
            return made_plain(value)
    if is_model(type(value)):
        # As it can be validated: by its aliases, without computed fields.
        model: Any = value
        try:
            return msgspec.Raw(model.model_dump_json(by_alias=True, round_trip=True).encode())
        except ValueError as error:  # its text may tell the value
            raise TypeError(f"{type(value).__name__} cannot be dumped ({type(error).__name__})") from None
    functional = sys.modules.get("django.utils.functional")
    if functional is not None and isinstance(value, functional.Promise):
        return str(value)  # a translation, in the language of the moment
    _refuse_rows(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


def _refuse_rows(value: object) -> None:
    """Refuse what a database holds: by the time that the message runs, its rows may have changed.

    Raises:
        TypeError: it is an instance of a model of Django's, or a query.

    """
    models = sys.modules.get("django.db.models")
    if models is None:
        return
    name = type(value).__qualname__
    if isinstance(value, models.Model):
        raise TypeError(f"{name} is an instance of a model, which the task would get out of date: send its key")
    if isinstance(value, (models.QuerySet, models.Manager)):
        raise TypeError(f"{name} is a query, which the task would get out of date: send the keys of its rows")


_ENCODER = msgspec.json.Encoder(enc_hook=plain)


def encode(kwargs: Mapping[str, Any]) -> bytes:
    """Return `kwargs` as JSON; see `encode_value`."""
    return encode_value(kwargs)


def encode_value(value: object) -> bytes:
    """Return `value` as JSON.

    Raises:
        TypeError: a value has no form in JSON.
        ValueError: a number is not finite, which msgspec would send as null.

    """
    encoded = _ENCODER.encode(value)
    # Of NaN and infinity values become null, and keys become words.
    if b"null" in encoded or b'nan"' in encoded or b'inf"' in encoded:
        for path, number in _floats(value):
            if not math.isfinite(number):
                raise ValueError(f"JSON has no {float.__repr__(number)} - at `{path}`")
    return encoded


def is_model(kind: object) -> bool:
    """Tell whether `kind` is a model of pydantic's, which validates and converts by itself."""
    return isinstance(kind, type) and hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_validate_json")


class Refused(ValueError):
    """The error of a value that is not of the annotated type. It says what was expected, and not the value."""


def converted(kind: Any, value: object) -> object:  # noqa: ANN401 - whatever an annotation may name
    """Return what JSON holds as one of `kind`, a type that msgspec does not know: a ``dec_hook``.

    Raises:
        Refused: a model does not take it; or `kind` is of no known kind, and `value` is not one already.

    """
    if not is_model(kind):
        if isinstance(value, kind):
            return value
        raise Refused(f"Expected `{getattr(kind, '__name__', kind)}`, got `{type(value).__name__}`")
    try:
        return kind.model_validate_json(msgspec.json.encode(value), strict=True)
    except ValueError as error:
        raise Refused(_problem(error, kind)) from None


# Of pydantic's texts those that name what was expected; others, and those of validators, may tell the value.
_TELL_A_TYPE = ("Input should be", "Field required", "Extra inputs are not permitted")


def _problem(error: Any, kind: Any) -> str:  # noqa: ANN401 - pydantic's own, which is not imported
    """Return the first problem that pydantic found with a model of `kind`, and its place, without the value."""
    try:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    except (AttributeError, IndexError):
        return type(error).__name__
    names = set(_names_of_model(kind, set()))
    parts = (
        f"[{part}]" if isinstance(part, int) else f".{part}" if part in names else "[...]" for part in first["loc"]
    )
    where = "".join(parts)
    text: str = first["type"]
    if first["msg"].startswith(_TELL_A_TYPE) and text in _types_of_pydantic():
        # After a comma it says what keeps a text from being parsed.
        text = first["msg"].partition(",")[0] if text.endswith("_parsing") else first["msg"]
    return text + (f" - at `{where}` of it" if where else "")


def _types_of_pydantic() -> frozenset[str]:
    """Return the types of the errors that pydantic itself raises: an application's own have others."""
    schema: Any = sys.modules.get("pydantic_core.core_schema")
    return frozenset(getattr(getattr(schema, "ErrorType", None), "__args__", ()))


def _names_of_model(kind: Any, known: set[int]) -> Iterator[str]:  # noqa: ANN401
    """Yield the names of a model's fields, and of the models in it. Other parts of a place are the message's own."""
    if id(kind) in known:
        return
    known.add(id(kind))
    for inner in getattr(kind, "__args__", ()):
        yield from _names_of_model(inner, known)
    if not isinstance(kind, type):
        return
    if is_model(kind):
        model: Any = kind
        for name, field in model.model_fields.items():
            yield name
            yield from (alias for alias in (field.alias, field.validation_alias) if isinstance(alias, str))
            yield from _names_of_model(field.annotation, known)
    else:
        yield from getattr(kind, "__annotations__", ())


def _floats(value: object) -> Iterator[tuple[str, float]]:
    """Yield every float in `value` with its path."""
    waiting: list[tuple[str, object]] = [("$", value)]
    while waiting:
        path, one = waiting.pop()
        if isinstance(one, float):
            yield path, one
        elif isinstance(one, enum.Enum):
            waiting.append((path, one.value))
        elif isinstance(one, Mapping):
            # The keys of the kwargs are names of parameters; those within a value are part of it.
            waiting += [(f"{path}.{key}" if one is value else f"{path}[...]", held) for key, held in one.items()]
            waiting += [(f"{path} (a key)", key) for key in one if not isinstance(key, str)]
        elif isinstance(one, (list, tuple, set, frozenset)):
            waiting += [(f"{path}[{number}]", held) for number, held in enumerate(one)]
        else:
            waiting += [(f"{path}.{name}", getattr(one, name, None)) for name in _fields(one)]


def _fields(one: object) -> Iterator[str]:
    """Yield the names of the fields of a struct, a dataclass, a class of attrs, or a model."""
    kind: Any = type(one)
    yield from getattr(kind, "__struct_fields__", ())
    yield from getattr(kind, "__dataclass_fields__", ())
    yield from (field.name for field in getattr(kind, "__attrs_attrs__", ()))
    if is_model(kind):
        yield from kind.model_fields
        yield from getattr(one, "__pydantic_extra__", None) or ()
