"""What is SQLite's own: the file and its mode, who else may hold it, and what a stranger's schema meets."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edgeward.errors import StoreUnavailable
from edgeward.stores import schema, version
from edgeward.stores.sqlite import open_store
from tests.support.rows import event, new_issuer


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_t47_the_files_are_the_owner_s_alone(tmp_path: Path, umask: int) -> None:
    async def story() -> None:
        store = open_store(tmp_path / "store.db")
        await store.note(event())
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()}
        assert set(modes) == {"store.db", "store.db-wal", "store.db-shm"}
        assert set(modes.values()) == {0o600}
        await store.close()

    old = os.umask(umask)
    try:
        asyncio.run(story())
    finally:
        os.umask(old)


def test_t47_a_symbolic_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "store.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable):
        open_store(tmp_path / "store.db")
    assert not (tmp_path / "elsewhere").exists()


def test_commits_are_synced_unless_they_say_otherwise(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.db")
    connection = store._writer._engine.connection  # type: ignore[attr-defined]  # a pragma is a matter of the connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    asyncio.run(store.close())


def test_while_another_program_holds_the_lock_writes_fail_and_reads_do_not(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_store(tmp_path / "store.db")
        await store.add_issuer(new_issuer(), None, event())
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.note(event())
        assert len(await store.issuers()) == 1
        other.execute("ROLLBACK")
        other.close()
        await store.note(event())
        assert len(await store.audit()) == 2
        await store.close()

    asyncio.run(story())


def test_the_schema_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    asyncio.run(open_store(path).close())
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreUnavailable):
        open_store(path)


def test_a_store_whose_schema_is_the_newest_opens_without_what_makes_schemas(tmp_path: Path) -> None:
    """Half of the start of a short command would be that."""
    asyncio.run(open_store(tmp_path / "store.db").close())
    script = (
        "import sys\nfrom edgeward.stores.sqlite import open_store\n"
        "open_store(sys.argv[1])\nprint(sorted(m for m in ('alembic', 'sqlalchemy') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "store.db"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("stop", [1, 4, 9, 14, 19, 24, 29])
def test_a_migration_that_is_interrupted_has_not_happened(stop: int) -> None:
    """Whatever step it ends at, the next start brings the schema up."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    steps = {sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_ALTER_TABLE}
    left = stop

    def judge(action: int, *_about: object) -> int:
        nonlocal left
        left -= action in steps
        return sqlite3.SQLITE_DENY if left <= 0 and action in steps else sqlite3.SQLITE_OK

    connection.set_authorizer(judge)
    with pytest.raises(StoreUnavailable):
        schema.upgrade_sqlite(connection)
    assert not connection.in_transaction
    connection.set_authorizer(lambda *_about: sqlite3.SQLITE_OK)
    schema.upgrade_sqlite(connection)
    assert connection.execute(version.PRESENT).fetchall() == [(version.newest(),)]
