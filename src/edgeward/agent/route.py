"""By which transport and address an edge dials its hub next: QUIC where it works, WebSocket everywhere. Pure.

A network that does not let UDP through is remembered, so that a device behind it does not lose five seconds at every attempt; and QUIC is
tried again later, because networks change. Moments are seconds of a monotonic clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgeward.agent.endpoint import Endpoint
from edgeward.agent.rhythm import Backoff, Dice

QUIC, WEBSOCKET = "quic", "websocket"

REST_FIRST, REST_LONGEST = 600.0, 6 * 3600.0
"""Seconds for which QUIC is left alone after it failed: ten minutes, doubling to six hours, each shortened by up to half."""

Choice = tuple[str, Endpoint]
"""A transport and where to dial it."""


@dataclass(slots=True, kw_only=True)
class Route:
    """`hubs` (TCP) and `quics` (UDP), best first; either may be empty, not both."""

    hubs: Sequence[Endpoint]
    quics: Sequence[Endpoint]
    dice: Dice
    _rest: Backoff = field(init=False)
    _until: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self._rest = Backoff(dice=self.dice, first=REST_FIRST, cap=REST_LONGEST)

    def choices(self, attempt: int, time: float) -> list[Choice]:
        """What to try for this attempt, in order: the `attempt`th address, by QUIC unless it rests, then by WebSocket."""
        found = []
        if self.quics and (time >= self._until or not self.hubs):
            found.append((QUIC, self.quics[attempt % len(self.quics)]))
        if self.hubs:
            found.append((WEBSOCKET, self.hubs[attempt % len(self.hubs)]))
        return found

    def rest(self, time: float) -> float | None:
        """Seconds until QUIC is worth another try beside a connection over WebSocket; None where there is no QUIC."""
        return max(0.0, self._until - time) if self.quics and self.hubs else None

    def failed(self, time: float) -> None:
        """QUIC did not get through."""
        self._until = time + self._rest.wait()

    def succeeded(self) -> None:
        """QUIC got through: the next failure is the first."""
        self._rest.reset()
        self._until = float("-inf")
