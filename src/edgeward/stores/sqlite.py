"""The embedded store: SQLite in WAL mode, every commit synced (`synchronous=FULL`), one process at a time."""

import functools
import os
import sqlite3
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from edgeward.errors import StoreUnavailable
from edgeward.stores import sql, version
from edgeward.stores.relational import RelationalStore
from edgeward.stores.rows import Parameters, Row
from edgeward.stores.writer import Duplicate, Writer

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
        engine = _SqliteEngine(writing)
        return RelationalStore(_SqliteReader(reading, engine), Writer(engine))
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
    try:
        return connection.execute(version.PRESENT).fetchall() == [(version.newest(),)]
    except sqlite3.OperationalError:  # there is no such table: a new database
        return False


@functools.lru_cache(maxsize=256)
def _placed(statement: str) -> str:
    """`statement` with places for names: the driver looks every name up anew for each row, and that takes a third of the time of an
    insert."""
    places = {name: f"?{place}" for place, name in enumerate(sql.parameters(statement), 1)}
    return sql.PARAMETER.sub(lambda found: places[found[1]], statement)


def _values(statement: str, row: Parameters) -> tuple[Any, ...]:
    """The parameters by place."""
    return row if isinstance(row, tuple) else tuple([row[name] for name in sql.parameters(statement)])


sqlite3.register_adapter(bytes, bytes)
"""They are what a database keeps already: without this the driver looks for a way to adapt each value, and finds none."""


class _SqliteEngine:
    """The writer's connection, with one cursor for all that it is told. `idle`: no transaction is open, and none is being committed."""

    local = True

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.cursor = connection.cursor()
        self.idle = True

    def _execute(self, statement: str) -> None:
        try:
            self.cursor.execute(statement)
        except sqlite3.Error as error:
            raise StoreUnavailable(why=str(error)) from error

    def begin(self) -> None:
        self.idle = False
        self._execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._execute("COMMIT")
        self.idle = True

    def rollback(self) -> None:
        if self.connection.in_transaction:
            self._execute("ROLLBACK")
        self.idle = True

    def savepoint(self) -> None:
        self._execute("SAVEPOINT unit")

    def release(self) -> None:
        self._execute("RELEASE unit")

    def rollback_to_savepoint(self) -> None:
        self._execute("ROLLBACK TO unit")

    def many(self, statement: str, rows: Sequence[Parameters]) -> int:
        values = rows if rows and isinstance(rows[0], tuple) else [_values(statement, row) for row in rows]
        try:
            return self.cursor.executemany(_placed(statement), values).rowcount
        except sqlite3.IntegrityError as error:
            raise Duplicate(str(error)) from error
        except sqlite3.Error as error:
            raise StoreUnavailable(why=str(error)) from error

    def query(self, statement: str, row: Parameters) -> list[Row]:
        try:
            return self.cursor.execute(_placed(statement), _values(statement, row)).fetchall()
        except sqlite3.IntegrityError as error:
            raise Duplicate(str(error)) from error
        except sqlite3.Error as error:
            raise StoreUnavailable(why=str(error)) from error

    def close(self) -> None:
        self.idle = False
        self.connection.close()


class _SqliteReader:
    """Reads in the event loop: an indexed read takes microseconds and never waits for the writer.

    While no transaction is open they go over the writer's connection, whose cache knows what it wrote; while one is, over a connection
    of their own, which sees what was committed and drops its cache after every commit.
    """

    def __init__(self, connection: sqlite3.Connection, writing: _SqliteEngine) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._writing = writing

    async def query(self, statement: str, row: Parameters) -> list[Row]:
        cursor = self._writing.cursor if self._writing.idle else self._cursor
        try:
            return cursor.execute(_placed(statement), _values(statement, row)).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailable(why=str(error)) from error

    async def each(self, statement: str, rows: Sequence[dict[str, Any]]) -> list[list[Row]]:
        return [await self.query(statement, row) for row in rows]

    async def close(self) -> None:
        self._connection.close()
