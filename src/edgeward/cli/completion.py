"""`edgeward completion`: the script that a shell sources."""

import click
from click.shell_completion import get_completion_class

from edgeward import cli


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    Examples:
      edgeward completion bash > ~/.local/share/bash-completion/completions/edgeward
      edgeward completion fish > ~/.config/fish/completions/edgeward.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(cli.command, {}, "edgeward", "_EDGEWARD_COMPLETE").source())
