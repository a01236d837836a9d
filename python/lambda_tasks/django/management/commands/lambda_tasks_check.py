"""``manage.py lambda_tasks_check``: Django's checks of tasks, and ``lambda-tasks check``."""

from __future__ import annotations

from collections.abc import Sequence

from django.core.management import call_command

from lambda_tasks.django.management.wrapped import ConsoleCommand


class Command(ConsoleCommand):
    """The command."""

    name = "check"
    help = "Check tasks and settings as they would be deployed, and the references to secrets."

    def handle(self, *_: object, arguments: Sequence[str], **options: object) -> None:
        """Tell of tasks and settings on standard error, of which errors are the end; then of references."""
        if "--help" not in arguments:
            call_command("check", "--tag", "lambda_tasks", "--deploy", stdout=self.stderr, stderr=self.stderr)
        super().handle(arguments=arguments, **options)
