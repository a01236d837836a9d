"""The exec wrapper as a process: what it becomes, what that sees, and what happens where it fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_aws import FakeAws, serve, version_id
from wrapper import ROOT, SHOW, WRAPPER, base_environ, parameter_arn, run_wrapper, secret_arn

ENVIRONMENT_SECRET = "LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN"
ADDED_BY_SH = {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}  # by the command's own interpreter, and by sh

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0=,"), min_size=1, max_size=30).filter(
    lambda name: (
        not name.startswith(("AWS_", "LAMBDA_", "_", "LD_", "BASH_", "GCONV_", "COVER", "PYTHON", "PATH", "LC_"))
    )
)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200)


def test_nothing_to_resolve_becomes_the_command_without_python() -> None:
    """Without references the wrapper becomes COMMAND at once: no Python is started, nothing is written or changed."""
    environ = base_environ(LAMBDA_TASKS_PYTHON="/nowhere/python", A="1\n2")
    run = run_wrapper(environ)
    assert (run.status, run.stderr, run.arguments) == (0, "", ["one", "two words"])
    assert {k: v for k, v in run.environ.items() if k not in ADDED_BY_SH and not k.startswith("COVER")} == environ


def test_values_arrive_in_the_command_and_nothing_else_does(aws: FakeAws) -> None:
    """COMMAND sees its own variables, the resolved ones and the list of their names, and nothing more."""
    arn, other = secret_arn("env-AbCdEf"), secret_arn("db-AbCdEf")
    aws.secrets = {arn: json.dumps({"B": "2", "A": "$(id) `id` \"q\" 'q' \n é"}), other: '{"password": " p w "}'}
    environ = base_environ(aws.url, **{ENVIRONMENT_SECRET: arn, "LAMBDA_TASKS_SECRET_PW": f"{other}:password::"})
    run = run_wrapper(environ)
    assert run.status == 0
    seen = {k: v for k, v in run.environ.items() if k not in ADDED_BY_SH and "COVER" not in k}
    seen.pop("LAMBDA_TASKS_PYTHON", None)
    assert seen == {
        **environ,
        "A": "$(id) `id` \"q\" 'q' \n é",
        "B": "2",
        "PW": " p w ",
        "LAMBDA_TASKS_RESOLVED": "A,B,PW",
    }
    assert run.arguments == ["one", "two words"]


@settings(max_examples=25)
@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_any_flat_object_of_strings_arrives_byte_for_byte(variables: dict[str, str]) -> None:
    """COMMAND sees exactly the names and values of an environment secret."""
    arn = secret_arn("env-AbCdEf")
    with serve() as aws:
        aws.secrets[arn] = json.dumps(variables)
        run = run_wrapper(base_environ(aws.url, **{ENVIRONMENT_SECRET: arn}))
    assert run.status == 0, run.stderr
    seen = run.environ
    assert {name: seen[name] for name in variables} == variables
    assert seen["LAMBDA_TASKS_RESOLVED"] == ",".join(sorted(variables))


def test_the_locale_that_python_sets_does_not_leak(aws: FakeAws) -> None:
    """Python coerces the C locale by setting LC_CTYPE; COMMAND has it only where it was there before."""
    aws.secrets[secret_arn("s")] = "v"
    environ = base_environ(aws.url, LAMBDA_TASKS_SECRET_S=secret_arn("s"))
    printed = run_wrapper(environ, ["env"]).stdout
    assert "LC_CTYPE" not in printed
    assert "LC_CTYPE=C.UTF-8\n" in run_wrapper({**environ, "LC_CTYPE": "C.UTF-8"}, ["env"]).stdout


def test_open_file_descriptors_and_signals_are_as_before(aws: FakeAws) -> None:
    """An inherited descriptor (Lambda's telemetry) stays open, and SIGPIPE, which Python ignores, works as before."""
    aws.secrets[secret_arn("s")] = "v"
    environ = base_environ(aws.url, LAMBDA_TASKS_SECRET_S=secret_arn("s"))
    read, write = os.pipe()
    run = run_wrapper(environ, ["sh", "-c", "ls /proc/$$/fd; grep SigIgn /proc/$$/status"], pass_fds=[write])
    os.close(read)
    os.close(write)
    *descriptors, _, ignored_signals = run.stdout.split()
    assert str(write) in descriptors
    ours = [signal.SIGPIPE, signal.SIGXFSZ]  # others may have been ignored before the wrapper started
    assert not any(int(ignored_signals, 16) >> (number - 1) & 1 for number in ours)


def test_the_python_of_the_command_runs_the_resolver(aws: FakeAws, tmp_path: Path) -> None:
    """Python is $1 where its name starts so, else LAMBDA_TASKS_PYTHON before all, else python3."""
    aws.secrets[secret_arn("s")] = "v"
    shim = tmp_path / "python3.99"
    shim.write_text(f'#!/bin/sh\necho used >>{tmp_path}/used\nexec {sys.executable} "$@"\n')
    shim.chmod(0o755)
    environ = base_environ(aws.url, LAMBDA_TASKS_SECRET_S=secret_arn("s"))
    plain = {key: value for key, value in environ.items() if not key.startswith("COVER")}
    arguments: list[str | Path] = [WRAPPER, shim, "-c", "import os; print(os.environ['S'])"]
    finished = subprocess.run(arguments, env=plain, capture_output=True, text=True, check=True)
    assert finished.stdout == "v\n"
    assert (tmp_path / "used").read_text() == "used\n" * 2  # once to resolve, once as the command
    subprocess.run([WRAPPER, "true"], env={**plain, "LAMBDA_TASKS_PYTHON": str(shim)}, check=True, capture_output=True)
    assert (tmp_path / "used").read_text() == "used\n" * 3


def test_a_python_that_is_not_there_is_said(aws: FakeAws) -> None:
    """If no Python can be started the wrapper says which and how to name another, with exit status 1."""
    environ = base_environ(aws.url, LAMBDA_TASKS_SECRET_S=secret_arn("s"), LAMBDA_TASKS_PYTHON="/nowhere/python")
    run = run_wrapper(environ)
    assert (run.status, run.was_launched) == (1, False)
    assert run.stderr == "lambda-tasks: /nowhere/python cannot be executed: set LAMBDA_TASKS_PYTHON\n"


def test_without_a_command_the_usage_is_printed() -> None:
    """Called with nothing to become, the wrapper prints its usage."""
    run = run_wrapper(base_environ(), [])
    assert (run.status, run.stderr) == (2, "usage: lambda-tasks-exec COMMAND [ARG...]\n")


def test_a_command_that_cannot_be_executed_is_reported(aws: FakeAws) -> None:
    """A COMMAND that is not there is an error of its own, reported as every other."""
    aws.secrets[secret_arn("s")] = "v"
    environ = base_environ(aws.url, LAMBDA_TASKS_SECRET_S=secret_arn("s"), AWS_LAMBDA_RUNTIME_API=aws.runtime_api)
    run = run_wrapper(environ, ["/nowhere/command"])
    assert run.status == 1
    assert "'/nowhere/command' cannot be executed: No such file or directory" in run.stderr
    assert aws.init_errors[0].body["errorType"] == "LambdaTasks.CommandNotExecutable"


@pytest.mark.parametrize("resolves", [True, False])
def test_the_next_wrapper_runs_with_the_command_as_its_arguments(
    aws: FakeAws, tmp_path: Path, *, resolves: bool
) -> None:
    """LAMBDA_TASKS_NEXT_WRAPPER runs next, with the resolved variables, whether or not there was anything to resolve."""
    aws.secrets[secret_arn("s")] = "v"
    following = tmp_path / "otel instrument"
    following.write_text('#!/bin/sh\nprintf "%s|" "${S-unset}" "$@"\n')
    following.chmod(0o755)
    environ = base_environ(aws.url, LAMBDA_TASKS_NEXT_WRAPPER=str(following))
    if resolves:
        environ["LAMBDA_TASKS_SECRET_S"] = secret_arn("s")
    run = run_wrapper(environ, ["one", "two words"])
    assert run.stdout == ("v" if resolves else "unset") + "|one|two words|"


@pytest.mark.parametrize("kind", ["missing", "not executable", "folder"])
def test_a_next_wrapper_that_cannot_run_is_an_error_of_its_own(aws: FakeAws, tmp_path: Path, kind: str) -> None:
    """A next wrapper that is missing, not executable or a folder stops the launch before anything is fetched."""
    following = tmp_path / "wrapper"
    if kind == "not executable":
        following.write_text("#!/bin/sh\n")
    elif kind == "folder":
        following.mkdir()
    run = run_wrapper(base_environ(aws.url, LAMBDA_TASKS_NEXT_WRAPPER=str(following)))
    assert (run.status, run.was_launched) == (1, False)
    assert run.stderr == (
        f"[ERROR] lambda-tasks: InvalidNextWrapper: {str(following)!r} is not an executable file "
        "(variable LAMBDA_TASKS_NEXT_WRAPPER): attach the layer that holds it, correct the path, or remove the variable\n"
    )


def test_another_distribution_of_our_name_is_an_error(aws: FakeAws, tmp_path: Path) -> None:
    """A package of our name that hides the layer's is told with both files, references or none; ours is no other."""
    other = tmp_path / "function" / "lambda_tasks"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    aws.secrets[secret_arn("s")] = "v"
    ours = ROOT / "python" / "lambda_tasks" / "__init__.py"
    environ = base_environ(aws.url, LAMBDA_TASK_ROOT=str(other.parent))
    resolving = {**environ, "LAMBDA_TASKS_SECRET_S": secret_arn("s")}
    for each in (environ, resolving):
        run = run_wrapper(each)
        assert (run.status, run.was_launched) == (1, False)
        assert f"ShadowedPackage: {other}/__init__.py hides {ours}, whose handler would never run" in run.stderr
    assert run_wrapper({**resolving, "LAMBDA_TASK_ROOT": str(ROOT / "python")}).status == 0


def test_another_distribution_in_a_layer_is_an_error(aws: FakeAws, tmp_path: Path) -> None:
    """Layers are searched for one too: beside ours, where it comes first, and in ours, which it was unpacked into."""
    package, wrapper = tmp_path / "python" / "lambda_tasks", tmp_path / "bin" / "lambda-tasks-exec"
    for folder in (package, wrapper.parent):
        folder.mkdir(parents=True)
    shutil.copy(WRAPPER, wrapper)
    for path in (ROOT / "python" / "lambda_tasks").iterdir():
        (package / path.name).symlink_to(path)
    environ = base_environ(aws.url, AWS_LAMBDA_RUNTIME_API=aws.runtime_api)

    def stderr() -> str:
        finished = subprocess.run([wrapper, "true"], env=environ, capture_output=True, text=True, check=False)
        assert finished.returncode == (1 if finished.stderr else 0)
        return finished.stderr

    assert stderr() == ""
    (package / "decorators.py").touch()
    assert "python/lambda_tasks/decorators.py of another layer lies beside our python/lambda_tasks/__init__" in stderr()
    assert aws.init_errors[-1].body["errorType"] == "LambdaTasks.ShadowedPackage"
    (package / "decorators.py").unlink()
    beside = tmp_path / "python" / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages" / "lambda_tasks"
    beside.mkdir(parents=True)
    (beside / "__init__.py").touch()
    assert f"{beside}/__init__.py hides " in stderr()
    assert aws.init_errors[-1].body["errorType"] == "LambdaTasks.ShadowedPackage"


def test_a_next_wrapper_that_is_this_one_is_an_error(aws: FakeAws, tmp_path: Path) -> None:
    """The wrapper does not run itself for ever, by whatever path it is named."""
    link = tmp_path / "wrapper"
    link.symlink_to(WRAPPER)
    aws.secrets[secret_arn("s")] = "v"
    for path in (WRAPPER, link):
        environ = base_environ(aws.url, LAMBDA_TASKS_NEXT_WRAPPER=str(path), LAMBDA_TASKS_SECRET_S=secret_arn("s"))
        run = run_wrapper(environ)
        assert (run.status, run.was_launched) == (1, False)
        assert "InvalidNextWrapper: the next wrapper is this one" in run.stderr
    assert "is this one" in run_wrapper(base_environ(LAMBDA_TASKS_NEXT_WRAPPER=str(WRAPPER))).stderr


def test_a_failure_is_one_line_and_an_init_error_that_name_every_problem(aws: FakeAws) -> None:
    """Several problems are reported at once, with the class of the first, on stderr and to the Runtime API."""
    environ = base_environ(
        aws.url,
        AWS_LAMBDA_RUNTIME_API=aws.runtime_api,
        AWS_LAMBDA_LOG_FORMAT="JSON",
        LAMBDA_TASKS_SECRET_A="hunter2",
        LAMBDA_TASKS_SECRET_PATH=secret_arn("s"),
    )
    run = run_wrapper(environ)
    assert (run.status, run.was_launched, aws.requests) == (1, False, [])
    assert run.report["errorType"] == "LambdaTasks.InvalidReference"
    assert [one["errorType"] for one in run.report["errors"]] == [
        "LambdaTasks.InvalidReference",
        "LambdaTasks.VariableConflict",
    ]
    (posted,) = aws.init_errors
    assert posted.headers["Lambda-Runtime-Function-Error-Type"] == "LambdaTasks.InvalidReference"
    assert posted.body == {
        "errorType": "LambdaTasks.InvalidReference",
        "errorMessage": run.report["message"],
        "stackTrace": [],
    }
    assert "hunter2" not in run.stderr + str(posted)


def test_success_is_one_line_of_names_and_counts(aws: FakeAws) -> None:
    """On success one line tells which variables came from how many secrets, unless the log level hides it."""
    aws.secrets = {secret_arn("s"): '{"a": "canary-1", "b": "canary-2"}', secret_arn("t"): "canary-3"}
    environ = base_environ(
        aws.url,
        LAMBDA_TASKS_SECRET_A=secret_arn("s") + ":a::",
        LAMBDA_TASKS_SECRET_B=secret_arn("s") + ":b::",
        LAMBDA_TASKS_SECRET_T=secret_arn("t"),
    )
    text = run_wrapper(environ).stderr
    assert text.startswith("[INFO] lambda-tasks: resolved 3 variables from 2 secrets in ")
    assert text.endswith(" ms: A, B, T\n")
    report = run_wrapper({**environ, "AWS_LAMBDA_LOG_FORMAT": "JSON"}).report
    assert (report["level"], report["resolved"], report["variables"], report["secrets"]) == (
        "INFO",
        ["A", "B", "T"],
        3,
        2,
    )
    assert "canary" not in text + str(report)
    assert run_wrapper({**environ, "AWS_LAMBDA_LOG_LEVEL": "WARN"}).stderr == ""


def test_an_unexpected_error_shows_its_place_and_not_its_message(aws: FakeAws) -> None:
    """If the wrapper itself breaks, the report gives class and place, since the message might hold a value."""
    environ = base_environ(aws.url, LAMBDA_TASKS_SSM_ENVIRONMENT="/app/db", LAMBDA_TASKS_ODD_VARIABLES="canary")
    run = run_wrapper(environ)
    assert (run.status, run.was_launched) == (1, False)
    assert "unexpected ValueError at " in run.stderr
    assert "canary" not in run.stderr


def test_wrapping_twice_is_wrapping_once(aws: FakeAws) -> None:
    """A second wrapper, in front of the command or in a child of it, resolves nothing again and says nothing."""
    aws.secrets = {secret_arn("env"): '{{"A": "a", "LAMBDA_TASKS_SECRET_N": "{}"}}'.format(secret_arn("n"))}
    aws.secrets |= {secret_arn("s"): "s", secret_arn("n"): "n"}
    environ = base_environ(aws.url, **{ENVIRONMENT_SECRET: secret_arn("env"), "LAMBDA_TASKS_SECRET_S": secret_arn("s")})
    if not any(name.startswith("COVERAGE_") for name in os.environ):
        environ["LAMBDA_TASKS_PYTHON"] = sys.executable  # the command is no Python, and python3 may be a shim
    once = run_wrapper(environ)
    requests = len(aws.requests)
    twice = run_wrapper(environ, [str(WRAPPER), sys.executable, "-I", "-S", "-c", SHOW])
    assert twice.status == 0, twice.stderr
    assert len(aws.requests) == 2 * requests
    assert len(twice.stderr.splitlines()) == 1
    ours = [
        {k: v for k, v in run.environ.items() if k not in ADDED_BY_SH and "COVER" not in k} for run in (once, twice)
    ]
    assert ours[0] == ours[1]
    assert ours[0]["LAMBDA_TASKS_RESOLVED"] == "A,LAMBDA_TASKS_SECRET_N,N,S"


def test_a_later_reference_is_resolved_beside_what_is(aws: FakeAws) -> None:
    """A child process that brings a reference of its own gets that one resolved, and no secret leads the call."""
    aws.secrets = {secret_arn("s"): "s", secret_arn("t"): "t"}
    aws.secrets[secret_arn("e")] = '{"AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://127.0.0.1:9"}'
    environ = base_environ(aws.url, LAMBDA_TASKS_SECRET_S=secret_arn("s"), **{ENVIRONMENT_SECRET: secret_arn("e")})
    child = f"LAMBDA_TASKS_SECRET_T={secret_arn('t')} exec {WRAPPER} sh -c 'echo \"$S $T $LAMBDA_TASKS_RESOLVED\"'"
    run = run_wrapper(environ, ["sh", "-c", child])
    assert run.stdout == "s t AWS_ENDPOINT_URL_SECRETS_MANAGER,S,T\n", run.stderr
    assert sorted(aws.asked_for) == [secret_arn(name) for name in "est"]


@pytest.mark.parametrize("resolves", [True, False])
def test_a_next_wrapper_that_leads_back_runs_once(aws: FakeAws, tmp_path: Path, *, resolves: bool) -> None:
    """The setting is gone from what the next wrapper sees: one that calls this wrapper again ends in the command."""
    aws.secrets[secret_arn("s")] = "v"
    back = tmp_path / "back"
    back.write_text(f'#!/bin/sh\necho "via ${{LAMBDA_TASKS_NEXT_WRAPPER-nothing}}"\nexec {WRAPPER} "$@"\n')
    back.chmod(0o755)
    environ = base_environ(aws.url, LAMBDA_TASKS_NEXT_WRAPPER=str(back))
    if resolves:
        environ["LAMBDA_TASKS_SECRET_S"] = secret_arn("s")
    run = run_wrapper(environ, ["sh", "-c", "echo ${S-unset} ${LAMBDA_TASKS_NEXT_WRAPPER-gone}"])
    assert run.stdout == f"via nothing\n{'v' if resolves else 'unset'} gone\n", run.stderr
    assert len(aws.requests) == int(resolves)


def test_every_problem_is_reported_at_once(aws: FakeAws) -> None:
    """Settings, the next wrapper and references are looked at together, before anything is fetched."""
    environ = base_environ(
        aws.url,
        AWS_LAMBDA_LOG_FORMAT="JSON",
        LAMBDA_TASKS_RESOLVE_TIMEOUT_SECONDS="soon",
        LAMBDA_TASKS_NEXT_WRAPPER="/nowhere/wrapper",
        LAMBDA_TASKS_SECRET_A="hunter2",
        LAMBDA_TASKS_SECRET_LD_PRELOAD=secret_arn("s"),
    )
    run = run_wrapper(environ)
    assert [one["errorType"].partition(".")[2] for one in run.report["errors"]] == [
        "InvalidSetting",
        "InvalidNextWrapper",
        "InvalidReference",
        "ReservedVariable",
    ]
    assert (run.report["errorType"], aws.requests) == ("LambdaTasks.InvalidSetting", [])


def test_success_names_the_version_of_each_source(aws: FakeAws) -> None:
    """The line that says what was resolved names each source's ARN and version id, so that an audit can tell."""
    aws.secrets = {secret_arn("s"): "canary-1"}
    aws.parameters = {parameter_arn("p") + ":3": "canary-2", "/app/x/A": "canary-3"}
    environ = base_environ(
        aws.url,
        LAMBDA_TASKS_SSM_ENVIRONMENT="/app/x/",
        LAMBDA_TASKS_SECRET_S=secret_arn("s"),
        LAMBDA_TASKS_SECRET_P=parameter_arn("p") + ":3",
    )
    text = run_wrapper(environ).stderr
    secret_version, path_version = version_id("canary-1"), zlib.crc32(b"canary-3")
    assert f" in version {path_version} of {parameter_arn('app/x/A')}, " in text
    assert f"version 3 of {parameter_arn('p')}, version {secret_version} of {secret_arn('s')} in " in text
    assert text.endswith(" ms: A, P, S\n")
    report = run_wrapper({**environ, "AWS_LAMBDA_LOG_FORMAT": "JSON"}).report
    assert report["sources"] == [
        {"source": parameter_arn("app/x/A"), "version_id": str(path_version)},
        {"source": parameter_arn("p"), "version_id": "3"},
        {"source": secret_arn("s"), "version_id": secret_version},
    ]
    assert "canary" not in text + str(report)


def test_an_environment_that_is_too_large_names_its_largest_variables(aws: FakeAws) -> None:
    """A size that the kernel would refuse is an error, with names, before anything is said to be resolved."""
    values = dict.fromkeys("ABCDEFGHIJKL", "canary" * 10000)
    aws.secrets[secret_arn("env")] = json.dumps(values)
    environ = base_environ(aws.url, **{ENVIRONMENT_SECRET: secret_arn("env"), "AWS_LAMBDA_LOG_FORMAT": "JSON"})
    limited = ["sh", "-c", 'ulimit -s 1024 && exec "$0" "$@"', str(WRAPPER), "true"]
    finished = subprocess.run(limited, env=environ, capture_output=True, text=True)
    assert finished.returncode == 1
    report = json.loads(finished.stderr)
    assert report["errorType"] == "LambdaTasks.InvalidSecret"
    assert "the environment is too large: " in report["message"]
    assert "(variable A with 60003 bytes, B with 60003 bytes, C with 60003 bytes)" in report["message"]
    assert "canary" not in finished.stderr
    assert run_wrapper(environ, ["true"]).status == 0  # the usual stack takes it


@pytest.mark.parametrize("spare", [-1, 0, 5000])
def test_what_is_measured_is_what_the_kernel_counts(spare: int) -> None:
    """An environment that just fits is executed, and one that does not is refused before."""
    program = (
        "import os, resource, sys; sys.path.append(sys.argv[1]); spare = int(sys.argv[2])\n"
        "from lambda_tasks.environment import launch\n"
        "from lambda_tasks.errors import InvalidSecret\n"
        "resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20))\n"
        "command = ['/bin/true', 'x']\n"
        "fixed = len('/bin/true') + 1 + sum(len(text) + 9 for text in command) + 3 * (len('a=') + 9)\n"
        "left = (1 << 18) - spare - fixed\n"
        "os.environ.clear()\n"
        "for name in 'abc':\n"
        "    size = min(left, 100000); left -= size; os.environ[name] = 'v' * size\n"
        "try:\n"
        "    launch.check_size(command, os.environ)\n"
        "except InvalidSecret:\n"
        "    print('refused', flush=True)\n"
        "os.execv(command[0], command)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(ROOT / "python"), str(spare)], capture_output=True, text=True
    )
    assert finished.stdout == ("refused\n" if spare < 0 else "")
    assert (finished.returncode == 0) == (spare >= 0), finished.stderr
