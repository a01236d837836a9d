"""What does not fit is told without its value: in errors, in log records, and in tracebacks of tasks that enqueue."""

from __future__ import annotations

import dataclasses
import enum
import logging
import uuid
from datetime import datetime
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticCustomError

from events import message_body, sqs_record
from lambda_tasks import Item, task
from lambda_tasks.errors import InvalidKwargs
from lambda_tasks.testing import TaskQueue
from workers import Dispatched, worker

SECRET = "SECRET-ARG"


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


class Circle(msgspec.Struct, tag="circle", forbid_unknown_fields=True):
    radius: int


class Square(msgspec.Struct, tag="square"):
    side: Colour


@dataclasses.dataclass
class Account:
    number: str

    def __post_init__(self) -> None:
        raise ValueError(f"no such account: {self.number}")


class Address(TypedDict):
    street: str


class Customer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = ""
    token: uuid.UUID | None = None
    colours: dict[str, Colour] = {}

    @field_validator("name")
    @classmethod
    def check(cls, name: str) -> str:
        if name:
            raise PydanticCustomError("no_such_customer", "Input should be no {name}", {"name": name})
        return name


@task
def take(
    *,
    colour: Colour | None = None,
    colours: dict[str, Colour] | None = None,
    by_colour: dict[Colour, int] | None = None,
    pairs: list[tuple[int, Colour]] | None = None,
    size: Size | None = None,
    shape: Circle | Square | None = None,
    word: Literal["a", "b"] | None = None,
    account: Account | None = None,
    address: Address | None = None,
    customer: Customer | None = None,
    code: Annotated[str, msgspec.Meta(pattern="^[0-9]$")] | None = None,
    at: datetime | None = None,
    key: uuid.UUID | None = None,
) -> None:
    """A task with every kind of annotation that may refuse a value."""


@task(batch=True)
def take_all(items: list[Item[Account]]) -> None:
    """A batch task whose items may refuse a value."""


@task
def send_on(*, kwargs: dict[str, Any]) -> None:
    """Enqueue what does not fit, and fail by it."""
    take.enqueue(**kwargs)


@pytest.mark.parametrize(
    ("kwargs", "problem"),
    [
        ({"colour": SECRET}, "Invalid enum value, expected `Colour`, `none` - at `$.colour`"),
        ({"colours": {SECRET: SECRET}}, "Invalid enum value, expected `Colour` - at `$.colours[...]`"),
        ({"by_colour": {SECRET: 1}}, "Invalid enum value, expected `Colour` - at `key` in `$.by_colour`"),
        ({"pairs": [[1, SECRET]]}, "Invalid enum value, expected `Colour` - at `$.pairs[0][1]`"),
        ({"size": 987654321}, "Invalid enum value, expected `Size`, `none` - at `$.size`"),
        ({"shape": {"type": SECRET}}, "Invalid value, expected `Circle`, `Square`, `none` - at `$.shape.type`"),
        (
            {"shape": {"type": "circle", "radius": 1, SECRET: 1}},
            "unknown field, expected `radius`, `side` - at `$.shape`",
        ),
        ({"shape": {"type": "square", "side": SECRET}}, "Invalid enum value, expected `Colour` - at `$.shape.side`"),
        ({"word": SECRET}, "Invalid enum value, expected `'a'`, `'b'`, `none` - at `$.word`"),
        ({"account": {"number": SECRET}}, "Invalid value (ValueError), expected `Account`, `none` - at `$.account`"),
        ({"address": {"street": 987654321}}, "Expected `str`, got `int` - at `$.address.street`"),
        ({"customer": {"name": SECRET}}, "no_such_customer - at `.name` of it - at `$.customer`"),
        ({"customer": {SECRET: 1}}, "Extra inputs are not permitted - at `[...]` of it - at `$.customer`"),
        ({"customer": {"token": SECRET}}, "Input should be a valid UUID - at `.token` of it - at `$.customer`"),
        ({"customer": {"colours": {SECRET: 1}}}, "Input should be 'red' - at `.colours[...]` of it - at `$.customer`"),
        ({"code": SECRET}, "Expected `str` matching regex '^[0-9]$' - at `$.code`"),
        ({"at": SECRET}, "Invalid RFC3339 encoded datetime - at `$.at`"),
        ({"key": SECRET}, "Invalid UUID - at `$.key`"),
        ({SECRET: 1}, "Object contains unknown field, expected `colour`, `colours`, `by_colour`"),
    ],
)
def test_no_value_is_told(
    kwargs: dict[str, Any], problem: str, caplog: pytest.LogCaptureFixture, task_queue: TaskQueue
) -> None:
    """A rejection names the place and what was expected there, where a message arrives and where one is sent."""
    with caplog.at_level(logging.INFO):
        records = [sqs_record(message_body("test_misfit.take", **kwargs))]
        records.append(sqs_record(message_body("test_misfit.send_on", kwargs=kwargs)))
        dispatched = Dispatched(worker(), *records)
        enqueued = take.enqueue_many([kwargs])
    assert dispatched.outcomes == ["rejected", "failed"]
    assert all(problem in str(one) for one in (*dispatched.errors, enqueued[0].error))
    assert len([one for one in caplog.records if one.levelno == logging.ERROR]) == 3
    for unwanted in (SECRET, "987654321"):
        assert unwanted not in caplog.text
    assert len(task_queue) == 0


@pytest.mark.parametrize("kwargs", [{"number": SECRET}, {"number": "1", SECRET: 1}])
def test_no_value_of_an_item_is_told(kwargs: dict[str, str]) -> None:
    """What a batch task's item refuses is told without its value, and without a name that its sender chose."""
    (error,) = Dispatched(worker(), sqs_record(message_body("test_misfit.take_all", **kwargs))).errors
    assert isinstance(error, InvalidKwargs)
    assert "Account" in str(error) or "`number`" in str(error)
    assert SECRET not in f"{error}{error.__context__}{error.__cause__}"


def test_what_cannot_be_dumped_is_told_without_its_value() -> None:
    """Where a value has no form in JSON the error tells its type, and of what is in it the place alone."""
    with pytest.raises(InvalidKwargs, match=r"JSON has no nan - at `\$\.colours\[\.\.\.\]`"):
        take.definition.encode_kwargs({"colours": {SECRET: float("nan")}})
