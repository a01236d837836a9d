"""Values that msgspec does not know, or would change in silence, from where they are enqueued to the task."""

from __future__ import annotations

import collections
import datetime
import enum
import json
import math
import subprocess
import sys
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Optional

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, computed_field, field_validator

import lambda_tasks
from events import message_body, sqs_record
from lambda_tasks import Item, task
from lambda_tasks.errors import InvalidKwargs, InvalidTask
from lambda_tasks.testing import TaskQueue
from workers import Dispatched, worker
from wrapper import ROOT

got: list[Any] = []


class Text(str):
    """A text such as Django's SafeString."""

    __slots__ = ()

    def __str__(self) -> str:
        return "not this one"


class Number(int):
    def __int__(self) -> int:
        return -1


class Measure(float):
    """A float such as numpy's float64."""


class Moment(datetime.datetime):
    """A datetime such as pendulum's."""


class Day(datetime.date):
    pass


class Price(Decimal):
    pass


class Names(list[Any]):
    pass


class Level(enum.IntEnum):
    HIGH = 3


class Ratio(enum.Enum):
    NONE = math.nan


@dataclass
class Line:
    amount: Any


class Part(msgspec.Struct):
    amount: Any


class Order(BaseModel):
    """A model with an alias, a computed field and a validator."""

    model_config = ConfigDict(extra="forbid")

    number: int = Field(alias="orderNumber")
    placed: datetime.datetime | None = None
    total: Decimal = Decimal(1)
    weight: float | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return self.number * 2

    @field_validator("number")
    @classmethod
    def positive(cls, value: int) -> int:
        if value < 0:
            raise ValueError(f"canary {value}")
        return value


@task
def take(*, value: Any) -> None:
    got.append(value)


@task
def ship(*, order: Order, others: list[Order] = [], maybe: Optional[Order] = None) -> None:  # noqa: B006, UP045
    got.append([order, others, maybe])


@task(batch=True)
def ship_all(items: list[Item[Order]]) -> None:
    got.extend(item.kwargs for item in items)


@task(singleton=("order",))
def ship_alone(*, order: Order) -> None: ...


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (Text("safe"), "safe"),
        (Number(7), 7),
        (Measure(1.5), 1.5),
        (Names([Text("a")]), ["a"]),
        (collections.OrderedDict(a=Text("b")), {"a": "b"}),
        (collections.defaultdict(Number, {Text("k"): Number(1)}), {"k": 1}),
        ({Number(1): "a", Measure(2.5): "b"}, {"1": "a", "2.5": "b"}),
        (Moment(2026, 1, 2, 3, 4, 5, 6, datetime.timezone.utc), "2026-01-02T03:04:05.000006Z"),
        (Day(2026, 1, 2), "2026-01-02"),
        (Price("9.90"), "9.90"),
        (Level.HIGH, 3),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Line(Text("in a dataclass")), {"amount": "in a dataclass"}),
        ([None, "nan", {"inf": None}], [None, "nan", {"inf": None}]),
    ],
)
def test_subclasses_are_sent_as_their_plain_values(task_queue: TaskQueue, value: object, sent: object) -> None:
    """Whatever a subclass of a plain type does to look different, its plain value travels, by itself and among many."""
    take.enqueue(value=value)
    take.enqueue_many([{"value": value}]).raise_for_errors()
    assert [one.kwargs for one in task_queue] == [{"value": sent}] * 2


def test_translations_are_sent_in_the_language_of_the_moment(task_queue: TaskQueue) -> None:
    """Django's lazy translations and safe strings are texts, as values and as keys."""
    from django.conf import settings  # noqa: PLC0415
    from django.utils.safestring import mark_safe  # noqa: PLC0415
    from django.utils.translation import gettext_lazy, ngettext_lazy  # noqa: PLC0415

    if not settings.configured:
        settings.configure(USE_I18N=False)
    take.enqueue(value=[gettext_lazy("order"), mark_safe("<b>"), {gettext_lazy("key"): ngettext_lazy("a", "b", 2)}])
    assert task_queue[0].kwargs == {"value": ["order", "<b>", {"key": "b"}]}


BAD = st.sampled_from([math.nan, math.inf, -math.inf, Measure("nan"), Ratio.NONE])
WRAPPED = st.recursive(
    BAD.map(lambda bad: (bad, "")),
    lambda inner: st.one_of(
        inner.map(lambda one: ([None, one[0]], f"[1]{one[1]}")),
        inner.map(lambda one: ((one[0],), f"[0]{one[1]}")),
        inner.map(lambda one: ({"a b": one[0], "n": "nan"}, f"[...]{one[1]}")),
        inner.map(lambda one: (Line(one[0]), f".amount{one[1]}")),
        inner.map(lambda one: (Part(one[0]), f".amount{one[1]}")),
    ),
    max_leaves=5,
)


@given(WRAPPED)
def test_numbers_that_json_lacks_are_refused_with_their_path(wrapped: tuple[Any, str]) -> None:
    """NaN and infinity would arrive as null: they are refused wherever they are."""
    value, path = wrapped
    with pytest.raises(InvalidKwargs) as caught:
        take.definition.encode_kwargs({"value": value})
    assert f" - at `$.value{path}`" in str(caught.value)


@pytest.mark.parametrize("key", [math.nan, math.inf, -math.inf, Measure("inf")])
def test_keys_that_json_lacks_are_refused_too(task_queue: TaskQueue, key: float) -> None:
    """A key that is no number would become a word."""
    with pytest.raises(InvalidKwargs, match=r"at `\$\.value \(a key\)`"):
        take.definition.encode_kwargs({"value": {key: 1}})
    enqueued = take.enqueue_many([{"value": {key: 1}}])
    assert isinstance(enqueued[0].error, InvalidKwargs)
    assert len(task_queue) == 0


def test_models_validate_and_convert(task_queue: TaskQueue) -> None:
    """A model, or what JSON has of one, arrives as a model: by itself, in lists, and in batch tasks."""
    got.clear()
    order = Order(
        orderNumber=1, placed=datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc), total=Decimal("9.90")
    )
    as_json: Any = {"orderNumber": 2}
    ship.enqueue(order=order, others=[order, as_json], maybe=None)
    ship.enqueue(order={"orderNumber": 3})  # type: ignore[call-overload]
    ship_all.enqueue(orderNumber=4)
    task_queue.run()
    assert got[0] == [order, [order, Order(orderNumber=2)], None]
    assert [one.number for one in (got[1][0], got[2])] == [3, 4]
    assert ship_alone.definition.singleton_key({"order": order}) != ship_alone.definition.singleton_key(
        {"order": got[2]}
    )


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ({"orderNumber": "1"}, "Input should be a valid integer - at `.orderNumber` of it - at `$.order`"),
        ({"orderNumber": 1, "extra": 1}, "Extra inputs are not permitted - at `[...]` of it - at `$.order`"),
        ({"orderNumber": -5}, "value_error - at `.orderNumber` of it - at `$.order`"),
        (5, "Input should be an object - at `$.order`"),
    ],
)
def test_what_a_model_refuses_is_told_without_the_value(order: object, problem: str) -> None:
    """Validation is strict, the place is named, and no value is in the error, at either end."""
    with pytest.raises(InvalidKwargs) as caught:
        ship.definition.encode_kwargs({"order": order})
    assert problem in str(caught.value)
    assert "canary" not in str(caught.value)
    dispatched = Dispatched(worker(), sqs_record(message_body("test_values.ship", order=order)))
    assert dispatched.outcomes == ["rejected"]
    assert str(dispatched.errors[0]) == str(caught.value)


def test_a_models_numbers_are_looked_at_too() -> None:
    """Pydantic sends NaN as null as well."""
    with pytest.raises(InvalidKwargs, match=r"JSON has no nan - at `\$\.order\.weight`"):
        ship.definition.encode_kwargs({"order": Order(orderNumber=1, weight=math.nan)})


def test_nothing_is_imported_for_other_values() -> None:
    """A process that sends and decodes plain values imports neither pydantic nor Django."""
    program = (
        "import sys; from catalogue import tasks; tasks.note.definition.encode_kwargs({'text': 'a'});"
        "print([name for name in ('pydantic', 'django') if name in sys.modules])"
    )
    environ = {"PYTHONPATH": f"{ROOT}/python:{ROOT}/tests"}
    printed = subprocess.run([sys.executable, "-c", program], env=environ, check=True, capture_output=True, text=True)
    assert printed.stdout == "[]\n"


@pytest.mark.parametrize("value", [object(), {object()}, {"a": 1}.keys(), {(1, 2): 3}])
def test_what_has_no_form_in_json_is_refused(value: object) -> None:
    """Any other type is an error where it is enqueued."""
    with pytest.raises(InvalidKwargs, match="the kwargs cannot be encoded"):
        take.definition.encode_kwargs({"value": value})


LOST: list[dict[str, Any]] = [
    {"retry_on": (OSError,)}, {"max_retries": 1}, {"retry_delay": 1}, {"ignore_errors": (OSError,)}, {"soft_timeout": 1},
    {"hard_timeout": 1}, {"singleton": True}, {"singleton_busy": "skip"}, {"batch": True},
]  # fmt: skip


@pytest.mark.parametrize("options", LOST, ids=lambda options: next(iter(options)))
def test_options_that_messages_do_not_carry_are_refused(options: dict[str, Any]) -> None:
    """They would change nothing at the worker; the error says where they belong."""
    (name,) = options
    with pytest.raises(InvalidTask, match=rf"messages do not carry {name} .*@task\({name}=\.\.\.\)"):
        take.options(delay=1, **options)


class Shop:
    @staticmethod
    @task
    def sell() -> None: ...


def _hidden() -> None: ...


shown = task(_hidden)


@task
def twice() -> None: ...


first = twice


@task  # type: ignore[no-redef]
def twice() -> None:
    """The second of one name."""


@pytest.mark.parametrize("lost", [Shop.sell, shown, first])
def test_a_task_whose_name_leads_elsewhere_is_refused(task_queue: TaskQueue, lost: lambda_tasks.Task[[], None]) -> None:
    """What the dispatcher would reject is not enqueued, by itself or among many."""
    for enqueue in (lost.enqueue, lambda: lost.options(delay=1).enqueue_many([{}])):
        with pytest.raises(InvalidTask, match=r"the task's name does not lead to it .*put @task above a function"):
            enqueue()
    twice.options(delay=1).enqueue()
    assert len(task_queue) == 1


def test_a_module_that_is_not_imported_here_is_not_looked_into() -> None:
    """A module by another name than the worker's is left to the worker to judge."""
    namespace: dict[str, Any] = {"__name__": "somewhere.tasks", "task": task}
    exec("@task\ndef run(): ...\nclass A:\n    run = staticmethod(task(lambda: 0))", namespace)  # noqa: S102
    assert namespace["run"].definition.leads_back
    assert not namespace["A"].run.definition.leads_back


@pytest.mark.parametrize(
    ("n_retries", "outcome"), [(-1, "rejected"), (0, "succeeded"), (10**30, "succeeded"), (True, "rejected")]
)
def test_retries_are_counted_from_none(n_retries: int, outcome: str) -> None:
    """A negative number of retries is malformed."""
    body = json.dumps({"task_name": "test_values.take", "kwargs": {"value": 1}, "n_retries": n_retries})
    assert Dispatched(worker(), sqs_record(body)).outcomes == [outcome]
