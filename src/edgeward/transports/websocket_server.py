"""The hub's side of a WebSocket: requests are read and judged, their senders admitted or refused, and the connection opened."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime

from websockets.frames import CloseCode
from websockets.http11 import Response as Answer
from websockets.protocol import Side
from websockets.server import ServerProtocol

from edgeward.errors import printable
from edgeward.model import http
from edgeward.transports import upgrade
from edgeward.transports.limits import Deadlines, TurnedAway, unheard
from edgeward.transports.websocket import END_OF_HEAD, SLICE, Connection, Limits, Receiver, framing

_log = logging.getLogger(__name__)

Admit = Callable[[http.Request], Awaitable[Receiver | http.Response]]


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
        self.requests = Deadlines(self.limits.handshake, ServerConnection.late)
        """Connections whose request has not come whole."""
        self.negotiator = ServerProtocol(logger=framing)
        """Answers well-formed upgrade requests; it keeps nothing of one, so that all connections share it."""

    def __call__(self) -> "ServerConnection":
        return ServerConnection(self)


class ServerConnection(Connection):
    """One connection of a `WebSocketServer`. Give it to any transport; `peer_certificate` of its extra info goes into the request."""

    __slots__ = ("_admission", "_server")

    def __init__(self, server: WebSocketServer) -> None:
        super().__init__(server.limits, Side.SERVER)
        self._server = server
        self._admission: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The time for the request begins."""
        super().connection_made(transport)
        self._server.requests.start(self, asyncio.get_running_loop())

    @property
    def silent(self) -> bool:
        """Whether not one octet of the request ever came."""
        return self._receiver is None and self._admission is None and not self._backlog and not self._closing

    def late(self) -> None:
        """The time for the request is over."""
        self._refuse(http.text(408, f"no request within {self._limits.handshake:g} s\n"))

    def _upgrading(self, data: bytes) -> None:
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
        self._server.requests.stop(self)
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
        if isinstance(answer, http.Response):
            self._refuse(answer)
        elif not self._closing and self._transport is not None:
            self._transport.write(accepted)
            self._open(answer)
        self._admission = None

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
        if self._admission is None:  # nobody was asked
            self._server.turned_away(self.address, response.status_code, text)
        self._transport.write(response.serialize())
        self._finish()

    def _drop(self) -> None:
        self._server.requests.stop(self)
        super()._drop()

    def _account(self) -> None:
        held = self._unread + len(self._fragments or b"")
        self._server.unfinished += held - self._counted
        self._counted = held
        if self._server.unfinished > self._limits.unfinished and held > SLICE and not self._closing:
            self._fail(CloseCode.TRY_AGAIN_LATER, "too many unfinished messages at once")
