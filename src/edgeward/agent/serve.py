"""What the agent's process does: locks its directory, takes the time and the dice from the system, and runs until it is told to stop."""

import asyncio
import logging
import os
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from edgeward.agent.certificates import Certificates, Settings
from edgeward.agent.connection import World
from edgeward.agent.endpoint import HUB_PORT, Endpoint
from edgeward.agent.run import Agent
from edgeward.agent.systemd import Systemd
from edgeward.model.message import Message

_log = logging.getLogger(__name__)


def main(directory: str, level: str = "info", hub: str = "") -> None:
    """Be the agent of `directory` until SIGTERM or SIGINT. `hub` goes before what `agent.toml` says. Raises what `Certificates` raises."""
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    files = Certificates(Path(directory))
    with files.locked():
        settings = files.settings()
        if hub:
            settings = replace(settings, hub=(Endpoint.parse(hub, default_port=HUB_PORT, scheme="wss"),))
        asyncio.run(_serve(files, settings))


async def _serve(files: Certificates, settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    world = World(now=lambda: datetime.now(UTC), dice=dice, new_id=new_id, on_message=_note)
    await Agent(files, settings, world=world, systemd=Systemd()).run(stop)


def dice(low: float, high: float) -> float:
    """A uniform choice, from the system's randomness."""
    return low + (high - low) * int.from_bytes(os.urandom(6), "big") / 2**48


def new_id() -> str:
    """A message id that was never used: a UUIDv4 (RFC 9562 section 5.4) in lower case."""
    octets = bytearray(os.urandom(16))
    octets[6] = octets[6] & 0x0F | 0x40
    octets[8] = octets[8] & 0x3F | 0x80
    text = octets.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _note(message: Message) -> None:
    """A message is noted, without its content: that may be secret."""
    _log.info("received %r %r from %r", message.operation[:60], message.resource[:200], message.source[:60])
