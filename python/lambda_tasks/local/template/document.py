"""A template: read, its parameters given, and any part of it with the intrinsic functions resolved.

It is SAM's, CloudFormation's own, or one that CDK has synthesized.
Source: https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification.html
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.template.language import sam_events, text
from lambda_tasks.local.template.language.intrinsic import Resolver
from lambda_tasks.local.template.language.loops import unrolled

STACK_NAME = "local"
SAM_FUNCTION = "AWS::Serverless::Function"
_LIST_TYPES = ("CommaDelimitedList", "List<", "AWS::SSM::Parameter::Value<List<", "AWS::SSM::Parameter::Value<Comma")
_SECTIONS = ("Conditions", "Globals", "Mappings", "Parameters", "Resources")
_SYNTHESIZED = "*.template.json"


@dataclass(frozen=True)
class Template:
    """A template with values for its parameters. `known` holds what ``Ref`` and ``Fn::GetAtt`` stand for."""

    path: Path
    content: Mapping[str, Any]
    region: str
    account_id: str
    lines: text.Lines = field(default_factory=dict, repr=False)
    known: dict[str, Any] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    def resources(self, *types: str) -> dict[str, dict[str, Any]]:
        """Return the resources of these types, by logical id, without those whose condition does not hold."""
        resolver = self._resolver()
        return {
            name: resource
            for name, resource in self.content["Resources"].items()
            if resource["Type"] in types and ("Condition" not in resource or resolver.holds(str(resource["Condition"])))
        }

    def learn(self, name: str, ref: Any, **attributes: Any) -> None:  # noqa: ANN401 - a list for some parameters
        """Say what ``Ref`` of a resource stands for, and ``Fn::GetAtt`` of it: there are no other attributes."""
        self.made.add(name)
        self.guess(name, ref, **attributes)

    def guess(self, name: str, ref: Any, **attributes: Any) -> None:  # noqa: ANN401
        """Say what ``Ref`` and ``Fn::GetAtt`` of a resource that is not made here stand for."""
        self.known[name] = ref
        self.known.update({f"{name}.{attribute}": value for attribute, value in attributes.items()})

    def resolve(self, value: Any) -> Any:  # noqa: ANN401 - a part of a template can be anything
        """Return `value` with every intrinsic function resolved; numbers and booleans become text.

        Raises:
            LocalError: it refers to something that has no value here.

        """
        return self._resolver().resolve(value)

    def function_properties(self, resource: Mapping[str, Any]) -> dict[str, Any]:
        """Return a function's properties, those of SAM with ``Globals`` below them."""
        below = self.content.get("Globals", {}).get("Function", {}) if resource["Type"] == SAM_FUNCTION else {}
        return _merged(below, resource["Properties"])

    def line(self, *path: str) -> int | None:
        """Return the line of a part of the template, or of the next part around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def _resolver(self) -> Resolver:
        content = self.content
        generated = tuple(
            name for name, one in content["Resources"].items() if one["Type"].startswith("AWS::Serverless::")
        )
        return Resolver(
            source=str(self.path),
            region=self.region,
            known=self.known,
            open=frozenset(content["Resources"]) - self.made,
            generated=("Serverless", *generated),
            mappings=content.get("Mappings", {}),
            conditions=content.get("Conditions", {}),
        )


def read(path: Path, parameters: Mapping[str, str], region: str, account_id: str) -> Template:
    """Read the template at `path`, a file or CDK's ``cdk.out``; `parameters` are values for its own.

    Raises:
        LocalError: it is not there or not a template, or a parameter is unknown or has no value.

    """
    path = template_file(path)
    content, lines = text.load(path)
    _check_shape(content, path)
    declared = content.get("Parameters", {})
    for name in parameters:
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise LocalError(f"there is no parameter {name}", source=str(path), remedy=f"its parameters: {known}")
    content.setdefault("Resources", {})
    loops = Template(path, {**content, "Resources": {}}, region, account_id)
    _learn_parameters(loops, declared, parameters)
    for section in ("Conditions", "Resources"):
        content[section] = unrolled(content.get(section, {}), loops.resolve, str(path))
    _check_resources(content["Resources"], path)
    content["Resources"] = sam_events.expanded(content["Resources"])
    template = Template(path, content, region, account_id, lines, known=loops.known)
    for name in content["Resources"]:
        # What is not made here is known by its name alone: a role, a key, a log group.
        template.guess(name, name, Arn=f"arn:aws:local:{region}:{account_id}:{name}")
    return template


def template_file(path: Path) -> Path:
    """Return the file of a template: `path` itself, or the only one of CDK's output folder.

    Raises:
        LocalError: the folder has none, or several.

    """
    if not path.is_dir():
        return path
    found = sorted(path.glob(_SYNTHESIZED)) or sorted((path / "cdk.out").glob(_SYNTHESIZED))
    if len(found) != 1:
        names = ", ".join(str(one) for one in found)
        remedy = f"name one of them with --template: {names}" if found else "name a SAM template, or cdk.out"
        raise LocalError(f"the folder has {len(found) or 'no'} templates", source=str(path), remedy=remedy)
    return found[0]


def _learn_parameters(template: Template, declared: Mapping[str, Any], values: Mapping[str, str]) -> None:
    region, account_id = template.region, template.account_id
    pseudo: dict[str, Any] = {
        "Region": region,
        "AccountId": account_id,
        "Partition": "aws",
        "URLSuffix": "amazonaws.com",
    }
    pseudo |= {"StackName": STACK_NAME, "NotificationARNs": []}
    pseudo |= {"StackId": f"arn:aws:cloudformation:{region}:{account_id}:stack/{STACK_NAME}/local"}
    for name, value in pseudo.items():
        template.guess(f"AWS::{name}", value)
    source = str(template.path)
    for name, parameter in declared.items():
        value = values.get(name, parameter.get("Default"))
        if value is None:
            raise LocalError(f"{name} has no value", source=source, remedy=f"add --parameter {name}=VALUE")
        value = str(template.resolve(value))
        allowed = [template.resolve(one) for one in parameter.get("AllowedValues", ())]
        if allowed and value not in allowed and name in values:
            raise LocalError(f"{name} cannot be {value}", source=source, remedy=f"use one of {', '.join(allowed)}")
        is_list = str(parameter.get("Type", "")).startswith(_LIST_TYPES)
        template.guess(name, [one.strip() for one in value.split(",")] if is_list else value)


def _check_shape(content: Any, path: Path) -> None:  # noqa: ANN401
    if not isinstance(content, dict) or not isinstance(content.get("Resources"), dict):
        raise LocalError("the template has no Resources", source=str(path), remedy="name a SAM template")
    for section in _SECTIONS:
        if content.get(section) is None:
            content.pop(section, None)
        elif not isinstance(content[section], dict):
            raise LocalError(f"{section} is not a map", source=str(path), remedy="correct the template")
    for section in ("Globals", "Parameters"):
        for name, one in content.get(section, {}).items():
            if not isinstance(one, dict):
                raise LocalError(f"{section}: {name} is not a map", source=str(path), remedy="correct the template")


def _check_resources(resources: dict[str, Any], path: Path) -> None:
    for name, resource in resources.items():
        problem = None
        if not isinstance(resource, dict) or not isinstance(resource.get("Type"), str):
            problem = "has no Type"
        elif not isinstance(resource.get("Properties") or {}, dict):
            problem = "has Properties that are not a map"
        elif not isinstance(resource.get("Metadata") or {}, dict):
            problem = "has Metadata that is not a map"
        if problem:
            raise LocalError(f"the resource {name} {problem}", source=str(path), remedy="correct the template")
        for part in ("Properties", "Metadata"):
            resource[part] = resource.get(part) or {}


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge as SAM merges Globals: maps by key, lists one after the other, anything else by the resource's own."""
    merged = copy.deepcopy(dict(below))
    for name, value in above.items():
        if isinstance(value, dict) and isinstance(merged.get(name), dict) and not _is_function(value):
            merged[name] = _merged(merged[name], value)
        elif isinstance(value, list) and isinstance(merged.get(name), list):
            merged[name] = [*merged[name], *value]
        else:
            merged[name] = value
    return merged


def _is_function(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)).startswith(("Fn::", "Ref"))
