"""The server's side of QUIC: the socket, addresses that must prove themselves, the handshake, the admission.

An address proves that it receives what is sent to it (Retry, RFC 9000 section 8.1.2) before anything is kept for it, and no answer to
a stranger is larger than its question. Unfinished handshakes and peers that have not said who they are wait in a room that is bounded
for each address and altogether, and have one deadline.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

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
from cryptography.hazmat.primitives.serialization import Encoding

from edgeward.errors import CannotListen, InputError
from edgeward.model import http
from edgeward.model import message as messages
from edgeward.model.address import network_of
from edgeward.model.failure import HandshakeFailure
from edgeward.pki import client, parse
from edgeward.transports import quic_frames
from edgeward.transports.limits import TlsLimits, WaitingRoom
from edgeward.transports.quic import CONTROL, IDLE, PROTOCOL, REFUSED, SHUTDOWN, UNSUITABLE, UNTRUSTED, Peer, plain
from edgeward.transports.quic_library import ALPN, Connection
from edgeward.transports.reasons import explain_connecting
from edgeward.transports.websocket import Limits, Receiver
from edgeward.transports.websocket_server import Admit

_log = logging.getLogger(__name__)


class ServerPeer(Peer):
    """One connection at a server."""

    def __init__(self, quic: Connection, server: "Server", peers: "dict[bytes, ServerPeer]") -> None:
        super().__init__(quic, server.limits)
        self._server = server
        self._peers = peers
        self._admission: asyncio.Task[None] | None = None
        self._asked = False
        self._certificate: bytes | None = None
        self._alert: str | None = None
        self._deadline = self._loop.call_later(server.handshakes.handshake_seconds, self._late)

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """A datagram; the first one enters the room of those who have proved nothing."""
        if not self.address and not self._over:
            self.address = plain(addr)
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
        if event.frame_type is None and not self._asked and not self._over:
            self._alert = {UNTRUSTED: "unknown ca", UNSUITABLE: "bad certificate"}.get(event.error_code)
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
                HandshakeFailure(
                    address=self.address,
                    server_name=None,
                    code="tls" if self._alert == "unknown ca" else "quic",
                    reason=f"it does not take our certificate: {self._fault}" if self._alert else self._fault,
                    alert=self._alert,
                    received=self._alert is not None,
                    certificate=self._certificate,
                )
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


class Credential(Protocol):
    """A server's certificate (DER) and its private key."""

    @property
    def certificate(self) -> bytes: ...
    @property
    def key(self) -> PrivateKeyTypes: ...


class Server:
    """A QUIC listener. `admit` decides about each peer, as for WebSocket; `anchors` are the CAs (DER) whose device certificates are let
    through the handshake; `refused` hears of handshakes that failed. `credential` is asked at each connection, so that a new server
    certificate counts from the next one on."""

    def __init__(
        self,
        admit: Admit,
        *,
        now: Callable[[], datetime],
        anchors: Callable[[], Sequence[bytes]],
        credential: Callable[[], Credential],
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
        self._anchors = anchors
        self._credential = credential
        self._listening: _Listener | None = None

    def verify(self, certificate: x509.Certificate) -> None:
        """Whether a client's certificate lets it through the handshake. Raises `CertificateRefused` or `Unreadable`."""
        client.verify(parse.certificate(certificate.public_bytes(Encoding.DER)), self._anchors(), self.now())

    async def listen(self, address: str, port: int) -> int:
        """Listen on UDP `address`:`port` (empty: all of this machine's, 0: any free port); the port. Raises `CannotListen`."""
        loop = asyncio.get_running_loop()
        try:
            bound = _bind(address, port)
            _, protocol = await loop.create_datagram_endpoint(lambda: _Listener(self), sock=bound)
        except OSError as error:
            raise CannotListen(address=f"{address or '*'}:{port}/udp", why=explain_connecting(error)) from error
        self._listening = protocol
        return int(bound.getsockname()[1])

    def close(self) -> None:
        """Stop listening; connections that are left are closed."""
        if self._listening is not None:
            self._listening.close()

    def configuration(self) -> QuicConfiguration:
        """What a new connection is made with."""
        ours = self._credential()
        configuration = QuicConfiguration(alpn_protocols=[ALPN], is_client=False, idle_timeout=IDLE)
        configuration.certificate, configuration.private_key = parse.certificate(ours.certificate), ours.key
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
