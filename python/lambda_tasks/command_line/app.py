"""The console script: its commands, and its exit statuses.

0: all is well. 1: the outcome is negative. 2: the input is bad, and one line says what to do.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import rich_click as click
from click.exceptions import Exit

from lambda_tasks.command_line.output import complain
from lambda_tasks.errors import LambdaTasksError

BAD_INPUT = 2
_INTERRUPTED = 130  # as in a shell: 128, and the number of the signal

# Each is a module of this package with a command of that name: the libraries of one are not imported for another.
_COMMANDS = {
    "check": "Check the references to secrets in this environment.",
    "completion": "Print the completion script of a shell.",
    "dead-letters": "See why messages failed, and send them back or delete them.",
    "invoke": "Run one message through the whole local path and print its outcome.",
    "local": "Run a template's functions and queues on this machine.",
    "records": "See what ran, from the state table.",
    "run": "Run one message in this process, as jobs of containers do.",
    "schedules": "Print or write a template's events for tasks with a schedule.",
    "send": "Send one message that runs a task.",
    "smoke": "Check a deployed stack by a message that does nothing.",
    "worker": "Consume a queue, in a container.",
}


class _Commands(click.RichGroup):
    """The commands, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"lambda_tasks.command_line.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lambda-tasks", prog_name="lambda-tasks")
def lambda_tasks() -> None:
    """Background work on AWS Lambda, from your own machine."""


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit status."""
    try:
        status = lambda_tasks.main(list(arguments), prog_name="lambda-tasks", standalone_mode=False)
    except Exit as error:
        return error.exit_code
    except click.Abort:
        return _INTERRUPTED
    except click.ClickException as error:
        complain(f"{error.format_message()} See `{_usage(error)} --help`.")
        return BAD_INPUT
    except LambdaTasksError as error:
        for line in getattr(error, "lines", None) or [str(error)]:  # a template that AWS refuses has one a reason
            complain(line)
        return BAD_INPUT
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "lambda_tasks":
            raise
        complain(f"{error.name} is not installed: pip install 'lambda-tasks[local]'")
        return BAD_INPUT
    return status if isinstance(status, int) else 0


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if context is not None else "lambda-tasks"
