"""The bill of materials in the layer: scanners have to read it, and it has to name what is really there."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from copies import ROOT
from layer import sbom

REQUIREMENTS = ROOT / "layer" / "requirements.txt"


@pytest.fixture(scope="module")
def text(layer_folder: Path) -> str:
    return (layer_folder / sbom.NAME).read_text()


@pytest.fixture(scope="module")
def bill(text: str) -> dict[str, Any]:
    return dict(json.loads(text))


def test_bill_follows_the_schema(text: str) -> None:
    """CycloneDX's own schema has nothing to say against it."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_schema_would_find_a_fault(text: str) -> None:
    """The validator is not one that accepts everything."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace('"library"', '"lib"')) is not None


def test_bill_names_what_is_bundled(bill: dict[str, Any], layer_folder: Path) -> None:
    """Each package in the layer is a component, in the version that its metadata and the lock say."""
    installed = {path.name.removesuffix(".dist-info") for path in (layer_folder / "python").glob("*.dist-info")}
    pinned = dict(re.findall(r"^([a-z][\w.-]*)==(\S+)", REQUIREMENTS.read_text(), re.MULTILINE))
    components = {component["name"]: component["version"] for component in bill["components"]}

    assert {f"{name}-{version}" for name, version in components.items()} == installed
    assert components == pinned
    assert bill["dependencies"][0]["dependsOn"] == [component["purl"] for component in bill["components"]]


def test_every_file_is_pinned(bill: dict[str, Any]) -> None:
    """The hash of each wheel that the layer was made from is in the lock, one for each Python and processor."""
    files = [file for component in bill["components"] for file in component["components"]]
    hashes = {file["hashes"][0]["content"] for file in files}

    assert len(hashes) == len(files) == 10
    assert hashes <= set(re.findall(r"sha256:([0-9a-f]{64})", REQUIREMENTS.read_text()))


def test_licences_are_named(bill: dict[str, Any]) -> None:
    """The project and each component say under which licence they come."""
    assert bill["metadata"]["component"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert [component["licenses"] for component in bill["components"]] == [[{"expression": "BSD-3-Clause"}]]


def test_serial_number_follows_from_the_contents() -> None:
    """Equal contents have equal bills; another byte, or the same bytes in other files, another serial number."""
    first, same = (sbom.document("1", [], contents) for contents in ({"a": b"1", "b": b"2"}, {"b": b"2", "a": b"1"}))
    other, moved = (sbom.document("1", [], contents) for contents in ({"a": b"1", "b": b"3"}, {"a": b"12", "b": b""}))

    assert first == same
    assert len({json.loads(document)["serialNumber"] for document in (first, other, moved)}) == 3


def test_version_is_that_of_the_project(bill: dict[str, Any]) -> None:
    """The component is the project in the version of pyproject.toml."""
    assert bill["metadata"]["component"]["version"] == sbom.version(ROOT)
    assert f'version = "{sbom.version(ROOT)}"{os.linesep}' in (ROOT / "pyproject.toml").read_text()
