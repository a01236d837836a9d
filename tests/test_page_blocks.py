"""Each Python example of the documents is run, as a module of an application, beside what its reader has already."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import documents
from copies import ROOT

pytestmark = pytest.mark.usefixtures("uncovered")

# What an application has, for examples that show one part of it.
SHOP = "from shop.tasks import send_receipt\n"
OWN = {
    "docs/how-to/context.md": 'request_id = "1-abc"\n',
    "docs/how-to/fifo.md": SHOP,
    "docs/how-to/producers.md": SHOP + 'rows = [{"order_id": 1}, {"order_id": 2}]\n',
    "docs/how-to/schedules.md": SHOP,
}
# Run by tests that have what these need.
ELSEWHERE = {
    "docs/how-to/deploying.md": "the CDK, which this environment has not: tests/test_snippets.py reads it",
    "docs/how-to/django.md": "a project of Django's: tests/django_project runs tasks, backend and settings",
    "docs/how-to/records.md": "a table: tests/test_results.py and tests/test_recorded.py read records",
    "docs/migration/celery.md": "Celery's side of the page, and a broker",
    "docs/migration/django-lambda-tasks.md": "a project of Django's: tests/test_moving.py moves one",
}
PAGES = sorted(
    {str(block.page.relative_to(ROOT)) for block in documents.blocks("python")} - set(ELSEWHERE) - {"docs/tutorial.md"}
)
RUN = """\
import importlib, json, os, sys
from lambda_tasks.testing import TaskQueue

failed = []
for name in json.load(sys.stdin):
    child = os.fork()
    if child == 0:
        with TaskQueue():
            importlib.import_module(name)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
print(json.dumps(failed))
"""


def test_examples_run(tmp_path: Path) -> None:
    """What a reader copies from a page runs where the names are there that the page says are theirs."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "tasks.py").write_text(
        "from lambda_tasks import task\n\n@task\ndef send_receipt(*, order_id: int) -> str:\n    return str(order_id)\n"
    )
    names = []
    for page in PAGES:
        for number, block in enumerate(documents.blocks("python", page=page)):
            names.append(f"{Path(page).stem.replace('-', '_')}_{number}_example")
            (tmp_path / f"{names[-1]}.py").write_text(OWN.get(page, "") + block.text)

    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(names),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("page", sorted(ELSEWHERE))
def test_pages_with_reasons_have_examples(page: str) -> None:
    """A page is excused only while it has examples."""
    assert documents.blocks("python", page=page)
