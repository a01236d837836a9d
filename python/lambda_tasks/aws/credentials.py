"""The AWS credentials that requests are signed with: the environment's, the container's, or those that boto3 finds.

Source: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time

from lambda_tasks import after_fork
from lambda_tasks.aws import retry
from lambda_tasks.aws.connection import Connector
from lambda_tasks.aws.http import Client, DeadlineExceeded, HttpError, NoAnswer
from lambda_tasks.aws.signing import Credentials as Credentials
from lambda_tasks.aws.url import Url, is_number
from lambda_tasks.errors import CredentialsNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_FULL_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
_RELATIVE_URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
_TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105 - the name of a variable
_TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105
_TIMEOUT_SECONDS = 8.0
_CONTAINER_PATIENCE_SECONDS = 2.0
_REFUSALS, _REFUSED_SECONDS = 3, 1.0  # as often and as far apart as botocore asks: then it is no fault that passes
_MAX_TOKEN_BYTES = 64 * 1024
_RENEW_BEFORE_SECONDS = 300.0
_RENEW_AGAIN_SECONDS = 10.0
_ECS_ADDRESS = "http://169.254.170.2"
# Only these and loopback may be asked over plain HTTP, since the answer is a secret (botocore's rule).
_CONTAINER_HOSTS = {"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost", "::1"}


class CredentialChain:
    """Find credentials when a request is signed, and renew them before they expire. Usable from several threads."""

    def __init__(self, environ: Mapping[str, str], wall_clock: Callable[[], float] = time.time) -> None:
        self._environ = environ
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._search: _Search | None = None
        self._container: Credentials | None = None
        self._renew_at = 0.0
        self._boto3: Callable[[], Credentials] | None = None
        after_fork.register(self)

    def let_go_after_fork(self) -> None:
        """Forget the search that a thread of the parent leads, and boto3's session, which has locks of its own."""
        self._lock, self._search, self._boto3 = threading.Lock(), None, None

    def __call__(self) -> Credentials:
        """Return credentials that are valid now, as `before` does with eight seconds from now."""
        return self.before(time.monotonic() + _TIMEOUT_SECONDS)

    def before(self, deadline: float) -> Credentials:
        """Return credentials that are valid now; what fails is tried again until `deadline`.

        Raises:
            CredentialsNotFound: there are none, they could not be fetched, or they could not be sent.

        """
        credentials = from_environ(self._environ)
        if credentials:
            return credentials
        while True:
            with self._lock:
                if self._container and not (self._renew_at and self._wall_clock() > self._renew_at):
                    return self._container
                search = None if self._search is None or self._search.is_abandoned else self._search
                if search is None:  # one thread asks, the others wait for its answer
                    own = self._search = _Search(deadline)
            if search is None:
                return self._lead(own)
            if not search.done.wait(max(0.0, deadline - time.monotonic())):
                raise CredentialsNotFound("no time left while waiting for AWS credentials", remedy="check their source")
            if search.credentials:
                return search.credentials
            if search.error and search.deadline >= deadline:
                raise search.error

    def _lead(self, search: _Search) -> Credentials:
        try:
            search.credentials = self._from_container(search.deadline) or self._from_boto3()
        except CredentialsNotFound as error:
            search.error = error
            raise
        finally:
            with self._lock:
                self._search = None if self._search is search else self._search
            search.done.set()
        return search.credentials

    def _from_container(self, deadline: float) -> Credentials | None:
        known, now = self._container, self._wall_clock()
        is_valid = bool(known and known.expires_at and known.expires_at > now)
        try:
            # What is still valid is renewed by one try, whose failure does no harm yet.
            self._container = from_container(self._environ, deadline, once=is_valid)
        except CredentialsNotFound:
            if not is_valid:
                raise
            self._renew_at = now + _RENEW_AGAIN_SECONDS
            return known
        expires_at = self._container and self._container.expires_at
        self._renew_at = max(expires_at - _RENEW_BEFORE_SECONDS, now + _RENEW_AGAIN_SECONDS) if expires_at else 0.0
        return self._container

    def _from_boto3(self) -> Credentials:
        if self._boto3 is None:
            self._boto3 = from_boto3()
        return self._boto3()


class _Search:
    """One search for credentials until a deadline, and its outcome for all who wait for it."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.done = threading.Event()
        self.credentials: Credentials | None = None
        self.error: CredentialsNotFound | None = None

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody searches any more: where a signal ended the thread that was to begin."""
        return time.monotonic() > self.deadline + 1


def from_environ(environ: Mapping[str, str]) -> Credentials | None:
    """Return the credentials that Lambda gives every function in its environment.

    Raises:
        CredentialsNotFound: one of them could not be sent as an HTTP header.

    """
    access_key_id, secret_access_key = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key_id or not secret_access_key:
        return None
    token = environ.get("AWS_SESSION_TOKEN") or None
    return _checked(Credentials(access_key_id, secret_access_key, token), "the environment")


def from_container(environ: Mapping[str, str], deadline: float, *, once: bool = False) -> Credentials | None:
    """Ask the container's endpoint, which a function has under SnapStart, until `deadline`, or `once`.

    Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html

    Raises:
        CredentialsNotFound: it did not give any.

    """
    relative, full = environ.get(_RELATIVE_URI), environ.get(_FULL_URI)
    if not relative and not full:
        return None
    variable = _RELATIVE_URI if relative else _FULL_URI
    try:
        url = Url.parse(f"{_ECS_ADDRESS}{relative}" if relative else full or "", with_query=True)
    except ValueError as error:
        raise _no_container(f"its address is not usable: {error}", variable) from None
    is_loopback = url.host.startswith("127.") and all(map(is_number, url.host.split(".")))
    if url.scheme == "http" and url.host not in _CONTAINER_HOSTS and not is_loopback:
        raise _no_container("it would be asked over plain HTTP on another host", variable)
    headers = {"Host": url.authority, "Accept": "application/json"}
    if token := _authorization(environ):
        headers["Authorization"] = token
    # The endpoint is beside the function: no proxy is asked for it.
    client = Client(Connector({name: environ[name] for name in ("AWS_CA_BUNDLE",) if name in environ}))
    try:
        return _asked(client, url, headers, deadline, variable, once=once)
    finally:
        client.close()


def _asked(
    client: Client, url: Url, headers: Mapping[str, str], deadline: float, variable: str, *, once: bool
) -> Credentials:
    budget_seconds = deadline - time.monotonic()
    patience_seconds = min(_CONTAINER_PATIENCE_SECONDS, retry.patience_seconds(budget_seconds))
    problem, refusals = "", 0
    for attempt in itertools.count(1):
        wanted_seconds = retry.backoff(attempt)
        try:
            response = client.request("GET", url, headers, deadline=deadline, patience_seconds=patience_seconds)
        except HttpError as error:
            problem = problem if isinstance(error, DeadlineExceeded) and problem else str(error)
            is_final = not error.retryable
            if isinstance(error, NoAnswer):
                wanted_seconds = retry.backoff(1)
        else:
            credentials = _from_answer(response.body) if response.status == 200 else None
            if credentials:
                return _checked(credentials, "the container's endpoint")
            problem = "its answer holds no credentials" if response.status == 200 else f"it answered {response.status}"
            if response.status < 500 and response.status != 429:
                refusals, wanted_seconds = refusals + 1, _REFUSED_SECONDS
            is_final = refusals == _REFUSALS
        pause_seconds = retry.pause(wanted_seconds, deadline - time.monotonic(), budget_seconds)
        if once or is_final or pause_seconds is None:
            break
        time.sleep(pause_seconds)
    raise _no_container(problem, variable)


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
    path = environ.get(_TOKEN_FILE)
    content = b""
    if path:
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - pathlib would cost a cold start 2 ms
                content = file.read(_MAX_TOKEN_BYTES).strip()
        except OSError as error:
            raise _no_container(f"its token file cannot be read: {error.strerror}", _TOKEN_FILE) from error
    token = content.decode("latin-1") or environ.get(_TOKEN, "")
    if not (token.isascii() and (token.isprintable() or not token)):
        variable = _TOKEN_FILE if content else _TOKEN
        raise _no_container("its token holds characters that cannot be sent", variable)
    return token


def _from_answer(body: bytes) -> Credentials | None:
    import calendar  # noqa: PLC0415 - most functions have their credentials in the environment

    try:
        answer = json.loads(body)
        parts = (answer["AccessKeyId"], answer["SecretAccessKey"], answer.get("Token") or "")
        if not (all(isinstance(part, str) for part in parts) and parts[0] and parts[1]):
            return None
        expires_at = answer.get("Expiration")
        epoch = calendar.timegm(time.strptime(expires_at[:19], "%Y-%m-%dT%H:%M:%S")) if expires_at else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return Credentials(parts[0], parts[1], parts[2] or None, epoch)


def _import_boto3() -> Any:  # noqa: ANN401 - boto3 ships no types
    if sys.flags.no_site:  # as the exec wrapper starts Python: without site-packages, where boto3 is
        import site  # noqa: PLC0415

        site.main()
    import boto3  # noqa: PLC0415

    return boto3


def _checked(credentials: Credentials, source: str) -> Credentials:
    for value in (credentials.access_key_id, credentials.session_token or "-"):
        if not (value.isascii() and value.isprintable()):
            remedy = "set AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN without line breaks and control characters"
            raise CredentialsNotFound(f"the credentials of {source} hold characters that cannot be sent", remedy=remedy)
    return credentials


def _no_container(problem: str, variable: str) -> CredentialsNotFound:
    problem = f"the container's endpoint gives no credentials: {problem}"
    remedy = "correct the variable, or remove it and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return CredentialsNotFound(problem, variable=variable, remedy=remedy)
