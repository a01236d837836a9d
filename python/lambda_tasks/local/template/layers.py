"""The layers of a template's functions, as folders or zips: built as SAM builds them, or as they are."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.template import own_layer
from lambda_tasks.local.template.document import Template

_LAYERS = ("AWS::Serverless::LayerVersion", "AWS::Lambda::LayerVersion")
_ASSET_PATH = "aws:asset:path"
_POWERTOOLS = "layer:AWSLambdaPowertoolsPython"


def find_layer(name: str, template: Template, given: Mapping[str, Path], folder: Path) -> Path:
    """Return where the layer `name`, a logical id or an ARN, lies; make it below `folder` where it has to be made.

    Raises:
        LocalError: there is none, or it could not be built.

    """
    if name in given:
        if not given[name].exists():
            raise LocalError(f"there is no {given[name]}", source=f"layer {name}", remedy="correct --layer")
        return given[name]
    layers = template.resources(*_LAYERS)
    if name not in layers:
        if own_layer.is_ours(name):
            return own_layer.make(folder)
        raise LocalError("the layer is not in the template", source=f"layer {name}", remedy=_source_of(name))
    resource = layers[name]
    content = _content(name, template, resource)
    if not content.exists():
        raise LocalError(f"there is no {content}", source=f"layer {name}", remedy="correct its ContentUri")
    if resource["Metadata"].get("BuildMethod") != "makefile":
        return content
    return _build(name, content, folder)


def is_own(layer: Path) -> bool:
    """Tell whether a layer that was found is the one of the installed package, which fits this Python alone."""
    return layer.name == own_layer.FOLDER


def _content(name: str, template: Template, resource: Mapping[str, Any]) -> Path:
    if isinstance(asset := resource["Metadata"].get(_ASSET_PATH), str):
        return template.path.parent / asset
    properties = resource["Properties"]
    uri = template.resolve(properties.get("ContentUri", properties.get("Content", "")))
    if not isinstance(uri, str) or not uri:
        remedy = f"set its ContentUri to a folder, or add --layer {name}=PATH"
        raise LocalError("the layer has no folder", source=f"layer {name}", remedy=remedy)
    return template.path.parent / uri


def _source_of(name: str) -> str:
    """Return what to do about a layer that is not here."""
    if _POWERTOOLS in name:
        return (
            "its content is on PyPI: pip install --target powertools/python 'aws-lambda-powertools[all]', "
            f"and add --layer {name}=powertools"
        )
    if name.startswith("arn:"):
        return (
            f"aws lambda get-layer-version-by-arn --arn {name} --query Content.Location gives the address of its zip: "
            f"download it, and add --layer {name}=PATH"
        )
    return f"define it, or add --layer {name}=PATH"


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
