"""`edgeward agent`: keep this node connected to its hub."""

import asyncio
import gc
import logging
import random
import signal
import sys
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from edgeward.agent.certificates import Certificates, Settings
from edgeward.agent.connection import World
from edgeward.agent.endpoint import HUB_PORT, Endpoint
from edgeward.agent.run import Agent
from edgeward.agent.systemd import Systemd
from edgeward.cli.join import agents_home
from edgeward.errors import NotFound, UsageError
from edgeward.model.message import Message

_log = logging.getLogger(__name__)


@click.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="Directory of the node.  [default: the only one in ~/.local/state/edgeward/agent]",
)
@click.option("--hub", metavar="HOST:PORT", help="The hub, this time.  [default: what agent.toml says]")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def command(directory: Path | None, hub: str | None, log_level: str) -> None:
    """Keep this node connected to its hub until SIGTERM or Ctrl-C, and its certificate fresh.

    A connection that ends is dialled again with growing waits; the certificate is renewed between 70 and 90 % of its life, with a new
    key. Runs under systemd with Type=notify and its watchdog.

    \b
    Examples:
      edgeward agent
      edgeward agent --dir /var/lib/edgeward-agent --hub 203.0.113.7:30000
    """
    logging.basicConfig(
        stream=sys.stderr, level=log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    gc.enable()  # the command line switched it off for the sake of short commands
    files = Certificates(directory or _only_directory())
    with files.locked():
        settings = files.settings()
        if hub is not None:
            settings = replace(settings, hub=(Endpoint.parse(hub, default_port=HUB_PORT, scheme="wss"),))
        asyncio.run(_serve(files, settings))


def _only_directory() -> Path:
    """The one directory that was joined. Raises `NotFound` or `UsageError`."""
    home = agents_home()
    found = sorted(entry for entry in home.iterdir() if (entry / "agent.toml").exists()) if home.is_dir() else []
    if not found:
        raise NotFound(what="node in", name=f"{home}; join first: edgeward join URL --token @FILE --node NAME")
    if len(found) > 1:
        raise UsageError(problem=f"there are several nodes here, choose one: --dir {' | '.join(map(str, found))}")
    return found[0]


async def _serve(files: Certificates, settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    world = World(
        now=lambda: datetime.now(UTC),
        dice=random.SystemRandom().uniform,
        new_id=lambda: str(uuid.uuid4()),
        on_message=_note,
    )
    await Agent(files, settings, world=world, systemd=Systemd()).run(stop)


def _note(message: Message) -> None:
    """A message is noted, without its content: that may be secret."""
    _log.info("received %r %r from %r", message.operation[:60], message.resource[:200], message.source[:60])
