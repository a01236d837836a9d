"""The set-up of Django: after references are resolved, since a secret may name its settings, and before task modules.

Django is imported here and below alone, and only where ``DJANGO_SETTINGS_MODULE`` is set or an application did it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lambda_tasks import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambda_tasks.life_cycle.application import Application

SETTINGS_MODULE = "DJANGO_SETTINGS_MODULE"

_application: Application | None = None


def set_up(environ: Mapping[str, str], *, is_worker: bool) -> bool:
    """Set Django up where the environment asks for it and it is installed; tell whether it is set up now.

    A process that `is_worker` runs nothing but tasks, so that connections are closed and checked around each message.

    Raises:
        Exception: whatever the application's settings and apps raise while they are imported.

    """
    global _application
    if not environ.get(SETTINGS_MODULE) or not settings.Settings.from_environ(environ).django or not _is_installed():
        return False
    import django  # noqa: PLC0415 - an optional package
    from django.apps import apps  # noqa: PLC0415

    from lambda_tasks.life_cycle.application import Application  # noqa: PLC0415

    if not apps.ready:
        django.setup()
    _import_backends()
    if is_worker:
        _application = Application(is_worker=True)
    return True


def of_process() -> Application | None:
    """Return the application that this process has set up, by itself or by `set_up`; None where there is none."""
    if _application is not None:
        return _application
    registry = sys.modules.get("django.apps")
    if registry is None or not registry.apps.ready:
        return None
    from lambda_tasks.life_cycle.application import Application  # noqa: PLC0415

    return Application(is_worker=False)


def _import_backends() -> None:
    """Import the application's backends of ``django.tasks``: ours says how tasks are found, whichever they name.

    Django's own have nothing to say, and one of them is there by default.
    """
    from django.conf import settings as of_django  # noqa: PLC0415
    from django.utils.module_loading import import_string  # noqa: PLC0415

    for backend in (getattr(of_django, "TASKS", None) or {}).values():
        path = str(backend.get("BACKEND", ""))
        if path and not path.startswith(("django.", "django_tasks.")):
            import_string(path)


def _is_installed() -> bool:
    import importlib.util  # noqa: PLC0415

    return importlib.util.find_spec("django") is not None
