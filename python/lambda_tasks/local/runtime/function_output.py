"""A running function whose output is heard while it is written: lines with their messages, outcomes, init phases."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lambda_tasks.local.events import FunctionFailure, InitReport, Listener, LogLine, MessageOutcome
from lambda_tasks.local.runtime.emulator_log import Phases
from lambda_tasks.local.runtime.function import Function
from lambda_tasks.local.runtime.process import TIMED_OUT, Invocation, Runtime, running
from lambda_tasks.local.runtime.text_blocks import TextBlocks

_FOLLOW_SECONDS = 0.05
_OUTPUT = ("", 0)  # the writer of what comes by no channel: the exec wrapper, child processes, the interpreter itself


class Tail:
    """A file that grows."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._rest = b""

    def lines(self, *, is_end: bool = False) -> list[str]:
        """Return the lines that were added; with `is_end` also a last one that has no end."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        if is_end and self._rest:
            lines, self._rest = [*lines, self._rest], b""
        return [line.decode("utf-8", "replace") for line in lines]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class FollowedFunction:
    """A running function, and the listener that hears what it writes. `close` stops following, not the function."""

    def __init__(self, runtime: Runtime, listener: Listener) -> None:
        self._runtime = runtime
        self._listener = listener
        self._name = runtime.function.name
        self._emulator = Tail(runtime.files.emulator_log)
        self._output = Tail(runtime.files.output)
        self._channel = Tail(runtime.files.channel) if runtime.files.channel else None
        self._phases = Phases()
        self._writers: dict[tuple[str, int], TextBlocks] = {}
        self._message_ids: list[str] = []
        self._told_last: MessageOutcome | None = None
        self._lock = threading.Lock()
        self._is_closed = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"log-{self._name}", daemon=True)
        self._thread.start()

    def invoke(self, event: Any) -> Invocation:  # noqa: ANN401 - an event is any JSON
        """Invoke the function with `event`. All that it wrote is heard before this returns.

        Raises:
            LocalError: it did not answer.

        """
        self.read(is_end=True)
        records = event.get("Records", ()) if isinstance(event, dict) else ()
        self._message_ids = [record["messageId"] for record in records if "messageId" in record]
        self._told_last = None
        self._phases.invoke_duration_ms = None
        invocation = self._runtime.invoke(event)
        self.read(is_end=True)
        is_over = invocation.error_type == TIMED_OUT
        invocation = dataclasses.replace(
            invocation,
            duration_ms=invocation.timeout_seconds * 1000 if is_over else self._phases.invoke_duration_ms,
            failed_in_init=invocation.is_error and self._phases.init_failed,
            told=None if self._message_ids else self._told_last,
        )
        if invocation.reason is not None:
            ids = tuple(self._message_ids)
            in_init = invocation.failed_in_init
            self._listener(FunctionFailure(self._name, invocation.error_type, invocation.reason, ids, in_init))
        return invocation

    def read(self, *, is_end: bool = False) -> None:
        """Hear what was written since the last time; with `is_end` also what has no end yet."""
        with self._lock:
            if self._is_closed:
                return  # an invocation that was under way ends after it
            for line in self._emulator.lines():
                if (duration_ms := self._phases.read(line)) is not None:
                    self._listener(InitReport(self._name, duration_ms, self._runtime.opt))
            for line in self._output.lines(is_end=is_end):
                self._write(_OUTPUT, line + "\n")
            for line in self._channel.lines() if self._channel else ():
                self._told(json.loads(line))
            for (message_id, _), blocks in self._writers.items():
                for block in blocks.flush() if is_end else blocks.rest():
                    self._line(block, message_id)
            if is_end:
                self._writers.clear()

    def close(self) -> None:
        """Hear what is left, and stop."""
        self._stopping.set()
        self._thread.join()
        self.read(is_end=True)
        with self._lock:
            self._is_closed = True
            for tail in filter(None, (self._emulator, self._output, self._channel)):
                tail.close()

    def _follow(self) -> None:
        while not self._stopping.wait(_FOLLOW_SECONDS):
            self.read()

    def _told(self, event: dict[str, Any]) -> None:
        if event.pop("kind") == "text":
            self._write((event["message_id"] or "", event["thread"]), event["text"])
            return
        outcome = self._told_last = MessageOutcome(**event)
        for (message_id, _), blocks in self._writers.items():
            if message_id == outcome.message_id:
                for block in blocks.flush():
                    self._line(block, message_id)
        self._listener(outcome)

    def _write(self, writer: tuple[str, int], text: str) -> None:
        for block in self._writers.setdefault(writer, TextBlocks()).write(text):
            self._line(block, writer[0])

    def _line(self, text: str, message_id: str) -> None:
        record = _json(text)
        self._listener(LogLine(self._name, text, message_id or self._message_id(text, record), record))

    def _message_id(self, text: str, record: Mapping[str, Any] | None) -> str | None:
        """Return the message of a line that no task wrote, as far as it is certain."""
        if record is not None and record.get("message_id"):
            return str(record["message_id"])
        if record is not None and not record.get("requestId"):
            return None  # the runtime gives every record of an invocation its id: this is the init phase
        if len(self._message_ids) == 1:
            return self._message_ids[0]
        return next((one for one in self._message_ids if one in text), None)


@contextmanager
def followed(
    function: Function, emulator: Path, listener: Listener, *, mount: bool = True
) -> Iterator[FollowedFunction]:
    """Run the function as `process.running` does, with a listener.

    Raises:
        LocalError: the emulator did not start.

    """
    with running(function, emulator, mount=mount, has_channel=True) as runtime:
        following = FollowedFunction(runtime, listener)
        try:
            yield following
        finally:
            following.close()


def _json(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
