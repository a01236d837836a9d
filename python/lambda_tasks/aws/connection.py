"""Open a connection to a server: directly or through a proxy, with TLS or without, within a deadline."""

from __future__ import annotations

from lambda_tasks.aws.addresses import Addresses
from lambda_tasks.aws.http import HttpError
from lambda_tasks.aws.proxy import Proxy as Proxy
from lambda_tasks.aws.proxy import proxy_for as proxy_for
from lambda_tasks.aws.proxy import proxy_variable
from lambda_tasks.aws.trust import TrustStore
from lambda_tasks.aws.url import bracketed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Mapping

    from lambda_tasks.aws.url import Url


class Connector:
    """Open connections as the environment says: ``AWS_CA_BUNDLE``, ``HTTPS_PROXY``, ``NO_PROXY``."""

    def __init__(
        self, environ: Mapping[str, str], trust: TrustStore | None = None, addresses: Addresses | None = None
    ) -> None:
        self._environ = environ
        self._trust = trust or TrustStore(environ)
        self._addresses = addresses or Addresses()

    def __call__(self, url: Url, remaining_seconds: Callable[[], float]) -> socket.socket:
        """Return a connection that requests to `url` can be sent on.

        Raises:
            OSError: there is none; a `TimeoutError` where nobody answered in time.
            HttpError: the proxy refused, or is not there.
            InvalidSetting: the proxy's address or the CA bundle cannot be used.

        """
        if url.scheme == "http":
            return self._addresses.connect(url.host, url.port, remaining_seconds)
        import ssl  # noqa: PLC0415 - plain HTTP must not pay for it

        context = self._trust.context()
        try:
            return self._connect_tls(url, context, remaining_seconds)
        except ssl.SSLCertVerificationError as error:
            if not self._trust.widen(context, error):
                raise
        return self._connect_tls(url, self._trust.context(), remaining_seconds)

    def avoid(self, connection: socket.socket) -> None:
        """Ask other addresses first from now on: the one of `connection` did not answer."""
        self._addresses.avoid(connection)

    def _connect_tls(self, url: Url, context: ssl.SSLContext, remaining_seconds: Callable[[], float]) -> socket.socket:
        proxy = proxy_for(url, self._environ)
        host, port = (proxy.host, proxy.port) if proxy else (url.host, url.port)
        try:
            connection = self._addresses.connect(host, port, remaining_seconds)
        except OSError as error:
            if proxy:
                raise self._proxy_failed(proxy, error) from error
            raise
        try:
            if proxy:
                self._open_tunnel(connection, proxy, url, remaining_seconds)
            secure = context.wrap_socket(connection, server_hostname=url.host, do_handshake_on_connect=False)
        except BaseException:
            self._addresses.avoid(connection)
            connection.close()
            raise
        try:
            secure.settimeout(remaining_seconds())
            secure.do_handshake()
        except BaseException:
            self._addresses.avoid(secure)
            secure.close()
            raise
        return secure

    def _open_tunnel(
        self, connection: socket.socket, proxy: Proxy, url: Url, remaining_seconds: Callable[[], float]
    ) -> None:
        authorization = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
        target = f"{bracketed(url.host)}:{url.port}"
        request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n".encode("latin-1")
        try:
            answer = _answer_of_proxy(connection, request, remaining_seconds)
        except OSError as error:
            raise self._proxy_failed(proxy, error) from error
        status = answer.split(b" ", 2)[1:2]
        if not answer.endswith(_END):
            raise self._proxy_refused(proxy, "broke off")
        if status != [b"200"]:
            said = ascii(status[0].decode("latin-1")[:3])[1:-1] if status else "something else than HTTP"
            raise self._proxy_refused(proxy, f"answered {said}", retryable=said.startswith("5"))

    def _proxy_failed(self, proxy: Proxy, error: OSError) -> HttpError:
        if isinstance(error, TimeoutError):
            return self._proxy_refused(proxy, "does not answer")
        reason = error.strerror or type(error).__name__
        return self._proxy_refused(proxy, f"cannot be used: {reason}")

    def _proxy_refused(self, proxy: Proxy, said: str, *, retryable: bool = True) -> HttpError:
        variable = proxy_variable(self._environ)
        return HttpError(f"the proxy {proxy.address} {said}", retryable=retryable, variable=variable)


def _answer_of_proxy(connection: socket.socket, request: bytes, remaining_seconds: Callable[[], float]) -> bytes:
    connection.settimeout(remaining_seconds())
    connection.sendall(request)
    answer = b""
    while not answer.endswith(_END) and len(answer) <= _MAX_ANSWER_BYTES:
        connection.settimeout(remaining_seconds())
        byte = connection.recv(1)  # no more than the answer: what follows belongs to TLS
        if not byte:
            break
        answer += byte
    return answer


_END = b"\r\n\r\n"
_MAX_ANSWER_BYTES = 65536
