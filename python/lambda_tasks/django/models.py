"""The models of ``LAMBDA_TASKS_TABLE=django``: a record of each message with its lease, and what has a key.

`lambda_tasks.django.store` writes them. An application reads `TaskRecord`, and changes none.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from lambda_tasks import settings
from lambda_tasks.django.moments import MomentField
from lambda_tasks.settings import DEFAULT_RECORD_TTL_SECONDS
from lambda_tasks.state.record import Status

if TYPE_CHECKING:
    from datetime import datetime

MAX_TASK_CHARACTERS = 512
MAX_NAME_CHARACTERS = 255


def default_expiry() -> datetime:
    """Return the end of a record that is made now."""
    moment: datetime = timezone.now() + timedelta(seconds=DEFAULT_RECORD_TTL_SECONDS)
    return moment


def _name(**options: object) -> models.CharField:
    return models.CharField(max_length=MAX_NAME_CHARACTERS, **options)


def _text() -> models.TextField:
    return models.TextField(null=True, blank=True)


def _moment(**options: object) -> Any:  # noqa: ANN401 - Django has no types
    return MomentField(**{"null": True, "blank": True, **options})


class Records(models.Manager):
    """The records in the database that ``LAMBDA_TASKS_TABLE`` names, or else in that of the routers."""

    def get_queryset(self) -> models.QuerySet:
        """Return all records."""
        alias = self._db or settings.current().record_database
        return super().get_queryset() if alias is None else super().get_queryset().using(alias)


class TaskRecord(models.Model):
    """The record of one message, and its lease. `lambda_tasks.TaskRecord` says what its fields are.

    Times have a date here. `result`, `kwargs`, `context` and `request` are JSON, as is `history`, which is a list of
    arrays. A record counts until `expires_at`. ``manage.py lambda_tasks_cleanup`` deletes those that do not any more.
    """

    message_id = _name(primary_key=True)
    task = models.CharField(max_length=MAX_TASK_CHARACTERS)
    status = models.CharField(max_length=16, default=Status.QUEUED.value)  # without choices: a release may add some
    attempts = models.IntegerField(default=0)
    queue = _name(null=True, blank=True)
    queued_at = _moment()
    first_received_at = _moment(null=False, default=timezone.now)
    started_at = _moment()
    finished_at = _moment()
    first_failed_at = _moment()
    result = _text()
    error_type = _name(null=True, blank=True)
    error_class = _text()
    error_message = _text()
    traceback = _text()
    reason = _text()
    request_id = _name(null=True, blank=True)
    function_version = _name(null=True, blank=True)
    log_stream = _text()
    python = _name(null=True, blank=True)
    context = _text()
    kwargs = _text()
    kwargs_note = _text()
    replay_of = _name(null=True, blank=True)
    duplicate_of = _name(null=True, blank=True)
    history = models.TextField(default="[]", blank=True)
    request = _text()
    part_of = _name(null=True, blank=True)
    steps = _text()
    listed_at = models.GeneratedField(
        expression=Coalesce("queued_at", "first_received_at"), output_field=MomentField(), db_persist=True
    )
    expires_at = _moment(null=False, default=default_expiry)

    # The lease, in epoch seconds. `version` counts the writes: one that was decided by a row holds for that row alone.
    lease_owner = models.CharField(max_length=64, default="", blank=True, editable=False)
    lease_until = models.FloatField(null=True, editable=False)
    is_final = models.BooleanField(default=False, editable=False)
    letter_sent_at = models.FloatField(null=True, editable=False)
    letter_until = models.FloatField(null=True, editable=False)
    turn_at = models.FloatField(null=True, editable=False)
    version = models.BigIntegerField(default=0, editable=False)

    objects = Records()

    class Meta:
        verbose_name = _("task record")
        verbose_name_plural = _("task records")
        ordering = ("-listed_at", "-message_id")
        # What the admin filters by is in front of what it orders by; `expires_at` is for the deletion.
        indexes = (
            models.Index(fields=("listed_at",), name="lambda_tasks_by_time"),
            models.Index(fields=("status", "listed_at"), name="lambda_tasks_by_status"),
            models.Index(fields=("task", "listed_at"), name="lambda_tasks_by_task"),
            models.Index(fields=("queue", "listed_at"), name="lambda_tasks_by_queue"),
            models.Index(fields=("expires_at",), name="lambda_tasks_by_expiry"),
        )
        permissions = (
            ("replay_taskrecord", "Can send the message of a task record again"),
            ("redrive_taskrecord", "Can send the dead letter of a task record back"),
        )

    def __str__(self) -> str:
        return f"{self.task} {self.message_id}"

    @property
    def has_ended(self) -> bool:
        """Whether no further attempt is to be expected."""
        return self.status in ENDED

    @property
    def duration(self) -> timedelta | None:
        """The time that the last attempt took, or None where it has not ended."""
        if self.started_at is None or self.finished_at is None or self.finished_at < self.started_at:
            return None
        taken: timedelta = self.finished_at - self.started_at
        return taken


ENDED = tuple(one.value for one in (Status.SUCCEEDED, Status.FAILED, Status.REJECTED, Status.SKIPPED))


class TaskKey(models.Model):
    """What is kept under a key, beside records: a lease, turns, or a step. Times are in epoch seconds.

    `lambda_tasks.state.table` says which kinds there are, and what their fields are. `fingerprint` is ``check`` there,
    and `result` has a step's content too.
    """

    key = _name(primary_key=True)
    lease_owner = models.CharField(max_length=64, default="", blank=True)
    lease_until = models.FloatField(null=True)
    message_id = _name(default="", blank=True)
    taken_at = models.FloatField(default=0.0)
    seconds = models.FloatField(null=True)
    next_at = models.FloatField(default=0.0)
    given_to = models.BigIntegerField(default=0)  # in microseconds, as is the next one
    used_to = models.BigIntegerField(default=0)
    kept_until = models.FloatField(null=True)
    result = _text()
    fingerprint = models.TextField(default="", blank=True)
    expires_at = _moment(null=False, default=default_expiry)
    version = models.BigIntegerField(default=0)

    objects = Records()

    class Meta:
        verbose_name = _("key of tasks")
        verbose_name_plural = _("keys of tasks")
        indexes = (models.Index(fields=("expires_at",), name="lambda_tasks_keys_by_expiry"),)

    def __str__(self) -> str:
        return str(self.key)
