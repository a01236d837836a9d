"""The function that `layer.verify` runs in the layer, through the exec wrapper, with each interpreter.

`python -S trial.py LAYER_PYTHON TASK_ROOT EVENT` imports every module of the layer, hands the event to the handler and
prints what happened as JSON. It stands alone: nothing of this project is on its path but the layer.
"""

import importlib
import importlib.util
import json
import os
import sys

COMPILED_LATE = ("django/", "enqueue/jobs/", "workflow/")  # as in layer.build


class Context:
    """A context as Lambda hands it to a handler beside the event, with a minute left."""

    aws_request_id = "11111111-2222-3333-4444-555555555555"
    function_name = "trial"
    memory_limit_in_mb = "512"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def main(layer: str, task_root: str, event: str) -> None:
    sources = find_sources(layer)
    stale = [source for source in sources if not is_late(layer, source) and is_stale(source)]
    touched = watch(layer)
    sys.path[:0] = [task_root, layer]
    path = list(sys.path)
    failed = import_all(layer, sources)
    answer = importlib.import_module("lambda_tasks.handler").handler(json.loads(event), Context())
    seen = {"answer": answer, "modules": len(sources), "stale": stale, "failed": failed, "touched": touched}
    print(json.dumps({**seen, "added_to_path": [entry for entry in sys.path if entry not in path]}))


def watch(layer: str) -> list[str]:
    """Return a list that grows by each source that is compiled, or ours and read, and each file opened to write.

    Sources of what is bundled are read, since their byte code is checked against them.
    """
    touched: list[str] = []
    ours = os.path.join(layer, "lambda_tasks", "")

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if is_late(layer, str(arguments[1 if event == "compile" else 0] if event in ("compile", "open") else "")):
            return
        if event == "compile" and str(arguments[1]).startswith(layer):
            touched.append(f"{arguments[1]} was compiled")
        elif event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(layer):
            if arguments[0].startswith(ours) and arguments[0].endswith(".py"):
                touched.append(f"{arguments[0]} was read")
            elif isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                touched.append(f"{arguments[0]} was opened for writing")

    sys.addaudithook(audit)
    return touched


def is_late(layer: str, source: str) -> bool:
    """Tell whether a source has no byte code on purpose: see `layer.build`."""
    return source.startswith(tuple(os.path.join(layer, "lambda_tasks", path) for path in COMPILED_LATE))


def find_sources(layer: str) -> list[str]:
    walked = os.walk(layer)
    return sorted(os.path.join(folder, name) for folder, _, names in walked for name in names if name.endswith(".py"))


def is_stale(source: str) -> bool:
    """Tell whether the byte code of this interpreter is not that of its source. Nothing else would ever notice."""
    with open(source, "rb") as file:
        expected = importlib.util.source_hash(file.read())
    try:
        with open(importlib.util.cache_from_source(source), "rb") as file:
            magic, _flags, found = file.read(4), file.read(4), file.read(8)
            return (magic, found) != (importlib.util.MAGIC_NUMBER, expected)
    except FileNotFoundError:
        return True


def import_all(layer: str, sources: list[str]) -> list[str]:
    failed = []
    for source in sources:
        name = os.path.relpath(source, layer)[: -len(".py")].replace("/", ".")
        if name.startswith("lambda_tasks.django."):
            continue  # for functions that bring Django, which the layer does not
        sys.dont_write_bytecode = is_late(layer, source)  # elsewhere the folder is read-only
        try:
            importlib.import_module(name.removesuffix(".__init__"))
        except Exception as error:
            failed.append(f"{name}: {type(error).__name__}: {error}")
    return failed


if __name__ == "__main__":
    main(*sys.argv[1:])
