"""The port of what happens to nodes: who is here, who came, went and was refused, and how their clocks go. The history of each is bounded.

`tests/contract/test_timeline.py` says it precisely.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from edgeward.model.device import Cause, Moment

KEPT = 200
"""Moments of each node: half a year of one that connects twice a day, three hours of one that flaps every minute."""


class Arrival(NamedTuple):
    """A session of a node began here at `at`, the last of `times` since the last arrival that was written.

    `first`: the certificate (issuer and serial) whose first connection this is, unless it was recorded before.
    """

    node: str
    at: datetime
    address: str
    epoch: int = 0
    times: int = 1
    first: tuple[int, str] | None = None


class Departure(NamedTuple):
    """The session of a node here ended."""

    node: str
    at: datetime
    cause: Cause


class Timeline(Protocol):
    """What happened to nodes. Raises `StoreUnavailable` from any method."""

    async def add(
        self,
        moments: Sequence[Moment] = (),
        skews: Sequence[tuple[str, int]] = (),
        arrivals: Sequence[Arrival] = (),
        departures: Sequence[Departure] = (),
    ) -> None:
        """Write what happened, in one transaction: moments of nodes' histories, in order; how far (ms) their clocks are ahead; who is
        here now, one arrival and one departure of each node, the departures after the arrivals.

        What is about an unknown node is left out. A refusal is also noted with its device. Of each node the newest `KEPT` moments stay.
        Nothing comes of an arrival when a session with a larger epoch began elsewhere meanwhile, nor of a departure when the node's
        session is at another replica by now. A certificate's first connection is noted once, and not when it is revoked."""
        ...

    async def of(self, node: str, limit: int = KEPT) -> Sequence[Moment]:
        """The moments of a node, the newest first."""
        ...
