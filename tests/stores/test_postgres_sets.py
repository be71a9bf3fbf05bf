"""Statements over arrays do what the shared statement does row by row, and reads that are made together find what each alone finds."""

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pytest

from edgeward.errors import StoreUnavailable
from edgeward.stores import postgres as adapter
from edgeward.stores import rows, sql, sql_sets
from edgeward.stores.writer import Engine, Parameters
from tests.support.postgres import Cluster
from tests.support.rows import NOON, admission, enrolled, event, new_issuer, new_record

AT = rows.milliseconds(NOON)
NAMES = ["edge-1", "edge-2", "edge-3", "nobody", "edge-4"]
VALUES: dict[str, list[Any]] = {
    "name": NAMES,
    "node": NAMES,
    "at": [AT + n for n in range(5)],
    "address": ["192.0.2.1", "2001:db8::1", "", "192.0.2.4", "192.0.2.5"],
    "epoch": [5, 1, 7, 8, 9],
    "times": [1, 2, 3, 4, 5],
    "replica": ["a", "", "a", "a", "b"],
    "cause": ["closed", "silent", "shutdown", "revoked", "unknown"],
    "event": ["online", "offline", "refused", "online", "clock"],
    "why": ["", "a % sign and a \\ and a '", "\u00fcber", "x", "y"],
    "kept": [1, 1, 0, 1, 200],
    "skew": [0, -(2**53), 2**53, 1, 5],
    "n": [101, 102, 103, 104, 105],
    "actor": ["a", "b", "c", "d", "e"],
    "action": ["a", "b", "c", "d", "e"],
    "object": ["a", "b", "c", "d", "e"],
    "facts": ["{}", '{"a": 1}', "{}", "{}", "{}"],
    "hash": [b"\0" * 32, b"1", b"2", b"3", b"4"],
    "issuer_id": [1, 1, 1, 1, 99],
    "der": [b"\x30\0", b"a", b"b", b"c", b"d"],
    "fingerprint": [b"f1", b"f2", b"f3", b"f4", b"f5"],
    "key_id": ["known"] * 5,
}
TABLES = (
    "SELECT * FROM device ORDER BY name",
    "SELECT node, at, event, why, address FROM timeline ORDER BY n",
    "SELECT * FROM audit ORDER BY n",
    "SELECT * FROM certificate ORDER BY serial",
    "SELECT * FROM token_use ORDER BY at",
)


class Filled(NamedTuple):
    """A database with four devices, each with a history and a planned certificate; their serials and one that nobody has."""

    engine: Engine
    serials: list[str]


@pytest.fixture(scope="module")
def filled(postgres: Cluster) -> Iterator[Filled]:
    async def fill() -> list[str]:
        store = adapter.open_store(url)
        await store.add_issuer(new_issuer(), None, event("ca.created"))
        records = [new_record(f"edge-{n}") for n in (1, 2, 3, 4)]
        for n, record in enumerate(records):
            await store.plan(record, admission())
            row = (5, AT if n % 2 else None, "a" if n < 2 else None, record.identity)
            connection.execute("UPDATE device SET epoch = %s, online_since = %s, replica = %s WHERE name = %s", row)
            for moment in range(3):
                connection.execute(
                    "INSERT INTO timeline (node, at, event, why, address) VALUES (%s, %s, 'online', '', '')",
                    (record.identity, moment),
                )
        connection.execute(
            "INSERT INTO token (key_id, digest, uses, expires_at, unblock, created_at) VALUES ('known', '', 1, 1, 0, 1)"
        )
        await store.close()
        return [*(record.serial for record in records), "00"]

    url = postgres.database(migrated=True)
    with psycopg.connect(url, autocommit=True) as connection:
        serials = asyncio.run(fill())
    engine = adapter._PostgresEngine(url)
    yield Filled(engine, serials)
    engine.close()


@pytest.mark.parametrize("one", sql_sets.WRITINGS, ids=lambda one: " ".join(one.statement.split()[:3]))
def test_a_set_form_does_what_its_statement_does_row_by_row(filled: Filled, one: sql_sets.Writing) -> None:
    engine, values = filled.engine, VALUES | {"serial": filled.serials}
    written: list[Parameters] = [{name: values[name][n] for name in one.types} for n in range(5)]
    left = []
    for groups in ([written], [[row] for row in written]):
        engine.begin()
        before = [engine.query(table, {}) for table in TABLES]
        changed = sum(engine.many(one.statement, group) for group in groups)
        left.append((changed, [engine.query(table, {}) for table in TABLES]))
        engine.rollback()
        assert changed > 0
        assert left[-1][1] != before
    assert left[0] == left[1]


def test_rows_that_touch_each_other_are_written_one_by_one(filled: Filled) -> None:
    filled.engine.begin()
    rows = [{"name": name, "at": at} for name, at in (("edge-1", AT), ("edge-2", AT), ("edge-1", AT + 5000))]
    assert filled.engine.many(sql.SEEN, rows) == 3
    assert filled.engine.query("SELECT last_seen FROM device WHERE name = 'edge-1'", {}) == [(AT + 5000,)], (
        "the last one counts"
    )
    filled.engine.rollback()


def test_reads_that_are_made_together_find_what_each_alone_finds(postgres: Cluster) -> None:
    async def tell() -> None:
        store = adapter.open_store(postgres.database(migrated=True))
        await store.add_issuer(new_issuer(), None, event("ca.created"))
        names = [f"edge-{n}" for n in range(20)]
        prints = [(await enrolled(store, name)).fingerprint or b"" for name in names]
        asked = [*prints, b"nobody's", *reversed(prints)]
        found = await asyncio.gather(*(store.presented(one, NOON) for one in asked))
        assert [one and one.identity for one in found] == [*names, None, *reversed(names)]
        assert found == [await store.presented(one, NOON) for one in asked]
        tokens = await asyncio.gather(*(store.standing("none", name, b"", NOON) for name in [*names, "nobody"]))
        assert [one.has_certificate for one in tokens] == [True] * 20 + [False]
        assert await store.standing("none", "edge-3", b"", NOON) == tokens[3]
        await store.close()

    asyncio.run(tell())


@pytest.mark.parametrize(("name", "refusal"), [("a\0b", StoreUnavailable), ("a\ud800b", UnicodeEncodeError)])
def test_one_that_asks_for_what_cannot_be_spoils_nobody_else_s_read(
    postgres: Cluster, name: str, refusal: type[Exception]
) -> None:
    async def tell() -> None:
        store = adapter.open_store(postgres.database(migrated=True))
        await store.add_issuer(new_issuer(), None, event("ca.created"))
        await enrolled(store, "edge-1")
        asked = [store.standing("none", one, b"", NOON) for one in ("edge-1", "edge-1", name, "edge-1")]
        async with asyncio.timeout(60):
            found = await asyncio.gather(*asked, return_exceptions=True)
        assert [getattr(one, "has_certificate", type(one)) for one in found] == [True, True, refusal, True]
        await store.close()

    asyncio.run(tell())
