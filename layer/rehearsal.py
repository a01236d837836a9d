"""One cold start of an unpacked layer on this machine: read-only, with one interpreter, against a fake AWS."""

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from events import message_body, sqs_event, sqs_record
from fake_aws import FakeAws, serve
from lambda_tasks.local.runtime import file_system
from wrapper import base_environ, parameter_arn, secret_arn

_TRIAL = Path(__file__).with_name("trial.py")
_MOUNTED = 'mount --bind "$0" /opt && mount -o remount,bind,ro /opt && exec "$@"'
_LONGEST_SECONDS = 120

# Proves with a file that secrets from both stores reached the task.
_TASKS = """
import os
from lambda_tasks import task

@task
def greet(*, name: str) -> None:
    with open(os.environ["WRITTEN"], "a") as file:
        print(os.environ["GREETING"], os.environ["TOKEN"], name, file=file)
"""
_GREETING, _TOKEN, _NAME = "good $(day)", "t 'o' k\te n", "Ada"


@dataclass(frozen=True)
class Rehearsal:
    """A rehearsal is one cold start with one interpreter: how many modules it imported, and what went wrong."""

    modules: int
    problems: tuple[str, ...]


def can_mount(layer: Path, interpreter: Path) -> bool:
    """Tell whether this machine lets us mount the layer at /opt, read-only even for root."""
    return file_system.can_mount(layer, [interpreter, _TRIAL, Path(tempfile.gettempdir())])


def rehearse(layer: Path, interpreter: Path, *, mount: bool) -> Rehearsal:
    """Import every module, resolve two secrets and dispatch two messages, one of them bad."""
    with read_only(layer), serve() as aws, tempfile.TemporaryDirectory(prefix="lambda-tasks-") as folder:
        before = snapshot(layer)
        event = sqs_event(sqs_record(message_body("shop.greet", name=_NAME)), sqs_record("{", message_id="bad"))
        environ = _function(aws, Path(folder))
        command = _command(layer, interpreter, environ["LAMBDA_TASK_ROOT"], json.dumps(event), mount=mount)
        process = subprocess.run(
            command, env=environ, cwd=folder, capture_output=True, text=True, timeout=_LONGEST_SECONDS
        )
        written = Path(environ["WRITTEN"])
        greetings = written.read_text() if written.exists() else ""
        changed = [f"{name} was changed" for name in sorted(_differences(before, snapshot(layer)))]
    if process.returncode != 0:
        return Rehearsal(0, (*changed, f"exit status {process.returncode}: {process.stderr.strip()[-1000:]}"))
    seen = json.loads(process.stdout.splitlines()[-1])
    return Rehearsal(seen["modules"], (*changed, *_problems(seen, greetings)))


def _function(aws: FakeAws, folder: Path) -> dict[str, str]:
    """Write a function and return its environment."""
    (folder / "shop.py").write_text(_TASKS)
    aws.secrets = {secret_arn("environment"): json.dumps({"GREETING": _GREETING})}
    aws.parameters = {parameter_arn("token"): _TOKEN}
    return base_environ(
        aws.url,
        LAMBDA_TASK_ROOT=str(folder),
        WRITTEN=str(folder / "written"),
        LAMBDA_TASKS_MODULES="shop",
        LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN=secret_arn("environment"),
        LAMBDA_TASKS_SECRET_TOKEN=parameter_arn("token"),
    )


def _command(layer: Path, interpreter: Path, task_root: str, event: str, *, mount: bool) -> list[str]:
    opt = file_system.OPT if mount else str(layer)
    mounted = [*file_system.unshare_command(), "sh", "-c", _MOUNTED, str(layer)] if mount else []
    trial = [str(interpreter), "-S", "-s", str(_TRIAL), f"{opt}/python", task_root, event]
    return [*mounted, f"{opt}/bin/lambda-tasks-exec", *trial]


def _problems(seen: dict[str, Any], greetings: str) -> Iterator[str]:
    yield from (f"cannot be imported: {failure}" for failure in seen["failed"])
    yield from (f"stale byte code, or none: {source}" for source in seen["stale"])
    yield from seen["touched"]
    yield from (f"{entry} was added to sys.path" for entry in seen["added_to_path"])
    if seen["answer"] != {"batchItemFailures": [{"itemIdentifier": "bad"}]}:
        yield f"the messages were answered with {seen['answer']}"
    if greetings != f"{_GREETING} {_TOKEN} {_NAME}\n":
        yield f"the task did not see its secrets: {greetings!r}"


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take the right to write, which binds every user but root."""
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode & 0o777 for path in paths}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return what anyone who wrote below a folder would have changed: names, times, permissions and contents."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[os.path.relpath(path, folder)] = (status.st_mode, status.st_mtime_ns, content)
    return found


def _differences(before: dict[str, tuple[object, ...]], after: dict[str, tuple[object, ...]]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
