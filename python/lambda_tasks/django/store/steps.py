"""Steps in a database of Django's: each is a row of its own, and is written together with the record of its message."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import F

from lambda_tasks.django.models import TaskKey
from lambda_tasks.django.store import rows
from lambda_tasks.django.store.store import Store
from lambda_tasks.state.steps import step_lost

if TYPE_CHECKING:
    from lambda_tasks.state.steps import KeptStep


class OrmSteps(Store):
    """The `Steps` in a database of Django's."""

    def keep_step(
        self, message_id: str, owner: str, steps: str, kept: KeptStep | None = None, *, deadline: float
    ) -> None:
        """See `Steps.keep_step`."""
        mine = self._records.filter(message_id=rows.key(message_id), lease_owner=owner, lease_until__isnull=False)

        def write() -> bool:
            with transaction.atomic(using=self._database.alias):  # it holds the record's row until the step is written
                if not mine.update(steps=rows.cut(steps), version=F("version") + 1):
                    return False
                if kept is not None:
                    self._keep(message_id, kept)
                return True

        if not self._database.write(write, deadline=deadline):
            raise step_lost(message_id)

    def kept_step(self, message_id: str, name: str, *, deadline: float) -> str | None:
        """See `Steps.kept_step`."""
        live = self._keys.filter(key=_key(message_id, name), expires_at__gt=self._clock())
        found = self._database.read(lambda: list(live.values_list("result", flat=True)), deadline=deadline)
        return found[0] if found else None

    def _keep(self, message_id: str, kept: KeptStep) -> None:
        key = _key(message_id, kept.name)
        expires_at = rows.expiry(self._clock(), self._record_ttl_seconds)
        values = {"result": rows.cut(kept.content), "expires_at": expires_at}
        if not self._keys.filter(key=key).update(**values):
            self._insert(TaskKey, {"key": key, "message_id": rows.key(message_id), **values})


def _key(message_id: str, name: str) -> str:
    text = f"{message_id}#{name}".encode("utf-8", "replace")
    return f"step#{hashlib.sha256(text).hexdigest()}"
