"""The sources of credentials, and their order."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.utils import ContainerMetadataFetcher

from fault_server import Script, answer, hang, reset, respond, serve
from lambda_tasks.aws import credentials
from lambda_tasks.aws.credentials import CredentialChain, Credentials
from lambda_tasks.errors import CredentialsNotFound
from wrapper import ROOT, base_environ, run_wrapper, secret_arn

CONTAINER = {"AccessKeyId": "id", "SecretAccessKey": "canary-key", "Token": "canary-token"}
HEADERS = "set AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN without line breaks and control characters"
CORRECT = "correct the variable, or remove it and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def test_the_environments_credentials_come_first() -> None:
    """The three variables that Lambda sets become the credentials; no repr shows the secret parts."""
    environ = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "canary-key", "AWS_SESSION_TOKEN": "canary-token"}
    found = CredentialChain({**environ, "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://nowhere"})()
    assert found == Credentials("id", "canary-key", "canary-token")
    assert "canary" not in f"{found!r} {found!s}"


def test_credentials_that_would_break_a_header_are_refused() -> None:
    """A line break in a token could inject a header: it is refused before anything is sent."""
    environ = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "k", "AWS_SESSION_TOKEN": "a\r\nX-Injected: b"}
    with pytest.raises(CredentialsNotFound) as caught:
        CredentialChain(environ)()
    assert str(caught.value) == f"the credentials of the environment hold characters that cannot be sent: {HEADERS}"


def test_the_containers_endpoint_is_asked_once_until_it_expires(tmp_path: Path) -> None:
    """Under SnapStart credentials come from an endpoint, with its token, and are renewed before they expire."""
    now = [1_000_000.0]
    first = answer(json.dumps({**CONTAINER, "Expiration": "1970-01-12T14:03:20Z"}).encode())
    with serve(first, answer(json.dumps({**CONTAINER, "AccessKeyId": "renewed"}).encode())) as server:
        token = tmp_path / "token"
        token.write_text("from a file\n")
        environ = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/get?role=a",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
        }
        chain = CredentialChain(environ, wall_clock=lambda: now[0])
        assert chain() == chain() == Credentials("id", "canary-key", "canary-token", 1_001_000.0)
        assert len(server.heads) == 1
        now[0] += 701
        assert chain().access_key_id == "renewed"
        assert chain().expires_at is None
    assert len(server.heads) == 2
    assert server.heads[0].startswith(b"GET /get?role=a HTTP/1.1\r\n")
    assert b"Authorization: from a file\r\n" in server.heads[0]


GOOD = answer(json.dumps(CONTAINER).encode())


def container(url: str, **variables: str) -> CredentialChain:
    return CredentialChain({"AWS_CONTAINER_CREDENTIALS_FULL_URI": url, **variables})


def within(seconds: float) -> float:
    return time.monotonic() + seconds


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (answer(b"canary", status="403 Forbidden"), "it answered 403"),
        (answer(b"canary", status="500 Oops"), "it answered 500"),
        (answer(b"canary"), "its answer holds no credentials"),
        (answer(b'{"AccessKeyId": "canary"}'), "its answer holds no credentials"),
        (answer(b'{"AccessKeyId": 1, "SecretAccessKey": 2}'), "its answer holds no credentials"),
        (answer(b'{"AccessKeyId": "a", "SecretAccessKey": "b", "Expiration": 5}'), "its answer holds no credentials"),
        (answer(b'{"AccessKeyId": "", "SecretAccessKey": "canary"}'), "its answer holds no credentials"),
        (answer(b"[]"), "its answer holds no credentials"),
        (answer(b"[" * 100_000), "its answer holds no credentials"),
        (answer(b"short", length=10), "the connection was closed before the answer was complete"),
    ],
)
def test_a_container_endpoint_that_fails_is_said(script: Script, problem: str) -> None:
    """An endpoint that gives no credentials is an error that says why, and not what it answered."""
    with serve(script) as server, pytest.raises(CredentialsNotFound) as caught:
        container(server.url, AWS_CONTAINER_AUTHORIZATION_TOKEN="token").before(within(0.5))
    assert server.heads
    assert str(caught.value) == (
        f"the container's endpoint gives no credentials: {problem} "
        f"(variable AWS_CONTAINER_CREDENTIALS_FULL_URI): {CORRECT}"
    )


@pytest.mark.parametrize(
    "script",
    [
        answer(b"", status="500 Oops"),
        answer(b"", status="503 Busy"),
        answer(b"", status="404 Not yet"),
        answer(b"{broken"),
        answer(b"{}"),
        reset,
        respond(),
    ],
    ids=["500", "503", "404", "broken JSON", "empty", "reset", "closed"],
)
def test_a_container_endpoint_is_asked_again(script: Script) -> None:
    """A fault of the endpoint that passes is not noticed."""
    with serve(script, GOOD) as server:
        assert container(server.url)().access_key_id == "id"
    assert len(server.heads) == 2


def test_a_container_endpoint_that_hangs_is_asked_again() -> None:
    """A connection that is accepted and never answered costs a part of the time, not all of it."""
    stop = threading.Event()
    with serve(hang(stop), GOOD) as server:
        assert container(server.url).before(within(3)).access_key_id == "id"
        stop.set()


def test_a_container_endpoint_that_refuses_is_asked_thrice() -> None:
    """What is no fault of the network is asked for as often as botocore does, and then it is final."""
    refused = pytest.raises(CredentialsNotFound, match="it answered 403")
    with serve(answer(b"", status="403 Forbidden")) as server, refused:
        container(server.url)()
    assert len(server.heads) == ContainerMetadataFetcher.RETRY_ATTEMPTS


def test_one_thread_asks_and_all_have_the_answer() -> None:
    """Threads that need credentials at the same time do not ask one after the other."""
    waiting = threading.Event()

    def slow(connection: socket.socket) -> None:
        waiting.wait(0.5)  # nothing sets it: time for the others to come
        GOOD(connection)

    with serve(answer(b"", status="503 Busy"), slow) as server, ThreadPoolExecutor(6) as threads:
        chain = container(server.url)
        answers = [threads.submit(chain.before, within(20)) for _ in range(6)]
        assert {one.result().access_key_id for one in answers} == {"id"}
        assert len(server.heads) == 2


def test_a_failure_is_shared_and_who_has_more_time_goes_on() -> None:
    """Who waits has the same failure, or asks by itself where its own deadline is later."""
    recovered, stop = threading.Event(), threading.Event()

    def script(connection: socket.socket) -> None:
        (GOOD if recovered.is_set() else hang(stop))(connection)

    with serve(script) as server, ThreadPoolExecutor(3) as threads:
        chain, deadline = container(server.url), within(0.5)
        short = [threads.submit(chain.before, deadline) for _ in range(2)]
        longer = threads.submit(chain.before, within(20))
        for one in short:
            with pytest.raises(CredentialsNotFound, match=r"no answer while|no time left while"):
                one.result()
        recovered.set()
        stop.set()
        assert longer.result().access_key_id == "id"


def test_a_search_that_nobody_ends_does_not_last() -> None:
    """A search whose thread is gone, as after a fork, is begun anew once its time is over."""
    with serve(GOOD) as server:
        chain = container(server.url)
        chain._search = credentials._Search(within(0.1))
        with pytest.raises(CredentialsNotFound, match="no time left while waiting for AWS credentials"):
            chain.before(within(0.1))
        chain._search = credentials._Search(within(-2))
        assert chain().access_key_id == "id"


def test_credentials_that_are_still_valid_outlive_a_failed_renewal() -> None:
    """Renewing begins early: one try that fails then does no harm, and is not made with every request."""
    now = [1_000_000.0]
    first = answer(json.dumps({**CONTAINER, "Expiration": "1970-01-12T14:03:20Z"}).encode())
    renewed = answer(json.dumps({**CONTAINER, "AccessKeyId": "renewed"}).encode())
    with serve(first, answer(b"", status="500 Oops"), renewed) as server:
        environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": server.url}
        chain = CredentialChain(environ, wall_clock=lambda: now[0])
        assert chain().access_key_id == "id"
        now[0] += 701
        assert [chain().access_key_id for _ in range(3)] == ["id"] * 3
        assert len(server.heads) == 2
        now[0] += 11
        assert chain().access_key_id == "renewed"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2", "[::1]", "169.254.170.23", "[fd00:ec2::23]"])
def test_hosts_beside_the_function_may_be_asked(host: str) -> None:
    """The addresses that botocore asks over plain HTTP are asked here too."""
    ContainerMetadataFetcher()._validate_allowed_url(f"http://{host}:9/")
    with pytest.raises(CredentialsNotFound) as caught:
        container(f"http://{host}:9/").before(within(0.05))
    assert "another host" not in str(caught.value)


@pytest.mark.parametrize("host", ["evil.example", "128.0.0.1", "127.0.0.1.example", "127.x.0.1", "[::2]"])
def test_other_hosts_may_not(host: str) -> None:
    """Over plain HTTP nobody else is given the token."""
    with pytest.raises(CredentialsNotFound, match="on another host"):
        container(f"http://{host}:9/")()


def test_no_proxy_is_asked_for_credentials() -> None:
    """The endpoint is beside the function: a proxy could not reach it."""
    with serve(GOOD) as server:
        environ = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
        assert container(server.url, **environ)().access_key_id == "id"


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "nonsense"}, "its address is not usable: use a URL such as "),
        (
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://evil.example/"},
            "it would be asked over plain HTTP on another host",
        ),
        (
            {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/nowhere/token",
            },
            "its token file cannot be read: No such file or directory "
            "(variable AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE)",
        ),
        (
            {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": sys.executable,
            },
            "its token holds characters that cannot be sent (variable AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE)",
        ),
        (
            {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": ".evil.example/"},
            "it would be asked over plain HTTP on another host (variable AWS_CONTAINER_CREDENTIALS_RELATIVE_URI)",
        ),
        (
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "a\nb"},
            "its token holds characters that cannot be sent (variable AWS_CONTAINER_AUTHORIZATION_TOKEN)",
        ),
    ],
)
def test_a_container_endpoint_that_must_not_be_asked(environ: dict[str, str], problem: str) -> None:
    """An address that would give the token away, or a token that cannot be sent, is refused."""
    with pytest.raises(CredentialsNotFound) as caught:
        CredentialChain(environ)()
    assert f"gives no credentials: {problem}" in str(caught.value)


def chain_in_process(environ: dict[str, str], setup: str = "") -> subprocess.CompletedProcess[str]:
    """Ask the chain as the exec wrapper does: in a Python without site-packages."""
    code = f"import sys; sys.path.append({str(ROOT / 'python')!r})\n{setup}\n"
    code += "from lambda_tasks.aws.credentials import CredentialChain\nimport os\nprint(CredentialChain(os.environ)().secret_access_key)"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], env=environ, capture_output=True, text=True, check=False, timeout=60
    )


def test_profiles_are_found_by_boto3(tmp_path: Path) -> None:
    """On a machine with profiles boto3's own chain is asked, though the wrapper starts without site-packages."""
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = id\naws_secret_access_key = key\n")
    files = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"), "AWS_CONFIG_FILE": "/nowhere"}
    finished = chain_in_process({**files, "AWS_EC2_METADATA_DISABLED": "true"})
    assert finished.stdout == "key\n", finished.stderr


@pytest.mark.parametrize(
    ("environ", "setup", "message"),
    [
        (
            {},
            "",
            "there are no AWS credentials in the environment, and boto3 finds none: set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (Lambda does so for every function), or configure a profile",
        ),
        (
            {},
            "sys.modules['boto3'] = None",
            "there are no AWS credentials in the environment, and boto3 is not installed: set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (Lambda does so for every function), or install boto3 to use profiles and SSO",
        ),
        (
            {"AWS_PROFILE": "nobody"},
            "",
            "boto3 could not get AWS credentials (ProfileNotFound: The config profile (nobody) could not be found): "
            "log in again, or correct the profile",
        ),
    ],
)
def test_a_machine_without_credentials_is_said(environ: dict[str, str], setup: str, message: str) -> None:
    """Without credentials, boto3 or the profile the error says what to set or install."""
    nothing = {"AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_CONFIG_FILE": "/nowhere"}
    finished = chain_in_process({**nothing, "AWS_EC2_METADATA_DISABLED": "true", **environ}, setup)
    assert finished.returncode == 1
    assert finished.stderr.endswith(f"lambda_tasks.errors.CredentialsNotFound: {message}\n")


class Found:
    """The credentials that boto3 gives, which renew themselves, or cannot."""

    def __init__(self, *answers: Callable[[], Any]) -> None:
        self.answers = list(answers)

    def get_frozen_credentials(self) -> Any:
        return self.answers.pop(0)()


def test_boto3_renews_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 is asked at every request, since it renews its credentials; those that it cannot renew are an error."""

    class Keys:
        access_key, secret_key, token = "id", "key", "token"

    def expired() -> Any:
        raise RuntimeError("the SSO session has expired")

    found = Found(Keys, Keys, expired)
    session = type("Boto3", (), {"Session": lambda: type("S", (), {"get_credentials": lambda _: found})()})
    monkeypatch.setattr(credentials, "_import_boto3", lambda: session)
    chain = CredentialChain({})
    assert chain() == chain() == Credentials("id", "key", "token")
    with pytest.raises(CredentialsNotFound, match=r"could not get AWS credentials \(RuntimeError: the SSO session"):
        chain()


def test_missing_credentials_are_one_problem_of_the_wrapper() -> None:
    """The wrapper reports missing credentials once, for all references."""
    environ = base_environ(LAMBDA_TASKS_SECRET_A=secret_arn("a"), LAMBDA_TASKS_SECRET_B=secret_arn("b"))
    del environ["AWS_ACCESS_KEY_ID"]
    environ |= {
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    run = run_wrapper(environ)
    assert (run.status, run.was_launched) == (1, False)
    assert run.stderr.count("CredentialsNotFound") == 1
    assert "(variable A, B)" in run.stderr
