"""The local session that runs for this folder: the queues and tables that commands mean without being told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from lambda_tasks import settings
from lambda_tasks.local.run_file import Run, running

F = TypeVar("F", bound=Callable[..., Any])

_META = "lambda_tasks.template"
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_DYNAMODB")


def template_option(function: F) -> F:
    """Add ``--template``, which `use_running` reads."""
    return click.option(
        "--template",
        type=click.Path(path_type=Path),
        metavar="PATH",
        expose_value=False,
        callback=_remember,
        help="The template whose `lambda-tasks local` is meant; by default the one that runs for this folder.",
    )(function)


def _remember(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    ctx.meta[_META] = value


def use_running(variable: str, endpoint_url: str | None, named: str | None = None) -> Run | None:
    """Set the variables of the local session that runs, where nothing says which AWS is meant; return the session.

    `variable` is the setting that the command needs. Where it is set, or an endpoint is, that is what is meant. So is a
    queue of another AWS that is `named` by its URL.
    """
    context = click.get_current_context(silent=True)
    template = context.meta.get(_META) if context else None
    environ = settings.environ()
    if template is None and (endpoint_url or environ.get(variable) or any(map(environ.get, _ENDPOINTS))):
        return None
    run = running(template)
    if run is not None and named and "://" in named and not named.startswith(run.environ["AWS_ENDPOINT_URL"]):
        return None
    if run is not None:
        os.environ.update(run.environ)
    return run
