"""What happens, told to whoever subscribes: messages from nodes, nodes that come and go, and what became of messages to them.

Subscribers must not hold anybody up. Each has a bounded queue; when it is slow it loses events and is told how many. What it loses is the
oldest of the node from which most is waiting, so that one that talks without end pushes out its own events and not those of others.

The newest events are remembered for a while, so that a subscriber whose connection broke can go on where it was.
"""

import asyncio
import fnmatch
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import datetime

import msgspec

from edgeward.hub.courier import Settlement
from edgeward.model.message import Message

QUEUED = 1000
"""Events that a subscriber may be behind."""

QUEUED_OCTETS = 64 * 1024 * 1024
"""Octets of content that it may be behind: two messages of the largest size."""

REMEMBERED = 1000
REMEMBERED_OCTETS = 16 * 1024 * 1024
"""Events that are remembered, and octets of their content."""

MESSAGE, PRESENCE, DELIVERY = "message", "presence", "delivery"
TYPES = frozenset({MESSAGE, PRESENCE, DELIVERY})


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that happened. `type` says which of the last members it has.

    `lost_before`: how many others this subscriber missed just before it. `state` is `online`, `offline` or `refused` of a node, with `why`
    and from which address; of a message to a node how it ended.
    """

    number: int
    type: str
    node: str
    at: datetime
    message: Message | None = None
    state: str = ""
    why: str = ""
    address: str = ""
    msg_id: str = ""
    lost_before: int = 0

    @property
    def octets(self) -> int:
        """Of its content; what else there is to an event is small."""
        return 0 if self.message is None else len(memoryview(self.message.content))


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscriber wants to hear: events of these types that match every pattern given (`*`, `?`, `[…]`; `*` matches slashes,
    too). Group, resource and operation are of messages, so a pattern for one of them leaves out everything else."""

    types: frozenset[str] = TYPES
    node: str = "*"
    group: str = "*"
    resource: str = "*"
    operation: str = "*"

    def matcher(self) -> Callable[[Event], bool]:
        """Whether an event is wanted."""
        node = _pattern(self.node)
        route = [
            (name, pattern)
            for name, pattern in (
                ("group", _pattern(self.group)),
                ("resource", _pattern(self.resource)),
                ("operation", _pattern(self.operation)),
            )
            if pattern is not None
        ]
        types = self.types

        def wanted(event: Event) -> bool:
            if event.type not in types or (node is not None and node(event.node) is None):
                return False
            if not route:
                return True
            if event.message is None:
                return False
            about = event.message.route
            return all(pattern(getattr(about, name)) is not None for name, pattern in route)

        return wanted


def _pattern(glob: str) -> Callable[[str], re.Match[str] | None] | None:
    return None if glob == "*" else re.compile(fnmatch.translate(glob)).match


EVERYTHING = Wanted()


class Watchers:
    """Whoever looks at what happens. `epoch` is unlike that of any other life of this hub."""

    def __init__(self, epoch: str = "0") -> None:
        self._epoch = epoch
        self._watching: set[Watch] = set()
        self._number = 0
        self._recent: deque[Event] = deque()
        self._recent_octets = 0

    def watch(
        self, wanted: Wanted = EVERYTHING, *, after: str = "", queued: int = QUEUED, octets: int = QUEUED_OCTETS
    ) -> "Watch":
        """A new subscriber, from now on until it is closed; with `after` (the id of the last event that it had), from there on. When
        that is not known any more, `Watch.gap` is true, and it gets what is remembered."""
        watch = Watch(self._watching, wanted, queued, octets)
        if after:
            epoch, _, number = after.rpartition("-")
            known = epoch == self._epoch and number.isascii() and number.isdecimal() and len(number) < 20
            last = int(number) if known else 0
            oldest = self._recent[0].number if self._recent else self._number + 1
            watch.gap = not known or last + 1 < oldest
            for event in self._recent:
                if event.number > last:
                    watch.put(event)
        self._watching.add(watch)
        return watch

    def id_of(self, event: Event) -> str:
        """What `after` takes."""
        return f"{self._epoch}-{event.number}"

    def received(self, node: str, at: datetime, message: Message) -> None:
        """A message came from a node."""
        self._tell(Event(number=self._next(), type=MESSAGE, node=node, at=at, message=message))

    def presence(self, node: str, at: datetime, state: str, why: str = "", address: str = "") -> None:
        """A node came, went or was refused."""
        self._tell(Event(number=self._next(), type=PRESENCE, node=node, at=at, state=state, why=why, address=address))

    def settled(self, settlement: Settlement, at: datetime) -> None:
        """A message to a node ended."""
        if self._watching:  # a receipt says it as well: it is not remembered for those who come later
            event = Event(
                number=self._next(), type=DELIVERY, node=settlement.node, at=at, state=settlement.state,
                msg_id=settlement.msg_id,
            )  # fmt: skip
            for watch in self._watching:
                watch.put(event)

    def __bool__(self) -> bool:
        return bool(self._watching)

    def close(self) -> None:
        """End every subscriber's stream."""
        for watch in list(self._watching):
            watch.close()

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _tell(self, event: Event) -> None:
        recent = self._recent
        recent.append(event)
        self._recent_octets += event.octets
        while len(recent) > REMEMBERED or (self._recent_octets > REMEMBERED_OCTETS and recent):
            self._recent_octets -= recent.popleft().octets
        for watch in self._watching:
            watch.put(event)


class _Place:
    """An event in a queue; None once it was dropped."""

    __slots__ = ("event",)

    def __init__(self, event: Event) -> None:
        self.event: Event | None = event


class Watch(AsyncIterator[Event]):
    """One subscriber: an asynchronous iterator of events. `close` ends it; so does leaving its `with` block."""

    def __init__(self, among: "set[Watch]", wanted: Wanted, queued: int, octets: int) -> None:
        self.gap = False
        self._among = among
        self._wanted = wanted.matcher()
        self._limits = (queued, octets)
        self._queue: deque[_Place] = deque()
        self._of_node: dict[str, deque[_Place]] = {}
        self._waiting = 0
        self._octets = 0
        self._lost = 0
        self._wake = asyncio.Event()
        self._closed = False

    def put(self, event: Event) -> None:
        """Queue an event, if it is wanted; some go when there are too many."""
        if not self._wanted(event):
            return
        place = _Place(event)
        self._queue.append(place)
        self._of_node.setdefault(event.node, deque()).append(place)
        self._waiting += 1
        self._octets += event.octets
        while self._waiting > self._limits[0] or (self._octets > self._limits[1] and self._waiting > 1):
            self._drop(event.node)
        self._wake.set()

    def close(self) -> None:
        """Stop watching: what is queued can still be read, then the stream ends."""
        self._closed = True
        self._among.discard(self)
        self._wake.set()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __anext__(self) -> Event:
        while True:
            while self._queue:
                event = self._queue.popleft().event
                if event is not None:
                    self._taken(event.node)
                    return self._with_losses(event)
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()

    def _with_losses(self, event: Event) -> Event:
        lost, self._lost = self._lost, 0
        return msgspec.structs.replace(event, lost_before=lost) if lost else event

    def _drop(self, latest: str) -> None:
        """Lose the oldest event of the node with most of them; to find it costs nothing when it is the one that talks."""
        heaviest, own = latest, len(self._of_node[latest])
        if own == 1 or own < self._waiting / len(self._of_node):
            heaviest = max(self._of_node, key=lambda node: (len(self._of_node[node]), node != latest))
        place = self._of_node[heaviest][0]
        self._taken(heaviest)
        place.event = None
        self._lost += 1

    def _taken(self, node: str) -> None:
        """The oldest event of a node leaves the queue."""
        places = self._of_node[node]
        event = places.popleft().event
        if not places:
            del self._of_node[node]
        self._waiting -= 1
        self._octets -= 0 if event is None else event.octets
