"""The whole way on this machine: secrets, the exec wrapper, the real runtime, SQS, and what became of every message.

`make demo` runs it. It exits with status 0 only where every outcome is the expected one, and says which was not.
"""

from __future__ import annotations

import argparse
import base64
import json
import secrets
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lambda_tasks.local.embedded_aws import EmbeddedAws, embedded_aws
from lambda_tasks.local.emulator import emulator
from lambda_tasks.local.emulator_log import init_durations_ms, json_records
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.event_source_mapping import EventSourceMapping
from lambda_tasks.local.queue import Message, Queue, create_queue, redrive_policy
from lambda_tasks.local.runtime import Function, Runtime, running
from shop.image import Image
from shop.signature import sign

ROOT = Path(__file__).resolve().parent.parent
LAYER = ROOT / "layer" / "dist" / "lambda-tasks-layer.zip"
CACHE = ROOT / "build"

# Short, so that the demo is. On AWS: at least 6 times the function's timeout, and at least 5 receives.
VISIBILITY_TIMEOUT_SECONDS = 1
MAX_RECEIVE_COUNT = 5
LONGEST_SECONDS = 60


@dataclass(frozen=True)
class Expected:
    """A message and what should become of it."""

    what: str
    body: str
    outcome: str = "succeeded"
    attempts: int = 1


@dataclass(frozen=True)
class Result:
    """What became of a message, as the dispatcher logged it after its last attempt."""

    task: str
    outcome: str
    attempts: int
    duration_ms: float


@dataclass(frozen=True)
class Shop:
    """What was made in the embedded AWS, and the values that only the secrets hold."""

    queue: Queue
    dead_letters: Queue
    references: Mapping[str, str]
    values: Mapping[str, str]


def main(arguments: Sequence[str]) -> int:
    """Run the demo and return the exit status."""
    parser = argparse.ArgumentParser(prog="demo.py", description="Run the example shop's tasks on this machine.")
    parser.add_argument("--layer", type=Path, default=LAYER, help="zip of the layer (default: what `make layer` built)")
    layer = parser.parse_args(arguments).layer
    if not layer.exists():
        parser.error(f"there is no {layer}: run `make layer`")
    started = time.monotonic()
    with embedded_aws() as aws:
        shop = deploy(aws)
        with running(function(aws, shop, layer), emulator(CACHE)) as runtime:
            messages = {shop.queue.send(expected.body): expected for expected in expectations()}
            errors = drain(shop, runtime)
            lines = runtime.log_lines()
        dead_letters = dict(map(reason, shop.dead_letters.receive(limit=2 * len(messages))))

    results = read_results(lines)
    print_results(messages, results)
    print_dead_letters(dead_letters, messages, results)
    print_cold_start(lines, runtime)
    problems = [*errors, *unexpected(messages, results), *misplaced(messages, dead_letters)]
    problems += [*unproven(lines, shop.values), *leaked(lines, shop.values)]
    print_verdict(problems, len(messages), time.monotonic() - started)
    return 1 if problems else 0


def expectations() -> list[Expected]:
    """Return the messages to send: a day of the shop, with a bad one of each kind."""
    pixels = bytes((x * y) % 256 for y in range(48) for x in range(64 * 3))
    image = base64.b64encode(Image(64, 48, pixels).to_ppm()).decode()
    good = [task_message("send_receipt", order_id=n, total=f"{n}.90") for n in range(1, 9)]
    good += [task_message("resize_image", image=image, width=8 * n) for n in range(1, 6)]
    good += [task_message("sync_stock", warehouse=name, counts={"pen": 7}) for name in ("north", "south", "west")]
    good += [task_message("export_orders", day=f"2026-03-0{n}") for n in range(1, 3)]
    bad = [
        Expected("broken JSON", '{"task_name": "shop.tasks.send_receipt", "kwargs": {', "rejected"),
        Expected("no such task", task_message("send_postcard", order_id=1).body, "rejected"),
        Expected("not allowed", json.dumps({"task_name": "os.system", "kwargs": {"command": "id"}}), "rejected"),
        Expected("no @task", task_message("sign", secret="", text="").body, "rejected"),
        Expected("wrong kwargs", task_message("send_receipt", order_id="1", total="1.00").body, "rejected"),
        Expected("raises", task_message("charge_card", order_id=9, amount="9.90").body, "failed", attempts=2),
    ]
    return [*good[:9], *bad, *good[9:]]


def task_message(name: str, **kwargs: object) -> Expected:
    """Return a message that runs one of the shop's tasks."""
    return Expected("", json.dumps({"task_name": f"shop.tasks.{name}", "kwargs": kwargs, "n_retries": 0}))


def deploy(aws: EmbeddedAws) -> Shop:
    """Create what template.yaml describes: two queues and the secrets, here with values that no one has seen."""
    values = {
        # All that a shell, a line-based format or an encoding could break.
        "SHOP_DATABASE_PASSWORD": f"{secrets.token_urlsafe()} '\"$(exit 1)`exit 1`\n\\é=",
        "SHOP_API_TOKEN": secrets.token_urlsafe(),
        "SHOP_SIGNING_KEY": secrets.token_urlsafe(),
    }
    manager = aws.client("secretsmanager")

    def secret(name: str, value: str) -> str:
        return str(manager.create_secret(Name=name, SecretString=value)["ARN"])

    environment = {"SHOP_CURRENCY": "EUR", "SHOP_DATABASE_PASSWORD": values["SHOP_DATABASE_PASSWORD"]}
    keys = {"api_token": values["SHOP_API_TOKEN"], "signing_key": values["SHOP_SIGNING_KEY"]}
    keys_arn = secret("shop/keys", json.dumps(keys))
    references = {
        "LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN": secret("shop/environment", json.dumps(environment)),
        "LAMBDA_TASKS_SECRET_SHOP_API_TOKEN": f"{keys_arn}:api_token::",
        "LAMBDA_TASKS_SECRET_SHOP_SIGNING_KEY": f"{keys_arn}:signing_key::",
    }
    sqs = aws.client("sqs")
    dead_letters = create_queue(sqs, "shop-dead-letters")
    redrive = redrive_policy(dead_letters, MAX_RECEIVE_COUNT)
    queue = create_queue(sqs, "shop", VisibilityTimeout=str(VISIBILITY_TIMEOUT_SECONDS), RedrivePolicy=redrive)
    return Shop(queue, dead_letters, references, values)


def function(aws: EmbeddedAws, shop: Shop, layer: Path) -> Function:
    """Return the function as template.yaml configures it."""
    settings = {
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/bin/lambda-tasks-exec",
        "LAMBDA_TASKS_MODULES": "shop.tasks",
        "LAMBDA_TASKS_QUEUE_URL": shop.queue.url,
    }
    return Function(
        code=ROOT / "examples",
        handler="lambda_tasks.handler.handler",
        layers=(layer,),
        environ={**aws.environ(), **shop.references, **settings},
        name="shop-worker",
    )


def drain(shop: Shop, runtime: Runtime) -> list[str]:
    """Run the event source mapping until every message was deleted or redriven; return the function errors."""
    mapping = EventSourceMapping(shop.queue, runtime.invoke)
    deadline = time.monotonic() + LONGEST_SECONDS
    errors = []
    while shop.queue.depth() and time.monotonic() < deadline:
        batch = mapping.poll(wait_seconds=1)
        if batch and batch.invocation.is_error:
            errors.append(f"the function failed: {batch.invocation.payload}")
    return errors


def read_results(lines: Iterable[str]) -> dict[str, Result]:
    """Return what the dispatcher logged last about each message."""
    return {
        record["message_id"]: Result(
            record.get("task") or "-", record["outcome"], record["attempt"], record["duration_ms"]
        )
        for record in json_records(lines)
        if "outcome" in record
    }


def reason(letter: Message) -> tuple[str, str]:
    """Return the id that a dead letter had as a message, and the type of the error that it says it ended with."""
    attributes = {name: value["StringValue"] for name, value in letter.get("MessageAttributes", {}).items()}
    message_id = attributes.get("lambda_tasks_message_id", letter["MessageId"])
    return str(message_id), str(attributes.get("lambda_tasks_error_type", "(no reason)"))


def unexpected(messages: Mapping[str, Expected], results: Mapping[str, Result]) -> list[str]:
    """Say which outcomes are not the expected ones."""
    problems = []
    for message_id, expected in messages.items():
        result = results.get(message_id)
        found = f"{result.outcome} after {result.attempts}" if result else "nothing logged"
        wanted = f"{expected.outcome} after {expected.attempts}"
        if found != wanted:
            problems.append(f"message {message_id}: {found}, expected {wanted}: {expected.body[:80]}")
    return problems


def misplaced(messages: Mapping[str, Expected], dead_letters: Iterable[str]) -> list[str]:
    """Say which messages are in the dead-letter queue and should not be, or the other way round."""
    wanted = {message_id for message_id, expected in messages.items() if expected.outcome != "succeeded"}
    found = set(dead_letters)
    problems = [f"message {message_id} is not in the dead-letter queue" for message_id in wanted - found]
    return problems + [f"message {message_id} is in the dead-letter queue" for message_id in found - wanted]


def unproven(lines: Iterable[str], values: Mapping[str, str]) -> list[str]:
    """Say which secrets no task signed anything with, and which signatures no secret made."""
    signed = [record for record in json_records(lines) if "signature" in record]
    used = {
        (record["signed"], name)
        for record in signed
        for name, value in values.items()
        if record["signature"] == sign(value, record["signed"])
    }
    problems = [f"no task had the right {name}" for name in values if name not in {name for _, name in used}]
    unknown = {record["signed"] for record in signed} - {text for text, _ in used}
    return problems + [f"signed with none of the secrets: {text}" for text in unknown]


def leaked(lines: Iterable[str], values: Mapping[str, str]) -> list[str]:
    """Say which secret values the emulator, the wrapper or the function wrote, as they are or in JSON."""
    log = "\n".join(lines)
    spellings = {name: (value, json.dumps(value)[1:-1], repr(value)[1:-1]) for name, value in values.items()}
    return [f"the value of {name} was logged" for name, forms in spellings.items() if any(map(log.__contains__, forms))]


def print_results(messages: Mapping[str, Expected], results: Mapping[str, Result]) -> None:
    """Print one line a message, in the order in which they were sent."""
    print(f"{'task':<28} {'outcome':<10} {'attempts':>8} {'time':>10}  message")
    for message_id, expected in messages.items():
        result = results.get(message_id, Result("-", "nothing", 0, 0.0))
        time_ms = f"{result.duration_ms:.1f} ms"
        print(f"{result.task:<28} {result.outcome:<10} {result.attempts:>8} {time_ms:>10}  {expected.what}".rstrip())


def print_dead_letters(
    reasons: Mapping[str, str], messages: Mapping[str, Expected], results: Mapping[str, Result]
) -> None:
    """Print what lies in the dead-letter queue, with its reason; nothing was deleted that did not succeed."""
    print(
        f"\nIn the dead-letter queue, {len(reasons)} messages:\n{'task':<28} {'receives':>8}  {'reason':<18}  message"
    )
    for message_id, error_type in reasons.items():
        result, what = results.get(message_id), messages[message_id].what
        task, receives = (result.task, result.attempts) if result else ("-", 0)
        print(f"{task:<28} {receives:>8}  {error_type:<18}  {what}".rstrip())


def print_cold_start(lines: Sequence[str], runtime: Runtime) -> None:
    """Print how long the init phase took, and the resolver's part of it."""
    resolved = [record for record in json_records(lines) if "resolved" in record]
    for init_ms, record in zip(init_durations_ms(lines), resolved, strict=False):
        part = f"{record['duration_ms']:.0f} ms of it in the resolver"
        print(f"\nCold start: {init_ms:.0f} ms, {part} ({record['variables']} variables, {record['secrets']} secrets).")
    print(f"The layer was at {runtime.opt}.")


def print_verdict(problems: Sequence[str], count: int, seconds: float) -> None:
    """Print what was not as expected, or that all was."""
    if problems:
        print("\nNot as expected:", *problems, sep="\n  ")
    else:
        print(f"\nAll {count} messages ended as expected, and no secret was logged ({seconds:.1f} s).")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LocalError as local_error:
        sys.exit(f"demo: {local_error}")
