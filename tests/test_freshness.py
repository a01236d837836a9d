"""Values that are resolved again: before a batch where they have grown old, and after a snapshot is restored."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from fake_aws import FakeAws, Request
from lambda_tasks import on_secrets_changed
from lambda_tasks.environment.freshness import Freshness
from lambda_tasks.environment.provenance import PROVENANCE, Origin, Provenance, own_environ
from lambda_tasks.environment.reference import parse_variable
from lambda_tasks.environment.resolver import Held
from lambda_tasks.errors import InvalidHook
from lambda_tasks.settings import Settings
from stores import Clock
from wrapper import ROOT, WRAPPER, base_environ, measuring, parameter_arn, secret_arn

ENVIRONMENT, SSM = "LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN", "LAMBDA_TASKS_SSM_ENVIRONMENT"
ENV, DB, OTHER = secret_arn("env-AbCdEf"), secret_arn("db-AbCdEf"), secret_arn("other-AbCdEf")
MAX_AGE = 300

# A function, one invocation for each line of its input, with a clock that the lines move.
FUNCTION = """
import json, os, sys
import lambda_tasks.handler as entry
from lambda_tasks import on_secrets_changed, settings
from lambda_tasks.environment.freshness import Freshness
from lambda_tasks.environment.provenance import Provenance

told, passed = [], 0.0
on_secrets_changed(told.append)

@on_secrets_changed
def broken(names):
    raise RuntimeError(os.environ.get("A", "") + "canary")

before = Provenance.from_environ(os.environ)
start = before.resolved_at if before else 0.0
entry._freshness = Freshness(settings.current(), os.environ, clock=lambda: start + passed)
print(flush=True)  # the init phase is over
for line in sys.stdin:
    step = json.loads(line)
    passed += step["seconds"]
    os.environ.update(step["set"])
    if step["restores"]:
        from snapshot_restore_py import get_after_restore
        for hook, arguments, keywords in get_after_restore():
            hook(*arguments, **keywords)
    try:
        answer = entry.handler({"task_name": step["task"], "kwargs": {"number": 1}}, None)
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    print(json.dumps([answer, told, dict(os.environ)]), flush=True)
    told.clear()
"""


@dataclass
class Invoked:
    """The answer of an invocation, the names that its hook was told, and the environment that it ran with."""

    answer: Any
    told: list[list[str]]
    environ: dict[str, str]

    def __getitem__(self, name: str) -> str | None:
        return self.environ.get(name)


@dataclass
class Function:
    """A running function."""

    process: subprocess.Popen[str]

    def invoke(
        self, *, after: float = 0, restores: bool = False, task: str = "catalogue.tasks.add", **variables: str
    ) -> Invoked:
        """Let `after` seconds pass, have code of the function set `variables`, and invoke it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        step = {"seconds": after, "set": variables, "restores": restores, "task": task}
        print(json.dumps(step), file=self.process.stdin, flush=True)
        return Invoked(*json.loads(self.process.stdout.readline()))

    def log(self) -> str:
        """End the function and return what it wrote to stderr."""
        return self.process.communicate(timeout=60)[1]


@contextlib.contextmanager
def function(environ: Mapping[str, str], *, wrapped: bool) -> Iterator[Function]:
    """Start a function, through the exec wrapper or without it."""
    measured = measuring()
    if measured and wrapped:
        measured |= {"LAMBDA_TASKS_PYTHON": str(ROOT / "tests" / "covered-python"), "COVERED_PYTHON": sys.executable}
    command = [*([str(WRAPPER)] if wrapped else []), sys.executable, "-c", FUNCTION]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    variables = {**environ, **measured, "PYTHONPATH": f"{ROOT}/tests"}
    with subprocess.Popen(command, env=variables, text=True, **pipes) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield Function(process)
        finally:
            process.kill()


def aging(aws: FakeAws, **variables: str) -> dict[str, str]:
    return base_environ(aws.url, LAMBDA_TASKS_MAX_SECRET_AGE_SECONDS=str(MAX_AGE), **variables)


both_ways = pytest.mark.parametrize("wrapped", [True, False])


@both_ways
def test_old_values_are_resolved_again_before_the_batch(aws: FakeAws, *, wrapped: bool) -> None:
    """An invocation with values older than the setting sees what changed, and code that keeps clients is told."""
    aws.secrets = {ENV: '{"A": "a1", "GONE": "g"}', DB: '{"user": "u1", "password": "p1"}', OTHER: "o"}
    environ = aging(aws, OWN="own", **{ENVIRONMENT: ENV, "LAMBDA_TASKS_SECRET_P": f"{DB}:password::"})
    environ |= {"LAMBDA_TASKS_SECRET_U": f"{DB}:user::", "LAMBDA_TASKS_SECRET_O": OTHER}
    with function(environ, wrapped=wrapped) as running:
        aws.requests.clear()
        fresh = running.invoke(after=MAX_AGE - 1, O="changed by the function's code")
        assert (fresh.answer, fresh.told, fresh["A"], aws.requests) == (2, [], "a1", [])
        aws.secrets |= {ENV: '{"A": "a2", "NEW": "n", "OWN": "secret"}', DB: '{"user": "u1", "password": "p2"}'}
        due = running.invoke(after=2)
        assert (due.answer, due.told) == (2, [["A", "GONE", "NEW", "OWN", "P"]])
        assert [due[name] for name in ("A", "NEW", "P", "U", "GONE", "OWN")] == ["a2", "n", "p2", "u1", None, "secret"]
        assert due["O"] == "changed by the function's code"  # its version is the one that was exported
        assert due["LAMBDA_TASKS_RESOLVED"] == "A,NEW,O,OWN,P,U"
        assert sorted(aws.asked_for) == sorted([ENV, DB, OTHER])
        again = running.invoke(after=MAX_AGE - 1)
        assert (again.told, len(aws.requests)) == ([], 3)
        aws.secrets[ENV] = '{"A": "a2", "NEW": "n"}'
        restored = running.invoke(after=2)
        assert (restored.told, restored["OWN"]) == ([["OWN"]], "own")
        unchanged = running.invoke(after=MAX_AGE + 1)
        assert (unchanged.told, len(aws.requests)) == ([], 9)
        log = running.log()
    assert "the hook broken raised: unexpected RuntimeError at " in log
    assert "canary" not in log
    assert log.count("[INFO] lambda-tasks: resolved") == 3  # at the start, and where something changed


@both_ways
def test_where_resolving_fails_old_values_serve_until_twice_their_age(aws: FakeAws, *, wrapped: bool) -> None:
    """A failure is a warning while the values are less than twice as old as they may get, and then an error."""
    aws.secrets = {DB: "one"}
    with function(aging(aws, LAMBDA_TASKS_SECRET_D=DB), wrapped=wrapped) as running:
        aws.secrets.clear()
        failing = running.invoke(after=MAX_AGE + 1)
        assert (failing.answer, failing["D"], failing.told) == (2, "one", [])
        asked = len(aws.requests)
        assert running.invoke().answer == 2  # not at every invocation: each would wait for it
        assert len(aws.requests) == asked
        assert running.invoke(after=MAX_AGE - 2).answer == 2
        assert len(aws.requests) == asked + 1
        too_old = running.invoke(after=30)
        assert too_old.answer.startswith(
            "SecretNotFound: the values are 629 s old, more than twice LAMBDA_TASKS_MAX_SECRET_AGE_SECONDS, and could "
            "not be resolved again: there is no such secret, parameter or version (variable D, secret "
        )
        assert running.invoke().answer == too_old.answer
        aws.secrets[DB] = "two"
        healed = running.invoke()
        assert (healed.answer, healed["D"], healed.told) == (2, "two", [["D"]])
        log = running.log()
    assert log.count("[WARN] lambda-tasks: values that are ") == 2
    assert "301 s old serve on, since they could not be resolved again: SecretNotFound: there is no such" in log


def test_pinned_versions_are_not_asked_for_again(aws: FakeAws) -> None:
    """A reference with a version id, or a parameter's number, has one value for ever; a label is asked for again."""
    pinned, numbered, labelled = f"{DB}:user::1111", parameter_arn("a") + ":3", parameter_arn("b") + ":live"
    aws.secrets = {f"{DB}:1111": '{"user": "u", "other": "o"}', ENV: json.dumps({"LAMBDA_TASKS_SECRET_U": pinned})}
    aws.parameters = {numbered: "n", labelled: "l1"}
    environ = aging(aws, LAMBDA_TASKS_SECRET_N=numbered, LAMBDA_TASKS_SECRET_L=labelled, **{ENVIRONMENT: ENV})
    with function(environ, wrapped=True) as running:
        aws.requests.clear()
        aws.secrets.pop(f"{DB}:1111")
        aws.parameters = {labelled: "l2"}
        due = running.invoke(after=MAX_AGE + 1)
        assert (due.told, [due["U"], due["N"], due["L"]]) == ([["L"]], ["u", "n", "l2"])
        assert sorted(map(str, aws.asked_for)) == sorted([ENV, str([labelled])])
        # Another key of the same version is another value: it is asked for, whatever is known of the version.
        aws.secrets |= {f"{DB}:1111": '{"user": "u", "other": "o"}'}
        aws.secrets[ENV] = json.dumps({"LAMBDA_TASKS_SECRET_U": pinned.replace(":user:", ":other:")})
        due = running.invoke(after=MAX_AGE + 1)
        assert (due["U"], due.told) == ("o", [["LAMBDA_TASKS_SECRET_U", "U"]])


def test_settings_from_secrets_are_taken_over(aws: FakeAws) -> None:
    """A setting that a secret holds counts from the next batch on; one that cannot be used changes nothing."""
    aws.secrets = {ENV: '{"LAMBDA_TASKS_MODULES": "catalogue.elsewhere"}'}
    with function(aging(aws, **{ENVIRONMENT: ENV}), wrapped=True) as running:
        assert "TaskNotAllowed" in running.invoke().answer
        aws.secrets[ENV] = '{"LAMBDA_TASKS_MODULES": "not/a/module"}'
        assert "TaskNotAllowed" in running.invoke(after=MAX_AGE + 1).answer
        aws.secrets[ENV] = '{"LAMBDA_TASKS_MODULES": "catalogue.tasks"}'
        assert running.invoke(after=MAX_AGE / 2).answer == 2
        assert "(variable LAMBDA_TASKS_MODULES)" in running.log()


def test_without_the_setting_nothing_is_resolved_again(aws: FakeAws) -> None:
    """A function that does not ask for it pays for no second call, and its environment holds no trace of the first."""
    aws.secrets = {DB: "one"}
    with function(base_environ(aws.url, LAMBDA_TASKS_SECRET_D=DB), wrapped=True) as running:
        later = running.invoke(after=1e9)
    assert (later.answer, len(aws.requests), later[PROVENANCE]) == (2, 1, None)


@both_ways
def test_a_restored_snapshot_has_what_a_new_start_would_have(aws: FakeAws, *, wrapped: bool) -> None:
    """After a restore, what a secret no longer overrides is as it was configured, references included."""
    nested = {"OWN": "secret", "EMPTY": "secret", "LAMBDA_TASKS_SECRET_R": OTHER, "A": "a"}
    aws.secrets = {ENV: json.dumps(nested), DB: "from db", OTHER: "from other"}
    aws.parameters = {"/app/env": '{"A": "ssm", "B": "b"}'}
    environ = base_environ(aws.url, AWS_LAMBDA_INITIALIZATION_TYPE="snap-start", OWN='line\n"own" é', EMPTY="")
    environ |= {ENVIRONMENT: ENV, SSM: "/app/env", "LAMBDA_TASKS_SECRET_R": DB}
    with function(environ, wrapped=wrapped) as running:
        first = running.invoke()
        assert [first[name] for name in ("OWN", "EMPTY", "R", "A", "B")] == ["secret", "secret", "from other", "a", "b"]
        aws.secrets[ENV] = "{}"
        second = running.invoke(restores=True)
        assert [second[name] for name in ("OWN", "EMPTY", "R", "A", "B")] == [
            'line\n"own" é',
            "",
            "from db",
            "ssm",
            "b",
        ]
        assert second["LAMBDA_TASKS_SECRET_R"] == DB
        assert second["LAMBDA_TASKS_RESOLVED"] == "A,B,R"
        assert second.told == [["A", "EMPTY", "LAMBDA_TASKS_SECRET_R", "OWN", "R"]]
        aws.secrets[ENV] = json.dumps(nested)
        third = running.invoke(restores=True)
        ours = {name: value for name, value in third.environ.items() if name != PROVENANCE}
        assert ours == {name: value for name, value in first.environ.items() if name != PROVENANCE}


def test_an_invocation_is_not_spent_on_resolving(aws: FakeAws) -> None:
    """Resolving again takes at most a quarter of the time that the invocation has left."""
    program = (
        "import os, sys\n"
        "from lambda_tasks import settings\n"
        "from lambda_tasks.environment import in_process\n"
        "from lambda_tasks.environment.freshness import Freshness\n"
        "current = in_process.resolve_in_process()\n"
        "sys.stdin.readline()\n"
        "now = [0.0]\n"
        "freshness = Freshness(current, {}, clock=lambda: now[0])\n"
        "now[0] = 301\n"
        "assert freshness.is_due()\n"
        "freshness.renew(lambda _: None, lambda: 400)\n"
        "assert not freshness.is_due()\n"
    )
    aws.secrets = {DB: "v"}
    environ = aging(aws, LAMBDA_TASKS_SECRET_D=DB, LAMBDA_TASKS_RESOLVE_TIMEOUT_SECONDS="900")
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", program], env=environ, text=True, **pipes) as process:
        assert process.stderr is not None
        process.stderr.readline()

        def fail(_: Request) -> Any:
            return 500, {}

        aws.answers = [fail] * 100_000
        _, log = process.communicate("go\n", timeout=60)
    assert process.returncode == 0, log
    assert "[WARN] lambda-tasks: values that are 301 s old serve on" in log


def test_the_age_is_unknown_where_the_clock_was_set_back() -> None:
    """Values from the future are due: nobody can tell how old they are."""
    clock = Clock()
    current = Settings(max_secret_age_seconds=MAX_AGE, resolved=("A",))
    freshness = Freshness(current, {}, clock=clock)
    assert not freshness.is_due()
    clock.advance(MAX_AGE - 1)
    assert not freshness.is_due()
    clock.advance(1)
    assert freshness.is_due()
    clock.advance(-2 * MAX_AGE)
    assert freshness.is_due()
    assert not Freshness(Settings(resolved=("A",)), {}, clock=clock).is_due()
    assert not Freshness(Settings(max_secret_age_seconds=1), {}, clock=clock).is_due()


def test_a_hook_is_an_ordinary_function() -> None:
    """An async function could not be waited for, and is refused where it is hooked in."""

    async def later(names: list[str]) -> None: ...

    with pytest.raises(InvalidHook, match="use a function that is not async"):
        on_secrets_changed(later)


def test_provenance_survives_in_a_variable() -> None:
    """The reader gets back whatever was written, and nothing of a variable that somebody else wrote."""
    origins = {"A": Origin(DB, "k", DB, "1"), "B": Origin(DB, "k", DB, "1"), "C": Origin(ENV, None, ENV, "")}
    written = Provenance(1.5, {"A": 'a,\udcff\n"', "é": ""}, origins)
    assert Provenance.from_environ({PROVENANCE: written.to_json()}) == written
    for broken in ("", "null", "[]", "[1, 2, 3, 4]", '[1, {}, [], {"A": 0}]', '{"a": 1}', '["x", {}, [], {}]'):
        assert Provenance.from_environ({PROVENANCE: broken}) is None
    environ = {"A": "secret", "N": "new", "X": "x", PROVENANCE: written.to_json(), "LAMBDA_TASKS_RESOLVED": "A,N"}
    assert own_environ(environ, ["A", "N"]) == {"A": 'a,\udcff\n"', "é": "", "X": "x"}
    merged = written.merged(Provenance(9.0, {"A": "later", "Z": "z"}, {"Z": Origin("z", None, "z", "2")}))
    assert (merged.resolved_at, merged.replaced["A"], merged.replaced["Z"]) == (1.5, written.replaced["A"], "z")
    assert merged.origins.keys() == {"A", "B", "C", "Z"}


def test_a_value_is_held_while_it_is_there() -> None:
    """The value of a pinned version need not be asked for again, unless nobody has it any more."""
    one = parse_variable("LAMBDA_TASKS_SECRET_U", f"{DB}:user::1111", strict=False)
    known = Provenance(1.0, {}, {"U": Origin(str(one.source), "user", DB, "1111")})

    def is_held(environ: dict[str, str], provenance: Provenance | None) -> bool:
        return Held(environ, provenance).origin(one) is not None

    assert is_held({"U": "u"}, known)
    assert not is_held({}, known)
    assert not is_held({"U": "u"}, Provenance(1.0, {}, {}))
    assert not is_held({"U": "u"}, None)
