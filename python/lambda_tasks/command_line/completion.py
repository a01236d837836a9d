"""``lambda-tasks completion``: the script by which a shell completes commands and options."""

from __future__ import annotations

import rich_click as click
from click.shell_completion import get_completion_class

_PROGRAM = "lambda-tasks"
_VARIABLE = "_LAMBDA_TASKS_COMPLETE"  # as click names it after the program


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, /, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash: lambda-tasks completion bash > ~/.local/share/bash-completion/completions/lambda-tasks
    zsh:  lambda-tasks completion zsh > ~/.zfunc/_lambda-tasks     (a folder of $fpath)
    fish: lambda-tasks completion fish > ~/.config/fish/completions/lambda-tasks.fish
    """
    of_shell = get_completion_class(shell)
    assert of_shell is not None  # noqa: S101 - click has all three
    completion = of_shell(ctx.find_root().command, {}, _PROGRAM, _VARIABLE)
    # Of bash, click would start one to look at its version: the script is asked for, whatever is installed here.
    click.echo(completion.source_template % completion.source_vars())
