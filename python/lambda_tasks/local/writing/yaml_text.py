"""YAML as text: written for parts of a template, and edited in place, so that comments and the rest stay."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

_PLAIN = re.compile(r"[A-Za-z][\w./-]*(?:::?[\w./-]+)*")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
_INDENT = 2


@dataclass(frozen=True)
class Short:
    """A function of CloudFormation's in its short form, such as ``!GetAtt Queue.Arn``."""

    tag: str
    value: str


def scalar(value: object) -> str:
    """Return a value on one line, in a form that stands anywhere."""
    if isinstance(value, Short):
        return f"{value.tag} {scalar(value.value)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return "'" + text.replace("'", "''") + "'"


def flow(value: Any) -> str:  # noqa: ANN401 - a part of a template can be anything
    """Return a value on one line, with what it holds."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(name)}: {flow(one)}" for name, one in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def block(value: Mapping[str, Any], indent: int = 0) -> str:
    """Return a map as lines, each with its end. Maps and lists without any of their own in them stand on one line."""
    found = []
    for name, one in value.items():
        head = f"{' ' * indent}{scalar(name)}:"
        if isinstance(one, Mapping) and _is_deep(one):
            found.append(f"{head}\n{block(one, indent + _INDENT)}")
        elif isinstance(one, list) and _is_deep(one):
            lines = "".join(_item(each, indent + _INDENT) for each in one)
            found.append(f"{head}\n{lines}")
        else:
            found.append(f"{head} {flow(one)}\n")
    return "".join(found)


def _item(value: Any, indent: int) -> str:  # noqa: ANN401
    if isinstance(value, Mapping):
        text = block(value, indent + _INDENT)
        return f"{' ' * indent}- {text[indent + _INDENT :]}"
    return f"{' ' * indent}- {flow(value)}\n"


def _is_deep(value: Any) -> bool:  # noqa: ANN401
    inner = list(value.values()) if isinstance(value, Mapping) else list(value)
    return any(isinstance(one, (Mapping, list)) for one in inner) or len(flow(value)) > 80


class Edits:
    """The changes of one text of YAML. They are made at once, by `result`, and do not see each other."""

    def __init__(self, text: str) -> None:
        self._text = text if text.endswith("\n") else text + "\n"
        self._root = yaml.compose(self._text, yaml.SafeLoader)
        self._changes: list[tuple[int, int, str]] = []
        self._removed: dict[tuple[str, ...], int] = {}

    def has(self, *path: str) -> bool:
        """Tell whether the text has such a part."""
        return self._find(path) is not None

    def replace(self, path: Sequence[str], value: object) -> None:
        """Give a part that is there another value, which stands on one line."""
        _, node = self._entry(path)
        self._changes.append((node.start_mark.index, self._end(node), flow(value)))

    def add(self, path: Sequence[str], entries: Mapping[str, Any]) -> None:
        """Add entries at the end of the map at `path`; where there is none it is made, with those around it."""
        parent = self._find(path)
        if parent is None:
            self.add(path[:-1], {path[-1]: entries})
        elif not (isinstance(parent, yaml.MappingNode) and parent.value):
            end = self._end(parent)
            start = min(int(parent.start_mark.index), end)
            self._changes.append((start, end, f" {flow(entries)}"))
        elif parent.flow_style:
            index = parent.end_mark.index - 1
            self._changes.append((index, index, "".join(f", {scalar(k)}: {flow(v)}" for k, v in entries.items())))
        else:
            index = self._end_of_line(self._end(parent))
            self._changes.append((index, index, block(entries, parent.value[0][0].start_mark.column)))

    def remove(self, path: Sequence[str]) -> None:
        """Remove a part, and the map around it where that would be empty."""
        *around, _ = path
        parent = self._find(around)
        if len(parent.value) == self._removed.get(tuple(around), 0) + 1:
            self.remove(around)
            return
        self._removed[tuple(around)] = self._removed.get(tuple(around), 0) + 1
        key, node = self._entry(path)
        if parent.flow_style:
            start, end = key.start_mark.index, self._end(node)
            after = re.compile(r"\s*,\s*").match(self._text, end)
            if after:
                end = after.end()
            else:
                start -= len(self._text[:start]) - len(self._text[:start].rstrip().removesuffix(","))
            self._changes.append((start, end, ""))
            return
        start = self._text.rfind("\n", 0, key.start_mark.index) + 1
        self._changes.append((start, self._end_of_line(self._end(node)), ""))

    def result(self) -> str:
        """Return the text with all changes."""
        text = self._text
        numbered = enumerate(self._changes)
        for _, (start, end, new) in sorted(numbered, key=lambda one: (one[1][0], one[0]), reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def _find(self, path: Sequence[str]) -> Any:  # noqa: ANN401 - a node
        node = self._root
        for name in path:
            if not isinstance(node, yaml.MappingNode):
                return None
            node = next((value for key, value in node.value if key.value == name), None)
        return node

    def _entry(self, path: Sequence[str]) -> tuple[Any, Any]:
        *around, name = path
        found: tuple[Any, Any] = next(one for one in self._find(around).value if one[0].value == name)
        return found

    def _end(self, node: Any) -> int:  # noqa: ANN401
        """Return where a part ends, without the comments and blank lines behind it."""
        if isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) and not node.flow_style and node.value:
            last = node.value[-1]
            return self._end(last[1] if isinstance(last, tuple) else last)
        end = int(node.end_mark.index)
        return max(len(self._text[:end].rstrip()), int(node.start_mark.index))

    def _end_of_line(self, index: int) -> int:
        return self._text.find("\n", index) + 1
