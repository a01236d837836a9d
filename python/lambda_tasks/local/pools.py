"""The functions of a session, ready to be invoked: layers found, values put in, execution environments made."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.events import Listener, LogLine
from lambda_tasks.local.polling import FunctionPool
from lambda_tasks.local.runtime.emulator import emulator
from lambda_tasks.local.runtime.environments import Environments
from lambda_tasks.local.runtime.function import Function
from lambda_tasks.local.runtime.function_output import followed
from lambda_tasks.local.runtime.interpreters import interpreter_for
from lambda_tasks.local.template.deployment import DeployedFunction, Deployment
from lambda_tasks.local.template.dynamic_references import with_references
from lambda_tasks.local.template.functions import RUNTIME_HERE
from lambda_tasks.local.template.layers import find_layer, is_own
from lambda_tasks.local.template.secret_values import put_values
from lambda_tasks.local.waiting import WaitingMessages


@dataclass(frozen=True)
class Plan:
    """What to run, and how. `values` are those of the environment file; they are not shown by repr.

    `fire` names the schedules that fire at once.
    """

    template: Path
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict)
    layers: Mapping[str, Path] = field(default_factory=dict)
    cache: Path = Path()
    region: str = "eu-west-1"
    port: int = 0
    endpoint_url: str | None = None
    concurrency: int = 2
    mounts: bool = True
    fire: tuple[str, ...] = ()


def make_pools(
    wanted: Sequence[DeployedFunction],
    deployment: Deployment,
    aws: EmbeddedAws,
    plan: Plan,
    listener: Listener,
    step: Callable[[str], None],
    closing: ExitStack,
) -> list[FunctionPool]:
    """Return what runs each of the `wanted` functions; their environments end with `closing`.

    Raises:
        LocalError: a layer, a value or the emulator is not to be had.

    """
    folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="lambda-tasks-layers-")))
    layers = _layers(wanted, deployment, plan, folder, step)
    step("Fetching AWS's runtime interface emulator")
    start = functools.partial(followed, emulator=emulator(plan.cache), listener=listener, mount=plan.mounts)
    pools = []
    for one in wanted:
        function = _function(with_references(put_values(plan.values, one, aws), aws), aws, plan, layers, listener)
        limit = max(1, min(plan.concurrency, one.concurrency or plan.concurrency))
        environments = Environments(function, start, limit)
        closing.callback(environments.close)
        pools.append(FunctionPool(one, environments, limit, WaitingMessages()))
    return pools


def _layers(
    wanted: Sequence[DeployedFunction],
    deployment: Deployment,
    plan: Plan,
    folder: Path,
    step: Callable[[str], None],
) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for function in wanted:
        for name in function.layers:
            if name not in found:
                step(f"Unpacking the layer {name}" if name in plan.layers else f"Building the layer {name}")
                found[name] = find_layer(name, deployment.template, plan.layers, folder)
    return found


def _function(
    deployed: DeployedFunction, aws: EmbeddedAws, plan: Plan, layers: Mapping[str, Path], listener: Listener
) -> Function:
    environ = dict(aws.environ())
    if plan.endpoint_url:
        environ["AWS_ENDPOINT_URL_SQS"] = plan.endpoint_url
    is_bound = any(is_own(layers[name]) for name in deployed.layers)
    interpreter, warning = interpreter_for(deployed.runtime, is_bound=is_bound)
    if warning:
        listener(LogLine(deployed.name, f"{deployed.name}: {warning}"))
    return Function(
        code=deployed.code,
        handler=deployed.handler,
        layers=tuple(layers[name] for name in deployed.layers),
        environ={**environ, **deployed.environ},
        name=deployed.name,
        memory_mb=deployed.memory_mb,
        timeout_seconds=deployed.timeout_seconds,
        log_format=deployed.log_format,
        interpreter=interpreter,
        runtime=deployed.runtime if warning is None else RUNTIME_HERE,
    )
