"""The client's side of a WebSocket connection: asks for the upgrade, then is a connection like the server's."""

import asyncio
from collections.abc import Sequence
from typing import Protocol as Interface

from websockets.client import ClientProtocol
from websockets.http11 import Response as Answer
from websockets.protocol import OPEN, Protocol, Side
from websockets.uri import parse_uri

from edgeward.transports.websocket import END_OF_HEAD, Connection, Limits, Receiver, framing


class ClientReceiver(Receiver, Interface):
    """A receiver on the client's side, which may also be told that the server refused the upgrade."""

    def refused(self, status: int, text: str) -> None:
        """Comes instead of `opened`; `lost` follows. Status 0: the answer was not HTTP."""
        ...


class WebSocketClient(Connection):
    """The client's side of one connection: sends the upgrade request for `url` (`wss://HOST:PORT/PATH`) as soon as its transport is
    there, with `headers` besides the protocol's own, and neither Origin nor extensions. Then it is the receiver's `Link`."""

    __slots__ = ("_client", "_headers", "_in_body")

    def __init__(
        self,
        url: str,
        receiver: ClientReceiver,
        *,
        headers: Sequence[tuple[str, str]] = (),
        limits: Limits | None = None,
    ) -> None:
        limits = limits or Limits()
        super().__init__(limits, ClientProtocol(parse_uri(url), max_size=limits.message, logger=framing), 2)
        self._client = receiver
        self._headers = tuple(headers)
        self._in_body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        super().connection_made(transport)
        wire = self._wire
        if isinstance(wire, ClientProtocol):
            request = wire.connect()
            for name, value in self._headers:
                request.headers[name] = value
            wire.send_request(request)
            self._flush()
        self._timer = asyncio.get_running_loop().call_later(self._limits.handshake, self._cut, "it does not answer")

    def data_received(self, data: bytes) -> None:
        """Octets of the answer, then of the open connection."""
        if self._receiver is not None:
            super().data_received(data)
        elif not self._closing:
            self._answer(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone; when TLS says why, that is the fault."""
        if exc is not None:
            self._fault = self._fault or str(exc)
        if self._receiver is None:
            if self._in_body and not self._closing:
                self._wire.receive_eof()  # the end of a refusal that does not say its length
                self._look()
            self._receiver = self._client
        super().connection_lost(exc)

    def ping(self) -> None:
        """Send a ping; the pong reaches the receiver as `trifled`."""
        if not self._closing and self._wire.state is OPEN:
            self._wire.send_ping(b"")
            self._flush()

    def _answer(self, data: bytes) -> None:
        if self._in_body:
            self._wire.receive_data(data)
            self._look()
            return
        self._backlog += data
        end = self._backlog.find(END_OF_HEAD)
        if end < 0:
            if len(self._backlog) > self._limits.head:
                self._cut("the head of its answer is too long")
            return
        head, rest = self._backlog[: end + len(END_OF_HEAD)], self._backlog[end + len(END_OF_HEAD) :]
        self._backlog, self._in_body = b"", True
        self._wire.receive_data(head)
        self._look()
        if rest and not self._closing:
            self.data_received(rest)

    def _look(self) -> None:
        """The answer may be complete now."""
        wire = self._wire
        answer = next(iter(wire.events_received()), None)
        if wire.state is OPEN:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            wire.parser.close()
            self._wire = Protocol(Side.CLIENT, max_size=self._limits.message, logger=framing)
            self._receiver = self._client
            self._client.opened(self)
        elif isinstance(answer, Answer) and answer.status_code != 101:
            self._client.refused(answer.status_code, bytes(answer.body).decode(errors="replace"))
            self._finish()
        elif wire.handshake_exc is not None:
            why = wire.handshake_exc.__cause__ or wire.handshake_exc
            self._client.refused(0, str(why))
            self._finish()
