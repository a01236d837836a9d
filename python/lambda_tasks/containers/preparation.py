"""The init phase of a container's process: what Lambda's handler does while it is imported."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from lambda_tasks import settings
from lambda_tasks.definition.lookup import Lookup
from lambda_tasks.errors import InvalidSetting
from lambda_tasks.life_cycle import setup


def resolve() -> settings.Settings:
    """Resolve references that no exec wrapper resolved, have outcomes logged, and return the settings.

    Raises:
        LambdaTasksError: a setting or a reference cannot be used.

    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    current = settings.current()
    if current.resolved is None and settings.has_references(settings.environ()):
        from lambda_tasks.environment import in_process  # noqa: PLC0415 - for a container without the exec wrapper

        return in_process.resolve_in_process()
    return current


def prepare() -> settings.Settings:
    """Set Django up, import the task modules, and return the settings.

    Raises:
        LambdaTasksError: a setting cannot be used, or a module is not there.
        Exception: what the application's modules raise while they are imported.

    """
    folder = str(Path.cwd())
    if folder not in sys.path:  # a console script has its own folder there in place of this one
        sys.path.insert(0, folder)
    try:
        setup.set_up(settings.environ(), is_worker=True)
        current = settings.current()
        Lookup(current).import_modules()
    except ModuleNotFoundError as error:
        remedy = "install it in the image, correct LAMBDA_TASKS_MODULES, or start in the application's folder"
        raise InvalidSetting(f"there is no module {error.name}", remedy=remedy) from error
    return current
