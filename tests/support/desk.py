"""An HTTP server under test, that answers what tests ask of it."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from edgeward.model.http import Request, Response, text
from edgeward.transports import contexts, tls_server
from edgeward.transports.http import Http, HttpLimits
from edgeward.transports.limits import Admit, RateLimit
from tests.support.tls import CA, SERVER, until

HOST = b"Host: x\r\n"


class Desk:
    """Answers requests for the tests, and remembers them."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.gate = asyncio.Event()
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.streams_closed = 0

    async def respond(self, request: Request) -> Response:
        self.requests.append(request)
        match request.path:
            case "/wait":
                await self.gate.wait()
            case "/fail":
                raise KeyError("the reason, which nobody outside may read")
            case "/stream":
                return Response(status=200, content_type="application/jsonl", stream=self.stream())
            case "/split":
                return Response(status=200, headers=(("X", "a\r\nSet-Cookie: b"),))
            case "/none":
                return Response(status=204)
            case "/large":
                return Response(status=200, body=b"y" * 20_000_000)
        return text(200, f"{request.method} {request.target} {len(request.body)}")

    async def stream(self) -> AsyncIterator[bytes]:
        try:
            while piece := await self.pieces.get():
                if piece == b"fail":
                    raise RuntimeError
                yield piece
        finally:
            self.streams_closed += 1


class Served:
    def __init__(self, port: int, desk: Desk, http: Http) -> None:
        self.port = port
        self.desk = desk
        self.http = http

    async def ask(self, *pieces: bytes, until_closed: bool = False) -> bytes:
        """Send the pieces one after the other and read until the server closes, or the peer after the last answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        if not until_closed:
            with contextlib.suppress(RuntimeError):  # uvloop: closed already
                writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.transport.abort()


@asynccontextmanager
async def serve(
    limits: HttpLimits | None = None, rate: RateLimit | None = None, admit: Admit | None = None
) -> AsyncIterator[Served]:
    desk = Desk()
    http = Http(desk.respond, now=lambda: datetime.now(UTC), limits=limits, rate=rate, admit=admit)
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    server = await asyncio.get_running_loop().create_server(http, "127.0.0.1", 0)
    try:
        yield Served(server.sockets[0].getsockname()[1], desk, http)
    finally:
        server.close()
        desk.gate.set()
        await http.close(1)
        await until(lambda: not http.open)
        assert not problems, problems


def statuses(answer: bytes) -> list[int]:
    return [int(s) for s in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


@asynccontextmanager
async def serve_tls() -> AsyncIterator[Served]:
    desk = Desk()
    http = Http(desk.respond, now=lambda: datetime.now(UTC))
    context = contexts.enrolment_context(certificate=SERVER.pem, key=SERVER.key, anchors=[CA.der])
    listener = tls_server.Listener(context=lambda: context, inner=http, refused=lambda _: None)
    server = await asyncio.get_running_loop().create_server(listener, "127.0.0.1", 0)
    try:
        yield Served(server.sockets[0].getsockname()[1], desk, http)
    finally:
        server.close()
        await http.close(5)
        assert not http.open
