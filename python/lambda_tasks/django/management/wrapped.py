"""Commands of the console script as commands of ``manage.py``: with Django set up, and with its settings."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from lambda_tasks import settings, settings_dictionary

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence


class _AllArguments(CommandParser):
    """A parser that knows Django's own options, and leaves all others to the command."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:  # noqa: ANN401 - as argparse
        """Return Django's options, and the rest as ``arguments``."""
        found, rest = self.parse_known_args(args, namespace)
        found.arguments = rest
        known: argparse.Namespace = found
        return known


class ConsoleCommand(BaseCommand):
    """A command of ``lambda-tasks``, by its `name` there. It needs the extra ``cli``."""

    name = ""
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:  # noqa: ANN401
        """Return a parser that leaves ``--help`` too to the command."""
        parser = super().create_parser(prog_name, subcommand, add_help=False, allow_abbrev=False, **options)
        parser.__class__ = _AllArguments
        return parser

    def handle(self, *_: object, arguments: Sequence[str], **options: object) -> None:  # noqa: ARG002
        """Run the command. Its exit status is that of this one."""
        try:
            from lambda_tasks.command_line import app  # noqa: PLC0415 - libraries that few processes have
        except ModuleNotFoundError as error:
            raise CommandError(f"{error.name} is not installed: pip install 'lambda-tasks[cli]'") from error
        out, err = (getattr(stream, "_out", stream) for stream in (self.stdout, self.stderr))
        with _environment(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = app.run([self.name, *arguments])
        if status:
            sys.exit(status)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Let the environment say what the dictionary ``LAMBDA_TASKS`` of Django's settings does."""
    found = settings_dictionary.of_django(settings.queue_url_variable)
    added = {name: value for name, value in found.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
