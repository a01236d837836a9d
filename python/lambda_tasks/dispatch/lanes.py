"""Run the lanes of an invocation: the calls of each one after the other, up to the first that does not finish."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lambda_tasks.dispatch import admission, call
from lambda_tasks.messages.outcome import STUCK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambda_tasks.dispatch.invocation import Invocation
    from lambda_tasks.dispatch.job import Job
    from lambda_tasks.dispatch.plan import Lane
    from lambda_tasks.limits.signal_interrupter import Interrupter

logger = logging.getLogger("lambda_tasks")


def run_all(lanes: Sequence[Lane], invocation: Invocation) -> None:
    """Run lanes one after the other, in this thread."""
    last = lanes[-1] if invocation.worker.state is not None else None
    with invocation.interrupter() as interrupter:
        for lane in lanes:
            run_lane(lane, invocation, interrupter, goes_on=last is not None and lane is not last)


def run_lane(lane: Lane, invocation: Invocation, interrupter: Interrupter, *, goes_on: bool = False) -> None:
    """Run the calls of a lane one after the other; of a FIFO group, up to the first that is not done with.

    Where this thread `goes_on` with other lanes, it does not wait for the outcome of the last call. An error of this
    package's own code is logged: its messages have no outcome, so SQS keeps them.
    """
    try:
        for number, jobs in enumerate(lane):
            first, definition = jobs[0], jobs[0].definition
            if first.is_settled or invocation.needs_care or (definition is not None and definition.is_async):
                is_done = _run_with_care(jobs, invocation, interrupter)
            else:
                is_done = call.run(jobs, invocation, interrupter, goes_on and jobs is lane[-1])
            if not is_done and first.group is not None:
                admission.defer_behind(jobs, lane[number + 1 :], invocation)
                return
    except BaseException:  # also a time limit that arrived late
        logger.exception("a message could not be dispatched, and stays in the queue")


def _run_with_care(jobs: Sequence[Job], invocation: Invocation, interrupter: Interrupter) -> bool:
    """Run a call that may be over already, that is async, for which there may be no memory, or leases in a database."""
    first = jobs[0]
    if first.is_settled:
        return False  # this thread was stuck, and its next call was deferred
    if first.definition is not None and first.definition.is_async:
        from lambda_tasks.dispatch import event_loop  # noqa: PLC0415 - asyncio, for functions with async tasks

        event_loop.run_lanes([[list(jobs)]], invocation)  # an async task among ordinary ones of its FIFO group
        return all(job.is_done_with for job in jobs)
    if invocation.is_exhausted:
        invocation.settlement.defer([list(jobs)], STUCK)
        return False
    if invocation.tidies_leases and invocation.worker.application is not None:
        with invocation.worker.application.tidied():  # the leases and the task have one connection
            return call.run(jobs, invocation, interrupter)
    return call.run(jobs, invocation, interrupter)
