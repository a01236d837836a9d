"""The target of a compiled module is read from its ELF header and its file name, and what is loaded from the first."""

import struct

import pytest

from layer import elf


@pytest.mark.parametrize(("number", "machine"), [(62, "x86_64"), (183, "aarch64"), (40, None)])
def test_elf_header_names_the_processor(number: int, machine: str | None) -> None:
    """The processor is read from the header of a 64-bit little-endian shared object."""
    assert elf.machine(struct.pack("<16sHH", b"\x7fELF\x02\x01\x01", 3, number)) == machine


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF\x02\x01\x01",
        struct.pack("<16sHH", b"\x7fELF\x01\x01\x01", 3, 62),  # 32 bits
        struct.pack(">16sHH", b"\x7fELF\x02\x02\x01", 3, 62),  # big-endian
        struct.pack("<16sHH", b"\x7fELF\x02\x01\x01", 2, 62),  # a program
        struct.pack("<16sHH", b"MZ", 3, 62),
    ],
)
def test_what_is_no_module_has_no_processor(data: bytes) -> None:
    """Truncated files, other word sizes, byte orders and kinds are for no processor of Lambda."""
    assert elf.machine(data) is None


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("_core.cpython-314-aarch64-linux-gnu.so", ("3.14", "aarch64")),
        ("python/m/_core.cpython-310-x86_64-linux-gnu.so", ("3.10", "x86_64")),
        ("_core.cpython-313t-x86_64-linux-gnu.so", None),
        ("_core.abi3.so", None),
        ("_core.so", None),
    ],
)
def test_file_name_names_the_target(name: str, target: tuple[str, str] | None) -> None:
    """Python version and processor are read from the tag in a compiled module's name; free-threaded ones have none."""
    assert elf.named_target(name) == target


def shared_object(segments: list[tuple[int, int]], size_bytes: int) -> bytes:
    """Return a shared object for x86_64 with these offsets and sizes of segments, and as many bytes of 1 as it takes."""
    header = struct.pack(
        "<16s2HI3QI6H", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 64, 4711, 0, 64, 56, len(segments), 64, 5, 4
    )
    table = b"".join(struct.pack("<2I6Q", 1, 5, offset, 0, 0, size, size, 4096) for offset, size in segments)
    return (header + table).ljust(size_bytes, b"\1")


def test_what_no_segment_holds_is_cut_off() -> None:
    """Of a shared object what its segments hold stays, in its place, and nothing says that there are sections."""
    data = shared_object([(0, 400), (512, 100), (300, 20)], 900)
    part = elf.loaded_part(data)

    assert len(part) == 612
    assert part[64:] == data[64:612]
    (start, sections, flags, *sizes) = struct.unpack_from("<2QI6H", part, 32)
    assert (start, sections, flags, sizes) == (64, 0, 0, [64, 56, 3, 0, 0, 0])
    assert part[:32] == data[:32]
    assert elf.loaded_part(part) == part


def test_headers_of_segments_stay() -> None:
    """Segments that hold less than the headers cut nothing off these."""
    assert len(elf.loaded_part(shared_object([(0, 10)], 900))) == 64 + 56


def test_what_is_no_module_is_left_alone() -> None:
    """What has no processor of Lambda's is no business of the build's: the layer's verification refuses it."""
    assert elf.loaded_part(b"MZ and more") == b"MZ and more"
