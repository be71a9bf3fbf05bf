"""What the fuzzer feeds of a node's wire: WebSocket frames behind an upgrade, messages in JSON, the packages of a QUIC stream."""

import asyncio
import random
from datetime import UTC, datetime
from typing import Any

from websockets.frames import Frame, Opcode

from edgeward.agent import messages as answers
from edgeward.errors import EdgewardError
from edgeward.hub.session import classify
from edgeward.model import bundle, http, message
from edgeward.transports import quic_frames
from edgeward.transports.websocket import Limits, Link
from edgeward.transports.websocket_server import WebSocketServer

NOW = datetime(2026, 11, 25, tzinfo=UTC)
LIMITS = Limits(message=64 * 1024)
_LOOP = asyncio.new_event_loop()
_UPGRADE = (
    b"GET /p/edge-1/events HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nNode_id: edge-1\r\nProject_id: p\r\n\r\n"
)


class _Wire(asyncio.Transport):
    """A transport to nowhere: it counts what goes out and knows whether it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += len(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def write_eof(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0


class _Inbox:
    """Reads what comes as the hub does."""

    def __init__(self) -> None:
        self.understood = 0
        self.lost_with: list[str] = []

    def opened(self, link: Link) -> None: ...
    def trifled(self) -> None: ...
    def resumed(self) -> None: ...
    def refused(self, status: int, text: str) -> None: ...

    def received(self, octets: bytes | bytearray) -> None:
        self.understood += messages(bytes(octets), random.Random(0))

    def lost(self, fault: str) -> None:
        self.lost_with.append(fault)


def _pieces(data: bytes, dice: random.Random) -> list[bytes]:
    """`data` as it may come: at once, by the octet, or cut anywhere."""
    step = dice.choice((len(data) or 1, len(data) or 1, 1, dice.randrange(1, 200)))
    if len(data) // step > 2000:
        step = len(data) // 2000
    return [data[at : at + step] for at in range(0, len(data), step)]


def frames(data: bytes, dice: random.Random) -> bool:
    """What the hub does with the octets behind an upgrade. Whatever they are, the connection ends once and keeps nothing."""
    inbox = _Inbox()

    async def admit(_request: http.Request) -> Any:
        return inbox

    server = WebSocketServer(admit, now=lambda: NOW, limits=LIMITS)

    async def scene() -> None:
        connection, wire = server(), _Wire()
        connection.connection_made(wire)
        connection.data_received(_UPGRADE)
        for _ in range(3):
            await asyncio.sleep(0)
        assert wire.sent, "it was not upgraded"
        for piece in _pieces(data, dice):
            if wire.closed:
                break
            connection.data_received(piece)
        if not wire.closed and dice.random() < 0.5:
            connection.eof_received()
        connection.connection_lost(None)
        await asyncio.sleep(0)
        assert wire.sent <= 1024 + len(data), "it says more than it hears"

    _LOOP.run_until_complete(scene())
    assert len(inbox.lost_with) == 1, inbox.lost_with
    assert server.unfinished == 0
    return inbox.understood > 0


def messages(data: bytes, _dice: random.Random) -> bool:
    """What the hub and the agent do with a message: read it, judge it, answer it, pass it on."""
    try:
        read = message.decode(data)
    except EdgewardError:
        return False
    classify("edge-1", read)
    answers.acknowledgement(read, msg_id="m", now=NOW)
    for reader in (bundle.held, bundle.bundle):
        try:
            reader(read.content)
        except EdgewardError:
            continue
    passed_on = message.encode(read)
    assert message.encode(message.decode(passed_on)) == passed_on
    return True


def quic(data: bytes, dice: random.Random) -> bool:
    """What a QUIC stream's octets are taken apart to: never more is kept than came, and a limit is a limit."""
    reader = quic_frames.Reader(LIMITS.message, prefixed=dice.random() < 0.5)
    came = found = 0
    for piece in _pieces(data, dice):
        came += len(piece)
        try:
            payloads = reader.feed(piece)
        except EdgewardError:
            return found > 0
        assert reader.unfinished <= min(came, LIMITS.message + quic_frames.HEADER + len(piece))
        for payload in payloads:
            assert len(payload) <= LIMITS.message
            found += messages(payload, dice)
    return found > 0


def said() -> dict[str, bytes]:
    """Messages as nodes and hubs send them."""
    found = {"keepalive": message.encode(message.keepalive("id-1", NOW))}
    for name, operation, group, content in (
        ("update", "update", "resource", b'{"kind":"ConfigMap","data":{"n":"1"}}'),
        ("response", "response", "resource", b'"OK"'),
        ("bundle", "update", bundle.GROUP, bundle.encode(bundle.TrustBundle(sequence=2, anchors=(b"0",)))),
        ("held", "query", bundle.GROUP, bundle.encode(bundle.Held(sequence=1))),
        ("node", "update", "resource", b"{}"),
    ):
        resource = "node/edge-2/x" if name == "node" else "default/configmap/x"
        made = message.make(
            message.Raw(bytes(content)), msg_id="id-2", now=NOW, operation=operation, resource=resource, group=group
        )
        found[name] = message.encode(made)
    return found


def framed() -> dict[str, bytes]:
    """Streams of frames as clients make them: whole, in fragments, with control frames between, closed."""

    def frame(opcode: Opcode, data: bytes, fin: bool = True) -> bytes:
        return Frame(opcode, data, fin=fin).serialize(mask=True)

    whole = {name: frame(Opcode.TEXT, octets) for name, octets in said().items()}
    update = said()["update"]
    cut = frame(Opcode.TEXT, update[:50], False) + frame(Opcode.PING, b"?") + frame(Opcode.CONT, update[50:])
    many = b"".join(
        [frame(Opcode.TEXT, b"", False), *[frame(Opcode.CONT, b"", False)] * 20, frame(Opcode.CONT, update)]
    )
    end = frame(Opcode.CLOSE, b"\x03\xe8bye")
    return whole | {"fragments": cut, "many fragments": many, "stream": b"".join(whole.values()) + cut + end}


def packed() -> dict[str, bytes]:
    """Streams of packages, with and without the octets that a stream begins with."""
    one = {name: quic_frames.package(octets) for name, octets in said().items()}
    return one | {"stream": quic_frames.PREFIX + b"".join(one.values())}
