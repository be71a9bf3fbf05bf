"""`edgeward advertise`: the names and addresses that clients dial."""

from pathlib import Path

import click

from edgeward.cli.client import Client
from edgeward.cli.options import Group, data_option, json_option, print_json
from edgeward.pki import names


@click.group(cls=Group)
def command() -> None:
    """The names and addresses that clients dial.

    They are what the server certificate is valid for. A change re-issues it at once; no connection is dropped.
    """


@command.command("list")
@data_option
@json_option
def list_(data: Path, as_json: bool) -> None:
    """List the advertised names.

    \b
    Example:
      edgeward advertise list
    """
    found = Client(data).call("GET", "/v1/advertised")
    if as_json:
        print_json(found)
    else:
        for name in found["names"]:
            click.echo(name)


def _change(data: Path, as_json: bool, wanted: list[str]) -> None:
    done = Client(data).call("PUT", "/v1/advertised", {"names": wanted})
    if as_json:
        print_json(done)
    else:
        click.echo(f"the server certificate is now valid for {', '.join(done['certificate_names'])}")


@command.command("add")
@click.argument("name", nargs=-1, required=True)
@data_option
@json_option
def add(data: Path, as_json: bool, name: tuple[str, ...]) -> None:
    """Add names or addresses.

    \b
    Example:
      edgeward advertise add 121.46.27.183 cloud.example.com
    """
    present = Client(data).call("GET", "/v1/advertised")["names"]
    _change(data, as_json, [*present, *name])


@command.command("remove")
@click.argument("name", nargs=-1, required=True)
@data_option
@json_option
def remove(data: Path, as_json: bool, name: tuple[str, ...]) -> None:
    """Remove names or addresses.

    \b
    Example:
      edgeward advertise remove 10.0.2.15
    """
    present = Client(data).call("GET", "/v1/advertised")["names"]
    unwanted = {names.show(names.server_name(one)) for one in name}
    if missing := unwanted - set(present):
        raise click.UsageError(f"not advertised: {', '.join(sorted(missing))}")
    _change(data, as_json, [one for one in present if one not in unwanted])
