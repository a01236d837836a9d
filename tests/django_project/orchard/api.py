"""The decorator of tasks that this Django has, its own or the backport's."""

from __future__ import annotations

try:
    from django.tasks import default_task_backend, task, task_backends
    from django.tasks.exceptions import TaskResultMismatch
except ModuleNotFoundError:
    from django_tasks import default_task_backend, task, task_backends
    from django_tasks.exceptions import TaskResultMismatch

__all__ = ["TaskResultMismatch", "default_task_backend", "task", "task_backends"]
