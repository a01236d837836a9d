"""The plan of the house: no circle of imports, no room or module too large to be read, and documents that show it."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("uncovered")

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "python/lambda_tasks"
FOLDERS = [PACKAGE, "layer", "benchmarks", "examples", "tests"]
# The folders that modules are found below, as pyproject.toml gives them to mypy and pytest.
IMPORT_PATH = ["python", "tests", "examples", "."]
# These lie below every room, so that the picture does not name them.
FOUNDATION = {"requirements", "settings", "settings_dictionary", "errors", "setting_values", "value", "after_fork"}
MAX_MODULES_OF_A_ROOM = 15
MAX_LINES = 300


def files_of(folder: str) -> list[Path]:
    """Return the sources below `folder` of the project, without those that a build puts there."""
    built = [ROOT / "layer" / name for name in ("cache", "dist")]
    found = sorted((ROOT / folder).rglob("*.py"))
    return [file for file in found if not any(file.is_relative_to(one) for one in built)]


def name_of(file: Path) -> str:
    """Return the name by which the other modules import `file`."""
    for folder in IMPORT_PATH:
        if file.is_relative_to(ROOT / folder):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    raise AssertionError(f"{file} is outside of the import path")


def imports_of(source: str, package: str) -> Iterator[str]:
    """Yield the names that `source`, a module of `package`, imports anywhere: modules, or attributes of modules."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{origin}.{one.name}" for one in node.names)


def graph_of(sources: dict[str, tuple[str, str]]) -> dict[str, set[str]]:
    """Return the modules that each module imports; `sources` has package and source by the module's name."""
    graph: dict[str, set[str]] = {}
    for name, (package, source) in sources.items():
        found = (_module(one, sources) for one in imports_of(source, package))
        graph[name] = {one for one in found if one is not None and one != name}
    return graph


def _module(imported: str, sources: dict[str, tuple[str, str]]) -> str | None:
    """Return the module of the project that an import of `imported` needs: itself, or the one that has it."""
    if imported in sources:
        return imported
    owner = imported.rpartition(".")[0]
    return owner if owner in sources else None


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of one circle, in order, or nothing where there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def graph_below(folders: list[str]) -> dict[str, set[str]]:
    """Return the modules that each module below `folders` of the project imports."""
    sources = {}
    for file in (file for folder in folders for file in files_of(folder)):
        name = name_of(file)
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        sources[name] = package, file.read_text()
    # The package imports its public names from the rooms when they are asked for, and every room lies in it.
    del sources["lambda_tasks"]
    return graph_of(sources)


def test_no_module_imports_itself_in_a_circle() -> None:
    """Following the imports of a module, for types and within functions too, never leads back to it."""
    assert circle_in(graph_below(FOLDERS)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import room.first",
        "from room import first",
        "from room.first import name",
        "from . import first",
        "from .first import name",
        "if TYPE_CHECKING:\n    from room.first import name",
        "def late():\n    import room.first",
    ],
)
def test_a_circle_is_found(source: str) -> None:
    """However the second module imports the first one, the circle of both is found."""
    first = "from room.second import name"
    assert set(circle_in(graph_of({"room.first": ("room", first), "room.second": ("room", source)}))) == {
        "room.first",
        "room.second",
    }


def test_no_room_has_too_many_modules() -> None:
    """A folder of the package has at most fifteen modules beside its ``__init__``."""
    counts: dict[str, int] = {}
    for file in files_of(PACKAGE):
        if file.name != "__init__.py":
            room = str(file.parent.relative_to(ROOT))
            counts[room] = counts.get(room, 0) + 1
    assert {room: count for room, count in counts.items() if count > MAX_MODULES_OF_A_ROOM} == {}


def test_no_module_has_too_many_lines() -> None:
    """A module has at most three hundred lines; a test's may have more."""
    files = [file for folder in FOLDERS if folder != "tests" for file in files_of(folder)]
    lines = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in files}
    assert {file: count for file, count in lines.items() if count > MAX_LINES} == {}


def test_the_picture_shows_every_room_and_arrow() -> None:
    """CONTRIBUTING has each room of the package once, with the rooms that it imports."""
    _, picture = (ROOT / "CONTRIBUTING.md").read_text().split("## The house", 1)
    rows = re.findall(r"^(\w+)/? {2,}.*?(?:→(.*))?$", picture.split("```")[1], re.MULTILINE)
    rooms: dict[str, set[str]] = {}
    for module, imported in graph_below([PACKAGE]).items():
        room = module.split(".")[1]
        rooms.setdefault(room, set()).update(one.split(".")[1] for one in imported)
    arrows = {room: imported - {room} - FOUNDATION for room, imported in rooms.items()}
    assert {room: set(imported.split()) for room, imported in rows} == arrows | {room: set() for room in FOUNDATION}


def test_the_walks_name_what_is_there() -> None:
    """Each ``file:function`` of CONTRIBUTING is in the package."""
    named = re.findall(r"`([\w/]+\.py):([\w.]+)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(named) > 40
    assert [(file, name) for file, name in named if name not in _names_in(file)] == []


def _names_in(file: str) -> set[str]:
    """Return the names of the classes, functions and methods of a module of the package."""
    names = set()
    for node in ast.parse((ROOT / PACKAGE / file).read_text()).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
    return names
