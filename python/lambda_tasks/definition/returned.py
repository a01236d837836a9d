"""What a task says that it returns: whether that can be JSON at all.

An invocation that is a message itself is answered with the result, and the table keeps it. A task is refused for its
annotation only where no value of that type has a form in JSON, whatever is defined later on.
"""

from __future__ import annotations

import builtins
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FunctionType

_NEVER = frozenset({complex, range, slice, type, ModuleType})
_NEVER_BY_NAME = frozenset(
    {("pathlib", "Path"), ("pathlib", "PurePath"), ("re", "Pattern"), ("_thread", "lock"), ("socket", "socket")}
)
_FIELDS = ("__dataclass_fields__", "__attrs_attrs__", "__struct_fields__")


def type_without_json(function: FunctionType) -> type | None:
    """Return the type that `function` is annotated to return, where no value of that can be JSON; else None.

    Names that are not defined yet, and anything but a class, may be whatever they like.
    """
    try:
        annotation = function.__annotations__.get("return")
    except Exception:  # noqa: BLE001 - from Python 3.14 on they are evaluated now, and may name what comes later
        return None
    if isinstance(annotation, str):
        annotation = _named(annotation, function.__globals__)
    if not isinstance(annotation, type):
        return None
    if annotation in _NEVER or (annotation.__module__, annotation.__qualname__) in _NEVER_BY_NAME:
        return annotation
    return annotation if _is_plain(annotation) else None


def _named(text: str, names: dict[str, Any]) -> object:
    """Return what a dotted name stands for, or None. Nothing is imported, and no code of an object is run."""
    first, *rest = text.split(".")
    found = names.get(first, getattr(builtins, first, None))
    for part in rest:
        found = vars(found).get(part) if type(found) is ModuleType else None
    return found


def _is_plain(annotation: type) -> bool:
    """Tell whether this is an application's class without a declared field, a base or a class derived from it."""
    return (
        type(annotation) is type
        and annotation.__mro__[1:] == (object,)
        and annotation.__module__.partition(".")[0] not in sys.stdlib_module_names
        and not any(hasattr(annotation, name) for name in _FIELDS)
        and not type.__subclasses__(annotation)
    )
