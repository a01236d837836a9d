"""The key under which a singleton task takes its lease."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


def singleton_key(task: str, kwargs: Mapping[str, Any]) -> str:
    """Return one key for all messages of `task` whose `kwargs` (the chosen ones alone) have equal values.

    The values are hashed as JSON with sorted keys: they may be long, or nobody's business.
    """
    canonical = msgspec.json.encode([task, kwargs], order="sorted")
    return hashlib.sha256(canonical).hexdigest()
