"""The layer attached beside others, under the real runtime: it changes nothing that a function would otherwise import."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from events import message_body, sqs_event, sqs_record
from fake_aws import FakeAws
from lambda_tasks.local.runtime.process import Function, running
from wrapper import base_environ, secret_arn

# Tells the origin of every module that could be imported, and describes the process.
HANDLER = """
import importlib.util, json, os, pkgutil, sys

def handler(event, context):
    origins = {}
    for module in pkgutil.iter_modules():
        spec = importlib.util.find_spec(module.name)
        origins[module.name] = spec.origin or list(spec.submodule_search_locations or [])
    return {
        "origins": origins,
        "path": sys.path,
        "runtime": os.environ["LAMBDA_RUNTIME_DIR"],
        "environ": sorted(os.environ),
        "modules": sorted(name for name in sys.modules if name.startswith(("lambda_tasks", "msgspec"))),
    }
"""
TASKS = """
import msgspec
from lambda_tasks import task

@task
def tell() -> list[str]:
    return [msgspec.__file__, msgspec.__version__]
"""


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Somebody else's layer: modules, a boto3 of its own, a package below site-packages, an exec wrapper."""
    names = ["python/other.py", "python/typing_extensions.py", "python/boto3/__init__.py", "bin/other"]
    names += [f"python/lib/python3.{minor}/site-packages/below.py" for minor in range(10, 15)]
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return path


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The function: a handler, and a module of tasks."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "app.py").write_text(HANDLER)
    (folder / "shop.py").write_text(TASKS)
    return folder


def look(code: Path, emulator: Path, *layers: Path, **environ: str) -> dict[str, Any]:
    """Return what a function with these layers sees, with the runtime's folder, which is new each time, as RUNTIME."""
    with running(Function(code, "app.handler", layers, environ), emulator) as runtime:
        invocation = runtime.invoke({})
    assert not invocation.is_error, invocation
    folder = json.dumps(invocation.payload["runtime"])[1:-1]
    seen = json.dumps(invocation.payload).replace(folder, "RUNTIME")
    return dict(json.loads(seen.replace(str(Path(folder).parent / "opt"), "/opt")))


@pytest.mark.parametrize("first", [True, False])
def test_no_other_import_changes(layer_zip: Path, other: Path, code: Path, emulator_path: Path, *, first: bool) -> None:
    """Before or after another layer, ours adds the two names that it brings, and every other comes from where it did."""
    without = look(code, emulator_path, other)
    with_it = look(code, emulator_path, *((layer_zip, other) if first else (other, layer_zip)))

    added = {name: origin for name, origin in with_it["origins"].items() if name not in without["origins"]}
    assert added == {name: f"/opt/python/{name}/__init__.py" for name in ("lambda_tasks", "msgspec")}
    assert without["origins"].items() <= with_it["origins"].items()
    assert with_it["path"] == without["path"]
    assert with_it["modules"] == []


def test_wrapper_leaves_the_import_path_alone(
    layer_zip: Path, other: Path, code: Path, emulator_path: Path, aws: FakeAws
) -> None:
    """The exec wrapper adds its variables to the runtime and nothing else: no entry of sys.path, no imported module."""
    aws.secrets = {secret_arn("token"): "t"}
    environ = base_environ(
        aws.url,
        AWS_LAMBDA_EXEC_WRAPPER="/opt/bin/lambda-tasks-exec",
        LAMBDA_TASKS_SECRET_TOKEN=secret_arn("token"),
    )
    unwrapped = {name: value for name, value in environ.items() if name != "AWS_LAMBDA_EXEC_WRAPPER"}
    without = look(code, emulator_path, layer_zip, other, **unwrapped)
    with_it = look(code, emulator_path, layer_zip, other, **environ)

    assert set(with_it["environ"]) - set(without["environ"]) == {
        "AWS_LAMBDA_EXEC_WRAPPER",
        "LAMBDA_TASKS_RESOLVED",
        "TOKEN",
    }
    assert {key: with_it[key] for key in ("origins", "path", "modules")} == {
        key: without[key] for key in ("origins", "path", "modules")
    }


def test_function_uses_the_msgspec_that_it_bundles(layer_zip: Path, code: Path, emulator_path: Path) -> None:
    """A function's own msgspec comes first, for its tasks and for the dispatcher alike."""
    shutil.copytree(Path(msgspec.__file__).parent, code / "msgspec")
    with (code / "msgspec" / "__init__.py").open("a") as module:
        module.write('\n__version__ = "the function\'s own"\n')
    function = Function(code, "lambda_tasks.handler.handler", (layer_zip,), {"LAMBDA_TASKS_MODULES": "shop"})
    bad = sqs_record("{")

    with running(function, emulator_path) as runtime:
        told = runtime.invoke({"task_name": "shop.tell", "kwargs": {}})
        answer = runtime.invoke(sqs_event(sqs_record(message_body("shop.tell")), bad))

    assert told.payload == [str(code / "msgspec" / "__init__.py"), "the function's own"]
    assert answer.payload == {"batchItemFailures": [{"itemIdentifier": bad["messageId"]}]}


def test_msgspec_of_the_layer_is_whole(layer_zip: Path, code: Path, emulator_path: Path) -> None:
    """A function may use the layer's msgspec as its own, each of its public modules included."""
    (code / "shop.py").write_text(
        TASKS + "\n@task\ndef schema() -> object:\n"
        "    import msgspec.inspect, msgspec.json, msgspec.msgpack, msgspec.structs, msgspec.toml, msgspec.yaml\n"
        "    return msgspec.json.schema(list[int])\n"
    )
    function = Function(code, "lambda_tasks.handler.handler", (layer_zip,), {"LAMBDA_TASKS_MODULES": "shop"})

    with running(function, emulator_path) as runtime:
        schema = runtime.invoke({"task_name": "shop.schema", "kwargs": {}})
        told = runtime.invoke({"task_name": "shop.tell", "kwargs": {}})

    assert schema.payload == {"type": "array", "items": {"type": "integer"}}
    assert told.payload[0].endswith("/python/msgspec/__init__.py")
