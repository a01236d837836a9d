"""The definition of a task of ``django.tasks`` for the dispatcher, which finds it by the name in a message."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from django.utils.module_loading import import_string

from lambda_tasks.definition import lookup, values
from lambda_tasks.definition.definition import Definition
from lambda_tasks.definition.options import Options
from lambda_tasks.definition.signature import Required
from lambda_tasks.django import running
from lambda_tasks.django.request import DECODER, Request
from lambda_tasks.django.running import Call
from lambda_tasks.django.tasks_api import Task, task_backends
from lambda_tasks.enqueue.message_options import MessageOptions
from lambda_tasks.errors import InvalidKwargs, InvalidTask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambda_tasks.messages.body import Message

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = "_lambda_tasks_options"
GROUP = "group"
_ARGS = msgspec.json.Decoder(list[Any])
_KWARGS = msgspec.json.Decoder(dict[str, Any])
# Django has its own words for these, or the message has no place for them.
_NOT_HERE = frozenset({"batch", "delay", "queue"})


def options(**given: Any) -> Callable[[F], F]:  # noqa: ANN401 - those of `lambda_tasks.task`
    """Give a task of ``django.tasks`` options of the dispatcher: a decorator below Django's own.

    Raises:
        InvalidTask: as `lambda_tasks.task`.

    """
    check_options(given)

    def decorate(function: F) -> F:
        setattr(function, _OPTIONS, given)
        return function

    return decorate


def check_options(given: Mapping[str, Any]) -> Options:
    """Return the options of the worker that `given` means; a class among them may be a dotted path.

    Raises:
        ImportError: there is no such class.
        InvalidTask: as `Options.check`; or the group is no text and no names.

    """
    check_group(given.get(GROUP))
    misplaced = sorted(_NOT_HERE & given.keys())
    if misplaced:
        remedy = "use what django.tasks has: queue_name, run_after, and one call for each message"
        raise InvalidTask(f"there is no option {misplaced[0]} here", remedy=remedy)
    own = {name: value for name, value in given.items() if name != GROUP}
    return Options.check({name: _imported(value) if name in _CLASSES else value for name, value in own.items()})


_CLASSES = ("ignore_errors", "retry_on")


def _imported(value: object) -> object:
    several = value if isinstance(value, (list, tuple)) else [value]
    return tuple(import_string(one) if isinstance(one, str) else one for one in several)


class DjangoDefinition(Definition):
    """The definition of one task of Django's. Its arguments are its own to check, as Django has it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.name = task.module_path
        self.is_async = inspect.iscoroutinefunction(task.func)
        self.module = task.func.__module__
        self.function: Any = running.run_async if self.is_async else running.run
        self.options = check_options(options_of(task))
        self.is_plain = self.options.is_plain
        self._parameters = {"call": Required}
        self._has_defaults = False
        if self.is_async and self.options.atomic:
            raise InvalidTask("an async task cannot be atomic", source=f"task {self.name}")

    def decode(self, message: Message) -> dict[str, Any]:
        """See `Definition.decode`; positional arguments are welcome."""
        try:
            args = _ARGS.decode(message.args) if message.args else []
            kwargs = _KWARGS.decode(message.kwargs)
            request = DECODER.decode(message.origin) if message.origin else None
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            remedy = "send what django.tasks sends"
            problem = f"the arguments do not fit: {error}"
            raise InvalidKwargs(problem, source=f"task {self.name}", remedy=remedy) from error
        return {"call": Call(self.task, args, kwargs, message.id, request)}

    def decode_kwargs(self, kwargs: bytes | msgspec.Raw) -> dict[str, Any]:
        """See `Definition.decode_kwargs`; the values are those of JSON."""
        return _KWARGS.decode(kwargs)

    def singleton_values(self, kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - as decode returns them
        """See `Definition.singleton_values`."""
        names = self.options.singleton
        if isinstance(names, bool):
            return {}
        given = self.by_name(kwargs)
        return {name: given.get(name) for name in names}

    def given(self, kwargs: Any, name: str) -> Any:  # noqa: ANN401
        """See `Definition.given`."""
        return self.by_name(kwargs).get(name)

    def by_name(self, kwargs: Any) -> dict[str, Any]:  # noqa: ANN401
        """See `Definition.by_name`; defaults count. Arguments that do not fit, as the call will say, have numbers."""
        call: Call = kwargs["call"]
        return call.by_name()


def options_of(task: Task) -> dict[str, Any]:
    """Return the options that a task has: its own, or else those of its backend."""
    return {**_defaults(task), **getattr(task.func, _OPTIONS, {})}


def check_group(given: Any) -> None:  # noqa: ANN401 - whatever the application's settings hold
    """Check what the option is set to: a group's name, or a tuple with names of arguments.

    Raises:
        InvalidTask: it is neither.

    """
    if isinstance(given, (tuple, list)) and given and all(isinstance(one, str) for one in given):
        return
    if given is not None and not isinstance(given, str):
        remedy = 'use a text, or a tuple with names of the task\'s parameters, such as ("customer_id",)'
        raise InvalidTask(f"group is {given!r}", remedy=remedy)
    MessageOptions().with_changes("group", {GROUP: given})


def group_of(given: str | tuple[str, ...] | None, call: Call) -> str | None:
    """Return the group of a call: the one that is `given`, or one for each value of the arguments of those names.

    Raises:
        InvalidTask: the task has no such parameter.

    """
    if given is None or isinstance(given, str):
        return given
    arguments = call.by_name()
    missing = [name for name in given if name not in arguments]
    if missing:
        source, remedy = f"task {call.task.module_path}", "name parameters of the task"
        raise InvalidTask(f"there is no argument {missing[0]} for the group", source=source, remedy=remedy)
    chosen = [arguments[name] for name in given]
    if len(chosen) == 1 and isinstance(chosen[0], (int, str)):
        try:
            MessageOptions().with_changes("group", {GROUP: str(chosen[0])})
            return str(chosen[0])
        except InvalidTask:
            pass  # SQS takes no such text for a group
    return hashlib.sha256(values.encode_value(chosen)).hexdigest()


def _defaults(task: Task) -> Mapping[str, Any]:
    """Return the options that the backend of a task gives to all of its tasks, or else another one of ours does."""
    for alias in [task.backend, *task_backends]:
        found: Mapping[str, Any] | None = getattr(task_backends[alias], "task_options", None)
        if found is not None:
            return found
    return {}


def _adapted(found: object) -> Definition | None:
    return DjangoDefinition(found) if isinstance(found, Task) else None


lookup.adapters.append(_adapted)

__all__ = ["DjangoDefinition", "Request", "check_options", "group_of", "options", "options_of"]
