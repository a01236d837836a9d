"""From an environment with references to the variables that they stand for."""

from __future__ import annotations

import time

from lambda_tasks.environment import content, reference
from lambda_tasks.environment.fetch import Fetch
from lambda_tasks.environment.reference import ParameterPath
from lambda_tasks.errors import LambdaTasksError, ReservedVariable, VariableConflict, combine
from lambda_tasks.settings import ENVIRONMENT_SECRET, SSM_ENVIRONMENT, VARIABLE_PREFIX
from lambda_tasks.value import Value

TYPE_CHECKING = False  # that of typing, which costs a cold start 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lambda_tasks.aws.transport import Transport
    from lambda_tasks.environment.reference import References, Source, VariableReference
    from lambda_tasks.settings import Settings

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
RESERVED_NAMES = frozenset(
    {
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
        "LAMBDA_TASKS_RESOLVED",
    }
)
RESERVED_PREFIXES = ("AWS_LAMBDA_", "_LAMBDA_")
LOADER_NAMES = frozenset({"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT"})


class Resolution(Value):
    """The variables to export, from how many secrets and parameters they came, and how long that took."""

    exports: dict[str, str]
    source_count: int
    duration_ms: float

    @property
    def names(self) -> list[str]:
        return sorted(self.exports)

    def __repr__(self) -> str:
        return f"Resolution({', '.join(self.names)})"  # without the values


def resolve(environ: Mapping[str, str], settings: Settings, transport: Transport) -> Resolution:
    """Return what the references in `environ` stand for.

    References that are invalid, or in conflict, are reported before anything is fetched; what fails later is
    collected and reported together too.

    Raises:
        LambdaTasksError: one of the resolver's errors; where there are several, `errors` holds each.

    """
    started = time.monotonic()
    references, errors = reference.parse(environ, strict=settings.strict_references)
    errors += check_names(references.variables, environ)
    if errors:
        raise combine(errors)

    fetch = Fetch(transport, timeout_seconds=settings.resolve_timeout_seconds)
    fetch.start(sources_of(references))
    exports = _collect(_environment_sources(references, fetch), errors)
    nested, nested_errors = reference.parse(
        {name: value for name, value in exports.items() if name.startswith(VARIABLE_PREFIX)},
        strict=settings.strict_references,
    )
    fetch.start(sources_of(nested))
    overridden = {variable.setting for variable in nested.variables}
    variables = [variable for variable in references.variables if variable.setting not in overridden]
    variables += nested.variables
    errors += nested_errors + check_names(variables, {**environ, **exports})
    errors += _reserved(exports, "an environment source")
    exports.update(_variables(variables, fetch, errors))
    if errors:
        raise combine(errors)
    return Resolution(exports, fetch.source_count, (time.monotonic() - started) * 1000)


def check_names(variables: Iterable[VariableReference], environ: Mapping[str, str]) -> list[LambdaTasksError]:
    """Return an error for the referenced variables that are reserved, and one for those that `environ` also sets."""
    errors = _reserved((variable.variable for variable in variables), "a reference")
    conflicts = sorted({v.variable for v in variables if v.variable in environ} - _reserved_names(environ))
    if conflicts:
        remedy = "remove the variable, or the reference to it"
        errors.append(VariableConflict("referenced and also set", variable=_list(conflicts), remedy=remedy))
    return errors


def _reserved(names: Iterable[str], where: str) -> list[LambdaTasksError]:
    reserved = sorted(_reserved_names(names))
    if not reserved:
        return []
    remedy = "Lambda, or the program loader, gives it its meaning: use another name"
    return [ReservedVariable(f"a reserved variable in {where}", variable=_list(reserved), remedy=remedy)]


def _reserved_names(names: Iterable[str]) -> set[str]:
    return {
        name for name in names if name in RESERVED_NAMES or name in LOADER_NAMES or name.startswith(RESERVED_PREFIXES)
    }


def sources_of(references: References) -> list[Source]:
    """Return what `references` need fetched, the environment sources first: others may have to wait for them."""
    environment = [references.environment_secret, references.ssm_environment]
    return [source for source in environment if source] + [variable.source for variable in references.variables]


def _environment_sources(references: References, fetch: Fetch) -> Iterable[tuple[str, Callable[[], dict[str, str]]]]:
    """Yield each environment source's setting and how to get its variables, in order: later ones override."""
    ssm, secret = references.ssm_environment, references.environment_secret
    if isinstance(ssm, ParameterPath):
        yield SSM_ENVIRONMENT, lambda: _path_variables(fetch.texts(ssm), ssm)
    elif ssm:
        yield SSM_ENVIRONMENT, lambda: content.flat_environment(fetch.text(ssm), str(ssm))
    if secret:
        yield ENVIRONMENT_SECRET, lambda: content.flat_environment(fetch.text(secret), str(secret))


def _collect(
    sources: Iterable[tuple[str, Callable[[], dict[str, str]]]], errors: list[LambdaTasksError]
) -> dict[str, str]:
    exports: dict[str, str] = {}
    for setting, variables in sources:
        try:
            exports.update(variables())
        except LambdaTasksError as error:
            errors.append(error.concerning(setting))
    return exports


def _path_variables(values: Mapping[str, str], path: ParameterPath) -> dict[str, str]:
    variables: dict[str, str] = {}
    for name in values:
        variable = name.replace("/", "_")
        if variable in variables:
            remedy = "rename one of the parameters"
            raise VariableConflict(f"two parameters would become {variable}", source=str(path), remedy=remedy)
        variables[variable] = values[name]
    content.check_names_and_values(variables, str(path))
    return variables


def _variables(references: Iterable[VariableReference], fetch: Fetch, errors: list[LambdaTasksError]) -> dict[str, str]:
    values: dict[str, str] = {}
    failed: dict[tuple[str, str], tuple[LambdaTasksError, list[str]]] = {}
    for one in references:
        try:
            values[one.variable] = _value(one, fetch)
        except LambdaTasksError as error:
            # One secret that cannot be read is one problem, however many variables it concerns.
            failed.setdefault((str(error), type(error).__name__), (error, []))[1].append(one.variable)
    errors += [error.concerning(_list(names)) for error, names in failed.values()]
    return values


def _value(one: VariableReference, fetch: Fetch) -> str:
    text = fetch.text(one.source)
    value = content.json_value(text, one.json_key, str(one.source)) if one.json_key else text
    content.check_names_and_values({one.variable: value}, str(one.source))
    return value


def _list(names: Iterable[str]) -> str:
    return ", ".join(ascii(name)[1:-1] for name in names)
