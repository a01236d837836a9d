"""The demo of Django as a user runs it, one for all tests here: pages, function and admin."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import demo_django
from browser import Browser, browser
from demo_django import EXPECTED, Visitor
from waiting import wait_until

pytestmark = pytest.mark.usefixtures("uncovered")


@dataclass(frozen=True)
class Demo:
    """A demo that goes on: what it printed, its address, and the password of its admin."""

    printed: str
    url: str
    password: str


@pytest.fixture(scope="module")
def kept(uncovered: None) -> Iterator[Demo]:  # noqa: ARG001 - the programs run as themselves
    """Run `make demo-django KEEP=1`, until the last test is over."""
    program = str(demo_django.ROOT / "examples" / "demo_django.py")
    command = [sys.executable, program, "--keep"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if line.startswith("Ctrl-C"):
                break
        try:
            url, password = re.findall(r"Admin: (\S+)admin/ \(user admin, password (\S+)\)", printed)[0]
            yield Demo(printed, url, password)
        finally:
            process.terminate()
            assert process.wait(60) == 0


def test_every_message_ends_as_expected(kept: Demo) -> None:
    """It prints what became of each message, and where to look."""
    rows = re.findall(r"^(polls\.tasks\.\w+) +(\w+) +(\d) +[0-9.]+ ms", kept.printed, re.MULTILINE)
    assert {(task, outcome, int(attempt)) for task, outcome, attempt in rows} == EXPECTED.keys()
    assert f"All {len(rows)} messages ended as expected, 2 of them as dead letters" in kept.printed
    assert max(map(len, kept.printed.splitlines())) <= 100


def test_the_pages_show_what_the_tasks_wrote(kept: Demo) -> None:
    """The function's rows are those of the web server: votes, the summary, and the admin's list."""
    visitor = Visitor(kept.url)
    assert demo_django.SUMMARY in visitor.look()
    visitor.look("admin/login/")
    visitor.press("admin/login/", username="admin", password=kept.password, next="/admin/")
    assert "6 votes" in visitor.look("admin/polls/vote/")


def test_differing_outcomes_are_named() -> None:
    """What ended otherwise, or nowhere, is a problem, and so are dead letters and a page without a summary."""
    ends = [
        {"task": task, "outcome": outcome, "attempt": attempt}
        for (task, outcome, attempt), count in EXPECTED.items()
        for _ in range(count)
    ]
    assert demo_django.unexpected(ends, 2, demo_django.SUMMARY) == []
    ends[-1]["outcome"] = "failed"
    assert demo_django.unexpected(ends, 3, "") == [
        "0 of polls.tasks.summarise succeeded 1, expected 1",
        "1 of polls.tasks.summarise failed 1, expected 0",
        "3 dead letters, expected 2",
        "the page does not show the summary",
    ]


def test_the_admin_is_clicked_through(kept: Demo) -> None:
    """In a real browser: the list of records, a filter, what one says, and its message sent again."""
    with browser() as page:
        page.open(f"{kept.url}admin/")
        page.type("#id_username", "admin")
        page.type("#id_password", kept.password)
        page.click("[type=submit]")
        page.click(".model-taskrecord a")
        assert len(page.texts("#result_list tbody tr")) == sum(EXPECTED.values())

        page.follow("failed")
        assert page.texts("#result_list .field-state") == ["failed", "failed"]
        page.click("#result_list .field-task a")
        assert "polls.tasks.PollClosed: What goes with tea?" in page.text("#content")

        page.open(f"{kept.url}admin/lambda_tasks_django/taskrecord/?status=failed")
        page.click("#result_list tbody tr:first-child input.action-select")
        page.click("select[name=action] option[value=replay]")
        page.click(".actions button[type=submit]")
        assert page.text(".messagelist") == "1 of 1 messages sent."
        wait_until(lambda: len(records_of(page, kept, "failed")) == 3, seconds=120)


def records_of(page: Browser, kept: Demo, status: str) -> list[str]:
    page.open(f"{kept.url}admin/lambda_tasks_django/taskrecord/?status={status}")
    return page.texts("#result_list tbody tr")
