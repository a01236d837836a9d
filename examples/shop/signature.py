"""Signatures: they prove that somebody holds a secret without showing it."""

from __future__ import annotations

import hashlib
import hmac


def sign(secret: str, text: str) -> str:
    """Return the HMAC-SHA256 of `text`, in hexadecimal."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
