"""QUIC (RFC 9000) for our own agents: datagrams in, whole messages out, through the same `Receiver` and `Link` as WebSocket.

The session is that of kubeedge-wire section 5.3 with a protocol name of our own: the client opens a control stream and says on it who it
is; the server answers there, or closes the connection with the reason in its CONNECTION_CLOSE; then each side sends its messages, in order,
on one stream that it opened. What is here is what an untrusted peer makes necessary:

1. An address proves that it receives what is sent to it (Retry) before anything is kept for it; unfinished handshakes are counted for each
   address and altogether, and have one deadline.
2. Nothing is dispatched before the peer is admitted, and nothing after its end is decided.
3. A message is bounded before it is kept, an unfinished one in time, all unfinished ones of a server together.
4. A peer that is to wait (`hold`) is not listened to: its datagrams are dropped, and its own congestion control slows it down.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from aioquic._buffer import Buffer
from aioquic.quic import events
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.packet import (
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.retry import QuicRetryTokenHandler
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from edgeward.errors import CannotListen, InputError, printable
from edgeward.model import http
from edgeward.model import message as messages
from edgeward.model.failure import HandshakeFailure
from edgeward.transports import quic_frames
from edgeward.transports.limits import TlsLimits, WaitingRoom, network_of
from edgeward.transports.quic_library import ALPN, Connection, Verify
from edgeward.transports.websocket import Admit, Limits, Receiver

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
        if self._waiting() > self._limits.unsent:
            self._fail("it does not read what it is sent")
            return
        if self._stream is None:
            self._stream = self._quic.get_next_available_stream_id()
            self._quic.send_stream_data(self._stream, quic_frames.PREFIX)
        self._quic.send_stream_data(self._stream, quic_frames.package(octets))
        self._transmit_soon()

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
            self.address = _plain(path)

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

    def _waiting(self) -> int:
        """Octets of ours that the peer has not acknowledged."""
        return 0 if self._stream is None else int(self._quic.unsent(self._stream))

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


class ServerPeer(Peer):
    """One connection at a server."""

    def __init__(self, quic: Connection, server: "Server", peers: "dict[bytes, ServerPeer]") -> None:
        super().__init__(quic, server.limits)
        self._server = server
        self._peers = peers
        self._admission: asyncio.Task[None] | None = None
        self._asked = False
        self._certificate: bytes | None = None
        self._deadline = self._loop.call_later(server.handshakes.handshake_seconds, self._late)

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """A datagram; the first one enters the room of those who have proved nothing."""
        if not self.address and not self._over:
            self.address = _plain(addr)
            out = self._server.waiting.enter(self, network_of(self.address))
            if out is not None:
                out.end(
                    PROTOCOL, "it left its place to newer ones: too many connections had not finished their handshake"
                )
        super().datagram_received(data, addr)

    def _identified(self, connection_id: bytes, *, mine: bool) -> None:
        if mine:
            self._peers[connection_id] = self
        else:
            self._peers.pop(connection_id, None)

    def _terminated(self, event: events.ConnectionTerminated) -> None:
        for known in [known for known, other in self._peers.items() if other is self]:
            del self._peers[known]

    def _late(self) -> None:
        self._deadline = None
        self._fail("it did not say who it is in time")

    def _shaken(self) -> None:
        self._certificate = self._quic.proved()
        if self._certificate is None:
            self._fail("no client certificate was proved")

    def _control(self, payload: bytes) -> None:
        if self._asked or self._certificate is None:
            self._fail("more than one request on the control stream")
            return
        self._asked = True
        try:
            asked = messages.decode(payload)
            headers = _headers(asked)
        except InputError as error:
            self._fail(str(error))
            return
        request = http.Request(
            method="GET",
            target="/",
            headers=headers,
            body=b"",
            address=self.address,
            at=self._server.now(),
            peer_certificate=self._certificate,
        )
        self._admission = self._loop.create_task(self._admit(request, asked))

    async def _admit(self, request: http.Request, asked: messages.Message) -> None:
        answer: Receiver | http.Response
        try:
            answer = await self._server.admit(request)
        except Exception:  # the shell: a bug in an admission must not leave the connection hanging
            number = secrets.token_hex(4)
            _log.exception("admission failed, error %s", number)
            answer = http.text(500, f"internal error {number}\n")
        self._admission = None
        if self._over:
            return
        if isinstance(answer, http.Response):
            self.end(REFUSED + answer.status, answer.body.decode("utf-8", "replace").strip())
            return
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._server.waiting.leave(self)
        reply = messages.response_to(asked, messages.ACK, msg_id=asked.msg_id, now=request.at)
        self._quic.send_stream_data(CONTROL, quic_frames.package(messages.encode(reply)))
        self._opened(answer)
        self._transmit_soon()

    def _unfinished(self, octets: int) -> None:
        server = self._server
        server.unfinished += octets
        if octets > 0 and server.unfinished > self._limits.unfinished:
            self._fail("too many unfinished messages at once")

    def _lost(self) -> None:
        self._server.waiting.leave(self)
        if not self._over and not self._asked and self._fault:
            self._server.refused(
                HandshakeFailure(address=self.address, server_name=None, code="quic", reason=self._fault)
            )
        super()._lost()


def _headers(asked: messages.Message) -> dict[str, tuple[str, ...]]:
    """The request of a control stream as header fields: names to lists of strings, such as `{"Node_id": ["edge-1"]}`.

    Raises `InputError`, the peer's fault.
    """
    if asked.operation != "header":
        raise InputError(problem="the first message on the control stream must have the operation `header`")
    try:
        named = msgspec.json.decode(asked.content, type=dict[str, tuple[str, ...]])
    except msgspec.MsgspecError as error:
        raise InputError(problem=f"the content of `header` is not an object of lists of strings: {error}") from error
    return {**{name.lower(): values for name, values in named.items()}, "connectionuse": ("msg",)}


class Server:
    """A QUIC listener. `admit` decides about each peer, as for WebSocket; `verify` judges client certificates in the handshake; `refused`
    hears of those that failed. `credential` gives the server's certificate chain and key, and is asked at each connection, so that a new
    one counts from the next on."""

    def __init__(
        self,
        admit: Admit,
        *,
        now: Callable[[], datetime],
        verify: Verify,
        credential: Callable[[], tuple[list[x509.Certificate], PrivateKeyTypes]],
        limits: Limits | None = None,
        handshakes: TlsLimits | None = None,
        refused: Callable[[HandshakeFailure], None] = lambda _failure: None,
    ) -> None:
        self.refused = refused
        self.admit = admit
        self.now = now
        self.limits = limits or Limits()
        self.handshakes = handshakes or TlsLimits()
        self.waiting: WaitingRoom[ServerPeer] = WaitingRoom(
            self.handshakes.handshakes, self.handshakes.handshakes_per_address
        )
        self.unfinished = 0
        self.verify = verify
        self._credential = credential
        self._listening: _Listener | None = None

    async def listen(self, address: str, port: int) -> int:
        """Listen on UDP `address`:`port` (empty: all of this machine's, 0: any free port); the port. Raises `CannotListen`."""
        loop = asyncio.get_running_loop()
        try:
            bound = _bind(address, port)
            _, protocol = await loop.create_datagram_endpoint(lambda: _Listener(self), sock=bound)
        except OSError as error:
            raise CannotListen(address=f"{address or '*'}:{port}/udp", why=error.strerror or str(error)) from error
        self._listening = protocol
        return int(bound.getsockname()[1])

    def close(self) -> None:
        """Stop listening; connections that are left are closed."""
        if self._listening is not None:
            self._listening.close()

    def configuration(self) -> QuicConfiguration:
        """What a new connection is made with."""
        chain, key = self._credential()
        configuration = QuicConfiguration(alpn_protocols=[ALPN], is_client=False, idle_timeout=IDLE)
        configuration.certificate, configuration.certificate_chain, configuration.private_key = chain[0], chain[1:], key
        return configuration


class _Listener(asyncio.DatagramProtocol):
    """Gives each datagram to its connection, by the id in it, and makes connections for addresses that have proved themselves."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._retry = QuicRetryTokenHandler()
        self._peers: dict[bytes, ServerPeer] = {}
        self._versions = server.configuration().supported_versions
        self._id_length = server.configuration().connection_id_length

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport: asyncio.DatagramTransport = transport  # type: ignore[assignment]  # as above

    def close(self) -> None:
        """Close every connection and the socket."""
        for peer in set(self._peers.values()):
            peer.end(SHUTDOWN, "the hub is shutting down")
        self._transport.close()

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """A datagram from anybody."""
        try:
            self._dispatch(data if isinstance(data, bytes) else data.encode(), addr)
        except Exception:  # the shell: one datagram must not take the listener down
            _log.exception("a datagram from %s", addr[0])

    def _dispatch(self, data: bytes, addr: Any) -> None:
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=self._id_length)
        except ValueError:
            return
        peer = self._peers.get(header.destination_cid)
        if peer is not None:
            peer.datagram_received(data, addr)
        elif len(data) < SMALLEST_MAX_DATAGRAM_SIZE or header.packet_type == QuicPacketType.VERSION_NEGOTIATION:
            return  # RFC 9000 section 14.1: no answer to less than 1200 octets, so none is larger than its question
        elif header.version is not None and header.version not in self._versions:
            answer = encode_quic_version_negotiation(
                source_cid=header.destination_cid,
                destination_cid=header.source_cid,
                supported_versions=self._versions,
            )
            self._transport.sendto(answer, addr)
        elif header.packet_type == QuicPacketType.INITIAL and not header.token:
            self._ask_for_proof(header, addr)
        elif header.packet_type == QuicPacketType.INITIAL:
            self._new(header, data, addr)

    def _ask_for_proof(self, header: Any, addr: Any) -> None:
        """RFC 9000 section 8.1.2: a Retry, whose token shows that the address receives what is sent to it. Nothing is kept."""
        source = os.urandom(self._id_length)
        token = self._retry.create_token(
            address=addr,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=source,
            now=asyncio.get_running_loop().time(),
        )
        answer = encode_quic_retry(
            version=header.version,
            source_cid=source,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )
        self._transport.sendto(answer, addr)

    def _new(self, header: Any, data: bytes, addr: Any) -> None:
        try:
            original = self._retry.validate_token(
                address=addr,
                destination_cid=header.destination_cid,
                token=header.token,
                now=asyncio.get_running_loop().time(),
            )
        except ValueError:  # of a server before this one, or forged: the client begins again
            return
        quic = Connection(
            configuration=self._server.configuration(),
            verify=self._server.verify,
            original_destination_connection_id=original,
            retry_source_connection_id=header.destination_cid,
        )
        peer = ServerPeer(quic, self._server, self._peers)
        peer.connection_made(self._transport)
        self._peers[header.destination_cid] = self._peers[quic.host_cid] = peer
        peer.datagram_received(data, addr)


def _is_utf8(octets: bytes) -> bool:
    if octets.isascii():
        return True
    try:
        str(octets, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _plain(address: Any) -> str:
    """An IP address as people write it; a socket for both families shows IPv4 addresses inside IPv6 ones."""
    return str(address[0]).removeprefix("::ffff:")


def _bind(address: str, port: int) -> socket.socket:
    family = socket.AF_INET if address and ":" not in address else socket.AF_INET6
    try:
        bound = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError:  # a machine without IPv6
        if address:
            raise
        family, address = socket.AF_INET, "0.0.0.0"  # noqa: S104  # asked for: every address
        bound = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if not address else 1)
        with contextlib.suppress(OSError):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        bound.bind((address, port))
    except OSError:
        bound.close()
        raise
    return bound
