"""What is PostgreSQL's own: several writers, connections that break, a database that goes away and comes back."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeward.errors import NodeHasCertificate, OutcomeUnknown, StoreUnavailable, UsageError
from edgeward.model import audit
from edgeward.model.authority import Reason
from edgeward.stores import postgres as adapter
from edgeward.stores.postgres import open_store
from edgeward.stores.relational import RelationalStore
from tests.support.broken_wire import Moment, wire
from tests.support.places import actions
from tests.support.postgres import Cluster, cluster
from tests.support.rows import admission, event, new_issuer, new_record, new_token, use_of

ROOT = Path(__file__).parents[2]


async def _racers(url: str, stores: int) -> list[RelationalStore]:
    opened = [open_store(url) for _ in range(stores)]
    await opened[0].add_issuer(new_issuer(), None, event("ca.created"))
    return opened


async def _whole(store: RelationalStore) -> None:
    assert audit.first_bad(await store.audit(0, 100_000)) is None


def test_t13_a_hundred_racers_in_two_processes_get_as_many_certificates_as_the_token_has_uses(
    postgres: Cluster,
) -> None:
    url = postgres.database(migrated=True)
    token = new_token(pattern="*", uses=3)

    async def prepare() -> None:
        store = open_store(url)
        await store.add_issuer(new_issuer(), None, event("ca.created"))
        await store.add_token(token, event("token.created"))
        await store.close()

    asyncio.run(prepare())
    command = [sys.executable, "-m", "tests.stores.racing", url, token.key_id, "3", "50"]
    processes = [
        subprocess.Popen([*command, str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        for seed in (1, 2)
    ]
    for one in processes:
        assert one.stdin is not None
        one.stdin.close()
    won = []
    for one in processes:
        assert one.stdout is not None
        won += one.stdout.read().decode().split()
        one.stdout.close()
        assert one.wait(60) == 0

    async def judge() -> None:
        store = open_store(url)
        assert len(won) == 3
        assert {record.serial for record in await store.planned()} == set(won)
        assert {use.serial for use in await store.token_uses(token.key_id)} == set(won)
        await store.close()

    asyncio.run(judge())


def test_the_rules_of_one_writer_hold_between_replicas(postgres: Cluster) -> None:
    """A new name, a serial, a block and a plan, a first connection: everything that races inside one store, raced between four."""

    async def tell() -> None:
        stores = await _racers(postgres.database(migrated=True), 4)
        token = new_token(pattern="*", uses=100)
        await stores[0].add_token(token, event("token.created"))
        records = [new_record("edge-1", token=token.key_id) for _ in range(40)]
        results = await asyncio.gather(
            *(
                stores[n % 4].plan(r, admission(use=use_of(token, r), uses=100, new_name_only=True), event("planned"))
                for n, r in enumerate(records)
            ),
            return_exceptions=True,
        )
        assert results.count(None) == 1
        assert {type(one) for one in results} == {type(None), NodeHasCertificate}
        stored = await stores[1].token(token.key_id)
        assert stored is not None and stored.used == 1
        blocking = [
            stores[n].block(f"edge-{n}", event().at, Reason.UNSPECIFIED, event("node.revoked")) for n in range(4)
        ]
        planning = [stores[3 - n].plan(new_record(f"edge-{n}"), admission(), event("planned")) for n in range(4)]
        await asyncio.gather(*blocking, *planning, return_exceptions=True)
        for n in range(4):
            device = await stores[0].device(f"edge-{n}")
            assert device is not None and device.blocked_at is not None
        await asyncio.gather(*(store.note(event(f"note-{n}")) for n in range(50) for store in stores))
        assert sum(one.startswith("note-") for one in await actions(stores[2])) == 200
        await _whole(stores[3])
        for store in stores:
            await store.close()

    asyncio.run(tell())


def test_replicas_that_open_an_empty_database_at_once_bring_its_schema_up_once(postgres: Cluster) -> None:
    async def tell() -> None:
        url = postgres.database()
        stores = await asyncio.gather(*(asyncio.to_thread(open_store, url) for _ in range(4)))
        assert await stores[3].issuers() == []
        for store in stores:
            await store.close()

    asyncio.run(tell())


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_connection_that_breaks_while_it_commits_makes_the_write_once(postgres: Cluster, moment: Moment) -> None:
    url = postgres.database(migrated=True)

    async def tell() -> None:
        store = open_store(url.replace(str(postgres.directory), str(broken.directory)))
        await store.add_issuer(new_issuer(), None, event("ca.created"))
        token = new_token(uses=5)
        await store.add_token(token, event("token.created"))
        record = new_record(token=token.key_id)
        broken.breaks(moment)
        await store.plan(record, admission(use=use_of(token, record), uses=5), event("planned"))
        assert broken.broken == 1
        stored = await store.token(token.key_id)
        assert stored is not None and stored.used == 1
        assert await store.planned() == [record]
        assert (await actions(store)).count("planned") == 1
        await _whole(store)
        await store.close()

    with wire(postgres.directory) as broken:
        asyncio.run(tell())


def test_sessions_that_are_cut_again_and_again_lose_nothing_and_make_nothing_twice(postgres: Cluster) -> None:
    async def tell() -> None:
        url = postgres.database(migrated=True)
        store = open_store(url)
        cut = 0
        for n in range(15):
            notes = [asyncio.create_task(store.note(event(f"note-{n}-{i}"))) for i in range(20)]
            reads = [asyncio.create_task(store.tokens()) for _ in range(5)]
            await asyncio.sleep(0.002 * (n % 5))
            cut += await asyncio.to_thread(postgres.cut, url)
            await asyncio.gather(*notes, *reads)
        assert cut > 0
        made = [one for one in await actions(store) if one.startswith("note-")]
        assert len(made) == len(set(made)) == 300
        await _whole(store)
        await store.close()

    asyncio.run(tell())


@pytest.fixture
def mine() -> Iterator[Cluster]:
    with cluster() as one:
        yield one


def test_t_d_a_database_that_restarts_is_not_noticed_and_one_that_stays_away_is_said_to_be(
    mine: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tell() -> None:
        store = open_store(mine.database())
        await store.note(event("before"))
        for number in (2, 3, 9):  # in order, in haste, killed
            mine.stop(number)
            waiting = [asyncio.create_task(store.note(event(f"during-{number}"))), asyncio.create_task(store.tokens())]
            await asyncio.to_thread(mine.start)
            await asyncio.gather(*waiting)
        monkeypatch.setattr(adapter, "PATIENCE", 0.3)
        mine.stop()
        began = time.monotonic()
        for doing in (store.note(event("never")), store.tokens()):
            with pytest.raises(StoreUnavailable):
                await doing
        assert time.monotonic() - began < 30
        mine.start()
        await store.note(event("after"))
        assert await actions(store) == ["before", "during-2", "during-3", "during-9", "after"]
        await _whole(store)
        await store.close()

    asyncio.run(tell())


def test_a_write_whose_outcome_nobody_can_tell_is_said_to_be_one(
    mine: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "PATIENCE", 0.3)
    url = mine.database()

    async def tell() -> None:
        store = open_store(url.replace(str(mine.directory), str(broken.directory)))
        engine = store._writer._engine
        commit = engine.commit

        def last_words() -> None:
            broken.breaks("after")
            mine_stops()
            commit()

        def mine_stops() -> None:  # the moment between the last statement and the commit
            mine.stop(9)

        monkeypatch.setattr(engine, "commit", last_words)
        with pytest.raises((OutcomeUnknown, StoreUnavailable)) as caught:
            await store.note(event("lost"))
        assert isinstance(caught.value, OutcomeUnknown)
        monkeypatch.setattr(engine, "commit", commit)
        mine.start()
        await store.note(event("after"))
        assert await actions(store) in (
            ["after"],
            ["lost", "after"],
        )  # the killed server's session may have lived to make it
        await store.close()

    with wire(mine.directory) as broken:
        asyncio.run(tell())


def test_the_password_of_the_database_is_in_no_error(postgres: Cluster) -> None:
    for url in (
        "postgresql://u:hunter22@[::1/x",
        "postgresql://u:hunter22@h:port/x",
        "postgresql://u:hunter22@127.0.0.1:1/x",
        "hunter22",
        "postgresql://u:hunter22@h/x?nonsense=1",
    ):
        with pytest.raises((UsageError, StoreUnavailable)) as caught:
            open_store(url)
        assert "hunter22" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__!r}"
    assert postgres.execute("SELECT 1") == [(1,)]


def test_text_is_ordered_as_on_sqlite_whatever_the_locale(postgres: Cluster) -> None:
    url = postgres.database(migrated=True)
    found = postgres.execute(
        "SELECT DISTINCT collation_name FROM information_schema.columns WHERE table_schema = 'public'"
        " AND data_type = 'text' AND table_name <> 'alembic_version'",
        database=url.partition("@/")[2].partition("?")[0],
    )
    assert found == [("C",)]
