"""Run async tasks together in one event loop, each within its limits, and leave nothing of them in it.

The asyncio tasks that a task leaves behind are its own: they are awaited within its limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FuturesTimeoutError
from typing import TYPE_CHECKING, Any

from lambda_tasks import after_fork, errors
from lambda_tasks.definition.error_groups import gravest
from lambda_tasks.dispatch import admission, leases, source_queue
from lambda_tasks.dispatch.call import Call
from lambda_tasks.limits import enclosed_loop, forks, loop_interrupter
from lambda_tasks.limits.loop_interrupter import HardCancellation, Limited, SoftCancellation
from lambda_tasks.messages import dead_letter
from lambda_tasks.messages.outcome import STUCK

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from lambda_tasks.dispatch.invocation import Invocation
    from lambda_tasks.dispatch.job import Job
    from lambda_tasks.dispatch.plan import Lane
    from lambda_tasks.dispatch.worker import Worker
    from lambda_tasks.state.side_calls import SideCall

# The executor's threads need these modules, and would import them at the same time.
__all__ = ["dead_letter", "leases", "run_lanes", "source_queue"]

logger = logging.getLogger("lambda_tasks")

_WITHOUT_LIMITS_SECONDS = 10.0  # for what a task without limits leaves behind, as in a test
_GIVE_UP_SECONDS = 1.0


def run_lanes(every: Sequence[Lane], invocation: Invocation, *, goes_on: bool = False) -> None:
    """Run all lanes at the same time; return when each message has an outcome.

    Where the invocation `goes_on`, that of the last calls may be under way yet.
    """
    context = loop_interrupter.context_without_limits()

    def run(loop: asyncio.AbstractEventLoop) -> bool:
        return context.run(functools.partial(_run_to_the_end, every, invocation, loop, goes_on=goes_on))

    if enclosed_loop.is_running():  # a message that is run where it is enqueued, by async code
        _run_in_thread(run)
    elif threading.current_thread() is threading.main_thread():
        invocation.worker.prepare_for_threads()
        loop = _loop_of(invocation.worker)
        with loop_interrupter.signals_for_blocked_loops():
            is_clean = run(loop)
        if not is_clean:
            invocation.worker.loop = None  # the next invocation has another
            loop.close()
    else:
        _run_and_close(asyncio.new_event_loop(), run)  # it cannot share that of the main thread


def _run_and_close(loop: asyncio.AbstractEventLoop, run: Callable[[asyncio.AbstractEventLoop], object]) -> None:
    try:
        run(loop)
    finally:
        enclosed_loop.close(loop)


def _run_in_thread(run: Callable[[asyncio.AbstractEventLoop], object]) -> None:
    """Run lanes in a thread of its own, and wait for it. Where a limit ends the waiting, the thread ends too."""
    loop = asyncio.new_event_loop()
    work = _Work(functools.partial(_run_and_close, loop, run))
    threading.Thread(target=work.run, name="lambda-tasks-loop", daemon=True).start()
    try:
        work.outcome.result()
    except BaseException:
        if not work.outcome.done():
            with contextlib.suppress(RuntimeError):  # of a loop that has just been closed
                loop.call_soon_threadsafe(_cancel_all, loop)
            with contextlib.suppress(TimeoutError, FuturesTimeoutError):
                work.outcome.result(_GIVE_UP_SECONDS)
        raise


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()


def _loop_of(worker: Worker) -> asyncio.AbstractEventLoop:
    """Return the event loop of the execution environment: one for all invocations, so that clients can be kept."""
    if worker.loop is None or worker.loop.is_closed():
        loop = worker.loop = asyncio.new_event_loop()
        worker.at_close(lambda: enclosed_loop.close(loop))
        after_fork.register(worker)
    return worker.loop


def _run_to_the_end(
    every: Sequence[Lane], invocation: Invocation, loop: asyncio.AbstractEventLoop, *, goes_on: bool
) -> bool:
    """Run all lanes in `loop`, and end what they leave in it. Tell whether all of that ended."""
    run_lane = functools.partial(_run_lane, goes_on=goes_on)
    loop.set_task_factory(loop_interrupter.start_task)  # again each time: a task may have set another one
    try:
        enclosed_loop.run_until_done(loop, [loop.create_task(run_lane(lane, invocation)) for lane in every])
    finally:
        is_clean = enclosed_loop.cancel_what_is_left(loop)
    return is_clean


async def _run_lane(lane: Lane, invocation: Invocation, *, goes_on: bool) -> None:
    try:
        for number, jobs in enumerate(lane):
            is_beside = goes_on and jobs is lane[-1]
            if not await _run_call(jobs, invocation, is_beside=is_beside) and jobs[0].group is not None:
                rest = lane[number + 1 :]
                await _aside(functools.partial(admission.defer_behind, jobs, rest, invocation), invocation)
                return
    except BaseException:  # as in `lanes.run_lane`
        logger.exception("a message could not be dispatched, and stays in the queue")


async def _run_call(jobs: Sequence[Job], invocation: Invocation, *, is_beside: bool) -> bool:
    """Run a call of an async task, in the order of `lambda_tasks.dispatch.call.run`."""
    if invocation.is_exhausted:
        invocation.settlement.defer([list(jobs)], STUCK)
        return False
    call = Call(jobs, invocation)
    watchdog, has_state = invocation.watchdog, invocation.worker.state is not None
    is_left = False
    if watchdog is not None:
        watchdog.enter(call)
    try:
        if await _aside(call.prepare, invocation) if admission.waits(jobs, invocation) else call.prepare():
            if watchdog is not None:
                watchdog.started(call, call.stuck_at)
            if not await _run_limited(call, invocation.time.grace_seconds):
                invocation.has_stuck_calls = True
        if watchdog is not None:
            watchdog.returned(call)
        if is_beside and call.writes:
            is_left = True
            invocation.beside(functools.partial(call.settle_beside, tells=True))
            return False
        waits = has_state or any(job.result is not None and job.result.outcome.is_dead for job in jobs)
        return await _aside(call.settle, invocation) if waits else call.settle()
    finally:
        if watchdog is not None and not is_left:
            watchdog.leave(call)


async def _run_limited(call: Call, grace_seconds: float) -> bool:
    """Run a call's coroutine as a task of its own, and tell whether it ended, with all that it started."""
    children: set[asyncio.Task[Any]] = set()
    now = time.monotonic()
    limit_at, stuck_at = now + min(call.limits.soft, call.limits.hard), now + call.limits.hard + grace_seconds
    if not await _end([asyncio.ensure_future(_perform(call, children, forks.number))], stuck_at):
        call.raised(errors.HardTimeLimitExceeded("the hard timeout passed, and the task did not end"))
        return False
    if not call.is_over:
        call.defer()  # another task has cancelled this one before it began
    if not children:
        return True
    if limit_at == math.inf:
        limit_at = time.monotonic() + _WITHOUT_LIMITS_SECONDS
    return await _end_children(children, limit_at, stuck_at)


async def _perform(call: Call, children: set[asyncio.Task[Any]], forks_before: int) -> None:
    forks.end_if_copied(forks_before)
    call.runs_in(asyncio.current_task())
    with call.observed():
        async with call.tidied():
            try:
                value = await Limited(call.function(), call.limits, children)
            except BaseException as error:  # noqa: BLE001 - a task that exits must not take the batch with it
                # Before Python 3.13 a task group gives even a lone limit back as a group.
                call.raised(gravest(error, (HardCancellation, SoftCancellation)))
            else:
                call.returned(value)


async def _end_children(children: set[asyncio.Task[Any]], limit_at: float, stuck_at: float) -> bool:
    """Wait for the asyncio tasks that a task left behind, then cancel them. Tell whether they ended."""
    while any(not child.done() for child in children):
        if not await _end(children, limit_at):
            break
    for number in range(enclosed_loop.CANCELLATIONS):
        left = [child for child in children if not child.done()]
        if not left:
            return True
        if number == 0:
            logger.warning(
                "asyncio tasks that a task left behind are cancelled at its limit: %s", enclosed_loop.names_of(left)
            )
        for child in left:
            child.cancel()
        await _end(left, min(stuck_at, time.monotonic() + enclosed_loop.CANCELLATION_SECONDS))
    return all(child.done() for child in children)


async def _end(awaited: Collection[asyncio.Future[Any]], at: float) -> bool:
    """Wait until all of them are done, or until `at`, for a turn of the loop at least; tell whether they are.

    To be cancelled meanwhile changes nothing: a task can cancel whatever it finds in the loop.
    """
    left, forks_before = at - time.monotonic(), forks.number
    while pending := [one for one in awaited if not one.done()]:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(pending, timeout=max(0.0, left) if left < math.inf else None)
        forks.end_if_copied(forks_before)  # every lane goes on from here, and none in a copy of this process
        left = at - time.monotonic()
        if left <= 0:
            break
    return not pending or all(one.done() for one in pending)


async def _aside(function: Callable[[], bool | None], invocation: Invocation) -> bool:
    """Call what may wait for AWS in a thread, so that the other tasks go on meanwhile; without one, here."""
    call = invocation.worker.side_calls.begin(function)
    await _over(call)
    return bool(call.result())


async def _over(call: SideCall[Any]) -> None:
    """Wait until the call is over, as `_end` waits: there is one at each end of every message."""
    loop, forks_before = asyncio.get_running_loop(), forks.number
    while not call.is_over:
        over = loop.create_future()
        call.then(functools.partial(loop.call_soon_threadsafe, _wake, over))
        with contextlib.suppress(asyncio.CancelledError):
            await over
        forks.end_if_copied(forks_before)


def _wake(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


class _Work:
    """A call of a function in a thread of its own, and what came of it."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.outcome: Future[object] = Future()
        self._function = function

    def run(self) -> None:
        try:
            self.outcome.set_result(self._function())
        except BaseException as error:  # noqa: BLE001 - it is whose who waits for the outcome
            self.outcome.set_exception(error)
