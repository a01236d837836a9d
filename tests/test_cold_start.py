"""The cold start's benchmark: that its sides do the job, and that its figures are computed and shown as they should be."""

from __future__ import annotations

import http.client
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import cold_start, cold_start_report, secret_server

SAMPLES = {"(a) bare": [100.0, 110.0, 90.0], "(b) ours": [140.0, 150.0, 150.0], "(c) usual": [300.0, 310.0, 290.0]}


@pytest.mark.parametrize("name", ["(a) bare handler", "(b) lambda-tasks"])
def test_side_does_the_job(name: str, layer_zip: Path, emulator_path: Path) -> None:
    """A side answers that its message is done, and its init phase has a duration."""
    with (
        secret_server.running(cold_start.secrets(), answer_seconds=0.0) as url,
        cold_start.sides(layer_zip, url, packages=()) as sides,
    ):
        (side,) = [side for side in sides if side.name == name]
        assert cold_start.cold_start_ms(side, emulator_path) > 0


def test_side_that_does_not_do_the_job_is_not_measured(layer_zip: Path, emulator_path: Path) -> None:
    """A side whose secrets are not there ends the benchmark, since it would be faster than it may be."""
    with (
        secret_server.running({**cold_start.secrets(), f"{cold_start.PREFIX}signing": ""}, answer_seconds=0.0) as url,
        cold_start.sides(layer_zip, url, packages=()) as sides,
        pytest.raises(cold_start.BenchmarkFailed, match=r"\(b\) lambda-tasks did not do the job"),
    ):
        cold_start.cold_start_ms(sides[1], emulator_path)


@pytest.mark.skipif(not find_spec("aws_lambda_powertools"), reason="it is in the benchmarks' own environment")
def test_usual_side_does_the_job(layer_zip: Path, emulator_path: Path) -> None:
    """The usual way does the same job."""
    with (
        secret_server.running(cold_start.secrets(), answer_seconds=0.0) as url,
        cold_start.sides(layer_zip, url) as sides,
    ):
        assert cold_start.cold_start_ms(sides[2], emulator_path) > 0


def test_secret_server_takes_several_requests_a_connection() -> None:
    """A client may ask twice on one connection, as botocore does."""
    with secret_server.running({"arn": "value"}, answer_seconds=0.0) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"))
        for _ in range(2):
            connection.request("POST", "/", json.dumps({"SecretId": "arn"}))
            assert json.loads(connection.getresponse().read())["SecretString"] == "value"
        connection.close()


def test_cost_is_a_ratio_of_what_is_added() -> None:
    """What ours adds to a bare handler is divided by what the usual way adds; medians count."""
    assert cold_start_report.cost(SAMPLES) == (150 - 100) / (300 - 100)


def test_lines_name_each_side() -> None:
    """Each side is shown with its median and its middle half."""
    lines = cold_start_report.lines(SAMPLES)

    assert [line.split(" ms")[0].split()[-1] for line in lines] == ["100", "150", "300"]
    assert lines[0].endswith("(90 to 110)")


def test_table_goes_between_the_marks() -> None:
    """The README's table is replaced, with ratio, machine and date, and nothing else is."""
    readme = "before\n<!-- cold start: begin -->\nearlier\n<!-- cold start: end -->\nafter\n"
    renewed = cold_start_report.with_table(readme, cold_start_report.table(SAMPLES, 0.25, 0.25))

    assert renewed.startswith("before\n<!-- cold start: begin -->\n| init phase |")
    assert renewed.endswith("<!-- cold start: end -->\nafter\n")
    assert "earlier" not in renewed
    assert "| (c) usual | 300 ms | 290 to 310 | +200 ms |" in renewed
    for said in ("0.25 of what (c) adds", "3 cold starts", cold_start_report.machine(), cold_start_report.today()):
        assert said in renewed


def test_readme_without_marks_is_refused() -> None:
    """Where there is no place for the table, nothing is overwritten."""
    with pytest.raises(ValueError, match="cold start: begin"):
        cold_start_report.with_table("no marks", "table")


def test_readme_has_marks_and_plot() -> None:
    """The README has a place for the table, and shows the plot, which exists."""
    readme = cold_start_report.README.read_text()

    assert cold_start_report.with_table(readme, "") != readme
    assert f"({cold_start_report.PLOT.relative_to(cold_start_report.ROOT)})" in readme
    assert cold_start_report.PLOT.read_text().startswith("<?xml")
