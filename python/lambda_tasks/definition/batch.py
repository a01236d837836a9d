"""Batch tasks: one call for all messages of an invocation that share a context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from lambda_tasks.errors import LambdaTasksError, Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from lambda_tasks.messages.context import Context

K = TypeVar("K")


class ItemFailed(LambdaTasksError):
    """The error of a message that a batch task failed with a text for a reason."""


class Item(Generic[K]):
    """One message of a batch: its `kwargs`, of the type that the task's annotation ``list[Item[...]]`` names.

    A message that the task neither fails nor retries succeeds when the task returns. It fails as the task does, when
    the task raises.
    """

    def __init__(self, kwargs: K, context: Context) -> None:
        self.kwargs = kwargs
        self.context = context
        self.error: BaseException | None = None

    def __repr__(self) -> str:
        return f"<item {self.message_id}>"

    @property
    def message_id(self) -> str:
        """SQS's id of the message."""
        return self.context.message_id

    def fail(self, error: BaseException | str) -> None:
        """Let this message end as if the task had raised `error` for it alone: retried, ignored, rejected or failed."""
        self.error = ItemFailed(error) if isinstance(error, str) else error

    def retry(self, *, delay: float | timedelta | None = None) -> None:
        """Let this message be tried again, after `delay` seconds or else the usual backoff."""
        self.error = Retry(delay=delay)


class BatchKwargs(NamedTuple):
    """A reader of the kwargs of one message of a batch task. `names` are the possible ones; None means any."""

    parameter: str
    decoder: msgspec.json.Decoder[Any]
    names: frozenset[str] | None

    @property
    def type(self) -> Any:  # noqa: ANN401 - whatever the annotation says
        """The type that the kwargs become."""
        return self.decoder.type

    def decode(self, kwargs: bytes | msgspec.Raw) -> object:
        """Validate the JSON object `kwargs` strictly, and convert it.

        Raises:
            msgspec.MsgspecError: it does not match.

        """
        values = self.decoder.decode(kwargs)
        if self.names is not None:
            unknown = sorted(set(_OBJECT.decode(kwargs)) - self.names)
            if unknown:
                raise msgspec.ValidationError(f"Object contains unknown field `{unknown[0]}`")
        return values


_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def batch_kwargs(
    function: Callable[..., Any], parameters: Sequence[str], converted: Callable[[type, object], object]
) -> BatchKwargs:
    """Return how to read the messages of the batch task `function`; `converted` makes what msgspec cannot.

    Raises:
        TypeError: it does not take one list of items.

    """
    if len(parameters) != 1:
        raise TypeError("it has other parameters than one list of items")
    (parameter,) = parameters
    annotation = get_type_hints(function, include_extras=True).get(parameter, list)
    item = get_args(annotation)[0] if get_args(annotation) else Item
    if get_origin(annotation) not in (list, None) or (item is not Item and get_origin(item) is not Item):
        raise TypeError(f"its parameter {parameter} is no list of items")
    model = get_args(item)[0] if get_args(item) else dict[str, Any]
    return BatchKwargs(parameter, msgspec.json.Decoder(model, dec_hook=converted), _names(model))


def _names(model: Any) -> frozenset[str] | None:  # noqa: ANN401 - whatever the annotation says
    if hasattr(model, "__pydantic_validator__"):
        return None  # it says itself what it takes
    fields = getattr(model, "__annotations__", None)
    return frozenset(get_type_hints(model)) if isinstance(model, type) and fields is not None else None
