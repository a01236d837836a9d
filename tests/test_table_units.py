"""The units that a table costs: measured as DynamoDB counts them, and as the page of the documents has them."""

from __future__ import annotations

import pytest

from benchmarks import table_units
from benchmarks.table_units import BEGIN, END, PAGE, size
from lambda_tasks.local.embedded_aws import EmbeddedAws


def test_the_page_has_the_units_that_are_measured(embedded_aws: EmbeddedAws) -> None:
    """Calls and units of each case are those of the page; tracebacks, which hold paths, may differ by a little."""
    shown = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    measured = table_units.costs(embedded_aws)
    page, ours = (
        [line.strip("|").split("|") for line in text.splitlines()[2:]] for text in (shown, table_units.rows(measured))
    )
    assert [(one[0], one[1], one[3]) for one in page] == [(one[0], one[1], one[3]) for one in ours], (
        "make it anew: python -m benchmarks.table_units --write"
    )
    for one, other in zip(page, ours, strict=True):
        assert int(one[2]) == pytest.approx(int(other[2]), abs=4 if "attempt" in one[0] or "rejected" in one[0] else 0)


def test_items_are_measured_as_dynamodb_does() -> None:
    """Names and texts count their bytes, numbers their digits by two and one more, lists their elements and four."""
    assert size({"id": {"S": "é"}}) == 4
    assert size({"n": {"N": "1790000000.123"}}) == 1 + 7 + 1
    assert size({"n": {"N": "100"}}) == 1 + 1 + 1
    assert size({"l": {"L": [{"S": "ab"}, {"S": "c"}]}}) == 1 + 3 + 3 + 2
