"""What AWS refuses of an event source mapping: the rules, by themselves and through the commands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lambda_tasks.local.mapping.judgement import refusals
from lambda_tasks.local.mapping.pattern_rules import pattern_problem

GOOD = {"Queue": "arn:aws:sqs:eu-west-1:1:q", "FunctionResponseTypes": ["ReportBatchItemFailures"]}


def judged(
    *, is_fifo: bool = False, visibility_seconds: int | None = 180, is_sam: bool = True, **properties: Any
) -> list[str]:
    """Return the refusals of a good mapping with other properties."""
    found = refusals(
        {**GOOD, **properties},
        is_sam=is_sam,
        is_fifo=is_fifo,
        timeout_seconds=30,
        visibility_seconds=visibility_seconds,
    )
    return [f"{one.problem}: {one.remedy}" for one in found]


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"BatchSize": "10"},
        {"BatchSize": "10000", "MaximumBatchingWindowInSeconds": "1"},
        {"MaximumBatchingWindowInSeconds": "300", "Enabled": "false"},
        {"is_fifo": True, "BatchSize": "10", "MaximumBatchingWindowInSeconds": "0"},
        {"ScalingConfig": {"MaximumConcurrency": "2"}},
        {"visibility_seconds": 30},
        {"visibility_seconds": None},
        {"FilterCriteria": {"Filters": [{"Pattern": '{"body": {"a": [1]}}'}] * 5}},
        {"ProvisionedPollerConfig": {"MinimumPollers": "2", "MaximumPollers": "5"}, "MetricsConfig": {"Metrics": ["EventCount"]}},
    ],
)  # fmt: skip
def test_mappings_that_aws_makes(properties: dict[str, Any]) -> None:
    """What AWS accepts is not refused."""
    assert judged(**properties) == []


@pytest.mark.parametrize(
    ("properties", "problem"),
    [
        ({"BatchSize": "11"}, "BatchSize is 11, and more than 10 need a batching window: set MaximumBatchingWindowInSeconds to 1 or more"),
        ({"BatchSize": "100", "MaximumBatchingWindowInSeconds": "0"}, "BatchSize is 100, and more than 10 need a batching window: set MaximumBatchingWindowInSeconds to 1 or more"),
        ({"BatchSize": "10001", "MaximumBatchingWindowInSeconds": "1"}, "BatchSize is 10001: write a whole number from 1 to 10000"),
        ({"BatchSize": "0"}, "BatchSize is 0: write a whole number from 1 to 10000"),
        ({"BatchSize": "ten"}, "BatchSize is ten: write a whole number from 1 to 10000"),
        ({"BatchSize": "11", "is_fifo": True}, "BatchSize is 11: write a whole number from 1 to 10"),
        ({"MaximumBatchingWindowInSeconds": "301"}, "MaximumBatchingWindowInSeconds is 301: write a whole number from 0 to 300"),
        ({"MaximumBatchingWindowInSeconds": "5", "is_fifo": True}, "MaximumBatchingWindowInSeconds is 5, and FIFO queues have no batching window: remove it"),
        ({"ScalingConfig": {"MaximumConcurrency": "1"}}, "MaximumConcurrency is 1: write a whole number from 2 to 1000"),
        ({"ScalingConfig": {"MaxConcurrency": "2"}}, "ScalingConfig has no property MaxConcurrency: write MaximumConcurrency"),
        ({"ScalingConfig": {"MaximumConcurrency": "2"}, "ProvisionedPollerConfig": {"MinimumPollers": "2"}}, "provisioned pollers have no MaximumConcurrency: remove ScalingConfig or ProvisionedPollerConfig"),
        ({"visibility_seconds": 29}, "the queue's VisibilityTimeout of 29 s is below the function's Timeout of 30 s: set it to six times the Timeout, 180 s"),
        ({"FunctionResponseTypes": ["ReportBatchItemFailure"]}, "FunctionResponseTypes has ReportBatchItemFailure: write ReportBatchItemFailures"),
        ({"FunctionResponseTypes": "ReportBatchItemFailures"}, "FunctionResponseTypes is no list: write a list"),
        ({"FunctionResponseType": []}, "a mapping of SQS has no property FunctionResponseType: write FunctionResponseTypes"),
        ({"MaximumConcurrency": "2"}, "a mapping of SQS has no property MaximumConcurrency: remove it"),
        ({"StartingPosition": "LATEST", "is_sam": False}, "a mapping of SQS has no property StartingPosition: remove it"),
        ({"Enabled": "maybe"}, "Enabled is maybe: write true or false"),
        ({"Queue": "https://sqs/q"}, "Queue is https://sqs/q, and no ARN: write Queue: !GetAtt <the queue>.Arn"),
        ({"Queue": ""}, "Queue is missing: write Queue: !GetAtt <the queue>.Arn"),
        ({"FilterCriteria": {"Filters": [{"Pattern": "{"}]}}, "the filter pattern { is not JSON"),
        ({"FilterCriteria": {"Filters": [{"pattern": "{}"}]}}, "a filter has no Pattern: write Pattern"),
        ({"FilterCriteria": {"Filters": "x"}}, "Filters is no list: write a list of Pattern"),
        ({"FilterCriteria": {"Filter": []}}, "FilterCriteria has no property Filter: write Filters"),
        ({"FilterCriteria": {"Filters": [{"Pattern": '{"a": [1]}'}] * 6}}, "there are 6 filters: use 5 at most"),
    ],
)  # fmt: skip
def test_mappings_that_aws_refuses(properties: dict[str, Any], problem: str) -> None:
    """Each mistake is one refusal that says what to write."""
    found = judged(**properties)
    assert [one for one in found if one.startswith(problem)], found


@pytest.mark.parametrize(
    "pattern",
    [
        {"body": ["text", None, 1, 1.5, True, ""]},
        {"body": {"a": {"b": [{"prefix": "x"}, {"suffix": "y"}, {"equals-ignore-case": "z"}]}}},
        {"body": {"a": [{"numeric": [">", 0, "<=", 5]}, {"numeric": ["=", 3]}], "b": [{"exists": False}]}},
        {"body": {"a": [{"anything-but": ["x", "y"]}, {"anything-but": 3}, {"anything-but": {"prefix": "x"}}]}},
        {"body": {"$or": [{"a": [1]}, {"b": [2]}]}, "attributes": {"SenderId": ["x"]}},
        {"body": {"a": [{"prefix": {"equals-ignore-case": "x"}}]}},
    ],
)
def test_patterns_that_aws_takes(pattern: dict[str, Any]) -> None:
    """Every operator of the documentation is taken."""
    assert pattern_problem(json.dumps(pattern)) is None


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ({"body": "x"}, 'has "x" at body, which has to be a list of values'),
        ({}, "is empty"),
        ({"body": {}}, "is empty at body"),
        ({"body": {"a": []}}, "has an empty list at body.a"),
        ({"body": {"a": [[1]]}}, "has a list in a list at body.a"),
        ({"body": {"a": [{"prefx": "x"}]}}, "has no rule prefx at body.a: there are anything-but"),
        ({"body": {"a": [{"prefix": "x", "suffix": "y"}]}}, "has a rule with 2 names at body.a"),
        ({"body": {"a": [{"numeric": [">", 5, "<", 1]}]}}, 'has [">", 5, "<", 1] for numeric at body.a'),
        ({"body": {"a": [{"numeric": [">", "5"]}]}}, "for numeric at body.a"),
        ({"body": {"a": [{"numeric": ["!=", 5]}]}}, "for numeric at body.a"),
        ({"body": {"a": [{"exists": "true"}]}}, 'has "true" for exists at body.a'),
        ({"body": {"a": [{"anything-but": []}]}}, "has [] for anything-but at body.a"),
        ({"body": {"a": [{"anything-but": ["x", 1]}]}}, "for anything-but at body.a"),
        ({"body": {"a": [{"anything-but": {"exists": True}}]}}, "for anything-but at body.a"),
        ({"body": {"a": [{"prefix": 3}]}}, "has 3 for prefix at body.a"),
        ({"body": {"a": [6_000_000_000]}}, "numbers go to five billion"),
        ({"body": {"$or": [{"a": [1]}]}}, "has a $or of fewer than two patterns at body"),
        ([1], "is no JSON object"),
        ("x", "is no JSON object"),
    ],
)
def test_patterns_that_aws_refuses(pattern: Any, problem: str) -> None:
    """A pattern that AWS refuses is refused, with the place of the mistake."""
    assert problem in str(pattern_problem(json.dumps(pattern)))


def test_a_pattern_is_text_of_limited_length_with_each_name_once() -> None:
    """A map in place of text, a long text and a name that is there twice are refused."""
    assert "is no text" in str(pattern_problem({"body": ["x"]}))
    assert "has 4105 characters" in str(pattern_problem(json.dumps({"body": ["x" * 4091]})))
    assert "a name is there twice" in str(pattern_problem('{"body": ["x"], "body": ["y"]}'))
