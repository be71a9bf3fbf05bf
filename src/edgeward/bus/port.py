"""The bus between replicas: what one says to all the others, soon and without promise.

Nothing depends on a notice arriving. Everything that must not be lost is in the store, where each replica looks by itself every two
seconds; the bus only saves the wait. So publishing never blocks and never fails, and after a break `restored` is called: whoever
listens then looks at everything again.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import msgspec


class Changed(msgspec.Struct, frozen=True, kw_only=True, tag="changed"):
    """There is a change to read in the store: a revocation, other names, another certificate."""


class Moved(msgspec.Struct, frozen=True, kw_only=True, tag="moved"):
    """A session of `node` began at the sender, with this epoch; an older one elsewhere is over."""

    node: str
    epoch: int


class Queued(msgspec.Struct, frozen=True, kw_only=True, tag="queued"):
    """There is a message in the store for a node that is not at the sender."""

    node: str


class Settled(msgspec.Struct, frozen=True, kw_only=True, tag="settled"):
    """A message ended at the sender with this state; `answer` is what the node said (octets of the wire), for whoever waits."""

    node: str
    msg_id: str
    state: str
    answer: bytes | None = None


class Withdrawn(msgspec.Struct, frozen=True, kw_only=True, tag="withdrawn"):
    """A message was taken out of the queue of a node at the sender."""

    node: str
    msg_id: str
    superseded: bool


class Interest(msgspec.Struct, frozen=True, kw_only=True, tag="interest"):
    """Somebody at the sender watches what nodes send, for so many seconds more; 0: no longer."""

    seconds: float


class Upward(msgspec.Struct, frozen=True, kw_only=True, tag="upward"):
    """A node at the sender sent this message (as octets of the wire)."""

    node: str
    at: datetime
    message: bytes


class Presence(msgspec.Struct, frozen=True, kw_only=True, tag="presence"):
    """A node came to the sender, or went from it, and why."""

    node: str
    at: datetime
    event: str
    why: str
    address: str


Notice = Changed | Moved | Queued | Settled | Withdrawn | Interest | Upward | Presence

Received = Callable[[str, Notice], None]
"""Told of a notice and the name of the replica that published it; must not block."""


class Bus(Protocol):
    """A way to all other replicas. Its methods are for the event loop."""

    def start(self, received: Received, restored: Callable[[], None]) -> None:
        """Listen from now on; `restored` is called whenever notices may have been missed, at first when listening has begun."""
        ...

    def publish(self, notice: Notice) -> None:
        """Say it to the others, once. Never raises; what does not fit in the queue to a bus that is away is dropped, oldest first."""
        ...

    @property
    def connected(self) -> bool:
        """Whether notices go through now, as far as is known."""
        ...

    async def close(self) -> None:
        """Say what is queued, if that takes no longer than a second, and stop."""
        ...
