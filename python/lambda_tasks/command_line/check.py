"""``lambda-tasks check``: the references to secrets in an environment or a template, before anything is deployed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from lambda_tasks import settings
from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import Transport
from lambda_tasks.command_line.arguments import json_option, pairs, region_of_templates
from lambda_tasks.command_line.checking.whole_policy import NO_ACCOUNT, Around, whole_policy
from lambda_tasks.command_line.output import Column, Output
from lambda_tasks.environment import check
from lambda_tasks.errors import LambdaTasksError

if TYPE_CHECKING:
    from lambda_tasks.local.checks.finding import Finding


@click.command("check")
@click.option("--fetch", is_flag=True, help="Resolve them too, with the credentials at hand; no value is shown.")
@click.option("--policy", is_flag=True, help="Print the least IAM policy that the function needs.")
@click.option("--account", metavar="ID", help="Account of the policy's ARNs; without it they have a parameter for it.")
@click.option("--kms-key", multiple=True, metavar="ARN", help="Key of your own that encrypts secrets, for --policy.")
@click.option(
    "--env-file",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Take the function's variables from a file, and not from this environment.",
)
@click.option(
    "--template",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Take them from a SAM template; secrets that it creates are known by their logical ids.",
)
@click.option("--function", metavar="ID", help="Logical id of the function in the template.")
@click.option("--parameter", multiple=True, metavar="NAME=VALUE", help="Value of a parameter of the template.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "github"]),
    default="text",
    show_default=True,
    help="How a template's problems are written: github makes annotations of a pull request.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    account: str | None,
    kms_key: tuple[str, ...],
    env_file: Path | None,
    template: Path | None,
    function: str | None,
    parameter: tuple[str, ...],
    form: str,
    *,
    fetch: bool,
    policy: bool,
    as_json: bool,
) -> None:
    """Check the references to secrets: their grammar, conflicts and, with --fetch, whether they resolve.

    Of a template also the queues, the event source mappings and the tasks of all functions: what AWS would refuse, and
    what it accepts to your regret, a line each. Exits with 1 where there are problems.
    """
    output = Output(as_json)
    parameters = pairs(parameter, "parameter")
    environs = _environs(env_file, template, function, parameters, is_for_policy=policy)
    if policy:
        [(name, environ)] = environs.items()
        least = _policy(environ, name, template, parameters, account, kms_key)
        if as_json:
            output.json(least)
        else:
            output.console.print_json(json.dumps(least))
        return
    rows: list[check.Row] = []
    problems: list[tuple[str, LambdaTasksError]] = []
    hints: list[str] = []
    for name, environ in environs.items():
        with contextlib.closing(Transport(CredentialChain(environ), environ)) as transport:
            found = check.check(environ, transport if fetch else None)
        rows += found.rows
        problems += [(name, one) for one in found.problems]
        hints += found.hints if template is None else ()  # a template's own secrets have no ARN yet
    findings = [] if template is None else _findings(template, parameters)
    if as_json:
        references = [{"variable": v, "source": s, "version": n, "status": t} for v, s, n, t in rows]
        said = [{"error": type(one).__name__, "message": str(one)} for _, one in problems]
        more = {} if template is None else {"findings": [dataclasses.asdict(one) for one in findings]}
        output.json({"references": references, "problems": said, "hints": hints, **more})
    else:
        _print(output, rows, problems, template, findings, form)
        for hint in hints if form == "text" else ():
            output.line(f"Hint: {hint}", style="yellow")
    ctx.exit(1 if problems or findings else 0)


def _environs(
    env_file: Path | None,
    template: Path | None,
    function: str | None,
    parameters: dict[str, str],
    *,
    is_for_policy: bool,
) -> dict[str, dict[str, str]]:
    """Return what is to be checked, by function: this environment, with its references replaced by those named."""
    environ = dict(settings.environ())
    if env_file is None and template is None:
        return {"": environ}
    environ = {name: value for name, value in environ.items() if not name.startswith("LAMBDA_TASKS_")}
    own = {}
    if env_file is not None:
        from lambda_tasks.local.template.secret_values import read_env_file  # noqa: PLC0415 - of the extra `local`

        own = read_env_file(env_file)
    if template is None:
        return {"": {**environ, **own}}
    from lambda_tasks.local.template import function_environ  # noqa: PLC0415

    place = _place(environ)
    if function or is_for_policy:
        variables = function_environ.function_environ(template, function, parameters, **place)
        return {function or "": {**environ, **variables, **own}}
    found = function_environ.function_environs(template, parameters, **place)
    return {name: {**environ, **variables, **own} for name, variables in found.items()}


def _policy(
    environ: dict[str, str],
    function: str,
    template: Path | None,
    parameters: Mapping[str, str],
    account: str | None,
    kms_keys: Sequence[str],
) -> dict[str, Any]:
    place = _place({**environ, **({"AWS_ACCOUNT_ID": account} if account else {})})
    around = Around()
    if template is not None:
        from lambda_tasks.command_line.checking.template_checks import around_function  # noqa: PLC0415 - of the extra `local`

        around = around_function(template, function, parameters, **place)
        if account:
            environ = {name: value.replace(NO_ACCOUNT, account) for name, value in environ.items()}
    return whole_policy(check.policy(environ, kms_keys), environ, around, **place)


def _place(environ: Mapping[str, str]) -> dict[str, str]:
    return {"region": region_of_templates(environ), "account_id": environ.get("AWS_ACCOUNT_ID", NO_ACCOUNT)}


def _findings(template: Path, parameters: Mapping[str, str]) -> list[Finding]:
    from lambda_tasks.command_line.checking.template_checks import findings_of  # noqa: PLC0415 - of the extra `local`

    return findings_of(template, parameters, **_place(settings.environ()))


def _print(
    output: Output,
    rows: Sequence[check.Row],
    problems: Sequence[tuple[str, LambdaTasksError]],
    template: Path | None,
    findings: Sequence[Finding],
    form: str,
) -> None:
    if rows and form == "text":
        columns = [Column("variable"), Column("source", folds=True), Column("version"), Column("status")]
        output.table(columns, rows)
    elif not rows and not problems and form == "text":
        output.line(f"There are no references in this {'environment' if template is None else 'template'}.")
    for name, problem in problems:
        text = f"{type(problem).__name__}: {problem}"
        if form == "text" or template is None:
            output.line(text, style="red")
        else:
            from lambda_tasks.command_line.checking.template_checks import annotation  # noqa: PLC0415

            output.line(annotation(str(template), None, name or str(template), text), is_for_copying=True)
    if findings and template is not None:
        from lambda_tasks.command_line.checking.template_checks import lines_of  # noqa: PLC0415

        for line in lines_of(template, findings, form):
            output.line(line, is_for_copying=True)
