"""How far the steps of a message have come, as one short text of JSON in its record.

A scope is what steps lie in: the task itself, with an empty name; a loop, anew for each of its items; or another step.
The steps of a scope have numbers, in the order in which the task's own code came to them. So a later delivery can tell
whether the code is still the same. Steps beside that code, such as those of ``gather``, have none.
"""

from __future__ import annotations

import msgspec

MAX_RAISED = 100


class Loop(msgspec.Struct, omit_defaults=True):
    """A loop of ``steps``: `done` of its items are, of `total` where that is known.

    `longest` is the most seconds that one of them took, `spent` what all of them took together. `number` is the place
    in the `scope`; 0 is that of a loop beside the task's own code.
    """

    done: int = 0
    total: int | None = None
    longest: float = 0.0
    spent: float = 0.0
    is_over: bool = False
    scope: str = ""
    number: int = 0

    @property
    def is_top(self) -> bool:
        """Whether it lies in no other one."""
        return not self.scope


class Scope(msgspec.Struct, omit_defaults=True):
    """A scope in which something is kept: `last` is the highest number of a step that is."""

    last: int = 0
    parent: str = ""


class Marks(msgspec.Struct, omit_defaults=True):
    """All of it: the loops by name, in the order in which they began, and the scopes by name.

    `finished` counts the steps that are kept, and `latest` names the last of them. `raised` names steps of the task's
    own code that raised, and the task went on. `put_off` counts how often the rest was put off for another
    delivery. It `has_beside` where steps beside the task's own code are kept.
    """

    loops: dict[str, Loop] = {}
    scopes: dict[str, Scope] = {}
    raised: list[str] = []
    finished: int = 0
    latest: str = ""
    put_off: int = 0
    has_beside: bool = False

    def text(self) -> str:
        """Return them as they are stored."""
        return msgspec.json.encode(self).decode()

    def last(self, scope: str) -> int:
        """Return the highest number of a step that is kept in a scope; 0 where none is."""
        found = self.scopes.get(scope)
        return 0 if found is None else found.last

    def reach(self, scope: str, parent: str, number: int) -> None:
        """Note that the step with this number is kept in a scope."""
        found = self.scopes.setdefault(scope, Scope(parent=parent))
        found.last = max(found.last, number)

    def leave(self, scope: str) -> None:
        """Forget what lies in a scope, which its next delivery would not come to again."""
        self.scopes.pop(scope, None)
        inner = [name for name, one in self.scopes.items() if name and one.parent == scope]
        inner += [name for name, one in self.loops.items() if one.number and one.scope == scope]
        for name in inner:
            self.loops.pop(name, None)
            self.leave(name)

    def raise_(self, name: str) -> None:
        """Note that a step raised, and others came behind it."""
        if name not in self.raised and len(self.raised) < MAX_RAISED:
            self.raised.append(name)


_DECODER = msgspec.json.Decoder(Marks)


def read(text: str) -> Marks:
    """Return the marks in a record's text. One that cannot be read, of another release, counts as none."""
    if text:
        try:
            return _DECODER.decode(text)
        except msgspec.MsgspecError:
            pass
    return Marks()
