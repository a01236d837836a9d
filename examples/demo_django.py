"""The polls on this machine: Django's pages enqueue, and the function's tasks write rows, by layer, runtime and SQS.

`make demo-django` runs it. It drives ``lambda-tasks local`` with examples/polls/template.yaml, and Django's own server
as a visitor does. It exits with status 0 only where every outcome is the expected one. With ``--keep`` both go on until
Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import http.cookiejar
import json
import os
import queue
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import boto3

from lambda_tasks.local.runtime.file_system import make_runtime

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ROOT / "examples" / "polls"
LAYER = ROOT / "layer" / "dist" / "lambda-tasks-layer.zip"
LAYER_ARN = "arn:aws:lambda:eu-west-1:123456789012:layer:lambda-tasks:1"
LONGEST_SECONDS = 300
GOING_ON = ("retrying", "deferred")

PREPARE = """
import os, sys
import django; django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from polls.models import Choice, Question
call_command("migrate", verbosity=0)
User.objects.create_superuser("admin", password=os.environ["POLLS_ADMIN_PASSWORD"])
question = Question.objects.create(text="What goes with tea?")
for text in ("Milk", "Lemon", "Nothing"):
    Choice.objects.create(question=question, text=text)
"""

EXPECTED = {
    ("polls.tasks.count_vote", "succeeded", 1): 6,
    ("polls.tasks.count_vote", "failed", 1): 2,
    ("polls.tasks.announce", "succeeded", 2): 1,
    ("polls.tasks.summarise", "succeeded", 1): 1,
}
LETTERS = 2
SUMMARY = "Closed: Milk 3, Lemon 2, Nothing 1."


class DemoError(Exception):
    """What keeps the demo from going on."""


class Local:
    """``lambda-tasks local`` in a process: what it says, as it says it."""

    def __init__(self, folder: Path, layer: Path, values: Path) -> None:
        options = ["--template", str(folder / "template.yaml"), "--layer", f"{LAYER_ARN}={layer}", "--port", "0"]
        options += ["--env-file", str(values), "--cache", str(ROOT / "build"), "--json"]
        command = [sys.executable, "-m", "lambda_tasks", "local", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.log: list[str] = []
        self.ends: list[dict[str, Any]] = []
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def wait_for(self, name: str, deadline: float) -> dict[str, Any]:
        """Return the next event of this name.

        Raises:
            DemoError: there was none in time, or the function cannot start.

        """
        while True:
            try:
                event = self._said.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise DemoError(f"nothing was heard of {name!r} in time") from None
            if event is None:
                raise DemoError("`lambda-tasks local` ended")
            if event["event"] == "failure":
                raise DemoError(f"the function failed: {event['error_type']}: {event['reason']}")
            if event["event"] == name:
                return event

    def wait_until_done(self, count: int, deadline: float) -> None:
        """Wait for the end of `count` messages, and note it."""
        while count:
            outcome = self.wait_for("outcome", deadline)
            if outcome["outcome"] not in GOING_ON:
                count -= 1
                self.ends.append(outcome)

    def _listen(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - for mypy: it is a pipe
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "log":
                self.log.append(event["line"])
            self._said.put(event)
        self._said.put(None)


class Visitor:
    """Somebody who looks at the pages, and presses their buttons."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._cookies = http.cookiejar.CookieJar()
        self._open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._cookies)).open

    def look(self, path: str = "") -> str:
        """Return a page."""
        with self._open(f"{self.url}{path}", timeout=60) as answer:
            return str(answer.read().decode())

    def press(self, path: str, **fields: object) -> str:
        """Send a form, and return the page that comes of it."""
        token = next(one.value for one in self._cookies if one.name == "csrftoken")
        data = urllib.parse.urlencode({"csrfmiddlewaretoken": token, **fields}).encode()
        with self._open(f"{self.url}{path}", data, timeout=60) as answer:
            return str(answer.read().decode())

    def wait(self, deadline: float) -> None:
        """Wait until the server answers."""
        while time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.URLError):
                self.look()
                return
            time.sleep(0.05)
        raise DemoError("the web server does not answer")


def main(arguments: Sequence[str]) -> int:
    """Run the demo and return the exit status."""
    parser = argparse.ArgumentParser(prog="demo_django.py", description="Run the polls on this machine.")
    parser.add_argument("--layer", type=Path, default=LAYER, help="zip of the layer (default: what `make layer` built)")
    parser.add_argument("--keep", action="store_true", help="go on until Ctrl-C, to look at it")
    options = parser.parse_args(arguments)
    if not options.layer.exists():
        parser.error(f"there is no {options.layer}: run `make layer`")
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever started this may have had it ignore them
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="lambda-tasks-polls-") as folder:
        try:
            return run(Path(folder), options.layer, keep=options.keep)
        except DemoError as error:
            print(f"The demo did not end well: {error}", file=sys.stderr)
            return 1


def run(folder: Path, layer: Path, *, keep: bool) -> int:
    """Run the demo in an empty folder."""
    started = time.monotonic()
    deadline = started + LONGEST_SECONDS
    code = lay_out(folder / "function")
    secret, password = secrets.token_urlsafe(40), secrets.token_urlsafe(9)
    values = folder / "values.json"
    values.write_text(json.dumps({"POLLS_SECRET_KEY": secret, "POLLS_DATABASE": str(folder / "polls.sqlite3")}))
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LAMBDA_TASKS_"))},
        "DJANGO_SETTINGS_MODULE": "polls.settings",
        "PYTHONPATH": str(PROJECT),
        "POLLS_ADMIN_PASSWORD": password,
        "POLLS_DATABASE": str(folder / "polls.sqlite3"),
        "POLLS_SECRET_KEY": secret,
    }
    local = Local(code, layer, values)
    with ended(local.process):
        subprocess.run([sys.executable, "-c", PREPARE], env=environ, check=True)
        exported = local.wait_for("ready", deadline)["environ"]
        with serving({**environ, **exported}) as url:
            visitor = Visitor(url)
            visitor.wait(deadline)
            page = visit(visitor, local, deadline)
            print_results(local.ends)
            problems = unexpected(local.ends, dead_letters(exported), page)
            problems += ["a secret was logged"] if secret in "\n".join(local.log) else []
            print_verdict(problems, time.monotonic() - started)
            if keep:
                print(
                    f"Pages: {url}\nAdmin: {url}admin/ (user admin, password {password})\nCtrl-C ends it.", flush=True
                )
                with contextlib.suppress(KeyboardInterrupt):
                    signal.pause()
            elif not problems:
                print("The pages and the admin show it: make demo-django KEEP=1")
    return 1 if problems else 0


def lay_out(folder: Path) -> Path:
    """Make the function's folder as `sam build` does: the code, and beside it the packages that it requires."""
    packages = ["django", *(["django-tasks"] if metadata.version("django") < "6" else [])]
    make_runtime(folder, packages)
    return Path(shutil.copytree(PROJECT, folder, dirs_exist_ok=True))


def visit(visitor: Visitor, local: Local, deadline: float) -> str:
    """Vote and close as people do, and return the page that they see in the end."""
    page = visitor.look()
    choices = re.findall(r'name="choice" value="(\d+)"', page)
    for choice in [choices[0], choices[1], choices[0], choices[2], choices[0], choices[1], "999"]:
        visitor.press("vote/", choice=choice)
    local.wait_until_done(7, deadline)
    (closing,) = re.findall(r'action="/(close/\d+/)"', page)
    visitor.press(closing)
    visitor.press("vote/", choice=choices[0])  # from a page that was open still
    local.wait_until_done(3, deadline)
    return visitor.look()


def dead_letters(environ: Mapping[str, str]) -> int:
    """Count what lies in the dead-letter queue."""
    sqs = boto3.client(
        "sqs",
        endpoint_url=environ["AWS_ENDPOINT_URL"],
        region_name=environ["AWS_REGION"],
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
    )
    name, url = "ApproximateNumberOfMessages", environ["LAMBDA_TASKS_DEAD_LETTER_QUEUE_URL"]
    return int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])


def unexpected(ends: Sequence[Mapping[str, Any]], letters: int, page: str) -> list[str]:
    """Say what did not end as it should."""
    found = Counter((one["task"], one["outcome"], one["attempt"]) for one in ends)
    problems = [
        f"{found[key]} of {' '.join(map(str, key))}, expected {EXPECTED.get(key, 0)}"
        for key in {**EXPECTED, **found}
        if found[key] != EXPECTED.get(key, 0)
    ]
    if letters != LETTERS:
        problems.append(f"{letters} dead letters, expected {LETTERS}")
    return problems + ([] if SUMMARY in page else ["the page does not show the summary"])


def print_results(ends: Sequence[Mapping[str, Any]]) -> None:
    """Print what became of each message."""
    print(f"{'task':<24} {'outcome':<10} {'attempts':>8} {'time':>9}  why")
    for one in ends:
        why = " ".join((one["error"] or "").split())[:42]
        print(
            f"{one['task']:<24} {one['outcome']:<10} {one['attempt']:>8} {one['duration_ms']:>6.1f} ms  {why}".rstrip()
        )


def print_verdict(problems: Sequence[str], seconds: float) -> None:
    """Print what was not as expected, or that all was."""
    if problems:
        print("\nNot as expected:", *problems, sep="\n  ")
    else:
        count = sum(EXPECTED.values())
        print(f"\nAll {count} messages ended as expected, {LETTERS} of them as dead letters ({seconds:.1f} s).")


@contextlib.contextmanager
def serving(environ: Mapping[str, str]) -> Iterator[str]:
    """Run Django's own server meanwhile, and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(PROJECT / "manage.py"), "runserver", "--noreload", "--insecure", f"127.0.0.1:{port}"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environ, stdout=quiet, stderr=quiet) as process, ended(process):
        yield f"http://127.0.0.1:{port}/"


@contextlib.contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """End a process, however the block ends."""
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
