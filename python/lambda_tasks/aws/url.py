"""Addresses, as far as we need them: importing `urllib.parse` would cost a cold start 3 ms."""

from __future__ import annotations

from lambda_tasks.value import Value

_MAX_DIGITS = 16
_MAX_HOST, MAX_LABEL, _MAX_PORT = 253, 63, 65535  # of a name: https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4


class Url(Value):
    """An ``http`` or ``https`` address; `has_port` tells whether its text named the port."""

    scheme: str
    host: str
    port: int
    path: str
    has_port: bool = False

    @classmethod
    def parse(cls, url: str, *, with_query: bool = False) -> Url:
        """Split `url`; only `with_query` may its path end in one.

        Raises:
            ValueError: it is not an http or https URL with a host.

        """
        if not (url.isascii() and url.isprintable()) or any(
            character in url for character in (" @#\\" if with_query else " @?#\\")
        ):
            raise ValueError("use a URL without user, query, fragment and spaces")
        scheme, separator, rest = url.partition("://")
        authority, _, path = rest.partition("/")
        host, port = split_authority(authority)
        scheme = scheme.lower()
        if not separator or scheme not in ("http", "https"):
            raise ValueError("use a URL such as https://host or http://127.0.0.1:5000")
        return cls(scheme, host, _DEFAULT_PORTS[scheme] if port is None else port, f"/{path}", port is not None)

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a connection is made to."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """What the ``Host`` header says: the port is left out where it is the scheme's own."""
        host = bracketed(self.host)
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def split_authority(authority: str) -> tuple[str, int | None]:
    """Return host and port of `authority`; an IPv6 address loses its brackets.

    Raises:
        ValueError: no name or address is like this.

    """
    host, port = authority, ""
    if not authority.endswith("]"):  # a bare IPv6 address ends in a bracket, without a port
        host, _, port = authority.rpartition(":") if ":" in authority else (authority, "", "")
    if port and not (is_number(port) and int(port) <= _MAX_PORT):
        raise ValueError("use a URL such as https://host or http://127.0.0.1:5000, with a port up to 65535")
    if host.startswith("[") and host.endswith("]") and host.count(":") >= 2:
        host = host[1:-1]
    elif not _is_name(host):
        raise ValueError("use a URL such as https://host or http://127.0.0.1:5000")
    return host, int(port) if port else None


def is_number(text: str, digits: frozenset[str] = frozenset("0123456789")) -> bool:
    """Tell whether `text` has `digits` alone: `str.isdigit` and `int` take more than addresses and HTTP do."""
    return 0 < len(text) <= _MAX_DIGITS and digits.issuperset(text)


def bracketed(host: str) -> str:
    """Return `host` as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def _is_name(host: str) -> bool:
    """Tell whether `host` can be looked up: its labels have 1 to 63 characters, and the last may end in a dot."""
    labels = host.removesuffix(".").split(".")
    return (
        host.isascii()
        and host.isprintable()
        and len(host) <= _MAX_HOST
        and all(0 < len(label) <= MAX_LABEL for label in labels)
        and not any(character in host for character in " :[]")
    )


_DEFAULT_PORTS = {"http": 80, "https": 443}
