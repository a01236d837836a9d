"""The origins of exported variables and the values that they replaced, so that they can be resolved again."""

from __future__ import annotations

import json

from lambda_tasks.settings import RESOLVED
from lambda_tasks.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Set where a second resolution may come. It holds names, ARNs and versions, and what the function's own configuration
# says; no secret's value.
PROVENANCE = "LAMBDA_TASKS_PROVENANCE"


class Origin(Value):
    """The source of one variable: the reference to it, which key of it, whose answer it was, and its version.

    `json_key` is None where the whole source is an environment; `version` is empty where the answer had none.
    """

    source: str
    json_key: str | None
    arn: str
    version: str


class Provenance(Value):
    """The origins of exported variables, the values of the function's own that they replaced, and when that was.

    `resolved_at` is in epoch seconds.
    """

    resolved_at: float
    replaced: dict[str, str]
    origins: dict[str, Origin]

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Provenance | None:
        """Return what an earlier resolution left in `environ`, or None where there is nothing of use."""
        try:
            resolved_at, replaced, sources, names = json.loads(environ.get(PROVENANCE, ""))
            origins = {name: Origin(*sources[index]) for name, index in names.items()}
            return cls(float(resolved_at), dict(replaced), origins)
        except (ValueError, LookupError, TypeError, AttributeError):
            return None

    def to_json(self) -> str:
        """Return what `from_environ` reads: each source once, however many variables it has."""
        indexes: dict[Origin, int] = {}
        names = {name: indexes.setdefault(origin, len(indexes)) for name, origin in self.origins.items()}
        sources = [[one.source, one.json_key, one.arn, one.version] for one in indexes]
        return json.dumps([self.resolved_at, self.replaced, sources, names], separators=(",", ":"))

    def merged(self, later: Provenance) -> Provenance:
        """Return this and what a later resolution added to it."""
        return Provenance(self.resolved_at, {**later.replaced, **self.replaced}, {**self.origins, **later.origins})


def own_environ(environ: Mapping[str, str], exported: Iterable[str]) -> dict[str, str]:
    """Return the function's own environment: `environ` without what was `exported`, and with what that replaced."""
    before = Provenance.from_environ(environ)
    left_out = {*exported, RESOLVED, PROVENANCE}
    own = {name: value for name, value in environ.items() if name not in left_out}
    return {**own, **(before.replaced if before else {})}
