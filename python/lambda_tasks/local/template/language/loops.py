"""``Fn::ForEach`` of the language extensions: each loop is replaced by what it stands for, before anything is read.

Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-foreach.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lambda_tasks.local.errors import LocalError

_LOOP = "Fn::ForEach::"


def unrolled(value: Any, resolve: Callable[[Any], Any], source: str) -> Any:  # noqa: ANN401 - a part of a template
    """Return `value` without loops. `resolve` gives the list that a loop goes over.

    Raises:
        LocalError: a loop is not written as it may be.

    """
    if isinstance(value, list):
        return [unrolled(one, resolve, source) for one in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for name, one in value.items():
        if not str(name).startswith(_LOOP):
            found[name] = unrolled(one, resolve, source)
            continue
        for part in _parts(str(name), one, resolve, source):
            found.update(unrolled(part, resolve, source))
    return found


def _parts(name: str, loop: Any, resolve: Callable[[Any], Any], source: str) -> list[dict[str, Any]]:  # noqa: ANN401
    if not (isinstance(loop, list) and len(loop) == 3 and isinstance(loop[0], str) and isinstance(loop[2], dict)):
        problem = f"{name} is not a loop"
        raise LocalError(problem, source=source, remedy="give it an identifier, a list, and a map of what it makes")
    identifier, collection, body = loop
    values = resolve(collection)
    if not isinstance(values, list):
        raise LocalError(f"{name} does not go over a list", source=source, remedy="give it a list, or a list parameter")
    return [_replaced(body, {identifier: str(one)}) for one in values]


def _replaced(value: Any, values: Mapping[str, str]) -> Any:  # noqa: ANN401
    """Return `value` with ``${Identifier}``, ``&{Identifier}`` and ``Ref`` of an identifier replaced."""
    if isinstance(value, dict):
        if set(value) == {"Ref"} and value["Ref"] in values:
            return values[value["Ref"]]
        return {_text(str(name), values): _replaced(one, values) for name, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, values) for one in value]
    return _text(value, values) if isinstance(value, str) else value


def _text(text: str, values: Mapping[str, str]) -> str:
    for identifier, value in values.items():
        text = text.replace("${" + identifier + "}", value)
        text = text.replace("&{" + identifier + "}", re.sub("[^A-Za-z0-9]", "", value))
    return text
