"""What the hub writes to the store on the side: who is here, who was seen, came, went and was refused, and how the nodes' clocks go.

Nothing here is awaited where messages flow. What happens to all nodes within a moment shares a transaction, each kind of it one statement.
Of one node only the last arrival and the departure after it count, because they overwrite what was before; its history keeps
everything, in order. When a write fails, who is here is written again later; what else was in it is logged and forgotten.

The claimed name of a refused connection may be anybody's, so of refusals one a minute is written for each name.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from itertools import islice
from typing import TypeVar

from edgeward.errors import EdgewardError, printable
from edgeward.model.allowance import Allowance
from edgeward.model.audit import Event
from edgeward.model.device import Cause, Moment
from edgeward.stores.port import Store
from edgeward.stores.timeline import Arrival, Departure

_log = logging.getLogger(__name__)

NOTES_BURST = 100.0
NOTES_RATE = 10.0
"""Audit records about refusals and dropped messages: at most 100 at once and 10 a second, so that a flood cannot fill the disk."""

GATHER = 0.1
"""Seconds for which writes are gathered into one commit: nobody notices, and a thousand nodes that connect share ten commits."""

AT_ONCE = 1000
"""Nodes, and moments, in one transaction, so that an enrolment never waits for a whole fleet's."""

BEHIND = 50_000
"""Moments that may wait; beyond that the oldest are lost."""

REFUSALS = 60.0
"""Seconds between two refusals of one name that are written."""

NAMES = 10_000
"""Names for which the last refusal is remembered."""

NOTABLE = 5_000
"""Milliseconds by which a clock may be off before its node's history says so; networks and busy machines make less of a right one."""

AGAIN = 1.0
"""Seconds until who is here is written again after the store was away."""

_Value = TypeVar("_Value")


class Presence:
    """Writes to `store` in the background. `drain` waits for all of it, `written` for what happened before it was called. `clock` gives
    seconds that never go back."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._arrivals: dict[str, Arrival] = {}
        self._departures: dict[str, Departure] = {}
        self._moments: deque[Moment] = deque(maxlen=BEHIND)
        self._skews: dict[str, tuple[str, int]] = {}
        self._refused: dict[str, float] = {}
        self._writing: asyncio.Task[None] | None = None
        self._at_once = asyncio.Event()
        self._asked = 0
        self._done = 0
        self._round = asyncio.Event()
        self._tasks: set[asyncio.Task[bool]] = set()
        self._notes = Allowance(burst=NOTES_BURST, rate=NOTES_RATE)

    def connected(
        self, node: str, at: datetime, address: str, epoch: int = 0, first: tuple[int, str] | None = None
    ) -> None:
        """A session of `node` began; `first` as in `Arrival`."""
        self._departures.pop(node, None)
        self._arrivals[node] = _after(self._arrivals.get(node), Arrival(node, at, address, epoch, 1, first))
        self._happened(Moment(node=node, at=at, event="online", address=address))

    def disconnected(self, node: str, at: datetime, cause: Cause, address: str = "") -> None:
        """The last session of `node` ended."""
        self._departures[node] = Departure(node, at, cause)
        self._happened(Moment(node=node, at=at, event="offline", why=cause, address=address))

    def refused(self, node: str, at: datetime, why: str, address: str) -> bool:
        """A connection in the name of `node` was refused; whether it is written."""
        now = self._clock()
        last = self._refused.get(node)
        if last is not None and now - last < REFUSALS:
            return False
        if len(self._refused) >= NAMES:
            self._refused = {name: then for name, then in self._refused.items() if now - then < REFUSALS}
            if len(self._refused) >= NAMES:
                return False
        self._refused[node] = now
        self._happened(Moment(node=node, at=at, event="refused", why=why, address=address))
        return True

    def clock_of(self, node: str, at: datetime, stated: int, address: str) -> None:
        """A node said at `at` that it is `stated` (milliseconds since 1970)."""
        skew = stated - round(at.timestamp() * 1000)
        if abs(skew) > 2**53:
            return
        self._skews[node] = node, skew
        if abs(skew) >= NOTABLE:
            why = f"its clock is {abs(skew) / 1000:.1f} s {'ahead' if skew > 0 else 'behind'}"
            self._happened(Moment(node=node, at=at, event="clock", why=why, address=address))
        self._wake()

    def note(self, event: Event) -> None:
        """Record a refusal or a dropped message, as far as the allowance goes; the next record says how many were left out."""
        omitted = self._notes.take(event.at.timestamp())
        if omitted is None:
            return
        if omitted:
            event.facts["omitted_before"] = omitted
        task = asyncio.ensure_future(self._attempt(self._store.note(event), "note"))
        self._tasks.add(task)  # the loop holds tasks weakly
        task.add_done_callback(self._tasks.discard)

    async def seen(self, moments: list[tuple[str, datetime]]) -> None:
        """Record when nodes were last heard of."""
        for start in range(0, len(moments), AT_ONCE):
            await self._attempt(self._store.seen(moments[start : start + AT_ONCE]), "moments last seen")

    async def drain(self) -> None:
        """Write at once what was asked for so far, and wait until it is written."""
        self._at_once.set()
        while self._writing is not None or self._tasks:
            await asyncio.wait({*self._tasks, *([self._writing] if self._writing else [])})
        self._at_once.clear()

    async def written(self) -> None:
        """Write at once what has happened by now, and wait for that, so that who reads the store next finds it there. What happens
        meanwhile is not waited for, nor what the store does not take."""
        asked = self._asked
        self._at_once.set()
        try:
            while self._done < asked and self._writing is not None:
                await self._round.wait()
        finally:  # also for who was cancelled: else nothing would be gathered any more
            self._at_once.clear()

    def _happened(self, moment: Moment) -> None:
        self._moments.append(moment)
        self._wake()

    def _wake(self) -> None:
        self._asked += 1
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        """Gather for a moment, then write; again until nothing is left, or the store is away."""
        try:
            while self._moments or self._skews or self._arrivals or self._departures:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(GATHER):
                        await self._at_once.wait()
                moments = [self._moments.popleft() for _ in range(min(len(self._moments), AT_ONCE))]
                arrivals = _some_of(self._arrivals)
                departures = [] if self._arrivals else _some_of(self._departures)  # a node's follows its arrival
                write = self._store.timeline.add(moments, _some_of(self._skews), arrivals, departures)
                asked = self._asked
                left = self._moments or self._skews or self._arrivals or self._departures
                if not await self._attempt(write, f"{len(moments)} moments of nodes"):
                    self._put_back(arrivals, departures)
                    return
                self._done = self._done if left else asked
                self._next_round()
        finally:
            self._writing = None
            self._next_round()

    def _next_round(self) -> None:
        self._round.set()
        self._round = asyncio.Event()

    def _put_back(self, arrivals: list[Arrival], departures: list[Departure]) -> None:
        """What was not written is tried again after a while, as far as nothing newer has come."""
        for gone in departures:
            if gone.node not in self._arrivals:
                self._departures.setdefault(gone.node, gone)
        for one in arrivals:
            later = self._arrivals.get(one.node)
            self._arrivals[one.node] = one if later is None else _after(one, later)
        if self._arrivals or self._departures:
            asyncio.get_running_loop().call_later(AGAIN, self._wake)

    async def _attempt(self, write: Awaitable[None], what: str) -> bool:
        try:
            await write
        except EdgewardError as error:
            _log.warning("%s not recorded: %s", what, printable(error))
            return False
        return True


def _after(earlier: Arrival | None, later: Arrival) -> Arrival:
    """Two arrivals of a node as one. When each is the first of its certificate, the earlier certificate was revoked in between."""
    if earlier is None:
        return later
    return later._replace(times=earlier.times + later.times, first=later.first or earlier.first)


def _some_of(waiting: dict[str, _Value]) -> list[_Value]:
    """Take out what came first."""
    return [waiting.pop(name) for name in list(islice(waiting, AT_ONCE))]
