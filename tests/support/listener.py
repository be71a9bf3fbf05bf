"""A listener under test, and blocking clients of it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from edgeward.model.failure import HandshakeFailure
from edgeward.transports import contexts, tls_server
from edgeward.transports.limits import TlsLimits
from tests.support.tls import CA, LOOPS, SERVER, client_context, dial

every_loop = pytest.mark.parametrize("loop", sorted(LOOPS))


class Echo(asyncio.Protocol):
    """Sends back what it gets, and remembers what happened."""

    all: list["Echo"]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.certificate = transport.get_extra_info("peer_certificate")
        self.received = b""
        self.lost: list[Exception | None] = []
        self.ends = 0
        self.pauses: list[str] = []

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.transport.write(data)

    def eof_received(self) -> None:
        self.ends += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)

    def pause_writing(self) -> None:
        self.pauses.append("pause")

    def resume_writing(self) -> None:
        self.pauses.append("resume")


class Served:
    """A listener under test."""

    def __init__(
        self, port: int, listener: tls_server.Listener, failures: list[HandshakeFailure], above: list[Echo]
    ) -> None:
        self.port = port
        self.listener = listener
        self.failures = failures
        self.above = above

    @property
    def failure(self) -> HandshakeFailure:
        (only,) = self.failures
        return only


@asynccontextmanager
async def serve(
    *,
    hub: bool = False,
    limits: TlsLimits | None = None,
    context: Callable[[], ssl.SSLContext] | None = None,
    inner: type[Echo] = Echo,
) -> AsyncIterator[Served]:
    build = contexts.hub_context if hub else contexts.enrolment_context
    built = build(certificate=SERVER.pem, key=SERVER.key, anchors=[CA.der])
    failures: list[HandshakeFailure] = []
    above: list[Echo] = []

    def protocol() -> Echo:
        above.append(inner())
        return above[-1]

    listener = tls_server.Listener(
        context=context or (lambda: built), inner=protocol, refused=failures.append, mutual=hub, limits=limits
    )
    problems: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    server = await asyncio.get_running_loop().create_server(listener, "127.0.0.1", 0)
    try:
        yield Served(server.sockets[0].getsockname()[1], listener, failures, above)
    finally:
        server.close()
        await asyncio.sleep(0)
        assert not problems, problems
        assert listener.handshakes == 0 or limits is not None


def exchange(port: int, context: ssl.SSLContext, sent: bytes = b"hello") -> tuple[bytes, str | None]:
    """Send, read as much back, close cleanly; what came and the TLS version."""
    with dial(port, context) as connection:
        connection.sendall(sent)
        received = b""
        while len(received) < len(sent):
            piece = connection.recv(65536)
            if not piece:
                break
            received += piece
        version = connection.version()
        if received == sent:
            connection.unwrap()
        return received, version


def client_hello(**settings: object) -> bytes:
    outgoing = ssl.MemoryBIO()
    client = client_context(**settings).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="edge.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()
