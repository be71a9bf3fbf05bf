"""What every store must do with failures: count them together, keep the newest, and let nobody push out the others'."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from edgeward.model.failure import Failure, Learnt, Listener, Shown
from edgeward.stores import sql_failures
from edgeward.stores.relational import RelationalStore
from tests.support.places import Place, story
from tests.support.rows import NOON, arrived, enrolled

MINUTE = timedelta(minutes=1)
LONG_AGO = NOON - timedelta(days=30)


def failure(at: datetime = NOON, **changes: Any) -> Failure:
    facts: dict[str, Any] = {
        "first_at": at,
        "last_at": at,
        "listener": Listener.ENROLMENT,
        "address": "192.0.2.7",
        "code": "handshake.tls",
        "reason": "it sent the alert: bad certificate",
        "alert": "bad certificate",
        "received": True,
        "dialled": "203.0.113.9",
        "learnt": Learnt.LOCAL,
    }
    return Failure(**(facts | changes))


async def everything(store: RelationalStore, **asked: Any) -> list[Failure]:
    return list(await store.failures(**({"node": "", "address": "", "since": None, "limit": 100_000} | asked)))


def test_a_failure_comes_back_as_it_was_written(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        shown = Shown(subject="CN=a", issuer="CN=b", fingerprint="ab" * 32, not_after=NOON)
        one = failure(node="edge-1", shown=shown, learnt=Learnt.SNI, received=False, count=3)
        await store.add_failures([(one, one.address)], LONG_AGO)
        assert await everything(store) == [one]

    story(place, tell)


def test_failures_of_one_kind_are_one_record_that_remembers_the_first_and_the_last(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        shown = Shown(subject="CN=a", issuer="CN=b", fingerprint="ab" * 32)
        later = failure(NOON + MINUTE, count=5)
        await store.add_failures([(failure(shown=shown), "n")], LONG_AGO)
        await store.add_failures([(later, "n"), (failure(node="edge-1"), "n")], LONG_AGO)
        assert await everything(store) == [replace(later, first_at=NOON, count=6, shown=shown), failure(node="edge-1")]

    story(place, tell)


def test_a_network_that_varies_what_it_does_pushes_out_its_own_records_only(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        victim = failure(address="198.51.100.1")
        await store.add_failures([(victim, victim.address)], LONG_AGO)
        for n in range(4):
            flood = [failure(NOON + n * MINUTE, dialled=f"name-{n}-{i}", address=f"2001:db8::{i:x}") for i in range(80)]
            await store.add_failures([(one, "2001:db8::/64") for one in flood], LONG_AGO)
        left = await everything(store)
        assert victim in left
        assert len(left) - 1 <= 80 + sql_failures.MOST_OF_NETWORK
        assert {one.last_at for one in left if one != victim} == {NOON + 2 * MINUTE, NOON + 3 * MINUTE}

    story(place, tell)


def test_the_oldest_leave_when_there_are_too_many_or_their_time_is_over(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        for n in range(0, sql_failures.MOST + 500, 500):
            chunk = [failure(NOON + i * MINUTE, address=f"10.0.{i // 250}.{i % 250}") for i in range(n, n + 500)]
            await store.add_failures([(one, one.address) for one in chunk], LONG_AGO)
        left = await everything(store)
        assert len(left) == sql_failures.MOST
        assert left[-1].last_at == NOON + 500 * MINUTE
        newest = NOON + (sql_failures.MOST + 499) * MINUTE
        await store.add_failures([(failure(newest, code="token-spent"), "n")], newest)
        assert {one.last_at for one in await everything(store)} == {newest}

    story(place, tell)


def test_what_is_asked_for_is_what_is_given(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        await enrolled(store, "edge-1")
        await arrived(store, "edge-1", NOON, "192.0.2.7")
        named = failure(NOON + MINUTE, node="edge-1", address="198.51.100.1")
        nameless = failure(NOON)
        another = failure(NOON + 2 * MINUTE, node="edge-2")
        elsewhere = failure(NOON + 3 * MINUTE, address="198.51.100.2")
        for one in (named, nameless, another, elsewhere):
            await store.add_failures([(one, one.address)], LONG_AGO)
        assert await everything(store) == [elsewhere, another, named, nameless]
        assert await everything(store, limit=2) == [elsewhere, another]
        assert await everything(store, since=NOON + 2 * MINUTE) == [elsewhere, another]
        assert await everything(store, address="192.0.2.7") == [another, nameless]
        assert await everything(store, node="edge-1") == [named, nameless]
        assert await everything(store, node="edge-3") == []
        assert await store.nodes_at("192.0.2.7") == ["edge-1"]

    story(place, tell)
