"""The parameters of a task's function, read without `inspect`, which costs a cold start 5 ms, where that is enough."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any

from lambda_tasks.errors import InvalidTask

if TYPE_CHECKING:
    from collections.abc import Mapping

# https://docs.python.org/3/library/inspect.html#inspect-module-co-flags
_VARIADIC = 0x04 | 0x08
_COROUTINE = 0x80
_READ_BY_INSPECT = ("__wrapped__", "__signature__")


class Required:
    """The default of a parameter that has none."""


def parameters_of(function: FunctionType) -> Mapping[str, Any]:
    """Return the names of the parameters, in order, each with its default or `Required`.

    Raises:
        InvalidTask: a parameter cannot be given by keyword.

    """
    code = function.__code__
    is_decorated = any(name in function.__dict__ for name in _READ_BY_INSPECT)
    if is_decorated or code.co_posonlyargcount or code.co_flags & _VARIADIC:
        return _inspected(function)
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    defaults = function.__defaults__ or ()
    last = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    found: dict[str, Any] = dict.fromkeys(names, Required)
    found.update(zip(last, defaults, strict=True))
    found.update(function.__kwdefaults__ or {})
    return found


def is_coroutine_function(function: FunctionType) -> bool:
    """Tell whether a call of `function` returns a coroutine."""
    if function.__code__.co_flags & _COROUTINE:
        return True
    if not hasattr(function, "_is_coroutine_mark"):  # of inspect.markcoroutinefunction
        return False
    import inspect  # noqa: PLC0415

    return inspect.iscoroutinefunction(function)


def _inspected(function: FunctionType) -> Mapping[str, Any]:
    import inspect  # noqa: PLC0415

    parameters = inspect.signature(function).parameters
    for parameter in parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            problem = f"the parameter {parameter} is {parameter.kind.description}"
            raise InvalidTask(problem, remedy="messages carry keywords: name every parameter, best after a '*'")
    return {
        name: Required if parameter.default is parameter.empty else parameter.default
        for name, parameter in parameters.items()
    }
