"""Mutants: small faults put into the package one at a time, each of which a test has to notice.

Cosmic Ray makes them: comparisons turned, conditions negated, ``and`` for ``or``, loops that end at once; and calls
dropped, by an operator of this file. What stands for type checkers alone is left out, and so are log lines.

The tests of `tests/mutants.yaml` run once under coverage. A mutant then meets those that ran its line, the quick ones
first; all of them where its line ran before any test did.

``make mutants`` runs this in an environment of its own. These variables narrow it:

- ``MUTANTS_MODULES``: rooms or modules, such as ``messages state/record``; without it the rooms of `tests/mutants.yaml`;
- ``MUTANTS_SAMPLE``: how many mutants at most, chosen by ``MUTANTS_SEED``; without it all of them;
- ``MUTANTS_JOBS``: how many at a time, each in a copy of the project of its own.

It fails where fewer than nine of ten mutants are noticed, apart from those that `tests/mutants.yaml` lists as equivalent
with the reason; and where one of those was noticed after all.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import json
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import cosmic_ray.plugins
import yaml
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import use_mutation
from cosmic_ray.operators.operator import Operator
from parso.python.tree import Keyword, Name

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("python") / "lambda_tasks"
COPIES = ROOT / "build" / "mutants"
WHEELS = ROOT / "layer" / "cache"
PYTHON = str(ROOT / ".venv" / "bin" / "python")
WANTED_PART = 0.9
MOST_SECONDS = 60.0
_CLOCK = re.compile(r"\bnow\b|_at\b|monotonic\(\)")
COVERAGE = """\
[run]
parallel = true
source_pkgs = lambda_tasks
dynamic_context = test_function
patch = subprocess
disable_warnings = module-not-imported, no-data-collected
"""

_COMPARISONS = (
    *(("Lt", "LtE"), ("Lt", "GtE"), ("LtE", "Lt"), ("LtE", "Gt"), ("Gt", "GtE"), ("Gt", "LtE"), ("GtE", "Gt")),
    *(
        ("GtE", "Lt"),
        ("Eq", "NotEq"),
        ("NotEq", "Eq"),
        ("Is", "IsNot"),
        ("IsNot", "Is"),
    ),
)
_ARITHMETIC = (("Add", "Sub"), ("Sub", "Add"), ("Mul", "Div"), ("Div", "Mul"))
OPERATORS = (
    *(f"core/ReplaceComparisonOperator_{before}_{after}" for before, after in _COMPARISONS),
    *(f"core/ReplaceBinaryOperator_{before}_{after}" for before, after in _ARITHMETIC),
    *(f"core/{name}" for name in ("AddNot", "ReplaceAndWithOr", "ReplaceOrWithAnd", "ZeroIterationForLoop")),
    *(f"core/{name}" for name in ("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceUnaryOperator_Delete_Not")),
    *(f"own/{name}" for name in ("DropCall", "TurnMembership")),
)


class DropCall(Operator):  # type: ignore[misc]  # Cosmic Ray has no types
    """An operator that drops a statement that is a call, unless it only writes to a log."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """See `Operator.mutation_positions`."""
        if node.type != "expr_stmt" and node.parent is not None and node.parent.type == "simple_stmt":
            is_call = node.type in ("atom_expr", "power") and str(node.children[-1].get_code()).startswith("(")
            if is_call and not str(node.get_code()).strip().startswith("logger."):
                yield node.start_pos, node.end_pos

    def mutate(self, node: Any, _index: int) -> Any:
        """See `Operator.mutate`."""
        return Name("None", node.start_pos, node.get_first_leaf().prefix)

    @classmethod
    def examples(cls) -> tuple[()]:
        """See `Operator.examples`."""
        return ()


class TurnMembership(Operator):  # type: ignore[misc]  # Cosmic Ray has no types
    """An operator that turns ``in`` into ``not in``, and back."""

    _turned: ClassVar = {"in": "not in", "not in": "in"}

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """See `Operator.mutation_positions`."""
        if node.type == "comparison" and self._operator(node) in self._turned:
            yield node.children[1].start_pos, node.children[1].end_pos

    def mutate(self, node: Any, _index: int) -> Any:
        """See `Operator.mutate`."""
        node.children[1] = Keyword(self._turned[self._operator(node)], node.children[1].start_pos, " ")
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        """See `Operator.examples`."""
        return ()

    @staticmethod
    def _operator(node: Any) -> str:
        return " ".join(str(node.children[1].get_code()).split())


@dataclass(frozen=True)
class Mutant:
    """A fault: where it is, and what makes it."""

    module: str
    operator: str
    occurrence: int
    line: int


@dataclass(frozen=True)
class Change:
    """The lines of a module that a mutant changes, which outlive its line numbers."""

    module: str
    before: str
    after: str


@dataclass
class Result:
    """A mutant, what it changes, and whether a test noticed it."""

    mutant: Mutant
    change: Change
    was_noticed: bool


def mutants_of(module: str) -> list[Mutant]:
    """Return every mutant of a module, such as ``state/record``."""
    tree = get_ast_from_path(ROOT / PACKAGE / f"{module}.py")
    found = []
    for name in OPERATORS:
        operator = cosmic_ray.plugins.get_operator(name)()
        positions = ((node, start) for node in ast_nodes(tree) for start, _ in operator.mutation_positions(node))
        for occurrence, (node, (line, _)) in enumerate(positions):
            if not (_is_for_type_checkers(node) or _is_marker(name, node) or _is_of_one_instant(name, node)):
                found.append(Mutant(module, name, occurrence, line))
    return found


def _is_marker(operator: str, node: Any) -> bool:
    """Tell whether a star is none of arithmetic: it marks keywords, or unpacks."""
    return operator.startswith("core/ReplaceBinary") and node.parent.type not in ("arith_expr", "term")


def _is_of_one_instant(operator: str, node: Any) -> bool:
    """Tell whether a comparison differs only where two readings of the clock are the same, which no test can bring about."""
    before, after = operator.rpartition("/")[2].split("_")[1:3] if "ReplaceComparison" in operator else ("", "E")
    is_edge = {before.removesuffix("E"), after.removesuffix("E")} in ({"Lt"}, {"Gt"})
    return is_edge and _CLOCK.search(str(node.parent.get_code())) is not None


def _is_for_type_checkers(node: Any) -> bool:
    while node is not None:
        if node.type == "if_stmt" and "TYPE_CHECKING" in node.children[1].get_code():
            return True
        if node.type == "classdef" and "TypedDict" in "".join(child.get_code() for child in node.children[:-1]):
            return True
        if node.type == "assert_stmt" and "mypy" in node.get_next_leaf().prefix + node.parent.get_code():
            return True
        node = node.parent
    return False


@dataclass(frozen=True)
class Coverage:
    """The lines of each module with the tests that ran them, and how long each test took, in seconds."""

    lines: Mapping[str, Mapping[int, frozenset[str]]]
    seconds: Mapping[str, float]

    def tests(self, mutant: Mutant) -> list[str]:
        """Return the tests that may notice a mutant, quick ones first, as far as they take no more than a minute.

        They are those that ran its line. Where none did in its own process, those come first that are named after the
        module: they start it.
        """
        source = ast.parse((ROOT / PACKAGE / f"{mutant.module}.py").read_text())
        statements = (node for node in ast.walk(source) if isinstance(node, ast.stmt) and node.lineno <= mutant.line)
        # Coverage notes a statement of several lines at its first.
        line = max(node.lineno for node in statements if mutant.line <= (node.end_lineno or 0))
        found = self.lines.get(mutant.module, {}).get(line, frozenset()) & self.seconds.keys()
        stem = mutant.module.rpartition("/")[2]
        left, chosen = MOST_SECONDS, []
        for test in sorted(
            found or self.seconds, key=lambda test: (stem not in test or bool(found), self.seconds[test])
        ):
            if self.seconds[test] <= left:
                left -= self.seconds[test]
                chosen.append(test)
        return chosen

    def timeout_seconds(self, tests: Sequence[str]) -> float:
        """Return when tests count as hanging."""
        return 4 * sum(self.seconds[test] for test in tests) + 30


class Copy:
    """A copy of the project, in which one mutant after the other lives."""

    def __init__(self, number: int) -> None:
        self._root = COPIES / str(number)
        shutil.rmtree(self._root, ignore_errors=True)
        names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout  # noqa: S607
        for name in names.decode().split("\0"):
            if name and (ROOT / name).is_file():
                (self._root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self._root / name)
        if WHEELS.is_dir():  # else each copy would fetch them
            shutil.copytree(WHEELS, self._root / WHEELS.relative_to(ROOT))
        self._python = str(self._made_environment() / "bin" / "python")

    def _made_environment(self) -> Path:
        """Make an environment with the packages of the project's, where every process finds the copy's own first."""
        environment = self._root / ".venv"
        subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(environment)], check=True)
        (packages,) = (ROOT / ".venv").glob("lib/python*/site-packages")
        (own,) = environment.glob("lib/python*/site-packages")
        lines = [str(self._root / "python"), f"import site; site.addsitedir({str(packages)!r})"]
        (own / "project.pth").write_text("\n".join(lines))
        return environment

    def covered(self, tests: Sequence[str], jobs: int) -> Coverage:
        """Run tests in the copy, and return what each of them ran."""
        (self._root / "coverage.ini").write_text(COVERAGE)
        run = [
            "coverage",
            "run",
            "--rcfile=coverage.ini",
            "-m",
            "pytest",
            "-q",
            "-n",
            str(jobs),
            "--junitxml=tests.xml",
        ]
        for command in (
            [*run, *tests],
            ["coverage", "combine", "--rcfile=coverage.ini", "--quiet"],
            ["coverage", "json", "--rcfile=coverage.ini", "--quiet", "--show-contexts", "-o", "coverage.json"],
        ):
            if self._process([self._python, "-m", *command], stdout=None).wait():
                raise SystemExit(f"failed without any mutant: {' '.join(command)}")
        seconds: dict[str, float] = {}
        for case in ElementTree.parse(self._root / "tests.xml").iter("testcase"):  # noqa: S314 - pytest wrote it
            name = f"{case.attrib['classname'].rpartition('.')[2]}.{case.attrib['name'].partition('[')[0]}"
            seconds[name] = seconds.get(name, 0.0) + float(case.attrib["time"])
        files = json.loads((self._root / "coverage.json").read_text())["files"]
        lines = {
            str(Path(name).relative_to(PACKAGE).with_suffix("")): {
                int(line): frozenset(contexts) for line, contexts in file["contexts"].items()
            }
            for name, file in files.items()
            if Path(name).is_relative_to(PACKAGE)
        }
        return Coverage(lines, seconds)

    def passes(self, tests: Sequence[str], timeout_seconds: float) -> bool:
        """Run tests in the copy, up to the first that fails; one that does not end fails."""
        ids = ["tests/{}.py::{}".format(*test.split(".", 1)) for test in tests]
        command = [self._python, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *ids]
        with self._process(command, stdout=subprocess.DEVNULL) as process:
            try:
                return process.wait(timeout_seconds) == 0
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
                return False

    def _process(self, command: Sequence[str], stdout: int | None) -> subprocess.Popen[bytes]:
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MUTANTS_")},
            "PYTHONDONTWRITEBYTECODE": "1",  # a mutant may have the size and the second of the one before it
        }
        return subprocess.Popen(
            command, cwd=self._root, env=environ, stdout=stdout, stderr=stdout, start_new_session=True
        )

    def tried(self, mutant: Mutant, coverage: Coverage) -> Result | None:
        """Let a mutant live while the tests run. One that is not Python is none: any test would notice."""
        path = self._root / PACKAGE / f"{mutant.module}.py"
        operator = cosmic_ray.plugins.get_operator(mutant.operator)()
        with use_mutation(path, operator, mutant.occurrence) as (original, mutated):
            assert mutated is not None, mutant
            if not _is_python(mutated):
                return None
            change = Change(mutant.module, *_changed(original, mutated))
            tests = coverage.tests(mutant)
            return Result(mutant, change, not self.passes(tests, coverage.timeout_seconds(tests)))


def _is_python(code: str) -> bool:
    try:
        compile(code, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _changed(original: str, mutated: str) -> tuple[str, str]:
    lines = list(difflib.ndiff(original.split("\n"), mutated.split("\n")))
    return tuple("\n".join(line[2:].strip() for line in lines if line.startswith(sign)) for sign in "-+")  # type: ignore[return-value]


def main() -> int:
    """Try the mutants that the variables ask for, and say which of them nobody noticed."""
    configuration = yaml.safe_load((ROOT / "tests" / "mutants.yaml").read_text())
    chosen = _chosen(_modules(configuration["rooms"]))
    equivalent = {
        Change(one["module"], one["before"], one["after"]): one["reason"] for one in configuration["equivalent"]
    }
    copies = [Copy(number) for number in range(int(os.environ.get("MUTANTS_JOBS") or os.cpu_count() or 1))]
    tests = [f"tests/{name}.py" for name in configuration["tests"]]
    coverage = copies[0].covered(tests, len(copies))
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in chosen:
        waiting.put(mutant)
    results: list[Result] = []
    invalid: list[Mutant] = []

    def work(copy: Copy) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                mutant = waiting.get_nowait()
                result = copy.tried(mutant, coverage)
                if result is None:
                    invalid.append(mutant)
                    continue
                results.append(result)
                if not result.was_noticed and result.change not in equivalent:
                    _say(_told(result))

    threads = [threading.Thread(target=work, args=(copy,)) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _judged(results, equivalent, len(chosen) - len(invalid))


def _modules(rooms: Sequence[str]) -> list[str]:
    """Return the modules that are asked for."""
    found: list[str] = []
    for name in os.environ.get("MUTANTS_MODULES", "").split() or rooms:
        folder = ROOT / PACKAGE / name
        if folder.is_dir():
            found += sorted(f"{name}/{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__")
        else:
            found.append(name)
    return found


def _chosen(modules: Sequence[str]) -> list[Mutant]:
    every = [mutant for module in modules for mutant in mutants_of(module)]
    sample, seed = int(os.environ.get("MUTANTS_SAMPLE") or len(every)), os.environ.get("MUTANTS_SEED", "0")
    chosen = random.Random(seed).sample(every, min(sample, len(every)))  # noqa: S311 - to be repeatable, not secret
    _say(f"{len(chosen)} of {len(every)} mutants in {len(modules)} modules, seed {seed}")
    return chosen


def _judged(results: Sequence[Result], equivalent: dict[Change, str], wanted: int) -> int:
    counted = [one for one in results if one.was_noticed or one.change not in equivalent]
    noticed = sum(one.was_noticed for one in counted)
    wrong = [one for one in counted if one.change in equivalent]
    for one in wrong:
        _say(f"listed as equivalent, but a test notices it: {_told(one)}")
    part = noticed / len(counted) if counted else 1.0
    _say(f"{noticed} of {len(counted)} mutants noticed ({part:.0%}), {len(results) - len(counted)} equivalent")
    return int(part < WANTED_PART or bool(wrong) or len(results) != wanted)


def _told(result: Result) -> str:
    mutant, change = result.mutant, result.change
    return f"{PACKAGE / mutant.module}.py:{mutant.line}\n  - {change.before}\n  + {change.after}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


cosmic_ray.plugins.OPERATOR_PROVIDERS["own"] = {one.__name__: one for one in (DropCall, TurnMembership)}

if __name__ == "__main__":
    sys.exit(main())
