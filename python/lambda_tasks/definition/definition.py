"""The definition of a task: its name, its function, its options, and how its kwargs travel as JSON."""

from __future__ import annotations

import functools
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from lambda_tasks.definition.options import Options
from lambda_tasks.definition.returned import type_without_json
from lambda_tasks.definition.signature import Required, is_coroutine_function, parameters_of
from lambda_tasks.errors import InvalidKwargs, InvalidTask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lambda_tasks.definition.batch import BatchKwargs
    from lambda_tasks.messages.body import Message

_NAMING_PARAMETERS = ("singleton", "record_kwargs", "rate_limit_by", "idempotency_key", "idempotency_check")
_CONCERNING_FUNCTION = {"atomic", "batch", *_NAMING_PARAMETERS}


class Definition:
    """The definition of one task. It is checked when it is made, so that a bad one fails at import, not in the queue.

    `name` is the dotted path that messages name the task by. `has_delay` tells a delay of 0, which overrides that of a
    queue, from none.
    """

    has_delay = False

    def __init__(self, function: FunctionType, options: Options) -> None:
        self.function = function
        self.module = function.__module__
        self.options = options
        self.name = _path(function)
        self.is_async = is_coroutine_function(function)
        self.is_plain = options.is_plain
        if self.is_async and options.atomic:
            remedy = "Django has no transactions in async code: call a function with one by sync_to_async"
            raise InvalidTask("an async task cannot be atomic", source=f"task {self.name}", remedy=remedy)
        self._parameters = _parameters(function, self.name, options)
        if options.schedule is not None or options.schedule_timezone is not None:
            self._check_scheduled()
        self._has_defaults = any(default is not Required for default in self._parameters.values())

    def __repr__(self) -> str:
        return f"<definition of {self.name}>"

    @classmethod
    def of(cls, function: Callable[..., Any], options: Mapping[str, Any]) -> Definition:
        """Return the definition of `function` with `options`, which are keywords of `@task`.

        Raises:
            InvalidTask: it could not be dispatched with these options or parameters.

        """
        if not isinstance(function, FunctionType):
            raise InvalidTask(f"{function!r} is not a function", remedy="put @task above a function, outermost")
        if _is_method(function):
            problem, remedy = "a method is no task: no message holds its object", "put @task above a function instead"
            raise InvalidTask(problem, source=f"task {_path(function)}", remedy=remedy)
        returned = type_without_json(function)
        if returned is not None:
            problem = f"it returns {returned.__qualname__}, which has no form in JSON"
            remedy = "return what JSON can hold, such as an id, or None"
            raise InvalidTask(problem, source=f"task {_path(function)}", remedy=remedy)
        made = cls(function, _checked_options(_path(function), options))
        made.has_delay = "delay" in options
        return made

    def with_options(self, changes: Mapping[str, Any]) -> Definition:
        """Return a definition of the same function with other options.

        Raises:
            InvalidTask: as `of`.

        """
        changed = Definition.__new__(Definition)
        changed.__dict__.update(self.__dict__)  # and with it the decoder that was made from the annotations
        changed.options = _checked_options(self.name, {**msgspec.structs.asdict(self.options), **changes})
        if changes.keys() & _CONCERNING_FUNCTION:
            changed = Definition(self.function, changed.options)
        changed.has_delay = self.has_delay or "delay" in changes
        return changed

    def _check_scheduled(self) -> None:
        if self.options.schedule is None:
            remedy = 'add schedule="cron(...)" or "rate(...)", or leave it out'
            raise InvalidTask("there is a schedule_timezone and no schedule", source=f"task {self.name}", remedy=remedy)
        needed = [name for name, default in self._parameters.items() if default is Required]
        if needed and not self.options.batch:
            problem = f"a scheduled message has no kwargs, and {', '.join(needed)} has no default"
            remedy = "give each parameter a default, or schedule a task that calls this one"
            raise InvalidTask(problem, source=f"task {self.name}", remedy=remedy)

    @property
    def batch_parameter(self) -> str:
        """The parameter of a batch task that takes the list."""
        return next(iter(self._parameters))

    def takes(self, name: str) -> bool:
        """Tell whether a message may have a value of this name among its kwargs."""
        return name in self._parameters or self.options.batch

    def decode(self, message: Message) -> Any:  # noqa: ANN401 - as `decode_kwargs`
        """Return the kwargs of `message` as `decode_kwargs` does.

        Raises:
            InvalidKwargs: as there; or the message has arguments by position.

        """
        if message.args and bytes(message.args) != b"[]":
            remedy = "give them by keyword"
            raise InvalidKwargs("the arguments are positional", source=f"task {self.name}", remedy=remedy)
        return self.decode_kwargs(message.kwargs)

    def by_name(self, kwargs: Any) -> Any:  # noqa: ANN401 - as decode_kwargs returns them
        """Return the arguments of a message by the names of the task's parameters."""
        return kwargs

    def decode_kwargs(self, kwargs: bytes | msgspec.Raw) -> Any:  # noqa: ANN401 - a batch task's are of its own type
        """Validate the JSON object `kwargs` strictly against the annotations, and convert its values.

        The return value is a ``dict``; for a batch task it is of the type that the annotation of its items names.

        Raises:
            InvalidKwargs: a value does not match, or a parameter is missing or unknown.
            InvalidTask: the annotations cannot be used.

        """
        decoder = self._decoder
        values: Any
        problem = ""
        try:
            values = decoder.decode(kwargs)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            from lambda_tasks.definition.misfit import problem_of  # noqa: PLC0415 - for kwargs that do not fit

            problem = problem_of(error, decoder.type)
        if problem:  # not within `except`: that error tells values, and a traceback would show it
            remedy = "send what the task's annotations say"
            raise InvalidKwargs(f"the kwargs do not fit: {problem}", source=f"task {self.name}", remedy=remedy)
        if self.options.batch:
            return values
        given = msgspec.structs.asdict(values)
        if self._has_defaults:
            return {name: value for name, value in given.items() if value is not msgspec.UNSET}
        return given

    def encode_kwargs(self, kwargs: Mapping[str, Any]) -> bytes:
        """Return `kwargs` as JSON, after checking that `decode_kwargs` will take it.

        Raises:
            InvalidKwargs: it would not, or a value has no form in JSON.

        """
        try:
            encoded = self._encode(kwargs)
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            remedy = "use types that JSON can hold"
            problem = f"the kwargs cannot be encoded: {error}"
            raise InvalidKwargs(problem, source=f"task {self.name}", remedy=remedy) from error
        self.decode_kwargs(encoded)
        return encoded

    @property
    def leads_back(self) -> bool:
        """Whether the name leads to this task, as far as this process can tell: its module may not be imported."""
        module = sys.modules.get(self.function.__module__)
        if module is None:
            return "." not in self.function.__qualname__
        found = getattr(getattr(module, self.function.__qualname__, None), "definition", None)
        return isinstance(found, Definition) and found.function is self.function

    def singleton_values(self, kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - as decode_kwargs returns them
        """Return the values of the kwargs that ``singleton`` names: messages that share them run one at a time."""
        names = self.options.singleton
        if isinstance(names, bool):
            return {}
        return {name: self.given(kwargs, name) for name in names}

    def given(self, kwargs: Any, name: str) -> Any:  # noqa: ANN401 - as decode_kwargs returns them
        """Return the value of one of the kwargs: its default where it is not given."""
        return kwargs.get(name, self._default(name)) if isinstance(kwargs, dict) else getattr(kwargs, name, None)

    def singleton_key(self, kwargs: Any) -> str:  # noqa: ANN401
        """Return one key for all messages of the task whose `kwargs` share their `singleton_values`."""
        return singleton_key(self.name, self.singleton_values(kwargs))

    def _default(self, name: str) -> Any:  # noqa: ANN401
        default = self._parameters.get(name)
        return None if default is Required else default

    @functools.cached_property
    def _encode(self) -> Callable[[Mapping[str, Any]], bytes]:
        from lambda_tasks.definition import values  # noqa: PLC0415 - a function that only runs tasks sends none

        return values.encode

    @functools.cached_property
    def _decoder(self) -> msgspec.json.Decoder[Any] | BatchKwargs:
        # Not when the task is defined: an annotation may name what its module defines further down.
        try:
            if self.options.batch:
                from lambda_tasks.definition.batch import batch_kwargs  # noqa: PLC0415 - for functions with batch tasks

                return batch_kwargs(self.function, list(self._parameters), converted)
            hints = get_type_hints(self.function, include_extras=True)
            fields: list[Any] = [
                (name, hints.get(name, Any))
                if default is Required
                else (name, hints.get(name, Any) | msgspec.UnsetType, msgspec.UNSET)
                for name, default in self._parameters.items()
            ]
            model = msgspec.defstruct("Kwargs", fields, kw_only=True, forbid_unknown_fields=True)
            return msgspec.json.Decoder(model, dec_hook=converted)
        except Exception as error:
            remedy = "use annotations that msgspec supports: https://jcristharif.com/msgspec/supported-types.html"
            if self.options.batch:
                remedy = "give a batch task one parameter, items: list[Item[YourDataclass]]"
            raise InvalidTask(f"unusable annotations: {error}", source=f"task {self.name}", remedy=remedy) from error


def converted(kind: type, value: object) -> object:
    """Return what JSON holds as one of `kind`, a type that msgspec does not know; see `values.converted`."""
    from lambda_tasks.definition import values  # noqa: PLC0415 - for annotations that need it

    return values.converted(kind, value)


def singleton_key(task: str, values: Mapping[str, Any]) -> str:
    """Return one key for all messages of `task` with equal `values`.

    The key is a hash of the values as JSON with sorted keys, since they may be long, or private.
    """
    import hashlib  # noqa: PLC0415 - 3 ms, for functions with singletons

    from lambda_tasks.definition.values import plain  # noqa: PLC0415

    return hashlib.sha256(msgspec.json.encode([task, values], enc_hook=plain, order="sorted")).hexdigest()


def _is_method(function: FunctionType) -> bool:
    """Tell whether `function` is defined in a class, and takes its object, or the class, first."""
    first = function.__code__.co_varnames[: function.__code__.co_argcount][:1]
    return "." in function.__qualname__.rpartition("<locals>.")[2] and first in (("self",), ("cls",))


def _path(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _checked_options(name: str, options: Mapping[str, Any]) -> Options:
    try:
        return Options.check(options)
    except InvalidTask as error:
        raise InvalidTask(error.problem, source=f"task {name}", remedy=error.remedy) from None


def _parameters(function: FunctionType, name: str, options: Options) -> Mapping[str, Any]:
    try:
        parameters = parameters_of(function)
    except InvalidTask as error:
        raise InvalidTask(error.problem, source=f"task {name}", remedy=error.remedy) from None
    if options.batch:
        if len(parameters) != 1:
            remedy = "give it one parameter, items: list[Item[YourDataclass]]"
            raise InvalidTask("a batch task takes one list of items", source=f"task {name}", remedy=remedy)
        return parameters
    for option in _NAMING_PARAMETERS:
        named = getattr(options, option)
        paths = named if isinstance(named, tuple) else ()
        has_paths = option.startswith("idempotency")  # such as order.id
        unknown = [one for one in paths if (one.partition(".")[0] if has_paths else one) not in parameters]
        if unknown:
            remedy = "name the task's own parameters"
            raise InvalidTask(f"{option} names no parameter: {unknown[0]!r}", source=f"task {name}", remedy=remedy)
    return parameters
