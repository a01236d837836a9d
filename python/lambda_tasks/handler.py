"""The Lambda entry point, ``lambda_tasks.handler.handler``: wiring only.

Importing it is the function's init phase. References that no exec wrapper resolved are resolved here, then Django is
set up where there is one, then the task modules are imported. A failure is an init error, which the invoker of the
function reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if __name__ == "__main__":  # a container's command, by mistake: it would end at once, with success
    import sys

    sys.stderr.write(
        "lambda-tasks: lambda_tasks.handler is a function's handler and runs nothing by itself: "
        "use `lambda-tasks run` for one message, or `lambda-tasks worker` for a queue\n"
    )
    sys.exit(2)

from lambda_tasks import (
    requirements,  # noqa: F401 - first: without msgspec nothing below can be imported
    settings,
)
from lambda_tasks.dispatch import dispatcher
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.environment.freshness import Freshness, resolve_after_restore
from lambda_tasks.life_cycle import setup

if TYPE_CHECKING:
    from lambda_tasks.messages.sqs_event import LambdaContext, PartialBatchResponse
    from lambda_tasks.settings import Settings

_worker: Worker
_freshness: Freshness


def _use(current: Settings) -> None:
    global _worker, _freshness
    before = globals().get("_worker")
    _worker = Worker.of_process(current)
    if before is not None:
        _worker.loop = before.loop  # clients that were made in it live on
    _freshness = Freshness(current, settings.environ())


def _use_after_restore(current: Settings) -> None:
    from lambda_tasks.aws import calls  # noqa: PLC0415 - for functions with SnapStart

    calls.forget()
    _use(current)
    if _worker.application is not None:
        _worker.application.close_connections()
    _worker.guard_memory()


def _resolved() -> Settings:
    current = settings.current()
    if settings.has_references(settings.environ()) and (current.resolved is None or settings.is_snap_start()):
        from lambda_tasks.environment import in_process  # noqa: PLC0415 - the exec wrapper spares us its 10 ms

        current = in_process.resolve_in_process()
        resolve_after_restore(_use_after_restore)
    return current


_resolved_settings = _resolved()
try:
    _use(settings.current() if setup.set_up(settings.environ(), is_worker=True) else _resolved_settings)
    _worker.lookup.import_modules()
except ImportError as error:
    from lambda_tasks.environment import shadow

    explained = shadow.explained(error)
    if explained is error:
        raise
    raise explained from error
_worker.guard_memory()
_worker.note_init()


def handler(event: object, context: LambdaContext) -> PartialBatchResponse | object:
    """Dispatch an SQS event, or one message; see `lambda_tasks.dispatch.dispatcher.dispatch`."""
    if _freshness.is_due():
        _freshness.renew(_use_after_restore, getattr(context, "get_remaining_time_in_millis", None))
    return dispatcher.dispatch(event, context, _worker)
