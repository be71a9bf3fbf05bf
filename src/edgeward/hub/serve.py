"""The hub: admits nodes, keeps their sessions, passes messages up and down, and ends sessions for every cause there is.

It does no I/O of its own: connections reach it through `admit`, which any transport can call, and it acts on them through `Link`. All
of it runs in one event loop. What is decided synchronously stays decided: a session that is closed has left the registry before
anything else happens, so that nothing is delivered from it or sent to it afterwards.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from edgeward.errors import Busy, CertificateRefused, EdgewardError, printable
from edgeward.hub import authorise
from edgeward.hub.authorise import Admitted, Claim
from edgeward.hub.courier import Courier, Settlement
from edgeward.hub.courier import Settings as DeliverySettings
from edgeward.hub.delivery import EVERYTHING, QUEUED, Wanted, Watch, Watchers
from edgeward.hub.delivery import Event as Happening
from edgeward.hub.presence import Presence
from edgeward.hub.registry import Registry
from edgeward.hub.session import (
    BURST,
    INTERVAL,
    RATE,
    Answer,
    Close,
    Deliver,
    Ended,
    Output,
    Refresh,
    Report,
    Session,
)
from edgeward.hub.trust import TrustDesk
from edgeward.model import delivery, http
from edgeward.model import message as messages
from edgeward.model.audit import Event
from edgeward.model.bundle import RESOURCE, TrustBundle
from edgeward.model.device import Cause
from edgeward.model.message import Header, Message
from edgeward.stores.port import Store

_log = logging.getLogger(__name__)

SWEEP = 1.0
"""Seconds between two looks for silent nodes."""

LONGEST_HOLD = 10.0
"""Seconds for which reading is paused at most at a time, so that a session that owes more is looked at again before it counts as silent."""

GOODBYE: dict[Cause, tuple[int, str]] = {
    Cause.CLOSED: (1000, ""),
    Cause.REPLACED: (1008, "replaced by a newer connection of this node"),
    Cause.EXPIRED: (1008, "the node's certificate has expired"),
    Cause.PROTOCOL: (1007, "a message could not be read"),
    Cause.SHUTDOWN: (1001, "the hub is shutting down"),
    Cause.UNKNOWN: (1011, ""),
}
"""The close frame for each cause (RFC 6455 section 7.4.1). A cause without a line gets none: the connection is cut at once. For a
revoked node not one octet may go out any more; a silent one would not read it."""


_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator may set. Times in seconds."""

    nodes: int = 100_000
    """Sessions at a time; one more node is refused with 503."""
    keepalive: float = INTERVAL
    """Without a keepalive for this long a node is gone."""
    rate: float = RATE
    """Messages a second from one node, for long."""
    burst: float = BURST
    """Messages at once from one node."""
    flush: float = 30.0
    """Between two writes of when nodes were last seen."""


class Link(Protocol):
    """A connection, as the hub needs it. `transports` has what fits."""

    @property
    def address(self) -> str:
        """The peer's IP address."""
        ...

    def send(self, octets: bytes) -> None:
        """Send one message."""
        ...

    def unsent(self) -> int:
        """Octets that the peer has not taken yet."""
        ...

    def hold(self, seconds: float) -> None:
        """Read nothing for a while."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Say goodbye and close."""
        ...

    def abort(self) -> None:
        """Close at once, without another octet."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Online:
    """A live session, as a list shows it."""

    node: str
    address: str
    fingerprint: bytes


class Neighbours(Protocol):
    """The other hubs on the same store (`hub.others`). Nothing here blocks."""

    def opened(self, node: str) -> int:
        """A session of `node` began here; its epoch, larger than that of every older session of the node."""
        ...

    def upward(self, node: str, message: Message) -> None:
        """A node sent a message."""
        ...

    def presence(self, node: str, event: str, why: str, address: str) -> None:
        """A node came or went."""
        ...

    def watching(self) -> None:
        """Somebody watches here what nodes send."""
        ...


Delivery = Callable[[str, Message], None]


class Attendance:
    """One node's connection at the hub: receives from its link what the peer sends. Made by `Hub.admit`, live once `opened`."""

    __slots__ = ("_dropped", "_hub", "_reported", "admitted", "clocked", "epoch", "link", "session")

    def __init__(self, hub: "Hub", session: Session, admitted: Admitted) -> None:
        self._hub = hub
        self.session = session
        self.admitted = admitted
        self.link: Link | None = None
        self.clocked = False
        self.epoch = 0
        self._dropped = 0
        self._reported = float("-inf")

    def opened(self, link: Link) -> None:
        """The connection stands."""
        self.link = link
        self._hub._opened(self, link)

    def received(self, octets: bytes | bytearray) -> None:
        """A message came in."""
        at = self._hub.clock()
        session = self.session
        output = session.receive(octets, at)
        if output is not None:
            self._hub._perform(self, output)
        wait = session.owed(at)
        if wait:
            self._hold(wait)

    def trifled(self) -> None:
        """A frame that is no message and costs as much."""
        self._hold(self.session.owed(self._hub.clock()))

    def resumed(self) -> None:
        """Its pause is over, unless it owes more. Its keepalives may have been waiting unread: that is not held against it."""
        self.session.heard = self._hub.clock()
        self._hub.registry.heard(self)
        self._hold(self.session.owed(self.session.heard, 0))

    def lost(self, fault: str) -> None:
        """The connection is gone."""
        if fault:
            _log.warning("node %s: %s", self.session.node, printable(fault))
        output = self.session.lost(self._hub.clock(), Cause.PROTOCOL if fault else Cause.CLOSED)
        if output is not None:
            self._hub._perform(self, output)
        self.link = None

    def _hold(self, wait: float) -> None:
        if wait and self.link is not None:
            self.link.hold(min(wait, LONGEST_HOLD))

    def reportable(self, at: float) -> int:
        """How many dropped messages a report about one more should speak of: 0 when the last report is less than a minute old."""
        self._dropped += 1
        if at - self._reported < 60.0:
            return 0
        dropped, self._dropped, self._reported = self._dropped, 0, at
        return dropped


class Hub:
    """Everything together. `deliver` is told of every message that goes upward and must not block; `watch` is for those who may be slow.
    `failed` is told of every upgrade that was refused, with its request.

    `now` gives aware UTC, `new_id` a message id that was never used, `clock` seconds that never go back.
    """

    def __init__(  # noqa: PLR0913 - what it tells others of, by name and each with a default
        self,
        store: Store,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        deliver: Delivery = lambda _node, _message: None,
        failed: Callable[[http.Request, EdgewardError], None] = lambda _request, _error: None,
        adopt: authorise.Adopt = authorise.nobody_s,
        bundle: Callable[[], TrustBundle | None] = lambda: None,
        settings: Settings | None = None,
        delivery_settings: DeliverySettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings or Settings()
        self.clock = clock
        self.registry: Registry[Attendance] = Registry()
        self.neighbours: Neighbours | None = None
        self._store = store
        self._now = now
        self._new_id = new_id
        self._deliver = deliver
        self._failed = failed
        self.courier = Courier(store.queue, now=now, clock=clock, settings=delivery_settings)
        self._adopt = adopt
        self.courier.observe = self._settled
        self._watchers = Watchers(new_id()[:8])
        self._presence = Presence(store, clock)
        self._flushed = clock()
        self._first_end = _NEVER  # no certificate of a live session ends before
        self._superseded: deque[tuple[float, tuple[bytes, ...]]] = deque()
        """Certificates that a newer one replaced when it was admitted, and when that was."""
        self._stopped = False
        self.trust = TrustDesk(
            bundle, self._ask, self._presence.note, now, new_id, lambda node: self.registry.of_node(node) is not None
        )

    # ------------------------------------------------------------------------------------------------------ its life

    async def start(self) -> None:
        """Before the first connection: whoever the store has as online is not."""
        await self._store.all_offline(self._now(), Cause.UNKNOWN)
        await self.courier.start()

    async def run(self) -> None:
        """Sweep and flush until cancelled. A sweep that fails is logged, and the next one comes all the same."""
        while True:
            await asyncio.sleep(SWEEP)
            try:
                await self.sweep()
            except Exception:  # the shell of the loop: without it the watchdog would die unseen
                _log.exception("the hub's sweep failed")

    async def sweep(self) -> None:
        """Close silent sessions, those of expired certificates, and those of replaced ones whose successor was admitted and never opened
        its session; when it is time, record when nodes were last seen."""
        at = self.clock()
        self._close_expired(self._now())
        while self._superseded and self._superseded[0][0] <= at - SWEEP:
            self.close_certificates(self._superseded.popleft()[1], Cause.REVOKED)
        for attendance in self.registry.silent(at - self.settings.keepalive):
            self._do(attendance, attendance.session.silence(at))
        if at - self._flushed >= self.settings.flush:
            await self.flush()
        self.courier.tick()
        await self.courier.tidy()

    def _close_expired(self, now: datetime) -> None:
        """Whoever may not connect any more does not stay either."""
        if now <= self._first_end:
            return
        self._first_end = _NEVER
        for attendance in self.registry:
            if now > attendance.admitted.until:
                self._close(attendance, Cause.EXPIRED)
            else:
                self._first_end = min(self._first_end, attendance.admitted.until)

    async def flush(self) -> None:
        """Record when nodes were last seen, of those heard of since the last time."""
        at, since = self.clock(), self._flushed
        self._flushed = at
        now = self._now()
        moments = [(node, now - timedelta(seconds=at - heard)) for node, heard in self.registry.heard_after(since)]
        await self._presence.seen(moments)

    async def shutdown(self) -> None:
        """Close every session and admit no more; returns when everything about them is recorded."""
        self._stopped = True
        await self.flush()
        for attendance in self.registry:
            self._close(attendance, Cause.SHUTDOWN)
        self._watchers.close()
        await self.courier.stop()
        await self._presence.drain()

    async def settle(self) -> None:
        """Wait until everything that happened so far is recorded."""
        await self.courier.drain()
        await self._presence.drain()

    async def recorded(self) -> None:
        """Who came and went by now is in the store."""
        await self._presence.written()

    # ----------------------------------------------------------------------------------------------------- admission

    async def admit(self, request: http.Request) -> Attendance | http.Response:
        """Decide about an upgrade request: the receiver of its messages, or the answer that refuses it, which an edge will log."""
        try:
            return await self._admit(request)
        except EdgewardError as error:
            self._refused(request, error)
            return http.text(authorise.status(error), f"{printable(error, 1000)}\n")

    async def _admit(self, request: http.Request) -> Attendance:
        claimed = authorise.claim(request)
        candidate = self.registry.expect(claimed.node, claimed.fingerprint)
        try:
            admitted = await authorise.admit(
                self._store, claimed, self._now(), address=request.address, adopt=self._adopt
            )
            if admitted.superseded:
                # its own older session goes when the new one opens, so that the node is never offline in between; see `sweep`
                self.registry.of_certificates(admitted.superseded, Cause.REVOKED)
                self._superseded.append((self.clock(), admitted.superseded))
            if candidate.refused is not None:
                raise CertificateRefused(why=f"it was {candidate.refused} just now")
        finally:
            self.registry.forget(candidate)
        self._room_for(claimed)
        settings = self.settings
        session = Session(admitted.node, admitted.fingerprint, self.clock(), rate=settings.rate, burst=settings.burst)
        return Attendance(self, session, admitted)

    def _room_for(self, claimed: Claim) -> None:
        if self._stopped:
            raise Busy(what="the hub is shutting down")
        if len(self.registry) >= self.settings.nodes and self.registry.of_node(claimed.node) is None:
            raise Busy(what=f"{self.settings.nodes} nodes are connected, and that is the limit")

    def _refused(self, request: http.Request, error: EdgewardError) -> None:
        self._failed(request, error)
        claimed = printable(request.header("node_id"), 80)
        facts: dict[str, str | int | list[str] | None] = {"address": request.address, "why": printable(error, 500)}
        self._presence.note(
            Event(
                at=self._now(),
                actor="unproven",
                action=f"connection.refused.{error.code}",
                object=f"node:{claimed}",
                facts=facts,
            )
        )
        why = printable(error, 500)
        if claimed and self._presence.refused(claimed, self._now(), why, request.address):
            self._watchers.presence(claimed, self._now(), "refused", why, request.address)

    # ------------------------------------------------------------------------------------------------------ messages

    async def send(
        self,
        node: str,
        message: Message,
        *,
        wait: float | None = None,
        acknowledge: bool | None = None,
        lifetime: timedelta | None = None,
    ) -> Settlement:
        """Queue `message` for `node`, durably; with `wait`, wait so many seconds for its end. Its state, and what the node answered.

        A message without an id or a time gets them here. One with an id that was sent before with the same content is that message.
        `acknowledge`: whether the node is expected to acknowledge it; None leaves it to the rules of the wire. `lifetime`: after that
        it expires; at most what the settings say. Raises `NotFound`, `NodeBlocked`, `QueueFull` or `MessageConflict`.
        """
        header, now = message.header, self._now()
        if not header.msg_id or not header.timestamp:
            header = Header(
                msg_id=header.msg_id or self._new_id(),
                parent_msg_id=header.parent_msg_id,
                timestamp=header.timestamp or messages.milliseconds(now),
                resourceversion=header.resourceversion,
                sync=header.sync,
                type=header.type,
            )
        longest = self.courier.settings.lifetime
        outbound = delivery.outbound(
            node,
            Message(header=header, route=message.route, content=message.content),
            queued_at=now,
            expires_at=now + (longest if lifetime is None else min(lifetime, longest)),
            acknowledge=acknowledge,
            chosen_id=bool(message.header.msg_id),
        )
        return await self.courier.send(outbound, wait)

    def watch(self, wanted: Wanted = EVERYTHING, *, after: str = "", queued: int = QUEUED) -> Watch:
        """A stream of what happens, from now on or from an earlier event on; `with` closes it. A slow one loses events and is told."""
        if self.neighbours is not None:
            self.neighbours.watching()
        return self._watchers.watch(wanted, after=after, queued=queued)

    @property
    def id_of(self) -> Callable[[Happening], str]:
        """The id of an event, as `watch` takes it in `after`."""
        return self._watchers.id_of

    def _settled(self, settlement: Settlement) -> None:
        self._watchers.settled(settlement, self._now())

    @property
    def watched(self) -> bool:
        """Whether anybody here watches what nodes send."""
        return bool(self._watchers)

    def relayed(self, node: str, at: datetime, message: Message) -> None:
        """A node at another hub sent a message."""
        self._watchers.received(node, at, message)

    def heard_elsewhere(self, node: str, at: datetime, event: str, why: str, address: str) -> None:
        """A node came to another hub, or went from it."""
        self._watchers.presence(node, at, event, why, address)

    # ------------------------------------------------------------------------------------------------------ sessions

    def online(self) -> list[Online]:
        """The live sessions, in no order."""
        return [
            Online(node=one.session.node, address=one.link.address, fingerprint=one.session.fingerprint)
            for one in self.registry
            if one.link is not None
        ]

    def close_certificates(self, fingerprints: Iterable[bytes], cause: Cause) -> int:
        """Close the sessions opened with these certificates, and refuse those that are being opened. How many were closed."""
        found = self.registry.of_certificates(fingerprints, cause)
        for attendance in found:
            self._close(attendance, cause)
        return len(found)

    def close_node(self, node: str, cause: Cause) -> bool:
        """Close the session of a node, and refuse one that is being opened. Whether there was one."""
        self.registry.refuse(node, cause)
        if cause is Cause.REVOKED:
            self.courier.refused(node)
            self.trust.forget(node)
        attendance = self.registry.of_node(node)
        if attendance is not None:
            self._close(attendance, cause)
        return attendance is not None

    def _close(self, attendance: Attendance, cause: Cause) -> None:
        self._do(attendance, attendance.session.close(cause, self.clock()))

    def _do(self, attendance: Attendance, output: Output | None) -> None:
        if output is not None:
            self._perform(attendance, output)

    def _opened(self, attendance: Attendance, link: Link) -> None:
        older = self.registry.add(attendance)
        if older is not None:
            self._close(older, Cause.REPLACED)
        session, now = attendance.session, self._now()
        self._first_end = min(self._first_end, attendance.admitted.until)
        session.heard = self.clock()
        if self.neighbours is not None:
            attendance.epoch = self.neighbours.opened(session.node)
        self._presence.connected(session.node, now, link.address, attendance.epoch, attendance.admitted.first)
        self._changed(session.node, now, "online", "", link.address)
        self.courier.opened(session.node, link)
        _log.info("node %s connected from %s", session.node, link.address)

    def _perform(self, attendance: Attendance, output: Output) -> None:
        """Do what a session says."""
        match output:
            case Refresh():
                self.registry.heard(attendance)
                if not attendance.clocked:
                    self._clocked(attendance)
            case Deliver(message):
                self._upward(attendance.session.node, message)
            case Answer(to) if attendance.link is not None:
                reply = messages.response_to(to, messages.ACK, msg_id=self._new_id(), now=self._now())
                attendance.link.send(messages.encode(reply))
            case Report(message, why):
                self._report(attendance, message, why)
            case Close(cause, why):
                self._end(attendance, cause, why)
            case Ended(cause):
                self._gone(attendance, cause)

    def _upward(self, node: str, message: Message) -> None:
        if message.header.parent_msg_id:
            self.courier.answered(node, message)
        if message.route.resource == RESOURCE and message.route.operation == "query":
            self.trust.asked(node, message)
            return
        self._deliver(node, message)
        if self.neighbours is not None:
            self.neighbours.upward(node, message)
        self._watchers.received(node, self._now(), message)

    async def _ask(self, node: str, message: Message) -> Message | None:
        settlement = await self.send(node, message, wait=30.0, acknowledge=True, lifetime=timedelta(seconds=60))
        return settlement.answer

    def _changed(self, node: str, now: datetime, event: str, why: str, address: str) -> None:
        """A node came or went: subscribers hear of it."""
        self._watchers.presence(node, now, event, why, address)
        if self.neighbours is not None:
            self.neighbours.presence(node, event, why, address)

    def _clocked(self, attendance: Attendance) -> None:
        """Its first keepalive says what time the node believes it is."""
        attendance.clocked = True
        stated = attendance.session.stated
        if stated > 0 and attendance.link is not None:
            self._presence.clock_of(attendance.session.node, self._now(), stated, attendance.link.address)

    def _report(self, attendance: Attendance, message: Message, why: str) -> None:
        dropped = attendance.reportable(self.clock())
        if not dropped:
            return
        node = attendance.session.node
        resource, source = printable(message.resource), printable(message.source)
        _log.warning("node %s: dropped a %s, resource %s, source %s", node, why, resource, source)
        facts: dict[str, str | int | list[str] | None] = {
            "why": why,
            "resource": resource,
            "source": source,
            "dropped": dropped,
        }
        self._presence.note(
            Event(at=self._now(), actor=f"node:{node}", action="message.dropped", object=f"node:{node}", facts=facts)
        )

    def _end(self, attendance: Attendance, cause: Cause, why: str) -> None:
        """The session's end is decided: it leaves the registry now, its connection follows."""
        self._gone(attendance, cause)
        if why:
            _log.warning("node %s: %s", attendance.session.node, printable(why))
        if attendance.link is None:
            return
        if cause in GOODBYE:
            attendance.link.close(*GOODBYE[cause])
        else:
            attendance.link.abort()

    def _gone(self, attendance: Attendance, cause: Cause) -> None:
        """Record the end, unless a newer session of the node has taken its place or it was recorded before."""
        if self.registry.remove(attendance):
            node, now = attendance.session.node, self._now()
            address = "" if attendance.link is None else attendance.link.address
            self.courier.closed(node)
            self._presence.disconnected(node, now, cause, address)
            self._changed(node, now, "offline", cause, address)
            _log.info("node %s disconnected: %s", node, cause)
