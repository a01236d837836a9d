"""Build the layer: one zip for every Python and processor that Lambda offers, the same bytes from the same commit.

`python -m layer.build` writes `layer/dist/lambda-tasks-layer.zip` and prints what it is; `--into DIR` writes the same
files below a folder instead, which is what `sam build` asks for. Reproducible means: for the same interpreters, since
each of those found adds the byte code it will load. The build prints them; `LAMBDA_TASKS_PYC=3.12,3.13` narrows them.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from layer import elf, sbom, trust, wheels
from layer.archive import File, Files, write_tree, zipped
from layer.comments import without_comments
from layer.interpreters import VERSIONS, installed, release

ROOT = Path(__file__).resolve().parent.parent
ZIP = ROOT / "layer" / "dist" / "lambda-tasks-layer.zip"

# Of use outside of functions only; paths below python/lambda_tasks. Schedules are checked before a deployment.
LEFT_OUT = frozenset(
    {
        "__main__.py",
        "aws/boto3_calls.py",
        "command_line",
        "containers",
        "definition/schedules",
        "django/admin.py",
        "django/listing.py",
        "django/management",
        "django/shown.py",
        "django/store/deletion.py",
        "enqueue/again",
        "enqueue/sqs_rules.py",
        "environment/check.py",
        "local",
        "pytest_plugin.py",
        "testing.py",
    }
)

# Without byte code, which each Python has another of: few functions import these, and those that have Django
# start long enough for the 11 ms that its modules take at most.
COMPILED_LATE = ("django/", "enqueue/jobs/", "workflow/")

MAX_ZIPPED_BYTES = 4 * 1024 * 1024  # of which a release has a twentieth to spare
MAX_UNPACKED_BYTES = 12 * 1024 * 1024

_COMPILER = Path(__file__).with_name("compile.py")


class BuildError(Exception):
    """Raised when the layer would not be what it promises to be."""


def main(arguments: list[str], environ: Mapping[str, str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m layer.build", description="Build the Lambda layer.")
    parser.add_argument("--into", type=Path, metavar="DIR", help="write the files below DIR instead of the zip")
    into = parser.parse_args(arguments).into

    interpreters = compilers(environ)
    modules = sources(ROOT)
    files = {**modules, **byte_code(modules, interpreters)}
    if into:
        write_tree(files, into)
    else:
        archive = zipped(files)
        check_size(archive, files)
        write_whole(archive, ZIP)
        print(summary(archive, files, interpreters))


def compilers(environ: Mapping[str, str]) -> dict[str, Path]:
    """Choose the interpreters that add their byte code: all that are found, or those that `LAMBDA_TASKS_PYC` names.

    Raises:
        BuildError: one of those named is not to be found.
    """
    found = {version: path for version, path in installed(environ).items() if path}
    wanted = [version.strip() for version in environ.get("LAMBDA_TASKS_PYC", "").split(",") if version.strip()]
    if absent := [version for version in wanted if version not in found]:
        raise BuildError(f"LAMBDA_TASKS_PYC names Python {', '.join(absent)}; found here: {', '.join(found) or 'none'}")
    return {version: found[version] for version in wanted or found}


def sources(root: Path) -> Files:
    """Collect all that does not depend on the interpreters of this machine: everything but byte code."""
    folder = root / "layer"
    paths = wheels.fetch(folder / "requirements.txt", folder / "cache")
    certifi = wheels.fetch_pure(folder / "requirements-build.txt", folder / "cache")
    files = {**own_files(root), **bundled_files(paths)}
    files["python/lambda_tasks/aws/amazon_roots.pem"] = File(trust.amazon_roots(certifi))
    contents = {name: file.data for name, file in files.items()}
    bill = sbom.document(sbom.version(root), sbom.packages(paths), contents, sbom.packages([certifi]))
    return {**files, sbom.NAME: File(bill)}


def own_files(root: Path, left_out: frozenset[str] = LEFT_OUT) -> Files:
    """Collect the package, without what is left out, the exec wrapper and the licence.

    The package's first line says what is missing in its sources, and where to read them whole.

    Raises:
        BuildError: a source is no Python.
    """
    package = root / "python" / "lambda_tasks"
    files: dict[str, File] = {"python/lambda_tasks/LICENSE": File((root / "LICENSE").read_bytes())}
    for path in [*package.rglob("*.py"), package / "py.typed"]:
        inside = path.relative_to(package)
        if left_out.isdisjoint(map(str, (inside, *inside.parents))):
            files[path.relative_to(root).as_posix()] = File(_shipped(path))
    face = "python/lambda_tasks/__init__.py"
    files[face] = File(
        f"# Comments are left out here; lines are those of {sbom.source(root)}".encode() + files[face].data
    )
    for path in (root / "bin").iterdir():
        files[f"bin/{path.name}"] = File(path.read_bytes(), mode=0o755)
    return files


def _shipped(path: Path) -> bytes:
    data = path.read_bytes()
    try:
        return without_comments(data) if path.suffix == ".py" else data
    except SyntaxError as error:
        raise BuildError(f"this Python cannot compile the layer: {path}: {type(error).__name__}: {error}") from error


def bundled_files(paths: list[Path]) -> Files:
    """Lay the wheels side by side: their Python files are the same, their compiled modules differ in name.

    Of the metadata, what scanners and people read stays: name, version and licences. `RECORD` and `WHEEL` describe one
    wheel, and type stubs serve no runtime. Nor do the symbol tables at the end of compiled modules.

    Raises:
        BuildError: two wheels hold different files of one name.
    """
    files: dict[str, File] = {}
    for path in paths:
        with zipfile.ZipFile(path) as wheel:
            for name in wheel.namelist():
                if not _is_bundled(PurePosixPath(name)) or name.endswith("/"):
                    continue
                data = wheel.read(name)
                file = File(elf.loaded_part(data) if name.endswith(".so") else data)
                if files.setdefault(f"python/{name}", file) != file:
                    raise BuildError(f"{name} in {path.name} differs from that of another wheel: they cannot be merged")
    return files


def _is_bundled(name: PurePosixPath) -> bool:
    if name.parts[0].endswith(".dist-info"):
        return name.name == "METADATA" or "licenses" in name.parts
    return name.suffix != ".pyi"


def has_byte_code(name: str) -> bool:
    """Tell whether a file of the layer is a source that has byte code beside it."""
    late = tuple(f"python/lambda_tasks/{path}" for path in COMPILED_LATE)
    return name.endswith(".py") and not name.startswith(late)


def byte_code(files: Files, interpreters: Mapping[str, Path]) -> Files:
    """Compile Python files with every interpreter, since /opt is read-only and so never gains a cache."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        stages = {version: Path(folder, version) for version in interpreters}
        modules = {name: file for name, file in files.items() if has_byte_code(name)}
        for stage in stages.values():
            write_tree(modules, stage)
        list(pool.map(lambda version: _compile(stages[version], interpreters[version]), interpreters))
        return {
            path.relative_to(stage).as_posix().replace(".opt-2.", "."): File(path.read_bytes())
            for stage in stages.values()
            for path in stage.rglob("*.pyc")
        }


def _compile(stage: Path, interpreter: Path) -> None:
    # A fixed hash seed, no site packages and no settings of the caller: byte code depends on all of them. Without the
    # columns of each instruction, which are only for the carets in tracebacks, it is a fifth smaller.
    process = subprocess.run(
        [str(interpreter), "-s", "-S", "-X", "no_debug_ranges", str(_COMPILER), str(stage), "/opt"],
        cwd=stage,
        env={"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
    )
    if process.returncode != 0:
        raise BuildError(f"{interpreter} cannot compile the layer:\n{process.stdout}{process.stderr}")


def check_size(archive: bytes, files: Files) -> None:
    """Keep the layer small: unpacked, it counts towards the 250 MB that a function and its layers may take.

    Raises:
        BuildError: the archive or its contents are larger than promised.
    """
    for what, size_bytes, limit_bytes in (
        ("the zip", len(archive), MAX_ZIPPED_BYTES),
        ("the unpacked layer", _size_bytes(files), MAX_UNPACKED_BYTES),
    ):
        if size_bytes > limit_bytes:
            raise BuildError(f"{what} takes {size_bytes:,} bytes, of which {limit_bytes:,} are allowed")


def write_whole(data: bytes, path: Path) -> None:
    """Write a file so that a build that is stopped leaves the old one, not half of the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_bytes(data)
    unfinished.replace(path)


def summary(archive: bytes, files: Files, interpreters: Mapping[str, Path]) -> str:
    """Describe the archive for people: its size and hash, the interpreters it depends on, what is inside."""
    absent = [version for version in VERSIONS if version not in interpreters]
    folders = Counter("/".join(PurePosixPath(name).parts[:-1][:2]) for name in files)
    lines = [
        f"{ZIP.relative_to(ROOT)}",
        f"  size       {len(archive):,} bytes, {_size_bytes(files):,} unpacked",
        f"  sha256     {hashlib.sha256(archive).hexdigest()}",
        f"  runs on    Python {', '.join(VERSIONS)}; {', '.join(wheels.MACHINES)}",
        f"  byte code  {', '.join(release(path) for path in interpreters.values()) or 'none'}"
        + (f" (without: {', '.join(absent)})" if absent else ""),
        "  files      " + ", ".join(f"{folder} {count}" for folder, count in sorted(folders.items())),
    ]
    return "\n".join(lines)


def _size_bytes(files: Files) -> int:
    return sum(len(file.data) for file in files.values())


if __name__ == "__main__":
    try:
        main(sys.argv[1:], os.environ)
    except (BuildError, trust.TrustError, wheels.WheelError) as error:
        sys.exit(f"layer: {error}")
