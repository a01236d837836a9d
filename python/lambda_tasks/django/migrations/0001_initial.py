"""The tables of records and keys."""

from __future__ import annotations

from django.db import migrations, models
from django.db.models.functions import Coalesce
from django.utils import timezone

from lambda_tasks.django.models import default_expiry
from lambda_tasks.django.moments import MomentField


class Migration(migrations.Migration):
    """The first tables."""

    initial = True

    dependencies = ()

    operations = (
        migrations.CreateModel(
            name="TaskKey",
            fields=[
                ("key", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("lease_owner", models.CharField(blank=True, default="", max_length=64)),
                ("lease_until", models.FloatField(null=True)),
                ("message_id", models.CharField(blank=True, default="", max_length=255)),
                ("taken_at", models.FloatField(default=0.0)),
                ("seconds", models.FloatField(null=True)),
                ("next_at", models.FloatField(default=0.0)),
                ("given_to", models.BigIntegerField(default=0)),
                ("used_to", models.BigIntegerField(default=0)),
                ("kept_until", models.FloatField(null=True)),
                ("result", models.TextField(blank=True, null=True)),
                ("fingerprint", models.TextField(blank=True, default="")),
                ("expires_at", MomentField(blank=True, default=default_expiry)),
                ("version", models.BigIntegerField(default=0)),
            ],
            options={
                "verbose_name": "key of tasks",
                "verbose_name_plural": "keys of tasks",
                "indexes": [models.Index(fields=["expires_at"], name="lambda_tasks_keys_by_expiry")],
            },
        ),
        migrations.CreateModel(
            name="TaskRecord",
            fields=[
                ("message_id", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("task", models.CharField(max_length=512)),
                ("status", models.CharField(default="queued", max_length=16)),
                ("attempts", models.IntegerField(default=0)),
                ("queue", models.CharField(blank=True, max_length=255, null=True)),
                ("queued_at", MomentField(blank=True, null=True)),
                ("first_received_at", MomentField(blank=True, default=timezone.now)),
                ("started_at", MomentField(blank=True, null=True)),
                ("finished_at", MomentField(blank=True, null=True)),
                ("first_failed_at", MomentField(blank=True, null=True)),
                ("result", models.TextField(blank=True, null=True)),
                ("error_type", models.CharField(blank=True, max_length=255, null=True)),
                ("error_class", models.TextField(blank=True, null=True)),
                ("error_message", models.TextField(blank=True, null=True)),
                ("traceback", models.TextField(blank=True, null=True)),
                ("reason", models.TextField(blank=True, null=True)),
                ("request_id", models.CharField(blank=True, max_length=255, null=True)),
                ("function_version", models.CharField(blank=True, max_length=255, null=True)),
                ("log_stream", models.TextField(blank=True, null=True)),
                ("python", models.CharField(blank=True, max_length=255, null=True)),
                ("context", models.TextField(blank=True, null=True)),
                ("kwargs", models.TextField(blank=True, null=True)),
                ("kwargs_note", models.TextField(blank=True, null=True)),
                ("replay_of", models.CharField(blank=True, max_length=255, null=True)),
                ("duplicate_of", models.CharField(blank=True, max_length=255, null=True)),
                ("history", models.TextField(blank=True, default="[]")),
                ("request", models.TextField(blank=True, null=True)),
                ("part_of", models.CharField(blank=True, max_length=255, null=True)),
                ("steps", models.TextField(blank=True, null=True)),
                (
                    "listed_at",
                    models.GeneratedField(
                        db_persist=True,
                        expression=Coalesce("queued_at", "first_received_at"),
                        output_field=MomentField(),
                    ),
                ),
                ("expires_at", MomentField(blank=True, default=default_expiry)),
                ("lease_owner", models.CharField(blank=True, default="", editable=False, max_length=64)),
                ("lease_until", models.FloatField(editable=False, null=True)),
                ("is_final", models.BooleanField(default=False, editable=False)),
                ("letter_sent_at", models.FloatField(editable=False, null=True)),
                ("letter_until", models.FloatField(editable=False, null=True)),
                ("turn_at", models.FloatField(editable=False, null=True)),
                ("version", models.BigIntegerField(default=0, editable=False)),
            ],
            options={
                "verbose_name": "task record",
                "verbose_name_plural": "task records",
                "ordering": ("-listed_at", "-message_id"),
                "permissions": (
                    ("replay_taskrecord", "Can send the message of a task record again"),
                    ("redrive_taskrecord", "Can send the dead letter of a task record back"),
                ),
                "indexes": [
                    models.Index(fields=["listed_at"], name="lambda_tasks_by_time"),
                    models.Index(fields=["status", "listed_at"], name="lambda_tasks_by_status"),
                    models.Index(fields=["task", "listed_at"], name="lambda_tasks_by_task"),
                    models.Index(fields=["queue", "listed_at"], name="lambda_tasks_by_queue"),
                    models.Index(fields=["expires_at"], name="lambda_tasks_by_expiry"),
                ],
            },
        ),
    )
