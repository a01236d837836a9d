"""Addresses, as far as we need them: importing `urllib.parse` would cost a cold start 3 ms."""

from __future__ import annotations

from lambda_tasks.value import Value


class Url(Value):
    """An ``http`` or ``https`` address."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str, *, with_query: bool = False) -> Url:
        """Split `url`; only `with_query` may its path end in one.

        Raises:
            ValueError: it is not an http or https URL with a host.

        """
        scheme, separator, rest = url.partition("://")
        authority, _, path = rest.partition("/")
        host, port = authority, ""
        if not authority.endswith("]"):  # a bare IPv6 address ends in a bracket, without a port
            host, _, port = authority.rpartition(":") if ":" in authority else (authority, "", "")
        scheme = scheme.lower()
        if not separator or scheme not in ("http", "https") or not host or not (port.isdigit() or not port):
            raise ValueError("use a URL such as https://host or http://127.0.0.1:5000")
        if not (url.isascii() and url.isprintable()) or any(
            character in url for character in (" @#\\" if with_query else " @?#\\")
        ):
            raise ValueError("use a URL without user, query, fragment and spaces")
        return cls(scheme, host.strip("[]"), int(port or _DEFAULT_PORTS[scheme]), f"/{path}")

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a connection is made to."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """What the ``Host`` header says: the port is left out where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


_DEFAULT_PORTS = {"http": 80, "https": 443}
