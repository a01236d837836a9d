"""The worker of a container's process: the dispatcher's own, whose changes of visibility end the renewal of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_tasks.dispatch.source_queue import SourceQueues
from lambda_tasks.dispatch.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambda_tasks.containers.held import Held
    from lambda_tasks.dispatch.source_queue import Change
    from lambda_tasks.limits.timeouts import InvocationTime

# No end of an invocation bounds the lease that a crash leaves.
LEASE_SECONDS = 900.0


class HoldingQueues(SourceQueues):
    """The queues of a process that keeps messages invisible: whatever the dispatcher says of one counts last."""

    held: Held

    def change_visibility(self, arn: str, changes: Sequence[Change], clock: InvocationTime) -> None:
        """See `SourceQueues.change_visibility`."""
        self.held.let_go([handle for handle, _ in changes])
        super().change_visibility(arn, changes, clock)


class HoldingWorker(Worker):
    """A worker of a process that keeps messages invisible."""

    longest_lease_seconds = LEASE_SECONDS
    held: Held

    @property
    def queues(self) -> SourceQueues:
        """The queues that messages come from."""
        if self._queues is None:
            queues = HoldingQueues(self.calls, self.environ, self.settings.dead_letter_queue_url)
            queues.held = self.held
            self._queues = queues
        return self._queues
