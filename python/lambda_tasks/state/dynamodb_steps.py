"""Steps in a DynamoDB table: each is an item of its own, and is written together with the record of its message."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lambda_tasks.state import table
from lambda_tasks.state.steps import step_lost

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_tasks.state.dynamodb_items import Items
    from lambda_tasks.state.steps import KeptStep

LEASE_IS_OURS = "#lease_owner = :lease_owner AND attribute_exists(#lease_until)"


class DynamoDbSteps:
    """The `Steps` in a DynamoDB table. `clock` gives epoch seconds."""

    def __init__(self, items: Items, record_ttl_seconds: float, clock: Callable[[], float]) -> None:
        self._items = items
        self._record_ttl_seconds = record_ttl_seconds
        self._clock = clock

    def keep_step(
        self, message_id: str, owner: str, steps: str, kept: KeptStep | None = None, *, deadline: float
    ) -> None:
        """See `Steps.keep_step`."""
        key, values = table.message_key(message_id), {"steps": steps}
        operands = {"lease_owner": owner}
        if kept is None:
            written, _ = self._items.update(
                key, condition=LEASE_IS_OURS, values=values, operands=operands, deadline=deadline
            )
        else:
            beside: dict[str, str | float] = {
                "step": kept.name,
                "content": kept.content,
                "expires_at": math.ceil(self._clock() + self._record_ttl_seconds),
            }
            written = self._items.update_with(
                (key, values),
                (table.step_key(message_id, kept.name), beside),
                condition=LEASE_IS_OURS,
                operands=operands,
                deadline=deadline,
            )
        if not written:
            raise step_lost(message_id)

    def kept_step(self, message_id: str, name: str, *, deadline: float) -> str | None:
        """See `Steps.kept_step`."""
        item = self._items.get(table.step_key(message_id, name), deadline)
        if (table.number(item, "expires_at") or 0) <= self._clock():
            return None
        return table.text(item, "content")
