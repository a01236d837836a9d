"""Which of a host's addresses is connected to, where some of them do not answer."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fault_server import answer, dead_address, refusing_address, serve
from lambda_tasks.aws.addresses import Addresses, _families_in_turn

Found = tuple[int, int, int, str, tuple[Any, ...]]


def within(seconds: float) -> Callable[[], float]:
    """Return what gives the seconds that are left of `seconds`."""
    deadline = time.monotonic() + seconds

    def remaining() -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    return remaining


def found(*ports: int) -> list[Found]:
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)) for port in ports]


def peer(addresses: Addresses, seconds: float) -> int:
    """Connect, and return the port of the address that answered."""
    with addresses.connect("two.example", 443, within(seconds)) as connection:
        return int(connection.getpeername()[1])


@pytest.fixture
def good() -> Iterator[int]:
    with serve(answer(b"good")) as server:
        yield server.port


def test_a_dead_address_does_not_hide_a_good_one(good: int) -> None:
    """The second address is tried a quarter of a second later, and is asked first from then on."""
    with dead_address() as dead:
        addresses = Addresses(lambda *_: found(dead, good))
        assert peer(addresses, 20) == good
        assert peer(addresses, 0.2) == good  # too short for the dead one to come first


def test_many_dead_addresses_do_not_either(good: int) -> None:
    """All addresses but the last are dead, and it is found."""
    with contextlib.ExitStack() as stack:
        dead = [stack.enter_context(dead_address()) for _ in range(3)]
        assert peer(Addresses(lambda *_: found(*dead, good)), 20) == good


def test_a_refusal_makes_the_next_address_come_at_once(good: int) -> None:
    """An address where nobody listens costs no time."""
    ports = [refusing_address() for _ in range(5)]
    assert peer(Addresses(lambda *_: found(*ports, good)), 0.2) == good


def test_addresses_that_are_all_dead_are_given_up() -> None:
    """Where no address answers that is said long before the deadline, so that there is time for another try."""
    with dead_address() as first, dead_address() as second:
        left = within(60)
        with pytest.raises(TimeoutError):
            Addresses(lambda *_: found(first, second)).connect("two.example", 443, left)
        assert left() > 10


def test_the_deadline_ends_the_search() -> None:
    """No time left is an error, whatever is still under way."""
    with dead_address() as dead, pytest.raises(TimeoutError):
        peer(Addresses(lambda *_: found(dead, dead)), 0.05)


def test_an_address_that_stayed_silent_comes_last(good: int) -> None:
    """Who was connected to and did not answer is asked after the others, until it is the only one that connects."""
    with serve(answer(b"other")) as other:
        addresses = Addresses(lambda *_: found(good, other.port))
        with addresses.connect("two.example", 443, within(20)) as connection:
            assert connection.getpeername()[1] == good
            addresses.avoid(connection)
        assert peer(addresses, 20) == other.port
    assert peer(addresses, 20) == good
    with contextlib.closing(socket.socket()) as never_connected:
        addresses.avoid(never_connected)


def test_one_lookup_serves_all_who_wait_for_it(good: int) -> None:
    """Threads that need a host at the same time ask for its addresses once, and again when they have them."""
    asked: list[str] = []
    everyone = threading.Event()

    def look_up(host: str, _: int) -> list[Found]:
        asked.append(host)
        everyone.wait(20)
        return found(good)

    addresses = Addresses(look_up)
    with ThreadPoolExecutor(6) as threads:
        results = [threads.submit(peer, addresses, 20) for _ in range(6)]
        everyone.set()
        assert {result.result() for result in results} == {good}
    assert 1 <= len(asked) <= 6
    assert peer(addresses, 20) == good


def test_a_lookup_that_never_ends_is_bounded() -> None:
    """The system's resolver knows no deadline; who waits for it does."""
    release = threading.Event()

    def look_up(*_: object) -> list[Found]:
        release.wait(20)
        return []

    addresses = Addresses(look_up)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            addresses.connect("slow.example", 443, within(0.05))
    release.set()


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
def test_a_name_that_is_not_known_is_an_error(error: Exception) -> None:
    """A host without addresses is an error of the connection, whatever the lookup raises."""

    def look_up(*_: object) -> list[Found]:
        raise error

    with pytest.raises(OSError, match=r"Name or service not known|cannot be looked up") as caught:
        Addresses(look_up).connect("no.example", 443, within(20))
    assert not isinstance(caught.value, TimeoutError)


def test_an_address_that_cannot_be_used_is_passed_over(good: int) -> None:
    """An address that this machine refuses by itself, or has no family for, makes room for the next one."""
    strange: list[Found] = [
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("255.255.255.255", 1)),
        (socket.AF_APPLETALK, socket.SOCK_STREAM, 99, "", ("", 1)),
    ]
    assert peer(Addresses(lambda *_: strange + found(good)), 20) == good
    with pytest.raises(OSError, match=r"."):
        peer(Addresses(lambda *_: strange), 20)


@given(st.lists(st.booleans(), min_size=1, max_size=9))
def test_families_take_turns(families: list[bool]) -> None:
    """IPv6 and IPv4 take turns, the preferred one first, each in its own order, and none is lost."""
    listed: list[Found] = [
        (socket.AF_INET6 if six else socket.AF_INET, 1, 6, "", (str(number), 443))
        for number, six in enumerate(families)
    ]
    ordered = _families_in_turn(listed)
    assert sorted(ordered) == sorted(listed)
    assert ordered[0] == listed[0]
    for family in (socket.AF_INET, socket.AF_INET6):
        assert [one for one in ordered if one[0] == family] == [one for one in listed if one[0] == family]
    shorter = min(families.count(True), families.count(False))
    assert all(ordered[i][0] != ordered[i + 1][0] for i in range(0, 2 * shorter, 2))
