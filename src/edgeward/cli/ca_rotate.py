"""`edgeward ca rotate`: replace the authority's CA while devices are out there."""

import secrets
from pathlib import Path
from typing import Any

import click

from edgeward.cli.client import Client
from edgeward.cli.options import counted, data_option, json_option, print_json
from edgeward.errors import UsageError


@click.command("rotate")
@click.option("--name", help="Common name of the new CA.  [default: Edgeward CA and eight random hex digits]")
@click.option("--activate", is_flag=True, help="Sign with the prepared CA from now on.")
@click.option("--force", is_flag=True, help="… although devices that are connected have not confirmed it.")
@click.option("--status", is_flag=True, help="Only say who trusts what.")
@data_option
@json_option
def command(data: Path, name: str | None, activate: bool, force: bool, status: bool, as_json: bool) -> None:
    """Replace the CA in two steps, so that no device is locked out.

    The first makes the next CA and sends it to every agent that is connected, and to the others when they come; nothing is signed with
    it yet. The second, some days later, signs with it. The old one stays trusted, so certificates that it signed go on until they are
    renewed.
    Agents confirm what they trust over their connection. A KubeEdge edge cannot be told: it joins again with a new token.

    \b
    Examples:
      edgeward ca rotate
      edgeward ca rotate --status
      edgeward ca rotate --activate
    """
    if activate + status + (name is not None) > 1 or (force and not activate):
        raise UsageError(problem="one step at a time: nothing or --name, --status, or --activate [--force]")
    client = Client(data)
    if status:
        found: dict[str, Any] = client.call("GET", "/v1/ca/trust")
    elif activate:
        found = client.call("POST", "/v1/ca/activate", {"force": force})
    else:
        found = client.call("POST", "/v1/ca/prepare", {"name": name or f"Edgeward CA {secrets.token_hex(4)}"})
    if as_json:
        print_json(found)
        return
    click.echo(f"CA           {found['pin']} ({found['state']})")
    click.echo(f"trust bundle {found['bundle']}, with {counted(found['anchors'], 'CA certificate')}")
    click.echo(
        f"confirmed by {counted(found['confirmed'], 'device')}, of those that were here since the server started"
    )
    if found["behind"]:
        click.echo(f"not yet by   {', '.join(found['behind'][:20])}")
    if found["state"] == "prepared":
        click.echo(
            f"\n{click.style('next:', bold=True)} when every device has been here: edgeward ca rotate --activate"
        )
