"""Signature Version 4, for the one kind of request that we make: one without a query.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import time

from lambda_tasks.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials(Value):
    """An access key, with the session token that temporary credentials have and when they expire (epoch seconds)."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    expires_at: float | None = None

    def __repr__(self) -> str:
        return f"Credentials(access_key_id={self.access_key_id!r}, ...)"


def digest(body: bytes) -> str:
    """Return what S3 wants in ``X-Amz-Content-Sha256``."""
    return hashlib.sha256(body).hexdigest()


def sign(
    headers: Mapping[str, str],
    body: bytes,
    *,
    credentials: Credentials,
    service: str,
    region: str,
    method: str = "POST",
    path: str = "/",
    epoch_seconds: float,
) -> dict[str, str]:
    """Return `headers` with ``X-Amz-Date``, ``Authorization`` and, for temporary credentials, the session token.

    `headers` must hold ``Host``; all of them are signed. `path` is signed as it is sent: encoded once, as S3 wants it,
    or of plain characters alone, as every other service does not mind.
    """
    timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(epoch_seconds))
    signed = {**headers, "X-Amz-Date": timestamp}
    if credentials.session_token:
        signed["X-Amz-Security-Token"] = credentials.session_token

    canonical = {name.lower(): " ".join(value.split()) for name, value in signed.items()}
    ordered = sorted(canonical)
    names = ";".join(ordered)
    lines = "".join([f"{name}:{canonical[name]}\n" for name in ordered])
    request = f"{method}\n{path}\n\n{lines}\n{names}\n{digest(body)}"

    scope = f"{timestamp[:8]}/{region}/{service}/aws4_request"
    to_sign = f"{_ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = _key(credentials.secret_access_key, scope)
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()

    signed["Authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return signed


def _key(secret_access_key: str, scope: str) -> bytes:
    """Return the key of a day, a region and a service. The last ones are kept, as each takes four digests."""
    kept = _keys.get((secret_access_key, scope))
    if kept is not None:
        return kept
    key = f"AWS4{secret_access_key}".encode("utf-8", "surrogatepass")  # a variable may hold any bytes
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    if len(_keys) >= _MOST_KEYS:
        _keys.clear()  # of credentials and days that are over, but for a few
    _keys[secret_access_key, scope] = key
    return key


_keys: dict[tuple[str, str], bytes] = {}
_MOST_KEYS = 16
