"""The client's side of a QUIC connection: the handshake, the server's certificate, who we are, then a connection like the server's."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Any

from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from edgeward.errors import EdgewardError, HandshakeFailed, ServerNotTrusted, Unreachable
from edgeward.model import message as messages
from edgeward.model.address import joined
from edgeward.model.message import Message
from edgeward.transports import quic_frames
from edgeward.transports.quic import CONTROL, IDLE, REFUSED, UNSUITABLE, UNTRUSTED, Peer
from edgeward.transports.quic_library import ALPN, Connection
from edgeward.transports.reasons import explain_connecting
from edgeward.transports.websocket import Limits
from edgeward.transports.websocket_client import ClientReceiver

_ERRORS: dict[int, tuple[int, int]] = {
    socket.AF_INET: (socket.IPPROTO_IP, 11),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 25),
}
"""Linux's IP_RECVERR and IPV6_RECVERR, which the socket module does not name."""

LINGER = 1.0
"""Seconds for which our socket stays after the end, so that our last packet can be repeated."""

Check = Callable[[Sequence[bytes]], None]
"""Looks at the certificates (DER) that a server presented and raises when it is not trusted."""


class QuicClient(Peer):
    """The client's side of one connection. `check` judges the server before anything is said; `asked` says who we are."""

    def __init__(
        self, quic: Connection, receiver: ClientReceiver, check: Check, asked: Message, limits: Limits
    ) -> None:
        super().__init__(quic, limits)
        self.server = "edgeward"  # whoever speaks our protocol
        self._client = receiver
        self._check = check
        self._asked = asked
        self.shaken: asyncio.Future[None] = self._loop.create_future()

    def _shaken(self) -> None:
        try:
            self._check(self._quic.presented())
        except EdgewardError as error:
            self._settle(error)
            self.transmit()  # the end of the handshake: the server can only be told why once it has that
            self.end(UNTRUSTED if isinstance(error, ServerNotTrusted) else UNSUITABLE, str(error))
            return
        self._quic.send_stream_data(CONTROL, quic_frames.package(messages.encode(self._asked)))
        self._settle(None)
        bound = None if self._transport is None else self._transport.get_extra_info("socket")
        if bound is not None:  # nobody reads these any more, and they would fill the socket's buffer
            with contextlib.suppress(OSError):
                bound.setsockopt(*_ERRORS[bound.family], 0)

    def _control(self, payload: bytes) -> None:
        if self._receiver is None:
            self._opened(self._client)

    def _terminated(self, event: events.ConnectionTerminated) -> None:
        words = event.reason_phrase or f"error {event.error_code:#x}"
        self._settle(HandshakeFailed(address=self.address, why=f"it closed the connection: {words}"))
        if self._receiver is None and not self._over:
            status = event.error_code - REFUSED
            if event.frame_type is None and 400 <= status < 600:
                self._client.refused(status, words)
            self._receiver = self._client  # so that it hears of the end

    def _lost(self) -> None:
        over = self._over
        self._settle(HandshakeFailed(address=self.address, why="the connection was closed"))
        super()._lost()
        if not over:
            self._loop.call_later(LINGER, self.leave)

    def _settle(self, error: EdgewardError | None) -> None:
        if self.shaken.done():
            return
        if error is None:
            self.shaken.set_result(None)
        else:
            self.shaken.set_exception(error)
            self.shaken.exception()  # whoever waited may have gone

    async def dial(self, family: int, place: Any) -> None:
        """Handshake with the server at `place`, an address of `family`, and ask. Raises `HandshakeFailed`, or what the check raises."""
        await self._open(family, None)
        self.address = str(place[0])
        try:
            self._quic.connect(place, now=self._loop.time())
            self.transmit()
            await self.shaken
        except BaseException:  # also when we are cancelled, because it takes too long
            self.end(0, "given up")
            self.leave()
            raise

    async def _open(self, family: int, local: tuple[str, int] | None) -> None:
        anywhere = ("::", 0) if family == socket.AF_INET6 else ("0.0.0.0", 0)  # noqa: S104  # the system chooses
        made, _ = await self._loop.create_datagram_endpoint(lambda: self, local_addr=local or anywhere, family=family)
        with contextlib.suppress(OSError):  # a port that nobody listens on says so at once, where the system tells
            made.get_extra_info("socket").setsockopt(*_ERRORS[family], not self.shaken.done())

    def error_received(self, exc: Exception) -> None:
        """The network says that a datagram did not arrive. Before the handshake is done that is an answer; later anybody could say it."""
        if not self.shaken.done() and isinstance(exc, OSError):
            self._settle(Unreachable(address=self.address, why=f"{explain_connecting(exc)} (UDP)"))

    async def rebind(self, local: tuple[str, int] | None = None) -> None:
        """Go on from another local port or address: the session moves with us (RFC 9000 section 9)."""
        before = self._transport
        family = socket.AF_INET6 if ":" in str(self._peer_address()[0]) else socket.AF_INET
        await self._open(family, local)
        self._quic.change_connection_id()  # RFC 9000 section 9.5: nobody on the way can tie the two together
        self._quic.send_ping(0)
        self.transmit()
        if before is not None and before is not self._transport:
            before.close()

    def leave(self) -> None:
        """Close our socket, a moment after the last packet."""
        if self._transport is not None:
            self._transport.close()

    def _peer_address(self) -> Any:
        return self._quic.get_peer_address() or ("", 0)

    def connection_lost(self, exc: Exception | None) -> None:
        """A socket of ours is closed: nothing to do, unless it was the one in use."""


async def connect(
    host: str,
    port: int,
    receiver: ClientReceiver,
    *,
    pair: tuple[x509.Certificate, PrivateKeyTypes],
    check: Check,
    asked: Message,
    patience: float,
    limits: Limits | None = None,
) -> QuicClient:
    """A QUIC connection to UDP `host`:`port` whose server `check` has approved, with the request `asked` on its way.

    `patience`: seconds for the handshake. Raises `Unreachable` (no answer), `HandshakeFailed`, or what `check` raises. The server's
    answer to the request goes to `receiver`.
    """
    loop = asyncio.get_running_loop()
    address = joined(host, port)
    try:
        async with asyncio.timeout(patience):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            failure: EdgewardError | None = None
            for family, *_, place in found[:4]:
                client = QuicClient(
                    Connection(configuration=_configuration(host, *pair), verify=None),
                    receiver,
                    check,
                    asked,
                    limits or Limits(),
                )
                try:
                    await client.dial(family, place)
                    return client
                except (HandshakeFailed, Unreachable, OSError) as error:
                    known = isinstance(error, EdgewardError)
                    failure = failure or (error if known else Unreachable(address=address, why=str(error)))  # type: ignore[assignment]
            raise failure or Unreachable(address=address, why="the name has no address")
    except TimeoutError as error:
        raise Unreachable(address=f"{address} (UDP)", why=f"no answer in {patience:g} s") from error
    except OSError as error:
        raise Unreachable(address=address, why=explain_connecting(error)) from error


def _configuration(host: str, certificate: x509.Certificate, key: PrivateKeyTypes) -> QuicConfiguration:
    configuration = QuicConfiguration(
        alpn_protocols=[ALPN], is_client=True, idle_timeout=IDLE, server_name=host, verify_mode=0
    )
    configuration.certificate, configuration.private_key = certificate, key
    return configuration
