"""`skerry completion`: the script that teaches a shell our commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from skerry.cli.output import say


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a completion script: `source <(skerry completion bash)`."""
    maker = get_completion_class(shell)
    assert maker is not None, "click knows these three shells"
    root = ctx.find_root()
    say(maker(root.command, {}, "skerry", "_SKERRY_COMPLETE").source())
