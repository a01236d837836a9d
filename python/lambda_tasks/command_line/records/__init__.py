"""``lambda-tasks records``: what ran, from the state table; sent again, and counted."""

from __future__ import annotations

import importlib

import rich_click as click

_COMMANDS = {
    "list": "List what ran, or show one record whole: the command that is meant where none is named.",
    "replay": "Send messages again, by their records.",
    "stats": "Count what ran, and how long it took.",
}
_MODULES = {"list": "listing", "replay": "replaying", "stats": "counting"}


class _Records(click.RichGroup):
    """The commands, of which ``list`` need not be named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what begins with no command's name as the arguments of ``list``."""
        if not args or args[0] not in (*_COMMANDS, *ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{_MODULES[cmd_name]}")
        command: click.Command = module.command
        return command


@click.group("records", cls=_Records)
def command() -> None:
    """See what ran, from the state table.

    `lambda-tasks records`, with a MESSAGE_ID or with options such as --status failed --since 2h, is short for
    `lambda-tasks records list`.
    """
