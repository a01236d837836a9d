"""Definitions: what is left out of a message, options that are changed, and what the items of a batch task hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, cast

import msgspec
import pytest

from lambda_tasks import Item
from lambda_tasks.definition.batch import ItemFailed
from lambda_tasks.definition.definition import Definition
from lambda_tasks.errors import InvalidKwargs, InvalidTask, Retry


class Cents(msgspec.Struct):
    """The kwargs of one message."""

    cents: Annotated[int, msgspec.Meta(ge=1)]


def remind(*, days: int = 3, note: str | None = None) -> None:
    """A function of which every parameter has a default."""


def collect(items: list[Item[dict]]) -> None:  # type: ignore[type-arg]
    """A function whose items hold anything."""


def collect_nothing(items: list[Item[Nowhere]]) -> None:  # type: ignore[name-defined]  # noqa: F821
    """A function whose annotation names nothing."""


def wait_for_nothing(*, order: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
    """The same, of no batch."""


def collect_numbers(items: list[int]) -> None:
    """A function whose list is none of items."""


def charge(*, cents: Annotated[int, msgspec.Meta(ge=1)]) -> None:
    """A function that says which values are right."""


def collect_cents(items: list[Item[Annotated[Cents, msgspec.Meta(description="of one message")]]]) -> None:
    """A batch task's function whose items say more than their type."""


def collect_some(items: list[Item[Annotated[dict[str, int], msgspec.Meta(min_length=1)]]]) -> None:
    """A batch task's function whose items are not empty."""


def collect_coins(items: list[Item[Cents]]) -> None:
    """A batch task's function whose items have a type."""


def of(function: Any, **options: Any) -> Definition:
    return Definition.of(function, options)


def test_parameters_that_a_message_leaves_out_are_not_passed() -> None:
    """Where every parameter has a default, the function's own defaults count."""
    assert of(remind).decode_kwargs(b"{}") == {}
    assert of(remind).decode_kwargs(b'{"note": null}') == {"note": None}


def test_changed_options_are_checked_against_the_parameters() -> None:
    """A singleton that names no parameter is refused, wherever it is named."""
    definition = of(remind)

    with pytest.raises(InvalidTask, match="singleton names no parameter: 'hours'"):
        definition.with_options({"singleton": ("hours",)})
    assert definition.with_options({"delay": 5}).options.delay == 5


def test_changed_options_keep_what_was_made_of_the_annotations() -> None:
    """Options that concern no parameter share the decoder, which is expensive to make."""
    definition = of(remind)
    definition.decode_kwargs(b"{}")

    assert definition.with_options({"delay": 5})._decoder is definition._decoder


def test_items_of_a_plain_dict_hold_anything() -> None:
    """An item whose kwargs are annotated as ``dict`` takes every key."""
    assert of(collect, batch=True).decode_kwargs(b'{"any": 1}') == {"any": 1}


@pytest.mark.parametrize(
    ("function", "options", "remedy"),
    [
        (collect_nothing, {"batch": True}, "give a batch task one parameter, items: list"),
        (wait_for_nothing, {}, "use annotations that msgspec supports"),
    ],
)
def test_unusable_annotations_come_with_a_remedy(function: Any, options: dict[str, Any], remedy: str) -> None:
    """The remedy is that of the kind of task."""
    with pytest.raises(InvalidTask, match=remedy):
        of(function, **options).decode_kwargs(b"{}")


def test_singleton_values_are_those_of_the_call() -> None:
    """A parameter that the message leaves out counts with its default."""
    definition = of(remind, singleton=("days",))

    assert definition.singleton_values({}) == {"days": 3}
    assert definition.singleton_values({"days": 4}) == {"days": 4}
    assert definition.singleton_key({}) == definition.singleton_key({"days": 3})


def test_a_method_is_refused() -> None:
    """A method has an object that no message holds: it is an error where it is defined, and says what to do."""

    class Shop:
        def send(self, order_id: int) -> None: ...

        def close(cls, *, order_id: int) -> None: ...  # noqa: N805

    for method in (Shop.send, Shop.close):
        with pytest.raises(
            InvalidTask, match=r"a method is no task: .*Shop\.(send|close)\): put @task above a function"
        ):
            Definition.of(method, {})
    with pytest.raises(InvalidTask, match="is not a function: put @task above a function"):
        Definition.of(Shop().send, {})


def test_an_unknown_parameter_is_refused() -> None:
    """What the function does not take is refused, not dropped."""
    with pytest.raises(InvalidKwargs, match="unknown field, expected `days`, `note`"):
        of(remind).decode_kwargs(b'{"hours": 1}')


def test_constraints_of_an_annotation_are_checked() -> None:
    """What ``Annotated`` says of a value counts at every validation."""
    assert of(charge).decode_kwargs(b'{"cents": 1}') == {"cents": 1}
    with pytest.raises(InvalidKwargs, match="`int` >= 1"):
        of(charge).decode_kwargs(b'{"cents": 0}')


def test_items_that_are_annotated_are_items() -> None:
    """An item's annotation may say more than its type."""
    assert of(collect_cents, batch=True).decode_kwargs(b'{"cents": 1}') == Cents(1)
    assert of(collect_some, batch=True).decode_kwargs(b'{"cents": 1}') == {"cents": 1}
    with pytest.raises(InvalidKwargs, match="length >= 1"):
        of(collect_some, batch=True).decode_kwargs(b"{}")


def test_an_item_holds_what_its_type_names_and_nothing_else() -> None:
    """An unknown key of an item is refused, as that of any other task."""
    definition = of(collect_coins, batch=True)

    assert definition.decode_kwargs(b'{"cents": 1}') == Cents(1)
    with pytest.raises(InvalidKwargs, match="unknown field, expected `cents`"):
        definition.decode_kwargs(b'{"cents": 1, "euros": 1}')


def test_a_list_of_something_else_is_no_batch() -> None:
    """A batch task's list holds items, nothing else."""
    with pytest.raises(InvalidTask, match="its parameter items is no list of items"):
        of(collect_numbers, batch=True).decode_kwargs(b"{}")


def test_errors_that_are_retried_and_others_that_are_ignored() -> None:
    """Only exceptions of which one is the other contradict each other."""
    assert of(remind, retry_on=(ConnectionError,), ignore_errors=(ValueError,)).options.ignore_errors == (ValueError,)
    for retried, ignored in ((OSError, ConnectionError), (ConnectionError, OSError)):
        with pytest.raises(InvalidTask, match="retry_on and ignore_errors overlap"):
            of(remind, retry_on=(retried,), ignore_errors=(ignored,))


def test_an_item_ends_as_it_is_told() -> None:
    """A text becomes an error of its own; an error stays what it is, so that it may be retried or ignored."""

    def told(act: Callable[[Item[Any]], None]) -> BaseException | None:
        item: Item[Any] = Item({}, cast("Any", None))
        act(item)
        return item.error

    refused = ConnectionError("refused")
    failed, retried = told(lambda item: item.fail("no such product")), told(lambda item: item.retry(delay=5))
    assert isinstance(failed, ItemFailed)
    assert str(failed) == "no such product"
    assert told(lambda item: item.fail(refused)) is refused
    assert isinstance(retried, Retry)
    assert retried.delay_seconds == 5
