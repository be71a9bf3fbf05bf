"""One HTTPS request on one connection: the server proved, the answer read whole, time and size bounded.

No redirect is followed, no proxy is taken from the environment, no connection is kept. The server is verified after the handshake and
before a byte of HTTP is sent.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import httptools

from edgeward.agent.endpoint import Endpoint
from edgeward.errors import BadRequest, EdgewardError, HandshakeFailed, TooLarge, Unreachable
from edgeward.transports import dial
from edgeward.transports.limits import TlsLimits

MAX_BODY = 64 * 1024
"""Octets of an answer: a CA or a leaf certificate has under 20 KiB, even with post-quantum keys."""

_MAX_FRAMING = 16 * 1024
"""Octets of an answer besides its body: status line, header fields, chunk sizes."""

TIMEOUT = 30.0
"""Seconds for a whole exchange, as a real edge gives it."""

Verify = Callable[[ssl.SSLObject], None]
"""Looks at a finished handshake and raises when the server is not trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    body: bytes


async def get(
    endpoint: Endpoint,
    path: str,
    *,
    context: ssl.SSLContext,
    verify: Verify | None,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    timeout: float = TIMEOUT,
) -> Answer:
    """The answer to `GET path` with `body`. `verify` None trusts anybody: only for what is pinned otherwise.

    Raises `Unreachable`, `HandshakeFailed`, `BadRequest` (the answer is not HTTP), `TooLarge`, or what `verify` raises.
    """
    lines = [f"GET {path} HTTP/1.1", f"Host: {endpoint}", "User-Agent: edgeward", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    request = "\r\n".join([*lines, "", ""]).encode("ascii") + body
    exchange = _Exchange(endpoint, request)
    try:
        async with asyncio.timeout(timeout):
            connection, _ = await dial.connect(
                endpoint.host,
                endpoint.port,
                context=context,
                inner=lambda: exchange,
                verify_server=verify,
                limits=TlsLimits(handshake_seconds=timeout),
            )
            try:
                return await exchange.answer
            finally:
                connection.abort()
    except TimeoutError as error:
        raise Unreachable(address=endpoint, why=f"no complete answer within {timeout:g} seconds") from error


class _Exchange(asyncio.Protocol):
    """Sends a request and collects the answer; `answer` is its future. The methods `on_…` are for the parser."""

    def __init__(self, endpoint: Endpoint, request: bytes) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._endpoint = endpoint
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._received = 0
        self._until_close = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined]  # a stream protocol is given a stream

    def data_received(self, data: bytes) -> None:
        if self.answer.done():
            return
        self._received += len(data)
        if self._received > MAX_BODY + _MAX_FRAMING:
            self._fail(TooLarge(what="the server's answer", limit=MAX_BODY))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(BadRequest(why=f"{self._endpoint} does not answer in HTTP"))

    def eof_received(self) -> bool:
        """The server has closed: its answer is complete only if it announced no length."""
        if self._pieces and self._until_close:
            self.on_message_complete()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, HandshakeFailed):  # TLS 1.3 tells only now that it refuses the client certificate
            self._fail(HandshakeFailed(address=self._endpoint, why=exc.facts["why"]))
        elif isinstance(exc, EdgewardError):
            self._fail(exc)
        self._fail(Unreachable(address=self._endpoint, why="it closed the connection without a complete answer"))

    def _fail(self, error: EdgewardError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def on_header(self, name: bytes, _value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._until_close = False

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        if not self.answer.done():
            self.answer.set_result(Answer(status=self._parser.get_status_code(), body=b"".join(self._pieces)))
