"""`@task`: make a function something that a message may name."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, get_type_hints, overload

import msgspec

from lambda_tasks.errors import InvalidKwargs, InvalidTask
from lambda_tasks.tasks.options import Options
from lambda_tasks.tasks.sending import NAMES as SENDING_NAMES
from lambda_tasks.tasks.sending import Sending

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Unpack

    from lambda_tasks.tasks.batch import BatchKwargs
    from lambda_tasks.tasks.enqueued import Enqueued
    from lambda_tasks.tasks.options import OptionValues, OptionValuesOfAll
    from lambda_tasks.tasks.sending import SendingValues

P = ParamSpec("P")
R = TypeVar("R")

_CONCERNING_PARAMETERS = {"batch", "singleton"}


class Task(Generic[P, R]):
    """A function that can be called here, or enqueued and run by a function on Lambda.

    `name` is the dotted path that messages name it by; its `configuration` is checked when it is defined; `sending` is
    what `options` says about its messages.
    """

    sending = Sending()

    def __init__(self, function: Callable[P, R], configuration: Options) -> None:
        self.function = function
        self.configuration = configuration
        self.name = f"{function.__module__}.{function.__qualname__}"
        self.is_async = inspect.iscoroutinefunction(function)
        self._parameters = _parameters(function, self.name, configuration)
        self._has_defaults = any(one.default is not one.empty for one in self._parameters.values())
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Send one SQS message that runs the task with `kwargs`, and return its message id.

        Raises:
            InvalidKwargs: they do not match the annotations, or are not given by keyword.
            InvalidSetting: the queue's URL is not set.
            MessageTooLarge: SQS takes 1 MiB, and there is no bucket for larger payloads.
            EnqueueFailed: SQS did not take the message.

        """
        from lambda_tasks.tasks import queue  # noqa: PLC0415 - a function that only runs tasks needs no producer

        self._check_keywords(args)
        return queue.enqueue(self, kwargs)

    def enqueue_many(self, many_kwargs: Iterable[Mapping[str, Any]]) -> Enqueued:
        """Send one message for each of `many_kwargs`, and return what became of each: its message id, or its error.

        Everything is sent when this returns; of an iterator no more is taken than can be sent meanwhile. SQS gets the
        messages in batches; those that it refuses for the moment are sent again.

        Raises:
            InvalidSetting: the queue's URL is not set.
            InvalidTask: what the options say cannot be said of many messages.

        """
        from lambda_tasks.tasks import queue  # noqa: PLC0415

        return queue.enqueue_many(self, many_kwargs)

    def enqueue_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Enqueue when Django's current transaction is committed, or now where there is none.

        The kwargs are checked, and their values taken, now. A transaction that is rolled back sends nothing.

        Raises:
            InvalidKwargs: as `enqueue`.
            InvalidTask: Django is not installed.

        """
        from lambda_tasks.tasks import outgoing, queue  # noqa: PLC0415

        self._check_keywords(args)
        try:
            from django.db import transaction  # noqa: PLC0415 - only where somebody uses it
        except ModuleNotFoundError as error:
            remedy = "install it, or use enqueue()"
            raise InvalidTask("there is no Django", source=f"task {self.name}", remedy=remedy) from error
        transaction.on_commit(functools.partial(queue.send, outgoing.make(self, kwargs)))

    def options(self, **changes: Unpack[SendingValues]) -> Task[P, R]:
        """Return a copy of this task with other options, which may say how its messages are sent.

        Raises:
            InvalidTask: as where a task is defined.

        """
        sending = {name: value for name, value in changes.items() if name in SENDING_NAMES}
        own = {name: value for name, value in changes.items() if name not in SENDING_NAMES}
        changed = copy.copy(self)  # and with it what was made of the annotations
        if own:
            configuration = _options(self.name, {**vars(self.configuration), **own})
            if own.keys() & _CONCERNING_PARAMETERS:
                changed = Task(self.function, configuration)
            changed.configuration = configuration
        changed.sending = _sending(self.name, {**vars(self.sending), **sending}) if sending else self.sending
        return changed

    @property
    def batch_parameter(self) -> str:
        """The parameter of a batch task that takes the list."""
        return next(iter(self._parameters))

    def decode_kwargs(self, kwargs: bytes | msgspec.Raw) -> Any:  # noqa: ANN401 - a batch task's are of its own type
        """Validate the JSON object `kwargs` strictly against the annotations, and convert its values.

        What is returned is a ``dict``; for a batch task it is what the annotation of its items says.

        Raises:
            InvalidKwargs: a value does not match, or a parameter is missing or unknown.
            InvalidTask: the annotations cannot be used.

        """
        decoder = self._decoder
        values: Any
        try:
            values = decoder.decode(kwargs)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            remedy = "send what the task's annotations say"
            raise InvalidKwargs(f"the kwargs do not fit: {error}", source=f"task {self.name}", remedy=remedy) from error
        if self.configuration.batch:
            return values
        given = msgspec.structs.asdict(values)
        if self._has_defaults:
            return {name: value for name, value in given.items() if value is not msgspec.UNSET}
        return given

    def singleton_values(self, kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - as decode_kwargs returns them
        """Return the values of the kwargs that ``singleton`` names: messages that share them run one at a time."""
        names = self.configuration.singleton
        if isinstance(names, bool):
            return {}
        if not isinstance(kwargs, dict):
            return {name: getattr(kwargs, name, None) for name in names}
        return {name: kwargs.get(name, self._default(name)) for name in names}

    def _default(self, name: str) -> Any:  # noqa: ANN401
        parameter = self._parameters.get(name)
        return None if parameter is None or parameter.default is parameter.empty else parameter.default

    def encode_kwargs(self, kwargs: Mapping[str, Any]) -> bytes:
        """Return `kwargs` as JSON, after checking that `decode_kwargs` will take it.

        Raises:
            InvalidKwargs: it would not, or a value has no form in JSON.

        """
        try:
            encoded = msgspec.json.encode(kwargs)
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            remedy = "use types that JSON can hold"
            problem = f"the kwargs cannot be encoded: {error}"
            raise InvalidKwargs(problem, source=f"task {self.name}", remedy=remedy) from error
        self.decode_kwargs(encoded)
        return encoded

    def _check_keywords(self, args: tuple[object, ...]) -> None:
        if args:
            remedy = "give them by keyword: messages carry no positions"
            raise InvalidKwargs("the arguments are positional", source=f"task {self.name}", remedy=remedy)

    @functools.cached_property
    def _decoder(self) -> msgspec.json.Decoder[Any] | BatchKwargs:
        # Not when the task is defined: an annotation may name what its module defines further down.
        try:
            if self.configuration.batch:
                from lambda_tasks.tasks.batch import batch_kwargs  # noqa: PLC0415 - for functions with batch tasks

                return batch_kwargs(self.function, list(self._parameters))
            hints = get_type_hints(self.function, include_extras=True)
            fields: list[Any] = [
                (name, hints.get(name, Any))
                if parameter.default is parameter.empty
                else (name, hints.get(name, Any) | msgspec.UnsetType, msgspec.UNSET)
                for name, parameter in self._parameters.items()
            ]
            model = msgspec.defstruct("Kwargs", fields, kw_only=True, forbid_unknown_fields=True)
            return msgspec.json.Decoder(model)
        except Exception as error:
            remedy = "use annotations that msgspec supports: https://jcristharif.com/msgspec/supported-types.html"
            if self.configuration.batch:
                remedy = "give a batch task one parameter, items: list[Item[YourDataclass]]"
            raise InvalidTask(f"unusable annotations: {error}", source=f"task {self.name}", remedy=remedy) from error


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...


# A batch task takes a list, and is enqueued with the kwargs of one message.
@overload
def task(
    *, batch: Literal[True], **options: Unpack[OptionValuesOfAll]
) -> Callable[[Callable[..., R]], Task[..., R]]: ...


@overload
def task(
    *, batch: Literal[False] = False, **options: Unpack[OptionValuesOfAll]
) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(
    function: Callable[P, R] | None = None, /, **options: Unpack[OptionValues]
) -> Task[P, R] | Callable[[Callable[P, R]], Task[P, R]]:
    """Make a task of a function whose parameters can all be given by keyword.

    Use it bare, or with the options of `lambda_tasks.tasks.options.Options`; times are seconds or a `timedelta`.

    Raises:
        InvalidTask: the options or the parameters are such that it could not be dispatched.

    """
    if function is None:
        return functools.partial(_make, options=options)
    return _make(function, options)


def _make(function: Callable[P, R], options: Mapping[str, Any]) -> Task[P, R]:
    if not inspect.isfunction(function):
        raise InvalidTask(f"{function!r} is not a function", remedy="put @task above a function, outermost")
    return Task(function, _options(f"{function.__module__}.{function.__qualname__}", options))


def _options(name: str, options: Mapping[str, Any]) -> Options:
    try:
        return Options.check(options)
    except InvalidTask as error:
        raise InvalidTask(error.problem, source=f"task {name}", remedy=error.remedy) from None


def _parameters(function: Callable[..., Any], name: str, options: Options) -> Mapping[str, inspect.Parameter]:
    parameters = inspect.signature(function).parameters
    for parameter in parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            problem = f"the parameter {parameter} is {parameter.kind.description}"
            remedy = "messages carry keywords: name every parameter, best after a '*'"
            raise InvalidTask(problem, source=f"task {name}", remedy=remedy)
    if options.batch:
        if len(parameters) != 1:
            remedy = "give it one parameter, items: list[Item[YourDataclass]]"
            raise InvalidTask("a batch task takes one list of items", source=f"task {name}", remedy=remedy)
    elif isinstance(options.singleton, tuple):
        unknown = [one for one in options.singleton if one not in parameters]
        if unknown:
            remedy = "name the task's own parameters"
            raise InvalidTask(f"singleton names no parameter: {unknown[0]!r}", source=f"task {name}", remedy=remedy)
    return parameters


def _sending(name: str, values: Mapping[str, Any]) -> Sending:
    try:
        return Sending.check(values)
    except InvalidTask as error:
        raise InvalidTask(error.problem, source=f"task {name}", remedy=error.remedy) from None
