"""The cold start's benchmark: that its sides do the job, and that its figures are computed and shown as they should be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import cold_start, cold_start_report, resolver
from benchmarks.cold_start import Side

pytestmark = pytest.mark.usefixtures("uncovered")

SAMPLES = {"(a) bare": [100.0, 110.0, 90.0], "(b) ours": [140.0, 150.0, 150.0], "(c) usual": [300.0, 310.0, 290.0]}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The server of secrets, which answers after 30 ms."""
    with resolver.server() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def sides(layer_zip: Path, url: str) -> Iterator[list[Side]]:
    """The sides, whose packages are copied and compiled once."""
    with cold_start.sides(layer_zip, url) as sides:
        yield sides


@pytest.mark.parametrize("number", range(3))
def test_side_does_the_job(number: int, sides: list[Side], emulator_path: Path) -> None:
    """Each side answers that its message is done, and its init phase has a duration."""
    assert cold_start.cold_start_ms(sides[number], emulator_path) > 0


@pytest.mark.parametrize("number", [1, 2])
def test_side_that_does_not_do_the_job_is_not_measured(number: int, sides: list[Side], emulator_path: Path) -> None:
    """A side that lacks a secret ends the benchmark, since it would be faster than it may be."""
    lacking = {"LAMBDA_TASKS_SECRET_VARIABLE_4", "SECRET_3"}
    function = sides[number].function
    environ = {name: value for name, value in function.environ.items() if name not in lacking}
    side = Side("one side", replace(function, environ=environ))

    with pytest.raises(cold_start.BenchmarkFailed, match="one side did not do the job"):
        cold_start.cold_start_ms(side, emulator_path)


def test_cost_is_a_ratio_of_what_is_added() -> None:
    """The addition of ours to a bare handler is divided by that of the usual way; medians count."""
    assert cold_start_report.cost(SAMPLES) == (150 - 100) / (300 - 100)


def test_lines_name_each_side() -> None:
    """Each side is shown with its median and its middle half."""
    lines = cold_start_report.lines(SAMPLES)

    assert [line.split(" ms")[0].split()[-1] for line in lines] == ["100", "150", "300"]
    assert lines[0].endswith("(90 to 110)")


def test_table_goes_between_the_marks() -> None:
    """The page's table is replaced, with ratio, machine and date, and nothing else is."""
    page = "before\n<!-- cold start: begin -->\nearlier\n<!-- cold start: end -->\nafter\n"
    renewed = cold_start_report.with_table(page, cold_start_report.table(SAMPLES, 0.25, 0.25))

    assert renewed.startswith("before\n<!-- cold start: begin -->\n| init phase |")
    assert renewed.endswith("<!-- cold start: end -->\nafter\n")
    assert "earlier" not in renewed
    assert "| (c) usual | 300 ms | 290 to 310 | +200 ms |" in renewed
    for said in ("0.25 of what (c) adds", "3 cold starts", cold_start_report.machine(), cold_start_report.today()):
        assert said in renewed


def test_page_without_marks_is_refused() -> None:
    """If there is no place for the table, nothing is overwritten."""
    with pytest.raises(ValueError, match="cold start: begin"):
        cold_start_report.with_table("no marks", "table")


def test_plot_is_the_same_for_the_same_samples(tmp_path: Path) -> None:
    """The plot holds no date and no random number, and names each side."""
    for name in ("1.svg", "2.svg"):
        cold_start_report.draw(SAMPLES, tmp_path / name)
    plot = (tmp_path / "1.svg").read_text()

    assert plot == (tmp_path / "2.svg").read_text()
    assert all(f">{text}<" in plot for text in (*SAMPLES, "100 ms", "150 ms", "300 ms"))


def test_page_has_marks_and_plot() -> None:
    """The page has a place for the table, and shows the plot, which exists."""
    page = cold_start_report.PAGE.read_text()

    assert cold_start_report.with_table(page, "") != page
    assert f"({cold_start_report.PLOT.name})" in page
    assert cold_start_report.PLOT.read_text().startswith("<?xml")
