"""The event source mappings of a template: SQS events of SAM's functions, and ``AWS::Lambda::EventSourceMapping``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lambda_tasks.local.template.document import Template
from lambda_tasks.local.template.functions import FunctionResource

RAW_MAPPING = "AWS::Lambda::EventSourceMapping"


@dataclass(frozen=True)
class MappingResource:
    """A mapping of a queue to a function. `properties` are spelt as the template spells them, with values as text.

    `function` is a logical id. `path` is where it stands in the template.
    """

    name: str
    function: str
    queue_arn: str
    properties: Mapping[str, Any]
    path: tuple[str, ...]
    is_sam: bool

    @property
    def is_enabled(self) -> bool:
        """Whether it takes messages."""
        return str(self.properties.get("Enabled", "true")).lower() != "false"


def mappings(template: Template, functions: Sequence[FunctionResource]) -> list[MappingResource]:
    """Return the mappings of queues to these functions.

    Raises:
        LocalError: a part of one cannot be resolved.

    """
    found = []
    for function in functions:
        for name, event in function.events.items():
            if isinstance(event, dict) and event.get("Type") == "SQS":
                properties = template.resolve(event.get("Properties") or {})
                arn = str(properties.get("Queue", ""))
                path: tuple[str, ...] = ("Resources", function.name, "Properties", "Events", name, "Properties")
                found.append(MappingResource(f"{function.name}.{name}", function.name, arn, properties, path, True))  # noqa: FBT003
    for name, resource in template.resources(RAW_MAPPING).items():
        properties = template.resolve(resource["Properties"])
        arn = str(properties.get("EventSourceArn", ""))
        target = _target(str(properties.get("FunctionName", "")), functions)
        if ":sqs:" in arn and target is not None:
            path = ("Resources", name, "Properties")
            found.append(MappingResource(name, target, arn, properties, path, False))  # noqa: FBT003
    return found


def _target(name: str, functions: Sequence[FunctionResource]) -> str | None:
    """Return the logical id of a function given by its name or an ARN, with a version or an alias or without."""
    own = name.rpartition(":function:")[2].split(":")[0]
    return next((one.name for one in functions if own in (one.own_name, one.name)), None)
