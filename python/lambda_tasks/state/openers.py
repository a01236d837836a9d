"""The stores that other rooms have: each says by which word ``LAMBDA_TASKS_TABLE`` names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_tasks.settings import Settings
    from lambda_tasks.state.protocol import State

django: Callable[[str, Settings], State] | None = None
"""It opens the store in a database of Django's, by its alias. The app ``lambda_tasks.django`` sets it."""
