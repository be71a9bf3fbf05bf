"""This hub among the others on the same store: what happened elsewhere and concerns sessions here, and the other way round.

The store is the truth and is looked at every two seconds, from where the last look ended; the bus says when to look sooner. So a
revocation made anywhere closes the session here at once while the bus works, and within `LOOK` while it does not; and nothing has to be
checked again after a break.

1. The newest session of a node wins: each has an epoch, and a hub that hears of a larger one closes its own. Epochs follow the clock,
   but never go back behind one that was heard of or is on record, so hosts whose clocks differ agree as long as they hear of each
   other, and a clock that was wrong once leaves nothing behind.
2. A replica is alive while it beats. Its nodes are recorded as offline and its planned rows given up by another one when it did not for
   a whole `LEASE`; only one that could write all that time itself judges others, so that an outage of the store kills nobody.
3. One that was given up and lives after all enters itself again, with the sessions that it has.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from edgeward.bus.port import Bus, Changed, Interest, Moved, Notice, Presence, Queued, Settled, Upward, Withdrawn
from edgeward.errors import EdgewardError, printable
from edgeward.hub import authorise
from edgeward.hub.courier import Settlement
from edgeward.hub.serve import Attendance, Hub
from edgeward.model import message as messages
from edgeward.model.authority import CertificateRecord
from edgeward.model.delivery import State
from edgeward.model.device import Cause
from edgeward.model.message import Message
from edgeward.stores.port import Store
from edgeward.stores.replicas import Change, Held

_log = logging.getLogger(__name__)

LOOK = 2.0
"""Seconds between two looks at what changed, where nobody says that anything did."""

BEAT = 5.0
"""Seconds between two signs of life."""

LEASE = 30.0
"""Seconds after which a replica that gave none is taken for dead."""

QUEUES = 30.0
"""Seconds between two looks for messages that nobody spoke of; every `BEAT` while the bus is away."""

RECENT = 10.0
"""Seconds for which a change is remembered: a node that was being admitted when it came is looked at once it is in."""

INTEREST = 15.0
"""Seconds for which another hub passes on what nodes send, unless it is asked again."""

AT_ONCE = 1000
"""Sessions that are recorded again in one write."""


class Others:
    """The other hubs, as `hub` sees them; also what its courier and its sessions tell them (`courier.Elsewhere`, `serve.Neighbours`).

    `changed` is told of changes that are not about nodes, `orphaned` of planned rows whose replica is dead.
    """

    def __init__(
        self,
        hub: Hub,
        store: Store,
        bus: Bus,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        changed: Callable[[Change], Awaitable[None]],
        orphaned: Callable[[Sequence[CertificateRecord]], Awaitable[object]],
    ) -> None:
        self._hub = hub
        self._store = store
        self._bus = bus
        self._now = now
        self._clock = clock
        self._changed = changed
        self._orphaned = orphaned
        self._wake = asyncio.Event()
        self._after = 0
        self._epoch = 0
        self._beaten = float("-inf")
        self._alive_since = float("inf")
        self._queues_at = clock()
        self._recent: dict[str, float] = {}
        self._rechecks: set[asyncio.Task[None]] = set()
        self._interested: dict[str, float] = {}
        self._said_interest = False
        self._away = False

    # ------------------------------------------------------------------------------------------------------ its life

    async def start(self) -> None:
        """Before the first connection: be alive, and know from where on changes are read."""
        await self._store.replicas.beat(self._now())
        self._beaten = self._alive_since = self._clock()
        self._after = await self._store.replicas.tip()
        self._epoch = await self._store.replicas.epoch()
        self._hub.neighbours = self
        self._hub.courier.elsewhere = self
        self._bus.start(self._received, self.wake)

    async def run(self) -> None:
        """Look until cancelled. A look that fails is logged, and the next one comes all the same."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.look()
                self._away = False
            except EdgewardError as error:
                if not self._away:
                    _log.warning("what other replicas did is not known: %s", printable(error))
                self._away = True
            except Exception:  # the shell of the loop: without it nobody would hear of revocations any more
                _log.exception("looking at what other replicas did failed")

    async def stop(self) -> None:
        """After the last session was closed: be no more."""
        with contextlib.suppress(EdgewardError):  # then its lease ends by itself
            await self._store.replicas.leave()
        await self._bus.close()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def tell(self) -> None:
        """Something was changed here that others act on."""
        self._bus.publish(Changed())

    # ---------------------------------------------------------------------------------------------- what hubs tell

    def opened(self, node: str) -> int:
        """A session of `node` began here; its epoch."""
        self._epoch = max(self._epoch + 1, messages.milliseconds(self._now()))
        self._bus.publish(Moved(node=node, epoch=self._epoch))
        if self._recent.get(node, float("-inf")) > self._clock() - RECENT:
            task = asyncio.get_running_loop().create_task(self._recheck_soon(node))
            self._rechecks.add(task)  # the loop holds tasks weakly
            task.add_done_callback(self._rechecks.discard)
        return self._epoch

    def upward(self, node: str, message: Message) -> None:
        """A message came up; it goes to the others if anybody watches there."""
        if self._interested and max(self._interested.values()) > self._clock():
            self._bus.publish(Upward(node=node, at=self._now(), message=messages.encode(message)))

    def presence(self, node: str, event: str, why: str, address: str) -> None:
        """A node came here or went; the others hear of it if anybody watches there."""
        if self._interested and max(self._interested.values()) > self._clock():
            self._bus.publish(Presence(node=node, at=self._now(), event=event, why=why, address=address))

    def watching(self) -> None:
        """Somebody watches here from now on."""
        self._said_interest = True
        self._bus.publish(Interest(seconds=INTEREST))

    # -------------------------------------------------------------------------------------------- what couriers tell

    def queued(self, node: str) -> None:
        """A message waits for a node that is not here."""
        self._bus.publish(Queued(node=node))

    def settled(self, settlement: Settlement) -> None:
        """A message ended here."""
        answer = None if settlement.answer is None else messages.encode(settlement.answer)
        self._bus.publish(
            Settled(node=settlement.node, msg_id=settlement.msg_id, state=settlement.state, answer=answer)
        )

    def withdrawn(self, node: str, msg_id: str, superseded: bool) -> None:
        """A message was taken out of the queue here."""
        self._bus.publish(Withdrawn(node=node, msg_id=msg_id, superseded=superseded))

    # ------------------------------------------------------------------------------------------------ what is heard

    def _received(self, sender: str, notice: Notice) -> None:
        courier = self._hub.courier
        match notice:
            case Changed():
                self.wake()
            case Moved(node=node, epoch=epoch):
                self._moved(node, epoch)
            case Queued(node=node):
                courier.arrived(node)
            case Settled(node=node, msg_id=msg_id, state=state, answer=answer):
                with contextlib.suppress(EdgewardError, ValueError):  # a replica of another version has other states
                    said = None if answer is None else messages.decode(answer)
                    courier.heard_of(Settlement(node, msg_id, State(state), said))
            case Withdrawn(node=node, msg_id=msg_id, superseded=superseded):
                courier.withdraw(node, msg_id, superseded=superseded)
            case Interest(seconds=seconds):
                self._interested[sender] = self._clock() + seconds
            case Upward(node=node, at=at, message=octets):
                with contextlib.suppress(EdgewardError):
                    self._hub.relayed(node, at, messages.decode(octets))
            case Presence(node=node, at=at, event=event, why=why, address=address):
                self._hub.heard_elsewhere(node, at, event, why, address)

    def _moved(self, node: str, epoch: int) -> None:
        self._epoch = max(self._epoch, epoch)
        attendance = self._hub.registry.of_node(node)
        if attendance is not None and attendance.epoch < epoch:
            self._hub.close_node(node, Cause.REPLACED)

    # ------------------------------------------------------------------------------------------------- what is seen

    async def look(self) -> None:
        """See what changed; when it is time, also who is alive, where nodes are, and what waits for them."""
        await self._read_changes()
        at = self._clock()
        if at - self._beaten >= BEAT:
            await self._beat()
        if at - self._queues_at >= (QUEUES if self._bus.connected else BEAT):
            self._queues_at = at
            for depth in await self._store.queue.depths():
                self._hub.courier.arrived(depth.node)
        if self._hub.watched or self._said_interest:
            self._said_interest = self._hub.watched
            self._bus.publish(Interest(seconds=INTEREST if self._hub.watched else 0))

    async def _read_changes(self) -> None:
        while changes := await self._store.replicas.changes(self._after):
            for change in changes:
                kind, _, name = change.object.partition(":")
                if kind == "node":
                    await self._recheck(name)
                elif change.action == "certificate.revoked":
                    record = await self._store.by_serial(name)
                    if record is not None and record.profile == authorise.PROFILE:
                        await self._recheck(record.identity)
                    elif record is not None:
                        await self._changed(change)
                else:
                    await self._changed(change)
                self._after = change.n
        oldest = self._clock() - RECENT
        self._recent = {node: at for node, at in self._recent.items() if at > oldest}

    async def _recheck(self, node: str) -> None:
        """Something about a node was revoked: close its session here if it hangs on that."""
        self._recent[node] = self._clock()
        attendance = self._hub.registry.of_node(node)
        if attendance is None:
            return
        device = await self._store.device(node)
        record = await self._store.certificate(attendance.session.fingerprint)
        if device is None or device.blocked_at is not None:
            self._hub.close_node(node, Cause.REVOKED)
        elif record is None or record.revoked_at is not None:
            self._hub.close_certificates([attendance.session.fingerprint], Cause.REVOKED)

    async def _recheck_soon(self, node: str) -> None:
        try:
            await self._recheck(node)
        except EdgewardError as error:
            _log.warning(
                "node %s was revoked while it connected, and is cut: the store cannot be asked (%s)", node, error
            )
            self._hub.close_node(node, Cause.REVOKED)

    async def _beat(self) -> None:
        replicas, now, at = self._store.replicas, self._now(), self._clock()
        known = await replicas.beat(now)
        if at - self._beaten > 2 * BEAT + LOOK:
            self._alive_since = at
        self._beaten = at
        if not known:
            await self._hold(now)
        for node, epoch in await replicas.moved(now - timedelta(seconds=3 * BEAT)):
            self._moved(node, epoch)
        if at - self._alive_since >= LEASE:
            before = now - timedelta(seconds=LEASE)
            orphans = await replicas.orphans(before)
            if orphans:
                await self._orphaned(orphans)
            for name in await replicas.lapsed(before, now):
                _log.warning("replica %s is dead; its nodes are recorded as offline until they connect elsewhere", name)

    async def _hold(self, now: datetime) -> None:
        _log.warning("this replica had been taken for dead; its sessions are recorded again")
        held = [_held(one, now) for one in self._hub.registry if one.link is not None]
        for start in range(0, len(held), AT_ONCE):
            await self._store.replicas.hold(held[start : start + AT_ONCE])


def _held(attendance: Attendance, now: datetime) -> Held:
    address = "" if attendance.link is None else attendance.link.address
    return Held(attendance.session.node, now, address, attendance.epoch)
