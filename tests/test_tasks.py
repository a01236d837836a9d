"""Tasks as they are defined and enqueued: options, annotations, and the wire format."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import inspect
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, cast, get_type_hints
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lambda_tasks
from lambda_tasks import Task, task
from lambda_tasks.definition.options import Options, OptionValues
from lambda_tasks.definition.signature import Required, is_coroutine_function, parameters_of
from lambda_tasks.errors import InvalidKwargs, InvalidTask, LambdaTasksError, MalformedMessage
from lambda_tasks.messages import body as message


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Address:
    street: str
    number: int = 1


@task
def everything(
    *,
    number: int,
    moment: datetime,
    key: UUID,
    price: Decimal,
    colour: Colour,
    address: Address,
    note: str | None = None,
) -> tuple[object, ...]:
    """A task with every kind of annotation that is converted."""
    return number, moment, key, price, colour, address, note


@task(retry_on=(ConnectionError,), max_retries=5, soft_timeout=60, hard_timeout=timedelta(seconds=90))
def send_receipt(*, order_id: int, copies: int = 1) -> str:
    return f"receipt {order_id} x {copies}"


KWARGS: dict[str, Any] = {
    "number": 1,
    "moment": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
    "key": UUID(int=7),
    "price": Decimal("9.90"),
    "colour": Colour.RED,
    "address": Address("Main", 2),
}


def test_public_names_are_imported_when_they_are_used() -> None:
    """The package gives its public names lazily, and says so where there is none."""
    assert lambda_tasks.Task is Task
    assert lambda_tasks.LambdaTasksError is LambdaTasksError
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = lambda_tasks.nothing


def test_a_task_is_called_as_the_function_that_it_is() -> None:
    """A plain call runs the function here, and the task keeps its name, docstring and signature."""
    assert send_receipt(order_id=1) == "receipt 1 x 1"
    assert repr(everything) == "<task test_tasks.everything>"
    assert everything.__doc__ == "A task with every kind of annotation that is converted."
    assert everything.__wrapped__ is everything.function  # type: ignore[attr-defined]


def test_kwargs_are_converted_as_the_annotations_say() -> None:
    """Kwargs that the producer encodes arrive at the task in the annotated types, without the defaults."""
    assert everything.definition.decode_kwargs(everything.definition.encode_kwargs(KWARGS)) == KWARGS


@given(st.fixed_dictionaries({"order_id": st.integers(-(2**63), 2**63 - 1)}, optional={"copies": st.integers(0, 9)}))
def test_any_kwargs_survive_the_wire(kwargs: dict[str, int]) -> None:
    """A body holds the task's name, the kwargs and a count of zero, and gives the same kwargs back."""
    body = message.encode(send_receipt.name, send_receipt.definition.encode_kwargs(kwargs))
    assert json.loads(body) == {"task_name": "test_tasks.send_receipt", "kwargs": kwargs, "n_retries": 0}
    received = message.decode(body)
    assert (received.task_name, received.n_retries) == ("test_tasks.send_receipt", 0)
    assert send_receipt.definition.decode_kwargs(received.kwargs) == kwargs


@pytest.mark.parametrize(
    ("kwargs", "problem"),
    [
        ({"order_id": "1"}, "the kwargs do not fit: Expected `int`, got `str` - at `$.order_id`"),
        ({"order_id": True}, "the kwargs do not fit: Expected `int`, got `bool` - at `$.order_id`"),
        ({}, "the kwargs do not fit: Object missing required field `order_id`"),
        (
            {"order_id": 1, "x": 1},
            "the kwargs do not fit: Object contains unknown field, expected `order_id`, `copies`",
        ),
        ({"order_id": None}, "the kwargs do not fit: Expected `int`, got `null` - at `$.order_id`"),
        ({"order_id": object()}, "the kwargs cannot be encoded: Encoding objects of type object is unsupported"),
    ],
)
def test_kwargs_that_do_not_fit(kwargs: dict[str, Any], problem: str) -> None:
    """Kwargs are validated strictly where they are enqueued; the error names the place, not the value."""
    with pytest.raises(InvalidKwargs) as caught:
        send_receipt.definition.encode_kwargs(kwargs)
    assert str(caught.value).startswith(f"{problem} (task test_tasks.send_receipt): ")


@pytest.mark.parametrize(
    "body", ["", "canary", "[]", "1", '{"kwargs": {}}', '{"task_name": 1}', '{"task_name": "a", "n_retries": "1"}', None, 7]
)  # fmt: skip
def test_bodies_that_are_malformed(body: object) -> None:
    """A body that is not of the wire format is an error that shows the right one and not the body."""
    with pytest.raises(MalformedMessage) as caught:
        message.decode(body)
    assert str(caught.value).endswith(': send {"task_name": "package.module.task", "kwargs": {}, "n_retries": 0}')
    assert "canary" not in str(caught.value)


@given(st.text() | st.binary())
def test_any_body_is_decoded_or_malformed(body: str | bytes) -> None:
    """No body makes the decoder fail otherwise than as malformed."""
    with contextlib.suppress(MalformedMessage):
        assert isinstance(message.decode(body), message.Message)


RATE = 'a number and a time: "10/s", "100/m", "5/10s", "1000/d"'
OPTION_ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"delay": 901}, "delay is 901 s (task {name}): use from 0 to 900 s"),
    ({"delay": -1}, "delay is -1 s (task {name}): use from 0 to 900 s"),
    ({"delay": timedelta(hours=1)}, "delay is 3600.0 s (task {name}): use from 0 to 900 s"),
    ({"delay": "60"}, "delay is '60' (task {name}): use seconds, as a number or a timedelta"),
    ({"delay": float("nan")}, "delay is nan (task {name}): use seconds, as a number or a timedelta"),
    ({"delay": True}, "delay is True (task {name}): use seconds, as a number or a timedelta"),
    ({"retry_delay": 43201}, "retry_delay is 43201 s (task {name}): use from 0 to 43200 s"),
    ({"soft_timeout": 0}, "soft_timeout is 0 s (task {name}): use from 0.001 to 5400 s"),
    (
        {"soft_timeout": 60, "hard_timeout": 60},
        "soft_timeout is not below hard_timeout (task {name}): "
        "the soft timeout lets a task clean up before the hard one ends it: make it shorter",
    ),
    (
        {"retry_on": "ValueError"},
        "retry_on holds 'ValueError' (task {name}): use exception classes, such as (ConnectionError,)",
    ),
    (
        {"ignore_errors": (int,)},
        "ignore_errors holds <class 'int'> (task {name}): use exception classes, such as (ConnectionError,)",
    ),
    (
        {"retry_on": (OSError,), "ignore_errors": (ConnectionError,)},
        "retry_on and ignore_errors overlap: OSError and ConnectionError (task {name}): "
        "keep each exception in one of them",
    ),
    ({"max_retries": -1}, "max_retries is -1 (task {name}): use a whole number from 0"),
    ({"max_retries": 1.5}, "max_retries is 1.5 (task {name}): use a whole number from 0"),
    ({"queue": "a b"}, "queue is 'a b' (task {name}): use a name of letters, digits, '-' and '_'"),
    ({"singleton": ()}, "singleton is () (task {name}): use True, or a tuple with names of the task's parameters"),
    ({"singleton": "order_id"}, "singleton is 'order_id' (task {name}): use True, or a tuple with names of the task's parameters"),
    ({"singleton": ("x",)}, "singleton names no parameter: 'x' (task {name}): name the task's own parameters"),
    ({"singleton_busy": "wait"}, "singleton_busy is 'wait' (task {name}): use 'defer' or 'skip'"),
    *[
        ({"rate_limit": bad}, f"rate_limit is {bad!r} (task {{name}}): use {remedy}")
        for bad, remedy in [
            *[(one, RATE) for one in ("100", "100/", "0/m", "/m", "1.5/s", "100/M", "100/min", " 100/m", "100 / m", "1/0s", "-1/s", "", "\u0661/m", "9" * 5000 + "/s", 10, ("10/s", "tenant"))],
            *[(one, 'up to "1000/s"') for one in ("1001/s", "60001/m")],
            ("1/15d", 'at least "1/14d": SQS keeps no message longer'),
        ]
    ],
    ({"rate_limit": "1/s", "rate_limit_by": "order_id"}, "rate_limit_by is 'order_id' (task {name}): use a tuple of names: ('order_id',)"),
    ({"rate_limit": "1/s", "rate_limit_by": ("x",)}, "rate_limit_by names no parameter: 'x' (task {name}): name the task's own parameters"),
    ({"rate_limit": "1/s", "rate_limit_burst": 0}, "rate_limit_burst is 0 (task {name}): use a whole number from 1"),
    ({"rate_limit_by": ("order_id",)}, 'rate_limit_by and rate_limit_burst are of a rate_limit, and there is none (task {name}): add one, such as rate_limit="100/m"'),
    ({"batch": 1}, "batch is 1 (task {name}): use True or False"),
    ({"retries": 1}, "there is no option retries (task {name}): use " + ", ".join(Options.__struct_fields__)),
]  # fmt: skip


def test_a_rate_limit_may_be_said_in_any_unit() -> None:
    """Numbers and times are kept as they are written, also by a copy with other options."""
    for said in ("10/s", "100/m", "1/h", "1000/d", "5/10s", "1/14d", "1000/s", None):

        def resize(*, order_id: int) -> None: ...

        made = task(rate_limit=said)(resize).options(delay=5)
        assert made.definition.options.rate_limit == said
        assert made.definition.is_plain is (said is None)


@pytest.mark.parametrize(("options", "message"), OPTION_ERRORS)
def test_bad_options_fail_where_the_task_is_defined(options: dict[str, Any], message: str) -> None:
    """An option that is unknown, out of range or contradicts another fails at definition, and is named."""

    def resize(*, order_id: int) -> None: ...

    define: Any = task
    with pytest.raises(InvalidTask) as caught:
        define(**options)(resize)
    assert str(caught.value) == message.format(name=f"{__name__}.{resize.__qualname__}")


def positional_only(order_id: int, /) -> None: ...
def variadic(*order_ids: int) -> None: ...
def keywords(**order: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "kind"),
    [(positional_only, "positional-only"), (variadic, "variadic positional"), (keywords, "variadic keyword")],
)
def test_parameters_that_no_message_can_give(function: Callable[..., None], kind: str) -> None:
    """Positional-only and variadic parameters fail at definition."""
    with pytest.raises(InvalidTask, match=f"is {kind} .*: messages carry keywords"):
        task(function)


def test_only_functions_become_tasks() -> None:
    """A class, or the result of another decorator that is no function, is refused."""
    with pytest.raises(InvalidTask, match="is not a function: put @task above a function, outermost"):
        task(Address)


def test_unusable_annotations_are_reported_when_they_are_first_needed() -> None:
    """An annotation that cannot be resolved is an error that names the task."""

    @task
    def broken(*, order: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidTask, match="unusable annotations: name 'Nowhere' is not defined"):
        broken.definition.encode_kwargs({"order": 1})


def test_options_return_a_changed_copy() -> None:
    """`Task.options` changes a copy and checks it again; times are kept as seconds."""
    changed = send_receipt.options(delay=timedelta(minutes=1), queue="mail")
    assert (changed.configuration.delay, changed.configuration.queue, changed.name) == (60, "mail", send_receipt.name)
    assert changed.configuration.hard_timeout == 90
    assert send_receipt.configuration.delay == 0
    with pytest.raises(InvalidTask, match="delay is 901 s"):
        send_receipt.options(delay=901)


def test_option_values_are_the_options() -> None:
    """The keywords that type checkers know are the options that exist."""
    assert set(get_type_hints(OptionValues)) == set(Options.__struct_fields__)


def _plain(first: int, second: str = "b", *, third: float, fourth: Any = None) -> None: ...


def _with_defaults_alone(first: int = 1, second: int = 2) -> None: ...


@contextlib.contextmanager
def _wrapped(first: int, *, second: int = 2) -> Any:
    yield first, second


@pytest.mark.parametrize("function", [_plain, _with_defaults_alone, _wrapped, lambda: None])
def test_parameters_are_those_of_inspect(function: Any) -> None:
    """A function's parameters are read as `inspect` reads them, decorated functions too."""
    expected = {
        name: Required if parameter.default is parameter.empty else parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
    }
    found = parameters_of(function)
    assert (list(found), found) == (list(expected), expected)


def test_a_function_that_is_marked_as_a_coroutine_function_is_async() -> None:
    """A task is async where its function is, or says that it is."""

    async def coroutine() -> None: ...

    def returns_one() -> Any:
        return coroutine()

    marked: Any = returns_one

    assert is_coroutine_function(cast("Any", coroutine))
    assert not is_coroutine_function(marked)
    if hasattr(inspect, "markcoroutinefunction"):
        inspect.markcoroutinefunction(marked)
        assert is_coroutine_function(marked)


def test_enqueue_refuses_what_no_message_can_name() -> None:
    """A task inside a function, or an argument without a name, cannot be enqueued."""

    @task
    def inner() -> None: ...

    with pytest.raises(InvalidTask, match="no message can name the task"):
        inner.enqueue()
    with pytest.raises(InvalidKwargs, match="the arguments are positional"):
        send_receipt.enqueue(42)  # type: ignore[unused-coroutine]


def test_msgspec_structs_are_kwargs_too() -> None:
    """A parameter may be a msgspec struct."""
    assert pack.definition.decode_kwargs(pack.definition.encode_kwargs({"parcel": Parcel(2)})) == {"parcel": Parcel(2)}


class Parcel(msgspec.Struct):
    weight: int


@task
def pack(*, parcel: Parcel) -> None: ...
