"""The hub over WebSocket and mutual TLS, dialled as KubeEdge's edges dial it (kubeedge-wire 4.1)."""

import contextlib
import re
import socket

from edgeward.agent import enrol
from edgeward.agent.certificates import Settings
from edgeward.agent.connection import Carrier, HubConnection
from edgeward.agent.endpoint import Endpoint
from edgeward.agent.enrol import Check, Pair
from edgeward.transports import client_tls, dial
from edgeward.transports.limits import TlsLimits
from edgeward.transports.websocket import Link
from edgeward.transports.websocket_client import WebSocketClient

_NUMBER = re.compile(r"^\[Errno -?\d+\] ")
"""What Python puts before the system's own words."""

HANDSHAKE = 30.0
"""Seconds for TCP and TLS, as a real edge gives them."""

UNACKNOWLEDGED = 20_000
"""Milliseconds after which octets that nobody acknowledged mean that the network is gone: the kernel's own patience is 15 minutes."""


async def connect(
    endpoint: Endpoint, settings: Settings, connection: HubConnection, *, pair: Pair, check: Check
) -> None:
    """Dial the hub at `endpoint` with `pair`; `connection` is told all that happens from the upgrade's answer on.

    Raises `Unreachable`, `HandshakeFailed`, or what `check` raises.
    """
    client = WebSocketClient(
        f"wss://{endpoint}/{settings.project}/{settings.node}/events",
        Receiver(connection),
        headers=(("Node_id", settings.node), ("Project_id", settings.project), ("ConnectionUse", "msg")),
    )
    carrier, _ = await dial.connect(
        endpoint.host,
        endpoint.port,
        context=enrol.client_context(pair),
        inner=lambda: client,
        verify_server=lambda tls: check(client_tls.presented_chain(tls)),
        limits=TlsLimits(handshake_seconds=HANDSHAKE),
    )
    _notice_a_dead_network(carrier.get_extra_info("socket"))
    try:
        await connection.established()
    except BaseException:  # also when we are cancelled: nobody would close it
        client.abort()
        raise


def _notice_a_dead_network(tcp: socket.socket | None) -> None:
    with contextlib.suppress(OSError, AttributeError):  # where the system cannot, the ping after the next one notices
        if tcp is not None:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED)


class Receiver:
    """Passes on what a transport says."""

    def __init__(self, connection: HubConnection) -> None:
        self._connection = connection

    def opened(self, link: Link) -> None:
        if isinstance(link, Carrier):
            self._connection.accepted(link)

    def received(self, octets: bytes | bytearray) -> None:
        self._connection.received(octets)

    def trifled(self) -> None:
        self._connection.heard()

    def resumed(self) -> None:
        """Nothing is ever held."""

    def refused(self, status: int, text: str) -> None:
        self._connection.refused(status, text)

    def lost(self, fault: str) -> None:
        self._connection.lost(_NUMBER.sub("", fault))
