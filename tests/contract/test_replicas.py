"""What replicas on one store know of each other: `stores.replicas.Replicas`, said precisely."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from edgeward.model.authority import Reason
from edgeward.model.device import Cause
from edgeward.stores import postgres as adapter
from edgeward.stores.relational import RelationalStore
from edgeward.stores.replicas import Held
from tests.support.places import Place, story
from tests.support.postgres import Cluster
from tests.support.rows import (
    NOON,
    admission,
    arrived,
    departed,
    digest,
    enrolled,
    event,
    issue,
    new_issuer,
    new_record,
    new_token,
    use_of,
)

SECOND = timedelta(seconds=1)
LEASE = 30 * SECOND

Pair = Callable[[Callable[[RelationalStore, RelationalStore], Awaitable[None]]], None]


@pytest.fixture
def pair(postgres: Cluster) -> Pair:
    """Two replicas, `a` and `b`, on one database with an active issuer."""

    def run(tell: Callable[[RelationalStore, RelationalStore], Awaitable[None]]) -> None:
        async def whole() -> None:
            url = postgres.database(migrated=True)
            a, b = adapter.open_store(url, "a"), adapter.open_store(url, "b")
            await a.add_issuer(new_issuer(), None, event("ca.created"))
            await tell(a, b)
            await a.close()
            await b.close()

        asyncio.run(whole())

    return run


def test_a_store_with_one_process_has_nobody_else_on_it(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        replicas = store.replicas
        assert replicas.name == ""
        assert not await replicas.beat(NOON)
        assert await replicas.beat(NOON + SECOND)
        assert await replicas.lapsed(NOON + LEASE, NOON + LEASE) == []
        record = new_record()
        await store.plan(record, admission())
        assert await store.planned() == [record]
        assert await replicas.orphans(NOON + LEASE) == []
        await arrived(store, "edge-1", NOON, "192.0.2.7")
        assert await replicas.moved(NOON) == []
        await replicas.leave()

    story(place, tell)


def test_changes_are_read_onward(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        tip = await store.replicas.tip()
        assert tip == len(await store.audit())
        record = await enrolled(store)
        await store.note(event("certificate.refused"))
        await store.block("edge-1", NOON, Reason.UNSPECIFIED, event("node.revoked"))
        await store.put_setting("advertised", "[]", event("authority.advertised"))
        changes = await store.replicas.changes(tip)
        assert [(one.action, one.object) for one in changes] == [
            ("node.revoked", "test:1"),
            ("authority.advertised", "test:1"),
        ]
        assert changes[-1].n == await store.replicas.tip()
        assert await store.replicas.changes(tip, 1) == changes[:1]
        assert await store.replicas.changes(changes[-1].n) == []
        assert (await store.by_serial(record.serial)) is not None

    story(place, tell)


def test_a_setting_is_swapped_once(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        before = len(await store.audit())
        results = await asyncio.gather(*(store.swap_setting("x", str(n), None, event("swapped")) for n in range(5)))
        assert results.count(True) == 1
        first = str(results.index(True))
        assert await store.setting("x") == first
        assert not await store.swap_setting("x", "no", "other", event("swapped"))
        assert not await store.swap_setting("y", "no", "other", event("swapped"))
        assert await store.swap_setting("x", "yes", first, event("swapped"))
        assert await store.setting("x") == "yes"
        assert len(await store.audit()) == before + 2

    story(place, tell)


def test_a_start_clears_up_after_itself_and_after_nobody_else(pair: Pair) -> None:
    async def tell(a: RelationalStore, b: RelationalStore) -> None:
        mine, theirs = new_record("edge-1"), new_record("edge-2")
        await a.plan(mine, admission())
        await b.plan(theirs, admission())
        await arrived(a, "edge-1", NOON, "192.0.2.1", 1)
        await arrived(b, "edge-2", NOON, "192.0.2.2", 1)
        assert await a.planned() == [mine]
        await a.all_offline(NOON + SECOND, Cause.UNKNOWN)
        states = {node.device.name: node.state for node in await b.nodes()}
        assert states == {"edge-1": "offline", "edge-2": "online"}

    pair(tell)


def test_what_a_dead_replica_left_is_cleared_up_when_its_lease_has_ended(pair: Pair) -> None:
    async def tell(a: RelationalStore, b: RelationalStore) -> None:
        for one in (a, b):
            assert not await one.replicas.beat(NOON)
        record = new_record("edge-1")
        await b.plan(record, admission())
        await enrolled(a, "edge-2")
        await arrived(b, "edge-2", NOON, "192.0.2.2", 1)
        await a.replicas.beat(NOON + LEASE)
        assert await a.replicas.orphans(NOON) == [], "it is alive"
        assert await a.replicas.lapsed(NOON, NOON + LEASE) == []
        later = NOON + LEASE + SECOND
        assert await a.replicas.orphans(NOON + SECOND) == [record]
        assert await a.replicas.lapsed(NOON + SECOND, later) == ["b"]
        assert await a.replicas.lapsed(NOON + SECOND, later) == []
        device = await a.device("edge-2")
        assert device is not None
        assert (device.online_since, device.offline_cause) == (None, Cause.UNKNOWN)
        assert await a.planned() == []
        assert not await b.replicas.beat(later), "it hears that it was given up"
        await b.replicas.hold([Held("edge-2", NOON, "192.0.2.2", 1)])
        device = await a.device("edge-2")
        assert device is not None and device.online_since == NOON
        assert device.connections == 1
        await b.replicas.leave()
        assert not await b.replicas.beat(later)

    pair(tell)


def test_the_newest_session_is_where_the_node_is_whatever_is_written_first(pair: Pair) -> None:
    async def tell(a: RelationalStore, b: RelationalStore) -> None:
        await enrolled(a, "edge-1")
        await arrived(b, "edge-1", NOON + SECOND, "192.0.2.2", 2)
        await arrived(a, "edge-1", NOON, "192.0.2.1", 1)  # it was earlier, and is written later
        await departed(a, "edge-1", NOON + 2 * SECOND, Cause.REPLACED)
        device = await a.device("edge-1")
        assert device is not None
        assert (device.online_since, device.address) == (NOON + SECOND, "192.0.2.2")
        assert await a.replicas.moved(NOON) == [("edge-1", 2)]
        assert await b.replicas.moved(NOON) == []
        assert await a.replicas.moved(NOON + 2 * SECOND) == []
        await a.replicas.hold([Held("edge-1", NOON, "192.0.2.1", 1)])
        assert await a.device("edge-1") == device
        await departed(b, "edge-1", NOON + 3 * SECOND, Cause.CLOSED)
        await a.replicas.hold([Held("edge-1", NOON, "192.0.2.1", 1)])
        gone = await a.device("edge-1")
        assert gone == replace(device, online_since=None, offline_since=NOON + 3 * SECOND, offline_cause=Cause.CLOSED)

    pair(tell)


def test_a_row_that_is_given_up_while_its_replica_was_only_slow_is_not_issued_twice(pair: Pair) -> None:
    async def tell(a: RelationalStore, b: RelationalStore) -> None:
        record = new_record()
        await b.plan(record, admission())
        (orphan,) = await a.replicas.orphans(NOON + SECOND)
        await a.abandon(orphan.issuer_id, orphan.serial, NOON, event("certificate.abandoned"))
        with pytest.raises(Exception, match="not planned any more"):
            await issue(b, record)

    pair(tell)


def test_each_life_has_a_larger_number_than_those_before(pair: Pair) -> None:
    async def tell(a: RelationalStore, b: RelationalStore) -> None:
        lives = [await a.replicas.live() for _ in range(3)]
        assert lives == sorted(set(lives))
        assert await b.replicas.live() == lives[0], "each counts its own"

    pair(tell)


def test_what_one_replica_does_to_a_token_the_other_knows_at_once(pair: Pair) -> None:
    async def tell(a: RelationalStore, b: RelationalStore) -> None:
        token = new_token(pattern="*", uses=5)
        await a.add_token(token, event())
        for store in (a, b):
            assert (await store.standing(token.key_id, "edge-1", digest("k"), NOON)).token == token
        record = new_record(token=token.key_id)
        await b.plan(record, admission(use=use_of(token, record), uses=5))
        assert (await a.standing(token.key_id, "edge-1", digest("k"), NOON)).token == replace(token, used=1)
        await b.revoke_token(token.key_id, NOON, event())
        known = (await a.standing(token.key_id, "edge-1", digest("k"), NOON)).token
        assert known == replace(token, used=1, revoked_at=NOON)

    pair(tell)
