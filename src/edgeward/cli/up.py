"""`edgeward up`: run the authority."""

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from edgeward import app, app_shared, app_workers, config
from edgeward.cli import reading
from edgeward.cli.options import data_option, usual_data
from edgeward.services.kubeedge_tokens import Acceptance
from edgeward.transports import tcp


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
    "--api-port",
    type=click.IntRange(0, 65535),
    help="Port of the API for operators elsewhere; usually 10010.  [default: none]",
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
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Processes that share the ports; more than one need --database.  [default: 1]",
)
@click.option("--worker", type=click.IntRange(min=0), hidden=True)
@click.option(
    "--inherited",
    default="",
    hidden=True,
    help="Descriptors of sockets for enrolment and the hub, and their backlog: 5,6/7,8/100.",
)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@data_option
def command(
    data: Path,
    passphrase_file: Path | None,
    pattern: str | None,
    until: str | None,
    log_level: str,
    workers: int | None,
    inherited: str,
    **listen: Any,
) -> None:
    """Run the authority: enrolment on port 10002, the hub on port 10000, administration on a Unix socket in the data directory.

    The first start makes a CA and a server certificate for what is advertised, localhost and this machine's addresses. SIGHUP reads the
    configuration again and re-issues the server certificate if its names changed, without dropping a connection.

    \b
    Examples:
      edgeward up --advertise cloud.example.com --advertise 203.0.113.7
      edgeward up --data ./authority --listen 127.0.0.1 --https-port 20002 --hub-port 20000
      edgeward up --workers 4 --database postgresql://edgeward@db.example.com/edgeward --passphrase-file /etc/edgeward/passphrase
    """
    if (pattern is None) != (until is None):
        raise click.UsageError("--accept-kubeedge-tokens and --until go together")
    acceptance = None if pattern is None or until is None else Acceptance(pattern=pattern, until=reading.moment(until))
    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if listen["worker"] is None:
        for option in ("database", "bus"):
            if app_shared.has_password(listen[option]):
                click.echo(
                    f"warning: the password in --{option} is visible to everybody on this machine; a file hides it: --{option} @FILE",
                    err=True,
                )
        count = app_workers.wanted_workers(workers, listen["database"], os.environ, data)
        if count > 1:
            crew = _crew(data, count, passphrase_file, log_level, listen)
            once = [part for name in listen["advertise"] for part in ("--advertise", name)]
            once += [] if pattern is None or until is None else ["--accept-kubeedge-tokens", pattern, "--until", until]
            sys.exit(asyncio.run(app_workers.supervise(crew, once)))
    sockets = tcp.Inherited.parse(inherited)
    wanted = app.Wanted(
        data=data, passphrase_file=passphrase_file, kubeedge_tokens=acceptance, inherited=sockets, **listen
    )
    with asyncio.Runner(loop_factory=app.new_loop) as runner:
        runner.run(app.serve(wanted, os.environ, ready=_announce))


def _crew(
    data: Path, count: int, passphrase_file: Path | None, log_level: str, listen: dict[str, Any]
) -> app_workers.Crew:
    """The workers, each with the options that they have in common; what may be secret goes by the environment."""
    settings = config.load(data / config.FILE).listen
    address = settings.address if listen["listen"] is None else listen["listen"]
    options = ["--log-level", log_level, *(["--listen", address] if address else [])]
    for name in ("quic_port", "api_port"):
        if listen[name] is not None:
            options += [f"--{name.replace('_', '-')}", str(listen[name])]
    if passphrase_file is not None:
        options += ["--passphrase-file", str(passphrase_file)]
    environment = dict(os.environ)
    for name in ("database", "bus"):
        if listen[name] is not None:
            environment[f"EDGEWARD_{name.upper()}"] = listen[name]
    return app_workers.Crew(
        data=data,
        workers=count,
        address=address,
        https_port=settings.https_port if listen["https_port"] is None else listen["https_port"],
        hub_port=settings.hub_port if listen["hub_port"] is None else listen["hub_port"],
        backlog=settings.backlog,
        options=options,
        environment=environment,
    )


def _announce(server: app.Server) -> None:
    """What the operator needs to see, and the next command to type."""
    facts = server.facts
    if facts["worker"]:
        return  # the first one has said it
    where = "" if facts["data"] == str(usual_data()) else f" --data {facts['data']}"
    click.echo(f"{click.style('edgeward', bold=True)} {facts['version']} is serving")
    click.echo(f"  enrolment   https://{facts['dial']}:{facts['https_port']}")
    click.echo(f"  hub         wss://{facts['dial']}:{facts['hub_port']}")
    if facts["quic_port"] is not None:
        click.echo(f"  QUIC        quic://{facts['dial']}:{facts['quic_port']}")
    if facts["api_port"] is not None:
        click.echo(f"  operators   https://{facts['dial']}:{facts['api_port']}")
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
