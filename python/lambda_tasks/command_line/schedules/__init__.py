"""``lambda-tasks schedules``: the events of a template for the tasks that have a schedule."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from lambda_tasks import settings
from lambda_tasks.command_line.arguments import json_option, pairs, region_of_templates
from lambda_tasks.command_line.output import Output
from lambda_tasks.command_line.schedules.reading import code_of_functions
from lambda_tasks.local.embedded_aws import ACCOUNT_ID
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.template.model import read_model
from lambda_tasks.local.writing.schedule_parts import as_json as plain
from lambda_tasks.local.writing.schedule_plan import planned, write
from lambda_tasks.local.writing.yaml_text import block


@click.command("schedules")
@click.option(
    "--template",
    type=click.Path(path_type=Path),
    default=Path("template.yaml"),
    show_default=True,
    metavar="PATH",
    help="A SAM template, or CDK's cdk.out.",
)
@click.option("--function", metavar="ID", help="Logical id of the function, where several may run a task.")
@click.option("--parameter", multiple=True, metavar="NAME=VALUE", help="Value of a parameter of the template.")
@click.option("--write", "writes", is_flag=True, help="Write them into the template; the rest stays as it is.")
@json_option
def command(
    template: Path,
    function: str | None,
    parameter: tuple[str, ...],
    *,
    writes: bool,
    as_json: bool,
) -> None:
    """Print the events that run the tasks with a schedule, as a part of the template.

    Each is a ScheduleV2 with its input, a retry policy, a dead-letter queue and a role. With --write they are added to
    the template, those that differ from the code are corrected, and those of tasks without a schedule are removed.
    """
    output = Output(as_json)
    parameters = pairs(parameter, "parameter")
    region = region_of_templates(settings.environ())
    model = read_model(template, parameters, region, ACCOUNT_ID)
    if function is not None and function not in model.functions:
        names = ", ".join(model.functions) or "none"
        raise LocalError(f"there is no function {function}", source=str(template), remedy=f"use one of: {names}")
    plan = planned(model, code_of_functions(model), function)
    if writes:
        changed = write(plan, template, parameters)
        if as_json:
            output.json({"changed": changed})
        for line in changed or ["The template has the schedules of the code."]:
            output.line(line, is_for_copying=True)
        return
    if as_json:
        output.json({"Resources": plain(plan.resources)})
    elif plan.resources:
        click.echo(block({"Resources": plan.resources}), nl=False)
    else:
        output.line("# No task has a schedule.")
