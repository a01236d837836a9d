"""A SAM template: read, its parameters given, and any part of it with the intrinsic functions resolved.

Source: https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification.html
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lambda_tasks.local.errors import LocalError

STACK_NAME = "local"
_LIST_TYPES = ("CommaDelimitedList", "List<")
_DOTTED = re.compile(r"\$\{([A-Za-z0-9]+)\.([A-Za-z0-9.]+)\}")
_UNRESOLVED = re.compile(r"UNDEFINED_(?:PARAM|MAPPING)_([\w:.-]+)")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # ships no types
    """YAML with the short forms of CloudFormation's functions."""


def _short_form(loader: Any, suffix: str, node: Any) -> dict[str, Any]:  # noqa: ANN401
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)


@dataclass(frozen=True)
class Template:
    """A template with values for its parameters. `known` holds what ``Ref`` and ``Fn::GetAtt`` stand for."""

    path: Path
    content: Mapping[str, Any]
    known: dict[str, Any] = field(default_factory=dict)

    def resources(self, *types: str) -> dict[str, dict[str, Any]]:
        """Return the resources of these types, by logical id, without those whose condition does not hold."""
        return {
            name: resource
            for name, resource in self.content["Resources"].items()
            if resource.get("Type") in types and self._exists(resource)
        }

    def learn(self, name: str, ref: Any, **attributes: Any) -> None:  # noqa: ANN401 - a list for some parameters
        """Say what ``Ref`` of a resource stands for, and ``Fn::GetAtt`` of it."""
        self.known[name] = ref
        self.known.update({f"{name}:{attribute}": value for attribute, value in attributes.items()})

    def resolve(self, value: Any) -> Any:  # noqa: ANN401 - a part of a template can be anything
        """Return `value` with every intrinsic function resolved; numbers and booleans become text.

        Raises:
            LocalError: it refers to something that has no value here.

        """
        resolved = self._resolved(value)
        for text in _texts(resolved):
            if found := _UNRESOLVED.search(text):
                name = found[1].replace(":", ".")
                problem = f"the template refers to {name}, which has no value here"
                raise LocalError(problem, source=str(self.path), remedy=f"add --parameter {name}=VALUE, or define it")
        return resolved

    def function_properties(self, resource: Mapping[str, Any]) -> dict[str, Any]:
        """Return a function's properties with ``Globals`` below them."""
        return _merged(self.content.get("Globals", {}).get("Function", {}), resource.get("Properties", {}))

    def _exists(self, resource: Mapping[str, Any]) -> bool:
        condition = resource.get("Condition")
        return condition is None or self._conditions().get(condition, False)

    def _conditions(self) -> dict[str, bool]:
        found: dict[str, bool] = {}
        conditions = self.content.get("Conditions", {})
        for _ in conditions:  # one may be made of others, in any order
            found = {name: self._resolved(body, found) in (True, "true") for name, body in conditions.items()}
        return found

    def _resolved(self, value: Any, conditions: dict[str, bool] | None = None) -> Any:  # noqa: ANN401
        from pycfmodel.resolver import resolve  # noqa: PLC0415 - a quarter of a second

        known = {**self.known}  # the library writes what a Fn::Sub defines into it
        found = self._conditions() if conditions is None else conditions
        return _literal(resolve(_flat(value), known, self.content.get("Mappings", {}), found))


def read(path: Path, parameters: Mapping[str, str], region: str, account_id: str) -> Template:
    """Read the template at `path`; `parameters` are values for its own.

    Raises:
        LocalError: it is not there or not a template, or a parameter is unknown or has no value.

    """
    logging.getLogger("pycfmodel").setLevel(logging.ERROR)
    content = _content(path)
    declared = content.get("Parameters", {})
    for name in parameters:
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise LocalError(f"there is no parameter {name}", source=str(path), remedy=f"its parameters: {known}")
    template = Template(path, content)
    pseudo = {"Region": region, "AccountId": account_id, "Partition": "aws", "URLSuffix": "amazonaws.com"}
    pseudo |= {"StackName": STACK_NAME, "NoValue": "AWS::NoValue"}
    pseudo |= {"StackId": f"arn:aws:cloudformation:{region}:{account_id}:stack/{STACK_NAME}/local"}
    for name, value in pseudo.items():
        template.learn(f"AWS::{name}", value)
    for name, parameter in declared.items():
        value = parameters.get(name, parameter.get("Default"))
        if value is None:
            raise LocalError(f"{name} has no value", source=str(path), remedy=f"add --parameter {name}=VALUE")
        is_list = str(parameter.get("Type", "")).startswith(_LIST_TYPES)
        template.learn(name, [one.strip() for one in str(value).split(",")] if is_list else str(value))
    for name in content["Resources"]:
        # What is not made here is known by its name alone: a role, a key, a log group.
        template.learn(name, name, Arn=f"arn:aws:local:{region}:{account_id}:{name}")
    return template


def _content(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        remedy = "name a SAM template with --template"
        raise LocalError(f"the template cannot be read: {error.strerror}", source=str(path), remedy=remedy) from error
    try:
        content = yaml.load(text, _Loader)  # noqa: S506 - a safe loader, with functions as data
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        where = f"line {place.line + 1}" if place else "somewhere"
        raise LocalError(f"the template is not YAML, {where}", source=str(path), remedy="correct it") from error
    if not isinstance(content, dict) or not isinstance(content.get("Resources"), dict):
        raise LocalError("the template has no Resources", source=str(path), remedy="name a SAM template")
    return content


def _flat(value: Any) -> Any:  # noqa: ANN401
    """Return `value` with ``Fn::GetAtt`` as a ``Ref`` of another name, which the library can resolve."""
    if isinstance(value, dict):
        if set(value) == {"Fn::GetAtt"}:
            parts = value["Fn::GetAtt"]
            return {"Ref": ":".join(parts.split(".") if isinstance(parts, str) else ".".join(parts).split("."))}
        if set(value) == {"Fn::Sub"}:
            return {"Fn::Sub": _flat_sub(value["Fn::Sub"])}
        return {str(name): _flat(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_flat(one) for one in value]
    return "" if value is None else value


def _flat_sub(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        text, names = value
        return [_flat_sub(text), _flat(names)]
    return _DOTTED.sub(lambda found: "${" + found[1] + ":" + found[2].replace(".", ":") + "}", value)


def _literal(value: Any) -> Any:  # noqa: ANN401
    """Return `value` with ``${!Name}``, which Fn::Sub leaves alone, as ``${Name}``."""
    if isinstance(value, str):
        return value.replace("${!", "${")
    if isinstance(value, list):
        return [_literal(one) for one in value]
    if isinstance(value, dict):
        return {name: _literal(one) for name, one in value.items()}
    return value


def _texts(value: Any) -> list[str]:  # noqa: ANN401
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge as SAM merges Globals: maps by key, lists one after the other, anything else by the resource's own."""
    merged = copy.deepcopy(dict(below))
    for name, value in above.items():
        if isinstance(value, dict) and isinstance(merged.get(name), dict):
            merged[name] = _merged(merged[name], value)
        elif isinstance(value, list) and isinstance(merged.get(name), list):
            merged[name] = [*merged[name], *value]
        else:
            merged[name] = value
    return merged
