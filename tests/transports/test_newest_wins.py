"""One device, one hub, two transports: whichever connection came last is the session, over QUIC and over WebSocket in mutual TLS."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from edgeward.model import message as messages
from edgeward.transports import contexts, dial, tcp
from edgeward.transports.tls_server import Listener
from edgeward.transports.websocket_client import WebSocketClient
from edgeward.transports.websocket_server import WebSocketServer
from tests.support.edges import now, until
from tests.support.quic_site import Ear, QuicSite, quic_site
from tests.transports.test_quic import update


@contextlib.asynccontextmanager
async def mutual_tls(site: QuicSite) -> AsyncIterator[int]:
    """A WebSocket listener of the site's hub; its port."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = site.ca.server("127.0.0.1", key=key).public_bytes(Encoding.PEM)
    context = contexts.hub_context(certificate=certificate, key=key, anchors=[site.ca.der])
    listener = Listener(
        context=lambda: context,
        inner=WebSocketServer(site.hub.admit, now=now),
        refused=site.failures.append,
        mutual=True,
    )
    (server,) = await tcp.listen(listener, "127.0.0.1", 0, backlog=16)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def over_websocket(site: QuicSite, port: int, pair, node: str) -> Ear:
    ear = Ear()
    client = WebSocketClient(
        f"wss://127.0.0.1:{port}/p/{node}/events", ear, headers=(("Node_id", node), ("ConnectionUse", "msg"))
    )
    certificate, key = pair
    context = contexts.client_context(certificate=certificate.public_bytes(Encoding.PEM), key=key)
    await dial.connect("127.0.0.1", port, context=context, inner=lambda: client)
    await until(lambda: ear.link is not None or ear.refusal)
    return ear


async def over_quic(site: QuicSite, _port: int, pair, node: str) -> Ear:
    _, ear = await site.dial(pair, node)
    await until(lambda: ear.link is not None or ear.refusal)
    return ear


@pytest.mark.parametrize("first, second", [(over_quic, over_websocket), (over_websocket, over_quic)])
def test_t41_the_newest_session_wins_whatever_carries_it(first, second):
    async def scene():
        async with quic_site() as site, mutual_tls(site) as port:
            pair = await site.device("edge-1")
            older = await first(site, port, pair, "edge-1")
            await site.hub.send("edge-1", update("d-1"), wait=10.0)
            newer = await second(site, port, pair, "edge-1")
            await until(lambda: older.ended is not None)
            await site.hub.send("edge-1", update("d-2"), wait=10.0)
            newer.link.send(messages.encode(messages.keepalive("k", now())))
            await site.hub.settle()
            alive = newer.ended is None
            device = await site.store.device("edge-1")
            story = [moment.event for moment in await site.store.timeline.of("edge-1")]
            return older, newer, alive, len(site.hub.online()), device, story

    older, newer, alive, online, device, story = asyncio.run(scene())
    assert older.ended is not None
    assert [one.msg_id for one in older.messages] == ["d-1"]
    assert [one.msg_id for one in newer.messages] == ["d-2"]
    assert (alive, online, device.connections, device.offline_since) == (True, 1, 2, None)
    assert story == ["online", "online"]
