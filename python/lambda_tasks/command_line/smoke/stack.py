"""A stack as ``lambda-tasks smoke`` sees it: its functions, their queues, and what tells of a failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

HANDLER = "lambda_tasks.handler.handler"


@dataclass(frozen=True)
class Function:
    """A function of a stack. `log_group` is where its log goes; None where it has none to read."""

    logical_id: str
    name: str
    handler: str
    layers: Sequence[str]
    timeout_seconds: int
    environ: Mapping[str, str] = field(repr=False)
    log_group: str | None = None
    is_image: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether its handler is the dispatcher, or may lead to it."""
        return self.handler == HANDLER or any(name.startswith("LAMBDA_TASKS_") for name in self.environ)


@dataclass(frozen=True)
class Source:
    """An event source mapping of a function, or the want of one, where `queue_url` is empty.

    `state` and `reason` are as AWS tells them; ``Enabled`` is the good one.
    """

    function: Function
    queue_url: str
    state: str
    reason: str
    reports_item_failures: bool
    has_filters: bool


@dataclass(frozen=True)
class Failure:
    """The failure of a function, apart from any task: the error's type and text, and what it logged meanwhile."""

    type: str
    message: str
    log: str = field(default="", repr=False)


class Stack(Protocol):
    """A deployed stack, or one that runs on this machine."""

    functions: Sequence[Function]
    sources: Sequence[Source]
    tells_failures: bool
    """Whether `failure_of` knows without invoking the function, so that it may be asked again and again."""

    def lines_of(self, source: Source, message_id: str) -> Sequence[Mapping[str, Any]]:
        """Return what the log says of a message so far: ``outcome``, and ``reason`` where it has one."""
        ...

    def failure_of(self, source: Source, message_id: str, event: Mapping[str, Any]) -> Failure | None:
        """Return why the function fails whatever its messages are; None where it does not.

        `event` is a message that does nothing, for functions that have to be invoked to be asked.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
