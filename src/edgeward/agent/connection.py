"""One connection of an edge to its hub: opened, kept alive, its messages acknowledged, and how it ended.

It does not know what carries it: a transport gives it a `Carrier` and tells it what came. When to send a sign of life and when to give
up is decided by `rhythm.Pulse`, what to answer by `messages.acknowledgement`.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from msgspec import Raw

from edgeward.agent import enrol, messages
from edgeward.agent.rhythm import HEARTBEAT, Dice, Pulse
from edgeward.errors import EdgewardError, Unreachable
from edgeward.model import message
from edgeward.model.message import Message

_log = logging.getLogger(__name__)

OnMessage = Callable[[Message], Raw | None]
"""Is given each message from the hub, also one that is sent again. What it returns is the content of the acknowledgement (None: "OK");
its `EdgewardError` is answered with operation `error`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What an agent takes from outside: the time (aware UTC), a uniform choice, a new message id, and what to do with a message."""

    now: Callable[[], datetime]
    dice: Dice
    new_id: Callable[[], str]
    on_message: OnMessage
    heartbeat: float = HEARTBEAT
    """Seconds between two signs of life."""


@runtime_checkable
class Carrier(Protocol):
    """What a transport offers: messages and pings out, and the end. Nothing happens when it has ended. `server` is what the peer says it
    is."""

    server: str

    def send(self, octets: bytes) -> None: ...
    def ping(self) -> None: ...
    def close(self, code: int, reason: str) -> None: ...
    def abort(self) -> None: ...


class HubConnection:
    """A connection from `opened` to `lost`. `ended` is done, with the reason in words, when it is over."""

    def __init__(self, where: str, world: World, transport: str = "websocket") -> None:
        self.where = where
        self.transport = transport
        self.chain: tuple[bytes, ...] = ()
        """The certificates (DER) that the hub presented, its own first, verified for `host`."""
        self.host = ""
        self._world = world
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self._opened: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[str] = loop.create_future()
        self._carrier: Carrier | None = None
        self._pulse: Pulse | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._why = ""

    def new_id(self) -> str:
        """A message id that was never used."""
        return self._world.new_id()

    def now(self) -> datetime:
        """The time, aware UTC."""
        return self._world.now()

    async def established(self) -> None:
        """Return once the hub has accepted. Raises `ServerRefused` or `ServerFailing` with its words, or `Unreachable`."""
        await self._opened

    @property
    def settled(self) -> bool:
        """Whether it has lasted long enough to count as good."""
        return self._pulse is not None and self._pulse.settled(self._time())

    async def finish(self, why: str, *, patience: float) -> None:
        """Wait `patience` seconds for the hub to end it, then end it ourselves."""
        await asyncio.wait({self.ended}, timeout=patience)
        if not self.ended.done() and self._carrier is not None:
            self._why = why
            self._carrier.close(1000, why)
            await asyncio.wait({self.ended}, timeout=2.0)
        if not self.ended.done() and self._carrier is not None:
            self._carrier.abort()

    @property
    def ours(self) -> bool:
        """Whether the hub is an Edgeward, which knows more than a KubeEdge cloud."""
        return self._carrier is not None and self._carrier.server == "edgeward"

    def send(self, sent: Message) -> None:
        """Send a message. Nothing happens when the connection has ended."""
        if self._carrier is not None:
            self._carrier.send(message.encode(sent))

    # ------------------------------------------------------------------------------------------- what the transport tells

    def accepted(self, carrier: Carrier) -> None:
        """The hub has accepted: the first sign of life goes out at once."""
        self._carrier = carrier
        self._pulse = Pulse(opened_at=self._time(), every=self._world.heartbeat)
        self._beat()
        if not self._opened.done():
            self._opened.set_result(None)

    def refused(self, status: int, words: str) -> None:
        """The hub's answer to the request for a connection was no."""
        if not self._opened.done():
            self._opened.set_exception(enrol.refusal(self.where, status, words.strip() or "(nothing)"))

    def heard(self) -> None:
        """Something came that is no message."""
        if self._pulse is not None:
            self._pulse.heard(self._time())

    def received(self, octets: bytes | bytearray) -> None:
        """A message came."""
        self.heard()
        try:
            read = message.decode(bytes(octets))
        except EdgewardError as error:
            _log.warning("a message from %s is dropped: %s", self.where, error)
            return
        answer = messages.acknowledgement(read, msg_id=self._world.new_id(), now=self._world.now())
        try:
            content = self._world.on_message(read)
            if answer is not None and content is not None:
                answer = message.response_to(read, content, msg_id=answer.msg_id, now=self._world.now())
        except EdgewardError as error:
            _log.warning("message %s failed: %s", read.msg_id, error)
            answer = answer and message.error_to(read, str(error), msg_id=self._world.new_id(), now=self._world.now())
        if answer is not None and self._carrier is not None:
            self._carrier.send(message.encode(answer))

    def lost(self, why: str) -> None:
        """It is over."""
        why = self._why or why or "the connection was closed"
        if self._timer is not None:
            self._timer.cancel()
        if not self._opened.done():
            self._opened.set_exception(Unreachable(address=self.where, why=why))
        if not self.ended.done():
            self.ended.set_result(why)
        self._carrier = None

    # --------------------------------------------------------------------------------------------------------- signs of life

    def _beat(self) -> None:
        if self._carrier is None or self._pulse is None:
            return
        if not self._pulse.beat(self._time()):
            self._why = "the hub has gone silent"
            self._carrier.abort()
            return
        self._carrier.send(message.encode(message.keepalive(self._world.new_id(), self._world.now())))
        self._carrier.ping()
        self._timer = asyncio.get_running_loop().call_at(self._pulse.next_beat, self._beat)
