"""A TLS server for `loop.create_server`: whose handshake may go on, which context it gets, and who hears of those that fail."""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Callable

from edgeward.model.address import network_of
from edgeward.model.failure import HandshakeFailure
from edgeward.transports.limits import TlsLimits, WaitingRoom
from edgeward.transports.tls import Connection, Side

SUSPECTS = 256
"""Addresses whose certificates are looked at more closely when they come again: those refused last."""


class Listener(Side):
    """A TLS server: give it to `loop.create_server`, which calls it for each connection.

    `context` is asked at each connection, so a new certificate counts from the next one on and drops none. `inner` makes the protocol for
    a finished handshake. `mutual`: a resumed session is refused, because it would carry a client certificate of before. `refused` hears of
    every handshake that failed: many a second under attack, so it must be cheap. It must not raise. `closer` gives the context for a peer
    whose certificate was refused shortly before: one that can say which certificate is shown (`shown.watching`).
    """

    server = True

    def __init__(
        self,
        *,
        context: Callable[[], ssl.SSLContext],
        inner: Callable[[], asyncio.Protocol],
        refused: Callable[[HandshakeFailure], None],
        mutual: bool = False,
        limits: TlsLimits | None = None,
        closer: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        super().__init__(limits)
        self._context = context
        self._closer = closer or context
        self._suspects: OrderedDict[str, None] = OrderedDict()
        self._inner = inner
        self._refused = refused
        self._mutual = mutual
        self._waiting: WaitingRoom[Connection] = WaitingRoom(self.limits.handshakes, self.limits.handshakes_per_address)

    def __call__(self) -> asyncio.Protocol:
        return Connection(self)

    @property
    def handshakes(self) -> int:
        """Connections that have not finished their handshake."""
        return len(self._waiting)

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, address: str) -> ssl.SSLObject:
        context = self._closer if self._suspects and address in self._suspects else self._context
        return context().wrap_bio(incoming, outgoing, server_side=True)

    def arrived(self, connection: Connection) -> None:
        out = self._waiting.enter(connection, network_of(connection.address))
        if out is not None:
            out.put_out("it left its place to newer ones: too many connections had not finished their handshake")

    def settled(self, connection: Connection) -> None:
        self._waiting.leave(connection)

    def inspect(self, tls: ssl.SSLObject) -> str | None:
        if self._mutual and tls.session_reused:
            return "it resumed an earlier session, which proves nothing about its certificate now"
        return None

    def above(self, connection: Connection) -> asyncio.Protocol:
        return self._inner()

    def failed(self, failure: HandshakeFailure, error: Exception | None) -> None:
        if failure.code == "tls" and failure.alert is not None and not failure.received:
            self._suspects[failure.address] = None
            if len(self._suspects) > SUSPECTS:
                self._suspects.popitem(last=False)
        self._refused(failure)
