"""Which messages an event source mapping hands on: filter patterns of EventBridge's kind, over one SQS record.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html and with-sqs-filtering.html there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lambda_tasks.local.errors import LocalError

Pattern = Mapping[str, Any]
_MISSING = object()
_COMPARISONS = {
    "=": lambda left, right: left == right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


@dataclass(frozen=True)
class FilterCriteria:
    """Patterns, of which one must match; without any every message does."""

    patterns: tuple[Pattern, ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> FilterCriteria:
        """Read patterns, each the text of a JSON object.

        Raises:
            LocalError: one is not.

        """
        patterns = []
        for text in texts:
            try:
                pattern = json.loads(text)
            except ValueError:
                pattern = None
            if not isinstance(pattern, dict):
                raise LocalError(f"the filter pattern {text!r} is no JSON object", remedy="correct FilterCriteria")
            patterns.append(pattern)
        return cls(tuple(patterns))

    def match(self, record: Mapping[str, Any]) -> bool:
        """Tell whether `record`, of an SQS event, is to be handed on. What is not is deleted."""
        return not self.patterns or any(_matches_record(pattern, record) for pattern in self.patterns)


def _matches_record(pattern: Pattern, record: Mapping[str, Any]) -> bool:
    body: Any = record.get("body")
    wants_json = isinstance(pattern.get("body"), dict)
    if wants_json:
        try:
            body = json.loads(body)
        except (TypeError, ValueError):
            return False  # a pattern for JSON drops what is none
        if not isinstance(body, dict):
            return False
    return _matches(pattern, {**record, "body": body})


def _matches(pattern: Pattern, value: Mapping[str, Any]) -> bool:
    for name, wanted in pattern.items():
        if name == "$or":
            if not any(_matches(one, value) for one in wanted):
                return False
            continue
        found = value.get(name, _MISSING)
        if isinstance(wanted, Mapping):
            if not _matches(wanted, found if isinstance(found, Mapping) else {}):
                return False
        elif not _matches_any(wanted, found):
            return False
    return True


def _matches_any(wanted: Any, found: Any) -> bool:  # noqa: ANN401
    values = found if isinstance(found, list) else [found]
    rules = wanted if isinstance(wanted, list) else [wanted]
    return any(_matches_rule(rule, value) for rule in rules for value in values)


def _matches_rule(rule: Any, value: Any) -> bool:  # noqa: ANN401
    if not isinstance(rule, Mapping):
        return (value is not _MISSING and type(value) is type(rule) and value == rule) or _same_number(rule, value)
    ((kind, wanted),) = rule.items()
    if kind == "exists":
        return (value is not _MISSING) is bool(wanted)
    if value is _MISSING:
        return False
    if kind == "anything-but":
        if isinstance(wanted, Mapping):
            ((inner, texts),) = wanted.items()
            texts = texts if isinstance(texts, list) else [texts]
            return not any(_matches_rule({inner: text}, value) for text in texts)
        return not any(_matches_rule(one, value) for one in (wanted if isinstance(wanted, list) else [wanted]))
    if kind == "numeric":
        return _is_number(value) and all(
            _COMPARISONS[sign](value, limit) for sign, limit in zip(wanted[::2], wanted[1::2], strict=True)
        )
    if not isinstance(value, str):
        return False
    if isinstance(wanted, Mapping) and set(wanted) == {"equals-ignore-case"}:
        value, wanted = value.lower(), wanted["equals-ignore-case"].lower()
    text_rules = {
        "prefix": value.startswith,
        "suffix": value.endswith,
        "equals-ignore-case": lambda other: value.lower() == other.lower(),
    }
    return kind in text_rules and text_rules[kind](wanted)


def _same_number(rule: Any, value: Any) -> bool:  # noqa: ANN401
    return _is_number(rule) and _is_number(value) and rule == value


def _is_number(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, (int, float)) and not isinstance(value, bool)
