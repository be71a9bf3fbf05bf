"""One hub among others: who is alive, told by the clock that the test moves."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from edgeward.bus.alone import AloneBus
from edgeward.bus.port import Moved, Notice, Received
from edgeward.errors import StoreUnavailable
from edgeward.hub import others as module
from edgeward.hub.others import Others
from edgeward.hub.serve import Hub
from edgeward.model.authority import CertificateRecord
from edgeward.model.device import Cause
from edgeward.stores.postgres import open_store
from edgeward.stores.relational import RelationalStore
from edgeward.stores.replicas import Change
from tests.support.postgres import Cluster
from tests.support.rows import NOON, admission, arrived, enrolled, event, new_issuer, new_record


class Wire(AloneBus):
    """A bus whose other end is the test."""

    def __init__(self) -> None:
        self.said: list[Notice] = []
        self.hear: Received = lambda _sender, _notice: None

    def start(self, received: Received, restored: object) -> None:
        self.hear = received

    def publish(self, notice: Notice) -> None:
        self.said.append(notice)


class Replica:
    """A hub and its view of the others, on a clock that `passes` moves."""

    def __init__(self, url: str, name: str) -> None:
        self.store: RelationalStore = open_store(url, name)
        self.seconds = 0.0
        self.bus = Wire()
        self.orphans: list[str] = []
        self.hub = Hub(self.store, now=self.now, new_id=lambda: "id", clock=lambda: self.seconds)
        self.others = Others(
            self.hub,
            self.store,
            self.bus,
            now=self.now,
            clock=lambda: self.seconds,
            changed=self._changed,
            orphaned=self._orphaned,
        )
        self.changes: list[str] = []

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds)

    async def _changed(self, change: Change) -> None:
        self.changes.append(change.action)

    async def _orphaned(self, records: Sequence[CertificateRecord]) -> None:
        self.orphans += [record.serial for record in records]

    async def passes(self, seconds: float) -> None:
        """Look every two seconds until so many have gone by."""
        until = self.seconds + seconds
        while self.seconds < until:
            self.seconds += module.LOOK
            await self.others.look()


def test_a_dead_replica_is_cleared_up_after_a_lease_and_not_before(postgres: Cluster) -> None:
    async def tell() -> None:
        url = postgres.database(migrated=True)
        a, b = Replica(url, "a"), Replica(url, "b")
        await a.store.add_issuer(new_issuer(), None, event("ca.created"))
        await enrolled(a.store, "edge-1")
        for one in (a, b):
            await one.others.start()
        await arrived(b.store, "edge-1", NOON, "192.0.2.2", 1)
        record = new_record("edge-2")
        await b.store.plan(record, admission())
        await a.passes(module.LEASE - 6)
        device = await a.store.device("edge-1")
        assert device is not None and device.online_since is not None
        assert a.orphans == []
        await a.passes(14)
        device = await a.store.device("edge-1")
        assert device is not None
        assert (device.online_since, device.offline_cause) == (None, Cause.UNKNOWN)
        assert a.orphans == [record.serial]
        b.seconds = a.seconds
        await b.others.look()
        assert await b.store.replicas.beat(b.now()), "it has entered itself again"
        for one in (a, b):
            await one.store.close()

    asyncio.run(tell())


def test_after_an_outage_nobody_is_taken_for_dead(postgres: Cluster) -> None:
    async def tell() -> None:
        url = postgres.database(migrated=True)
        a, b = Replica(url, "a"), Replica(url, "b")
        await a.store.add_issuer(new_issuer(), None, event("ca.created"))
        for one in (a, b):
            await one.others.start()
        await enrolled(a.store, "edge-1")
        await arrived(b.store, "edge-1", NOON, "192.0.2.2", 1)
        for _ in range(20):
            for one in (a, b):
                await one.passes(2)
        a.seconds += 120  # for so long neither of them could write
        await a.passes(4)
        device = await a.store.device("edge-1")
        assert device is not None and device.online_since is not None
        for one in (a, b):
            await one.store.close()

    asyncio.run(tell())


def test_changes_are_acted_on_once_also_after_the_store_was_away(postgres: Cluster) -> None:
    async def tell() -> None:
        url = postgres.database(migrated=True)
        a, b = Replica(url, "a"), Replica(url, "b")
        await a.store.add_issuer(new_issuer(), None, event("ca.created"))
        await b.others.start()
        await a.store.put_setting("advertised", "[]", event("authority.advertised"))
        query = b.store._reader.query

        async def away(*_: object) -> list[tuple[object, ...]]:
            raise StoreUnavailable(why="away")

        b.store._replicas._reader.query = away  # type: ignore[method-assign]
        try:
            await b.passes(2)
        except StoreUnavailable:
            b.store._replicas._reader.query = query  # type: ignore[method-assign]
        await b.passes(4)
        assert b.changes == ["authority.advertised"]
        for one in (a, b):
            await one.store.close()

    asyncio.run(tell())


def test_epochs_never_go_back_behind_what_was_heard_of(postgres: Cluster) -> None:
    async def tell() -> None:
        a = Replica(postgres.database(migrated=True), "a")
        await a.others.start()
        first = a.others.opened("edge-1")
        ahead = first + 3_600_000  # a replica whose clock is an hour ahead
        a.bus.hear("b", Moved(node="edge-1", epoch=ahead))
        assert a.others.opened("edge-1") > ahead
        assert [type(one) for one in a.bus.said] == [Moved, Moved]
        await a.store.close()

    asyncio.run(tell())


def test_a_clock_that_was_ahead_once_leaves_no_node_offline_for_good(postgres: Cluster) -> None:
    """A replica whose clock was ten years ahead has recorded a session; all of them are started again when it is right."""

    async def tell() -> None:
        url = postgres.database(migrated=True)
        a = Replica(url, "a")
        await a.store.add_issuer(new_issuer(), None, event("ca.created"))
        await enrolled(a.store, "edge-1")
        a.seconds = timedelta(days=3652).total_seconds()
        await a.others.start()
        await arrived(a.store, "edge-1", a.now(), "192.0.2.1", a.others.opened("edge-1"))
        await a.store.all_offline(a.now(), Cause.SHUTDOWN)
        await a.others.stop()
        await a.store.close()

        b = Replica(url, "b")
        await b.others.start()
        await arrived(b.store, "edge-1", b.now(), "192.0.2.2", b.others.opened("edge-1"))
        device = await b.store.device("edge-1")
        assert device is not None and (device.online_since, device.address) == (NOON, "192.0.2.2")
        await b.store.close()

    asyncio.run(tell())
