"""A template's text: YAML with CloudFormation's short forms, or JSON, and the line on which each part begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lambda_tasks.local.errors import LocalError

Lines = Mapping[tuple[str, ...], int]
"""The line, from 1, of each part by its path, such as ``("Resources", "Jobs", "Properties")``."""

_DEEPEST = 7  # Resources, a function, Properties, Events, an event, Properties, and one of these
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # ships no types
    """YAML with the short forms of CloudFormation's functions. Numbers and dates stay the text that they are."""

    # 012345678901 is an account and no octal number, and 1:30 no number of seconds.
    yaml_implicit_resolvers = {  # noqa: RUF012 - as the library has it
        first: [one for one in resolvers if one[0] not in _NUMBERS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: ANN401, FBT001, FBT002
        """Return a map, with each key as it is written: `Yes` is a name, and no boolean."""
        self.flatten_mapping(node)
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = "tag:yaml.org,2002:str"
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return found


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


def load(path: Path) -> tuple[Any, Lines]:
    """Read the file at `path`.

    Raises:
        LocalError: it cannot be read, or is neither YAML nor JSON.

    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        remedy = "name a SAM template with --template"
        raise LocalError(f"the template cannot be read: {error.strerror}", source=str(path), remedy=remedy) from error
    except UnicodeDecodeError as error:
        raise LocalError("the template is not UTF-8", source=str(path), remedy="save it as UTF-8") from error
    if path.suffix == ".json":
        text = text.replace("\t", " ")  # which JSON allows, and YAML does not
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        content = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise LocalError(f"the template is not YAML{_reason(error)}", source=str(path), remedy="correct it") from error
    finally:
        loader.dispose()
    lines: dict[tuple[str, ...], int] = {}
    _note(node, (), lines)
    return content, lines


def _reason(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    words = [getattr(error, name, None) for name in ("context", "problem")]
    reason = ", ".join(str(word) for word in words if word) or str(error)
    return f"{place}: {' '.join(reason.split())}"


def _note(node: Any, path: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> None:  # noqa: ANN401
    if not isinstance(node, yaml.MappingNode) or len(path) == _DEEPEST:
        return
    for key, value in node.value:
        inner = (*path, str(key.value))
        lines[inner] = key.start_mark.line + 1
        _note(value, inner, lines)
