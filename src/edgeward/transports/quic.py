"""QUIC (RFC 9000) for our own agents: datagrams in, whole messages out, through the same `Receiver` and `Link` as WebSocket.

The session is that of kubeedge-wire section 5.3 with a protocol name of our own: the client opens a control stream and says on it who it
is; the server answers there, or closes the connection with the reason in its CONNECTION_CLOSE; then each side sends its messages, in order,
on one stream that it opened. What is here is what an untrusted peer makes necessary:

1. Nothing is dispatched before the peer is admitted, and nothing after its end is decided.
2. A message is bounded before it is kept, an unfinished one in time, all unfinished ones of a server together.
3. A peer that is to wait (`hold`) is not listened to: its datagrams are dropped, and its own congestion control slows it down.

`quic_server` and `quic_client` bring a connection to that point.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from aioquic.quic import events

from edgeward.errors import InputError, printable
from edgeward.transports import quic_frames
from edgeward.transports.quic_library import Connection
from edgeward.transports.websocket import Limits, Receiver

_log = logging.getLogger(__name__)

IDLE = 60.0
"""Seconds without a packet after which a connection is over, whatever its session says: twice the hub's own patience."""

STREAMS = 8
"""Streams that a peer may open in the life of a connection. An agent opens two."""

CONTROL = 0
"""The client's first stream (RFC 9000 section 2.1)."""

NO_ERROR = 0
REPLACED, PROTOCOL, SHUTDOWN, REVOKED, REFUSED = 0x01, 0x02, 0x03, 0x04, 0x1000
"""Application error codes. A refusal is `REFUSED` and the status that WebSocket would have answered: 0x1000 + 403."""

UNTRUSTED, UNSUITABLE = 0x10, 0x11
"""What a client closes with that does not take the server's certificate: its CA is none that it trusts, or something else is wrong."""

_CODES = {1000: NO_ERROR, 1001: SHUTDOWN, 1002: PROTOCOL, 1007: PROTOCOL, 1008: REPLACED, 1009: PROTOCOL}
"""WebSocket's close codes, in which the hub speaks."""

_REASON = 400
"""Characters of a reason; CONNECTION_CLOSE must fit into one packet of 1200 octets."""


class Peer(asyncio.DatagramProtocol):
    """One open connection on either side, and its receiver's `Link`. Subclasses bring it through the control stream."""

    def __init__(self, quic: Connection, limits: Limits) -> None:
        self.address = ""
        self._quic = quic
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._sending: asyncio.Handle | None = None
        self._limits = limits
        self._receiver: Receiver | None = None
        self._readers: dict[int, quic_frames.Reader] = {}
        self._backlog: deque[bytes] = deque()  # whole messages that wait for the end of a `hold`
        self._counted = 0  # how many octets of ours are in the server's sum of unfinished ones
        self._stream: int | None = None  # the one that our messages go out on
        self._over = False
        self._fault = ""
        self._deadline: asyncio.TimerHandle | None = None
        self._held: asyncio.TimerHandle | None = None

    # what the receiver calls

    def send(self, octets: bytes) -> None:
        """Send one message. A peer that is further behind than the limit is cut off."""
        if self._over:
            return
        if self.unsent() > self._limits.unsent:
            self._fail("it does not read what it is sent")
            return
        if self._stream is None:
            self._stream = self._quic.get_next_available_stream_id()
            self._quic.send_stream_data(self._stream, quic_frames.PREFIX)
        self._quic.send_stream_data(self._stream, quic_frames.package(octets))
        self._transmit_soon()

    def unsent(self) -> int:
        """Octets of ours that the peer has not acknowledged."""
        return 0 if self._stream is None else int(self._quic.unsent(self._stream))

    def hold(self, seconds: float) -> None:
        """Do not listen for `seconds`."""
        if not self._over and self._held is None:
            self._held = self._loop.call_later(seconds, self._release)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with a reason. Nothing is dispatched from now on."""
        self.end(_CODES.get(code, PROTOCOL), reason)

    def abort(self) -> None:
        """Close at once: of what waits to be sent nothing goes out, only the packet that says that it is over."""
        self.end(REVOKED, "closed by the hub")

    def ping(self) -> None:
        """Send a ping; its acknowledgement reaches the receiver as `trifled`."""
        if not self._over:
            self._quic.send_ping(0)
            self._transmit_soon()

    def end(self, code: int, reason: str) -> None:
        """Close with an application error code and a reason."""
        if self._over:
            return
        self._quic.close(error_code=code, reason_phrase=printable(reason, _REASON))
        self._lost()
        with contextlib.suppress(OSError):
            self.transmit()

    # between the library and the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open; a server's connections share one."""
        self._transport = transport  # type: ignore[assignment]  # a datagram protocol is given a datagram transport

    def transmit(self) -> None:
        """Send what is to be sent now, and come back when the library wants to."""
        self._sending = None
        if self._transport is not None:
            for data, place in self._quic.datagrams_to_send(now=self._loop.time()):
                self._transport.sendto(data, place)
        at = self._quic.get_timer()
        if at == self._timer_at and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = None if at is None else self._loop.call_at(at, self._timed)

    def _transmit_soon(self) -> None:
        if self._sending is None:
            self._sending = self._loop.call_soon(self.transmit)

    def _timed(self) -> None:
        at, self._timer, self._timer_at = self._timer_at, None, None
        self._guarded(lambda: self._quic.handle_timer(now=max(at or 0.0, self._loop.time())))

    def _guarded(self, step: Callable[[], None]) -> None:
        """Let the library do something, then look at what came of it."""
        try:
            step()
            while (event := self._quic.next_event()) is not None:
                self._event(event)
            self.transmit()
        except Exception:  # the shell: what the library does not expect ends this connection and no other
            _log.exception("QUIC with %s", self.address)
            self._fail("internal error")

    # what the network brings

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """A datagram for this connection."""
        if self._held is not None or isinstance(data, str):
            return
        self._guarded(lambda: self._quic.receive_datagram(data, addr, now=self._loop.time()))
        path = self._quic.get_peer_address()
        if path is not None:
            self.address = plain(path)

    def _event(self, event: events.QuicEvent) -> None:
        if isinstance(event, events.ConnectionTerminated):
            if not self._over and event.error_code not in (NO_ERROR, REPLACED, SHUTDOWN):
                self._fault = self._fault or event.reason_phrase
            self._terminated(event)
            self._lost()
        elif isinstance(event, events.ConnectionIdIssued | events.ConnectionIdRetired):
            self._identified(event.connection_id, mine=isinstance(event, events.ConnectionIdIssued))
        elif self._over:
            return
        elif isinstance(event, events.HandshakeCompleted):
            self._shaken()
        elif isinstance(event, events.StreamDataReceived):
            self._data(event.stream_id, event.data, ended=event.end_stream)
        elif isinstance(event, events.StreamReset):
            self._fail("it reset a stream")
        elif isinstance(event, events.PingAcknowledged) and self._receiver is not None:
            self._receiver.trifled()

    def _data(self, stream: int, octets: bytes, *, ended: bool) -> None:
        reader = self._readers.get(stream)
        if reader is None:
            if len(self._readers) >= STREAMS:
                self._fail("it opens too many streams")
                return
            prefixed = stream != CONTROL
            reader = quic_frames.Reader(self._limits.message if prefixed else self._limits.head, prefixed=prefixed)
            self._readers[stream] = reader
        try:
            packages = reader.feed(octets)
        except InputError as error:
            self._fail(str(error))
            return
        self._account()
        if stream == CONTROL:
            for payload in packages:
                if not self._over:
                    self._control(payload)
        else:
            self._backlog += packages
            self._dispatch()
        if ended and not self._over:
            self._fail("it ended a stream")
        elif self._receiver is not None and not self._over:
            self._watch_unfinished()

    def _dispatch(self) -> None:
        """Pass on the messages that have come, until the peer is to wait."""
        while self._backlog and not self._over and self._held is None:
            payload = self._backlog.popleft()
            if self._receiver is None:
                self._fail("a message before the connection was accepted")
            elif not _is_utf8(payload):
                self._fail("a message that is not UTF-8")
            else:
                self._receiver.received(payload)

    def _account(self) -> None:
        """Keep the sum of unfinished octets of all connections."""
        held = sum(reader.unfinished for reader in self._readers.values())
        more, self._counted = held - self._counted, held
        if more:
            self._unfinished(more)

    def _watch_unfinished(self) -> None:
        """A message that does not become whole has a deadline, which a little for every octet puts off."""
        if not self._counted:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
        elif self._deadline is None:
            began = self._loop.time()
            self._deadline = self._loop.call_later(self._limits.patience, self._slow, began)

    def _slow(self, began: float) -> None:
        self._deadline = None
        left = began + self._limits.patience + self._counted / self._limits.pace - self._loop.time()
        if not self._counted or self._over:
            return
        if left <= 0 and self._held is None:
            self._fail("a message that takes too long")
        else:
            self._deadline = self._loop.call_later(max(left, 0.1), self._slow, began)

    def _release(self) -> None:
        self._held = None
        if not self._over and self._receiver is not None:
            self._receiver.resumed()
            self._dispatch()

    # what subclasses do

    def _shaken(self) -> None:
        """The handshake is done."""

    def _control(self, payload: bytes) -> None:
        """A package on the control stream."""

    def _identified(self, connection_id: bytes, *, mine: bool) -> None:
        """Datagrams with this connection id are for us from now on, or not any more."""

    def _terminated(self, event: events.ConnectionTerminated) -> None:
        """The connection is over, and this is what the peer (or the library) says."""

    def _unfinished(self, octets: int) -> None:
        """So many octets more (or fewer) of unfinished messages are kept."""

    def _opened(self, receiver: Receiver) -> None:
        self._receiver = receiver
        receiver.opened(self)

    def _fail(self, why: str) -> None:
        """The peer did something wrong."""
        self._fault = self._fault or why
        self.end(PROTOCOL, why)

    def _lost(self) -> None:
        if self._over:
            return
        self._over = True
        for timer in (self._deadline, self._held):
            if timer is not None:
                timer.cancel()
        self._readers.clear()
        self._backlog.clear()
        self._account()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost(self._fault)


def _is_utf8(octets: bytes) -> bool:
    if octets.isascii():
        return True
    try:
        str(octets, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def plain(address: Any) -> str:
    """An IP address as people write it; a socket for both families shows IPv4 addresses inside IPv6 ones."""
    return str(address[0]).removeprefix("::ffff:")
