"""The rules that a filter pattern has to follow: AWS refuses a mapping with any other.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html#filtering-syntax, and
eb-create-pattern-operators.html of EventBridge's guide.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

_MAX_CHARACTERS = 4096
_LARGEST_NUMBER = 5_000_000_000
_COMPARISONS = ("<", "<=", ">", ">=", "=")
_LOWER, _UPPER = (">", ">="), ("<", "<=")


def pattern_problem(text: object) -> str | None:
    """Return what is wrong with a pattern, as the end of a sentence that begins with it; None where nothing is."""
    if not isinstance(text, str):
        return "is no text: write it as JSON in quotes"
    if len(text) > _MAX_CHARACTERS:
        return f"has {len(text)} characters, and {_MAX_CHARACTERS} are allowed"
    try:
        pattern = json.loads(text, object_pairs_hook=_unique)
    except ValueError as error:
        return f"is not JSON ({error})"
    if not isinstance(pattern, dict):
        return "is no JSON object"
    return _object_problem(pattern, "")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _object_problem(pattern: Mapping[str, Any], place: str) -> str | None:
    if not pattern:
        return f"is empty{_at(place)}"
    for name, wanted in pattern.items():
        inner = f"{place}.{name}" if place else name
        if name == "$or" and isinstance(wanted, list) and all(isinstance(one, dict) for one in wanted):
            if len(wanted) < 2:
                return f"has a $or of fewer than two patterns{_at(place)}"
            problem = next(filter(None, (_object_problem(one, inner) for one in wanted)), None)
        elif isinstance(wanted, dict):
            problem = _object_problem(wanted, inner)
        elif isinstance(wanted, list):
            problem = _rules_problem(wanted, inner)
        else:
            problem = f"has {json.dumps(wanted)}{_at(inner)}, which has to be a list of values"
        if problem:
            return problem
    return None


def _rules_problem(rules: list[Any], place: str) -> str | None:
    if not rules:
        return f"has an empty list{_at(place)}"
    for rule in rules:
        if isinstance(rule, list):
            return f"has a list in a list{_at(place)}"
        if isinstance(rule, dict):
            if len(rule) != 1:
                return f"has a rule with {len(rule)} names{_at(place)}, and one is allowed"
            ((kind, wanted),) = rule.items()
            if kind not in _RULES:
                return f"has no rule {kind}{_at(place)}: there are {', '.join(sorted(_RULES))}"
            if not _RULES[kind](wanted):
                return f"has {json.dumps(wanted)} for {kind}{_at(place)}"
        elif _is_number(rule) and abs(rule) > _LARGEST_NUMBER:
            return f"has {rule}{_at(place)}, and numbers go to five billion"
    return None


def _at(place: str) -> str:
    return f" at {place}" if place else ""


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _ignores_case(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"equals-ignore-case"} and _is_text(value["equals-ignore-case"])


def _is_affix(value: object) -> bool:
    return _is_text(value) or _ignores_case(value)


def _is_boolean(value: object) -> bool:
    return isinstance(value, bool)


def _is_numeric(value: object) -> bool:
    if not isinstance(value, list) or len(value) not in (2, 4):
        return False
    signs, limits = value[::2], value[1::2]
    if not all(_is_number(one) and abs(one) <= _LARGEST_NUMBER for one in limits):
        return False
    if len(signs) == 1:
        return signs[0] in _COMPARISONS
    return signs[0] in _LOWER and signs[1] in _UPPER and limits[0] < limits[1]


def _is_exclusion(value: object) -> bool:
    if isinstance(value, dict):
        if len(value) != 1:
            return False
        ((kind, wanted),) = value.items()
        texts = wanted if isinstance(wanted, list) and wanted else [wanted]
        return kind in ("prefix", "suffix", "equals-ignore-case") and all(map(_is_text, texts))
    values = value if isinstance(value, list) else [value]
    same = all(isinstance(one, str) for one in values) or all(map(_is_number, values))
    return bool(values) and same


_RULES: Mapping[str, Callable[[object], bool]] = {
    "anything-but": _is_exclusion,
    "equals-ignore-case": lambda value: isinstance(value, str),
    "exists": _is_boolean,
    "numeric": _is_numeric,
    "prefix": _is_affix,
    "suffix": _is_affix,
}
