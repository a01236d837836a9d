"""Compiled modules: the target of one, and the part of it that is loaded.

The ELF header says the processor and which parts are loaded, the file name the Python (PEP 3149). `pyelftools` would
parse whole files for that, `packaging` reads ELF headers in a private module, and neither `readelf` nor `strip` is on
every machine; besides, each `strip` leaves other bytes.
"""

import re
import struct
from typing import NamedTuple

# https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html and ch5.pheader.html
_IDENT_64_BIT_LITTLE_ENDIAN = b"\x7fELF\x02\x01\x01"
_HEADER = struct.Struct("<16sHH")
_SHARED_OBJECT = 3
# From byte 32 on: where the program headers begin, and the section headers; flags; sizes and numbers of all of these.
_TABLES = struct.Struct("<2QI6H")
_TABLES_AT = 32
_PROGRAM_HEADER = struct.Struct("<2I6Q")
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


def loaded_part(data: bytes) -> bytes:
    """Return a shared object without its end, which no loader reads: symbols for debuggers, and section headers.

    All that program headers refer to stays as it is and where it is.
    """
    if machine(data) is None:
        return data
    start, _, flags, header_size, entry_size, count, *_ = _TABLES.unpack_from(data, _TABLES_AT)
    headers = [_PROGRAM_HEADER.unpack_from(data, start + index * entry_size) for index in range(count)]
    end = max((offset + size for _, _, offset, _, _, size, _, _ in headers), default=len(data))
    part = bytearray(data[: max(end, start + count * entry_size)])
    _TABLES.pack_into(part, _TABLES_AT, start, 0, flags, header_size, entry_size, count, 0, 0, 0)
    return bytes(part)


def named_target(name: str) -> Target | None:
    """Return the target that a compiled module's file name promises, without which no Python would load it there."""
    found = _FILE_NAME.search(name)
    return Target(f"3.{found[1]}", found[2]) if found else None
