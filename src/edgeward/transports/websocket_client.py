"""The client's side of a WebSocket connection: asks for the upgrade, then is a connection like the server's."""

import asyncio
from collections.abc import Sequence
from typing import Protocol as Interface

from websockets.client import ClientProtocol
from websockets.http11 import Response as Answer
from websockets.protocol import OPEN, Side
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

    __slots__ = ("_answering", "_client", "_handshake", "_headers", "server")

    def __init__(
        self,
        url: str,
        receiver: ClientReceiver,
        *,
        headers: Sequence[tuple[str, str]] = (),
        limits: Limits | None = None,
    ) -> None:
        super().__init__(limits or Limits(), Side.CLIENT)
        self.server = ""
        self._client = receiver
        self._headers = tuple(headers)
        self._handshake: ClientProtocol | None = ClientProtocol(parse_uri(url), logger=framing)
        self._answering = False  # the head of its answer is complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        super().connection_made(transport)
        if self._handshake is not None and self._transport is not None:
            request = self._handshake.connect()
            for name, value in self._headers:
                request.headers[name] = value
            self._transport.write(request.serialize())
        self._timer = asyncio.get_running_loop().call_later(self._limits.handshake, self._cut, "it does not answer")

    def _upgrading(self, data: bytes) -> None:
        if self._handshake is not None:
            self._answer(data, self._handshake)

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone; when TLS says why, that is the fault."""
        if exc is not None:
            self._fault = self._fault or str(exc)
        if self._receiver is None:
            if self._answering and not self._closing and self._handshake is not None:
                self._handshake.receive_eof()  # the end of a refusal that does not say its length
                self._look(self._handshake)
            self._receiver = self._client
        super().connection_lost(exc)

    def ping(self) -> None:
        """Send a ping; the pong reaches the receiver as `trifled`."""
        wire = self._framing()
        if wire is not None:
            wire.send_ping(b"")
            self._flush(wire)

    def _answer(self, data: bytes, handshake: ClientProtocol) -> None:
        if self._answering:
            handshake.receive_data(data)
            self._look(handshake)
            return
        self._backlog += data
        end = self._backlog.find(END_OF_HEAD)
        if end < 0:
            if len(self._backlog) > self._limits.head:
                self._cut("the head of its answer is too long")
            return
        head, rest = self._backlog[: end + len(END_OF_HEAD)], self._backlog[end + len(END_OF_HEAD) :]
        self._backlog, self._answering = b"", True
        handshake.receive_data(head)
        self._look(handshake)
        if rest and not self._closing:
            self.data_received(rest)

    def _look(self, handshake: ClientProtocol) -> None:
        """The answer may be complete now."""
        answer = next(iter(handshake.events_received()), None)
        if handshake.state is OPEN:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._end_handshake(handshake)
            self.server = "" if answer is None else getattr(answer, "headers", {}).get("Server", "")
            self._open(self._client)
        elif isinstance(answer, Answer) and answer.status_code != 101:
            self._end_handshake(handshake)
            self._client.refused(answer.status_code, bytes(answer.body).decode(errors="replace"))
            self._finish()
        elif handshake.handshake_exc is not None:
            self._end_handshake(handshake)
            self._client.refused(0, str(handshake.handshake_exc.__cause__ or handshake.handshake_exc))
            self._finish()

    def _end_handshake(self, handshake: ClientProtocol) -> None:
        handshake.parser.close()
        self._handshake = None
