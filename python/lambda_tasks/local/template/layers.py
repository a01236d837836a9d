"""The layers of a template's functions, as folders or zips: built as SAM builds them, or as they are."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.template.document import Template

_LAYER = "AWS::Serverless::LayerVersion"


def find_layer(name: str, template: Template, given: Mapping[str, Path], folder: Path) -> Path:
    """Return where the layer `name`, a logical id or an ARN, lies; build it below `folder` where it has to be built.

    Raises:
        LocalError: there is none, or it could not be built.

    """
    if name in given:
        if not given[name].exists():
            raise LocalError(f"there is no {given[name]}", source=f"layer {name}", remedy="correct --layer")
        return given[name]
    layers = template.resources(_LAYER)
    if name not in layers:
        remedy = f"download it, and add --layer {name}=PATH"
        raise LocalError("the layer is not in the template", source=f"layer {name}", remedy=remedy)
    properties = template.resolve({"ContentUri": layers[name].get("Properties", {}).get("ContentUri")})
    content = template.path.parent / str(properties["ContentUri"])
    if not content.exists():
        raise LocalError(f"there is no {content}", source=f"layer {name}", remedy="correct its ContentUri")
    if layers[name].get("Metadata", {}).get("BuildMethod") != "makefile":
        return content
    return _build(name, content, folder)


def _build(name: str, content: Path, folder: Path) -> Path:
    """Run what ``sam build`` runs: https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/building-custom-runtimes.html."""
    built = folder / name
    built.mkdir(parents=True)
    command = ["make", "--no-print-directory", "-C", str(content), f"build-{name}", f"ARTIFACTS_DIR={built}"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=False, env=_environ())
    except OSError as error:
        raise LocalError("make cannot be run", source=f"layer {name}", remedy="install it") from error
    if process.returncode:
        lines: Any = process.stderr.strip().splitlines() or ["no output"]
        raise LocalError(
            f"the layer could not be built: {lines[-1]}", source=f"layer {name}", remedy="run `make` there"
        )
    return built


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
