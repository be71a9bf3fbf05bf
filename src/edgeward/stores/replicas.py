"""The port of what replicas on one store know of each other: who is alive, what changed elsewhere, where a node is now.

`tests/contract/test_replicas.py` says it precisely. On a store with one process it says little: that process is alone.

1. A replica has a name that is its own and that it keeps over restarts, so that it clears up at once what its earlier life left.
2. It is alive while it beats. One that did not for a whole lease has lapsed: its sessions are over and its planned rows are nobody's.
3. `changes` is the audit chain read onward from a number. A change is in it from the moment on at which it is durable, and in order:
   whoever reads on misses nothing, whatever became of the bus.
4. A session has an epoch, larger than that of every session of its node that was known when it began; the largest epoch is the newest.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from edgeward.model.authority import CertificateRecord


class Change(NamedTuple):
    """An audit record, as far as other replicas act on it."""

    n: int
    action: str
    object: str


class Held(NamedTuple):
    """A live session of this replica, as it is recorded: the node, since when, from where, and its epoch."""

    node: str
    since: datetime
    address: str
    epoch: int


class Replicas(Protocol):
    """Raises `StoreUnavailable` from any method when the store cannot be reached or written."""

    @property
    def name(self) -> str:
        """The name of this replica; empty for one that is alone."""
        ...

    async def beat(self, at: datetime) -> bool:
        """Say that this replica is alive; False when it had to be entered: it is new, or had lapsed and was cleared up after."""
        ...

    async def live(self) -> int:
        """A life of this replica begins; which one: larger than the number of every life before, whatever its clock says."""
        ...

    async def leave(self) -> None:
        """Say that this replica is no more: its sessions are closed and nothing of it is planned."""
        ...

    async def lapsed(self, before: datetime, at: datetime) -> Sequence[str]:
        """Forget the replicas that beat last before a moment, and record their nodes as offline since they were last seen; their names."""
        ...

    async def orphans(self, before: datetime) -> Sequence[CertificateRecord]:
        """Rows that were planned before a moment by a replica that is not alive."""
        ...

    async def leads(self) -> bool:
        """Whether this replica is the one, of those that are alive, that does what only one should do."""
        ...

    async def tip(self) -> int:
        """The number of the newest change."""
        ...

    async def changes(self, after: int, limit: int = 1000) -> Sequence[Change]:
        """What was changed after the change number `after`, in order: revocations, and what the authority's servers are configured with."""
        ...

    async def epoch(self) -> int:
        """The largest epoch of any session that was recorded."""
        ...

    async def moved(self, since: datetime) -> Sequence[tuple[str, int]]:
        """The nodes that connected to another replica at or after a moment, each with the epoch of its session there."""
        ...

    async def hold(self, sessions: Sequence[Held]) -> None:
        """Record sessions again that this replica still has, but for those that are newer elsewhere."""
        ...
