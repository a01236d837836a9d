"""Filter patterns of an event source mapping, rule by rule."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.mapping.filter_criteria import FilterCriteria

CASES: list[tuple[Any, Any, bool]] = [
    ({"a": ["x"]}, {"a": "x"}, True),
    ({"a": ["x"]}, {"a": "y"}, False),
    ({"a": ["x", "y"]}, {"a": "y"}, True),
    ({"a": ["x"]}, {}, False),
    ({"a": ["x"]}, {"a": ["w", "x"]}, True),
    ({"a": [1]}, {"a": 1.0}, True),
    ({"a": [1]}, {"a": True}, False),
    ({"a": [1]}, {"a": "1"}, False),
    ({"a": [None]}, {"a": None}, True),
    ({"a": [""]}, {"a": ""}, True),
    ({"a": {"b": ["x"]}}, {"a": {"b": "x"}}, True),
    ({"a": {"b": ["x"]}}, {"a": "x"}, False),
    ({"a": ["x"], "b": ["y"]}, {"a": "x", "b": "z"}, False),
    ({"a": [{"exists": True}]}, {"a": 0}, True),
    ({"a": [{"exists": True}]}, {}, False),
    ({"a": [{"exists": False}]}, {}, True),
    ({"a": [{"prefix": "ab"}]}, {"a": "abc"}, True),
    ({"a": [{"prefix": "b"}]}, {"a": "abc"}, False),
    ({"a": [{"prefix": {"equals-ignore-case": "AB"}}]}, {"a": "abc"}, True),
    ({"a": [{"suffix": "bc"}]}, {"a": "abc"}, True),
    ({"a": [{"suffix": "bc"}]}, {"a": 7}, False),
    ({"a": [{"equals-ignore-case": "ABC"}]}, {"a": "abc"}, True),
    ({"a": [{"anything-but": ["x", "y"]}]}, {"a": "z"}, True),
    ({"a": [{"anything-but": "x"}]}, {"a": "x"}, False),
    ({"a": [{"anything-but": "x"}]}, {}, False),
    ({"a": [{"anything-but": {"prefix": "x"}}]}, {"a": "yx"}, True),
    ({"a": [{"numeric": [">", 0, "<=", 5]}]}, {"a": 5}, True),
    ({"a": [{"numeric": [">", 0, "<=", 5]}]}, {"a": 5.1}, False),
    ({"a": [{"numeric": ["=", 5]}]}, {"a": "5"}, False),
    ({"$or": [{"a": ["x"]}, {"b": ["y"]}]}, {"b": "y"}, True),
    ({"$or": [{"a": ["x"]}, {"b": ["y"]}]}, {"b": "x"}, False),
    ({"a": [{"no such rule": "x"}]}, {"a": "x"}, False),
]


@pytest.mark.parametrize(("pattern", "body", "expected"), CASES)
def test_rules_of_patterns(pattern: Any, body: Any, *, expected: bool) -> None:
    """Each rule matches what AWS's documentation says that it matches."""
    criteria = FilterCriteria.parse([json.dumps({"body": pattern})])
    assert criteria.match({"body": json.dumps(body)}) is expected


@pytest.mark.parametrize("body", ["text", "[1]", "1", ""])
def test_a_pattern_for_json_drops_what_is_none(body: str) -> None:
    """A pattern that looks into the body does not match a body that is no JSON object."""
    assert not FilterCriteria.parse(['{"body": {"a": [{"exists": false}]}}']).match({"body": body})


def test_a_pattern_for_text_matches_the_body_as_it_is() -> None:
    """A body that is text can be matched as a whole."""
    criteria = FilterCriteria.parse(['{"body": ["stop", {"prefix": "go"}]}'])
    assert [criteria.match({"body": body}) for body in ("stop", "going", "wait")] == [True, True, False]


def test_one_of_several_patterns_is_enough() -> None:
    """A record is handed on where any of the patterns matches, and always where there are none."""
    criteria = FilterCriteria.parse(['{"body": ["a"]}', '{"messageId": ["1"]}'])
    assert criteria.match({"body": "b", "messageId": "1"})
    assert not criteria.match({"body": "b", "messageId": "2"})
    assert FilterCriteria().match({})


@pytest.mark.parametrize("text", ["", "[]", "{", "1"])
def test_a_pattern_that_is_no_object_is_an_error(text: str) -> None:
    """A pattern that Lambda would refuse is refused."""
    with pytest.raises(LocalError, match="is no JSON object: correct FilterCriteria"):
        FilterCriteria.parse([text])
