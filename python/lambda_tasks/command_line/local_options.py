"""The options that ``local`` and ``invoke`` share: the template, its values, and the way to run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from lambda_tasks import settings
from lambda_tasks.command_line.arguments import pairs
from lambda_tasks.local.session import Plan
from lambda_tasks.local.template.secret_values import read_env_file

F = TypeVar("F", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)


def template_options(function: F) -> F:
    """Add the options; `plan` makes one value of them."""
    options = [
        click.option(
            "--template",
            type=_PATH,
            default=Path("template.yaml"),
            show_default=True,
            metavar="PATH",
            help="A SAM template; where packages have to be installed, what `sam build` makes of it.",
        ),
        click.option(
            "--env-file",
            type=_PATH,
            metavar="PATH",
            help="NAME=value lines (or a .json object): values for secrets, parameters and variables.",
        ),
        click.option("--parameter", multiple=True, metavar="NAME=VALUE", help="Value of a parameter of the template."),
        click.option("--layer", multiple=True, metavar="ID=PATH", help="Zip or folder of a layer, by its id or ARN."),
        click.option("--region", default="eu-west-1", show_default=True, help="Region of everything."),
        click.option("--endpoint-url", metavar="URL", help="An SQS that already runs, in place of the embedded one."),
        click.option(
            "--concurrency",
            type=click.IntRange(1),
            default=2,
            show_default=True,
            help="Execution environments of one function, at most.",
        ),
        click.option("--cache", type=_PATH, metavar="PATH", help="Folder for AWS's emulator; by default the user's."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def plan(
    template: Path,
    env_file: Path | None,
    parameter: tuple[str, ...],
    layer: tuple[str, ...],
    region: str,
    endpoint_url: str | None,
    concurrency: int,
    cache: Path | None,
    *,
    port: int = 0,
) -> Plan:
    """Return the plan of the session.

    Raises:
        LambdaTasksError: an option cannot be used.

    """
    return Plan(
        template=template.resolve() if template.exists() else template,
        values=read_env_file(env_file) if env_file else {},
        parameters=pairs(parameter, "parameter"),
        layers={name: Path(path).resolve() for name, path in pairs(layer, "layer").items()},
        cache=(cache or _user_cache()).resolve(),
        region=region,
        port=port,
        endpoint_url=endpoint_url,
        concurrency=concurrency,
    )


def _user_cache() -> Path:
    return Path(settings.environ().get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lambda-tasks"
