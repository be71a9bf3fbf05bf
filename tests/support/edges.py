"""Edges over plain TCP for tests of the hub: real sockets and real frames; only TLS is replaced, by a table of who presents what."""

import asyncio
import contextlib
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side

from edgeward.hub.serve import Hub, Settings
from edgeward.model import message as messages
from edgeward.model.audit import Event
from edgeward.model.authority import CertificateRecord, CertificateState, Issuer, IssuerState, KeyRef, Origin
from edgeward.model.message import Message
from edgeward.stores import sqlite
from edgeward.stores.port import Admission, Signed, Store
from edgeward.transports.websocket import Limits
from edgeward.transports.websocket_server import WebSocketServer

DEADLINE = 10.0
CAUSE = Event(at=datetime(2026, 11, 23, tzinfo=UTC), actor="test", action="test", object="test", facts={})


def now() -> datetime:
    return datetime.now(UTC)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.t = 1000.0

    def __call__(self) -> float:
        return self.t


async def until(holds: Callable[[], object]) -> None:
    """Wait for a condition, at most `DEADLINE` seconds."""
    async with asyncio.timeout(DEADLINE):
        while not holds():
            await asyncio.sleep(0.002)


def certificate_of(node: str, generation: int = 1) -> bytes:
    """Octets that stand for a certificate: the hub looks at their digest alone."""
    return f"certificate {generation} of {node}".encode()


async def new_store() -> Store:
    store = sqlite.open_store(":memory:")
    issuer = Issuer(
        id=0,
        certificate=b"ca",
        key=KeyRef(store="memory", name="ca"),
        state=IssuerState.ACTIVE,
        origin=Origin.CREATED,
        created_at=now(),
    )
    await store.add_issuer(issuer, None, CAUSE)
    return store


async def enrol(store: Store, node: str, generation: int = 1, **fields: Any) -> CertificateRecord:
    """A device certificate in the store; the record."""
    der = fields.pop("der", certificate_of(node, generation))
    digest = hashlib.sha256(der).digest()
    at = now()
    values: dict[str, Any] = {
        "issuer_id": 1,
        "serial": digest[:16].hex(),
        "state": CertificateState.PLANNED,
        "profile": "device",
        "identity": node,
        "spki_sha256": hashlib.sha256(digest).digest(),
        "evidence": "token",
        "token": None,
        "replaces": None,
        "not_before": at - timedelta(minutes=5),
        "not_after": at + timedelta(days=365),
        "planned_at": at,
    }
    record = CertificateRecord(**{**values, **fields})
    await store.plan(record, Admission(at=at))
    await store.issue(Signed(issuer_id=1, serial=record.serial, der=der, event=CAUSE), at)
    found = await store.certificate(digest)
    assert found is not None
    return found


class _Certified:
    """A transport that also knows which certificate its peer presented."""

    def __init__(self, transport: Any, certificate: bytes | None) -> None:
        self._transport = transport
        self._certificate = certificate

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._certificate if name == "peer_certificate" else self._transport.get_extra_info(name, default)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Site:
    """A hub on a port of this machine, and the edges that dial it."""

    def __init__(self, hub: Hub, server: WebSocketServer, store: Store, clock: Clock) -> None:
        self.hub, self.server, self.store, self.clock = hub, server, store, clock
        self.delivered: list[tuple[str, Message]] = []
        self.connections: list[Any] = []
        self.edges: list[Edge] = []  # one that nobody holds would be closed by the collector
        self.port = 0
        self._presented: dict[int, bytes | None] = {}

    def protocol(self) -> asyncio.Protocol:
        connection = self.server()
        made = connection.connection_made
        site = self

        class Plain(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                port = transport.get_extra_info("peername")[1]
                made(_Certified(transport, site._presented.pop(port, None)))  # type: ignore[arg-type]

            def __getattribute__(self, name: str) -> Any:
                return object.__getattribute__(self, name) if name == "connection_made" else getattr(connection, name)

        self.connections.append(connection)
        return Plain()

    async def dial(self, certificate: bytes | None = None, *, receive_buffer: int = 0) -> "Edge":
        """A TCP connection of a peer that presents `certificate`; nothing is sent yet."""
        raw = socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.bind(("127.0.0.1", 0))
        self._presented[raw.getsockname()[1]] = certificate
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=2**20)
        self.edges.append(Edge(reader, writer))
        return self.edges[-1]

    async def connect(self, node: str, generation: int = 1, **options: Any) -> "Edge":
        """A node that is connected."""
        edge = await self.dial(certificate_of(node, generation), **options)
        status, text = await edge.upgrade(node)
        assert status == 101, (status, text)
        return edge


def head(node: str = "edge-1", *extra: str, **changed: str | None) -> bytes:
    """The request of a real edge, with header lines changed (None: left out) or added."""
    lines: dict[str, str | None] = {
        "Host": "127.0.0.1:10000",
        "User-Agent": "Go-http-client/1.1",
        "Connection": "Upgrade",
        "Connectionuse": "msg",
        "Node_id": node,
        "Project_id": "e632aba927ea4ac2b575ec1603d56f10",
        "Sec-WebSocket-Key": "tIgvfXubm+xYyhuPs2qFRA==",
        "Sec-WebSocket-Version": "13",
        "Upgrade": "websocket",
    }
    lines.update({name.replace("_WebSocket_", "-WebSocket-"): value for name, value in changed.items()})
    kept = [f"{name}: {value}" for name, value in lines.items() if value is not None]
    path = f"/e632aba927ea4ac2b575ec1603d56f10/{node}/events"
    return "\r\n".join([f"GET {path} HTTP/1.1", *kept, *extra, "", ""]).encode()


class Edge:
    """The other end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._wire = Protocol(Side.CLIENT, max_size=2**26)
        self._frames: list[Any] = []

    async def upgrade(self, node: str = "edge-1", request: bytes | None = None) -> tuple[int, str]:
        """Ask for the upgrade; the status, and the text of a refusal."""
        self.writer.write(head(node) if request is None else request)
        return await self.answer()

    async def answer(self) -> tuple[int, str]:
        async with asyncio.timeout(DEADLINE):
            try:
                start = await self.reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return 0, ""
            status = int(start.split(b" ", 2)[1])
            return status, "" if status == 101 else (await self.reader.read()).decode()

    def frame(self, opcode: Opcode, data: bytes, *, fin: bool = True) -> None:
        self.writer.write(Frame(opcode, data, fin).serialize(mask=True))

    def send(self, message: Message | bytes) -> None:
        self.frame(Opcode.TEXT, messages.encode(message) if isinstance(message, Message) else message)

    def say(self, operation: str, resource: str = "default/pod/x", **fields: Any) -> None:
        """Send a message with these route members; `parent` and `msg_id` go to the header."""
        header = {"msg_id": fields.pop("msg_id", "m"), "timestamp": 1, "parent_msg_id": fields.pop("parent", "")}
        content = fields.pop("content", None)
        route = {"operation": operation, "resource": resource, **fields}
        self.send(json.dumps({"header": header, "route": route, "content": content}).encode())

    def keepalive(self) -> None:
        self.send(messages.keepalive("k", now()))

    async def next_frame(self) -> Frame | None:
        """The next frame; None when the connection is gone."""
        async with asyncio.timeout(DEADLINE):
            while not self._frames:
                try:
                    data = await self.reader.read(65536)
                except ConnectionError:
                    return None
                if not data:
                    return None
                self._wire.receive_data(data)
                self._frames += self._wire.events_received()
        return self._frames.pop(0)

    async def receive(self) -> Message:
        """The next message."""
        frame = await self.next_frame()
        assert frame is not None and frame.opcode is Opcode.TEXT, frame
        return messages.decode(bytes(frame.data))

    async def closed(self) -> int:
        """Wait for the end of the connection; the code of the close frame, 0 without one."""
        code = 0
        while (frame := await self.next_frame()) is not None:
            if frame.opcode is Opcode.CLOSE:
                code = Close.parse(frame.data).code
        return code

    def cut(self) -> None:
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def site(
    *nodes: str, settings: Settings | None = None, limits: Limits | None = None, store: Store | None = None
) -> AsyncIterator[Site]:
    """A hub to which these nodes may connect."""
    own = await new_store() if store is None else store
    for node in nodes:
        await enrol(own, node)
    clock = Clock()
    numbers = iter(range(10**9))
    hub = Hub(
        own,
        now=now,
        new_id=lambda: f"hub-{next(numbers)}",
        deliver=lambda node, message: one.delivered.append((node, message)),
        settings=settings,
        clock=clock,
    )
    one = Site(hub, WebSocketServer(hub.admit, now=now, limits=limits), own, clock)
    listener = await asyncio.get_running_loop().create_server(one.protocol, "127.0.0.1", 0)
    one.port = listener.sockets[0].getsockname()[1]
    try:
        await hub.start()
        yield one
    finally:
        listener.close()
        await hub.shutdown()
        for connection in one.connections:
            connection.abort()
        await own.close()


def content(message: Message) -> Any:
    return msgspec.json.decode(message.content)
