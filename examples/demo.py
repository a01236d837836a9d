"""The whole way on this machine: secrets, the exec wrapper, the real runtime, SQS, and what became of every message.

`make demo` runs it. It drives ``lambda-tasks local`` with template.yaml, and exits with status 0 only where every
outcome is the expected one; it says which was not.
"""

from __future__ import annotations

import argparse
import base64
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lambda_tasks.local.runtime.emulator_log import json_records
from shop.image import Image
from shop.signature import sign

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template.yaml"
LAYER = ROOT / "layer" / "dist" / "lambda-tasks-layer.zip"
CACHE = ROOT / "build"

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
    """The outcome of a message, as ``lambda-tasks local`` reports it."""

    task: str
    outcome: str
    attempts: int
    duration_ms: float


@dataclass
class Session:
    """The output of ``lambda-tasks local``: the ids of the messages, log lines, starts, and the summary."""

    exit_status: int = 0
    sent: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    starts: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    def results(self) -> dict[str, Result]:
        """Return what became of each message."""
        return {
            one["message_id"]: Result(one["task"] or "-", one["outcome"], one["deliveries"], one["duration_ms"] or 0.0)
            for one in self.summary.get("messages", ())
        }


def main(arguments: Sequence[str]) -> int:
    """Run the demo and return the exit status."""
    parser = argparse.ArgumentParser(prog="demo.py", description="Run the example shop's tasks on this machine.")
    parser.add_argument("--layer", type=Path, default=LAYER, help="zip of the layer (default: what `make layer` built)")
    layer = parser.parse_args(arguments).layer
    if not layer.exists():
        parser.error(f"there is no {layer}: run `make layer`")
    started = time.monotonic()
    values, expected = make_values(), expectations()
    with tempfile.TemporaryDirectory(prefix="lambda-tasks-demo-") as folder:
        session = run(layer, values, expected, Path(folder))
    if session.exit_status not in (0, 1):
        return session.exit_status

    messages = dict(zip(session.sent, expected, strict=True))
    results = session.results()
    dead_letters = [one["message_id"] for one in session.summary["dead_letters"]]
    print_results(messages, results)
    print_dead_letters(session.summary["dead_letters"], messages)
    print_cold_starts(session)
    problems = [f"the function failed: {error}" for error in session.summary["function_errors"]]
    problems += [*unexpected(messages, results), *misplaced(messages, dead_letters)]
    problems += [*unproven(session.lines, values), *leaked(session.lines, values)]
    print_verdict(problems, len(messages), time.monotonic() - started)
    return 1 if problems else 0


def make_values() -> dict[str, str]:
    """Return values for the secrets of template.yaml that no one has seen."""
    return {
        # All that a shell, a line-based format or an encoding could break.
        "SHOP_DATABASE_PASSWORD": f"{secrets.token_urlsafe()} '\"$(exit 1)`exit 1`\n\\é=",
        "SHOP_API_TOKEN": secrets.token_urlsafe(),
        "SHOP_SIGNING_KEY": secrets.token_urlsafe(),
    }


def run(layer: Path, values: Mapping[str, str], expected: Sequence[Expected], folder: Path) -> Session:
    """Run ``lambda-tasks local`` until its queues are empty, and return what it printed."""
    (folder / "values.json").write_text(json.dumps(values))
    (folder / "messages").write_text("\n".join(one.body for one in expected))
    options = ["--template", str(TEMPLATE), "--layer", f"TasksLayer={layer}", "--cache", str(CACHE), "--port", "0"]
    options += ["--env-file", str(folder / "values.json"), "--messages", str(folder / "messages")]
    options += ["--once", "--timeout", str(LONGEST_SECONDS), "--json"]
    # Under coverage, or any other way in which this interpreter was told to start others.
    command = [sys.executable, "-m", "lambda_tasks", "local", *options]
    session = Session()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - for mypy: it is a pipe
        for line in process.stdout:
            read(json.loads(line), session)
    session.exit_status = process.returncode
    return session


def read(event: dict[str, Any], session: Session) -> None:
    """Note one line that ``lambda-tasks local`` printed."""
    match event["event"]:
        case "sent":
            session.sent.append(event["message_id"])
        case "log":
            session.lines.append(event["line"])
        case "init":
            session.starts.append(event)
        case "summary":
            session.summary = event


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
    print(f"{'task':<28} {'outcome':<10} {'attempts':>10} {'time':>10}  message")
    for message_id, expected in messages.items():
        result = results.get(message_id, Result("-", "nothing", 0, 0.0))
        time_ms = f"{result.duration_ms:.1f} ms"
        print(f"{result.task:<28} {result.outcome:<10} {result.attempts:>10} {time_ms:>10}  {expected.what}".rstrip())


def print_dead_letters(letters: Sequence[Mapping[str, Any]], messages: Mapping[str, Expected]) -> None:
    """Print what lies in the dead-letter queue, with the reason; nothing was deleted that did not succeed."""
    print(f"\nIn the dead-letter queue, {len(letters)} messages:\n{'message':<15} {'error':<18} why")
    for letter in letters:
        expected = messages.get(letter["message_id"])
        why = " ".join((letter["error_message"] or "").split())[:62]
        print(f"{expected.what if expected else '-':<15} {letter['error_type'] or '-':<18} {why}".rstrip())


def print_cold_starts(session: Session) -> None:
    """Print how long each init phase took, and the resolver's part of it."""
    resolved = [record for record in json_records(session.lines) if "resolved" in record]
    print()
    for start, record in zip(session.starts, resolved, strict=False):
        part = f"{record['duration_ms']:.0f} ms of it in the resolver"
        counts = f"{record['variables']} variables, {record['secrets']} secrets"
        print(f"Cold start: {start['duration_ms']:.0f} ms, {part} ({counts}). The layer was at {start['opt']}.")


def print_verdict(problems: Sequence[str], count: int, seconds: float) -> None:
    """Print what was not as expected, or that all was."""
    if problems:
        print("\nNot as expected:", *problems, sep="\n  ")
    else:
        print(f"\nAll {count} messages ended as expected, and no secret was logged ({seconds:.1f} s).")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
