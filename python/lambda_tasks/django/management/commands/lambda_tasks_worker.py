"""``manage.py lambda_tasks_worker``: the workers of the mode ``local``, or as ``lambda-tasks worker``."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Sequence

from lambda_tasks import settings
from lambda_tasks.django.management.wrapped import ConsoleCommand


class Command(ConsoleCommand):
    """The command."""

    name = "worker"
    help = (
        "Run messages on this machine, until SIGTERM or Ctrl-C: in the mode local what the processes of this project "
        "enqueue, else those of a queue."
    )

    def handle(self, *_: object, arguments: Sequence[str], **options: object) -> None:
        """Run what is enqueued here, or consume a queue."""
        if settings.current().mode != "local" or arguments:
            super().handle(arguments=arguments, **options)
            return
        from lambda_tasks.local.workers import pool  # noqa: PLC0415 - the layer leaves it out

        is_over = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: is_over.set())
        log = logging.getLogger("lambda_tasks")
        log.addHandler(logging.StreamHandler(self.stderr))
        log.setLevel(logging.INFO)
        pool.serve(is_over)
