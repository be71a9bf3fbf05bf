"""The port of the durable queue: messages that wait for nodes, and what became of them. `tests/contract/test_queue.py` says it precisely.

What whoever builds on it may rely on, and whoever implements it must keep:

1. `put` is durable when it returns. Messages of one node keep the order in which their puts were *answered*: of two puts of which one was
   answered before the other began, the first has the smaller `n`. Two that overlap may come in either order, also from two processes.
2. A message is *live* until it is settled, once, with a final state; a settled one is never live again. Its body is dropped then, and a
   receipt stays for as long as `forget` leaves it.
3. `pending` gives the live messages of a node in order, from the oldest on. There is no cursor: what is settled disappears from its front,
   so a message that another process put late, with a smaller `n`, is found by the next call.
4. The bounds of a node and the state of its device are looked at in the statement that writes the row. Where several processes put at the
   same moment, a bound may be exceeded by one message for each of them.
5. The hub that holds a node's connection is the only one that reads its `pending` and settles; any process may `put`, `cancel` and ask.
   So a process that puts for a node elsewhere has only to say "there is more for this node" (`hub.courier.Elsewhere`), and if that is
   lost, the message is found at the node's next acknowledgement, connection, or look at the queue.

All methods take many at a time, because one transaction for a hundred costs little more than for one.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from edgeward.errors import EdgewardError
from edgeward.model.delivery import Bounds, Depth, Outbound, Outcome, Receipt, State


class Put(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer to one message of a put: its place and state. `fresh` is False when the very same message was there before.
    `superseded`: older versions of its object, (n, msg_id), that gave way to it."""

    n: int
    state: State
    fresh: bool = True
    superseded: tuple[tuple[int, str], ...] = ()


class Queue(Protocol):
    """Messages for nodes. Every method raises `StoreUnavailable` when it cannot be reached or written."""

    async def put(self, outbound: Sequence[Outbound], bounds: Bounds) -> Sequence[Put | EdgewardError]:
        """Queue messages, each for itself: an answer for each, in order. A refused one changes nothing: `NotFound` (no such node),
        `NodeBlocked`, `QueueFull`, `MessageConflict` (its id is in use for another message).

        A version of an object that is not newer than one that is queued or was acknowledged is kept as `superseded` and never sent;
        older ones that are queued become `superseded`, except deletions and responses."""
        ...

    async def waiting(self, nodes: Sequence[str]) -> set[str]:
        """Those of the nodes that have live messages."""
        ...

    async def pending(self, node: str, limit: int, octets: int) -> Sequence[Outbound]:
        """The first live messages of a node in order: at most `limit`, and no more than `octets` of bodies after the first."""
        ...

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """End messages. Those that ended before stay as they are. An acknowledged version of an object is remembered."""
        ...

    async def tried(self, outbound: Sequence[tuple[Outbound, datetime]]) -> None:
        """Note for live messages how often they were sent (`attempts`) and when last; they stay queued."""
        ...

    async def receipt(self, msg_id: str) -> Receipt | None: ...
    async def receipts(self, node: str | None, *, live: bool, before: int, limit: int) -> Sequence[Receipt]:
        """Receipts of a node, or of all, newest first: those with `n` below `before` (0: from the newest), only live ones if asked."""
        ...

    async def depths(self) -> Sequence[Depth]:
        """How much waits, for each node for which anything does, by name."""
        ...

    async def cancel(self, msg_id: str, at: datetime) -> bool:
        """Take a live message back; False when there is none of this id."""
        ...

    async def expire(self, at: datetime) -> Sequence[tuple[str, int, str]]:
        """End what is past its time as `expired`; (node, n, msg_id) of each, at most a thousand at a time."""
        ...

    async def forget(self, before: datetime, keep: int) -> int:
        """Drop receipts of messages settled before a moment, and the oldest of more than `keep`; how many, at most some thousand."""
        ...
