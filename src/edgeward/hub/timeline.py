"""Writes the history of nodes in the background: bounded, gathered, and never in anybody's way.

The claimed name of a refused connection may be anybody's, so of refusals one a minute is written for each name.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime

from edgeward.errors import EdgewardError, printable
from edgeward.model.device import Moment
from edgeward.stores.timeline import Timeline

_log = logging.getLogger(__name__)

GATHER = 0.25
"""Seconds for which moments are gathered into one transaction."""

AT_ONCE = 1000
"""Moments in one transaction, so that an enrolment never waits for a whole fleet's."""

BEHIND = 50_000
"""Moments that may wait; beyond that the oldest are lost."""

REFUSALS = 60.0
"""Seconds between two refusals of one name that are written."""

NAMES = 10_000
"""Names for which the last refusal is remembered."""

NOTABLE = 5.0
"""Seconds by which a node's clock may be off before its history says so; less is what networks and busy machines make of a right one."""


class History:
    """Writes to `timeline`; `clock` gives seconds that never go back."""

    def __init__(self, timeline: Timeline, clock: Callable[[], float]) -> None:
        self._timeline = timeline
        self._clock = clock
        self._moments: deque[Moment] = deque(maxlen=BEHIND)
        self._skews: dict[str, int] = {}
        self._refused: dict[str, float] = {}
        self._writing: asyncio.Task[None] | None = None
        self._at_once = asyncio.Event()

    def add(self, moment: Moment) -> None:
        """Something happened to a node."""
        self._moments.append(moment)
        self._wake()

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
        self.add(Moment(node=node, at=at, event="refused", why=why, address=address))
        return True

    def clock_of(self, node: str, at: datetime, stated: int, address: str) -> None:
        """A node said at `at` that it is `stated` (milliseconds since 1970)."""
        skew = stated - round(at.timestamp() * 1000)
        if abs(skew) > 2**53:
            return
        self._skews[node] = skew
        if abs(skew) >= NOTABLE * 1000:
            why = f"its clock is {abs(skew) / 1000:.1f} s {'ahead' if skew > 0 else 'behind'}"
            self.add(Moment(node=node, at=at, event="clock", why=why, address=address))
        self._wake()

    async def drain(self) -> None:
        """Write at once what is there, and wait until it is written."""
        self._at_once.set()
        while self._writing is not None:
            await asyncio.wait([self._writing])
        self._at_once.clear()

    def _wake(self) -> None:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._moments or self._skews:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(GATHER):
                        await self._at_once.wait()
                moments = [self._moments.popleft() for _ in range(min(len(self._moments), AT_ONCE))]
                skews = [self._skews.popitem() for _ in range(min(len(self._skews), AT_ONCE))]
                try:
                    await self._timeline.add(moments, skews)
                except EdgewardError as error:
                    _log.warning("%d moments of nodes not recorded: %s", len(moments), printable(error))
        finally:
            self._writing = None
