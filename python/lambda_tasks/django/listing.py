"""The lists of the admin: their filters, their search and their pages, each by an index of the table."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.contrib.admin import SimpleListFilter
from django.core.paginator import Paginator
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from lambda_tasks.django.models import TaskRecord
from lambda_tasks.state.record import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest

MOST_ROWS = 5000
_MOST_LISTED = 50
_MOST_SEARCHED = 500
_HOURS = {"1": _("hour"), "24": _("day"), "168": _("week"), "720": _("30 days")}


class FirstPages(Paginator):
    """The pages of the first `MOST_ROWS` rows. It counts no further, and no page lies far behind the first."""

    @cached_property
    def count(self) -> int:
        """The number of rows, or `MOST_ROWS` where there are more."""
        return int(self.object_list[:MOST_ROWS].count())  # in order, so that an index has them together


class _Filter(SimpleListFilter):
    """A filter by one column, whose values are few."""

    column = ""

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:  # noqa: ARG002 - as Django calls it
        """Return the rows that have the value."""
        return queryset if self.value() is None else queryset.filter(**{self.column: self.value()})


class StatusFilter(_Filter):
    """The filter by status."""

    title = _("status")
    parameter_name = column = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, Any]]:  # noqa: ANN401, ARG002
        """Return every status."""
        return [(one.value, one.value) for one in Status]


class TaskFilter(_Filter):
    """The filter by task."""

    title = _("task")
    parameter_name = column = "task"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, Any]]:  # noqa: ANN401, ARG002
        """Return the tasks that there are records of."""
        return [(one, one) for one in names(self.column)]


class QueueFilter(_Filter):
    """The filter by queue."""

    title = _("queue")
    parameter_name = column = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, Any]]:  # noqa: ANN401, ARG002
        """Return the queues that there are records of."""
        return [(one, one) for one in names(self.column)]


class AgeFilter(SimpleListFilter):
    """The filter by the time of sending or receipt."""

    title = _("age: within the last")
    parameter_name = "hours"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, Any]]:  # noqa: ANN401, ARG002
        """Return the ages."""
        return list(_HOURS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:  # noqa: ARG002
        """Return the rows that are younger."""
        if self.value() not in _HOURS:
            return queryset
        return queryset.filter(listed_at__gte=timezone.now() - timedelta(hours=int(self.value())))


def names(column: str, most: int = _MOST_LISTED) -> list[str]:
    """Return the first values of a column: each is found behind the one before, in the column's index."""
    records, last = TaskRecord.objects.order_by(column), ""
    found_names: list[str] = []
    while len(found_names) < most:
        behind = records.filter(**{f"{column}__gt": last}).values_list(column, flat=True)[:1]
        if not behind:
            break
        last = behind[0]
        found_names.append(last)
    return found_names


def found(queryset: QuerySet, term: str) -> QuerySet:
    """Return the rows that a search means: a message by its id, or else those of tasks whose name has `term` in it."""
    if not term:
        return queryset
    of_message = queryset.filter(message_id=term)
    if of_message.exists():
        return of_message
    tasks = [one for one in names("task", _MOST_SEARCHED) if term.lower() in one.lower()]
    return queryset.filter(task=tasks[0]) if len(tasks) == 1 else queryset.filter(task__in=tasks or [term])
