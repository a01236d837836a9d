"""What a function writes, as it writes it: each line with the message that it belongs to."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lambda_tasks.local.emulator_log import init_durations_ms
from lambda_tasks.local.runtime import RunningFunction

_FOLLOW_SECONDS = 0.05
_CATCH_UP_SECONDS = 1.0
# What the emulator writes about itself, and about each invocation.
_EMULATORS_OWN = re.compile(r"^(?:\d\d \w{3} \d{4} [\d:,]+ \[\w+\] )?\(rapid\) |^(?:START|END|REPORT) RequestId: ")
_OUTCOME = re.compile(
    r" (succeeded|skipped|retrying|failed|rejected|deferred) in \d+ ms \(message ([^,)]+), attempt (\d+)"
)


@dataclass(frozen=True)
class LogLine:
    """One line. `record` is what a JSON line holds; `message_id` is the message that was run when it was written."""

    function: str
    text: str
    message_id: str | None = None
    record: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class InitReport:
    """How long the init phase of an execution environment took, exec wrapper included; and where its layers are."""

    function: str
    duration_ms: float
    opt: str


@dataclass(frozen=True)
class OutcomeLine:
    """What the dispatcher logged about a message."""

    message_id: str
    outcome: str
    attempt: int
    task: str | None = None
    duration_ms: float = 0.0
    error: str | None = field(default=None, repr=False)


Listener = Callable[["LogLine | InitReport"], None]


def outcome_of(line: LogLine) -> OutcomeLine | None:
    """Return what `line` says about the outcome of a message, under either log format."""
    record = line.record
    if record is not None:
        if not {"outcome", "message_id", "attempt"} <= record.keys():
            return None
        message_id = str(record["message_id"])
        duration_ms = float(record.get("duration_ms") or 0)
        error = record.get("errorMessage") or _reason(str(record.get("message", "")))
        return OutcomeLine(message_id, record["outcome"], record["attempt"], record.get("task"), duration_ms, error)
    if found := _OUTCOME.search(line.text):
        task = line.text[: found.start()].split()[-1]
        return OutcomeLine(found[2], found[1], int(found[3]), task, error=_reason(line.text))
    return None


class LogFollower:
    """Reads an execution environment's log while it grows, until it is closed.

    `is_sequential` says that the function runs the messages of a batch one after the other and logs each outcome, as
    our handler does; of another one only a batch of one message tells whose a line is.
    """

    def __init__(
        self, function: str, running: RunningFunction, listener: Listener, *, is_sequential: bool = False
    ) -> None:
        self._function = function
        self._is_sequential = is_sequential
        self._running = running
        self._listener = listener
        self._waiting: list[str] = []
        self._lock = threading.Lock()
        self._wakes = threading.Condition()
        self._bytes_read = 0
        self._is_closed = False
        self._thread = threading.Thread(target=self._follow, name=f"log-{function}", daemon=True)
        self._thread.start()

    def begin(self, event: Mapping[str, Any]) -> None:
        """Say which messages are run next: what is logged from now on belongs to them, one after the other."""
        self.catch_up()
        with self._lock:
            self._waiting = [record["messageId"] for record in event.get("Records", ())]

    def catch_up(self) -> None:
        """Wait until everything is read that was written so far."""
        size = self._running.log_path.stat().st_size
        with self._wakes:
            self._wakes.notify_all()
            self._wakes.wait_for(lambda: self._bytes_read >= size, timeout=_CATCH_UP_SECONDS)

    def close(self) -> None:
        """Read what is left, and stop."""
        with self._wakes:
            self._is_closed = True
            self._wakes.notify_all()
        self._thread.join()

    def _follow(self) -> None:
        with self._running.log_path.open("rb") as log:
            rest = b""
            is_last = False
            while not is_last:
                with self._wakes:
                    if not self._is_closed:
                        self._wakes.wait(_FOLLOW_SECONDS)
                    is_last = self._is_closed
                read = log.read()
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    self._read(line.decode("utf-8", "replace"))
                with self._wakes:
                    self._bytes_read += len(read)
                    self._wakes.notify_all()
            if rest:
                self._read(rest.decode("utf-8", "replace"))

    def _read(self, text: str) -> None:
        for duration_ms in init_durations_ms([text]):
            self._listener(InitReport(self._function, duration_ms, self._running.opt))
        if not text.strip() or _EMULATORS_OWN.match(text):
            return
        record = _json(text)
        with self._lock:
            message_id = self._message_id(text, record)
            line = LogLine(self._function, text, message_id, record)
            outcome = outcome_of(line)
            if outcome is not None and outcome.message_id in self._waiting:
                self._waiting.remove(outcome.message_id)
        self._listener(line if outcome is None else LogLine(self._function, text, outcome.message_id, record))

    def _message_id(self, text: str, record: Mapping[str, Any] | None) -> str | None:
        if record is not None and record.get("message_id"):
            return str(record["message_id"])
        if record is not None and not record.get("requestId"):
            return None  # the runtime gives every record of an invocation its id: this is the init phase
        named = [one for one in self._waiting if one in text]
        if named or len(self._waiting) == 1 or self._is_sequential:
            return next(iter(named or self._waiting), None)
        return None


def _json(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _reason(message: str) -> str | None:
    """Return what comes after the closing bracket and a colon: why a message was rejected."""
    return message.partition("): ")[2] or None
