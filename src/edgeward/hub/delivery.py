"""Where messages from nodes go: to whoever waits for an answer, and to watchers, who must not hold anybody up.

An answer is matched by node and by the id of the message it answers, so that no node can answer for another. A watcher has a
bounded queue: when it is slow it loses the oldest messages, and is told how many.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from edgeward.errors import AlreadyExists, NotConnected
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


class Answers:
    """Messages that were sent and whose answers somebody waits for."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], asyncio.Future[Message]] = {}

    def expect(self, node: str, msg_id: str) -> "asyncio.Future[Message]":
        """The answer to come. It must be given to `forget` in the end. Raises `AlreadyExists` when this id is in use."""
        key = (node, msg_id)
        if key in self._waiting:
            raise AlreadyExists(what="a message that waits for its answer", name=msg_id)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[key] = answer
        return answer

    def forget(self, node: str, msg_id: str) -> None:
        """Nobody waits for this any more."""
        self._waiting.pop((node, msg_id), None)

    def received(self, node: str, message: Message) -> None:
        """A message came in; if it is an awaited answer, hand it over."""
        if message.header.parent_msg_id:
            answer = self._waiting.get((node, message.header.parent_msg_id))
            if answer is not None and not answer.done():
                answer.set_result(message)

    def disconnected(self, node: str) -> None:
        """`node` is gone: whoever waits for an answer from it gets `NotConnected`."""
        for (name, _), answer in self._waiting.items():
            if name == node and not answer.done():
                answer.set_exception(NotConnected(node=node))


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
