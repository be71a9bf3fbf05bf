"""The dialling end of a TLS connection: TCP, the handshake, the caller's own check of the server, then the protocol above."""

import asyncio
import ssl
from collections.abc import Callable

from edgeward.errors import HandshakeFailed, Unreachable
from edgeward.model.address import joined
from edgeward.model.failure import HandshakeFailure
from edgeward.transports.limits import TlsLimits
from edgeward.transports.reasons import explain_connecting
from edgeward.transports.tls import Connection, Side


class _Dial(Side):
    """One attempt to connect."""

    server = False

    def __init__(
        self,
        context: ssl.SSLContext,
        inner: Callable[[], asyncio.Protocol],
        server_hostname: str,
        verify_server: Callable[[ssl.SSLObject], None] | None,
        address: str,
        limits: TlsLimits,
    ) -> None:
        super().__init__(limits)
        self._address = address
        self._context = context
        self._inner = inner
        self._server_hostname = server_hostname
        self._verify_server = verify_server
        self.done: asyncio.Future[asyncio.Protocol] = asyncio.get_running_loop().create_future()

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, address: str) -> ssl.SSLObject:
        return self._context.wrap_bio(incoming, outgoing, server_hostname=self._server_hostname)

    def inspect(self, tls: ssl.SSLObject) -> str | None:
        if self._verify_server is not None:
            self._verify_server(tls)
        return None

    def above(self, connection: Connection) -> asyncio.Protocol:
        protocol = self._inner()
        if not self.done.done():
            self.done.set_result(protocol)
        return protocol

    def failed(self, failure: HandshakeFailure, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or HandshakeFailed(address=self._address, why=failure.reason))


async def connect(
    host: str,
    port: int,
    *,
    context: ssl.SSLContext,
    inner: Callable[[], asyncio.Protocol],
    server_hostname: str | None = None,
    verify_server: Callable[[ssl.SSLObject], None] | None = None,
    limits: TlsLimits | None = None,
) -> tuple[Connection, asyncio.Protocol]:
    """A TLS connection to `host`:`port` and the protocol that `inner` made for it, its `connection_made` already called.

    `server_hostname`: the name called (SNI) and, if the context checks names, verified; `host` unless given. `verify_server` runs after
    the handshake and before anything else: what it raises closes the connection and is raised here. `limits.handshake_seconds` is
    allowed for the TCP connection and for the handshake each. Raises `Unreachable` (no TCP) and `HandshakeFailed` (with the reason). In
    TLS 1.3 a server judges the client's certificate after this returns: `connection_lost` of the protocol then gets a `HandshakeFailed`.
    """
    limits = limits or TlsLimits()
    address = joined(host, port)
    side = _Dial(context, inner, server_hostname or host, verify_server, address, limits)
    connection: Connection | None = None
    protocol: asyncio.Protocol | None = None
    try:
        async with asyncio.timeout(limits.handshake_seconds):
            _, connection = await asyncio.get_running_loop().create_connection(lambda: Connection(side), host, port)
        protocol = await side.done
        return connection, protocol
    except TimeoutError as error:
        raise Unreachable(address=address, why=f"no answer in {limits.handshake_seconds:g} s") from error
    except OSError as error:
        if connection is not None:
            raise
        raise Unreachable(address=address, why=explain_connecting(error)) from error
    finally:
        side.done.cancel()  # nobody waits for it any more
        if connection is not None and protocol is None:
            connection.abort()
