"""The embedded store: SQLite in WAL mode, every commit synced (`synchronous=FULL`), one process at a time."""

import os
import sqlite3
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from edgeward.errors import StoreUnavailable
from edgeward.stores.relational import RelationalStore
from edgeward.stores.rows import Row
from edgeward.stores.writer import Duplicate, Parameters, Writer

_VERSIONS = Path(__file__).parent / "migrations" / "versions"

_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=250",
    "trusted_schema=OFF",
    "temp_store=MEMORY",
)
"""FULL: a commit survives a power cut, not only a crash of the process. Nobody else writes
to this file; a tool that holds its lock for longer than a quarter of a second makes writes fail, not the server stand still."""


def open_store(path: Path | str) -> RelationalStore:
    """The store in the file `path`, created (0600) and migrated as needed; `:memory:` for one that is gone with its process.

    Raises `StoreUnavailable` when the file cannot be opened or is not ours.
    """
    try:
        if str(path) != ":memory:":
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600))
        # a store in memory is shared by its connections under a name; a file is its own name
        target = f"file:edgeward-{os.urandom(8).hex()}?mode=memory&cache=shared" if str(path) == ":memory:" else None
        writing = _connect(target or str(path), uri=target is not None)
        if not _is_up_to_date(writing):
            import_module("edgeward.stores.schema").upgrade_sqlite(writing)
        reading = _connect(target or str(path), uri=target is not None)
        return RelationalStore(_SqliteReader(reading), Writer(_SqliteEngine(writing)))
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(why=f"{path}: {error}") from error


def _connect(target: str, *, uri: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(target, uri=uri, isolation_level=None, check_same_thread=False, cached_statements=256)
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    if uri:
        connection.execute("PRAGMA read_uncommitted=ON")  # a shared cache in memory would lock readers out otherwise
    return connection


def _is_up_to_date(connection: sqlite3.Connection) -> bool:
    """Whether the schema is the newest that there is. What brings it there takes half of a short command's time to load, and a database
    needs it once."""
    newest = max(file.name[1:5] for file in _VERSIONS.glob("v[0-9]*.py"))
    try:
        return connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(newest,)]
    except sqlite3.OperationalError:  # there is no such table: a new database
        return False


class _SqliteEngine:
    """The writer's connection."""

    local = True

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def _execute(self, statement: str) -> None:
        try:
            self._connection.execute(statement)
        except sqlite3.Error as error:
            raise StoreUnavailable(why=str(error)) from error

    def begin(self) -> None:
        self._execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._execute("COMMIT")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    def savepoint(self) -> None:
        self._execute("SAVEPOINT unit")

    def release(self) -> None:
        self._execute("RELEASE unit")

    def rollback_to_savepoint(self) -> None:
        self._execute("ROLLBACK TO unit")

    def many(self, statement: str, rows: Sequence[Parameters]) -> int:
        try:
            return self._connection.executemany(statement, rows).rowcount
        except sqlite3.IntegrityError as error:
            raise Duplicate(str(error)) from error
        except sqlite3.Error as error:
            raise StoreUnavailable(why=str(error)) from error

    def query(self, statement: str, row: Parameters) -> list[Row]:
        try:
            return self._connection.execute(statement, row).fetchall()
        except sqlite3.IntegrityError as error:
            raise Duplicate(str(error)) from error
        except sqlite3.Error as error:
            raise StoreUnavailable(why=str(error)) from error

    def close(self) -> None:
        self._connection.close()


class _SqliteReader:
    """Reads on a connection of their own, in the event loop: an indexed read takes microseconds and never waits for the writer."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def query(self, statement: str, row: dict[str, Any]) -> list[Row]:
        try:
            return self._connection.execute(statement, row).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailable(why=str(error)) from error

    async def close(self) -> None:
        self._connection.close()
