"""The protocol of a store of steps: what the steps of a message have finished, kept for its later deliveries."""

from __future__ import annotations

from typing import Protocol

import msgspec

from lambda_tasks.errors import LeaseLost


class KeptStep(msgspec.Struct, frozen=True):
    """One step that was finished: its `name`, and the `content` that the workflow makes of its result, a text.

    ``repr`` does not show the content.
    """

    name: str
    content: str

    def __repr__(self) -> str:
        return f"KeptStep({self.name!r})"


class Steps(Protocol):
    """A store of the steps of messages. Usable from several threads, and called twice as `State` is.

    It keeps two things, and reads neither. ``steps`` is one text in the record of a message, of a few kilobytes: how
    far the message has come. `State.start` answers with it, `Ending.steps` replaces it, and `StoredRecord` has it. The
    content of each step lies beside the record, by the message's id and the step's name, and lasts as long as that.
    """

    def keep_step(
        self, message_id: str, owner: str, steps: str, kept: KeptStep | None = None, *, deadline: float
    ) -> None:
        """Replace the text ``steps`` of a message's record, and keep a step: both, or nothing where one cannot be.

        That is done while `owner` has the lease of the message, by the condition of `State.release`. What is kept under
        the same name is replaced.

        Raises:
            LeaseLost: the lease is no longer that owner's. Nothing was written.
            StateUnavailable: the store did not answer. Both may have been written.

        """
        ...

    def kept_step(self, message_id: str, name: str, *, deadline: float) -> str | None:
        """Return the content that is kept under a name, or None: as of now, whoever wrote it.

        Raises:
            StateUnavailable: the store did not answer.

        """
        ...


def step_lost(message_id: str) -> LeaseLost:
    """Return the error of a delivery whose lease another one has taken, and that therefore keeps nothing."""
    return LeaseLost(
        "the lease expired and another attempt has taken it: what this one does is not kept",
        source=f"message {message_id}",
        remedy="shorten the task, or give it an explicit hard_timeout",
    )
