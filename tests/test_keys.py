"""Keys of the business, in the place of message ids.

The behaviours that Powertools' functional tests of idempotency assert
(https://github.com/aws-powertools/powertools-lambda-python, tests/functional/idempotency), by the end of their names:

==============================================  ====================================================================
there                                           here
==============================================  ====================================================================
lambda_first_execution, function                `test_a_message_with_the_key_of_a_success_is_skipped`
lambda_already_completed, function_duplicates   the same: skipped, with the first one's id and result in its record
serialization_*, hash_serialization, pydantic   the same: results are kept as JSON, as records keep them; a task's
                                                return type needs no serializer, because nobody calls the skipped one
lambda_in_progress                              `test_while_one_runs_another_is_deferred_until_that_lease_ends`
expires_in_progress_before/after_expire         the same, and `test_a_key_left_behind_is_free_when_its_lease_ends`
in_progress_unavailable_remaining_time          a lease lasts 90 minutes where no end of the invocation is known
lambda_expired, expired_during_request          `test_a_key_is_free_when_its_time_is_over`
lambda_exception                                `test_after_a_failure_the_key_is_free`
completed_with_validation_bad_payload,          `test_another_payload_with_the_same_key_fails`
payload_validation_with_tampering_nested_object
first_execution_with_validation                 `test_the_same_payload_passes_the_check`
persistence_exception_updating, _deleting       `test_a_table_that_does_not_keep_the_key_costs_no_message`
persistence_exception_getting, save_inprogress  `test_without_an_answer_of_the_table_nothing_runs`
is_missing_key, no_raise_on_missing_key,        `test_without_a_value_there_is_no_key`: a warning, as there by default
function_falsy_values                           the same: 0 and "" are values
raise_on_no_idempotency_key, key_error          `test_a_path_that_leads_nowhere_is_rejected`, always
data_sorting, compound_*                        `test_a_key_is_made_of_the_task_and_its_values`
function_dataclasses, dataclass_with_jmespath,  `test_a_path_leads_into_dataclasses`; paths are no JMESPath
uuid_serialization, function_pydantic
first_execution_event_mutation                  a key is made of the message before the task gets its kwargs
function_and_lambda_handler                     `test_the_same_in_a_direct_event`
function_invalid_data_kwarg, arg_instead_of_    `test_an_option_that_cannot_be_is_refused`: when the task is defined
kwarg, arbitrary_args_kwargs
handler_for_status_*, data_record_*,            no states but those of an item; `tests/test_state.py` has its stores
redis_*, invalid_dynamodb_persistence_layer
*_cache*, local_disabled, delete_from_cache     no cache: one would answer what the table no longer says
responsehook_*                                  no response is given to anybody: a hook of outcomes sees the skipping
with_validator_util, event_source,              other utilities of theirs
jmespath_with_powertools_json, custom_jmespath
idempotency_disabled_envvar, enabled_envvar_*   without a table nothing is kept; `TaskQueue` keeps keys in memory
==============================================  ====================================================================
"""

from __future__ import annotations

import math
import uuid
from decimal import Decimal
from typing import Any

import pytest

from catalogue import keys
from events import Context, message_body, sqs_record
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.errors import InvalidEvent, InvalidTask, KeyMismatch, MessageDeferred, StateUnavailable
from lambda_tasks.messages.attributes import IDEMPOTENCY_KEY
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.settings import Settings
from lambda_tasks.state.memory import MemoryKeys
from lambda_tasks.state.protocol import Busy, KeyLease
from lambda_tasks.state.record import StoredRecord
from lambda_tasks.testing import TaskQueue
from memory_state import MemoryState
from stores import DAY, Clock
from workers import Dispatched, worker


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    keys.ran.clear()
    keys.failures.clear()


def of(name: str, message_id: str, /, *, key: str | None = None, group: str | None = None, **kwargs: Any) -> Record:
    system = {} if group is None else {"MessageGroupId": group, "SequenceNumber": "1"}
    record = sqs_record(message_body(f"catalogue.keys.{name}", **kwargs), message_id=message_id, **system)
    if key is not None:
        record["messageAttributes"] = {IDEMPOTENCY_KEY: {"stringValue": key, "dataType": "String"}}
    return record


def outcomes(state: MemoryState, *records: Record, concurrency: int = 1) -> list[str]:
    return Dispatched(worker(Settings(concurrency=concurrency), state=state), *records).outcomes


def recorded(state: MemoryState, message_id: str) -> StoredRecord:
    record = state.record(message_id, deadline=math.inf)
    assert record is not None
    return record


def hold(state: MemoryState, record: Record, *, seconds: float) -> None:
    """Leave the key of a message with another one, which runs for ever."""
    taken: list[KeyLease] = []

    class Observed(MemoryState):
        def acquire(self, lease: KeyLease, **options: Any) -> Any:
            taken.append(lease)
            return super().acquire(lease, **options)

    outcomes(Observed(), record)
    keys.ran.clear()
    (lease,) = taken
    other = KeyLease(lease.key, "other", seconds, "other", kept_seconds=lease.kept_seconds)
    assert state.acquire(other, deadline=math.inf) is None


@pytest.mark.parametrize("name", ["charge", "charge_async"])
@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("together", [True, False])
def test_a_message_with_the_key_of_a_success_is_skipped(name: str, concurrency: int, *, together: bool) -> None:
    """Of two messages with a key one runs; the other's record has its id and result. So it is within a batch."""
    state = MemoryState()
    records = [of(name, message_id, order_id=order) for message_id, order in (("a", 1), ("b", 2), ("c", 1))]
    if together:
        found = outcomes(state, *records, concurrency=concurrency)
    else:
        found = [one for record in records for one in outcomes(state, record)]

    assert found == ["succeeded", "succeeded", "skipped"]
    assert sorted(keys.ran) == [1, 2]
    first, third = recorded(state, "a"), recorded(state, "c")
    assert (third.duplicate_of, third.result, third.attempts) == ("a", first.result, 0)
    assert first.duplicate_of is None
    assert first.result in ('{"receipt":"receipt of 1"}', "1")


def test_what_a_producer_gave_comes_before_the_kwargs() -> None:
    """A key that a message carries is its key, for tasks that name no kwargs too."""
    records = [of("plain", "a", key="k", text="x"), of("plain", "b", key="k", text="y"), of("plain", "c", text="x")]
    assert outcomes(MemoryState(), *records) == ["succeeded", "skipped", "succeeded"]
    records = [of("charge", "a", key="k", order_id=1), of("charge", "b", key="l", order_id=1)]
    assert outcomes(MemoryState(), *records) == ["succeeded"] * 2


def test_while_one_runs_another_is_deferred_until_that_lease_ends() -> None:
    """A message whose key is busy does not run; it is visible again when the other's lease ends."""
    state = MemoryState()
    hold(state, of("charge", "a", order_id=1), seconds=100)

    made = worker(state=state)
    dispatched = Dispatched(made, of("charge", "a", order_id=1), of("charge", "b", order_id=2))

    assert (dispatched.outcomes, dispatched.kept, keys.ran) == (["deferred", "succeeded"], ["a"], [2])
    assert recorded(state, "a").reason == "another message with its key was under way"
    assert recorded(state, "a").attempts == 0


def test_a_key_left_behind_is_free_when_its_lease_ends() -> None:
    """A crash leaves a lease that ends by itself; the message that left it need not wait for that."""
    clock = Clock()
    state = MemoryState(clock=clock)
    hold(state, of("charge", "a", order_id=1), seconds=100)
    clock.advance(101)
    assert outcomes(state, of("charge", "a", order_id=1)) == ["succeeded"]


@pytest.mark.parametrize(
    ("error", "first"), [(ValueError(), "failed"), (ConnectionError(), "retrying"), (LookupError(), "succeeded")]
)
def test_after_a_failure_the_key_is_free(error: Exception, first: str) -> None:
    """A message that failed, or is to be tried again, keeps nothing from running; an ignored error is a success."""
    keys.failures.append(error)
    second = "skipped" if first == "succeeded" else "succeeded"
    records = [of("charge", message_id, order_id=1) for message_id in "ab"]

    assert outcomes(MemoryState(), *records) == [first, second]


def test_a_key_is_free_when_its_time_is_over() -> None:
    """After ``idempotency_seconds`` a message with the key runs again."""
    clock = Clock()
    state = MemoryState(clock=clock, record_ttl_seconds=30 * DAY)
    found = []
    for message_id, seconds in (("a", 0), ("b", DAY - 1), ("c", 2)):
        clock.advance(seconds)
        found += outcomes(state, of("charge", message_id, order_id=1))
    assert found == ["succeeded", "skipped", "succeeded"]


def test_another_payload_with_the_same_key_fails() -> None:
    """A message that differs in what the task checks is failed, with the reason and the other's id."""
    state = MemoryState()
    records = [
        of("charge", message_id, order_id=1, amount=amount) for message_id, amount in (("a", "9.90"), ("b", "9"))
    ]
    dispatched = Dispatched(worker(state=state), *records)
    assert dispatched.outcomes == ["succeeded", "failed"]
    assert isinstance(dispatched.errors[1], KeyMismatch)
    assert "message a " in str(recorded(state, "b").error_message)


def test_the_same_payload_passes_the_check() -> None:
    """Values that are equal count as the same, and what is not checked may differ."""
    records = [of("charge", "a", order_id=1, amount="9.90"), of("charge", "b", order_id=1, amount="9.9", note="n")]
    assert outcomes(MemoryState(), *records) == ["succeeded", "skipped"]


def test_without_a_value_there_is_no_key(caplog: pytest.LogCaptureFixture) -> None:
    """Messages whose kwargs give no key have nothing in common; 0 is a value."""
    records = [of("charge", message_id, order_id=None) for message_id in "ab"]
    assert outcomes(MemoryState(), *records) == ["succeeded"] * 2
    assert "has no key: order_id" in caplog.text
    assert outcomes(MemoryState(), *[of("charge", one, order_id=0) for one in "ab"]) == ["succeeded", "skipped"]


def test_a_path_leads_into_dataclasses() -> None:
    """``order.id`` is the id of the kwarg ``order``, whatever else that holds."""
    order = str(uuid.uuid4())
    records = [of("ship", one, order={"id": order, "lines": [number]}) for number, one in enumerate("ab")]
    assert outcomes(MemoryState(), *records) == ["succeeded", "skipped"]


def test_a_path_that_leads_nowhere_is_rejected() -> None:
    """A message without what its key is made of is rejected, and says so."""
    dispatched = Dispatched(worker(state=MemoryState()), of("ship_wrongly", "a", order={"id": str(uuid.uuid4())}))
    assert dispatched.outcomes == ["rejected"]
    assert "order.nothing" in str(dispatched.errors[0])


def test_a_key_is_made_of_the_task_and_its_values() -> None:
    """Equal values of two tasks are two keys."""
    records = [of("charge", "a", order_id=1), of("charge_async", "b", order_id=1)]
    assert outcomes(MemoryState(), *records) == ["succeeded"] * 2


def test_messages_of_a_batch_task_have_their_own_keys() -> None:
    """Of two messages with one key, one is in the call; the other is skipped once that is over."""
    records = [of("pick", one, order_id=order) for one, order in (("a", 1), ("b", 2), ("c", 1), ("d", 3))]
    assert outcomes(MemoryState(), *records) == ["succeeded", "succeeded", "skipped", "succeeded"]
    assert keys.ran == [[1, 2, 3]]


@pytest.mark.parametrize("groups", [("g", "g"), ("g", "h")])
def test_groups_of_a_fifo_queue_may_share_a_key(groups: tuple[str, str]) -> None:
    """A message whose key another group's message had is skipped as well."""
    records = [of("charge", one, group=group, order_id=1) for one, group in zip("ab", groups, strict=True)]
    assert outcomes(MemoryState(), *records) == ["succeeded", "skipped"]


def test_a_success_that_its_record_missed_does_not_run_again() -> None:
    """A crash between the key and the record of a message leaves a success, which its next delivery completes."""

    class Crashing(MemoryState):
        is_down = True

        def finish(self, *arguments: Any, **options: Any) -> None:
            if self.is_down:
                raise KeyboardInterrupt
            super().finish(*arguments, **options)

    state = Crashing(clock=(clock := Clock()))
    answer = dispatch({"Records": [of("charge", "a", order_id=1)]}, Context(), worker(state=state))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "a"}]}
    state.is_down = False
    clock.advance(1000)
    assert outcomes(state, of("charge", "a", order_id=1)) == ["succeeded"]
    assert keys.ran == [1]
    assert recorded(state, "a").result == '{"receipt":"receipt of 1"}'


def test_without_an_answer_of_the_table_nothing_runs() -> None:
    """A message whose key cannot be had is deferred, and its own lease given back."""

    class Down(MemoryState):
        def acquire(self, lease: KeyLease, **_options: Any) -> Any:
            raise StateUnavailable(f"down for {lease.message_id}")

    state = Down()
    assert outcomes(state, of("charge", "a", order_id=1), of("charge", "b", order_id=2)) == ["deferred"] * 2
    assert keys.ran == []
    assert recorded(state, "a").attempts == 0


def test_a_table_that_does_not_keep_the_key_costs_no_message(caplog: pytest.LogCaptureFixture) -> None:
    """A success whose key is not kept is a success all the same, with a warning."""

    class Down(MemoryState):
        def surrender(self, lease: KeyLease, **_options: Any) -> None:
            raise StateUnavailable(f"down for {lease.message_id}")

    dispatched = Dispatched(worker(state=Down()), of("charge", "a", order_id=1))
    assert (dispatched.outcomes, dispatched.kept) == (["succeeded"], [])
    assert "the key was not kept" in caplog.text


def test_the_same_in_a_direct_event() -> None:
    """The second invocation with a key answers with the first one's result; one that differs is an error."""
    made = worker(state=MemoryState())

    def invoke(request_id: str, **event: Any) -> object:
        context = Context()
        context.aws_request_id = request_id
        return dispatch({"task_name": "catalogue.keys.charge", **event}, context, made)

    results = [invoke(f"r{number}", kwargs={"order_id": 1, "amount": "2"}) for number in range(2)]
    assert results == [{"receipt": "receipt of 1"}] * 2
    assert keys.ran == [1]
    with pytest.raises(KeyMismatch):
        invoke("r2", kwargs={"order_id": 1, "amount": "3"})
    results = [invoke(f"s{n}", kwargs={"order_id": n}, idempotency_key="k") for n in (5, 6)]
    assert results == [{"receipt": "receipt of 5"}] * 2
    with pytest.raises(InvalidEvent):
        invoke("t", kwargs={"order_id": 1}, idempotency_key=5)
    hold(state := MemoryState(), of("charge", "a", order_id=1), seconds=100)
    made = worker(state=state)
    with pytest.raises(MessageDeferred):
        invoke("u", kwargs={"order_id": 1})


@pytest.mark.parametrize("is_many", [False, True])
def test_the_same_in_a_task_queue(*, is_many: bool) -> None:
    """A `TaskQueue` keeps keys in memory, for as long as it lasts."""
    with TaskQueue() as queue:
        if is_many:
            keys.charge.enqueue_many([{"order_id": 1}, {"order_id": 1}])
        else:
            keys.charge.enqueue(order_id=1, amount=Decimal(2))
            queue.run()
            keys.charge.enqueue(order_id=1, amount=Decimal(2))
        assert [one.outcome for one in queue.run()][-1] == "skipped"
        assert keys.ran == [1]
        keys.charge.enqueue(order_id=1, amount=Decimal(3))
        with pytest.raises(KeyMismatch):
            queue.run()
        queue.clear()
        keys.charge.enqueue(order_id=1)
        assert [one.outcome for one in queue.run()] == ["succeeded"]


def test_the_same_in_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where messages run at once, the second one with a key does not."""
    monkeypatch.setenv("LAMBDA_TASKS_MODE", "eager")
    order = -uuid.uuid4().int % 2**53
    keys.charge.enqueue(order_id=order)
    keys.charge.enqueue(order_id=order)
    keys.charge.options(idempotency_key=uuid.uuid4().hex).enqueue(order_id=order)
    assert keys.ran == [order] * 2


def test_a_producer_sends_a_key_of_its_own() -> None:
    """A key that is given travels as an attribute; with True each message has one, which what is sent again repeats."""
    with TaskQueue() as queue:
        keys.charge.options(idempotency_key="k").enqueue(order_id=1)
        keys.notify.enqueue(text="x")
        keys.notify.enqueue_many([{"text": "x"}, {"text": "x"}])
        given = [one.outgoing.attributes[IDEMPOTENCY_KEY]["StringValue"] for one in queue]
        assert given[0] == "k"
        assert len(set(given)) == 4
        assert [one.outcome for one in queue.run()] == ["succeeded"] * 4
    sent_twice = queue[1].outgoing
    records = [sent_twice.record(message_id=message_id) for message_id in "ab"]
    assert outcomes(MemoryState(), *records) == ["succeeded", "skipped"]
    with pytest.raises(InvalidTask, match="one idempotency key"):
        keys.charge.options(idempotency_key="k").enqueue_many([])


@pytest.mark.parametrize(
    "values",
    [
        {"idempotency_key": ("nothing",)},
        {"idempotency_key": "order_id"},
        {"idempotency_key": ()},
        {"idempotency_check": ("order.id",)},
        {"idempotency_check": True},
        {"idempotency_seconds": 0},
    ],
)
def test_an_option_that_cannot_be_is_refused(values: Any) -> None:
    """A key of kwargs that the task has not, or of another type, is refused when the task is defined."""
    with pytest.raises(InvalidTask, match="idempotency"):
        keys.charge.definition.with_options(values)


@pytest.mark.parametrize("values", [{"idempotency_key": 5}, {"idempotency_key": ""}, {"idempotency_seconds": 5}])
def test_an_option_that_cannot_travel_is_refused(values: Any) -> None:
    """A producer gives a key that SQS can carry; for how long it is kept is the task's."""
    with pytest.raises(InvalidTask, match="idempotency"):
        keys.charge.options(**values)


def test_a_process_forgets_keys_that_are_over() -> None:
    """What is known of keys does not grow for ever, and nothing is forgotten that still counts."""
    clock = Clock()
    known = MemoryKeys(clock=clock)
    lasting = KeyLease("lasting", "owner", 1e9, "m", held_since=0.0, kept_seconds=1.0)
    assert known.acquire(lasting, deadline=0.0) is None
    for number in range(20_000):
        clock.now += 1
        lease = KeyLease(str(number), "owner", 0.5, "m", held_since=0.0, kept_seconds=1.0)
        assert known.acquire(lease, deadline=0.0) is None
    assert len(known._keys) <= 10_000
    other = KeyLease("lasting", "other", 1.0, "n", held_since=0.0, kept_seconds=1.0)
    assert isinstance(known.acquire(other, deadline=0.0), Busy)
