"""The records of messages in Django's admin, to read, to send again, and to redrive.

A page of a million records costs what one of a thousand does: each query is by an index, and nothing counts them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from lambda_tasks import settings
from lambda_tasks.django.listing import AgeFilter, FirstPages, QueueFilter, StatusFilter, TaskFilter, found
from lambda_tasks.django.models import TaskRecord
from lambda_tasks.django.shown import as_history, as_json, as_moment, as_text, colored
from lambda_tasks.errors import LambdaTasksError

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from lambda_tasks.enqueue.again.sending import Sent

_MOST_AT_A_TIME = 1000
_ERRORS_SHOWN = 5
# Too large to be read for a list.
_LONG = ("result", "error_message", "traceback", "context", "kwargs", "request", "history")


def _time(name: str) -> Any:  # noqa: ANN401 - as Django shows it
    """Return what shows one of a record's times to the second, which Django itself does not."""
    field = TaskRecord._meta.get_field(name)

    @admin.display(description=field.verbose_name)
    def shown(record: TaskRecord) -> str:
        return as_moment(getattr(record, name))

    shown.__name__ = name
    return shown


_TIMES = tuple(map(_time, ("queued_at", "first_received_at", "started_at", "finished_at", "first_failed_at")))


@admin.register(TaskRecord)
class TaskRecordAdmin(admin.ModelAdmin):
    """The records, which nobody adds, changes or deletes here. Two permissions of their own allow the actions."""

    list_display = ("task", "state", "listed", "took", "attempts", "error_type", "queue", "message_id")
    list_display_links = ("task", "message_id")
    list_filter = (StatusFilter, AgeFilter, TaskFilter, QueueFilter)
    list_per_page = 50
    list_max_show_all = 50
    sortable_by = ()
    ordering = ("-listed_at", "-message_id")
    paginator = FirstPages
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("message_id",)
    search_help_text = _("The id of a message, or a task: the name, or a part of it.")
    actions = ("replay", "redrive")
    readonly_fields = (
        "state",
        "took",
        "arguments",
        "returned",
        "sent_with",
        "error_traceback",
        "attempts_so_far",
        *_TIMES,
    )
    fieldsets = (
        (None, {"fields": ("message_id", "task", "state", "reason", "queue", "attempts", "took")}),
        (_("Times"), {"fields": _TIMES}),
        (_("Arguments and result"), {"fields": ("arguments", "kwargs_note", "returned", "sent_with")}),
        (_("Error"), {"fields": ("error_type", "error_class", "error_message", "error_traceback")}),
        (_("Attempts"), {"fields": ("attempts_so_far",)}),
        (
            _("Origin"),
            {"fields": ("replay_of", "duplicate_of", "request_id", "log_stream", "function_version", "python")},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        """Return the records, for a list without what is long."""
        records = super().get_queryset(request)
        is_list = str(getattr(request.resolver_match, "url_name", "")).endswith("_changelist")
        return records.defer(*_LONG) if is_list else records

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:  # noqa: ARG002
        """Return the records that a search finds, each time by an index."""
        return found(queryset, search_term.strip()), False

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - as Django calls it
        """Return False: messages have records, and nobody else."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: TaskRecord | None = None) -> bool:  # noqa: ARG002
        """Return False: the dispatcher's leases are in the same rows."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: TaskRecord | None = None) -> bool:  # noqa: ARG002
        """Return False: a duplicate of a message without its record would run again."""
        return False

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Tell whether messages may be sent again."""
        return _has(request.user, "replay")

    def has_redrive_permission(self, request: HttpRequest) -> bool:
        """Tell whether dead letters may be sent back."""
        return _has(request.user, "redrive")

    @admin.action(description=_("Replay: send a new message for each of the selected records"), permissions=["replay"])
    def replay(self, request: HttpRequest, queryset: QuerySet) -> None:
        """Send a new message for each record."""
        from lambda_tasks.enqueue.again import calling, sending  # noqa: PLC0415 - for those who ask for it
        from lambda_tasks.state import opening  # noqa: PLC0415

        current = settings.current()
        self._send(
            request,
            queryset,
            lambda records: sending.replayed(records, calling.call_of_process, current, opening.of_process()),
        )

    @admin.action(description=_("Redrive: send the dead letters of the selected records back"), permissions=["redrive"])
    def redrive(self, request: HttpRequest, queryset: QuerySet) -> None:
        """Send the dead letter of each record back to its queue."""
        from lambda_tasks.enqueue.again import calling, sending  # noqa: PLC0415

        current = settings.current()
        self._send(request, queryset, lambda records: sending.redriven(records, calling.call_of_process, current))

    def _send(self, request: HttpRequest, queryset: QuerySet, send: Any) -> None:  # noqa: ANN401 - records to a Sent
        from lambda_tasks.django.store import rows  # noqa: PLC0415

        selected = [rows.as_record(one) for one in queryset.values(*rows.COLUMNS)[: _MOST_AT_A_TIME + 1]]
        if len(selected) > _MOST_AT_A_TIME:
            text = _("At most %d records are sent at a time: narrow the list.") % _MOST_AT_A_TIME
            self.message_user(request, text, messages.ERROR)
            return
        try:
            sent: Sent = send(selected)
        except LambdaTasksError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        for one in selected:
            if one.message_id in sent.ids:
                record = TaskRecord(message_id=one.message_id, task=one.task)
                self.log_change(request, record, f"Sent again as {sent.ids[one.message_id]}.")
        if sent.ids:
            text = _("%(sent)d of %(all)d messages sent.") % {"sent": len(sent.ids), "all": len(selected)}
            self.message_user(request, text, messages.SUCCESS)
        for message_id, problem in list(sent.errors.items())[:_ERRORS_SHOWN]:
            self.message_user(request, f"{message_id}: {problem}", messages.ERROR)
        if len(sent.errors) > _ERRORS_SHOWN:
            self.message_user(request, _("%d messages were not sent.") % len(sent.errors), messages.ERROR)

    @admin.display(description=_("status"))
    def state(self, record: TaskRecord) -> str:
        """Show the status in its colour."""
        return colored(record.status)

    @admin.display(description=_("time"))
    def listed(self, record: TaskRecord) -> str:
        """Show when the message was sent, or first received."""
        return as_moment(record.listed_at)

    @admin.display(description=_("duration"))
    def took(self, record: TaskRecord) -> str:
        """Show how long the last attempt took."""
        return "-" if record.duration is None else f"{record.duration.total_seconds():.3f} s"

    @admin.display(description=_("kwargs"))
    def arguments(self, record: TaskRecord) -> str:
        """Show the kwargs, where they were recorded."""
        return as_json(record.kwargs)

    @admin.display(description=_("result"))
    def returned(self, record: TaskRecord) -> str:
        """Show what the task returned."""
        return as_json(record.result)

    @admin.display(description=_("context and request"))
    def sent_with(self, record: TaskRecord) -> str:
        """Show what travelled with the message."""
        shown: str = format_html("{}{}", as_json(record.context), as_json(record.request) if record.request else "")
        return shown

    @admin.display(description=_("traceback"))
    def error_traceback(self, record: TaskRecord) -> str:
        """Show the traceback."""
        return as_text(record.traceback)

    @admin.display(description=_("attempts"))
    def attempts_so_far(self, record: TaskRecord) -> str:
        """Show the last attempts."""
        return as_history(record.history)


def _has(user: AbstractBaseUser, name: str) -> bool:
    return bool(user.has_perm(f"{TaskRecord._meta.app_label}.{name}_taskrecord"))
