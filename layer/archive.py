"""Files as data, as a folder, and as a zip whose bytes follow from them alone.

The zip is written by libdeflate, pinned as a development dependency: it packs 3 percent better than zlib, of which
every interpreter brings another version, each with other bytes.
"""

import binascii
import io
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.7, 4.3.12 and 4.3.16
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_CENTRAL_HEADER = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20  # 2.0, which knows deflate
_UNIX = 3 << 8  # else the permissions mean nothing
_DEFLATE = 8
_TIME, _DATE = 0, 0x21  # 1 January 1980, the earliest that a zip can hold
_LEVEL = 12


@dataclass(frozen=True)
class File:
    """A file of the layer is its bytes and its permissions."""

    data: bytes
    mode: int = 0o644


# Paths are relative to /opt.
Files = Mapping[str, File]


def zipped(files: Files) -> bytes:
    """Return the archive: names sorted, times and permissions fixed, so that equal files make equal bytes."""
    import deflate  # noqa: PLC0415 - `sam build` makes a folder, by any Python

    buffer, directory = io.BytesIO(), b""
    for name, file in sorted(files.items()):
        encoded, packed = name.encode("ascii"), bytes(deflate.deflate_compress(file.data, _LEVEL))
        about = (0, _DEFLATE, _TIME, _DATE, binascii.crc32(file.data), len(packed), len(file.data), len(encoded), 0)
        attributes = (0, 0, 0, (stat.S_IFREG | file.mode) << 16, buffer.tell())
        directory += _CENTRAL_HEADER.pack(b"PK\1\2", _UNIX | _VERSION, _VERSION, *about, *attributes) + encoded
        buffer.write(_LOCAL_HEADER.pack(b"PK\3\4", _VERSION, *about) + encoded + packed)
    count, start = len(files), buffer.tell()
    return buffer.getvalue() + directory + _END.pack(b"PK\5\6", 0, 0, count, count, len(directory), start, 0)


def write_tree(files: Files, folder: Path) -> None:
    """Write the files below a folder, with their permissions whatever the umask."""
    for name, file in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
        path.chmod(file.mode)
