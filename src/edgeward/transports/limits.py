"""How much one address and all together may ask of a listener: connections that have proved nothing yet, and requests a second.

An address is never blocked, because a whole site may sit behind one: a full waiting room puts out whoever waits longest, which is the
one that does not mean to finish, and lets the newcomer in.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgeward.model.http import Response

Member = TypeVar("Member", bound=Hashable)


TurnedAway = Callable[[str, int, str], None]
"""Hears of a request that was refused before any protocol saw it: the peer's address, the status and the sentence of the answer."""


LARGE = 65_536
"""Octets of a body that anybody may send; who sends more is looked at first, where somebody does."""

Admit = Callable[[bytes | None], Awaitable[Response | None]]
"""Whether the holder of a certificate (DER) may send a large body: None, or the answer instead."""


def unheard(address: str, status: int, sentence: str) -> None:
    """Nobody wants to know who was turned away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsLimits:
    """What a peer may take before it has proved anything."""

    handshake_seconds: float = 10.0
    """From the TCP connection to the end of the handshake. KubeEdge's own hub allows 10 s too."""
    handshake_octets: int = 131_072
    """Read before the end of the handshake. OpenSSL takes 100 KiB of certificates; a real edge sends about 2 KiB."""
    handshakes: int = 4096
    """Connections at a time that have not finished the handshake. One more puts out the one that has waited longest."""
    handshakes_per_address: int = 256
    """The same for one address (a /64 of IPv6)."""
    close_seconds: float = 10.0
    """For the peer to take what was written before the close, if it is slow; then the connection is cut."""
    linger_seconds: float = 2.0
    """For the peer to close its side after ours, so that our last words are not lost in a reset."""
    linger_octets: int = 4_194_304
    """Thrown away meanwhile; a peer that sends more than that is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What one peer, and all of them, may take. Deadlines are kept to within a quarter of the shortest of them."""

    head_octets: int = 16_384
    """Request line and headers. More is answered 431."""
    headers: int = 100
    body_octets: int = 65_536
    """More is answered 413, before it is read where Content-Length says so. A CSR has 300 octets to 4 KiB."""
    head_seconds: float = 30.0
    """For request line and headers, from the connection or from the first octet of a later request. Slower is answered 408."""
    body_seconds: float = 30.0
    """For the body, from the end of the headers."""
    idle_seconds: float = 75.0
    """Between two requests; longer than the keep-alive of common load balancers, so that they close first."""
    write_seconds: float = 30.0
    """For a peer that does not take its answer; then the connection is cut."""
    pipeline: int = 100
    """Requests that wait behind the one in hand. The connection ends after the last of so many."""
    requests: int = 4096
    """In hand on all connections at a time. More is answered 503."""
    connections: int = 10_000
    """Open at a time. For one more, the one that has been open longest takes no further request."""
    connections_per_address: int = 1024
    """The same for one address (a /64 of IPv6), so that nobody holds all places by keeping connections alive."""
    silent: int = 4096
    """Connections that have not finished a first request. One more puts out the one that has waited longest."""
    silent_per_address: int = 256
    """The same for one address (a /64 of IPv6)."""


class WaitingRoom(Generic[Member]):
    """Members that have proved nothing yet: at most `total`, at most `per_address` of one address. The longest waiting leaves first."""

    __slots__ = ("_by_address", "_members", "_per_address", "_total")

    def __init__(self, total: int, per_address: int) -> None:
        self._total = total
        self._per_address = per_address
        self._members: dict[Member, str] = {}
        self._by_address: dict[str, dict[Member, None]] = {}

    def __len__(self) -> int:
        return len(self._members)

    def enter(self, member: Member, address: str) -> Member | None:
        """Let `member` in; the member that had to leave for it, or None. Constant time, but for a rare sweep of freed places."""
        same = self._by_address.get(address)
        out = None
        if same is None:
            self._by_address[address] = {member: None}
        else:
            if len(same) >= self._per_address:
                out = next(iter(same))
            same[member] = None
        if out is None and len(self._members) >= self._total:
            out = next(iter(self._members))
        self._members[member] = address
        if out is not None:
            self.leave(out)
        return out

    def leave(self, member: Member) -> None:
        """`member` has proved itself or is gone. One that is not here is ignored."""
        address = self._members.pop(member, None)
        if address is None:
            return
        same = self._by_address[address]
        del same[member]
        if not same:
            del self._by_address[address]


class Deadlines(Generic[Member]):
    """The same span of time for each of many members, kept with one timer, because who begins later ends later.

    `late` is called for each that is still here at its end, and has then left.
    """

    __slots__ = ("_late", "_members", "_seconds", "_timer")

    def __init__(self, seconds: float, late: Callable[[Member], None]) -> None:
        self._seconds = seconds
        self._late = late
        self._members: dict[Member, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, member: Member, loop: asyncio.AbstractEventLoop) -> None:
        """The time of `member`, which is not here, begins."""
        self._members[member] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._look, loop)

    def stop(self, member: Member) -> None:
        """`member` needs no more time."""
        self._members.pop(member, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        while self._members:
            member, end = next(iter(self._members.items()))
            left = end - loop.time()
            if left > 0.001:  # what the loop's clock may be short of
                self._timer = loop.call_later(left, self._look, loop)
                return
            del self._members[member]
            self._late(member)


class RateLimit:
    """A token bucket for each address: `rate` requests a second on average, `burst` at once (GCRA: one number an address).

    `clock` gives seconds that never go back. `table` bounds the memory: at most twice as many addresses are remembered, and one that has
    been quiet while that many others came starts afresh.
    """

    __slots__ = ("_clock", "_now", "_older", "_step", "_table", "_tolerance")

    def __init__(
        self, *, clock: Callable[[], float], rate: float = 5000.0, burst: int = 10_000, table: int = 65_536
    ) -> None:
        self._clock = clock
        self._step = 1.0 / rate
        self._tolerance = (burst - 1) / rate
        self._table = table
        self._now: dict[str, float] = {}
        self._older: dict[str, float] = {}

    def admit(self, address: str) -> float:
        """0 when `address` may have one more request, which is then counted; else the seconds until it may."""
        now = self._clock()
        due = self._now.get(address)
        if due is None:
            due = self._older.get(address, now)
            if len(self._now) >= self._table:
                self._older = self._now
                self._now = {}
        if due - now > self._tolerance:
            self._now[address] = due
            return due - now - self._tolerance
        self._now[address] = (due if due > now else now) + self._step
        return 0.0
