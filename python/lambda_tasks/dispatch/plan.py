"""The plan of an invocation: the order in which its messages run, and which of them run together.

A lane is a sequence of calls, each of which starts when the one before it is over: the messages of one FIFO group,
those of one singleton or key, or a single message. A call has one message, or all messages of a batch task that share
a context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambda_tasks.dispatch.job import Job

Lane = list[list["Job"]]


class Plan(NamedTuple):
    """The lanes of one invocation. Those of `together` run in the event loop; `async_first` says which kind begins."""

    together: list[Lane]
    ordinary: list[Lane]
    async_first: bool


def plan(jobs: Sequence[Job]) -> Plan:
    """Return the plan for the messages of an invocation, which are in the order in which SQS gave them."""
    lanes: list[Lane] = []
    groups: dict[str, Lane] = {}
    of_keys: dict[str, Lane] = {}
    batches: dict[object, tuple[Lane, list[Job]]] = {}
    has_async = False
    for job in jobs:
        if job.definition is not None and job.definition.is_async:
            has_async = True
        if job.group is not None:
            if job.group not in groups:
                groups[job.group] = []
                lanes.append(groups[job.group])
            _append(groups[job.group], job)
        elif job.is_alone:
            lanes.append([[job]])
        else:
            _add(lanes, of_keys, batches, job)
    together = [lane for lane in lanes if _is_async(lane)] if has_async else []
    ordinary = [lane for lane in lanes if not _is_async(lane)] if together else lanes
    return Plan(together, ordinary, async_first=bool(together) and lanes[0] is together[0])


def _add(lanes: list[Lane], of_keys: dict[str, Lane], batches: dict[object, tuple[Lane, list[Job]]], job: Job) -> None:
    """Add a message: to the call of its batch, else behind those of its key or singleton, else in a lane of its own.

    Messages with one key never share a call.
    """
    key = job.singleton_key if job.key is None else job.key.hash
    lane = None if key is None else of_keys.get(key)
    batch = None if job.batch_key is None else batches.get(job.batch_key)
    if batch is not None and (job.key is None or lane is None):
        lane, call = batch
        call.append(job)
    else:
        call = [job]
        if lane is None:
            lane = []
            lanes.append(lane)
        lane.append(call)
        if job.batch_key is not None:
            batches.setdefault(job.batch_key, (lane, call))
    if key is not None:
        of_keys.setdefault(key, lane)


def _append(lane: Lane, job: Job) -> None:
    """Add a message to its FIFO group: to the call before it where both belong to one batch."""
    if job.batch_key is not None and lane and lane[-1][-1].batch_key == job.batch_key:
        lane[-1].append(job)
    else:
        lane.append([job])


def _is_async(lane: Lane) -> bool:
    """Tell whether a lane belongs into the event loop: its tasks are async, and none would block the loop."""
    found = False
    for call in lane:
        for job in call:
            if job.definition is not None:
                if not job.definition.is_async:
                    return False
                found = True
    return found
