"""The errors of steps."""

from __future__ import annotations

from lambda_tasks.errors import ConfigurationError, LambdaTasksError


class InvalidStep(ConfigurationError):
    """The error of a step that cannot be kept, or found again: its name, its place among the others, or its result."""


class StepTimeout(LambdaTasksError, TimeoutError):
    """The error of a step that did not end within its own ``timeout``."""
