"""Connections: which certificates are trusted, and when a proxy is asked."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from certificates import Authority, make_authority
from fault_server import FaultServer, Script, answer, dead_address, read_request, refusing_address, respond, serve
from lambda_tasks.aws.connection import Connector, Proxy, proxy_for
from lambda_tasks.aws.http import Client, DeadlineExceeded, HttpError, Response
from lambda_tasks.aws.trust import TrustStore
from lambda_tasks.aws.url import Url
from lambda_tasks.errors import InvalidSetting

ANSWER = answer(b"good")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root that has signed nothing here, in the place of Amazon's."""
    return make_authority(tmp_path_factory.mktemp("other"), "Other Root").bundle


@pytest.fixture
def server(authority: Authority) -> Iterator[FaultServer]:
    with serve(ANSWER, tls=authority.server_context("127.0.0.1")) as running:
        yield running


def post(url: str, environ: Mapping[str, str], trust: TrustStore | None = None, seconds: float = 20) -> Response:
    parsed = Url.parse(url)
    with contextlib.closing(Client(Connector(environ, trust))) as client:
        deadline = time.monotonic() + seconds
        return client.request("POST", parsed, {"Host": parsed.authority}, b"{}", deadline=deadline)


def https(server: FaultServer) -> str:
    return f"https://127.0.0.1:{server.port}"


def test_a_ca_bundle_alone_counts(server: FaultServer, authority: Authority, other_root: Path) -> None:
    """With AWS_CA_BUNDLE its certificates are trusted, and no other store is asked."""
    assert post(https(server), {"AWS_CA_BUNDLE": str(authority.bundle)}).body == b"good"
    with pytest.raises(HttpError, match=r"the certificate cannot be trusted .*: unable to get local issuer") as caught:
        post(https(server), {"AWS_CA_BUNDLE": str(other_root)})
    assert not caught.value.retryable


def test_amazons_roots_are_enough(server: FaultServer, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that Amazon's roots vouch for is trusted without the system's store."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    assert post(https(server), {}, TrustStore({}, str(authority.bundle))).body == b"good"


def test_another_issuer_makes_the_systems_store_count(
    server: FaultServer, authority: Authority, other_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Amazon's roots do not know the issuer, as with a proxy that inspects TLS, the system's store is asked."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    trust = TrustStore({}, str(other_root))
    narrow = trust.context()
    assert post(https(server), {}, trust).body == b"good"
    assert trust.context() is not narrow
    monkeypatch.setenv("SSL_CERT_FILE", str(other_root))
    with pytest.raises(HttpError, match="cannot be trusted"):
        post(https(server), {}, TrustStore({}, str(other_root)))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    assert post(https(server), {}, TrustStore({}, "/nowhere")).body == b"good"


@pytest.mark.parametrize(
    ("host", "expired", "reason"),
    [("127.0.0.1", True, "certificate has expired"), ("other.example", False, "IP address mismatch")],
)
def test_certificates_that_are_wrong(
    authority: Authority, other_root: Path, host: str, reason: str, *, expired: bool
) -> None:
    """An expired certificate, or one for another name, is refused at once, and no other store is asked."""
    with serve(ANSWER, tls=authority.server_context(host, expired=expired)) as server:
        trust = TrustStore({}, str(authority.bundle))
        with pytest.raises(HttpError, match=reason) as caught:
            post(https(server), {}, trust)
    assert not caught.value.retryable
    assert other_root.exists()


def test_a_ca_bundle_that_cannot_be_read_is_an_error(server: FaultServer, tmp_path: Path) -> None:
    """A bundle that is not there, or holds no certificate, is named."""
    (tmp_path / "empty.pem").write_text("nothing")
    for path in ("/nowhere.pem", str(tmp_path / "empty.pem")):
        with pytest.raises(InvalidSetting, match=r"certificates cannot be read .*variable AWS_CA_BUNDLE"):
            post(https(server), {"AWS_CA_BUNDLE": path})


def test_a_server_without_tls_is_an_error_of_the_connection(authority: Authority) -> None:
    """A server that speaks no TLS, or is silent, breaks the connection and not the client."""
    with serve(respond(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server, pytest.raises(HttpError):
        post(https(server), {"AWS_CA_BUNDLE": str(authority.bundle)}, seconds=2)


def tunnel(port: int) -> Script:
    """Be a proxy: connect to `port`, whatever was asked for, and pass the bytes on."""

    def script(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port)) as target:
            threads = [
                threading.Thread(target=_pass_on, args=pair) for pair in ((connection, target), (target, connection))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    return script


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def test_requests_go_through_the_proxy(authority: Authority) -> None:
    """With HTTPS_PROXY a tunnel to the host is asked for, with the proxy's own password, and TLS is end to end."""
    with serve(ANSWER, tls=authority.server_context("127.0.0.1")) as server, serve(tunnel(server.port)) as proxy:
        address = f"http://us%65r:p%40ss@127.0.0.1:{proxy.port}"
        environ = {"HTTPS_PROXY": address, "AWS_CA_BUNDLE": str(authority.bundle)}
        assert post(https(server), environ).body == b"good"
        assert post(https(server), {**environ, "NO_PROXY": "localhost, 127.0.0.1"}).body == b"good"
    (head,) = proxy.heads
    assert head.startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n".encode())
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"user:p@ss") in head


@pytest.mark.parametrize("host", ["[::1]", "[fd00:ec2::23]", "ssm.eu-west-1.amazonaws.com"])
def test_a_tunnel_is_asked_for_by_host_and_port(authority: Authority, host: str) -> None:
    """The proxy is told an IPv6 address in brackets."""
    with serve(respond(b"HTTP/1.1 407 No\r\n\r\n")) as proxy:
        environ = {"HTTPS_PROXY": f"127.0.0.1:{proxy.port}", "AWS_CA_BUNDLE": str(authority.bundle)}
        with pytest.raises(HttpError, match="answered 407"):
            post(f"https://{host}", environ)
    assert proxy.heads[0].startswith(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443".encode())


@pytest.mark.parametrize("kind", ["dead", "silent", "refusing"])
def test_a_proxy_that_does_not_answer_is_named(authority: Authority, kind: str) -> None:
    """A proxy that is down is the error, with the variable that names it, and not the server behind it."""
    with contextlib.ExitStack() as stack:
        if kind == "dead":
            port = stack.enter_context(dead_address())
        elif kind == "silent":
            port = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        else:
            port = refusing_address()
        environ = {"https_proxy": f"127.0.0.1:{port}", "AWS_CA_BUNDLE": str(authority.bundle)}
        with pytest.raises(HttpError, match=f"the proxy 127.0.0.1:{port} (does not answer|cannot be used)") as caught:
            post("https://127.0.0.1:9", environ, seconds=0.3)
    assert caught.value.retryable
    assert caught.value.variable == "https_proxy"


@pytest.mark.parametrize(
    ("script", "message", "retryable"),
    [
        (respond(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), "answered 407", False),
        (respond(b"HTTP/1.1 503 Busy\r\n\r\n"), "answered 503", True),
        (respond(b"\r\n\r\n"), "answered something else than HTTP", False),
        (respond(b"HTTP/1.1 200"), "broke off", True),
    ],
)
def test_a_proxy_that_refuses_is_named(authority: Authority, script: Script, message: str, *, retryable: bool) -> None:
    """A proxy that refuses or breaks off is an error of its own."""
    with serve(script) as proxy:
        environ = {"https_proxy": f"127.0.0.1:{proxy.port}", "AWS_CA_BUNDLE": str(authority.bundle)}
        with pytest.raises(HttpError, match=f"the proxy 127.0.0.1:{proxy.port} {message}") as caught:
            post("https://127.0.0.1:9", environ)
    assert caught.value.retryable is retryable


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://a:1"}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": "http://proxy.example:3128"}, Proxy("proxy.example", 3128)),
        ({"HTTPS_PROXY": "proxy.example"}, Proxy("proxy.example", 80)),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://high:1"}, Proxy("low", 1)),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "other,.amazonaws.com"}, None),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "AMAZONAWS.com"}, None),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "AMAZONAWS.com:443"}, Proxy("a", 1)),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "amazonaws.com:8443"}, Proxy("a", 1)),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "naws.com,, "}, Proxy("a", 1)),
        ({"HTTPS_PROXY": "http://a:1", "no_proxy": "x", "NO_PROXY": "*"}, Proxy("a", 1)),
    ],
)
def test_which_proxy_is_asked(environ: dict[str, str], expected: Proxy | None) -> None:
    """HTTPS_PROXY names the proxy and NO_PROXY the hosts that are asked directly; lower-case names come first."""
    assert proxy_for(Url.parse("https://ssm.eu-west-1.amazonaws.com"), environ) == expected


@pytest.mark.parametrize("address", ["https://a:1", "socks5://a:1", "http://", "http://a:b"])
def test_a_proxy_address_that_is_none_is_an_error(address: str) -> None:
    """An address that no tunnel can be asked of is named, without its password."""
    with pytest.raises(InvalidSetting, match=r"not usable \(variable HTTPS_PROXY\): use http://\[user:password@\]"):
        proxy_for(Url.parse("https://a"), {"HTTPS_PROXY": address})
    assert "canary" not in repr(Proxy("a", 1, "canary"))


def test_a_silent_server_ends_the_handshake_at_the_deadline() -> None:
    """A server that accepts and says nothing is given up at the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DeadlineExceeded, match="while connecting"):
        post(f"https://127.0.0.1:{silent.getsockname()[1]}", {}, seconds=0.2)


def test_a_host_without_address_is_an_error() -> None:
    """A name that no resolver knows is an error that may pass."""
    with pytest.raises(HttpError, match=r"while connecting to nothing\.invalid") as caught:
        post("http://nothing.invalid", {})
    assert caught.value.retryable


def test_tls_connections_are_used_again(authority: Authority) -> None:
    """A kept TLS connection serves the next request."""

    def twice(connection: socket.socket) -> None:
        ANSWER(connection)
        read_request(connection)
        ANSWER(connection)

    with serve(twice, tls=authority.server_context("127.0.0.1")) as server:
        url = Url.parse(https(server))
        with contextlib.closing(Client(Connector({"AWS_CA_BUNDLE": str(authority.bundle)}))) as client:
            for _ in range(2):
                response = client.request("POST", url, {"Host": "a"}, b"", deadline=time.monotonic() + 20)
                assert response.body == b"good"
    assert len(server.heads) == 1
    assert ssl.HAS_SNI
