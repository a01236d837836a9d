"""The deletion of what is over: a thousand rows at a time, so that nobody waits for long."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Q
from django.utils import timezone

from lambda_tasks.django.models import ENDED, TaskKey, TaskRecord
from lambda_tasks.state.record import Status

if TYPE_CHECKING:
    from django.db.models import QuerySet

_PER_STATEMENT = 1000


class Deleted(NamedTuple):
    """The numbers of rows that were deleted."""

    records: int
    keys: int


def delete(alias: str, ended_before: float | None = None, *, does_it: bool = True) -> Deleted:
    """Delete records and keys whose time is over, and records of messages that ended before a time in epoch seconds.

    A message that waits or runs keeps its record. Without `does_it` the rows are only counted.
    """
    now = timezone.now()
    records = [TaskRecord.objects.using(alias).filter(expires_at__lte=now)]
    if ended_before is not None:
        # One whose function died while it ran has no end, and a lease of long ago.
        is_over = Q(status__in=ENDED) | Q(status=Status.RUNNING.value, lease_until__lt=ended_before)
        ended = Q(finished_at__isnull=True) | Q(finished_at__lt=ended_before)
        old = TaskRecord.objects.using(alias).filter(is_over, ended, listed_at__lt=ended_before)
        records.append(old.filter(expires_at__gt=now))
    keys = TaskKey.objects.using(alias).filter(expires_at__lte=now)
    action = _deleted if does_it else _counted
    return Deleted(sum(map(action, records)), action(keys))


def _counted(rows: QuerySet) -> int:
    return int(rows.count())


def _deleted(rows: QuerySet) -> int:
    count = 0
    while some := list(rows.order_by().values_list("pk", flat=True)[:_PER_STATEMENT]):
        count += rows.filter(pk__in=some).delete()[0]
    return count
