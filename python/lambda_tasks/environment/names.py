"""Which variables references and secrets may set. Pure: names alone are looked at."""

from __future__ import annotations

from lambda_tasks.errors import ExportNotAllowed, ReservedVariable, VariableConflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lambda_tasks.environment.reference import VariableReference
    from lambda_tasks.errors import LambdaTasksError
    from lambda_tasks.settings import Settings

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
_LAMBDAS_NAMES = {
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
}
# By these the next program loads code, or finds its credentials: who may write a secret must not choose either.
_LOADERS_NAMES = {"BASH_ENV", "GCONV_PATH", "PYTHONHOME"}
# Names of programs that the exec wrapper executes, and of what it keeps for its next run.
_OUR_NAMES = {
    "LAMBDA_TASKS_NEXT_WRAPPER",
    "LAMBDA_TASKS_ODD_VARIABLES",
    "LAMBDA_TASKS_PROCESSES",
    "LAMBDA_TASKS_PROVENANCE",
    "LAMBDA_TASKS_PYTHON",
    "LAMBDA_TASKS_RESOLVED",
}
RESERVED_NAMES = frozenset(_LAMBDAS_NAMES | _LOADERS_NAMES | _OUR_NAMES)
RESERVED_PREFIXES = ("AWS_CONTAINER_", "AWS_LAMBDA_", "BASH_FUNC_", "LD_", "_LAMBDA_")


def check_references(references: Iterable[VariableReference], environ: Mapping[str, str]) -> list[LambdaTasksError]:
    """Return an error for the referenced variables that are reserved, and one for those that `environ` also sets."""
    variables = {one.variable for one in references}
    errors = _reserved(variables, "a reference")
    conflicts = {name for name in variables if name in environ and not is_reserved(name)}
    if conflicts:
        remedy = "remove the variable, or the reference to it"
        errors.append(VariableConflict("referenced and also set", variable=listed(conflicts), remedy=remedy))
    return errors


def check_exports(
    exports: Iterable[str], references: Iterable[VariableReference], settings: Settings
) -> list[LambdaTasksError]:
    """Return an error for the variables that environment sources may not set, themselves or by `references` of theirs.

    `settings` are those of the function's own configuration, which no source can widen.
    """
    errors = _reserved(exports, "an environment source")
    outside = {*exports, *(one.variable for one in references)}
    outside = {name for name in outside if not settings.allows_export(name) and not is_reserved(name)}
    if outside:
        remedy = "add them to LAMBDA_TASKS_EXPORTS, or remove them from the source"
        problem = "set by an environment source, and not in LAMBDA_TASKS_EXPORTS"
        errors.append(ExportNotAllowed(problem, variable=listed(outside), remedy=remedy))
    return errors


def is_reserved(name: str) -> bool:
    """Tell whether no reference and no secret may set the variable `name`."""
    return name in RESERVED_NAMES or name.startswith(RESERVED_PREFIXES)


def listed(names: Iterable[str]) -> str:
    """Return `names` in order, on one line, whatever they hold."""
    return ", ".join(ascii(name)[1:-1] for name in sorted(names))


def _reserved(names: Iterable[str], where: str) -> list[LambdaTasksError]:
    reserved = {name for name in names if is_reserved(name)}
    if not reserved:
        return []
    remedy = "Lambda, or the program loader, gives it its meaning: use another name"
    return [ReservedVariable(f"a reserved variable in {where}", variable=listed(reserved), remedy=remedy)]
