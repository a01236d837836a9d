"""Which proxy is asked for an address: botocore's rules, which are those of `urllib.request`.

A test compares them with botocore over generated cases, and has each difference with its reason.
"""

from __future__ import annotations

from lambda_tasks.aws.url import bracketed, split_authority
from lambda_tasks.errors import InvalidSetting
from lambda_tasks.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambda_tasks.aws.url import Url

_HEXADECIMAL = frozenset(b"0123456789abcdefABCDEF")


class Proxy(Value):
    """An HTTP proxy; `authorization` is the value of its header, or empty."""

    host: str
    port: int
    authorization: str = ""

    def __repr__(self) -> str:
        return f"Proxy({self.address})"  # the authorization is a password

    @property
    def address(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


def proxy_for(url: Url, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that ``HTTPS_PROXY`` names, unless ``NO_PROXY`` lists the host; lower-case names come first.

    An ``http`` address has none: the proxy would read the secrets.

    Raises:
        InvalidSetting: the value is not the address of an HTTP proxy.

    """
    variable = proxy_variable(environ) if url.scheme == "https" else ""
    if not variable or _is_excluded(url, environ.get(_variable("no_proxy", environ), "")):
        return None
    scheme, separator, rest = environ[variable].partition("://")
    if not separator:
        scheme, rest = "http", environ[variable].removeprefix("//")
    authority = rest
    for end in "/?#":
        authority = authority.partition(end)[0]
    credentials, _, address = authority.rpartition("@")
    unusable = InvalidSetting(
        "the proxy's address is not usable", variable=variable, remedy="use http://[user:password@]host:port"
    )
    # TLS to the proxy itself, SOCKS, or a URL whose slashes are missing.
    if scheme.lower() != "http" or (not separator and rest.startswith(("http:", "https:"))):
        raise unusable
    try:
        host, port = split_authority(address)
    except ValueError:
        raise unusable from None
    return Proxy(host.lower(), 80 if port is None else port, _authorization(credentials))


def proxy_variable(environ: Mapping[str, str]) -> str:
    """Return the variable that names the proxy: ``HTTPS_PROXY`` or another spelling, or empty."""
    return _variable("https_proxy", environ)


def _variable(name: str, environ: Mapping[str, str]) -> str:
    """Return the spelling of `name` that counts: a lower-case one comes first, and where it is empty there is none."""
    chosen = ""
    for variable, value in environ.items():
        if value and variable.lower() == name:
            chosen = variable
    for variable, value in environ.items():
        if variable.endswith("_proxy") and variable.lower() == name:
            chosen = variable if value else ""
    return chosen


def _is_excluded(url: Url, no_proxy: str) -> bool:
    """Tell whether `no_proxy` lists the host: ``*`` alone, or domains, which may end in the port that the URL names."""
    if no_proxy == "*":
        return True
    host = bracketed(url.host).lower()
    written = f"{host}:{url.port}" if url.has_port else host
    for entry in no_proxy.split(","):
        name = entry.strip()
        if not name:
            continue
        domain = f".{name.lstrip('.').lower()}"
        if f".{host}".endswith(domain) or f".{written}".endswith(domain):
            return True
    return False


def _authorization(credentials: str) -> str:
    user, _, password = credentials.partition(":")
    if not user or not password:
        return ""
    import binascii  # noqa: PLC0415 - most functions have no proxy

    return "Basic " + binascii.b2a_base64(_unquote(user) + b":" + _unquote(password), newline=False).decode()


def _unquote(text: str) -> bytes:
    """Return `text` with its ``%XX`` decoded; a ``%`` before anything else stays."""
    head, *parts = text.encode("utf-8", "surrogateescape").split(b"%")
    return head + b"".join(map(_decoded, parts))


def _decoded(part: bytes) -> bytes:
    is_escape = len(part) > 1 and _HEXADECIMAL.issuperset(part[:2])
    return bytes.fromhex(part[:2].decode()) + part[2:] if is_escape else b"%" + part
