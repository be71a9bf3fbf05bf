"""What the hub writes to the store on the side: who is here, who was seen, what was dropped or refused.

Nothing here is awaited where messages flow. Writes about one node happen in the order in which they were asked for, because a
store may reorder what it commits together; writes about different nodes share a commit. A failure is logged and forgotten: presence is
corrected by the next connection, and at the next start everybody is offline.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime

from edgeward.errors import EdgewardError, printable
from edgeward.model.allowance import Allowance
from edgeward.model.audit import Event
from edgeward.model.device import Cause
from edgeward.stores.port import Store

_log = logging.getLogger(__name__)

NOTES_BURST = 100.0
NOTES_RATE = 10.0
"""Audit records about refusals and dropped messages: at most 100 at once and 10 a second, so that a flood cannot fill the disk."""

GATHER = 0.05
"""Seconds for which writes are gathered into one commit: nobody notices, and a thousand nodes that connect share twenty commits."""

SEEN_AT_ONCE = 1000
"""Moments in one write, so that an enrolment never waits for a whole fleet's."""

Write = Callable[[], Awaitable[None]]


class Presence:
    """Writes to `store` in the background. `drain` waits for all of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queues: dict[str, deque[Write]] = {}
        self._writing: asyncio.Task[None] | None = None
        self._at_once = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._notes = Allowance(burst=NOTES_BURST, rate=NOTES_RATE)

    def connected(self, node: str, at: datetime, address: str, epoch: int = 0) -> None:
        """A session of `node` began."""
        self._write(node, lambda: self._store.connected(node, at, address, epoch))

    def disconnected(self, node: str, at: datetime, cause: Cause) -> None:
        """The last session of `node` ended."""
        self._write(node, lambda: self._store.disconnected(node, at, cause))

    def note(self, event: Event) -> None:
        """Record a refusal or a dropped message, as far as the allowance goes; the next record says how many were left out."""
        omitted = self._notes.take(event.at.timestamp())
        if omitted is None:
            return
        if omitted:
            event.facts["omitted_before"] = omitted
        self._spawn(self._attempt(lambda: self._store.note(event), "note"))

    async def seen(self, moments: list[tuple[str, datetime]]) -> None:
        """Record when nodes were last heard of."""
        for start in range(0, len(moments), SEEN_AT_ONCE):
            chunk = moments[start : start + SEEN_AT_ONCE]
            await self._attempt(lambda chunk=chunk: self._store.seen(chunk), "moments last seen")  # type: ignore[misc]

    async def drain(self) -> None:
        """Write at once what was asked for so far, and wait until it is written."""
        self._at_once.set()
        while self._writing is not None or self._tasks:
            await asyncio.wait({*self._tasks, *([self._writing] if self._writing else [])})
        self._at_once.clear()

    def _write(self, node: str, write: Write) -> None:
        self._queues.setdefault(node, deque()).append(write)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._rounds())

    async def _rounds(self) -> None:
        """Gather for a moment, then write the first of every node together, then the second …, until nothing is left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHER):
                await self._at_once.wait()
        while self._queues:
            queues, self._queues = self._queues, {}
            while queues:
                writes = [self._attempt(queue.popleft(), f"presence of {node}") for node, queue in queues.items()]
                await asyncio.gather(*writes)
                queues = {node: queue for node, queue in queues.items() if queue}
        self._writing = None

    async def _attempt(self, write: Write, what: str) -> None:
        try:
            await write()
        except EdgewardError as error:
            _log.warning("%s not recorded: %s", what, printable(error))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)  # the loop holds tasks weakly
        task.add_done_callback(self._tasks.discard)
