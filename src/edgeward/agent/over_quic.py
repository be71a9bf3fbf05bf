"""The hub over QUIC (RFC 9000) and mutual TLS 1.3: ours alone, because KubeEdge's own QUIC is a version from before the standard."""

import msgspec
from msgspec import Raw

from edgeward.agent.certificates import Settings
from edgeward.agent.connection import HubConnection
from edgeward.agent.endpoint import Endpoint
from edgeward.agent.enrol import Check, Pair
from edgeward.agent.over_websocket import Receiver
from edgeward.model import message
from edgeward.transports import quic_client

HANDSHAKE = 5.0
"""Seconds for the handshake: on a network that lets UDP through it takes two round trips, and elsewhere nothing ever comes."""


async def connect(
    endpoint: Endpoint, settings: Settings, connection: HubConnection, *, pair: Pair, check: Check
) -> None:
    """Dial the hub at `endpoint` with `pair`; `connection` is told all that happens from the hub's answer on.

    Raises `Unreachable`, `HandshakeFailed`, or what `check` raises.
    """
    who = {"Node_id": [settings.node], "Project_id": [settings.project]}
    asked = message.make(
        Raw(msgspec.json.encode(who)),
        msg_id=connection.new_id(),
        now=connection.now(),
        operation="header",
        resource="header",
    )
    client = await quic_client.connect(
        endpoint.host,
        endpoint.port,
        Receiver(connection),
        pair=(pair.certificate, pair.key),
        check=check,
        asked=asked,
        patience=HANDSHAKE,
    )
    try:
        await connection.established()
    except BaseException:  # also when we are cancelled: nobody would close it
        client.abort()
        raise
