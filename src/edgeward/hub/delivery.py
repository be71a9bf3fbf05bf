"""Where messages from nodes go: to watchers, who must not hold anybody up. A watcher has a bounded queue: when it is slow it loses
the oldest messages, and is told how many."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from edgeward.model.message import Message

QUEUED = 1000
"""Messages that a watcher may be behind."""

QUEUED_OCTETS = 64 * 1024 * 1024
"""Octets of content that a watcher may be behind: two messages of the largest size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message from a node, and when it came in. `lost_before`: how many others this watcher missed just before it."""

    node: str
    at: datetime
    message: Message
    lost_before: int = 0


class Watchers:
    """Whoever looks at the messages from all nodes."""

    def __init__(self) -> None:
        self._watching: set[Watch] = set()

    def watch(self, queued: int = QUEUED, octets: int = QUEUED_OCTETS) -> "Watch":
        """A new watcher, from now on until it is closed."""
        watch = Watch(self._watching, queued, octets)
        self._watching.add(watch)
        return watch

    def received(self, node: str, at: datetime, message: Message) -> None:
        """Tell every watcher."""
        for watch in self._watching:
            watch.put(Received(node=node, at=at, message=message))

    def __bool__(self) -> bool:
        return bool(self._watching)

    def close(self) -> None:
        """End every watcher's stream."""
        for watch in list(self._watching):
            watch.close()


class Watch(AsyncIterator[Received]):
    """One watcher: an asynchronous iterator of what nodes send. `close` ends it; so does leaving its `with` block."""

    def __init__(self, among: "set[Watch]", queued: int, octets: int) -> None:
        self._among = among
        self._limits = (queued, octets)
        self._queue: deque[Received] = deque()
        self._octets = 0
        self._lost = 0
        self._wake = asyncio.Event()
        self._closed = False

    def put(self, received: Received) -> None:
        """Queue a message; the oldest go when there are too many."""
        self._queue.append(received)
        self._octets += _size(received)
        while len(self._queue) > self._limits[0] or (self._octets > self._limits[1] and len(self._queue) > 1):
            self._octets -= _size(self._queue.popleft())
            self._lost += 1
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

    async def __anext__(self) -> Received:
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        received = self._queue.popleft()
        self._octets -= _size(received)
        if self._lost:
            lost, self._lost = self._lost, 0
            return Received(node=received.node, at=received.at, message=received.message, lost_before=lost)
        return received


def _size(received: Received) -> int:
    return len(memoryview(received.message.content))
