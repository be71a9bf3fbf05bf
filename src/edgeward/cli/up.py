"""`edgeward up`: run the authority."""

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from edgeward import app
from edgeward.cli.options import data_option, date, default_data
from edgeward.services.kubeedge_tokens import Acceptance


@click.command()
@click.option(
    "--advertise", multiple=True, metavar="NAME|IP", help="A name or address that clients dial; repeatable. Remembered."
)
@click.option("--listen", metavar="ADDR", help="Address to listen on; default: all of this machine's.")
@click.option("--https-port", type=click.IntRange(0, 65535), help="Enrolment port.  [default: 10002]")
@click.option("--hub-port", type=click.IntRange(0, 65535), help="Hub port.  [default: 10000]")
@click.option(
    "--quic-port", type=click.IntRange(0, 65535), help="Also serve the hub over QUIC on this UDP port (10001)."
)
@click.option(
    "--passphrase-file", type=click.Path(path_type=Path), help="File (0600) with the passphrase of the key store."
)
@click.option(
    "--accept-kubeedge-tokens",
    "pattern",
    metavar="GLOB",
    help="With an imported KubeEdge CA: also take KubeEdge's own tokens.",
)
@click.option("--until", metavar="DATE", help="… until this date.")
@click.option(
    "--database",
    metavar="URL|@FILE",
    help="A PostgreSQL database that several replicas share, postgresql://USER@HOST/NAME; default: SQLite in the data directory.",
)
@click.option(
    "--bus",
    metavar="URL|@FILE",
    help="NATS servers that join the replicas, nats://HOST:4222; default: the database's NOTIFY.",
)
@click.option("--worker", type=click.IntRange(min=0), hidden=True)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@data_option
def command(
    data: Path, passphrase_file: Path | None, pattern: str | None, until: str | None, log_level: str, **listen: Any
) -> None:
    """Run the authority: enrolment on port 10002, the hub on port 10000, administration on a Unix socket in the data directory.

    The first start makes a CA and a server certificate for what is advertised, localhost and this machine's addresses. SIGHUP reads the
    configuration again and re-issues the server certificate if its names changed, without dropping a connection.

    \b
    Examples:
      edgeward up --advertise cloud.example.com --advertise 203.0.113.7
      edgeward up --data ./authority --listen 127.0.0.1 --https-port 20002 --hub-port 20000
    """
    if (pattern is None) != (until is None):
        raise click.UsageError("--accept-kubeedge-tokens and --until go together")
    acceptance = None if pattern is None or until is None else Acceptance(pattern=pattern, until=date(until))
    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    wanted = app.Wanted(data=data, passphrase_file=passphrase_file, kubeedge_tokens=acceptance, **listen)
    with asyncio.Runner(loop_factory=app.new_loop) as runner:
        runner.run(app.serve(wanted, os.environ, ready=_announce))


def _announce(server: app.Server) -> None:
    """What the operator needs to see, and the next command to type."""
    facts = server.facts
    where = "" if facts["data"] == str(default_data()) else f" --data {facts['data']}"
    click.echo(f"{click.style('edgeward', bold=True)} {facts['version']} is serving")
    click.echo(f"  enrolment   https://{facts['dial']}:{facts['https_port']}")
    click.echo(f"  hub         wss://{facts['dial']}:{facts['hub_port']}")
    if facts["quic_port"] is not None:
        click.echo(f"  QUIC        quic://{facts['dial']}:{facts['quic_port']}")
    click.echo(f"  CA pin      {facts['pin']}")
    click.echo(f"  valid for   {', '.join(facts['names'])}")
    click.echo(f"  data        {facts['data']}")
    click.echo(f"\n{click.style('next:', bold=True)} make a token and join a node, in another terminal")
    program = facts["program"]
    click.echo(
        f"  {program} token new --node edge-1{where} > edge-1.token && "
        f"{program} join https://{facts['dial']}:{facts['https_port']} --token @edge-1.token --node edge-1 "
        f"--hub {facts['dial']}:{facts['hub_port']} --dir ./edge-1 && {program} agent --dir ./edge-1"
    )
    sys.stdout.flush()
