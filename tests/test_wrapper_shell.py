"""The exec wrapper's shell half: what its shells would lose, how it is called, and where Python cannot speak for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_aws import FakeAws
from wrapper import ROOT, WRAPPER, base_environ, run_wrapper, secret_arn

ADDED_BY_SH = {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}
SHELLS = [path for path in map(shutil.which, ("dash", "bash")) if path]
PRINT = [sys.executable, "-I", "-S", "-c", "import os,sys;sys.stdout.buffer.write(b'\\0'.join(k+b'='+v for k,v in os.environb.items()))"]  # fmt: skip


def seen_by_command(shell: str, environ: dict[str, str]) -> dict[str, str]:
    """Return what COMMAND sees where `shell` runs the wrapper, without what every shell adds."""
    finished = subprocess.run([shell, WRAPPER, *PRINT], env=environ, capture_output=True, timeout=60, check=True)
    pairs = (pair.partition("=") for pair in os.fsdecode(finished.stdout).split("\0"))
    return {name: value for name, _, value in pairs if name not in ADDED_BY_SH - environ.keys()}


ODD_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0=,"), min_size=1, max_size=12).filter(
    lambda name: not name.startswith(("LAMBDA_", "BASH", "LD_", "PYTHON", "LC_", "P", "_", "IFS", "OPT", "LINENO"))
)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("resolves", [True, False])
def test_variables_that_no_shell_can_hold_reach_the_command(shell: str, aws: FakeAws, *, resolves: bool) -> None:
    """Names that are no identifiers, and those that a script might use itself, are as they were, with every shell."""
    odd = {
        "my.var": "a\nb=c\n",
        "1x": "",
        "N\nL": "1",
        "NL\n": "=",
        "é": "é\udcff",
        "a b": "$(id)",
        "next": "n",
        "newline": "l",
        "python": "p",
    }
    odd |= {"PEM": "-----BEGIN\nLAMBDA_TASKS_SECRET_X=no\n+/==\n", "command": "c", "environ": "e", "found": "f"}
    aws.secrets[secret_arn("s")] = "v"
    environ = base_environ(aws.url, **odd)
    if resolves:
        environ["LAMBDA_TASKS_SECRET_S"] = secret_arn("s")
    added = {"S": "v", "LAMBDA_TASKS_RESOLVED": "S"} if resolves else {}
    assert seen_by_command(shell, environ) == {**environ, **added}


@settings(max_examples=25)
@given(st.dictionaries(ODD_NAMES, st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=4))
def test_any_environment_passes_as_it_is(variables: dict[str, str]) -> None:
    """Whatever a function's variables are called and hold, COMMAND sees exactly them."""
    environ = base_environ(**variables)
    assert seen_by_command("/bin/sh", environ) == environ


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", ["db.password", "1", "a-b", "é", "a b", "x,y", "A\n", "A\nB"])
def test_a_reference_that_no_shell_variable_can_hold_is_refused(shell: str, name: str) -> None:
    """A name that dash would have dropped in silence is an error that names it, and nothing is executed."""
    environ = base_environ(**{f"LAMBDA_TASKS_SECRET_{name}": secret_arn("s")})
    finished = subprocess.run([shell, WRAPPER, "echo", "ran"], env=environ, capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert "InvalidReference: the variable's name is none that a shell can hold (variable LAMBDA_TASKS_SECRET_" in (
        finished.stderr
    )
    assert ascii(name)[1:-1] in finished.stderr


def test_the_wrapper_finds_its_files_however_it_is_called(aws: FakeAws, tmp_path: Path) -> None:
    """By a link, a link to a link, a linked folder, its bare name for a shell, and from the PATH it works the same."""
    aws.secrets[secret_arn("s")] = "v"
    environ = base_environ(aws.url, LAMBDA_TASKS_SECRET_S=secret_arn("s"))
    (tmp_path / "link").symlink_to(WRAPPER)
    (tmp_path / "relative").symlink_to("link")
    (tmp_path / "folder").symlink_to(WRAPPER.parent)
    show = ["sh", "-c", "echo $S"]
    on_path = {**environ, "PATH": f"{tmp_path / 'folder'}:{environ['PATH']}"}
    calls: list[tuple[list[str | Path], Path, dict[str, str]]] = [
        ([tmp_path / "link"], tmp_path, environ),
        ([tmp_path / "relative"], tmp_path, environ),
        (["./relative"], tmp_path, environ),
        (["folder/lambda-tasks-exec"], tmp_path, environ),
        (["sh", WRAPPER.name], WRAPPER.parent, environ),
        (["bash", WRAPPER.name], WRAPPER.parent, environ),
        (["sh", "relative"], tmp_path, environ),
        (["bash", WRAPPER.name], tmp_path, on_path),
        ([WRAPPER.name], tmp_path, on_path),
    ]
    for command, folder, variables in calls:
        path = shutil.which(command[0], path=variables["PATH"]) if "/" not in str(command[0]) else command[0]
        finished = subprocess.run(
            [*command, *show], executable=path, cwd=folder, env=variables, capture_output=True, text=True, check=False
        )
        assert finished.stdout == "v\n", (command, finished.stderr)


@pytest.mark.parametrize("name", ["python-entry.sh", "python3-config", "pythonic", "python3.12_wrapped"])
def test_a_command_that_is_only_named_like_python_is_no_interpreter(aws: FakeAws, tmp_path: Path, name: str) -> None:
    """Only python with a version behind it, or nothing, resolves; anything else is the command and no more."""
    entry = tmp_path / name
    entry.write_text('#!/bin/sh\necho "$S" "$@"\n')
    entry.chmod(0o755)
    aws.secrets[secret_arn("s")] = "v"
    run = run_wrapper(base_environ(aws.url, LAMBDA_TASKS_SECRET_S=secret_arn("s")), [str(entry), "one"])
    assert run.stdout == "v one\n", run.stderr


@pytest.mark.parametrize("resolves", [True, False])
def test_a_script_without_an_interpreter_line_runs_as_in_a_shell(
    aws: FakeAws, tmp_path: Path, *, resolves: bool
) -> None:
    """A next wrapper, or a command, that names no interpreter is run by sh, with references and without."""
    following = tmp_path / "following"
    following.write_text('echo "$0" "${S-unset}" "$@"\n')
    following.chmod(0o755)
    aws.secrets[secret_arn("s")] = "v"
    environ = base_environ(aws.url) | ({"LAMBDA_TASKS_SECRET_S": secret_arn("s")} if resolves else {})
    value = "v" if resolves else "unset"
    run = run_wrapper({**environ, "LAMBDA_TASKS_NEXT_WRAPPER": str(following)}, ["one", "two words"])
    assert run.stdout == f"{following} {value} one two words\n", run.stderr
    run = run_wrapper({**environ, "PATH": f"{tmp_path}:{environ['PATH']}"}, ["following", "one"])
    assert run.stdout == f"{following} {value} one\n", run.stderr


def test_a_program_of_another_processor_is_no_script(aws: FakeAws, tmp_path: Path) -> None:
    """A binary that this system cannot execute is reported as such, and not read by a shell."""
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF\0\0\0\0")
    program.chmod(0o755)
    aws.secrets[secret_arn("s")] = "v"
    run = run_wrapper(base_environ(aws.url, LAMBDA_TASKS_SECRET_S=secret_arn("s")), [str(program)])
    assert (run.status, run.was_launched) == (1, False)
    assert f"CommandNotExecutable: {str(program)!r} cannot be executed: Exec format error" in run.stderr


def path_without_python(tmp_path: Path, *programs: str) -> str:
    """Return a PATH with nothing but `programs`, and what the shell half needs."""
    for program in ("grep", "od", "readlink", *programs):
        found = shutil.which(program)
        assert found
        (tmp_path / program).symlink_to(found)
    return str(tmp_path)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("python", ["", '/nowhere/pyt hon"\\'])
def test_without_any_python_curl_posts_the_init_error(aws: FakeAws, tmp_path: Path, python: str) -> None:
    """If no Python can be started, the shell half reports by curl, as JSON where the function logs so."""
    environ = {
        **base_environ(LAMBDA_TASKS_SECRET_S=secret_arn("s"), AWS_LAMBDA_RUNTIME_API=aws.runtime_api),
        "PATH": path_without_python(tmp_path, "curl"),
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
    }
    if python:
        environ["LAMBDA_TASKS_PYTHON"] = python
    finished = subprocess.run(["/bin/sh", WRAPPER, "/bin/true"], env=environ, capture_output=True, text=True)
    message = f"{'the Python' if python else 'python3'} cannot be executed: set LAMBDA_TASKS_PYTHON"
    report = json.loads(finished.stderr)
    assert (finished.returncode, report["message"], report["level"]) == (1, message, "ERROR")
    (posted,) = aws.init_errors
    assert posted.headers["Lambda-Runtime-Function-Error-Type"] == "LambdaTasks.PythonNotFound"
    assert posted.body == {"errorType": "LambdaTasks.PythonNotFound", "errorMessage": message, "stackTrace": []}


def test_without_python_and_curl_the_log_says_that_nothing_was_posted(aws: FakeAws, tmp_path: Path) -> None:
    """If neither can be started, one line on stderr says so, with exit status 1."""
    environ = {
        **base_environ(LAMBDA_TASKS_SECRET_S=secret_arn("s"), AWS_LAMBDA_RUNTIME_API=aws.runtime_api),
        "PATH": path_without_python(tmp_path),
    }
    finished = subprocess.run(["/bin/sh", WRAPPER, "/bin/true"], env=environ, capture_output=True, text=True)
    assert (finished.returncode, finished.stdout, aws.init_errors) == (1, "", [])
    assert finished.stderr == (
        "lambda-tasks: python3 cannot be executed: set LAMBDA_TASKS_PYTHON "
        "(no init error was posted: that takes Python, or curl)\n"
    )


def test_a_wrapper_without_its_python_half_says_so(tmp_path: Path) -> None:
    """A copy of the script alone names the folder that is missing."""
    copy = tmp_path / "lambda-tasks-exec"
    shutil.copy(WRAPPER, copy)
    environ = base_environ(LAMBDA_TASKS_SECRET_S=secret_arn("s"))
    finished = subprocess.run([copy, "true"], env=environ, capture_output=True, text=True)
    assert finished.stderr == (
        "lambda-tasks: python/lambda_tasks is not beside bin: keep the folders of the layer together\n"
    )
    assert finished.returncode == 1


@pytest.mark.parametrize("shell", SHELLS)
def test_an_image_without_grep_is_served_too(shell: str, aws: FakeAws, tmp_path: Path) -> None:
    """Without grep and od references are resolved, and without references no Python is started."""
    aws.secrets = {secret_arn("s"): "v", secret_arn("env"): '{"S": "v"}'}
    environ = {**base_environ(aws.url, A="1"), "PATH": str(tmp_path), "LAMBDA_TASKS_PYTHON": "/nowhere/python"}
    assert seen_by_command(shell, environ) == environ
    environ["LAMBDA_TASKS_PYTHON"] = sys.executable
    for name, arn in {"SECRET_S": "s", "ENVIRONMENT_SECRETS_MANAGER_ARN": "env"}.items():
        environ_with = {**environ, f"LAMBDA_TASKS_{name}": secret_arn(arn)}
        assert seen_by_command(shell, environ_with) == {**environ_with, "S": "v", "LAMBDA_TASKS_RESOLVED": "S"}


def test_the_wrapper_is_short() -> None:
    """The shell half is what can be read at a glance: everything else is Python."""
    lines = (ROOT / "bin" / "lambda-tasks-exec").read_text().splitlines()
    assert (len(lines) <= 40, lines[0]) == (True, "#!/bin/sh")
