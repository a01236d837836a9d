"""``lambda-tasks worker``: a consumer of a queue, for containers."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import rich_click as click

from lambda_tasks import settings
from lambda_tasks.aws.queue_address import QueueAddress
from lambda_tasks.command_line.arguments import BadInput
from lambda_tasks.containers import preparation
from lambda_tasks.containers.consuming import Consumption, consume
from lambda_tasks.containers.health import Health
from lambda_tasks.containers.processes import Processes
from lambda_tasks.containers.source import MAX_MESSAGES, address_by_name


@click.command("worker")
@click.option(
    "--queue",
    default="default",
    show_default=True,
    metavar="NAME",
    help="The queue: its name among the tasks' queues, its name in SQS, its URL or its ARN.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Messages that run at a time in a process, in threads; by default LAMBDA_TASKS_CONCURRENCY, or 1.",
)
@click.option("--processes", type=click.IntRange(1, 256), default=1, show_default=True, metavar="N", help="Processes.")
@click.option(
    "--batch-size",
    type=click.IntRange(1, MAX_MESSAGES),
    default=MAX_MESSAGES,
    show_default=True,
    metavar="N",
    help="Messages that one thread takes at most; it takes fewer where they are slow.",
)
@click.option(
    "--grace",
    "grace_seconds",
    type=click.FloatRange(0, 43200),
    default=25.0,
    show_default=True,
    metavar="SECONDS",
    help="Time for running tasks after SIGTERM; what is unfinished then is given back.",
)
@click.option(
    "--visibility",
    "visibility_seconds",
    type=click.IntRange(4, 43200),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Time after which the messages of a worker that was killed are delivered again.",
)
@click.option(
    "--wait",
    "wait_seconds",
    type=click.IntRange(0, 20),
    default=5,
    show_default=True,
    metavar="SECONDS",
    help="Length of a long poll, which the end waits for; never more than --grace.",
)
@click.option(
    "--health-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PATH",
    help="A file that is touched every second while all processes are well.",
)
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="A port that answers HTTP requests with 200 while all processes are well, else 503.",
)
def command(
    queue: str,
    concurrency: int | None,
    processes: int,
    batch_size: int,
    grace_seconds: float,
    visibility_seconds: int,
    wait_seconds: int,
    health_file: Path | None,
    health_port: int | None,
) -> int:
    """Run the messages of a queue, as functions do, until SIGTERM.

    Each message stays invisible while it runs. The exit status is 0 after SIGTERM, where every process ended in time.
    """
    current = preparation.resolve()
    how = Consumption(
        _address(queue),
        concurrency=concurrency or current.concurrency,
        batch_size=batch_size,
        grace_seconds=grace_seconds,
        visibility_seconds=visibility_seconds,
        wait_seconds=min(wait_seconds, max(1, int(grace_seconds))),
    )
    try:
        health = Health(health_file, health_port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        remedy = "choose another one with --health-port"
        raise BadInput(f"port {health_port} cannot be used: {reason}", remedy=remedy) from error
    if health.port is not None:
        click.echo(f"health: port {health.port}", err=True)
    return Processes(functools.partial(consume, how), count=processes, grace_seconds=grace_seconds, health=health).run()


def _address(queue: str) -> QueueAddress:
    environ = settings.environ()
    variable = settings.queue_url_variable(queue)
    url = settings.current().queue_urls.get(variable, "" if queue == "default" else queue)
    if not url:
        raise BadInput("there is no queue to consume", variable=variable, remedy="set it, or add --queue")
    address = QueueAddress.of_arn(url, environ) if url.startswith("arn:") else None
    if address is not None:
        return address
    if "://" in url:
        return QueueAddress.of_url(url, environ)
    if ":" in url or "/" in url:
        raise BadInput(f"{url} is no queue of SQS", variable=variable, remedy="name a queue by its name, URL or ARN")
    return address_by_name(url, environ)
