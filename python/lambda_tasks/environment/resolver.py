"""From an environment with references to the variables that they stand for."""

from __future__ import annotations

import time

from lambda_tasks.environment import content, names, reference
from lambda_tasks.environment.fetch import Fetch
from lambda_tasks.environment.provenance import Origin
from lambda_tasks.environment.reference import ParameterPath
from lambda_tasks.errors import LambdaTasksError, VariableConflict, combine
from lambda_tasks.settings import ENVIRONMENT_SECRET, SSM_ENVIRONMENT, VARIABLE_PREFIX
from lambda_tasks.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lambda_tasks.aws.transport import Transport
    from lambda_tasks.environment.provenance import Provenance
    from lambda_tasks.environment.reference import Parameter, References, SecretVersion, Source, VariableReference
    from lambda_tasks.environment.stores import Stored
    from lambda_tasks.settings import Settings


class Resolution(Value):
    """The variables to export, the origin of each, what was read (ARN and version each), and how long that took."""

    exports: dict[str, str]
    origins: dict[str, Origin]
    versions: tuple[tuple[str, str], ...]
    source_count: int
    duration_ms: float

    @property
    def names(self) -> list[str]:
        return sorted(self.exports)

    def __repr__(self) -> str:
        return f"Resolution({', '.join(self.names)})"  # without the values


class Held:
    """The values of an earlier resolution that need not be asked for again: those of pinned versions."""

    def __init__(self, environ: Mapping[str, str], provenance: Provenance | None) -> None:
        self._environ = environ
        self._origins = provenance.origins if provenance else {}

    def origin(self, one: VariableReference) -> Origin | None:
        """Return the origin of a variable whose value is still the one that `one` refers to, else None."""
        origin = self._origins.get(one.variable)
        if origin is None or one.variable not in self._environ or not one.source.is_pinned:
            return None
        return origin if (origin.source, origin.json_key) == (str(one.source), one.json_key) else None

    def value(self, one: VariableReference) -> str:
        return self._environ[one.variable]


def resolve(
    environ: Mapping[str, str],
    settings: Settings,
    transport: Transport,
    *,
    problems: Sequence[LambdaTasksError] = (),
    held: Held | None = None,
) -> Resolution:
    """Return what the references in `environ` stand for.

    References that are invalid, or in conflict, are reported before anything is fetched, together with the `problems`
    that were found earlier; what fails later is collected and reported together too. `held` has values that need not
    be fetched.

    Raises:
        LambdaTasksError: one of the resolver's errors; where there are several, `errors` holds each.

    """
    started = time.monotonic()
    references, errors = reference.parse(environ, strict=settings.strict_references)
    errors = [*problems, *errors, *names.check_references(references.variables, environ)]
    if errors:
        raise combine(errors)

    held = held or Held({}, None)
    fetch = Fetch(transport, timeout_seconds=settings.resolve_timeout_seconds)
    fetch.start(sources_of(references, held))
    found = _Found(fetch, held)
    for setting, source in environment_sources(references):
        found.add_environment(setting, source)
    exports = dict(found.exports)
    nested, nested_errors = reference.parse(
        {name: value for name, value in exports.items() if name.startswith(VARIABLE_PREFIX)},
        strict=settings.strict_references,
    )
    fetch.start(sources_of(nested, held))
    overridden = {variable.setting for variable in nested.variables}
    variables = [variable for variable in references.variables if variable.setting not in overridden]
    variables += nested.variables
    found.errors += nested_errors + names.check_references(variables, {**environ, **exports})
    found.errors += names.check_exports(exports, nested.variables, settings)
    found.add_variables(variables)
    if found.errors:
        raise combine(_distinct(found.errors))
    duration_ms = (time.monotonic() - started) * 1000
    return Resolution(found.exports, found.origins, tuple(found.versions), fetch.source_count, duration_ms)


def environment_sources(references: References) -> list[tuple[str, Source]]:
    """Return the environment sources with their settings, in order: later ones override."""
    sources = [(SSM_ENVIRONMENT, references.ssm_environment), (ENVIRONMENT_SECRET, references.environment_secret)]
    return [(setting, source) for setting, source in sources if source]


def sources_of(references: References, held: Held | None = None) -> list[Source]:
    """Return what `references` need fetched, the environment sources first: others may have to wait for them."""
    needed = [one.source for one in references.variables if not (held and held.origin(one))]
    return [source for _, source in reversed(environment_sources(references))] + needed


class _Found:
    """The results of the fetches, as they are put together: variables with their origins, versions, and errors."""

    def __init__(self, fetch: Fetch, held: Held) -> None:
        self._fetch = fetch
        self._held = held
        self.exports: dict[str, str] = {}
        self.origins: dict[str, Origin] = {}
        self.versions: dict[tuple[str, str], None] = {}
        self.errors: list[LambdaTasksError] = []

    def add_environment(self, setting: str, source: Source) -> None:
        """Add the variables of an environment source."""
        try:
            if isinstance(source, ParameterPath):
                self._add_path(source)
            else:
                self._add_object(source)
        except LambdaTasksError as error:
            self.errors.append(_concerning(error, setting))

    def _add_object(self, source: SecretVersion | Parameter) -> None:
        stored = self._fetch.stored(source)
        self.versions[stored.arn, stored.version] = None
        variables = content.flat_environment(stored.text, str(source))
        self.exports.update(variables)
        self.origins.update(dict.fromkeys(variables, Origin(str(source), None, stored.arn, stored.version)))

    def _add_path(self, path: ParameterPath) -> None:
        below = self._fetch.below(path)
        variables: dict[str, Stored] = {}
        for name, stored in below.items():
            variable = name.replace("/", "_")
            if variable in variables:
                remedy = "rename one of the parameters"
                raise VariableConflict(f"two parameters would become {variable}", source=str(path), remedy=remedy)
            variables[variable] = stored
            self.versions[stored.arn, stored.version] = None
        values = {variable: stored.text for variable, stored in variables.items()}
        content.check_names_and_values(values, str(path))
        self.exports.update(values)
        for variable, stored in variables.items():
            self.origins[variable] = Origin(str(path), None, stored.arn, stored.version)

    def add_variables(self, references: Iterable[VariableReference]) -> None:
        """Add the variables of single references."""
        failed: dict[tuple[str, str], tuple[LambdaTasksError, list[str]]] = {}
        for one in references:
            try:
                self._add_variable(one)
            except LambdaTasksError as error:
                # One secret that cannot be read is one problem, however many variables it concerns.
                failed.setdefault((str(error), type(error).__name__), (error, []))[1].append(one.variable)
        self.errors += [_concerning(error, names.listed(variables)) for error, variables in failed.values()]

    def _add_variable(self, one: VariableReference) -> None:
        origin = self._held.origin(one)
        if origin:
            value = self._held.value(one)
        else:
            stored = self._fetch.stored(one.source)
            origin = Origin(str(one.source), one.json_key, stored.arn, stored.version)
            source = str(one.source)
            value = content.json_value(stored.text, one.json_key, source) if one.json_key else stored.text
            content.check_names_and_values({one.variable: value}, source)
        self.exports[one.variable], self.origins[one.variable] = value, origin
        self.versions[origin.arn, origin.version] = None


def _concerning(error: LambdaTasksError, variable: str) -> LambdaTasksError:
    """Name the variable that `error` concerns, unless the one to blame is another: a setting of the connection."""
    return error if error.variable else error.concerning(variable)


def _distinct(errors: Iterable[LambdaTasksError]) -> list[LambdaTasksError]:
    """Leave out what is said already: a setting that is wrong fails every call."""
    return list({(type(error), str(error)): error for error in errors}.values())
