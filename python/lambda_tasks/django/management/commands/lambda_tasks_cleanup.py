"""``manage.py lambda_tasks_cleanup``: the deletion of records, which a table of DynamoDB does by itself."""

from __future__ import annotations

import argparse
import re
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lambda_tasks import settings
from lambda_tasks.django.store import deletion

_AGE = re.compile(r"(\d+)([smhdw]?)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "": 86400}


class Command(BaseCommand):
    """The command."""

    help = "Delete the records and keys whose time is over, and, with --older-than, those that ended before."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options."""
        text = "also delete records of messages that ended before that: 30d, 12h, 45m; a number alone means days"
        parser.add_argument("--older-than", metavar="AGE", type=_age, help=text)
        parser.add_argument(
            "--database", metavar="ALIAS", help="the database; by default the one of LAMBDA_TASKS_TABLE"
        )
        parser.add_argument("--dry-run", action="store_true", help="only say how many would be deleted")

    def handle(self, *_: object, **options: Any) -> None:  # noqa: ANN401
        """Delete, a thousand at a time."""
        alias = options["database"] or settings.current().record_database
        if alias is None:
            raise CommandError("there are no records in a database: set LAMBDA_TASKS_TABLE=django, or add --database")
        age = options["older_than"]
        ended_before = None if age is None else time.time() - age
        found = deletion.delete(alias, ended_before, does_it=not options["dry_run"])
        verb = "Would delete" if options["dry_run"] else "Deleted"
        self.stdout.write(f"{verb} {found.records} records and {found.keys} keys.")


def _age(text: str) -> int:
    fits = _AGE.fullmatch(text)
    if fits is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age: use 30d, 12h, 45m, or a number of days")
    return int(fits[1]) * _SECONDS[fits[2]]
