"""The decorator `@task`, and the `Task` that it makes of a function."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, overload

from lambda_tasks.definition.definition import Definition
from lambda_tasks.definition.options import Options
from lambda_tasks.enqueue.message_options import NAMES as MESSAGE_OPTIONS
from lambda_tasks.enqueue.message_options import OF_TASKS_TOO, MessageOptions
from lambda_tasks.errors import InvalidKwargs, InvalidTask
from lambda_tasks.limits import forks  # noqa: F401 - from now on it counts them, for the local workers

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from typing import Protocol

    from typing_extensions import Self, Unpack

    from lambda_tasks.definition.batch import Item
    from lambda_tasks.definition.options import OptionValues, OptionValuesOfAll
    from lambda_tasks.enqueue.message_id import MessageId
    from lambda_tasks.enqueue.message_options import MessageOptionValues
    from lambda_tasks.enqueue.results import Enqueued

    K = TypeVar("K")
    K_co = TypeVar("K_co", covariant=True)
    M = TypeVar("M", bound=Mapping[str, Any])
    Q = ParamSpec("Q")

    class GiveArgumentsByKeyword:
        """The result that type checkers see where arguments are positional: they complain of what is done with it."""

    # Of all that a call may return without use, type checkers complain of this alone.
    Positional = Coroutine[GiveArgumentsByKeyword, Any, Any]

P = ParamSpec("P")
R = TypeVar("R")


class Task(Generic[P, R]):
    """A task: a function that can be called here, or enqueued and run on Lambda.

    Its `definition` has its name, function and options. Its `message_options` say how its messages are sent.
    """

    message_options = MessageOptions()

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        functools.update_wrapper(self, definition.function)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now."""
        return self.definition.function(*args, **kwargs)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    @property
    def name(self) -> str:
        """The dotted path that messages name the task by."""
        return self.definition.name

    @property
    def configuration(self) -> Options:
        """The options of the task."""
        return self.definition.options

    @property
    def function(self) -> Callable[P, R]:
        """The function that the task runs."""
        return self.definition.function

    @overload
    def enqueue(self, positional: object, /, *args: object, **kwargs: object) -> Positional: ...

    @overload
    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> MessageId: ...

    def enqueue(self, /, *args: Any, **kwargs: Any) -> Any:
        """Send one SQS message that runs the task with `kwargs`, and return its message id.

        The id is a text. Its methods lead to the record of the message, and to the result.

        Raises:
            InvalidKwargs: they do not match the annotations, or are not given by keyword.
            InvalidSetting: the queue's URL is not set.
            MessageTooLarge: SQS takes 1 MiB, and there is no bucket for larger payloads.
            EnqueueFailed: SQS did not take the message.

        """
        from lambda_tasks.enqueue import destination  # noqa: PLC0415 - a function that only runs tasks needs no producer

        self._check_keywords(args)
        return destination.enqueue(self.definition, self.message_options, kwargs)

    @overload
    def aenqueue(self, positional: object, /, *args: object, **kwargs: object) -> GiveArgumentsByKeyword: ...

    @overload
    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> MessageId: ...

    async def aenqueue(self, /, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
        """Send as `enqueue` does, in a thread, so that the event loop goes on meanwhile.

        Raises:
            LambdaTasksError: as `enqueue`.

        """
        import asyncio  # noqa: PLC0415 - for producers that run an event loop

        return await asyncio.to_thread(self.enqueue, *args, **kwargs)

    def enqueue_many(self, many_kwargs: Iterable[Mapping[str, Any]]) -> Enqueued:
        """Send one message for each of `many_kwargs`, and return the message id or the error of each.

        Everything is sent when this returns. No more is taken of an iterator than can be sent meanwhile. SQS gets the
        messages in batches. Those that it refuses for the moment are sent again. A FIFO queue gets one message after
        the other, each with a deduplication ID of its own, and none behind one that was not sent. Whatever ends the
        call early, such as an error of the iterable, carries the account until then as its attribute ``enqueued``.

        Raises:
            InvalidSetting: the queue's URL is not set.
            InvalidTask: the options are impossible for many messages.

        """
        from lambda_tasks.enqueue import destination  # noqa: PLC0415

        return destination.enqueue_many(self.definition, self.message_options, many_kwargs)

    @overload
    def enqueue_on_commit(self, positional: object, /, *args: object, **kwargs: object) -> Positional: ...

    @overload
    def enqueue_on_commit(self, /, *args: P.args, **kwargs: P.kwargs) -> None: ...

    def enqueue_on_commit(self, /, *args: Any, **kwargs: Any) -> Any:
        """Enqueue when Django's current transaction is committed, or now where there is none.

        The kwargs are checked, and their values taken, now. A transaction that is rolled back sends nothing. The
        transaction is that of the default database, or of the one that ``options(using=...)`` names. Where the task has
        no parameter of that name, ``using`` among the kwargs means the same.

        Raises:
            InvalidKwargs: as `enqueue`.
            InvalidTask: Django is not installed.
            django.utils.connection.ConnectionDoesNotExist: there is no such database.

        """
        from lambda_tasks.enqueue import destination, outgoing  # noqa: PLC0415

        self._check_keywords(args)
        try:
            from django.db import transaction  # noqa: PLC0415 - an optional package
        except ModuleNotFoundError as error:
            remedy = "install it, or use enqueue()"
            raise InvalidTask("there is no Django", source=f"task {self.name}", remedy=remedy) from error
        options, values = self.message_options, dict(kwargs)
        if "using" in values and not self.definition.takes("using"):
            options = options.with_changes(self.name, {"using": values.pop("using")})
        message = outgoing.make(self.definition, options, values)
        transaction.on_commit(functools.partial(destination.send, message), using=options.using)

    def options(self, /, **changes: Unpack[MessageOptionValues]) -> Self:
        """Return a copy of this task whose messages are sent in another way.

        Raises:
            InvalidTask: as where a task is defined; or an option is one that the worker reads of the task itself.

        """
        self._check_they_travel(changes)
        own = {name: value for name, value in changes.items() if name not in MESSAGE_OPTIONS}
        of_messages = {name: value for name, value in changes.items() if name in MESSAGE_OPTIONS}
        changed = copy.copy(self)
        if own:
            changed.definition = self.definition.with_options(own)
        if of_messages:
            changed.message_options = self.message_options.with_changes(self.name, of_messages)
        return changed

    def _check_they_travel(self, changes: Mapping[str, Any]) -> None:
        """Refuse options that would have no effect: a message does not carry them to the worker."""
        lost = [
            name for name in Options.__struct_fields__ if name in changes and name not in OF_TASKS_TOO | MESSAGE_OPTIONS
        ]
        if lost:
            problem = f"messages do not carry {', '.join(lost)}"
            remedy = f"put it where the task is defined, @task({lost[0]}=...): the worker reads it there"
            raise InvalidTask(problem, source=f"task {self.name}", remedy=remedy)

    def _check_keywords(self, args: tuple[object, ...]) -> None:
        if args:
            remedy = "give them by keyword: messages carry no positions"
            raise InvalidKwargs("the arguments are positional", source=f"task {self.name}", remedy=remedy)


if TYPE_CHECKING:

    class Made(Protocol[Q]):
        """An object of a class, whose constructor takes these arguments."""

        def __init__(self, *args: Q.args, **kwargs: Q.kwargs) -> None: ...

    MYPY = False  # which mypy takes for true

    class BatchTask(Task[..., R], Generic[K_co, R]):
        """A batch task, as type checkers see it. It is enqueued with what the class of its items' kwargs takes."""

        if MYPY:  # it knows no way from a class to the arguments of its constructor, other than the class

            @property
            def enqueue(self) -> type[K_co]: ...  # type: ignore[override]

        else:

            def enqueue(self: BatchTask[Made[Q], R], *args: Q.args, **kwargs: Q.kwargs) -> MessageId: ...

    class BatchDecorator(Protocol):
        """The decorator of functions that take a list of items. Kwargs without a class of their own may be any."""

        @overload
        def __call__(self, function: Callable[[list[Item[M]]], R], /) -> Task[..., R]: ...

        @overload
        def __call__(self, function: Callable[[list[Item[K]]], R], /) -> BatchTask[K, R]: ...


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(*, batch: Literal[True], **options: Unpack[OptionValuesOfAll]) -> BatchDecorator: ...


@overload
def task(
    *, batch: Literal[False] = False, **options: Unpack[OptionValuesOfAll]
) -> Callable[[Callable[P, R]], Task[P, R]]: ...


@overload
def task(*, batch: bool, **options: Unpack[OptionValuesOfAll]) -> Callable[[Callable[..., R]], Task[..., R]]: ...


def task(
    function: Callable[P, R] | None = None, /, **options: Unpack[OptionValues]
) -> Task[P, R] | Callable[[Callable[P, R]], Task[P, R]]:
    """Make a task of a function whose parameters can all be given by keyword.

    Use it bare, or with the options of `lambda_tasks.definition.options.Options`; times are seconds or a `timedelta`.

    Raises:
        InvalidTask: it could not be dispatched with these options or parameters.

    """
    if function is None:
        return functools.partial(_make, options=options)
    return _make(function, options)


def _make(function: Callable[P, R], options: Mapping[str, Any]) -> Task[P, R]:
    return Task(Definition.of(function, options))
