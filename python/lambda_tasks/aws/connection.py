"""Open a connection to a server: directly or through a proxy, with TLS or without, within a deadline."""

from __future__ import annotations

import base64
import socket

from lambda_tasks.aws.http import HttpError
from lambda_tasks.aws.trust import TrustStore
from lambda_tasks.aws.url import Url
from lambda_tasks.errors import InvalidSetting
from lambda_tasks.value import Value

TYPE_CHECKING = False  # that of typing, which costs a cold start 4 ms
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping


class Connector:
    """Open connections as the environment says: ``AWS_CA_BUNDLE``, ``HTTPS_PROXY``, ``NO_PROXY``."""

    def __init__(self, environ: Mapping[str, str], trust: TrustStore | None = None) -> None:
        self._environ = environ
        self._trust = trust or TrustStore(environ)

    def __call__(self, url: Url, remaining_seconds: Callable[[], float]) -> socket.socket:
        """Return a connection that requests to `url` can be sent on.

        Raises:
            OSError: there is none; a `TimeoutError` where no time is left.
            HttpError: the proxy refused.
            InvalidSetting: the proxy's address or the CA bundle cannot be used.

        """
        if url.scheme == "http":
            return _connect(url.host, url.port, remaining_seconds)
        import ssl  # noqa: PLC0415 - plain HTTP must not pay for it

        context = self._trust.context()
        try:
            return self._connect_tls(url, context, remaining_seconds)
        except ssl.SSLCertVerificationError as error:
            if not self._trust.widen(context, error):
                raise
        return self._connect_tls(url, self._trust.context(), remaining_seconds)

    def _connect_tls(self, url: Url, context: ssl.SSLContext, remaining_seconds: Callable[[], float]) -> socket.socket:
        proxy = proxy_for(url, self._environ)
        host, port = (proxy.host, proxy.port) if proxy else (url.host, url.port)
        connection = _connect(host, port, remaining_seconds)
        try:
            if proxy:
                _open_tunnel(connection, proxy, url, remaining_seconds)
            connection.settimeout(remaining_seconds())
            return context.wrap_socket(connection, server_hostname=url.host)
        except BaseException:
            connection.close()
            raise


class Proxy(Value):
    """An HTTP proxy; `authorization` is the value of its header, or empty."""

    host: str
    port: int
    authorization: str = ""

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"  # the authorization is a password


def proxy_for(url: Url, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that ``HTTPS_PROXY`` names, unless ``NO_PROXY`` lists the host; lower-case names come first.

    Raises:
        InvalidSetting: the value is not the address of an HTTP proxy.

    """
    variable = next((name for name in ("https_proxy", "HTTPS_PROXY") if environ.get(name)), "")
    if not variable or _is_excluded(url, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return None
    scheme, separator, address = environ[variable].rpartition("://")
    user, _, address = address.rpartition("@")
    unusable = InvalidSetting(
        "the proxy's address is not usable", variable=variable, remedy="use http://[user:password@]host:port"
    )
    if separator and scheme.lower() != "http":  # TLS to the proxy itself, or SOCKS
        raise unusable
    try:
        parsed = Url.parse(f"http://{address}")
    except ValueError:
        raise unusable from None
    authorization = f"Basic {base64.b64encode(_unquote(user)).decode()}" if user else ""
    return Proxy(parsed.host, parsed.port, authorization)


def _is_excluded(url: Url, no_proxy: str) -> bool:
    for entry in no_proxy.split(","):
        name = entry.strip().lower().lstrip(".")
        host, _, port = name.partition(":")
        if name == "*" or (host and port in ("", str(url.port)) and f".{url.host.lower()}".endswith(f".{host}")):
            return True
    return False


def _unquote(text: str) -> bytes:
    head, *parts = text.encode().split(b"%")
    return head + b"".join(bytes.fromhex(part[:2].decode()) + part[2:] for part in parts)


def _connect(host: str, port: int, remaining_seconds: Callable[[], float]) -> socket.socket:
    failure: OSError = OSError("the host name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(remaining_seconds())
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def _open_tunnel(connection: socket.socket, proxy: Proxy, url: Url, remaining_seconds: Callable[[], float]) -> None:
    authorization = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
    target = f"{url.host}:{url.port}"
    connection.settimeout(remaining_seconds())
    connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n".encode("latin-1"))
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        connection.settimeout(remaining_seconds())
        byte = connection.recv(1)  # no more than the answer: what follows belongs to TLS
        if not byte or len(answer) > 65536:
            raise HttpError(f"the proxy {proxy.host}:{proxy.port} broke off")
        answer += byte
    status = answer.split(b" ", 2)[1:2]
    if status != [b"200"]:
        said = status[0].decode("latin-1")[:3] if status else "something else than HTTP"
        raise HttpError(f"the proxy {proxy.host}:{proxy.port} answered {said}", retryable=said.startswith("5"))
