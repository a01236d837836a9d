"""What goes wrong on this machine, as opposed to in a function."""

from __future__ import annotations

from lambda_tasks.errors import LambdaTasksError


class LocalError(LambdaTasksError):
    """A part of the local Lambda could not be fetched, started or reached."""
