"""The target of a compiled module is read from its ELF header and its file name."""

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
