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
BUILD_REQUIREMENTS = ROOT / "layer" / "requirements-build.txt"


@pytest.fixture(scope="module")
def text(layer_folder: Path) -> str:
    return (layer_folder / sbom.NAME).read_text()


@pytest.fixture(scope="module")
def bill(text: str) -> dict[str, Any]:
    return dict(json.loads(text))


def components(bill: dict[str, Any], scope: str = "required") -> list[dict[str, Any]]:
    """Return the components that are bundled, or those that only a part was taken from."""
    return [component for component in bill["components"] if component["scope"] == scope]


def pinned(requirements: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z][\w.-]*)==(\S+)", requirements.read_text(), re.MULTILINE))


def test_bill_follows_the_schema(text: str) -> None:
    """CycloneDX's own schema has nothing to say against it."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_schema_would_find_a_fault(text: str) -> None:
    """The validator is not one that accepts everything."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace('"library"', '"lib"')) is not None


def test_bill_names_what_is_bundled(bill: dict[str, Any], layer_folder: Path) -> None:
    """Each package in the layer is a component, in the version that its metadata and the lock say."""
    installed = {path.name.removesuffix(".dist-info") for path in (layer_folder / "python").glob("*.dist-info")}
    bundled = {component["name"]: component["version"] for component in components(bill)}

    assert {f"{name}-{version}" for name, version in bundled.items()} == installed
    assert bundled == pinned(REQUIREMENTS)
    assert bill["dependencies"][0]["dependsOn"] == [component["purl"] for component in components(bill)]


def test_bill_names_where_certificates_come_from(bill: dict[str, Any]) -> None:
    """The package that Amazon's roots are taken from is a source too, by its wheel, and nothing that is installed."""
    (source,) = components(bill, "excluded")
    (wheel,) = source["components"]

    assert {source["name"]: source["version"]} == pinned(BUILD_REQUIREMENTS)
    assert source["licenses"] == [{"expression": "MPL-2.0"}]
    assert wheel["hashes"][0]["content"] in BUILD_REQUIREMENTS.read_text()
    assert len(bill["components"]) == len(components(bill)) + 1
    assert {entry["ref"] for entry in bill["dependencies"]} >= {component["purl"] for component in bill["components"]}


def test_every_file_is_pinned(bill: dict[str, Any]) -> None:
    """The hash of each wheel that the layer was made from is in the lock, one for each Python and processor."""
    files = [file for component in components(bill) for file in component["components"]]
    hashes = {file["hashes"][0]["content"] for file in files}

    assert len(hashes) == len(files) == 10
    assert hashes <= set(re.findall(r"sha256:([0-9a-f]{64})", REQUIREMENTS.read_text()))


def test_licences_are_named(bill: dict[str, Any]) -> None:
    """The project and each component say under which licence they come."""
    assert bill["metadata"]["component"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert [component["licenses"] for component in components(bill)] == [[{"expression": "BSD-3-Clause"}]]


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
