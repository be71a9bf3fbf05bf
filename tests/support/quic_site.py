"""A hub over QUIC for tests: real UDP, real TLS 1.3, a real store; and devices that dial it with what aioquic offers anybody."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate
from msgspec import Raw

from edgeward.agent.messages import acknowledgement
from edgeward.hub.serve import Hub
from edgeward.model import message as messages
from edgeward.model.failure import HandshakeFailure
from edgeward.model.message import Message
from edgeward.stores.port import Store
from edgeward.transports import quic_server
from edgeward.transports.limits import TlsLimits
from edgeward.transports.quic_client import QuicClient, connect
from edgeward.transports.websocket import Limits
from tests.support.edges import DEADLINE, Clock, enrol, new_store
from tests.support.fake_cloud import FakeCA


class Credential(NamedTuple):
    certificate: bytes
    key: Any


class Ear:
    """What a client hears."""

    def __init__(self) -> None:
        self.link: Any = None
        self.messages: list[Message] = []
        self.refusal: tuple[int, str] | None = None
        self.pongs = 0
        self.ended: str | None = None

    def opened(self, link: Any) -> None:
        self.link = link

    def received(self, octets: bytes | bytearray) -> None:
        message = messages.decode(bytes(octets))
        self.messages.append(message)
        answer = acknowledgement(message, msg_id=f"a-{message.msg_id}", now=datetime.now(UTC))
        if answer is not None:
            self.link.send(messages.encode(answer))

    def trifled(self) -> None:
        self.pongs += 1

    def resumed(self) -> None: ...

    def refused(self, status: int, text: str) -> None:
        self.refusal = (status, text)

    def lost(self, fault: str) -> None:
        self.ended = fault


@dataclass
class QuicSite:
    ca: FakeCA
    store: Store
    hub: Hub
    clock: Clock
    server: quic_server.Server
    port: int = 0
    failures: list[HandshakeFailure] = field(default_factory=list)
    keys: dict[str, Any] = field(default_factory=dict)
    delivered: list[tuple[str, Message]] = field(default_factory=list)

    async def device(self, node: str, **fields: Any) -> Any:
        """A device that is enrolled: its certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        der = self.ca.device(key.public_key(), node, **fields)
        await enrol(self.store, node, der=der)
        return load_der_x509_certificate(der), key

    async def dial(self, pair: Any, node: str, **fields: Any) -> tuple[QuicClient, Ear]:
        """A device that shook hands and asked to be let in as `node`; what it hears."""
        ear = Ear()
        content = fields.pop("content", {"Node_id": [node], "Project_id": ["p"]})
        check = fields.pop("check", lambda _chain: None)
        asked = messages.make(
            Raw(msgspec.json.encode(content)),
            msg_id="h-1",
            now=datetime.now(UTC),
            operation=fields.pop("operation", "header"),
            resource="header",
        )
        made = await connect(
            "127.0.0.1", self.port, ear, pair=pair, check=check, asked=asked, patience=DEADLINE, **fields
        )
        return made, ear

    async def join(self, node: str) -> tuple[QuicClient, Ear]:
        """A device that is connected."""
        made, ear = await self.dial(await self.device(node), node)
        async with asyncio.timeout(DEADLINE):
            while ear.link is None:
                await asyncio.sleep(0.002)
        return made, ear


@contextlib.asynccontextmanager
async def quic_site(*, limits: Limits | None = None, handshakes: TlsLimits | None = None) -> AsyncIterator[QuicSite]:
    ca, clock, store = FakeCA(), Clock(), await new_store()
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = ca.server("127.0.0.1", key=key)
    delivered: list[tuple[str, Message]] = []
    numbers = iter(range(10**9))
    hub = Hub(
        store,
        now=lambda: datetime.now(UTC),
        new_id=lambda: f"hub-{next(numbers)}",
        deliver=lambda node, message: message.operation == "response" or delivered.append((node, message)),
        clock=clock,
    )
    failures: list[HandshakeFailure] = []
    server = quic_server.Server(
        hub.admit,
        now=lambda: datetime.now(UTC),
        anchors=lambda: [ca.der],
        credential=lambda: Credential(certificate.public_bytes(Encoding.DER), key),
        limits=limits,
        handshakes=handshakes,
        refused=failures.append,
    )
    port = await server.listen("127.0.0.1", 0)
    await hub.start()
    try:
        yield QuicSite(ca, store, hub, clock, server, port, failures, delivered=delivered)
    finally:
        await hub.shutdown()
        server.close()
        await store.close()


def said(operation: str = "update", **header: Any) -> bytes:
    """A message as an edge sends it."""
    route = {"source": "edged", "group": "resource", "operation": operation, "resource": "default/pod/x"}
    return json.dumps({"header": {"msg_id": "m-1", "timestamp": 1, **header}, "route": route, "content": "c"}).encode()
