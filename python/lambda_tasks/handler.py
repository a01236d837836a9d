"""The Lambda entry point, ``lambda_tasks.handler.handler``: wiring only.

Importing it is the function's init phase: references that no exec wrapper resolved are resolved here, then the task
modules are imported. What goes wrong is an init error, which whoever invokes the function reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_tasks.environment import launch
from lambda_tasks.tasks import dispatcher

if TYPE_CHECKING:
    from lambda_tasks.settings import Settings
    from lambda_tasks.tasks.event import LambdaContext, PartialBatchResponse

_settings: Settings


def _use(settings: Settings) -> None:
    global _settings
    _settings = settings


_use(launch.resolve_in_process())
launch.resolve_after_restore(_use)
dispatcher.import_modules(_settings)


def handler(event: object, context: LambdaContext) -> PartialBatchResponse | object:
    """Dispatch an SQS event, or one message; see `lambda_tasks.tasks.dispatcher.dispatch`."""
    return dispatcher.dispatch(event, context, _settings)
