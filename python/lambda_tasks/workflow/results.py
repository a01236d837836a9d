"""The result of a step as JSON, with its place: in the store, or in the bucket for payloads where it is large."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from lambda_tasks.definition import values
from lambda_tasks.messages.fetching import memory_for_payloads
from lambda_tasks.messages.payload import Pointer
from lambda_tasks.workflow.errors import InvalidStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    from lambda_tasks.settings import Settings

    class Objects(Protocol):
        """The calls of S3 that large results need."""

        def put_object(self, bucket: str, key: str, body: bytes, *, deadline: float | None = None) -> None:
            """Put an object."""
            ...

        def get_object(self, bucket: str, key: str, *, deadline: float, admit: Callable[[int], None]) -> bytes:
            """Return an object; `admit` is told its size before it is read."""
            ...

    class Worker(Protocol):
        """The settings of a function, and its way to S3."""

        settings: Settings
        environ: Mapping[str, str]

        @property
        def calls(self) -> Objects:
            """The calls of S3."""
            ...


MAX_RESULT_BYTES = 64 * 1024  # an item holds 400 KB, and each further KB is another write unit
_UPLOAD_SECONDS = 60.0


class Content(msgspec.Struct, omit_defaults=True):
    """What is kept of a step: its result as JSON, or the bucket and the key of that.

    Its place is the `number` in the `scope`, and the item of the loop that the scope is, from 0 (`item`). One whose
    function returned something to be awaited `is_awaited`.
    """

    result: msgspec.Raw = msgspec.Raw(b"")
    pointer: tuple[str, str] | None = None
    scope: str = ""
    number: int = 0
    item: int = 0
    is_awaited: bool = False

    def text(self) -> str:
        """Return it as it is stored."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def read(cls, text: str) -> Content:
        """Return what `text` says."""
        return _DECODER.decode(text)


_DECODER = msgspec.json.Decoder(Content)


def encoded(name: str, value: object) -> bytes:
    """Return the result of a step as JSON.

    Raises:
        InvalidStep: it has no form in JSON.

    """
    try:
        return values.encode_value(value)
    except Exception as error:
        remedy = "return what JSON can hold, such as ids, and keep the rest elsewhere"
        kind = type(value).__name__
        raise InvalidStep(f"its result, {kind}, has no form in JSON", source=f"step {name!r}", remedy=remedy) from error


def raw(result: bytes) -> msgspec.Raw:
    """Return JSON as a part of other JSON."""
    return msgspec.Raw(result)


def decoded(result: bytes, function: object) -> Any:  # noqa: ANN401 - whatever the step returned
    """Return a result of the type that the function is annotated to return; else as JSON has it."""
    kind = _annotated(function)
    if kind is not Any:
        try:
            return msgspec.json.decode(result, type=kind, dec_hook=values.converted)
        except Exception:  # noqa: BLE001, S110 - it returned something else, or msgspec does not know the type
            pass
    return msgspec.json.decode(result)


def put(name: str, result: bytes, message_id: str, worker: Worker) -> Pointer:
    """Put a large result into the bucket for payloads, and return where it is.

    Raises:
        InvalidStep: there is no such bucket.
        CallFailed: S3 did not take it.

    """
    bucket = worker.settings.payload_bucket
    if bucket is None:
        raise InvalidStep(
            f"its result has {len(result):,} bytes of JSON, and {MAX_RESULT_BYTES:,} is the most",
            variable="LAMBDA_TASKS_PAYLOAD_BUCKET",
            source=f"step {name!r}",
            remedy="set it to a bucket for larger ones, or return a reference in place of the content",
        )
    pointer = Pointer(bucket, f"steps/{message_id}/{os.urandom(16).hex()}")
    worker.calls.put_object(pointer.bucket, pointer.key, result, deadline=time.monotonic() + _UPLOAD_SECONDS)
    return pointer


def get(name: str, pointer: tuple[str, str], worker: Worker) -> bytes:
    """Return a large result.

    Raises:
        InvalidStep: it is larger than a quarter of the function's memory.
        PayloadNotFound: it is gone.
        PayloadUnavailable: S3 did not give it.

    """
    most = memory_for_payloads(worker.environ)

    def admit(size_bytes: int) -> None:
        if size_bytes > most:
            remedy = "give the function more memory: a result may have a quarter of it"
            raise InvalidStep(f"its result has {size_bytes:,} bytes", source=f"step {name!r}", remedy=remedy)

    def get_object(bucket: str, key: str) -> bytes:
        return worker.calls.get_object(bucket, key, deadline=time.monotonic() + _UPLOAD_SECONDS, admit=admit)

    return Pointer(*pointer).fetch(get_object)


def _annotated(function: object) -> Any:  # noqa: ANN401
    """Return the type that a function, or a part of one, is annotated to return; Any where nothing says it."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    function = getattr(function, "__wrapped__", function)
    if "return" not in getattr(function, "__annotations__", ()):
        return Any
    try:
        found = get_type_hints(function, include_extras=True)["return"]
    except Exception:  # noqa: BLE001 - a name that is there for type checkers alone, say
        return Any
    return type(None) if found is None else found
