"""The Lambda entry point, ``lambda_tasks.handler.handler``: wiring only.

Importing it is the function's init phase: references that no exec wrapper resolved are resolved here, then the task
modules are imported. What goes wrong is an init error, which whoever invokes the function reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_tasks import settings
from lambda_tasks.environment.freshness import Freshness, resolve_after_restore
from lambda_tasks.tasks import dispatcher, lookup
from lambda_tasks.tasks.worker import Worker

if TYPE_CHECKING:
    from lambda_tasks.settings import Settings
    from lambda_tasks.tasks.event import LambdaContext, PartialBatchResponse

_worker: Worker
_freshness: Freshness


def _use(current: Settings) -> None:
    global _worker, _freshness
    _worker = Worker.from_environ(current, settings.environ())
    _freshness = Freshness(current, settings.environ())


def _use_after_restore(current: Settings) -> None:
    _use(current)
    _worker.guard_memory()


def _resolved() -> Settings:
    current = settings.current()
    if settings.has_references(settings.environ()) and (current.resolved is None or settings.is_snap_start()):
        from lambda_tasks.environment import in_process  # noqa: PLC0415 - the exec wrapper spares us its 10 ms

        current = in_process.resolve_in_process()
        resolve_after_restore(_use_after_restore)
    return current


_use(_resolved())
lookup.import_modules(_worker.settings)
_worker.guard_memory()


def handler(event: object, context: LambdaContext) -> PartialBatchResponse | object:
    """Dispatch an SQS event, or one message; see `lambda_tasks.tasks.dispatcher.dispatch`."""
    if _freshness.is_due():
        _freshness.renew(_use_after_restore, getattr(context, "get_remaining_time_in_millis", None))
    return dispatcher.dispatch(event, context, _worker)
