"""Which proxy is asked: generated cases, compared with botocore, and each difference with its reason."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import urllib3
from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies
from hypothesis import given
from hypothesis import strategies as st

from lambda_tasks.aws.proxy import Proxy, proxy_for
from lambda_tasks.aws.url import Url
from lambda_tasks.errors import InvalidSetting

CASES = 20_000

HOSTS = ["secretsmanager.eu-west-1.amazonaws.com", "SSM.eu-west-1.amazonaws.com", "localhost", "a.b.example."]
HOSTS += ["127.0.0.1", "[::1]", "[fd00:ec2::23]"]
PORTS = ["", "", ":443", ":8443", ":5000"]
SCHEMES = ["http://"] * 6 + ["", "", "//", "http:", "https://", "HTTP://", "socks5://", "ftp://", " http://"]
USERS = ["", "", "", "user@", "user:pw@", "us%65r:p%40ss@", "us%er:100%@", "u:100%@", ":pw@", "u:@", "a:b:c@", "a@b:c@"]
USERS += ["u:p%2@", "u:p%zz@", "u%3Ax:y@", "u: p@", "u:p/w@", "u:p?w@", "u:p#w@", "ü:ß@", "%C3%BC:p@"]
PROXIES = ["proxy.example", "PROXY.example", "10.0.0.1", "[::1]", "[fe80::1]", "under_score", "-a", "a.", "*"]
PROXIES += ["", "::1", "a..b", "x" * 64 + ".example", "pröxy"]
PROXY_PORTS = [":3128"] * 6 + ["", "", ":", ":0", ":65535", ":65536", ":x", ":-1", ":٣"]
ENDS = ["", "", "", "/", "/path", "?q", "/?q#f", "#f", " "]
ENTRIES = ["*", "*.amazonaws.com", "amazonaws.com", ".amazonaws.com", "..amazonaws.com", "naws.com", "AMAZONAWS.COM"]
ENTRIES += ["amazonaws.com:443", "amazonaws.com:8443", "::1", "[::1]", "[::1]:5000", "127.0.0.1", "127.0.0.0/8"]
ENTRIES += ["127.0.0.1:5000", "localhost", ".", " ", "", "com", "example.", "a.b.example", "eu-west-1"]
ENTRIES += ["secretsmanager.eu-west-1.amazonaws.com", "fd00:ec2::23"]

# Where ours differs: the test fails for any difference that none of these explains.
TLS_TO_THE_PROXY = "TLS to the proxy itself is TLS within TLS, which takes another implementation: refused by name"
OTHER_SCHEME = "botocore takes the scheme of socks5://host for a host name, and fails later: refused by name"
UPPER_CASE_SCHEME = "schemes have no case; botocore takes HTTP:// for a host name"
NO_NAME = "nothing can be looked up by this name, and botocore fails later: refused by name"
NOT_ASCII = "botocore breaks on user names and passwords outside of ASCII; ours are UTF-8, as RFC 7617 says"
PLAIN_HTTP = "a proxy would read the secrets in an http request; such addresses are local ones, and asked directly"


def reason_for(url: str, proxy: str, theirs: object, ours: object) -> str | None:
    """Return why the answers differ, or None where nothing explains that."""
    if url.startswith("http:"):
        return PLAIN_HTTP if ours is None else None
    host = theirs.host if isinstance(theirs, Proxy) else ""
    scheme = proxy.partition("://")[0] if "://" in proxy else "http"
    if scheme == "https" and ours == "refused":
        return TLS_TO_THE_PROXY
    if scheme == "HTTP":
        return UPPER_CASE_SCHEME
    if host in ("socks5", "ftp") and ours == "refused":
        return OTHER_SCHEME
    if theirs == "UnicodeEncodeError" and (isinstance(ours, Proxy) or scheme == "HTTP"):
        return NOT_ASCII
    labels = host.removesuffix(".").split(".")
    if ours == "refused" and (not host.isascii() or not all(0 < len(label) < 64 for label in labels)):
        return NO_NAME
    if ours == "refused" and isinstance(theirs, Proxy) and not proxy.isascii() and "xn--" in host:
        return NO_NAME
    return None


def test_proxies_are_those_of_botocore() -> None:
    """Over thousands of environments and addresses the proxy, its port and its password are botocore's."""
    choose = random.Random(20_000)  # noqa: S311 - cases, not keys
    reasons: dict[str, int] = {}
    with clean_environ():
        for _ in range(CASES):
            url, environ = a_case(choose)
            theirs, ours = answer_of_botocore(url, environ), own_answer(url, environ)
            if ours == theirs or (ours == "refused" and isinstance(theirs, str)):
                continue
            reason = reason_for(url, named_proxy(environ), theirs, ours)
            assert reason, f"{url} with {environ}: botocore {theirs}, ours {ours}"
            reasons[reason] = reasons.get(reason, 0) + 1
    # Each reason is still needed.
    assert reasons.keys() == {
        TLS_TO_THE_PROXY, OTHER_SCHEME, UPPER_CASE_SCHEME, NO_NAME, NOT_ASCII, PLAIN_HTTP,
    }  # fmt: skip


@given(st.text(max_size=30), st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=30))
def test_no_value_breaks_the_choice(proxy: str, no_proxy: str) -> None:
    """Whatever the variables hold, there is a proxy, none, or an error that names the variable."""
    environ = {"HTTPS_PROXY": proxy, "NO_PROXY": no_proxy}
    with contextlib.suppress(InvalidSetting):
        found = proxy_for(Url.parse("https://ssm.eu-west-1.amazonaws.com"), environ)
        assert found is None or (found.host and 0 <= found.port <= 65535)


def a_case(choose: random.Random) -> tuple[str, dict[str, str]]:
    """Return an address, and an environment with proxies for it."""
    url = (
        f"http{'s' * (choose.random() < 0.9)}://{choose.choice(HOSTS)}{choose.choice(PORTS)}{choose.choice(['', '/'])}"
    )
    variables: list[tuple[str, str]] = []
    spellings = {"HTTPS_PROXY": 0.6, "https_proxy": 0.25, "Https_Proxy": 0.08, "HTTPS_proxy": 0.08, "HTTP_PROXY": 0.2}
    for name, probability in spellings.items():
        if choose.random() < probability:
            parts = (SCHEMES, USERS, PROXIES, PROXY_PORTS, ENDS)
            usual = ["", "http://proxy.example:1"]
            generated = "".join(choose.choice(part) for part in parts)
            variables.append((name, choose.choice([*usual, generated, generated, generated, generated])))
    for name in ("NO_PROXY", "no_proxy", "No_Proxy"):
        if choose.random() < 0.4:
            entries = [choose.choice(ENTRIES) for _ in range(choose.choice([0, 1, 1, 2, 3, 5]))]
            variables.append((name, choose.choice([",", ",", ", ", "; "]).join(entries)))
    choose.shuffle(variables)
    return url, dict(variables)


def named_proxy(environ: Mapping[str, str]) -> str:
    """Return the value that counts, for the reasons: all spellings that are set, the lower-case ones last."""
    upper = [value for name, value in environ.items() if name.lower() == "https_proxy" and value]
    lower = [value for name, value in environ.items() if name.lower() == "https_proxy" and name.endswith("_proxy")]
    return (lower or upper or [""])[-1]


def own_answer(url: str, environ: Mapping[str, str]) -> Proxy | str | None:
    try:
        return proxy_for(Url.parse(url), environ)
    except InvalidSetting:
        return "refused"


def answer_of_botocore(url: str, environ: Mapping[str, str]) -> Proxy | str | None:
    """Return the proxy that botocore asks, or the name of the error that it breaks with."""
    os.environ.clear()
    os.environ.update(environ)
    try:
        configuration = ProxyConfiguration(get_environ_proxies(url))
        proxy_url = configuration.proxy_url_for(url)
        if not proxy_url:
            return None
        headers = configuration.proxy_headers_for(proxy_url)
        proxy = urllib3.proxy_from_url(proxy_url).proxy
    except Exception as error:  # noqa: BLE001 - whatever it is, botocore asks no proxy then
        return type(error).__name__
    if proxy is None or proxy.port is None:
        return "no proxy"
    host = "https" if proxy.scheme == "https" else (proxy.host or "").strip("[]")
    return Proxy(host, proxy.port, headers.get("Proxy-Authorization", ""))


@contextlib.contextmanager
def clean_environ() -> Iterator[None]:
    """Give the environment back as it was: botocore reads it where ours is handed one."""
    saved = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def test_a_case_is_an_address() -> None:
    """Generated addresses are ones that a request can be sent to."""
    choose = random.Random(1)  # noqa: S311
    for _ in range(100):
        url, _ = a_case(choose)
        assert Url.parse(url).host.lower() == (urlsplit(url).hostname or "")
