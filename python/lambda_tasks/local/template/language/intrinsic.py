"""CloudFormation's intrinsic functions, resolved.

Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
"""

from __future__ import annotations

import base64
import difflib
import ipaddress
import itertools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lambda_tasks.local.errors import LocalError

NO_VALUE = object()
"""The value of ``AWS::NoValue``: a property or an element with it is not there."""

_PLACEHOLDER = re.compile(r"\$\{(!?)\s*([^}]*?)\s*\}")
_ZONES = "abc"


@dataclass
class Resolver:
    """The functions of one template. `known` holds what ``Ref`` and ``Fn::GetAtt`` (``Name.Attribute``) stand for.

    `open` names the resources of which not everything is known: an attribute of theirs is its own name. `generated` are
    the first parts of the names that SAM gives to what it makes itself, such as a function's role.
    """

    source: str
    region: str
    known: Mapping[str, Any]
    open: frozenset[str]
    generated: tuple[str, ...] = ()
    mappings: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    _judging: list[str] = field(default_factory=list)

    def resolve(self, value: Any) -> Any:  # noqa: ANN401 - a part of a template can be anything
        """Return `value` with every function resolved; numbers and booleans become text.

        Raises:
            LocalError: a function is not used as it may be, or refers to something that is not there.

        """
        if isinstance(value, dict):
            if len(value) == 1:
                ((name, argument),) = value.items()
                if name in _FUNCTIONS:
                    return _FUNCTIONS[name](self, argument)
                if str(name).startswith("Fn::"):
                    raise self._error(f"{name} cannot be resolved here", "write its value in the template")
            pairs = ((str(name), self.resolve(one)) for name, one in value.items())
            return {name: one for name, one in pairs if one is not NO_VALUE}
        if isinstance(value, list):
            return [one for one in map(self.resolve, value) if one is not NO_VALUE]
        if isinstance(value, bool):
            return "true" if value else "false"
        return "" if value is None else value if isinstance(value, str) else str(value)

    def holds(self, condition: str) -> bool:
        """Tell whether a condition of the template holds.

        Raises:
            LocalError: there is none of that name, or it is made of itself.

        """
        if condition not in self.conditions:
            raise self._error(f"there is no condition {condition}", self._nearest(condition, self.conditions))
        if condition in self._judging:
            raise self._error(f"the condition {condition} is made of itself", "correct Conditions")
        self._judging.append(condition)
        try:
            return self._truth(self.conditions[condition])
        finally:
            self._judging.pop()

    def _truth(self, value: Any) -> bool:  # noqa: ANN401
        if isinstance(value, dict) and len(value) == 1 and isinstance(value.get("Condition"), str):
            return self.holds(value["Condition"])
        return bool(self.resolve(value) == "true")

    def _ref(self, name: Any) -> Any:  # noqa: ANN401
        if name == "AWS::NoValue":
            return NO_VALUE
        if isinstance(name, str) and name not in self.known and name.startswith(self.generated):
            return name
        if not isinstance(name, str) or name not in self.known:
            names = [one for one in self.known if "." not in one]
            problem = f"the template refers to {name}, which it does not have"
            raise self._error(problem, self._nearest(str(name), names))
        return self.known[name]

    def _get_att(self, argument: Any) -> Any:  # noqa: ANN401
        parts = argument.split(".", 1) if isinstance(argument, str) else [self.resolve(one) for one in argument]
        if len(parts) != 2:
            raise self._error(f"Fn::GetAtt is {argument!r}", "write a resource and its attribute")
        return self._attribute(*parts)

    def _attribute(self, name: str, attribute: str) -> Any:  # noqa: ANN401
        whole = f"{name}.{attribute}"
        if whole in self.known:
            return self.known[whole]
        if name in self.open or (name not in self.known and name.startswith(self.generated)):
            return whole  # an attribute of something that is not made here
        own = [one.partition(".")[2] for one in self.known if one.startswith(f"{name}.")]
        if own:
            raise self._error(f"{name} has no attribute {attribute}", f"use one of {', '.join(own)}")
        names = [one for one in self.known if "." not in one]
        raise self._error(f"the template refers to {name}, which it does not have", self._nearest(name, names))

    def _sub(self, argument: Any) -> str:  # noqa: ANN401
        text, own = argument if isinstance(argument, list) and len(argument) == 2 else (argument, {})
        if not isinstance(text, str) or not isinstance(own, dict):
            raise self._error(f"Fn::Sub is {argument!r}", "write a text, or a text and a map")
        values = {name: self.resolve(one) for name, one in own.items()}

        def value_of(found: re.Match[str]) -> str:
            is_literal, name = found.groups()
            if is_literal:
                return "${" + name + "}"
            value = values[name] if name in values else self._named(name)
            return self._text(value, f"${{{name}}}")

        return _PLACEHOLDER.sub(value_of, text)

    def _named(self, name: str) -> Any:  # noqa: ANN401
        resource, _, attribute = name.partition(".")
        return self._attribute(resource, attribute) if attribute else self._ref(name)

    def _join(self, argument: Any) -> str:  # noqa: ANN401
        separator, values = self._arguments("Fn::Join", argument, 2)
        return str(separator).join(self._text(one, "an element of Fn::Join") for one in self._list("Fn::Join", values))

    def _select(self, argument: Any) -> Any:  # noqa: ANN401
        index, values = self._arguments("Fn::Select", argument, 2)
        values = self._list("Fn::Select", values)
        if not str(index).isdigit() or int(index) >= len(values):
            raise self._error(f"Fn::Select has no element {index} of {len(values)}", "correct the index")
        return values[int(index)]

    def _split(self, argument: Any) -> list[str]:  # noqa: ANN401
        separator, text = self._arguments("Fn::Split", argument, 2)
        return self._text(text, "the text of Fn::Split").split(str(separator))

    def _find_in_map(self, argument: Any) -> Any:  # noqa: ANN401
        names = [self.resolve(one) for one in argument]
        default = names.pop() if len(names) == 4 and isinstance(names[3], dict) else {}
        found: Any = self.mappings
        for name in names[:3]:
            if not isinstance(found, dict) or str(name) not in (keys := {str(key): key for key in found}):
                if "DefaultValue" in default:
                    return default["DefaultValue"]
                raise self._error(f"Mappings has no {'.'.join(map(str, names))}", "correct Fn::FindInMap")
            found = found[keys[str(name)]]
        return self.resolve(found)

    def _if(self, argument: Any) -> Any:  # noqa: ANN401
        if not isinstance(argument, list) or len(argument) != 3:
            raise self._error(f"Fn::If is {argument!r}", "write a condition and two values")
        condition, then, otherwise = argument
        return self.resolve(then if self.holds(condition) else otherwise)

    def _equals(self, argument: Any) -> str:  # noqa: ANN401
        left, right = self._arguments("Fn::Equals", argument, 2)
        return "true" if left == right else "false"

    def _and(self, argument: Any) -> str:  # noqa: ANN401
        return "true" if all(self._truth(one) for one in argument) else "false"

    def _or(self, argument: Any) -> str:  # noqa: ANN401
        return "true" if any(self._truth(one) for one in argument) else "false"

    def _not(self, argument: Any) -> str:  # noqa: ANN401
        return "false" if self._truth(argument[0] if isinstance(argument, list) else argument) else "true"

    def _base64(self, argument: Any) -> str:  # noqa: ANN401
        return base64.b64encode(self._text(self.resolve(argument), "Fn::Base64").encode()).decode()

    def _zones(self, argument: Any) -> list[str]:  # noqa: ANN401
        region = self.resolve(argument) or self.region
        return [f"{region}{letter}" for letter in _ZONES]

    def _cidr(self, argument: Any) -> list[str]:  # noqa: ANN401
        block, count, bits = [*(self.resolve(one) for one in argument), "8"][:3]
        network = ipaddress.ip_network(block)
        subnets = network.subnets(new_prefix=network.max_prefixlen - int(bits))
        return [str(one) for one in itertools.islice(subnets, int(count))]

    def _import_value(self, argument: Any) -> str:  # noqa: ANN401
        return self._text(self.resolve(argument), "Fn::ImportValue")  # there is no other stack: its name stands for it

    def _length(self, argument: Any) -> str:  # noqa: ANN401
        return str(len(self._list("Fn::Length", self.resolve(argument))))

    def _to_json(self, argument: Any) -> str:  # noqa: ANN401
        return json.dumps(self.resolve(argument), separators=(",", ":"))

    def _arguments(self, name: str, argument: Any, count: int) -> list[Any]:  # noqa: ANN401
        if not isinstance(argument, list) or len(argument) != count:
            raise self._error(f"{name} is {argument!r}", f"give it {count} arguments")
        return [self.resolve(one) for one in argument]

    def _list(self, name: str, value: Any) -> list[Any]:  # noqa: ANN401
        if not isinstance(value, list):
            raise self._error(f"{name} is given {value!r}", "give it a list")
        return value

    def _text(self, value: Any, what: str) -> str:  # noqa: ANN401
        if not isinstance(value, str):
            kind = "a list" if isinstance(value, list) else "no text"
            raise self._error(f"{what} is {kind}", "take one element with Fn::Select, or join them with Fn::Join")
        return value

    def _nearest(self, name: str, names: Any) -> str:  # noqa: ANN401
        near = difflib.get_close_matches(name, list(names), 1)
        return f"write {near[0]}, or define {name}" if near else f"define {name}"

    def _error(self, problem: str, remedy: str) -> LocalError:
        return LocalError(problem, source=self.source, remedy=remedy)


_FUNCTIONS: Mapping[str, Callable[[Resolver, Any], Any]] = {
    "Ref": Resolver._ref,
    "Fn::GetAtt": Resolver._get_att,
    "Fn::Sub": Resolver._sub,
    "Fn::Join": Resolver._join,
    "Fn::Select": Resolver._select,
    "Fn::Split": Resolver._split,
    "Fn::FindInMap": Resolver._find_in_map,
    "Fn::If": Resolver._if,
    "Fn::Equals": Resolver._equals,
    "Fn::And": Resolver._and,
    "Fn::Or": Resolver._or,
    "Fn::Not": Resolver._not,
    "Fn::Base64": Resolver._base64,
    "Fn::GetAZs": Resolver._zones,
    "Fn::Cidr": Resolver._cidr,
    "Fn::ImportValue": Resolver._import_value,
    "Fn::Length": Resolver._length,
    "Fn::ToJsonString": Resolver._to_json,
}
