"""The zip is written by hand, so every reader of zips has to agree; and its byte code does what the sources do."""

from __future__ import annotations

import inspect
import io
import marshal
import os
import shutil
import stat
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copies import ROOT
from layer.archive import File, write_tree, zipped
from layer.compile import compiled

pytestmark = pytest.mark.usefixtures("uncovered")

SOURCE = '''"""What the module is for."""
from __future__ import annotations
from dataclasses import dataclass, fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from somewhere import Anything
else:
    Anything = None

def only_documented() -> None:
    """Nothing else."""

def documented(value: int) -> int:
    """Return the next."""
    return value + 1

async def later() -> str:
    """Return a text that is no docstring."""
    "nor is this"
    if TYPE_CHECKING:
        import nothing
    return "text"

@dataclass
class Data:
    """Two values."""

    number: int
    text: str = "x"

class Documented:
    """A class."""

    def method(self) -> str:
        """Return its name."""
        def inner() -> int:
            "Return where it stands."
            return inner.__code__.co_firstlineno
        return f"{type(self).__doc__} {inner()}"
'''

names = st.lists(st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1, max_size=9), min_size=1, max_size=4).map(
    "/".join
)
files = st.dictionaries(names, st.builds(File, st.binary(max_size=300), st.sampled_from([0o644, 0o755])), max_size=8)


@given(files)
def test_zip_is_read_by_others(contents: dict[str, File]) -> None:
    """Python's own reader finds every file with its bytes, its permissions, and a checksum that is right."""
    with zipfile.ZipFile(io.BytesIO(zipped(contents))) as archive:
        entries = archive.infolist()
        read = {entry.filename: File(archive.read(entry), stat.S_IMODE(entry.external_attr >> 16)) for entry in entries}

        assert archive.testzip() is None
    assert read == contents
    assert [entry.filename for entry in entries] == sorted(contents)


@given(files)
def test_order_does_not_matter(contents: dict[str, File]) -> None:
    """The same files make the same bytes in whatever order they were found."""
    assert zipped(contents) == zipped(dict(reversed(contents.items())))


@pytest.mark.skipif(not shutil.which("unzip"), reason="unzip is not installed")
def test_zip_is_unpacked_by_unzip(layer_zip: Path) -> None:
    """Info-ZIP's reader, which is stricter, has no complaint about the layer."""
    process = subprocess.run([shutil.which("unzip") or "", "-tq", layer_zip], capture_output=True, text=True)

    assert process.returncode == 0, process.stdout
    assert "No errors detected" in process.stdout


def test_folder_takes_no_more_than_python(tmp_path: Path) -> None:
    """`sam build` may call the build with any Python: only a zip takes a package that has to be installed."""
    imports = "import sys; sys.path.insert(0, sys.argv[1]); import layer.build; print('deflate' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-I", "-S", "-c", imports, ROOT], cwd=tmp_path, capture_output=True, text=True
    )

    assert process.stdout == "False\n", process.stderr


def test_tree_has_its_permissions_whatever_the_umask(tmp_path: Path) -> None:
    """Files are written as executable, or not, as they are."""
    before = os.umask(0o077)
    try:
        write_tree({"bin/run": File(b"", 0o755), "a/b/c": File(b"1")}, tmp_path)
    finally:
        os.umask(before)

    assert (tmp_path / "bin/run").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == 0o644


def test_byte_code_leaves_out_what_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docstrings, annotations of functions, and what type checkers see are gone; all else is on the same lines."""
    code = compiled(SOURCE.encode(), "/opt/python/module.py")
    module = types.ModuleType("module")
    monkeypatch.setitem(sys.modules, "module", module)  # where a dataclass looks up its annotations
    exec(marshal.loads(code), module.__dict__)  # noqa: S102, S302

    functions = [module.only_documented, module.documented, module.later, module.Documented.method]
    assert [one.__doc__ for one in (module, module.Documented, *functions)] == [None] * 6
    assert all(one.__annotations__ == {} for one in functions)
    assert b"somewhere" not in code
    assert b"nothing" not in code
    assert module.Anything is None
    assert module.Data.__doc__ == "Data"  # or each import would make one of its signature
    assert [(field.name, field.type) for field in module.fields(module.Data)] == [("number", "int"), ("text", "str")]
    assert module.Data(1) == module.Data(1, text="x")
    assert module.only_documented() is None
    assert module.documented(1) == 2
    assert inspect.iscoroutinefunction(module.later)
    assert module.Documented().method() == f"None {SOURCE[: SOURCE.index('def inner')].count(chr(10)) + 1}"
    assert module.documented.__code__.co_filename == "/opt/python/module.py"


def test_byte_code_depends_on_nothing_but_the_source() -> None:
    """Compiled after other modules, a module has the same byte code."""
    first = compiled(SOURCE.encode(), "/opt/a.py")
    compiled(SOURCE.replace("Documented", "Other").encode(), "/opt/b.py")

    assert compiled(SOURCE.encode(), "/opt/a.py") == first
