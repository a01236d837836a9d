"""What a task returns: the answer to an event that is a message itself, and what its annotation says beforehand."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import logging
import pathlib
import re
import socket
import threading
import typing
import uuid
from abc import ABC
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from catalogue import raising
from events import Context
from lambda_tasks.definition.returned import type_without_json
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.errors import InvalidTask
from lambda_tasks.tasks.task import task
from workers import worker


def answer(kind: str) -> object:
    event = {"task_name": "catalogue.raising.give", "kwargs": {"kind": kind}}
    return dispatch(event, Context(60), worker())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("set", [1]),
        ("text", "safe"),
        ("texts", {"key": ["safe"]}),
        ("nan", None),
        ("big", 2**70),
        ("int_keys", {"1": 2}),
        ("bytes", "eA=="),
    ],
)
def test_a_result_is_answered_as_its_json(kind: str, expected: object, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever has a form in JSON is answered in that form, of JSON's own types."""
    found = answer(kind)
    assert found == expected
    assert type(found) is type(expected)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("kind", ["complex", "object", "surrogate", "tuple_keys", "large", "unencodable", "cycle"])
def test_a_result_without_a_form_in_json_is_null(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """After the effect there is no error: the result is null, and a warning says why."""
    assert answer(kind) is None
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "is answered as null" in warning.getMessage()
    assert len(warning.getMessage()) < 1000


class Plain:
    """A class that JSON knows nothing of."""


class Base:
    """A class that others derive from."""


@dataclasses.dataclass
class Derived(Base):
    number: int = 1


@dataclasses.dataclass
class Declared:
    number: int


class Abstract(ABC):  # noqa: B024
    """Whatever implements it."""


class Proto(typing.Protocol):
    """Whatever looks like it."""


class Struct(msgspec.Struct):
    number: int


class Colour(enum.Enum):
    RED = 1


class Typed(typing.TypedDict):
    number: int


class Pair(typing.NamedTuple):
    first: int


class Text(str):
    __slots__ = ()


class Failure(Exception):
    """An error, which could be a dataclass."""


T = typing.TypeVar("T")
New = typing.NewType("New", int)


def returning(annotation: object) -> Any:
    def function() -> None: ...

    function.__annotations__["return"] = annotation
    return function


@pytest.mark.parametrize(
    "annotation",
    [
        complex,
        range,
        slice,
        type,
        Plain,
        pathlib.Path,
        re.Pattern,
        socket.socket,
        type(threading.Lock()),
        "complex",
        "Plain",
        "pathlib.Path",
    ],
)
def test_a_task_whose_result_cannot_be_json_is_refused(annotation: object) -> None:
    """Where no value of the annotated type has a form in JSON, the task is refused when it is defined."""
    with pytest.raises(InvalidTask, match="has no form in JSON"):
        task(returning(annotation))


@pytest.mark.parametrize(
    "annotation",
    [
        None,
        Any,
        object,
        int,
        str,
        bytes,
        bool,
        float,
        list,
        dict,
        set,
        tuple,
        Decimal,
        datetime,
        uuid.UUID,
        Text,
        Base,
        Derived,
        Declared,
        Abstract,
        Proto,
        Struct,
        Colour,
        Typed,
        Pair,
        Failure,
        T,
        New,
        list[int],
        list[complex],
        complex | None,
        type[int],
        typing.NoReturn,
        typing.Literal[1],
        collections.abc.Iterator,
        typing.Iterator[int],
        collections.abc.Generator[int, None, None],
        collections.abc.Callable[[], int],
        5,
        "5",
        "",
        "Nowhere",
        "Plain | None",
        "no.where",
        "pathlib.Nowhere",
        "Plain.inner",
        "list[Plain]",
        "a b",
        "T",
        ...,
    ],
)
def test_any_other_annotation_is_left_alone(annotation: object) -> None:
    """What may be JSON, what is not known yet, and what is no class at all is not refused."""
    task(returning(annotation))


def test_annotations_that_cannot_be_evaluated_are_left_alone() -> None:
    """From Python 3.14 on annotations are evaluated when they are asked for, which may be too early."""

    class Function:
        @property
        def __annotations__(self) -> Any:  # type: ignore[override]
            raise NameError("later")

    assert type_without_json(Function()) is None  # type: ignore[arg-type]


def test_what_a_task_gives_is_not_what_it_says() -> None:
    """A task without an annotation may give anything."""
    assert raising.give.function(kind="complex") == 1j
