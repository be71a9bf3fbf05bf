"""WebSocket (RFC 6455) over any asyncio transport: octets in, whole messages out, every read and every queue bounded.

Framing and the upgrade's syntax are the `websockets` library's; what is here is what a long-lived connection of an untrusted peer
needs around it, on either side (`websocket_server`, `websocket_client`):

1. Nothing is read before the upgrade has been decided, and nothing is dispatched after the connection began to close.
2. An unfinished message is bounded in size, in pieces and in time; all unfinished messages of a server together are bounded in size.
3. A peer that does not read what it is sent is cut off.
4. No extension and no subprotocol is ever agreed to, so no frame can be compressed.
5. Between messages a connection holds no task, no timer and nothing of its handshake, and nothing of the library's either until a frame
   comes or goes that is no plain message.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol as Interface

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, SEND_EOF, Protocol, Side
from websockets.speedups import apply_mask

framing = logging.getLogger(__name__ + ".frames")
framing.setLevel(
    logging.WARNING
)  # below that the library speaks of every connection and, when debugging, of every frame

SLICE = 4096
"""Octets that are parsed before anybody looks whether this peer has had its share: at most some 680 frames, 10 ms of work."""

SMALL_FRAGMENT = 512
"""A fragment smaller than this counts against the peer's rate like a message. Go's library makes fragments of 4 KiB."""

END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a connection may take. Times in seconds, sizes in octets."""

    handshake: float = 10.0
    """From the transport's being there to the end of the request head."""
    head: int = 16 * 1024
    """Of the request head: a real one has 350."""
    message: int = 32 * 1024 * 1024
    """Of one message, in however many fragments: the cap of KubeEdge's own QUIC transport."""
    fragments: int = 16 * 1024
    """Fragments of one message: twice what Go's library makes of the largest."""
    unfinished: int = 256 * 1024 * 1024
    """Of all unfinished messages of one server."""
    patience: float = 30.0
    """That an unfinished message may take, or that a peer may read nothing; besides a second for every `pace` octets it sent."""
    pace: int = 4096
    unsent: int = 1024 * 1024
    """That may wait to be sent before another message is; a peer that is further behind is cut off."""
    farewell: float = 5.0
    """For the peer to take our close frame."""


class Link(Interface):
    """A connection, as the receiver of its messages sees it."""

    address: str

    def send(self, octets: bytes) -> None:
        """Send one message as one text frame. Nothing happens when the connection is closing."""
        ...

    def unsent(self) -> int: ...
    def hold(self, seconds: float) -> None:
        """Read nothing for a while; what was read and not yet parsed waits as well."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Say goodbye and close. Nothing is dispatched from now on."""
        ...

    def abort(self) -> None:
        """Close at once: nothing more is sent, not even what was queued."""
        ...


class Receiver(Interface):
    """What the messages of a connection go to. `lost` comes last, once, after `opened`."""

    def opened(self, link: Link) -> None: ...
    def received(self, octets: bytes | bytearray) -> None:
        """One whole message, valid UTF-8."""
        ...

    def trifled(self) -> None:
        """A frame that is no message and costs as much: a ping, a pong, a tiny fragment."""
        ...

    def resumed(self) -> None:
        """A `hold` is over, and reading goes on unless another one begins now."""
        ...

    def lost(self, fault: str) -> None:
        """The connection is gone. `fault` is what the peer did wrong, empty when it or the network just went away."""
        ...


class Connection(asyncio.Protocol):
    """An open connection on either side. Its subclasses bring it through the upgrade."""

    __slots__ = (
        "_backlog",
        "_began",
        "_closing",
        "_counted",
        "_fault",
        "_fragments",
        "_held",
        "_limits",
        "_pieces",
        "_receiver",
        "_side",
        "_stuck",
        "_timer",
        "_transport",
        "_unread",
        "_wire",
        "address",
    )

    def __init__(self, limits: Limits, side: Side) -> None:
        self.address = ""
        self._limits = limits
        self._side = side
        self._wire: Protocol | None = None
        self._receiver: Receiver | None = None
        self._transport: asyncio.Transport | None = None
        self._closing = False
        self._fault = ""
        self._backlog = b""
        self._fragments: bytearray | None = None
        self._pieces = 0
        self._unread = 0  # octets of a frame that has begun and not ended
        self._counted = 0  # how many octets of ours are in the server's sum of unfinished ones
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None  # one at a time: handshake, unfinished message, farewell
        self._held: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    # what the receiver calls

    def send(self, octets: bytes) -> None:
        """Send one message as one text frame."""
        wire = self._framing()
        if wire is None or self._transport is None:
            return
        if self._transport.get_write_buffer_size() > self._limits.unsent:
            self._cut("it does not read what it is sent")
            return
        wire.send_text(octets)
        self._flush(wire)

    def unsent(self) -> int:
        """Octets that wait to be sent, because the peer or the network has not taken them yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def hold(self, seconds: float) -> None:
        """Read nothing for `seconds`."""
        if self._closing or self._transport is None or self._held is not None:
            return
        self._transport.pause_reading()
        self._held = asyncio.get_running_loop().call_later(seconds, self._release)

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, then close the connection."""
        if self._closing or self._transport is None:
            return
        wire = self._framing()
        if wire is not None:
            wire.send_close(code, reason)
            self._transport.writelines(piece for piece in wire.data_to_send() if piece != SEND_EOF)
        self._finish()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there (for TLS: its handshake is done)."""
        self._transport = transport  # type: ignore[assignment]  # a stream protocol is given a full transport
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self._closing = True
        for timer in (self._timer, self._held, self._stuck):
            if timer is not None:
                timer.cancel()
        self._timer = self._held = self._stuck = None
        self._drop()
        self._transport = None
        if self._wire is not None:
            self._wire.parser.close()  # a generator that refers to its owner: closed, both are freed now, not by the collector
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost(self._fault)

    def eof_received(self) -> bool:
        """The peer sends nothing more: then the connection is over."""
        return False

    def data_received(self, data: bytes) -> None:
        """Octets of the upgrade, then of the open connection."""
        if self._closing:
            return
        if self._receiver is None:
            self._upgrading(data)
        elif self._held is not None:
            self._backlog += data
        elif len(data) <= SLICE:
            self._feed(data)
        else:
            self._consume(data)

    def _upgrading(self, data: bytes) -> None:
        """Octets before there is anybody who takes messages."""
        raise NotImplementedError

    def pause_writing(self) -> None:
        """The peer reads more slowly than it is written to; the time it has begins now."""
        if self._stuck is None and self._transport is not None:
            waiting = self._transport.get_write_buffer_size()
            self._stuck = asyncio.get_running_loop().call_later(self._limits.patience, self._unmoved, waiting)

    def resume_writing(self) -> None:
        """It caught up."""
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    # reading

    def _open(self, receiver: Receiver) -> None:
        """The upgrade is done: messages from here on."""
        self._receiver = receiver
        receiver.opened(self)

    def _framing(self) -> Protocol | None:
        """The library's state of the open connection, made now if it has none; None when it is not open for another frame."""
        if self._closing or self._receiver is None:
            return None
        if self._wire is None:
            self._wire = Protocol(self._side, max_size=self._limits.message, logger=framing)
        return self._wire if self._wire.state is OPEN else None

    def _consume(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE):
            if self._closing:
                return
            if self._held is not None:
                self._backlog = data[start:] + self._backlog
                return
            self._feed(data[start : start + SLICE])

    def _release(self) -> None:
        self._held = None
        if self._closing or self._transport is None or self._receiver is None:
            return
        self._receiver.resumed()
        if self._held is not None:  # it has more to wait
            return
        data, self._backlog = self._backlog, b""
        self._consume(data)
        if self._held is None and not self._closing:
            self._transport.resume_reading()

    def _feed(self, data: bytes) -> None:
        wire = self._wire
        if self._unread == 0 and self._fragments is None and self._side is Side.SERVER:
            message = _lone(data) if wire is None or wire.state is OPEN else None
            if message is not None and len(message) <= self._limits.message:
                self._message(message)
                return
        wire = wire or self._framing()
        if wire is None:
            return
        self._unread += len(data)
        wire.receive_data(data)
        for frame in wire.events_received():
            if self._closing:
                return
            self._frame(frame)
        if self._closing:
            return
        if wire.writes:
            self._flush(wire)
        if wire.parser_exc is not None:
            self._fault = self._fault or str(wire.parser_exc)
        elif self._unread > 0 or self._fragments is not None:
            self._wait_for_the_rest()

    def _frame(self, frame: object) -> None:
        if not isinstance(frame, Frame):
            return
        data = frame.data
        size = len(data)
        header = 6 if self._side is Side.SERVER else 2  # with a mask or without
        self._unread -= size + header + (0 if size < 126 else 2 if size < 65536 else 8)
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if frame.fin:
                self._message(bytes(data))
            else:
                self._fragments = bytearray(data)
                self._pieces = 1
                self._fragment(size)
        elif opcode is Opcode.CONT and self._fragments is not None:
            self._fragments += data
            self._pieces += 1
            if frame.fin:
                whole, self._fragments = self._fragments, None
                self._message(whole)
            else:
                self._fragment(size)
        elif opcode is not Opcode.CLOSE and self._receiver is not None:
            self._receiver.trifled()

    def _fragment(self, size: int) -> None:
        if self._pieces > self._limits.fragments:
            self._fail(CloseCode.MESSAGE_TOO_BIG, "a message in too many fragments")
        elif size < SMALL_FRAGMENT and self._receiver is not None:
            self._receiver.trifled()

    def _message(self, octets: bytes | bytearray) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._counted:
            self._account()
        if not octets.isascii():
            try:
                str(octets, "utf-8")
            except UnicodeDecodeError as error:
                self._fail(CloseCode.INVALID_DATA, f"not UTF-8 at octet {error.start}")
                return
        if self._receiver is not None:
            self._receiver.received(octets)

    def _wait_for_the_rest(self) -> None:
        self._account()
        if self._timer is None and not self._closing:
            loop = asyncio.get_running_loop()
            self._began = loop.time()
            self._timer = loop.call_later(self._limits.patience, self._slow)

    def _slow(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        came = self._unread + len(self._fragments or b"")
        left = self._began + self._limits.patience + came / self._limits.pace - loop.time()
        if left <= 0 and self._held is None:
            self._fail(CloseCode.POLICY_VIOLATION, "a message that takes too long")
        elif not self._closing:
            self._timer = loop.call_later(max(left, 0.1), self._slow)

    def _drop(self) -> None:
        """Nobody will read what is here any more."""
        self._fragments, self._backlog, self._unread = None, b"", 0
        self._account()

    def _account(self) -> None:
        """Keep the server's sum of unfinished octets; the server's side has one."""

    # writing and ending

    def _flush(self, wire: Protocol) -> None:
        if self._transport is None:
            return
        pieces = wire.data_to_send()
        ended = bool(pieces) and pieces[-1] == SEND_EOF
        if ended:
            pieces.pop()
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        elif pieces:
            self._transport.writelines(pieces)
        if ended:
            self._finish()

    def _fail(self, code: CloseCode, reason: str) -> None:
        self._fault = self._fault or reason
        wire = self._framing()
        if wire is not None:
            wire.fail(code, reason)
            self._flush(wire)
        self._finish()

    def _finish(self) -> None:
        """Close when what is queued has been sent, or when the peer does not take it in time."""
        if self._transport is None:
            return
        self._closing = True
        self._drop()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._limits.farewell, self.abort)
        self._transport.close()

    def _cut(self, fault: str) -> None:
        self._fault = self._fault or fault
        self.abort()

    def _unmoved(self, before: int) -> None:
        """The peer has had its time: it reads something, or it goes."""
        self._stuck = None
        if self._closing or self._transport is None:
            return
        waiting = self._transport.get_write_buffer_size()
        if waiting >= before:
            self._cut("it does not read what it is sent")
        else:
            self._stuck = asyncio.get_running_loop().call_later(self._limits.patience, self._unmoved, waiting)


def _lone(data: bytes) -> bytes | None:
    """The message, when what was read is exactly one whole masked text frame of 126 octets to 4 KiB and nothing else: any keepalive of
    a real edge. None for everything else, which the library parses. Only between frames."""
    if data[:2] != b"\x81\xfe" or len(data) < 8 + 126 or int.from_bytes(data[2:4]) != len(data) - 8:
        return None
    return apply_mask(data[8:], data[4:8])
