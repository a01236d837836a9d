"""``manage.py lambda_tasks_dead_letters``: as ``lambda-tasks dead-letters``."""

from __future__ import annotations

from lambda_tasks.django.management.wrapped import ConsoleCommand


class Command(ConsoleCommand):
    """The command."""

    name = "dead-letters"
    help = "See why messages failed, and send them back or delete them: list, show, redrive, delete."
