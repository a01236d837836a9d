"""``lambda-tasks check``: the references to secrets in an environment or a template, before anything is deployed."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import rich_click as click

from lambda_tasks.aws import endpoints
from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import Transport
from lambda_tasks.command_line.arguments import json_option, pairs
from lambda_tasks.command_line.output import Column, Output
from lambda_tasks.environment import check


@click.command("check")
@click.option("--fetch", is_flag=True, help="Resolve them too, with the credentials at hand; no value is shown.")
@click.option("--policy", is_flag=True, help="Print the least IAM policy that they need.")
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
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    kms_key: tuple[str, ...],
    env_file: Path | None,
    template: Path | None,
    function: str | None,
    parameter: tuple[str, ...],
    *,
    fetch: bool,
    policy: bool,
    as_json: bool,
) -> None:
    """Check the references to secrets: their grammar, conflicts and, with --fetch, whether they resolve.

    Exits with 1 where there are problems.
    """
    environ = _environ(env_file, template, function, pairs(parameter, "parameter"))
    output = Output(as_json)
    if policy:
        least = check.policy(environ, kms_key)
        if as_json:
            output.json(least)
        else:
            output.console.print_json(json.dumps(least))
        return
    with contextlib.closing(Transport(CredentialChain(environ), environ)) as transport:
        found = check.check(environ, transport if fetch else None)
    if as_json:
        rows = [{"variable": v, "source": s, "version": n, "status": t} for v, s, n, t in found.rows]
        problems = [{"error": type(one).__name__, "message": str(one)} for one in found.problems]
        output.json({"references": rows, "problems": problems, "hints": list(found.hints) if template is None else []})
    else:
        _print(output, found, shows_hints=template is None)  # a template's own secrets have no ARN yet
    ctx.exit(1 if found.problems else 0)


def _environ(
    env_file: Path | None, template: Path | None, function: str | None, parameters: dict[str, str]
) -> dict[str, str]:
    """Return the variables to check: this environment, with its references replaced where others were named."""
    environ = dict(os.environ)
    if env_file is None and template is None:
        return environ
    environ = {name: value for name, value in environ.items() if not name.startswith("LAMBDA_TASKS_")}
    if template is not None:
        from lambda_tasks.local.template.function_environ import function_environ  # noqa: PLC0415 - of the extra `local`

        region = endpoints.own_region(environ) or "eu-west-1"
        account_id = environ.get("AWS_ACCOUNT_ID", "000000000000")
        environ |= function_environ(template, function, parameters, region=region, account_id=account_id)
    if env_file is not None:
        from lambda_tasks.local.template.secret_values import read_env_file  # noqa: PLC0415

        environ |= read_env_file(env_file)
    return environ


def _print(output: Output, found: check.Check, *, shows_hints: bool) -> None:
    if not found.rows and not found.problems:
        output.line("There are no references in this environment.")
        return
    columns = [Column("variable"), Column("source", folds=True), Column("version"), Column("status")]
    output.table(columns, found.rows)
    for problem in found.problems:
        output.line(f"{type(problem).__name__}: {problem}", style="red")
    for hint in found.hints if shows_hints else ():
        output.line(f"Hint: {hint}", style="yellow")
