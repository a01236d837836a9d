"""The exec wrapper where the network or AWS misbehaves, and where its output must not show a value."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Authority, make_authority
from fake_aws import FakeAws
from fault_server import Script, answer, dead_address, drip, hang, refusing_address, reset, respond, serve
from wrapper import WRAPPER, Run, base_environ, parameter_arn, run_wrapper, secret_arn

ARN = secret_arn("db-AbCdEf")
GOOD = answer(json.dumps({"ARN": ARN, "SecretString": "v"}).encode())
BUDGET_SECONDS = 1.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    """Set at the end of the test, so that no server waits longer."""
    event = threading.Event()
    yield event
    event.set()


def resolve(aws: FakeAws, url: str, **variables: str) -> Run:
    """Resolve one secret from `url` within a second; `aws` is the Runtime API."""
    environ = base_environ(
        url,
        AWS_LAMBDA_RUNTIME_API=aws.runtime_api,
        AWS_LAMBDA_LOG_FORMAT="JSON",
        LAMBDA_TASKS_RESOLVE_TIMEOUT_SECONDS=str(BUDGET_SECONDS),
        LAMBDA_TASKS_SECRET_DB=ARN,
        **variables,
    )
    return run_wrapper(environ)


def assert_failed(run: Run, aws: FakeAws, error: str, message: str = "") -> None:
    """Check that COMMAND was not run, and that the error was told to whoever started the wrapper, in one line."""
    assert (run.status, run.was_launched) == (1, False)
    assert run.report["errorType"] == f"LambdaTasks.{error}", run.report
    assert message in run.report["message"]
    (posted,) = aws.init_errors
    assert (posted.body["errorType"], posted.body["errorMessage"]) == (f"LambdaTasks.{error}", run.report["message"])
    assert "variable DB" in run.report["message"]
    assert ARN in run.report["message"]
    assert "canary" not in run.stderr


FAULTS: list[tuple[str, Script, str, str]] = [
    ("reset in the middle", reset, "ServiceUnavailable", "Connection reset by peer"),
    ("500 for ever", answer(b"", status="500 Oops"), "ServiceUnavailable", "answered 500"),
    ("throttled for ever", answer(b'{"__type": "ThrottlingException"}', status="400 Bad"), "ServiceUnavailable", "ThrottlingException"),
    ("access denied", answer(b'{"__type": "AccessDeniedException"}', status="400 Bad"), "SecretAccessDenied", f"allow the function's role secretsmanager:GetSecretValue on {ARN}"),
    ("not JSON", answer(b"<html>canary</html>"), "ServiceUnavailable", "something else than a JSON object"),
    ("truncated", answer(b'{"SecretString": "canary', length=100), "ServiceUnavailable", "closed before the answer was complete"),
    ("content length too short", answer(b'{"SecretString": "canary"}', length=20), "ServiceUnavailable", "something else than a JSON object"),
    ("content length is no number", respond(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), "ServiceUnavailable", "length is not a number"),
    ("100 MiB", answer(b"canary", length=100 << 20), "ServiceUnavailable", "larger than 8388608 bytes"),
    ("100 MiB without a length", respond(b"HTTP/1.1 200 OK\r\n\r\n", *[b"canary--" * 8192] * 1600), "ServiceUnavailable", "larger than 8388608 bytes"),
    ("redirect", answer(b"", "Location: http://127.0.0.1:9/", status="302 Found"), "ServiceUnavailable", "answered 302"),
    ("not HTTP", respond(b"220 smtp ready\r\n\r\n"), "ServiceUnavailable", "the answer is not HTTP"),
    ("no secret in the answer", answer(b'{"Name": "canary"}'), "ServiceUnavailable", "the answer holds no secret"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "error", "message"), [fault[1:] for fault in FAULTS], ids=[one[0] for one in FAULTS]
)
def test_a_fault_ends_in_the_right_error(aws: FakeAws, script: Script, error: str, message: str) -> None:
    """For any fault of a server the wrapper ends within its budget, with one error, and COMMAND is not run."""
    with serve(script) as server:
        started = time.monotonic()
        run = resolve(aws, server.url)
        # Not a measure of speed: without a bound some of these would take for ever.
        assert time.monotonic() - started < BUDGET_SECONDS + 10
    assert_failed(run, aws, error, message)


@pytest.mark.parametrize("kind", ["never answers", "drips its head", "drips its body"])
def test_a_slow_server_is_a_timeout(aws: FakeAws, stop: threading.Event, kind: str) -> None:
    """A server that never answers, or drips, is given up when the budget is spent."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"

    def drip_body(connection: socket.socket) -> None:
        connection.sendall(head)
        drip(b"canary" * 1000, stop)(connection)

    scripts = {"never answers": hang(stop), "drips its head": drip(head * 10, stop), "drips its body": drip_body}
    with serve(scripts[kind]) as server:
        run = resolve(aws, server.url)
        stop.set()
    assert_failed(run, aws, "ResolveTimeout", "no time left while waiting for 127.0.0.1")


def test_nobody_there_is_unavailable(aws: FakeAws) -> None:
    """A refused connection is tried again until the budget is spent, then named."""
    port = refusing_address()
    run = resolve(aws, f"http://127.0.0.1:{port}")
    assert_failed(run, aws, "ServiceUnavailable", f"Connection refused while connecting to 127.0.0.1:{port}")


def test_a_full_backlog_is_a_timeout(aws: FakeAws) -> None:
    """A host that does not even accept the connection is given up when the budget is spent."""
    with dead_address() as port:
        run = resolve(aws, f"http://127.0.0.1:{port}")
    assert_failed(run, aws, "ResolveTimeout", "no time left while connecting to 127.0.0.1")


@pytest.mark.parametrize(
    "script",
    [
        answer(b"", status="500 Oops"),
        answer(b'{"__type": "ThrottlingException"}', status="400 Bad Request"),
        reset,
        respond(),
    ],
    ids=["500", "throttled", "reset", "closed"],
)
def test_a_fault_that_passes_is_not_noticed(aws: FakeAws, script: Script) -> None:
    """Throttling, 5xx and a broken connection are tried again, and the value arrives."""
    with serve(script, GOOD) as server:
        run = resolve(aws, server.url, AWS_LAMBDA_LOG_LEVEL="ERROR")
    assert (run.status, run.stderr) == (0, "")
    assert run.environ["DB"] == "v"
    assert aws.init_errors == []


@pytest.mark.parametrize(
    ("host", "expired", "reason"),
    [
        ("127.0.0.1", True, "certificate has expired"),
        ("secretsmanager.example", False, "IP address mismatch"),
    ],
)
def test_a_wrong_certificate_is_refused(
    aws: FakeAws, authority: Authority, host: str, reason: str, *, expired: bool
) -> None:
    """A server with an expired certificate, or one for another name, gets no request."""
    with serve(GOOD, tls=authority.server_context(host, expired=expired)) as server:
        url = server.url.replace("http:", "https:")
        run = resolve(aws, url, AWS_CA_BUNDLE=str(authority.bundle))
        assert server.heads == []
    assert_failed(run, aws, "ServiceUnavailable", reason)


def test_a_good_certificate_is_trusted(aws: FakeAws, authority: Authority) -> None:
    """Over TLS, with a server that AWS_CA_BUNDLE vouches for, the value arrives."""
    with serve(GOOD, tls=authority.server_context("127.0.0.1")) as server:
        url = server.url.replace("http:", "https:")
        run = resolve(aws, url, AWS_CA_BUNDLE=str(authority.bundle))
    assert run.environ["DB"] == "v", run.stderr


def test_a_runtime_api_that_is_not_there_changes_nothing(aws: FakeAws) -> None:
    """If the init error cannot be posted, the line on stderr and the exit status are the same."""
    environ = base_environ(aws.url, LAMBDA_TASKS_SECRET_DB=ARN, AWS_LAMBDA_RUNTIME_API="127.0.0.1:9")
    run = run_wrapper(environ)
    assert (run.status, run.was_launched) == (1, False)
    assert "SecretNotFound: there is no such secret" in run.stderr
    assert run_wrapper({**environ, "AWS_LAMBDA_RUNTIME_API": "no host"}).status == 1


MANGLED = st.lists(
    st.sampled_from(["arn", "aws", "secretsmanager", "ssm", "eu-west-1", "123456789012", "secret", "x"])
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6),
    min_size=1,
    max_size=11,
).map(":".join)


@settings(max_examples=25)
@given(MANGLED)
def test_no_mangled_reference_makes_a_call(value: str) -> None:
    """Beside one that is valid, an invalid reference is reported before anything is fetched."""
    with serve(GOOD) as server:
        environ = base_environ(server.url, LAMBDA_TASKS_SECRET_GOOD=ARN, LAMBDA_TASKS_SECRET_BAD=f"{value}:")
        run = run_wrapper(environ)
        assert server.heads == []
    assert (run.status, run.was_launched) == (1, False)
    assert "InvalidReference" in run.stderr


def canary_environ(aws: FakeAws) -> dict[str, str]:
    """Put a canary into every kind of secret, and refer to all of them."""
    aws.secrets = {secret_arn("env"): '{"A": "canary-env"}', ARN: '{"k": "canary-key"}'}
    aws.parameters = {parameter_arn("p"): "canary-parameter", "/app/BY_PATH": "canary-path"}
    return base_environ(
        aws.url,
        AWS_LAMBDA_RUNTIME_API=aws.runtime_api,
        AWS_SESSION_TOKEN="canary-token",
        LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN=secret_arn("env"),
        LAMBDA_TASKS_SSM_ENVIRONMENT="/app/",
        LAMBDA_TASKS_SECRET_DB=f"{ARN}:k::",
        LAMBDA_TASKS_SECRET_P=parameter_arn("p"),
    )


def test_a_canary_is_seen_by_the_command_alone(aws: FakeAws, tmp_path: Path) -> None:
    """Resolved values are in no output, no argument list and no file: in the environment of COMMAND alone."""
    environ = {**canary_environ(aws), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    arguments = "for p in /proc/[0-9]*/cmdline; do cat $p 2>/dev/null; echo; done"
    run = run_wrapper(environ, ["sh", "-c", arguments], cwd=tmp_path)
    assert (run.status, "lambda-tasks" in run.stderr) == (0, True)
    assert (
        "canary-" not in run.stdout + run.stderr
    )  # with a hyphen: pytest may have been asked for this test by its name
    assert list(tmp_path.iterdir()) == []
    command = ["sh", "-c", 'printf %s "$A$DB$P$BY_PATH"']
    shown = "canary-envcanary-keycanary-parametercanary-path"
    assert run_wrapper(environ, command).stdout == shown


def test_the_resolver_writes_no_file(aws: FakeAws, tmp_path: Path) -> None:
    """The whole run, as the kernel sees it, opens no file for writing but standard streams."""
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=openat,creat,execve", "-s", "4096", "-o", str(trace)]
    try:
        finished = subprocess.run(
            [*command, str(WRAPPER), "true"], env=canary_environ(aws), capture_output=True, timeout=60, check=False
        )
    except FileNotFoundError:
        pytest.skip("strace is not installed")
    if b"PTRACE" in finished.stderr:
        pytest.skip("strace may not trace here")
    assert finished.returncode == 0, finished.stderr
    calls = trace.read_text().splitlines()
    assert any("execve" in line and '"true"' in line for line in calls)
    writing = [line for line in calls if "O_WRONLY" in line or "O_RDWR" in line or "creat(" in line]
    assert [line for line in writing if '"/dev/' not in line and "__pycache__" not in line] == []
    assert not any("canary" in line.partition("/* ")[0] for line in calls if "execve" in line)


@pytest.mark.parametrize("fault", ["conflict", "not flat", "denied"])
def test_a_canary_is_in_no_failure(aws: FakeAws, fault: str) -> None:
    """No failure shows a value either: not on stderr, and not to the Runtime API."""
    environ = canary_environ(aws)
    if fault == "conflict":
        aws.secrets[secret_arn("env")] = '{"DB": "canary-env"}'
    elif fault == "not flat":
        aws.secrets[secret_arn("env")] = '{"A": {"canary-nested": "canary"}}'
    else:
        aws.answers = [lambda _: (400, {"__type": "SignatureDoesNotMatch", "message": "canary-token"})] * 4
    run = run_wrapper(environ)
    assert (run.status, run.was_launched) == (1, False)
    assert "canary" not in run.stderr + str([error.body for error in aws.init_errors])


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"AWS_CA_BUNDLE": "/nope"}, "the certificates cannot be read (No such file or directory) (variable AWS_CA_BUNDLE)"),
        ({"AWS_ENDPOINT_URL": "nonsense"}, "the endpoint is not usable (variable AWS_ENDPOINT_URL)"),
        ({"AWS_ENDPOINT_URL": "http://a..b"}, "the endpoint is not usable (variable AWS_ENDPOINT_URL)"),
        ({"AWS_ENDPOINT_URL": f"http://{'a' * 64}"}, "the endpoint is not usable (variable AWS_ENDPOINT_URL)"),
        ({"AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://a:٣"}, "the endpoint is not usable (variable AWS_ENDPOINT_URL_SECRETS_MANAGER)"),
        ({"HTTPS_PROXY": "socks5://a:1"}, "the proxy's address is not usable (variable HTTPS_PROXY)"),
        ({"https_proxy": "http://a..b:1"}, "the proxy's address is not usable (variable https_proxy)"),
        ({"HTTPS_PROXY": "http://127.0.0.1:9"}, "the proxy 127.0.0.1:9 cannot be used: Connection refused (variable HTTPS_PROXY, "),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://a..b"}, "its address is not usable: use a URL such as https://host or http://127.0.0.1:5000 (variable AWS_CONTAINER_CREDENTIALS_FULL_URI)"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9"}, "Connection refused while connecting to 127.0.0.1:9 (variable AWS_CONTAINER_CREDENTIALS_FULL_URI)"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/bin/sh"}, "its token holds characters that cannot be sent (variable AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE)"),
    ],
)  # fmt: skip
def test_the_variable_at_fault_is_named(aws: FakeAws, variables: dict[str, str], problem: str) -> None:
    """A variable of the network or of the credentials that is wrong is named once, and no secret's variable is."""
    environ = base_environ(
        "https://127.0.0.1:9",
        AWS_LAMBDA_RUNTIME_API=aws.runtime_api,
        LAMBDA_TASKS_RESOLVE_TIMEOUT_SECONDS=str(BUDGET_SECONDS),
        LAMBDA_TASKS_SECRET_DB_PASSWORD=ARN,
        LAMBDA_TASKS_SECRET_DB_USER=ARN,
        LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN=ARN,
    )
    if "AWS_CONTAINER_CREDENTIALS_FULL_URI" in variables:
        del environ["AWS_ACCESS_KEY_ID"]
    run = run_wrapper({**environ, **variables})
    assert (run.status, run.was_launched) == (1, False)
    assert run.stderr.count(problem) == 1, run.stderr
    assert "DB_PASSWORD" not in run.stderr
    assert "unexpected" not in run.stderr
    assert len(aws.init_errors) == 1
