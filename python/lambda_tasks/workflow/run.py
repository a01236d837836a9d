"""The steps of one delivery of a message: which of them are kept, which may run, and when the rest is put off."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

from lambda_tasks.errors import LambdaTasksError, StateUnavailable
from lambda_tasks.messages.outcome import GOES_ON, NO_STATE, PutOff
from lambda_tasks.state.steps import KeptStep
from lambda_tasks.workflow import marks, results
from lambda_tasks.workflow.errors import InvalidStep
from lambda_tasks.workflow.places import Places
from lambda_tasks.workflow.results import Content

if TYPE_CHECKING:
    from lambda_tasks.workflow.marks import Loop
    from lambda_tasks.workflow.places import Place
    from lambda_tasks.workflow.protocol import Origin, Stage

# For one call of the store, which has to end before the task is ended: a store that is away is no fault of the task's.
_CALL_SECONDS = 3.0
_BEFORE_THE_END_SECONDS = 0.2
_LEAST_CALL_SECONDS = 0.1
_LEAST_INTERVAL_SECONDS = 1.0
_PART_OF_REMAINING = 5
_LONGEST_INTERVAL_SECONDS = 60.0  # where nothing ends the work, as in a container
# What an item may take beyond the longest one so far.
_MARGIN_PART = 0.25
_MARGIN_SECONDS = 0.1


class Run:
    """The steps of one delivery. Usable from several threads. `finished` counts those that this delivery finished."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._stage: Stage = origin.stage
        stage = self._stage
        self.message_id = origin.own_id
        held, memory = origin.leases, stage.worker.memory_keys
        self.attempt = None if held is None else held.attempt
        self.store = memory if held is None else stage.worker.state
        text = memory.steps.get(self.message_id, "") if held is None else held.started.steps
        self.marks = marks.read(text)
        self.finished = 0
        self.has_gone_on = self.marks.put_off > 0
        self.places = Places(lambda: stage.line)
        self._is_new = not text  # there is nothing to be found
        self._is_changed = self._has_failed = False
        self._written_at = time.monotonic()
        self._raised: dict[str, str] = {}  # the scopes of steps that raised in this delivery
        self._lock = threading.RLock()
        self._writing = threading.Lock()

    @property
    def worker(self) -> Any:  # noqa: ANN401 - the dispatcher's
        """The worker of the process."""
        return self._stage.worker

    @property
    def text(self) -> str | None:
        """What replaces the record's text of how far the steps have come; None for nothing."""
        with self._lock:
            return self.marks.text() if self._is_changed and not self._has_failed else None

    def take_name(self, name: str) -> None:
        """Note that a step has this name.

        Raises:
            InvalidStep: it is no name, or another step of the task has it.

        """
        self.places.take_name(name, self._origin.task_name or "")

    def found(self, place: Place) -> Content | None:
        """Return what is kept of a step, or None where it has to run.

        Raises:
            InvalidStep: the order of the steps has changed since.

        """
        if self._is_new:
            return None
        is_strict = place.number > 0 and not self.marks.raised
        is_expected = is_strict and place.number <= self.marks.last(place.scope)
        if is_strict and not is_expected and not self.marks.has_beside:
            return None  # without asking
        text = self._asked(place.name)
        if text is None:
            if is_expected:
                raise _order_changed(place.name)
            return None
        content = Content.read(text)
        there = content.scope, content.item, content.number
        if is_strict and content.number and there != (place.scope, place.item, place.number):
            raise _order_changed(place.name)
        self.places.over(place)
        return content

    def keep(self, place: Place, result: bytes, *, is_awaited: bool = False) -> None:
        """Keep the result of a step, which is JSON, for the deliveries to come.

        Raises:
            InvalidStep: the result is large, and there is no bucket.
            LeaseLost: this delivery has no lease any more.
            PutOff: the store did not answer.

        """
        self._check_it_runs()
        content = Content(scope=place.scope, number=place.number, item=place.item, is_awaited=is_awaited)
        if len(result) > results.MAX_RESULT_BYTES:
            try:
                content.pointer = results.put(place.name, result, self.message_id, self.worker)
            except InvalidStep:
                raise
            except LambdaTasksError as error:
                raise self.put_off(NO_STATE, error) from error
        else:
            content.result = results.raw(result)
        with self._lock:
            self._leave(place.name)
            self._note_raised(place)
            if place.number:
                self.marks.reach(place.scope, place.parent, place.number)
            else:
                self.marks.has_beside = True
            self.marks.finished += 1
            self.marks.latest = place.name
        self._write(KeptStep(place.name, content.text()))
        with self._lock:
            self.finished += 1
        self.places.over(place)

    def raised(self, place: Place) -> None:
        """Note that a step raised: its name is free, as it is run again.

        Where the task goes on with others, their order says nothing any more: the next time this one may succeed.
        """
        self.places.free_name(place.name)
        if place.number:
            with self._lock:
                self._raised[place.name] = place.scope

    def begin_loop(self, place: Place, total: int | None) -> Loop:
        """Return the loop at a place: a new one, or as far as an earlier delivery came.

        Raises:
            InvalidStep: the order of the steps has changed since.

        """
        with self._lock:
            loop, is_strict = self.marks.loops.get(place.name), not self.marks.raised
            if loop is not None and is_strict and (loop.scope, loop.number) != (place.scope, place.number):
                raise _order_changed(place.name)
            if loop is None:
                if is_strict and 0 < place.number <= self.marks.last(place.scope):
                    raise _order_changed(place.name)
                loop = self.marks.loops[place.name] = marks.Loop(scope=place.scope, number=place.number)
            loop.total = total
            self._note_raised(place)
            if place.number:
                self.marks.reach(place.scope, place.parent, place.number)
            self._is_changed = True
        self.places.over(place)
        return loop

    def check_time(self, loop: Loop) -> None:
        """Decide whether there is time for another item of a loop.

        Raises:
            PutOff: there is not.

        """
        self.check_time_for(loop.longest * (1 + _MARGIN_PART) + _MARGIN_SECONDS)

    def check_time_for(self, seconds: float | None) -> None:
        """Decide whether there is time for what may take so many seconds.

        The first thing that a fresh invocation does has time: no later one would have more.

        Raises:
            PutOff: there is not.

        """
        self._check_it_goes_on()
        if seconds is None or (not self.finished and self._stage.has_whole_time):
            return
        if self._stage.ends_at - time.monotonic() < seconds:
            raise self.put_off(GOES_ON)

    def item_done(self, place: Place, loop: Loop, seconds: float) -> bool:
        """Note that an item is done, and tell whether that is to be written now."""
        with self._lock:
            loop.done += 1
            loop.spent += seconds
            loop.longest = max(loop.longest, seconds)
            if place.number:
                self._leave(place.name)
            self.finished += 1
            self._is_changed = True
            now = time.monotonic()
            return now - self._written_at >= self._interval_seconds(now)

    def end_loop(self, loop: Loop) -> None:
        """Note that a loop is over."""
        with self._lock:
            loop.is_over = self._is_changed = True

    def write(self) -> None:
        """Write how far the steps have come.

        Raises:
            LeaseLost: this delivery has no lease any more.
            PutOff: the store did not answer.

        """
        self._write(None)

    def put_off(self, reason: str, error: BaseException | None = None) -> PutOff:
        """Note that the rest is for another delivery, whatever the task makes of the error that this returns."""
        with self._lock:
            if self._origin.put_off is None:
                if reason == GOES_ON:
                    self.marks.put_off += 1
                    self._is_changed = True
                seconds = 0.0 if reason == GOES_ON else None
                self._origin.put_off = PutOff(reason, seconds=seconds, error=error)
            return self._origin.put_off

    def deadline(self) -> float:
        """Return when a call of the store, which begins now, has to end."""
        now = time.monotonic()
        ends_at = min(self._stage.ends_at, self._origin.must_end_at) - _BEFORE_THE_END_SECONDS
        return max(now + _LEAST_CALL_SECONDS, min(now + _CALL_SECONDS, ends_at))

    def close_connections(self) -> None:
        """Close what a thread that ends here has open, such as connections to databases."""
        if self.worker.application is not None:
            self.worker.application.close_connections()

    def _leave(self, scope: str) -> None:
        """Forget what lies in a scope, which no later delivery comes to."""
        self.marks.leave(scope)
        self._raised = {name: of for name, of in self._raised.items() if of != scope}

    def _note_raised(self, place: Place) -> None:
        """Note the steps that raised before one of their scope is kept, but for that one itself, tried again."""
        self._raised.pop(place.name, None)
        for name in [name for name, scope in self._raised.items() if scope == place.scope and place.number]:
            del self._raised[name]
            self.marks.raise_(name)

    def _check_it_goes_on(self) -> None:
        if self._origin.put_off is not None:
            raise self._origin.put_off
        self._check_it_runs()

    def _check_it_runs(self) -> None:
        if self._origin.result is not None:
            raise InvalidStep("the task of the step is over", source=f"task {self._origin.task_name}")

    def _interval_seconds(self, now: float) -> float:
        remaining = self._stage.ends_at - now
        if remaining == math.inf:
            return 0.0 if self.attempt is None else _LONGEST_INTERVAL_SECONDS
        return max(_LEAST_INTERVAL_SECONDS, remaining / _PART_OF_REMAINING)

    def _asked(self, name: str) -> str | None:
        try:
            found: str | None = self.store.kept_step(self.message_id, name, deadline=self.deadline())
        except StateUnavailable as error:
            raise self.put_off(NO_STATE, error) from error
        return found

    def _write(self, kept: KeptStep | None) -> None:
        owner = "" if self.attempt is None else self.attempt.owner
        with self._writing:  # one after the other: what is written last is how far the steps have come
            if self._has_failed and self._origin.put_off is not None:
                raise self._origin.put_off
            with self._lock:
                text, self._is_changed = self.marks.text(), False
            try:
                self.store.keep_step(self.message_id, owner, text, kept, deadline=self.deadline())
            except StateUnavailable as error:
                self._has_failed = True  # what is in the record is what is kept
                raise self.put_off(NO_STATE, error) from error
            self._written_at = time.monotonic()


def _order_changed(name: str) -> InvalidStep:
    problem = "the order of the steps has changed since an earlier delivery of the message"
    remedy = "keep names and order the same for the same kwargs, or send the message anew after a change"
    return InvalidStep(problem, source=f"step {name!r}", remedy=remedy)
