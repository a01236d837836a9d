"""A template as a whole, before anything is made of it: its functions, its queues, and what maps one to the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lambda_tasks.local.template.document import Template, read
from lambda_tasks.local.template.functions import FunctionResource, functions
from lambda_tasks.local.template.mappings import MappingResource, mappings
from lambda_tasks.local.template.names import QUEUE, learn_names


@dataclass(frozen=True)
class QueueResource:
    """A queue as its template describes it, by its logical id. Values of `properties` are text."""

    name: str
    arn: str
    properties: Mapping[str, Any]

    @property
    def is_fifo(self) -> bool:
        """Whether it keeps the order of its groups."""
        return self.arn.endswith(".fifo")

    @property
    def redrive(self) -> Mapping[str, Any]:
        """Its redrive policy; empty where it has none."""
        policy = self.properties.get("RedrivePolicy")
        return policy if isinstance(policy, dict) else {}

    @property
    def visibility_seconds(self) -> int | None:
        """Its visibility timeout; None where that is no number."""
        text = str(self.properties.get("VisibilityTimeout", 30))
        return int(text) if text.isdecimal() else None


@dataclass(frozen=True)
class Model:
    """The functions, queues (by ARN) and mappings of a template."""

    template: Template
    functions: Mapping[str, FunctionResource]
    queues: Mapping[str, QueueResource]
    mappings: tuple[MappingResource, ...]

    def mappings_of(self, function: str) -> list[MappingResource]:
        """Return the mappings of a function, by its logical id, that take messages."""
        return [one for one in self.mappings if one.function == function and one.is_enabled]


def read_model(path: Path, parameters: Mapping[str, str], region: str, account_id: str) -> Model:
    """Read the template at `path` as `document.read` does, with names in place of what it would make.

    Raises:
        LocalError: it cannot be used.

    """
    template = read(path, parameters, region, account_id)
    learn_names(template)
    return model_of(template)


def model_of(template: Template) -> Model:
    """Return the model of a template that has learned its names.

    Raises:
        LocalError: a part of it cannot be resolved.

    """
    found = functions(template)
    queues = {}
    for name, resource in template.resources(QUEUE).items():
        arn = template.known[f"{name}.Arn"]
        queues[arn] = QueueResource(name, arn, template.resolve(resource["Properties"]))
    return Model(template, {one.name: one for one in found}, queues, tuple(mappings(template, found)))
