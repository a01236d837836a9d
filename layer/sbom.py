"""The layer's bill of materials, for scanners: CycloneDX JSON that follows from what is bundled, and from nothing else.

It holds no time and no random number, since the same commit has to give the same bytes. `cyclonedx-python-lib` puts a
time into every document, and `sam build` runs the build with a Python that has no packages; the tests have that
library's validator judge the document.
https://cyclonedx.org/docs/1.6/json/
"""

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

NAME = "python/lambda_tasks/sbom.cdx.json"


@dataclass(frozen=True)
class Package:
    """A package is one distribution that the layer is made from, and the wheels that it was taken from."""

    name: str
    version: str
    licence: str
    wheels: tuple[Path, ...]

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}"


def version(root: Path) -> str:
    """Return the project's version. A pattern will do: Python 3.10 cannot read TOML by itself."""
    (found,) = re.findall(r'^version = "([^"]+)"$', (root / "pyproject.toml").read_text(), re.MULTILINE)
    return str(found)


def packages(wheels: Sequence[Path]) -> list[Package]:
    """Return what the wheels' own metadata says, one package for all wheels of a name and version."""
    grouped: dict[tuple[str, str, str], list[Path]] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            headers = HeaderParser().parsestr(archive.read(name).decode())
        key = (headers["Name"], headers["Version"], headers["License-Expression"] or headers["License"])
        grouped.setdefault(key, []).append(wheel)
    return [Package(*key, tuple(paths)) for key, paths in sorted(grouped.items())]


def document(
    own_version: str, bundled: Sequence[Package], contents: Mapping[str, bytes], excerpted: Sequence[Package] = ()
) -> bytes:
    """Return the bill of materials.

    `contents` decide its serial number, so that no two contents share one. Of an `excerpted` package the layer holds a
    part as data: it is named as a source, and is nothing that runs.
    """
    own = {
        "type": "library",
        "bom-ref": "lambda-tasks",
        "name": "lambda-tasks",
        "version": own_version,
        "purl": f"pkg:generic/lambda-tasks@{own_version}",
        "licenses": [{"license": {"id": "MIT"}}],
    }
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, _digest(contents))}",
        "version": 1,
        "metadata": {"component": own},
        "components": [
            *(_component(package, "required") for package in bundled),
            *(_component(package, "excluded") for package in excerpted),
        ],
        "dependencies": [
            {"ref": "lambda-tasks", "dependsOn": [package.purl for package in bundled]},
            *({"ref": package.purl} for package in (*bundled, *excerpted)),
        ],
    }
    return json.dumps(bill, indent=2).encode() + b"\n"


def _component(package: Package, scope: str) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "scope": scope,
        "purl": package.purl,
        "licenses": [{"expression": package.licence}],
        # Which files of the package index these are: their hashes are those of the lock.
        "components": [
            {
                "type": "file",
                "name": wheel.name,
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}],
            }
            for wheel in package.wheels
        ],
    }


def _digest(contents: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in sorted(contents.items()):
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()
