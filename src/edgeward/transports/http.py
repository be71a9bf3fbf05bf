"""HTTP/1.1 over any stream transport: a request is read whole within limits, given to a protocol, and answered in its turn.

The framing is llhttp's (RFC 9112); what may be asked, how much of it and how slowly is decided here:

- one connection has one request in hand; pipelined ones wait in order, and no more than a limit of them;
- a message whose length can be read in two ways is refused and the connection closed (RFC 9112 section 6.3): no request is smuggled;
- whatever is refused before it is read whole gets its answer at once and ends the connection;
- a failure that is not ours is logged under a number, and the answer says nothing but that number.
"""

import asyncio
import logging
import math
import secrets
from collections.abc import AsyncIterator, Callable, Collection
from datetime import datetime
from hashlib import sha256
from typing import NoReturn

import httptools
from msgspec.structs import replace

from edgeward.errors import printable
from edgeward.model.address import network_of
from edgeward.model.http import Request, Respond, Response, text
from edgeward.transports import heads
from edgeward.transports.heads import Turn
from edgeward.transports.limits import (
    LARGE,
    Admit,
    HttpLimits,
    RateLimit,
    TurnedAway,
    WaitingRoom,
    unheard,
)
from edgeward.transports.tls import Connection as TlsConnection

log = logging.getLogger(__name__)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_IDLE, _HEAD, _BODY, _DEAF = range(4)
"""Between requests; in the request line or the headers; in the body; reading no more."""

_NEVER = math.inf
_ONE_PIECE = 16_384
"""Octets of an answer that goes out together with the end of its connection: one TLS record."""

_LEAVING = 256
"""Connections beyond the limit that are on their way out, or have a request in hand and leave after it."""

_LINGER_SECONDS = 2.0
"""For a peer on a plain socket to close its side after ours."""


class _RefusedError(Exception):
    """Raised through the parser to stop it: the turn has been queued."""


class Http:
    """An HTTP server without its socket: calling it gives the `asyncio.Protocol` of one connection.

    Use it as `Listener(inner=Http(…))` for TLS or give it to `loop.create_unix_server` itself. `respond` answers requests; the errors of
    the project are its own to render. `now` gives aware UTC times. `rate` limits the requests of an address; None for a socket of ours.
    `turned_away` hears of requests that were refused before `respond` was asked. `admit` is asked once on a connection that has sent the
    first `LARGE` octets of a body, and nothing more is read until it has answered.
    """

    def __init__(
        self,
        respond: Respond,
        *,
        now: Callable[[], datetime],
        limits: HttpLimits | None = None,
        rate: RateLimit | None = None,
        turned_away: TurnedAway = unheard,
        admit: Admit | None = None,
    ) -> None:
        self.respond = respond
        self.admit = admit
        self.turned_away = turned_away
        self.now = now
        self.limits = limits or HttpLimits()
        self.rate = rate
        self.open: set[HttpConnection] = set()
        self.kept: WaitingRoom[HttpConnection] = WaitingRoom(
            self.limits.connections, self.limits.connections_per_address
        )
        self.silent: WaitingRoom[HttpConnection] = WaitingRoom(self.limits.silent, self.limits.silent_per_address)
        self.tick = min(
            self.limits.head_seconds, self.limits.body_seconds, self.limits.idle_seconds, self.limits.write_seconds
        )
        self.tick /= 4
        self.closing = False
        self._look: asyncio.TimerHandle | None = None
        self._in_hand = 0
        self.heads = heads.Heads()

    def __call__(self) -> "HttpConnection":
        return HttpConnection(self)

    def look_after(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at the deadlines of all connections every now and then, for as long as there are any."""
        if self._look is None:
            self._look = loop.call_later(self.tick, self._check_deadlines, loop)

    def _check_deadlines(self, loop: asyncio.AbstractEventLoop) -> None:
        self._look = None
        now = loop.time()
        for connection in tuple(self.open):
            connection.check_deadline(now)
        if self.open:
            self.look_after(loop)

    def cut_peers(self, fingerprints: Collection[bytes]) -> None:
        """End the connections that were made with these certificates (SHA-256 of each), streams and all."""
        for connection in tuple(self.open):
            if connection.certificate is not None and sha256(connection.certificate).digest() in fingerprints:
                connection.cut()

    async def close(self, grace_seconds: float) -> None:
        """Take no further request: idle connections close now, busy ones after their answer, whatever is left after `grace_seconds`."""
        self.closing = True
        for connection in tuple(self.open):
            connection.leave()
        deadline = asyncio.get_running_loop().time() + grace_seconds
        while self.open and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        for connection in tuple(self.open):
            connection.cut()

    async def answer(self, request: Request, network: str) -> Response:
        """The answer to one request, whatever happens."""
        if self.rate is not None:
            wait = self.rate.admit(network)
            if wait:
                return text(429, "too many requests from this address\n", ("Retry-After", str(math.ceil(wait))))
        if self._in_hand >= self.limits.requests:
            return text(503, "too busy: too many requests at a time\n", ("Retry-After", "2"))
        self._in_hand += 1
        try:
            response = await self.respond(request)
            heads.check(response)
            return response
        except (
            Exception
        ):  # the outermost shell of a request: whatever it is must not take the connection's task with it
            reference = secrets.token_hex(4)
            where = printable(request.path)
            log.exception("failure %s: %s %s from %s", reference, request.method, where, request.address)
            return text(500, f"internal error {reference}: the server's log says more under this number\n")
        finally:
            self._in_hand -= 1


class HttpConnection(asyncio.Protocol):
    """One connection. The methods that begin with `on_` are the parser's."""

    __slots__ = (
        "_address",
        "_admission",
        "_body",
        "_carried",
        "_deadline",
        "_fields",
        "_half_closed",
        "_headers",
        "_http",
        "_leaving",
        "_loop",
        "_modern",
        "_network",
        "_octets",
        "_parser",
        "_phase",
        "_room",
        "_served",
        "_streaming",
        "_task",
        "_timer",
        "_transport",
        "_turns",
        "_url",
        "certificate",
    )

    def __init__(self, http: Http) -> None:
        self._http = http
        self._leaving = False
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpRequestParser | None = None
        self._phase = _IDLE
        self._octets = 0
        """In the pieces since the one that ended the last request."""
        self._carried = 0
        """In those before; the last of them may hold the beginning of this request."""
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._headers: dict[str, tuple[str, ...]] = {}
        self._modern = True
        self._body: bytes | bytearray = b""
        self._turns: list[Turn] = []
        self._task: asyncio.Task[None] | None = None
        self._admission: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._served = False
        self._half_closed = False
        self._streaming = False
        self._deadline = _NEVER
        self._timer: asyncio.TimerHandle | None = None

    # --------------------------------------------------------------------------------------------------------- the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A stream stands, with whatever TLS there is behind it."""
        self._transport = transport  # type: ignore[assignment]  # a stream protocol gets a full transport
        self._loop = asyncio.get_running_loop()
        if isinstance(transport, TlsConnection):
            self._address = transport.address
        else:
            peer = transport.get_extra_info("peername")
            self._address = peer[0] if isinstance(peer, tuple) else ""
        self._network = network_of(self._address)
        self.certificate: bytes | None = transport.get_extra_info("peer_certificate")
        http = self._http
        http.open.add(self)
        oldest = http.kept.enter(self, self._network) if self._address else None
        if oldest is not None:
            oldest.leave()
        if len(http.open) > http.limits.connections + _LEAVING or http.closing:
            self._refuse(503, "too busy: too many connections", ("Retry-After", "5"))
            return
        self._parser = httptools.HttpRequestParser(self)
        self._expect(http.limits.head_seconds)
        http.look_after(self._loop)
        if self._address:
            out = http.silent.enter(self, self._network)
            if out is not None:
                out.cut()

    def data_received(self, data: bytes) -> None:
        """Octets of requests."""
        if self._phase == _DEAF or self._parser is None:
            return
        self._octets += len(data)
        before = self._phase
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._phase = _DEAF  # the request is answered like any other, and closes; what follows it is not HTTP
            return
        except httptools.HttpParserError as error:
            self._unreadable(error)
            return
        limits = self._http.limits
        if self._phase == _HEAD:
            if self._octets > limits.head_octets:
                self._refuse(431, f"the headers are larger than {limits.head_octets} bytes")
            elif before != _HEAD:
                self._expect(limits.head_seconds)
        elif self._phase == _BODY:
            # chunks of one octet each are six on the wire; more than that is padding
            if self._octets > limits.head_octets + 8 * limits.body_octets:
                self._refuse(413, f"the body is larger than {limits.body_octets} bytes")
            elif before != _BODY:
                self._expect(limits.body_seconds)
        elif self._phase == _IDLE and self._octets > limits.head_octets:
            self._refuse(400, "bad request: nothing but empty lines")

    def eof_received(self) -> bool:
        """The peer sends no more; what it asked is still answered, but a stream has lost its reader."""
        self._phase = _DEAF
        self._half_closed = True
        if self._streaming and self._task is not None:
            self._task.cancel()
        return self._task is not None

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is gone. A request in hand is finished, because what it changes may be half done; nobody hears its answer."""
        self._transport = None
        self._parser = None  # it holds this connection's methods
        self._phase = _DEAF
        self._turns.clear()
        self._http.open.discard(self)
        self._http.kept.leave(self)
        if not self._served:
            self._http.silent.leave(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.resume_writing()
        if self._streaming and self._task is not None:
            self._task.cancel()

    @property
    def silent(self) -> bool:
        """Whether not one octet of a request ever came."""
        return not self._served and not self._octets

    def pause_writing(self) -> None:
        """The peer reads more slowly than it is answered."""
        if self._room is None:
            self._room = self._loop.create_future()
            self._expect(self._http.limits.write_seconds)

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._room is not None:
            if not self._room.done():
                self._room.set_result(None)
            self._room = None
            self._rest()

    # ------------------------------------------------------------------------------------------------------------ deadlines

    def _expect(self, seconds: float) -> None:
        self._deadline = self._loop.time() + seconds

    def _rest(self) -> None:
        """The deadline for what the connection now waits for, when nothing is being answered."""
        limits = self._http.limits
        if self._task is not None:
            self._deadline = _NEVER
        elif self._phase == _HEAD:
            self._expect(limits.head_seconds)
        elif self._phase == _BODY:
            self._expect(limits.body_seconds)
        else:
            self._expect(limits.idle_seconds)

    def check_deadline(self, now: float) -> None:
        """See whether what is waited for is late, `now` on the loop's clock."""
        if now < self._deadline or self._timer is not None:
            return
        if self._room is not None:
            self.cut()
        elif self._phase in (_HEAD, _BODY):
            self._timer = self._loop.call_later(
                self._http.limits.write_seconds, self.cut
            )  # should the answer not go out
            self._refuse(408, "the request did not arrive in time")
        elif self._transport is not None:
            self._deadline = _NEVER
            self._transport.close()

    def leave(self) -> None:
        """Close as soon as nothing is in hand."""
        self._leaving = True
        if self._task is None and self._transport is not None:
            self._phase = _DEAF
            self._transport.close()

    def cut(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    # ----------------------------------------------------------------------------------------------------------- the parser

    def on_message_begin(self) -> None:
        """The first octet of a request."""
        if self._phase == _DEAF:
            raise _RefusedError
        self._phase = _HEAD
        self._url = b""
        self._fields.clear()
        self._body = b""

    def on_url(self, url: bytes) -> None:
        """The target, or a piece of it."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field, whole."""
        if self._phase == _HEAD:  # a trailer is not needed here, and may be discarded (RFC 9110 section 6.5.1)
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole: refuse here what need not be read further."""
        assert self._parser is not None  # noqa: S101  # it is the parser that calls
        limits = self._http.limits
        fields = self._fields
        crowded = self._carried + self._octets > limits.head_octets and self._head_octets() > limits.head_octets
        if crowded or len(fields) > limits.headers:
            self._stop(431, f"the headers are larger than {limits.head_octets} bytes or more than {limits.headers}")
        self._headers = headers = heads.fields(fields)
        fields.clear()
        version = self._parser.get_http_version()
        self._modern = version == "1.1"
        if not self._modern and version != "1.0":
            self._stop(505, "this server speaks HTTP/1.1")
        hosts = headers.get("host", ())
        if len(hosts) > 1 or (not hosts and self._modern):
            self._stop(400, "bad request: exactly one Host header is needed")
        self._check_length(headers.get("content-length"), headers.get("transfer-encoding"))
        if "expect" in headers:
            self._expectation(headers["expect"])
        self._phase = _BODY

    def _head_octets(self) -> int:
        return len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._fields)

    def _check_length(self, length: tuple[str, ...] | None, coding: tuple[str, ...] | None) -> None:
        """Refuse a body whose length can be read in two ways, is not a number, or is too large."""
        limit = self._http.limits.body_octets
        if coding is not None:
            if length is not None or not self._modern:
                self._stop(400, "bad request: the length of the body is ambiguous")
            if len(coding) != 1 or coding[0].lower() != "chunked":
                self._stop(501, "the only transfer coding here is chunked")
        elif length is not None:
            octets = length[0]
            if len(length) != 1 or not octets.isdecimal() or not octets.isascii():
                self._stop(400, "bad request: the length of the body is ambiguous")
            if len(octets) > 18 or int(octets) > limit:
                self._stop(413, f"the body is larger than {limit} bytes")

    def _expectation(self, wishes: tuple[str, ...]) -> None:
        """Expect: 100-continue (RFC 9110 section 10.1.1). Behind other requests the peer waits in vain and then sends anyway."""
        if len(wishes) != 1 or wishes[0].lower() != "100-continue":
            self._stop(417, "the only expectation met here is 100-continue")
        if self._modern and self._task is None and self._transport is not None:
            self._transport.write(_CONTINUE)

    def on_body(self, piece: bytes) -> None:
        """A piece of the body."""
        if not self._body:
            self._body = piece
        elif isinstance(self._body, bytearray):
            self._body += piece
        else:
            self._body = bytearray(self._body + piece)
        if len(self._body) > self._http.limits.body_octets:
            self._stop(413, f"the body is larger than {self._http.limits.body_octets} bytes")
        if len(self._body) > LARGE and self._admission is None and self._http.admit and self._transport:
            self._transport.pause_reading()
            self._admission = self._loop.create_task(self._ask(self._http.admit, self._transport))

    async def _ask(self, admit: Admit, transport: asyncio.Transport) -> None:
        """Read on, or answer that this peer sends nothing large."""
        refusal = await admit(self.certificate)
        if self._transport is None:
            return
        if refusal is not None and self._phase != _DEAF:
            self._phase = _DEAF
            self._queue(Turn(asked=refusal, at=self._http.now()))
        transport.resume_reading()

    def on_message_complete(self) -> None:
        """A request is whole."""
        parser = self._parser
        if parser is None or self._phase == _DEAF:
            return
        http = self._http
        method = parser.get_method().decode("ascii")
        last = not parser.should_keep_alive()
        url = self._url
        keep = not (last or parser.should_upgrade() or http.closing or len(self._turns) >= http.limits.pipeline)
        request = Request(
            method=method,
            target=url.decode("latin-1") if url[:1] == b"/" else self._target(url, method),
            headers=self._headers,
            body=bytes(self._body),
            address=self._address,
            at=http.now(),
            peer_certificate=self.certificate,
        )
        self._phase = _IDLE if keep else _DEAF
        self._carried = self._octets or self._carried  # several may end in one piece
        self._octets = 0
        if not self._served:
            self._served = True
            http.silent.leave(self)
        self._queue(Turn(asked=request, at=request.at, keep=keep, method=method, chunks=self._modern, last=last))

    def _target(self, url: bytes, method: str) -> str:
        """The target in origin form; a proxy may send the absolute one (RFC 9112 section 3.2.2)."""
        if url == b"*" or method == "CONNECT":
            return url.decode("latin-1")
        try:
            parsed = httptools.parse_url(url)
        except httptools.HttpParserInvalidURLError:
            self._stop(400, "bad request: the target is not a path")
        target = parsed.path or b"/"
        if parsed.query:
            target += b"?" + parsed.query
        return bytes(target).decode("latin-1")

    # -------------------------------------------------------------------------------------------------------------- answers

    def _unreadable(self, error: httptools.HttpParserError) -> None:
        if self._phase == _DEAF:  # it is answered already
            return
        if isinstance(error, httptools.HttpParserCallbackError):
            log.error("failure while reading a request", exc_info=error)
            self._refuse(500, "internal error: the server's log says more")
        else:
            self._refuse(400, f"bad request: {str(error).lower()}")

    def _stop(self, status: int, sentence: str) -> NoReturn:
        self._refuse(status, sentence)
        raise _RefusedError

    def _refuse(self, status: int, sentence: str, *headers: tuple[str, str]) -> None:
        """Answer what was not read whole, in its turn, and read no more."""
        self._phase = _DEAF
        self._http.turned_away(self._address, status, sentence)
        self._queue(Turn(asked=text(status, sentence + "\n", *headers), at=self._http.now()))

    def _queue(self, turn: Turn) -> None:
        self._turns.append(turn)
        if self._task is None:
            self._deadline = _NEVER
            self._task = self._loop.create_task(self._answer_all())

    async def _answer_all(self) -> None:
        """Answer the turns in order until none is left."""
        keep = True
        try:
            while self._turns and keep:
                turn = self._turns.pop(0)
                keep, asked = turn.keep, turn.asked
                response = await self._http.answer(asked, self._network) if isinstance(asked, Request) else asked
                if response.stream is None:
                    self._send(response, turn)
                else:
                    keep = keep and turn.chunks  # else its end is the end of the connection
                    await self._send_stream(response, response.stream, replace(turn, keep=keep))
                if self._room is not None:
                    await self._room
        finally:
            self._task = None
            if self._transport is not None:
                if keep and self._phase != _DEAF and not (self._leaving or self._http.closing):
                    self._rest()
                elif not self._transport.is_closing():
                    self._hang_up(self._transport)

    def _hang_up(self, transport: asyncio.Transport) -> None:
        """Close so that the answer arrives: octets that come after the close of a socket would destroy it at the peer. Over TLS the
        transport sees to that itself."""
        heard_the_end = self._half_closed
        self._phase = _DEAF
        if heard_the_end or not transport.can_write_eof():
            transport.close()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(_LINGER_SECONDS, transport.abort)
        try:
            transport.write_eof()
        except OSError:  # the peer has reset the connection, and the loop has not read that yet
            transport.abort()

    def _send(self, response: Response, turn: Turn) -> None:
        transport = self._transport
        if transport is None:
            return
        octets = self._http.heads.head(response, turn)
        if turn.method != "HEAD" and response.status not in heads.BODILESS:
            octets += response.body
        if turn.last and len(octets) <= _ONE_PIECE and isinstance(transport, TlsConnection):
            transport.finish(octets)
        else:
            transport.write(octets)

    async def _send_stream(self, response: Response, stream: AsyncIterator[bytes], turn: Turn) -> None:
        """Send the pieces as they come; the iterator is closed when the peer goes."""
        self._streaming = True
        try:
            if self._transport is not None:
                self._transport.write(self._http.heads.head(response, turn))
            if self._transport is None or turn.method == "HEAD":
                return
            async for piece in stream:
                if self._room is not None:
                    await self._room
                if self._transport is None:
                    return
                if piece:
                    self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if turn.chunks else piece)
            if self._transport is not None and turn.chunks:
                self._transport.write(b"0\r\n\r\n")
        except Exception:  # the outermost shell of a stream: half of it is sent, so the peer learns of it by the cut
            log.exception("a stream to %s broke off", self._address)
            self.cut()
        finally:
            self._streaming = False
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
