"""What every bus to the outside has in common: a bounded queue of what is to be said, and a task that says it and never gives up."""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

from edgeward.bus.envelope import Envelopes
from edgeward.bus.port import Notice, Received
from edgeward.errors import printable

_log = logging.getLogger(__name__)

QUEUED_OCTETS = 64 * 1024 * 1024
"""Of what is to be said and was not yet."""

GATHER = 0.002
"""Seconds for which notices gather: a fleet that connects costs the others a message now and then, not one for each node."""

AT_ONCE = 256
"""Notices in one message."""

LARGE = 65_536
"""Octets after which no more notices are added to a message."""

PAUSE = 0.5
"""Seconds between two attempts to reach a bus that is away."""

FAREWELL = 1.0
"""Seconds for what is queued when the bus is closed."""


class Link(ABC):
    """`bus.port.Bus`, given a way to connect, to say octets and to hear them."""

    def __init__(self, what: str, envelopes: Envelopes) -> None:
        self._what = what
        self._envelopes = envelopes
        self._waiting: deque[bytes] = deque()
        self._octets = 0
        self._wake = asyncio.Event()
        self._received: Received = lambda _sender, _notice: None
        self._restored: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None
        self._connected = False
        self._complained = False

    @abstractmethod
    async def _connect(self) -> None:
        """Connect and listen: `_heard` is told of everything from when this returns. Raises whatever goes wrong."""

    @abstractmethod
    async def _say(self, octets: list[bytes]) -> None:
        """Say these to everybody. Raises whatever goes wrong."""

    @abstractmethod
    async def _until_lost(self) -> None:
        """Return or raise when the connection is of no use any more."""

    @abstractmethod
    async def _disconnect(self) -> None:
        """Let go of the connection, whatever its state."""

    @property
    def connected(self) -> bool:
        """Whether notices go through now."""
        return self._connected

    def start(self, received: Received, restored: Callable[[], None]) -> None:
        """Listen from now on."""
        self._received, self._restored = received, restored
        self._task = asyncio.get_running_loop().create_task(self._run())

    def publish(self, notice: Notice) -> None:
        """Say it to the others."""
        octets = self._envelopes.encoded(notice)
        if octets is None:
            return
        self._waiting.append(octets)
        self._octets += len(octets)
        while self._octets > QUEUED_OCTETS:
            self._octets -= len(self._waiting.popleft())
        self._wake.set()

    async def close(self) -> None:
        """Say what is queued and stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                while self._waiting and self._connected:
                    await asyncio.sleep(0.01)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._disconnect()

    def _heard(self, octets: bytes) -> None:
        heard = self._envelopes.unwrap(octets)
        if heard is None:
            return
        sender, notices = heard
        for notice in notices:
            self._received(sender, notice)

    async def _run(self) -> None:
        """Connect, talk, and begin again when the connection is lost."""
        while True:
            try:
                await self._connect()
                self._connected, self._complained = True, False
                _log.info("%s: connected", self._what)
                self._restored()
                await self._talk()
                self._complain("the connection ended")
            except (
                Exception
            ) as error:  # the shell of the task: a bus that is away must not end it, whatever its library raises
                self._complain(printable(error) or type(error).__name__)
            finally:
                self._connected = False
                with contextlib.suppress(Exception):  # it is broken; that is why it is let go of
                    await self._disconnect()
            await asyncio.sleep(PAUSE)

    def _complain(self, why: str) -> None:
        """Once for each time that it is away."""
        if not self._complained:
            _log.warning("%s is away (%s); replicas hear of changes from the store until it is back", self._what, why)
        self._complained = True

    async def _talk(self) -> None:
        tasks = [asyncio.ensure_future(self._speak()), asyncio.ensure_future(self._until_lost())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _speak(self) -> None:
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            await asyncio.sleep(GATHER)
            while self._waiting:
                await self._say(self._envelopes.wrap(self._next()))

    def _next(self) -> list[bytes]:
        """What is said at once, of what waits."""
        said: list[bytes] = []
        octets = 0
        while self._waiting and len(said) < AT_ONCE and octets < LARGE:
            said.append(self._waiting.popleft())
            octets += len(said[-1])
        self._octets -= octets
        return said
