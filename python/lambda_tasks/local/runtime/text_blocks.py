"""Text as a log shows it: one line an event, and a record or a traceback as one block with its message."""

from __future__ import annotations

_TRACEBACK = "Traceback (most recent call last):"
_GROUP = "  + Exception Group Traceback (most recent call last):"
_GROUP_END = "    +----"
_CHAINS = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
# The heads of what awslambdaric writes in one piece in Lambda's text format: a record, and the error of an invocation.
_LEVELS = ("[DEBUG]", "[INFO]", "[WARNING]", "[ERROR]", "[CRITICAL]")
_RECORDS = tuple(f"{level}\t" for level in _LEVELS)
_NO_BREAK_SPACE = "\u00a0"  # awslambdaric indents tracebacks with it


class TextBlocks:
    """The text of one writer, on its way to blocks. It is written in pieces of any size."""

    def __init__(self) -> None:
        self._line = ""
        self._block: list[str] = []
        self._has_message = False

    def write(self, text: str) -> list[str]:
        """Take a piece of text, and return the blocks that it completes."""
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace(_NO_BREAK_SPACE, " ")
        if _is_event(text):
            # The runtime ends with the head of a traceback where there is none, as of a module that is not there.
            return [*self.flush(), text.rstrip("\n").removesuffix(f"\n{_TRACEBACK}")]
        if self._wants_message and not self._line and text.endswith("\n") and not text.startswith((" ", "\n")):
            self._block.append(text.rstrip("\n"))  # in one piece, however many lines it has
            self._has_message = True
            return []
        *lines, self._line = (self._line + text).split("\n")
        return [block for line in lines for block in self._take(line)]

    def rest(self) -> list[str]:
        """Return a traceback that has its message: it may have ended there."""
        return self._end() if self._has_message else []

    def flush(self) -> list[str]:
        """Return all that is left, a line without an end included: nothing more is written for now."""
        line, self._line = self._line, ""
        return [*(self._take(line) if line else []), *self._end()]

    @property
    def _wants_message(self) -> bool:
        return bool(self._block) and not self._has_message

    def _take(self, line: str) -> list[str]:
        if line in (_TRACEBACK, _GROUP):
            ended = [] if self._is_chained() else self._end()
            self._block.append(line)
            self._has_message = False
            return ended
        if self._block and (line.startswith(" ") or not line or line in _CHAINS):
            self._block.append(line)
            self._has_message |= line.startswith(_GROUP_END)
            return []
        if self._wants_message:
            self._block.append(line)
            self._has_message = True
            return []
        return [*self._end(), *([line] if line.strip() else [])]

    def _is_chained(self) -> bool:
        return any(line in _CHAINS for line in self._block[-2:])

    def _end(self) -> list[str]:
        block, self._block, self._has_message = self._block, [], False
        return ["\n".join(block).rstrip("\n")] if block else []


def _is_event(text: str) -> bool:
    """Tell whether a piece of text is one event: a record of the runtime's, or a whole traceback."""
    if text.startswith(_RECORDS):
        return True  # with a traceback it has no end of line
    if not text.endswith("\n"):
        return False
    is_json = text.startswith("{") and text.endswith("}\n")
    has_traceback = _TRACEBACK in text and text.strip("\n") not in (_TRACEBACK, _GROUP)
    return is_json or text.startswith(_LEVELS) or has_traceback
