"""The cost of a table that answers in 5 ms, beside Powertools' batch utility with its idempotency layer.

Both sides have boto3's or their own connections open already, a message id that the table does not know, and no result.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import boto3
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

from benchmarks.dispatcher_tasks import nothing
from benchmarks.dynamodb_server import SECONDS
from benchmarks.measure import Figure
from events import Context, message_body, sqs_event, sqs_record
from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import Transport
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.settings import Settings
from lambda_tasks.state.opening import open_state
from lambda_tasks.state.protocol import Started
from wrapper import base_environ

if TYPE_CHECKING:
    from lambda_tasks.state.protocol import Attempt, State

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 21
TEN, HUNDRED = 10, 100

Side = Callable[[dict[str, Any]], object]


def figures() -> list[Figure]:
    """Return the figures, each measured in turn."""
    with _server() as url:
        environ = base_environ(url)
        settings = Settings(modules=("benchmarks.dispatcher_tasks",), table="tasks")
        worker = Worker(settings, environ, transport=Transport(CredentialChain(environ), environ))
        worker.state = open_state(settings, environ, worker.transport)
        idle = Worker(settings, environ)
        idle.state = cast("State", _Asleep())
        with contextlib.closing(worker), contextlib.closing(idle):
            return _figures(
                lambda event: dispatch(event, Context(), worker),
                _powertools(environ, url),
                lambda event: dispatch(event, Context(), idle),
            )


class _Asleep:
    """A store that costs nothing: it sleeps as long as the table takes to answer, and knows no message."""

    def start(self, _attempt: Attempt, *, deadline: float) -> Started:  # noqa: ARG002 - as `State` has it
        time.sleep(SECONDS)
        return Started(1, None)

    def finish(self, *_attempt: object, **_options: object) -> None:
        time.sleep(SECONDS)


def _figures(ours: Side, theirs: Side, asleep: Side) -> list[Figure]:
    mine, other = _in_turn({"ours": ours, "theirs": theirs}, TEN)
    mine_of_many, other_of_many = _in_turn({"ours": ours, "theirs": theirs}, HUNDRED)
    waiting, least = _in_turn({"ours": ours, "asleep": asleep}, TEN, task="wait")
    return [
        _figure("ten messages, ours / Powertools", mine.wall, other.wall, 0.30),
        _figure("a hundred messages, ours / Powertools", mine_of_many.wall, other_of_many.wall, 0.20),
        _figure("ten async tasks of 100 ms, a table / a store that only sleeps", waiting.wall, least.wall, 1.1),
        _figure("CPU of ten messages, ours / Powertools", mine.cpu, other.cpu, 0.7),
        _figure("CPU of a hundred messages, ours / Powertools", mine_of_many.cpu, other_of_many.cpu, 0.7),
    ]


class _Taken:
    """The medians of one side's rounds, in milliseconds."""

    def __init__(self, taken: list[tuple[float, float]]) -> None:
        self.wall, self.cpu = (statistics.median(part) * 1000 for part in zip(*taken, strict=True))


def _in_turn(sides: dict[str, Side], count: int, task: str = "nothing") -> list[_Taken]:
    """Give each side `count` messages, `ROUNDS` times in turn, after a round that does not count."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(ROUNDS + 1):
        for name, side in sides.items():
            event = _event(count, task)
            wall, cpu = time.perf_counter(), time.process_time()
            answer = side(event)
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
            assert answer == {"batchItemFailures": []}  # noqa: S101 - the job was done
    return [_Taken(of_side[1:]) for of_side in taken.values()]


def _event(count: int, task: str) -> dict[str, Any]:
    kwargs = [{"order_id": number, "currency": "EUR"} if task == "nothing" else {} for number in range(count)]
    path = f"benchmarks.dispatcher_tasks.{task}"
    return sqs_event(*[sqs_record(message_body(path, **one), message_id=str(uuid.uuid4())) for one in kwargs])


def _powertools(environ: dict[str, str], url: str) -> Side:
    client = boto3.client(
        "dynamodb",
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
    )
    layer = DynamoDBPersistenceLayer(table_name="tasks", boto3_client=client)
    config = IdempotencyConfig(event_key_jmespath="messageId")

    @idempotent_function(data_keyword_argument="record", persistence_store=layer, config=config)  # type: ignore[untyped-decorator]
    def handle(record: SQSRecord) -> None:
        nothing(**record.json_body["kwargs"])

    processor = BatchProcessor(event_type=EventType.SQS)

    def run(event: dict[str, Any]) -> object:
        config.register_lambda_context(Context())  # type: ignore[arg-type]
        record_handler = functools.partial(_by_keyword, handle)
        return process_partial_response(event=event, record_handler=record_handler, processor=processor)

    return run


def _by_keyword(handle: Callable[..., object], record: SQSRecord) -> object:
    return handle(record=record)


@contextlib.contextmanager
def _server() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.dynamodb_server"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - for mypy
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def _figure(name: str, ours_ms: float, theirs_ms: float, limit: float) -> Figure:
    return Figure(name, ours_ms / theirs_ms, limit, f"{ours_ms:.1f} / {theirs_ms:.1f} ms")
