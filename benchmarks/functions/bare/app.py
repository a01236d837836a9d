"""Nothing but a handler: what every cold start costs."""

from __future__ import annotations


def handler(event: object, context: object) -> dict[str, list[object]]:  # noqa: ARG001
    """Claim that every message is done."""
    return {"batchItemFailures": []}
