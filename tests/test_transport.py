"""One call of AWS: its retries and its clock."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fault_server import Script, answer, hang, serve
from lambda_tasks.aws.credentials import Credentials
from lambda_tasks.aws.transport import CallFailed, CallTimeout, Transport, backoff

GOOD = answer(b'{"SecretString": "v"}')
SKEWED = "Thu, 01 Jan 2026 00:00:00 GMT"


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
