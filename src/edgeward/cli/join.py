"""`edgeward join`: enrol this machine as a node."""

import asyncio
import logging
import os
import shlex
from datetime import UTC, datetime
from pathlib import Path

import click

from edgeward.agent.join import Joined, join
from edgeward.app_directory import program
from edgeward.cli import reading
from edgeward.cli.options import json_option, print_json
from edgeward.model.token import JoinToken


def agents_home() -> Path:
    """Where the directories of agents are when none is named: `edgeward/agent` in the XDG state home, one directory for each node."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "edgeward" / "agent"


@click.command()
@click.argument("url", required=False)
@click.option("--token", required=True, metavar="@FILE|-", help="The join token: a file, standard input, or itself.")
@click.option("--node", required=True, metavar="NAME", help="The name of this node.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="Directory of the node.  [default: ~/.local/state/edgeward/agent/NAME]",
)
@click.option("--hub", metavar="HOST:PORT", help="The hub.  [default: what the token says, else port 10000 of URL]")
@click.option("--quic", metavar="HOST:PORT", help="The hub over QUIC (UDP).  [default: port 10001 of the hub's host]")
@json_option
def command(  # one for each option
    url: str | None, token: str, node: str, directory: Path | None, hub: str | None, quic: str | None, as_json: bool
) -> None:
    """Enrol this machine as a node at URL (https://HOST:10002; if left out, the token says where).

    The CA is compared with the token's pin, a key is made here and never leaves, and the certificate is checked before it replaces
    anything. After an answer that was lost, the same command with the same token brings the same certificate.

    \b
    Examples:
      edgeward join https://cloud.example.com:10002 --token @token --node edge-1
      ssh cloud edgeward token new --node edge-1 | edgeward join --token - --node edge-1
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    wanted = JoinToken.parse((reading.secret(token, option="--token") or "").strip())
    place = directory or agents_home() / node
    joined = asyncio.run(join(place, wanted, node=node, url=url, hub=hub, quic=quic, now=datetime.now(UTC)))
    if as_json:
        print_json(facts(joined))
    else:
        _say(joined, named=directory is not None)


def facts(joined: Joined) -> dict[str, object]:
    """What a join brought, for programs."""
    return {
        "node": joined.settings.node,
        "directory": str(joined.directory),
        "ca_sha256": joined.pin,
        "serial": f"{joined.certificate.serial_number:x}",
        "not_before": _moment(joined.certificate.not_valid_before_utc),
        "not_after": _moment(joined.certificate.not_valid_after_utc),
        "https": [str(endpoint) for endpoint in joined.settings.https],
        "hub": [str(endpoint) for endpoint in joined.settings.hub],
        "resumed": joined.resumed,
        "tried": [one.as_json() for one in joined.tried],
    }


def _say(joined: Joined, *, named: bool) -> None:
    where = f" --dir {shlex.quote(str(joined.directory))}" if named else ""
    again = " (for the key of an earlier join that was not answered)" if joined.resumed else ""
    click.echo(f"node {click.style(joined.settings.node, bold=True)} has joined{again}")
    click.echo(f"  CA           {joined.pin[:16]}… as the token says, from https://{joined.endpoint}")
    click.echo(f"  certificate  {joined.certificate.serial_number:x}")
    click.echo(f"  valid until  {_moment(joined.certificate.not_valid_after_utc)}")
    click.echo(f"  files        {joined.directory}")
    click.echo(f"  hub          {', '.join(str(endpoint) for endpoint in joined.settings.hub)}")
    click.echo(f"\n{click.style('next:', bold=True)} {program()} agent{where}")


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
