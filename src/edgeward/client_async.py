"""The client of a running authority for asyncio: what `edgeward.client` has, with the same names, shapes and errors, to be awaited.

    from edgeward.client_async import Client

    authority = Client(data="/var/lib/edgeward")          # or Client(server="https://HOST:10010", operator="DIR")
    sent = await authority.send("edge-1", operation="update", resource="default/configmap/settings", content={"interval": 30}, wait=10)
    async for event in authority.subscribe(types=["message"], node="edge-*"):
        ...

Each call takes a connection of its own, so calls may run side by side. One that is cancelled closes its connection: a message that was to
be sent may have been queued all the same, and the same `msg_id` with the same content may be sent again.
"""

import asyncio
import functools
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import httptools
import msgspec

from edgeward import client_calls
from edgeward.client_calls import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    MAX_ANSWER,
    MAX_LINE,
    Answered,
    Call,
    Gap,
    Place,
    ServerSent,
)
from edgeward.errors import NotRunning, TooLarge, Unreachable, UsageError
from edgeward.web.shapes import Happened, MessageEvent, PresenceEvent, Receipt, Sent

__all__ = ["Answered", "Client", "Gap", "MessageEvent", "PresenceEvent", "Receipt", "Sent"]

_PIECE = 65536
"""Octets of one read."""

_MAX_HEAD = 65536
"""Octets of a status line and header fields."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _awaited(call: Callable[_P, Call[_T]]) -> "Callable[Concatenate[Client, _P], Awaitable[_T]]":
    """The method that makes a call and gives its answer to whoever awaits it."""

    @functools.wraps(call)
    async def method(client: "Client", /, *arguments: _P.args, **named: _P.kwargs) -> _T:
        return await client.ask(call(*arguments, **named))

    return method


class Client:
    """As `edgeward.client.Client`; its methods are awaited. `timeout`: seconds that the server may be silent; None: any."""

    def __init__(
        self,
        data: Path | str | None = None,
        *,
        server: str | None = None,
        operator: Path | str | None = None,
        timeout: float | None = None,
    ) -> None:
        self._place = Place.of(data, server, operator)
        self._timeout = timeout
        self.address = self._place.address

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is kept open between calls."""

    send = _awaited(client_calls.send)
    receipt = _awaited(client_calls.receipt)
    cancel = _awaited(client_calls.cancel)
    receipts = _awaited(client_calls.receipts)
    queues = _awaited(client_calls.queues)
    nodes = _awaited(client_calls.nodes)
    node = _awaited(client_calls.node)
    timeline = _awaited(client_calls.timeline)
    new_token = _awaited(client_calls.new_token)
    tokens = _awaited(client_calls.tokens)
    revoke_token = _awaited(client_calls.revoke_token)
    revoke = _awaited(client_calls.revoke)

    async def subscribe(
        self, types: Sequence[str] = (), *, after: str = "", again: bool = True, **patterns: str
    ) -> AsyncGenerator[Happened | Gap, None]:
        """As the blocking client's. Its connection is closed when the loop over it ends or is cancelled."""
        path = client_calls.events(types, patterns)
        pause = FIRST_PAUSE
        while True:
            try:
                async with aclosing(self._server_sent(path, after)) as events:
                    async for identity, event in events:
                        after, pause = identity or after, FIRST_PAUSE
                        yield event
            except (Unreachable, NotRunning):
                if not again:
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def ask(self, call: Call[_T]) -> _T:
        """Make a call of `edgeward.client_calls`."""
        return call.answer(await self._octets(call.method, call.path, call.body), self.address)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call by its path; the decoded JSON of its answer."""
        text = await self._octets(method, path, body)
        return client_calls.understood(text, Any, self.address) if text else None

    # ------------------------------------------------------------------------------------------------------- the wire

    async def _octets(self, method: str, path: str, body: Any) -> bytes:
        async with self._request(method, path, body) as answer:
            return await answer.whole()

    async def _server_sent(self, path: str, after: str) -> AsyncGenerator[tuple[str, Happened | Gap], None]:
        events = ServerSent(self.address)
        async with self._request("GET", path, None, client_calls.resuming(after)) as answer:
            async for line in answer.lines():
                event = events.feed(line)
                if event is not None:
                    yield event
        raise client_calls.stopped(self.address)

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, body: Any, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator["_Answer"]:
        """The answer to a request, once its head has come; a refusal is raised."""
        if not path.isascii() or not path.isprintable() or " " in path:
            raise UsageError(problem=f"{path!r} is no path of a request")
        reader, writer = await self._connection()
        try:
            encoded = b"" if body is None else msgspec.json.encode(body)
            lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host()}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
            if encoded:
                lines += ["Content-Type: application/json", f"Content-Length: {len(encoded)}"]
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + encoded)
            answer = _Answer(reader, self.address, self._timeout)
            await answer.head()
            if answer.status >= 400:
                raise client_calls.refusal(answer.status, await answer.whole(), self.address)
            yield answer
        finally:
            writer.transport.abort()

    def _host(self) -> str:
        host = self._place.host or "localhost"
        return f"[{host}]:{self._place.port}" if ":" in host else f"{host}:{self._place.port}"

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        place = self._place
        try:
            async with asyncio.timeout(self._timeout):
                if place.context is None:
                    return await asyncio.open_unix_connection(str(place.socket))
                return await asyncio.open_connection(place.host, place.port, ssl=place.context)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if place.context is None:
                raise NotRunning(path=place.data) from error
            raise client_calls.unreachable(error, self.address) from error
        except OSError as error:
            raise client_calls.unreachable(error, self.address) from error


class _Answer:
    """An answer as it comes. The methods `on_…` are for the parser."""

    def __init__(self, reader: asyncio.StreamReader, address: str, timeout: float | None) -> None:
        self._reader = reader
        self._address = address
        self._timeout = timeout
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._headed = self._ended = self._bounded = False
        self.status = 0

    async def head(self) -> None:
        """Read until the header fields have come."""
        seen = 0
        while not self._headed:
            seen += await self._more()
            if seen > _MAX_HEAD + _PIECE:
                raise Unreachable(address=self._address, why="the head of its answer has no end")

    async def whole(self) -> bytes:
        """The body. Raises `TooLarge`, or `Unreachable` when it is cut off."""
        body = b"".join(self._pieces)
        pieces, size = [body], len(body)
        self._pieces.clear()
        while not self._ended and size <= MAX_ANSWER:
            if not await self._more():
                if self._bounded:
                    raise client_calls.cut_off(self._address)
                break
            pieces += self._pieces
            size += sum(map(len, self._pieces))
            self._pieces.clear()
        if size > MAX_ANSWER:
            raise TooLarge(what=f"the answer of {self._address}", limit=MAX_ANSWER)
        return b"".join(pieces)

    async def lines(self) -> AsyncIterator[bytes]:
        """The lines of the body with their ends, as they come."""
        rest = bytearray()
        while True:
            for piece in self._pieces:
                rest += piece
                if b"\n" in piece:
                    *whole, last = bytes(rest).split(b"\n")
                    for line in whole:
                        yield line + b"\n"
                    rest = bytearray(last)
                elif len(rest) > MAX_LINE:
                    raise TooLarge(what=f"an event of {self._address}", limit=MAX_LINE)
            self._pieces.clear()
            if self._ended or not await self._more():
                return

    async def _more(self) -> int:
        """Read a piece; how many octets it had. 0 at the end."""
        try:
            async with asyncio.timeout(self._timeout):
                octets = await self._reader.read(_PIECE)
            if octets:
                self._parser.feed_data(octets)
        except (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if isinstance(error, ssl.SSLError) or not self._headed:
                raise client_calls.unreachable(error, self._address) from error
            raise client_calls.cut_off(self._address, error) from error
        if not octets and not self._headed:
            raise client_calls.cut_off(self._address)
        return len(octets)

    def on_header(self, name: bytes, _value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._bounded = True

    def on_headers_complete(self) -> None:
        self._headed, self.status = True, self._parser.get_status_code()

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        self._ended = True
