"""One call of AWS: its retries and its clock."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fault_server import RequestScript, Script, answer, hang, refusing_address, serve, serve_requests
from lambda_tasks.aws import retry
from lambda_tasks.aws.addresses import Addresses
from lambda_tasks.aws.connection import Connector
from lambda_tasks.aws.credentials import Credentials
from lambda_tasks.aws.transport import CallFailed, CallTimeout, Transport, backoff

GOOD = answer(b'{"SecretString": "v"}')
SKEWED = "Thu, 01 Jan 2026 00:00:00 GMT"


def transport_to(url: str) -> Transport:
    return Transport(lambda: Credentials("id", "key"), {"AWS_ENDPOINT_URL": url})


def get(transport: Transport, service: str = "ssm", seconds: float = 20.0) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    return transport.call(service, "Get", {}, region="eu-west-1", partition="aws", deadline=deadline)


def call(url: str, seconds: float = 20.0, wall_clock: Callable[[], float] = time.time) -> dict[str, Any]:
    environ = {"AWS_ENDPOINT_URL": url}
    transport = Transport(lambda: Credentials("id", "key"), environ, wall_clock=wall_clock)
    with contextlib.closing(transport):
        deadline = time.monotonic() + seconds
        return transport.call("ssm", "GetParameters", {}, region="eu-west-1", partition="aws", deadline=deadline)


def refusal(code: str, date: str) -> Script:
    return answer(f'{{"__type": "{code}"}}'.encode(), f"Date: {date}", status="400 Bad Request")


@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "SignatureDoesNotMatch", "InvalidSignatureException"])
def test_a_wrong_clock_is_corrected_once(code: str) -> None:
    """A request that is refused for its time is signed again with the server's own."""
    with serve(refusal(code, SKEWED), GOOD) as server:
        assert call(server.url) == {"SecretString": "v"}
    assert b"X-Amz-Date: 20260101T0000" in server.heads[1]


def test_a_clock_that_stays_wrong_is_an_error() -> None:
    """There is one corrected try, not one after the other."""
    with serve(refusal("RequestTimeTooSkewed", SKEWED)) as server, pytest.raises(CallFailed) as caught:
        call(server.url)
    assert caught.value.code == "RequestTimeTooSkewed"
    assert len(server.heads) == 2


@pytest.mark.parametrize("date", ["Thu, 01 Jan 2026 00:00:30 GMT", "tomorrow", ""])
def test_a_wrong_key_is_not_a_wrong_clock(date: str) -> None:
    """If the clocks agree, or the server tells no time, a wrong signature is final."""
    with serve(refusal("SignatureDoesNotMatch", date)) as server, pytest.raises(CallFailed):
        call(server.url, wall_clock=lambda: 1_767_225_600.0)
    assert len(server.heads) == 1


@pytest.mark.parametrize("code", ["InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired"])
def test_every_request_is_corrected_by_its_own_clock(code: str) -> None:
    """Requests that are under way at the same time, all signed with the wrong clock, are all signed again."""
    together = threading.Barrier(10)

    def by_the_servers_clock(connection: socket.socket, head: bytes, _: bytes) -> None:
        if b"X-Amz-Date: 20260101T0000" in head:
            GOOD(connection)
        else:
            together.wait(20)  # so that none is corrected before another one is signed
            refusal(code, SKEWED)(connection)

    with serve_requests(by_the_servers_clock) as server:
        transport = transport_to(server.url)
        with contextlib.closing(transport), ThreadPoolExecutor(10) as threads:
            answers = [threads.submit(get, transport) for _ in range(10)]
            assert [one.result() for one in answers] == [{"SecretString": "v"}] * 10
            assert get(transport) == {"SecretString": "v"}
    assert len(server.heads) == 21


def test_clocks_belong_to_servers() -> None:
    """A server whose clock is wrong does not change what others are told."""

    def at(day: bytes, date: str) -> RequestScript:
        def script(connection: socket.socket, head: bytes, _: bytes) -> None:
            (GOOD if b"X-Amz-Date: " + day in head else refusal("RequestTimeTooSkewed", date))(connection)

        return script

    first, second = at(b"20260101", SKEWED), at(b"20260201", "Sun, 01 Feb 2026 00:00:00 GMT")
    with serve_requests(first) as one, serve_requests(second) as other:
        environ = {"AWS_ENDPOINT_URL_SSM": one.url, "AWS_ENDPOINT_URL_SQS": other.url}
        with contextlib.closing(Transport(lambda: Credentials("id", "key"), environ)) as transport:
            for _ in range(3):
                assert get(transport) == get(transport, "sqs") == {"SecretString": "v"}
        assert (len(one.heads), len(other.heads)) == (4, 4)


def test_a_connection_that_stays_silent_costs_a_part_of_the_time() -> None:
    """A first connection that is accepted and never answered is given up for another one."""
    stop = threading.Event()
    with serve(hang(stop), GOOD) as server:
        assert call(server.url, seconds=6) == {"SecretString": "v"}
        stop.set()
    assert len(server.heads) == 2


def test_an_address_that_stays_silent_is_left() -> None:
    """Of two addresses the first accepts and never answers: the second one is asked by the next try."""
    stop = threading.Event()
    with serve(hang(stop)) as silent, serve(GOOD) as good:
        kinds = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        addresses = Addresses(lambda *_: [(*kinds, ("127.0.0.1", one.port)) for one in (silent, good)])
        connect = Connector({}, addresses=addresses)
        environ = {"AWS_ENDPOINT_URL": "http://two.example"}
        with contextlib.closing(Transport(lambda: Credentials("id", "key"), environ, connect=connect)) as transport:
            assert get(transport, seconds=6) == {"SecretString": "v"}
            stop.set()
            assert get(transport, seconds=6) == {"SecretString": "v"}
    assert (len(silent.heads), len(good.heads)) == (1, 2)


@pytest.mark.parametrize("budget_seconds", [1.0, 2.0])
def test_a_late_recovery_is_not_missed(budget_seconds: float) -> None:
    """Whatever the backoff, a service that recovers before the last part of the budget is found."""
    recovers_at = time.monotonic() + budget_seconds * 0.7

    def script(connection: socket.socket) -> None:
        (GOOD if time.monotonic() > recovers_at else answer(b"", status="503 Busy"))(connection)

    with serve(script) as server, ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(call, server.url, budget_seconds) for _ in range(8)]
        assert [one.result() for one in calls] == [{"SecretString": "v"}] * 8


@given(st.floats(min_value=0.2, max_value=60), st.integers(min_value=1, max_value=9))
def test_the_last_try_belongs_to_the_budget(budget_seconds: float, share: int) -> None:
    """However the waits turn out, a try begins when half a second, or a quarter of a short budget, is left."""
    now = 0.0
    while (pause := retry.pause(0.05 * share, budget_seconds - now, budget_seconds)) is not None:
        now += pause
    assert budget_seconds - now == pytest.approx(min(0.5, budget_seconds / 4), abs=0.006)
    assert budget_seconds / 3 <= retry.patience_seconds(budget_seconds) < budget_seconds


def test_an_endpoint_that_is_not_there_names_its_variable() -> None:
    """Where an address is an override's, the error names the variable that holds it."""
    port = refusing_address()
    with pytest.raises(CallFailed, match=rf"connecting to 127.0.0.1:{port} \(endpoint of AWS_ENDPOINT_URL\)"):
        call(f"http://127.0.0.1:{port}", seconds=0.5)


def test_a_broken_connection_is_tried_again() -> None:
    """A connection that breaks in the middle of an answer is tried again within the deadline."""
    with serve(answer(b"{", length=100), GOOD) as server:
        assert call(server.url) == {"SecretString": "v"}


def test_what_an_earlier_try_met_is_what_is_told() -> None:
    """If a first try was answered and the next one ran out of time, the answer is the error."""
    stop = threading.Event()
    with serve(answer(b"", status="503 Busy"), hang(stop)) as server:
        with pytest.raises(CallFailed, match="answered 503"):
            call(server.url, seconds=1)
        stop.set()
    with serve(GOOD) as server, pytest.raises(CallTimeout):
        call(server.url, seconds=0)


@pytest.mark.parametrize("body", [b"canary", b"[]", b'"', b"[" * 100_000])
def test_an_answer_that_is_no_object_is_final(body: bytes) -> None:
    """An answer that is not a JSON object is an error at once, and is not shown."""
    with serve(answer(body)) as server, pytest.raises(CallFailed, match="something else than a JSON object") as caught:
        call(server.url)
    assert not caught.value.retryable
    assert "canary" not in str(caught.value)


@given(st.integers(min_value=1, max_value=10_000))
def test_backoff_has_full_jitter_under_a_ceiling(attempt: int) -> None:
    """The wait before another try is random, from nothing to a ceiling that doubles up to two seconds."""
    assert 0 <= backoff(attempt) <= min(2.0, 0.05 * 2 ** min(attempt, 16))
