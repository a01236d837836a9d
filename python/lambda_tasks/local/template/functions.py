"""A template's functions, SAM's and CloudFormation's own, in one form."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.template.document import SAM_FUNCTION, Template
from lambda_tasks.local.template.names import own_name

RAW_FUNCTION = "AWS::Lambda::Function"
_KEYS = (
    "Environment",
    "Events",
    "FunctionName",
    "Handler",
    "Layers",
    "LoggingConfig",
    "MemorySize",
    "PackageType",
    "ReservedConcurrentExecutions",
    "Runtime",
    "Timeout",
)
_CODE_KEYS = ("CodeUri", "InlineCode", "Code")
_ASSET_PATH = "aws:asset:path"
RUNTIME_HERE = f"python{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class FunctionResource:
    """A function as its template describes it. `name` is its logical id, `own_name` what AWS would call it.

    One that `is_managed` runs on Managed Instances, of a capacity provider. Of `code` (a folder or a zip) and `inline`
    (source text) one is set, else `no_code` says why there is none.
    """

    name: str
    own_name: str
    handler: str
    runtime: str
    environ: Mapping[str, str] = field(repr=False)
    layers: tuple[str, ...]
    timeout_seconds: int
    memory_mb: int
    log_format: str
    reserved: int | None
    is_managed: bool
    events: Mapping[str, Any]
    code: Path | None = None
    inline: str | None = field(default=None, repr=False)
    no_code: str | None = None

    @property
    def skipped(self) -> str | None:
        """The reason for which it does not run on this machine; None where it does."""
        if not self.runtime.startswith("python"):
            return f"its runtime is {self.runtime}, and only Python runs here"
        return self.no_code


def functions(template: Template) -> list[FunctionResource]:
    """Return the functions of a template that has learned its names.

    Raises:
        LocalError: a property of one is not what it may be.

    """
    return [_function(template, name, one) for name, one in template.resources(SAM_FUNCTION, RAW_FUNCTION).items()]


def _function(template: Template, name: str, resource: Mapping[str, Any]) -> FunctionResource:
    raw = template.function_properties(resource)
    properties = template.resolve({key: raw[key] for key in _KEYS if key in raw and key != "Events"})
    source = f"function {name}"

    def number(key: str, default: int) -> int:
        text = properties.get(key, default)
        if not str(text).isdecimal():
            raise LocalError(f"{key} is {text}", source=source, remedy="write a whole number")
        return int(text)

    reserved = number("ReservedConcurrentExecutions", 0)
    layers = properties.get("Layers") or ()
    if isinstance(layers, str) or not all(isinstance(one, str) for one in layers):
        raise LocalError("Layers is not a list of layers", source=source, remedy="write a list of ARNs")
    code: dict[str, Any] = {"no_code": "images do not run here"}
    if properties.get("PackageType") != "Image":
        code = _code(template, raw, resource["Metadata"])
    logging = properties.get("LoggingConfig") or {}
    return FunctionResource(
        name=name,
        own_name=own_name(template, raw, "FunctionName", name),
        handler=str(properties.get("Handler", "")),
        runtime=str(properties.get("Runtime") or RUNTIME_HERE),
        environ=_variables(properties.get("Environment"), name),
        layers=tuple(layers),
        timeout_seconds=number("Timeout", 3),
        memory_mb=number("MemorySize", 128),
        log_format=str(logging.get("LogFormat", "Text")),
        reserved=reserved or None,
        is_managed=_is_managed(template, raw),
        events=raw.get("Events") or {},
        **code,
    )


def _is_managed(template: Template, raw: Mapping[str, Any]) -> bool:
    """Tell whether there is a capacity provider, which may be one of another stack."""
    key = "CapacityProviderConfig"
    try:
        return bool(template.resolve({key: raw[key]} if key in raw else {}).get(key))
    except LocalError:
        return True


def _variables(environment: Any, name: str) -> dict[str, str]:  # noqa: ANN401
    variables = environment.get("Variables") if isinstance(environment, dict) else environment
    if not isinstance(variables or {}, dict):
        remedy = "write a map of names and values"
        raise LocalError("Environment has no map of Variables", source=f"function {name}", remedy=remedy)
    for variable, value in (variables or {}).items():
        if not isinstance(value, str):
            kind, remedy = "a map", "write a text, for example with Fn::ToJsonString"
            if isinstance(value, list):
                kind, remedy = "a list", 'join it to a text: !Join [",", ...]'
            problem = f"the value is {kind}, and AWS takes only text"
            raise LocalError(problem, variable=variable, source=f"function {name}", remedy=remedy)
    return dict(variables or {})


def _code(template: Template, raw: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the code is: SAM's ``CodeUri`` or ``InlineCode``, ``Code``, or the asset of CDK's metadata."""
    folder = template.path.parent
    if isinstance(asset := metadata.get(_ASSET_PATH), str) and metadata.get("aws:asset:property") in ("Code", None):
        return {"code": folder / asset}
    properties = template.resolve({key: raw[key] for key in _CODE_KEYS if key in raw})
    own = properties.get("Code", {})
    inline = properties.get("InlineCode") or (own.get("ZipFile") if isinstance(own, dict) else None)
    if isinstance(inline, str):
        return {"inline": inline}
    uri = properties.get("CodeUri", own)
    if isinstance(uri, str) and uri and not uri.startswith(("s3://", "https://")):
        return {"code": folder / uri}
    key = str(uri.get("S3Key") or uri.get("Key") or "") if isinstance(uri, dict) else str(uri)
    if key.endswith(".zip"):
        stem = Path(key).stem
        for found in (folder / f"asset.{stem}", folder / f"asset.{stem}.zip"):  # as CDK leaves them
            if found.exists():
                return {"code": found}
    if isinstance(uri, dict) and uri.get("ImageUri"):
        return {"no_code": "images do not run here"}
    if key:
        return {"no_code": f"its code is in S3: name the folder in {'CodeUri' if 'CodeUri' in raw else 'Code'}"}
    return {"no_code": "it has no code: set its CodeUri to a folder"}
