"""WebSocket (RFC 6455) over any asyncio transport: octets in, whole messages out, every read and every queue bounded.

Framing and the upgrade's syntax are the `websockets` library's; what is here is what a long-lived connection of an untrusted peer
needs around it:

1. Nothing is read before the upgrade has been decided, and nothing is dispatched after the connection began to close.
2. An unfinished message is bounded in size, in pieces and in time; all unfinished messages of a server together are bounded in size.
3. A peer that does not read what it is sent is cut off.
4. No extension and no subprotocol is ever agreed to, so no frame can be compressed.
5. Between messages a connection holds no task, no timer and nothing of its handshake.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol as Interface

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response as Answer
from websockets.protocol import CLOSED, OPEN, SEND_EOF, Protocol, Side
from websockets.server import ServerProtocol
from websockets.speedups import apply_mask

from edgeward.errors import printable
from edgeward.model import http
from edgeward.transports import upgrade
from edgeward.transports.limits import TurnedAway, unheard

_log = logging.getLogger(__name__)

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


Admit = Callable[[http.Request], Awaitable[Receiver | http.Response]]


_NO_WIRE = Protocol(Side.SERVER, state=CLOSED, logger=framing)
"""The wire of a connection that is not upgraded yet, shared by all: nothing can be sent on it."""


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
        "_overhead",
        "_pieces",
        "_receiver",
        "_stuck",
        "_timer",
        "_transport",
        "_unread",
        "_wire",
        "address",
    )

    def __init__(self, limits: Limits, overhead: int) -> None:
        self.address = ""
        self._limits = limits
        self._wire = _NO_WIRE
        self._overhead = overhead  # octets of the smallest frame's header as the peer sends it: 6 with a mask
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
        if self._closing or self._transport is None or self._wire.state is not OPEN:
            return
        if self._transport.get_write_buffer_size() > self._limits.unsent:
            self._cut("it does not read what it is sent")
            return
        self._wire.send_text(octets)
        self._flush()

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
        if self._wire.state is OPEN:
            self._wire.send_close(code, reason)
            self._transport.writelines(piece for piece in self._wire.data_to_send() if piece != SEND_EOF)
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
        if self._wire is not _NO_WIRE:
            self._wire.parser.close()  # a generator that refers to its owner: closed, both are freed now, not by the collector
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost(self._fault)

    def eof_received(self) -> bool:
        """The peer sends nothing more: then the connection is over."""
        return False

    def data_received(self, data: bytes) -> None:
        """Octets from an open connection."""
        if self._closing:
            return
        if self._held is not None:
            self._backlog += data
        elif len(data) <= SLICE:
            self._feed(data)
        else:
            self._consume(data)

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

    def _open(self, receiver: Receiver, side: Side) -> None:
        """The upgrade is done: messages from here on."""
        self._wire = Protocol(side, max_size=self._limits.message, logger=framing)
        self._receiver = receiver
        receiver.opened(self)

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
        if self._unread == 0 and self._fragments is None and self._overhead == 6 and wire.state is OPEN:
            message = _lone(data)
            if message is not None and len(message) <= self._limits.message:
                self._message(message)
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
            self._flush()
        if wire.parser_exc is not None:
            self._fault = self._fault or str(wire.parser_exc)
        elif self._unread > 0 or self._fragments is not None:
            self._wait_for_the_rest()

    def _frame(self, frame: object) -> None:
        if not isinstance(frame, Frame):
            return
        data = frame.data
        size = len(data)
        self._unread -= size + self._overhead + (0 if size < 126 else 2 if size < 65536 else 8)
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

    def _flush(self) -> None:
        if self._transport is None:
            return
        pieces = self._wire.data_to_send()
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
        self._wire.fail(code, reason)
        self._flush()
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


class WebSocketServer:
    """The server side for one listener: `server()` is the protocol of a new connection.

    `admit` decides about each upgrade request: the receiver of the connection's messages, or the answer that refuses it. `now` stamps
    requests. `turned_away` hears of whoever was refused before `admit` was asked, `introduced` of the request if it was one of HTTP.
    Several listeners may share one.
    """

    def __init__(
        self,
        admit: Admit,
        *,
        now: Callable[[], datetime],
        limits: Limits | None = None,
        turned_away: TurnedAway = unheard,
        introduced: Callable[[http.Request], None] = lambda _request: None,
    ) -> None:
        self.admit = admit
        self.introduced = introduced
        self.turned_away = turned_away
        self.now = now
        self.limits = limits or Limits()
        self.unfinished = 0
        """Octets of messages that have begun and not ended, of all connections."""
        self.negotiator = ServerProtocol(logger=framing)
        """Answers well-formed upgrade requests; it keeps nothing of one, so that all connections share it."""

    def __call__(self) -> "ServerConnection":
        return ServerConnection(self)


class ServerConnection(Connection):
    """One connection of a `WebSocketServer`. Give it to any transport; `peer_certificate` of its extra info goes into the request."""

    __slots__ = ("_admission", "_server")

    def __init__(self, server: WebSocketServer) -> None:
        super().__init__(server.limits, 6)
        self._server = server
        self._admission: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The time for the request begins."""
        super().connection_made(transport)
        self._timer = asyncio.get_running_loop().call_later(self._limits.handshake, self._late)

    def data_received(self, data: bytes) -> None:
        """Octets of the request head, then of the open connection."""
        if self._receiver is not None:
            super().data_received(data)
        elif not self._closing:
            self._head(data)

    @property
    def silent(self) -> bool:
        """Whether not one octet of the request ever came."""
        return self._receiver is None and self._admission is None and not self._backlog and not self._closing

    def _late(self) -> None:
        self._refuse(http.text(408, f"no request within {self._limits.handshake:g} s\n"))

    def _head(self, data: bytes) -> None:
        seen = max(0, len(self._backlog) - len(END_OF_HEAD))
        self._backlog += data
        end = self._backlog.find(END_OF_HEAD, seen)
        if self._admission is not None or (end >= 0 and len(self._backlog) > end + len(END_OF_HEAD)):
            self._refuse(http.text(400, "data before the upgrade was answered\n"))
        elif len(self._backlog) > self._limits.head:
            self._refuse(http.text(431, f"the request head is larger than {self._limits.head} octets\n"))
        elif end >= 0:
            self._request()

    def _request(self) -> None:
        head, self._backlog = self._backlog, b""
        asked = upgrade.parse(head)
        if asked is None:
            self._refuse(http.text(400, "this is not an HTTP/1.1 request\n"))
            return
        accepted = asked.plain()
        if accepted is None:
            response = self._server.negotiator.accept(asked.in_full())
            fault = upgrade.foreign(asked)
            if response.status_code != 101:
                self._server.introduced(self._seen(asked))
                self._reply(response)
                return
            if fault is not None:
                self._refuse(fault)
                return
            response.headers["Server"] = "edgeward"
            accepted = response.serialize()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._admission = asyncio.get_running_loop().create_task(self._admit(self._seen(asked), accepted))

    def _seen(self, asked: upgrade.Asked) -> http.Request:
        return http.Request(
            method="GET",
            target=asked.target,
            headers=asked.headers,
            body=b"",
            address=self.address,
            at=self._server.now(),
            peer_certificate=None if self._transport is None else self._transport.get_extra_info("peer_certificate"),
        )

    async def _admit(self, request: http.Request, accepted: bytes) -> None:
        """Ask for admission. `accepted` names us: our own agents ask such a hub for more than a KubeEdge cloud has."""
        answer: Receiver | http.Response
        try:
            answer = await self._server.admit(request)
        except Exception:  # the shell: a bug in an admission must not leave the connection hanging
            number = secrets.token_hex(4)
            _log.exception("admission failed, error %s", number)
            answer = http.text(500, f"internal error {number}\n")
        self._admission = None
        if self._closing or self._transport is None:
            return
        if isinstance(answer, http.Response):
            self._refuse(answer)
        else:
            self._transport.write(accepted)
            self._open(answer, Side.SERVER)

    def _refuse(self, answer: http.Response) -> None:
        """Answer instead of upgrading, and close. What the peer sent is not looked at any more."""
        response = self._server.negotiator.reject(answer.status, "")
        for name in ("Content-Type", "Content-Length"):
            del response.headers[name]
        for name, value in (
            *answer.headers,
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
        ):
            response.headers[name] = value
        response.body = answer.body
        self._reply(response)

    def _reply(self, response: Answer) -> None:
        if self._closing or self._transport is None:
            return
        text = printable(bytes(response.body).decode(errors="replace").strip())
        if self._timer is not None:  # the time for the request still runs: nobody was asked
            self._server.turned_away(self.address, response.status_code, text)
        self._transport.write(response.serialize())
        self._finish()

    def _account(self) -> None:
        held = self._unread + len(self._fragments or b"")
        self._server.unfinished += held - self._counted
        self._counted = held
        if self._server.unfinished > self._limits.unfinished and held > SLICE and not self._closing:
            self._fail(CloseCode.TRY_AGAIN_LATER, "too many unfinished messages at once")
