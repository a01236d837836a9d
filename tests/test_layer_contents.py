"""The contents of the layer: every file that a cold start needs, for every Python and processor, and none beside."""

import json
import os
import re
import stat
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from conftest import INTERPRETERS
from copies import ROOT
from layer import build, sbom, trial, wheels
from layer.comments import without_comments
from layer.interpreters import VERSIONS

pytestmark = pytest.mark.usefixtures("uncovered")

# Imports every module of an unpacked layer; prints which of its sources were compiled, or ours and read, and what was
# imported.
IMPORT_ALL = """
import importlib, json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
touched = []
def audit(event, arguments):
    if event in ("open", "compile"):
        name = arguments[0] if event == "open" else arguments[1]
        watched = folder if event == "compile" else folder / "lambda_tasks"
        if isinstance(name, str) and name.startswith(str(watched)) and name.endswith(".py"):
            touched.append(event + " " + name)
sys.addaudithook(audit)
sys.path.insert(0, str(folder))
names = [".".join(path.relative_to(folder).with_suffix("").parts) for path in sorted(folder.rglob("*.py"))]
names = [name.removesuffix(".__init__") for name in names]
# Those that are compiled late, some of them for functions that bring Django.
late = tuple(json.loads(sys.argv[2]))
names = [name for name in names if not name.startswith(late)]
for name in names:
    importlib.import_module(name)
cached = [sys.modules[name].__cached__ for name in names]
print(json.dumps({"touched": touched, "cached": cached}))
"""

# Compiles sources as the build does, compares the line of each instruction, and prints how long the tables are.
COMPARE_LINES = """
import json, pathlib, sys, types
sys.path.insert(0, sys.argv[1])
import compile as compiler
def lines(code):
    return [line for start, end, line in code.co_lines() for _ in range(start, end, 2)]
def compare(before, after):
    assert lines(before) == lines(after)
    if sys.version_info >= (3, 11):
        assert list(before.co_positions()) == list(after.co_positions())
    sizes.append((len(before.co_linetable), len(after.co_linetable)))
    for pair in zip(before.co_consts, after.co_consts):
        if isinstance(pair[0], types.CodeType):
            compare(*pair)
sizes = []
for path in pathlib.Path(sys.argv[2]).rglob("*.py"):
    code = compile(path.read_bytes(), str(path), "exec")
    compare(code, compiler.with_short_line_tables(code))
print(json.dumps([sum(column) for column in zip(*sizes)]))
"""

ADMIN = ("admin", "listing", "shown")


def names_in(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as layer:
        return layer.namelist()


def byte_code_tags(names: Iterable[str]) -> set[str]:
    return {name.split(".")[-2] for name in names if name.endswith(".pyc")}


def tags(versions: Iterable[str]) -> set[str]:
    return {f"cpython-{version.replace('.', '')}" for version in versions}


def test_entries_are_sorted_and_without_times(layer_zip: Path) -> None:
    """Entries come in the order of their names, each with the earliest time that a zip knows."""
    with zipfile.ZipFile(layer_zip) as layer:
        entries = layer.infolist()

    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}


def test_only_the_wrapper_is_executable(layer_zip: Path) -> None:
    """Every user may read every file, and run the exec wrapper alone."""
    with zipfile.ZipFile(layer_zip) as layer:
        modes = {entry.filename: entry.external_attr >> 16 for entry in layer.infolist()}

    assert modes.pop("bin/lambda-tasks-exec") == stat.S_IFREG | 0o755
    assert set(modes.values()) == {stat.S_IFREG | 0o644}


def test_compiled_modules_lie_side_by_side(layer_zip: Path) -> None:
    """msgspec's compiled module is there for each Python on each processor, and for nothing else."""
    expected = {
        f"python/msgspec/_core.cpython-{version.replace('.', '')}-{machine}-linux-gnu.so"
        for version in VERSIONS
        for machine in ("x86_64", "aarch64")
    }

    assert {name for name in names_in(layer_zip) if name.endswith(".so")} == expected


def test_sources_are_those_of_the_package(layer_zip: Path) -> None:
    """The package is complete but for what is of use on a developer's machine only."""
    package = ROOT / "python" / "lambda_tasks"
    sources = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    folders = (
        "local/",
        "command_line/",
        "containers/",
        "definition/schedules/",
        "django/management/",
        "enqueue/again/",
    )
    modules = {"aws/boto3_calls.py", "environment/check.py", "enqueue/sqs_rules.py", "django/store/deletion.py"}
    modules |= {f"django/{name}.py" for name in ADMIN}
    modules |= {"__main__.py", "pytest_plugin.py", "testing.py"}
    left_out = {name for name in sources if name.startswith(folders) or name in modules}
    prefix = "python/lambda_tasks/"
    packed = {name.removeprefix(prefix) for name in names_in(layer_zip) if name.startswith(prefix)}

    assert {name for name in packed if name.endswith(".py")} == sources - left_out
    assert {name for name in packed if not name.endswith((".py", ".pyc"))} == {
        "LICENSE",
        "aws/amazon_roots.pem",
        "py.typed",
        "sbom.cdx.json",
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_every_instruction_is_on_its_line(version: str) -> None:
    """The shorter tables of the byte code tell the same line of each instruction as the compiler's own."""
    interpreter = INTERPRETERS[version]
    if interpreter is None:
        pytest.skip(f"Python {version} is not installed")
    options = ["-s", "-S", "-X", "no_debug_ranges"]
    process = subprocess.run(
        [interpreter, *options, "-c", COMPARE_LINES, ROOT / "layer", ROOT / "python"], capture_output=True, text=True
    )

    assert process.returncode == 0, process.stderr
    before, after = json.loads(process.stdout)
    assert after < before or (version == "3.10" and after == before)


def test_sources_are_whole_but_for_what_nobody_runs(layer_folder: Path) -> None:
    """Each source has the lines of the package's without comments; the first one says where to read them whole."""
    for path in (layer_folder / "python" / "lambda_tasks").rglob("*.py"):
        source = (ROOT / path.relative_to(layer_folder)).read_bytes()
        lines = path.read_bytes().splitlines()
        if path.name == "__init__.py" and path.parent.name == "lambda_tasks":
            assert lines[0] == f"# Comments are left out here; lines are those of {sbom.source(ROOT)}".encode()
            lines[0] = b""

        assert lines == without_comments(source).splitlines()


def test_compiled_modules_are_those_of_the_wheels(layer_folder: Path) -> None:
    """Each compiled module is that of its wheel, less the symbols and sections at the end, which nothing loads."""
    modules: dict[str, bytes] = {}
    for wheel in wheels.fetch(ROOT / "layer" / "requirements.txt", ROOT / "layer" / "cache"):
        with zipfile.ZipFile(wheel) as archive:
            modules |= {name: archive.read(name) for name in archive.namelist() if name.endswith(".so")}

    for name, data in modules.items():
        shipped = (layer_folder / "python" / name).read_bytes()
        assert len(shipped) < len(data)
        assert shipped[64:] == data[64 : len(shipped)]  # behind the ELF header


def test_layer_shadows_nothing(layer_zip: Path) -> None:
    """Only our own package and msgspec appear on the import path; the layer's root holds `bin` and `python` alone."""
    names = names_in(layer_zip)
    metadata = {name.split("/")[1] for name in names if ".dist-info/" in name}

    assert {name.split("/")[0] for name in names} == {"bin", "python"}
    assert {name.split("/")[1] for name in names if name.startswith("python/")} - metadata == {
        "lambda_tasks",
        "msgspec",
    }
    assert [name.split("-")[0] for name in metadata] == ["msgspec"]


def test_licences_are_inside(layer_zip: Path) -> None:
    """The licence of each thing that is bundled comes with it."""
    licences = [name for name in names_in(layer_zip) if name.endswith("/LICENSE")]

    assert len(licences) == 2
    assert licences[0] == "python/lambda_tasks/LICENSE"
    assert licences[1].startswith("python/msgspec-")


def test_byte_code_is_for_the_interpreters_found(layer_zip: Path) -> None:
    """Sources have byte code for every interpreter of this machine; what others may bring too is checked (PEP 552)."""
    with zipfile.ZipFile(layer_zip) as layer:
        compiled = [name for name in layer.namelist() if name.endswith(".pyc")]
        sources = [name for name in layer.namelist() if build.has_byte_code(name)]
        flags = {(name.split("/")[1], int.from_bytes(layer.read(name)[4:8], "little")) for name in compiled}

    assert byte_code_tags(compiled) == tags(version for version, path in INTERPRETERS.items() if path)
    assert len(compiled) == len(sources) * len(byte_code_tags(compiled))
    assert flags == {("lambda_tasks", 0b01), ("msgspec", 0b11)}


def test_what_is_compiled_late_is_said_once() -> None:
    """The program that stands alone knows the same sources without byte code as the build, and there are such."""
    assert trial.COMPILED_LATE == build.COMPILED_LATE
    assert all((ROOT / "python" / "lambda_tasks" / path).exists() for path in build.COMPILED_LATE)


@pytest.mark.parametrize("version", VERSIONS)
def test_import_compiles_nothing(version: str, layer_folder: Path) -> None:
    """A cold start imports every module from its byte code: no source is compiled, none of ours read, no file written."""
    interpreter = INTERPRETERS[version]
    if interpreter is None:
        pytest.skip(f"Python {version} is not installed")
    late = ["lambda_tasks." + path.removesuffix(".py").strip("/").replace("/", ".") for path in build.COMPILED_LATE]
    before = sorted(layer_folder.rglob("*"))
    process = subprocess.run(
        [interpreter, "-S", "-s", "-c", IMPORT_ALL, layer_folder / "python", json.dumps(late)],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )

    assert process.returncode == 0, process.stderr
    answer = json.loads(process.stdout)
    assert answer["touched"] == []
    assert byte_code_tags(answer["cached"]) == tags([version])
    assert sorted(layer_folder.rglob("*")) == before


@pytest.mark.parametrize("version", VERSIONS)
def test_tracebacks_name_the_place_on_lambda(version: str, layer_folder: Path) -> None:
    """The file name in byte code is that below /opt, wherever it was compiled."""
    interpreter = INTERPRETERS[version]
    if interpreter is None:
        pytest.skip(f"Python {version} is not installed")
    (tag,) = tags([version])
    compiled = layer_folder / "python" / "lambda_tasks" / "__pycache__" / f"errors.{tag}.pyc"
    show = "import marshal, sys; print(marshal.loads(open(sys.argv[1], 'rb').read()[16:]).co_filename)"
    shown = subprocess.run([interpreter, "-I", "-c", show, compiled], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "/opt/python/lambda_tasks/errors.py"


def test_limit_leaves_room_for_a_release(layer_zip: Path) -> None:
    """With the byte code of every Python that a release has, those absent here counted in, a twentieth is to spare."""
    with zipfile.ZipFile(layer_zip) as layer:
        compiled = [entry for entry in layer.infolist() if entry.filename.endswith(".pyc")]
    sizes = Counter[str]()
    for entry in compiled:
        # An entry takes more than its data: two headers, each with its name.
        sizes[entry.filename.split(".")[-2]] += entry.compress_size + 76 + 2 * len(entry.filename)
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    (versions,) = re.findall(r"LAMBDA_TASKS_PYC=([0-9.,]+)", workflow)
    released = ["cpython-" + version.replace(".", "") for version in versions.split(",")]
    largest = max(sizes.values())
    byte_code = sum(sizes.get(tag, largest) for tag in released)

    assert layer_zip.stat().st_size - sum(sizes.values()) + byte_code <= 0.95 * build.MAX_ZIPPED_BYTES
