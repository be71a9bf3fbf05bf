"""The port of the nodes' history: who came, went and was refused, and how their clocks go. Bounded for each node.

`tests/contract/test_timeline.py` says it precisely.
"""

from collections.abc import Sequence
from typing import Protocol

from edgeward.model.device import Moment

KEPT = 200
"""Moments of each node: half a year of one that connects twice a day, three hours of one that flaps every minute."""


class Timeline(Protocol):
    """What happened to nodes. Raises `StoreUnavailable` from any method."""

    async def add(self, moments: Sequence[Moment], skews: Sequence[tuple[str, int]] = ()) -> None:
        """Write moments, in order, and how far (ms) the clocks of nodes are ahead. What is about an unknown node is left out; a refusal
        is also noted with its device. Of each node the newest `KEPT` moments stay."""
        ...

    async def of(self, node: str, limit: int = KEPT) -> Sequence[Moment]:
        """The moments of a node, the newest first."""
        ...
