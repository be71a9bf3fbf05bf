"""The command line: a table of commands, loaded when they are called."""

import gc
import sys
import warnings
from importlib import import_module

import click

from edgeward.errors import EdgewardError, printable

COMMANDS = {
    name: (f"edgeward.cli.{name}", "command")
    for name in ("bundle", "convert", "csr", "diff", "fingerprint", "inspect", "key", "split")
}


class Lazy(click.Group):
    """A group that loads a command's module by its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        return getattr(import_module(place[0]), place[1]) if place else None


@click.command(cls=Lazy)
def commands() -> None:
    """Edgeward: the certificate authority and X.509 toolkit of an edge fleet."""


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with its status.

    The cyclic garbage collector is off while modules load and run: a command is short, and the collections at every
    import and at the end cost a fifth of the start-up time. Commands that live long turn it on again.
    """
    gc.disable()
    # The library warns of serial numbers and lengths that it will refuse one day; `inspect` says so in its own words.
    warnings.simplefilter("ignore")
    try:
        commands.main(args=args, prog_name="edgeward", standalone_mode=True)
    except EdgewardError as error:
        sys.stdout.flush()
        sys.stderr.write(f"error: {printable(str(error), 1000)}\n")
        if error.hint:
            sys.stderr.write(f"hint: {printable(error.hint, 1000)}\n")
        sys.exit(error.exit_status)
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
