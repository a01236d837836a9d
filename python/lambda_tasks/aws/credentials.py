"""The AWS credentials that requests are signed with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lambda_tasks.errors import CredentialsNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping


class Credentials(NamedTuple):
    """An access key, with the session token that temporary credentials have."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(access_key_id={self.access_key_id!r}, ...)"


def from_environ(environ: Mapping[str, str]) -> Credentials:
    """Return the credentials that Lambda gives every function in its environment.

    Raises:
        CredentialsNotFound: there are none, or one could not be sent as an HTTP header.

    """
    access_key_id = environ.get("AWS_ACCESS_KEY_ID")
    secret_access_key = environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key_id or not secret_access_key:
        raise CredentialsNotFound(
            "there are no AWS credentials",
            remedy="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (Lambda does so for every function)",
        )
    session_token = environ.get("AWS_SESSION_TOKEN") or None
    for name, value in (("AWS_ACCESS_KEY_ID", access_key_id), ("AWS_SESSION_TOKEN", session_token or "")):
        if not (value.isascii() and value.isprintable()):
            raise CredentialsNotFound(
                "the credentials hold characters that cannot be sent",
                variable=name,
                remedy="set it without line breaks and control characters",
            )
    return Credentials(access_key_id, secret_access_key, session_token)
