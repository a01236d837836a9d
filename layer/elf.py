"""The target of a compiled module: its ELF header says the processor, its file name the Python (PEP 3149).

Two fields of the first twenty bytes are all that is read. `pyelftools` would parse whole files for them, `packaging`
reads ELF headers in a private module, and `readelf` is not on every machine.
"""

import re
import struct
from typing import NamedTuple

# https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
_IDENT_64_BIT_LITTLE_ENDIAN = b"\x7fELF\x02\x01\x01"
_HEADER = struct.Struct("<16sHH")
_SHARED_OBJECT = 3
_MACHINES = {62: "x86_64", 183: "aarch64"}
_FILE_NAME = re.compile(r"\.cpython-3(\d+)-(\w+)-linux-gnu\.so$")


class Target(NamedTuple):
    """A Python version and a processor."""

    python: str
    machine: str


def machine(data: bytes) -> str | None:
    """Return the processor that a shared object is made for; None for what is none, or for another processor."""
    if len(data) < _HEADER.size:
        return None
    ident, kind, number = _HEADER.unpack_from(data)
    if not ident.startswith(_IDENT_64_BIT_LITTLE_ENDIAN) or kind != _SHARED_OBJECT:
        return None
    return _MACHINES.get(number)


def named_target(name: str) -> Target | None:
    """Return the target that a compiled module's file name promises, without which no Python would load it there."""
    found = _FILE_NAME.search(name)
    return Target(f"3.{found[1]}", found[2]) if found else None
