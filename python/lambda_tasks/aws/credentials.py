"""The AWS credentials that requests are signed with: the environment's, the container's, or those that boto3 finds.

Source: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
"""

from __future__ import annotations

import json
import sys
import threading
import time

from lambda_tasks.aws.connection import Connector
from lambda_tasks.aws.http import Client, HttpError
from lambda_tasks.aws.url import Url
from lambda_tasks.errors import CredentialsNotFound
from lambda_tasks.value import Value

TYPE_CHECKING = False  # that of typing, which costs a cold start 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_FULL_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
_CONTAINER_TIMEOUT_SECONDS = 2.0
_RENEW_BEFORE_SECONDS = 300.0
_ECS_ADDRESS = "http://169.254.170.2"
# Only these may be asked over plain HTTP, since the answer is a secret (botocore's rule).
_CONTAINER_HOSTS = {"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost", "127.0.0.1", "::1"}


class Credentials(Value):
    """An access key, with the session token that temporary credentials have and when they expire (epoch seconds)."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    expires_at: float | None = None

    def __repr__(self) -> str:
        return f"Credentials(access_key_id={self.access_key_id!r}, ...)"


class CredentialChain:
    """Find credentials when a request is signed, and renew them before they expire. Usable from several threads."""

    def __init__(self, environ: Mapping[str, str], wall_clock: Callable[[], float] = time.time) -> None:
        self._environ = environ
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._container: Credentials | None = None
        self._boto3: Callable[[], Credentials] | None = None

    def __call__(self) -> Credentials:
        """Return credentials that are valid now.

        Raises:
            CredentialsNotFound: there are none, they could not be fetched, or they could not be sent.

        """
        credentials = from_environ(self._environ)
        if credentials:
            return credentials
        with self._lock:  # one thread asks, the others wait for its answer
            return self._from_container() or self._from_boto3()

    def _from_container(self) -> Credentials | None:
        expires_at = self._container and self._container.expires_at
        if self._container is None or (expires_at and self._wall_clock() > expires_at - _RENEW_BEFORE_SECONDS):
            self._container = from_container(self._environ)
        return self._container

    def _from_boto3(self) -> Credentials:
        if self._boto3 is None:
            self._boto3 = from_boto3()
        return self._boto3()


def from_environ(environ: Mapping[str, str]) -> Credentials | None:
    """Return the credentials that Lambda gives every function in its environment.

    Raises:
        CredentialsNotFound: one of them could not be sent as an HTTP header.

    """
    access_key_id, secret_access_key = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key_id or not secret_access_key:
        return None
    credentials = Credentials(access_key_id, secret_access_key, environ.get("AWS_SESSION_TOKEN") or None)
    return _checked(credentials, "the environment")


def from_container(environ: Mapping[str, str]) -> Credentials | None:
    """Ask the container's endpoint, which a function has under SnapStart.

    Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html

    Raises:
        CredentialsNotFound: it did not give any.

    """
    relative, full = environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), environ.get(_FULL_URI)
    if not relative and not full:
        return None
    address = f"{_ECS_ADDRESS}{relative}" if relative else full or ""
    try:
        url = Url.parse(address, with_query=True)
    except ValueError as error:
        raise _no_container(f"its address is not usable: {error}") from None
    if url.scheme == "http" and url.host not in _CONTAINER_HOSTS:
        raise _no_container("it would be asked over plain HTTP on another host")
    headers = {"Host": url.authority, "Accept": "application/json"}
    token = _authorization(environ)
    if token:
        headers["Authorization"] = token
    client = Client(Connector(environ))
    try:
        response = client.request("GET", url, headers, deadline=time.monotonic() + _CONTAINER_TIMEOUT_SECONDS)
    except HttpError as error:
        raise _no_container(str(error)) from error
    finally:
        client.close()
    return _from_answer(response.status, response.body)


def from_boto3() -> Callable[[], Credentials]:
    """Return what gives the credentials that boto3 finds, renewed: profiles, SSO, a process, an instance's role.

    Raises:
        CredentialsNotFound: boto3 is not installed, or finds none.

    """
    variables = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (Lambda does so for every function)"
    problem = "there are no AWS credentials in the environment"
    try:
        boto3 = _import_boto3()
    except ImportError as error:
        remedy = f"{variables}, or install boto3 to use profiles and SSO"
        raise CredentialsNotFound(f"{problem}, and boto3 is not installed", remedy=remedy) from error

    def frozen() -> Credentials:
        try:
            keys = found.get_frozen_credentials()
        except Exception as error:
            raise _no_boto3(error) from error
        return _checked(Credentials(keys.access_key, keys.secret_key, keys.token), "boto3")

    try:
        found = boto3.Session().get_credentials()
    except Exception as error:
        raise _no_boto3(error) from error
    if found is None:
        raise CredentialsNotFound(f"{problem}, and boto3 finds none", remedy=f"{variables}, or configure a profile")
    return frozen


def _no_boto3(error: Exception) -> CredentialsNotFound:
    problem = f"boto3 could not get AWS credentials ({type(error).__name__}: {error})"
    return CredentialsNotFound(problem, remedy="log in again, or correct the profile")


def _authorization(environ: Mapping[str, str]) -> str:
    path = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    token = ""
    if path:
        try:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib would cost a cold start 2 ms
                token = file.read().strip()
        except OSError as error:
            raise _no_container(f"its token file cannot be read: {error.strerror}") from error
    token = token or environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
    if not (token.isascii() and (token.isprintable() or not token)):
        raise _no_container("its token holds characters that cannot be sent")
    return token


def _from_answer(status: int, body: bytes) -> Credentials:
    try:
        answer = json.loads(body)
        expires_at = answer.get("Expiration")
        credentials = Credentials(
            answer["AccessKeyId"], answer["SecretAccessKey"], answer.get("Token"), expires_at and _epoch(expires_at)
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        credentials = None
    if status != 200 or credentials is None:  # outside of the handler: its exception holds the answer
        raise _no_container(f"it answered {status}" if status != 200 else "its answer holds no credentials")
    return _checked(credentials, "the container's endpoint")


def _epoch(timestamp: str) -> float:
    import calendar  # noqa: PLC0415 - most functions have their credentials in the environment

    return calendar.timegm(time.strptime(timestamp[:19], "%Y-%m-%dT%H:%M:%S"))


def _import_boto3() -> Any:  # noqa: ANN401 - boto3 ships no types
    if sys.flags.no_site:  # as the exec wrapper starts Python: without site-packages, where boto3 is
        import site  # noqa: PLC0415

        site.main()
    import boto3  # noqa: PLC0415

    return boto3


def _checked(credentials: Credentials, source: str) -> Credentials:
    for value in (credentials.access_key_id, credentials.session_token or "-"):
        if not (value.isascii() and value.isprintable()):
            raise CredentialsNotFound(
                f"the credentials of {source} hold characters that cannot be sent",
                remedy="set AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN without line breaks and control characters",
            )
    return credentials


def _no_container(problem: str) -> CredentialsNotFound:
    return CredentialsNotFound(
        f"the container's endpoint gives no credentials: {problem}",
        variable=_FULL_URI,
        remedy="correct the variable, or remove it and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    )
