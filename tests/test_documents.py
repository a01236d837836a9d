"""The site's parts that `make docs` does not check by itself, and what has to hold without building it."""

from __future__ import annotations

import ast
import importlib.util
import re
from types import ModuleType
from typing import Any

import pytest
import yaml

import documents
import lambda_tasks
from copies import ROOT
from lambda_tasks.command_line.app import lambda_tasks as command_line
from lambda_tasks.definition.options import OptionValues
from lambda_tasks.enqueue.message_options import MessageOptionValues
from lambda_tasks.settings import Settings

DOCS = ROOT / "docs"
PACKAGE = ROOT / "python" / "lambda_tasks"
# In the event loop a limit is a cancellation too, which everyone sees by the name of the limit.
LIMITS_OF_LOOPS = {"SoftCancellation", "HardCancellation"}


class Reader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML with the tags of MkDocs, which are read as nothing."""


Reader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    specification = importlib.util.spec_from_file_location("reference", DOCS / "site" / "reference.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def pages_of(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for one in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(one)]


def test_every_page_has_its_place() -> None:
    """The site's navigation has each page once, and each page exists, in docs/ or as a document beside it."""
    site = yaml.load((ROOT / "mkdocs.yml").read_text(), Reader)  # noqa: S506 - it is a safe loader
    hooks = (DOCS / "site" / "hooks.py").read_text()
    elsewhere = dict(re.findall(r'^    "(\w+\.md)": "([\w/]+\.md)",$', hooks, re.MULTILINE))
    own = [str(path.relative_to(DOCS)) for path in DOCS.glob("**/*.md")]

    assert sorted(pages_of(site["nav"])) == sorted([*own, *elsewhere.values()])
    assert all((ROOT / name).is_file() for name in elsewhere)


def test_readme_leads_to_every_page() -> None:
    """Whoever reads the repository finds each page from the README."""
    text = (ROOT / "README.md").read_text()

    assert [
        path for path in documents.PAGES if path != ROOT / "README.md" and str(path.relative_to(ROOT)) not in text
    ] == []


def test_every_mark_has_a_part(reference: ModuleType) -> None:
    """Each part of the reference is on one page, and each mark on a page is of a part."""
    marks = [mark for page in DOCS.glob("**/*.md") for mark in reference.MARK.findall(page.read_text())]

    assert sorted(marks) == sorted(reference.PARTS)


def test_every_setting_is_described(reference: ModuleType) -> None:
    """The reference has each setting with its variable and its default, and a text."""
    table = reference.settings()
    variables = reference.variables_of_fields(ast.parse((PACKAGE / "settings.py").read_text()))

    assert variables.keys() | {"queue_urls"} == set(Settings.__annotations__)
    for variable in (*variables.values(), "LAMBDA_TASKS_QUEUE_URL", "LAMBDA_TASKS_SECRET_<NAME>"):
        assert re.search(rf"^\| `{variable}` \| (none|`[^`]+`) \| \S.{{20,}} \|$", table, re.MULTILINE), variable
    assert "| `LAMBDA_TASKS_RESOLVE_TIMEOUT_SECONDS` | `8` |" in table
    assert "| `LAMBDA_TASKS_RECORD_TTL_SECONDS` | `1209600` |" in table


@pytest.mark.parametrize(
    ("part", "options"), [("task options", OptionValues), ("message options", MessageOptionValues)]
)
def test_every_option_is_described(reference: ModuleType, part: str, options: Any) -> None:
    """The reference has each option of a task and of a message, with a text."""
    rows = re.findall(r"^\| `(\w+)` \|", reference.PARTS[part](), re.MULTILINE)

    assert sorted(rows) == sorted({*options.__required_keys__, *options.__optional_keys__})


def test_every_command_is_described(reference: ModuleType) -> None:
    """The reference has a section for each command, with its own text and options, and no line break's sign."""
    text = reference.command_line()

    for name in command_line.list_commands(None):  # type: ignore[arg-type]
        assert f"\n## lambda-tasks {name}\n" in f"\n{text}"
    assert "```text\nbash: lambda-tasks completion bash >" in text
    assert "| `--once` | End when the queues are empty" in text
    assert "\\b" not in text
    assert "\b" not in text


def test_every_public_name_is_described() -> None:
    """The page of the package's own texts has each name that `lambda_tasks` gives."""
    described = set(re.findall(r"^::: (\S+)$", (DOCS / "reference" / "api.md").read_text(), re.MULTILINE))
    missing = {
        name
        for name, module in lambda_tasks._MODULES.items()
        if not described & {module, f"{module}.{name}", f"{module}.{name.capitalize()}"}
    }

    assert missing == set()
    assert set(lambda_tasks.__all__) == lambda_tasks._MODULES.keys()


def errors_of_the_package() -> set[str]:
    """Return the names of all classes of errors, whichever module has them."""
    bases: dict[str, set[str]] = {}
    for path in PACKAGE.glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {ast.unparse(one).rpartition(".")[2] for one in node.bases}
    found = {"Exception", "BaseException", "ValueError"}
    while more := {name for name, of in bases.items() if of & found} - found:
        found |= more
    return {name for name in found & bases.keys() - LIMITS_OF_LOOPS if not name.startswith("_")}


def test_every_error_has_a_cause_and_a_remedy() -> None:
    """The page of errors has an entry for each error of the package, and for nothing else: see docs/troubleshooting.md."""
    text = (DOCS / "troubleshooting.md").read_text()
    entries = re.findall(r"^### (\w+)\n\n- Cause: .+\n(?:  .+\n)*- Remedy: .+\n", text, re.MULTILINE)

    assert sorted(entries) == sorted(errors_of_the_package())
    assert len(re.findall(r"^### ", text, re.MULTILINE)) == len(entries)


@pytest.mark.parametrize("name", ["README.md", "docs/comparison.md"])
def test_figures_are_those_that_were_measured(name: str) -> None:
    """A figure of time that a page repeats stands on a page of figures too, with how it was measured."""
    pages = ("explanation/cold-starts.md", "how-to/containers.md", "how-to/producers.md")
    measured = "".join((DOCS / page).read_text() for page in pages)
    figures = re.findall(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?= (?:ms|µs))", documents.prose(ROOT / name))

    assert figures
    assert [
        figure for figure in figures if not re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.]*\d)", measured)
    ] == []
