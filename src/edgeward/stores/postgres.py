"""The store that several replicas share: PostgreSQL 14 and later, through psycopg.

What SQLite got from having one writer holds here as well, because there is one writer at a time: a transaction that writes takes the
advisory lock `WRITING` first and holds it until it is committed, so no rule can be broken by two replicas at once, no two of them
deadlock, and the audit chain has one tip. Under READ COMMITTED every statement behind the lock sees all that was committed before.

A connection that breaks costs nobody anything that was acknowledged: a transaction that was not committed is run again on a new
connection; one whose commit was never answered is looked up by its number (`pg_xact_status`), which the database still knows after a
crash. Only when it cannot be asked is the outcome unknown, and that is what the caller is told.
"""

import asyncio
import contextlib
import functools
import time
from collections import deque
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import psycopg
from psycopg import conninfo, errors

from edgeward.errors import OutcomeUnknown, StoreUnavailable, UsageError
from edgeward.stores import sql, sql_sets, version
from edgeward.stores.relational import RelationalStore
from edgeward.stores.rows import Parameters, Row
from edgeward.stores.writer import Duplicate, Lost, Writer

WRITING = 0x4544_4745_5741_5244
"""The advisory lock of who writes: "EDGEWARD" as a number."""

MIGRATING = WRITING + 1
"""The advisory lock of who brings the schema up to date."""

READERS = 4
"""Connections for reading: an admission makes two or three reads of under a millisecond each."""

TOGETHER = 512
"""Reads of one kind that are made with one statement, when so many are asked for at the same time."""

PATIENCE = 4.0
"""Seconds for which a write or a read tries to get a connection. A database that restarts in that time is not noticed; one that is away
for longer makes the caller answer 503."""

PAUSE = 0.1
"""Seconds between two attempts."""

_SESSION = {
    "application_name": "edgeward",
    "client_encoding": "utf8",
    "connect_timeout": "3",
    "target_session_attrs": "read-write",
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "options": "-c synchronous_commit=on -c lock_timeout=15s -c statement_timeout=30s"
    " -c idle_in_transaction_session_timeout=10s -c timezone=UTC",
}
"""What every connection has unless its address says otherwise. A replica that stops in the middle of a transaction loses its session, and
with it the lock, after ten seconds; an answer is durable, as on SQLite; of several hosts the one that takes writes is used."""


def _address(url: str) -> str:
    """The connection string of `url`. The driver's own complaint might quote the password."""
    try:
        given = conninfo.conninfo_to_dict(url)
        return conninfo.make_conninfo("", **(_SESSION | {name: str(value) for name, value in given.items()}))
    except psycopg.Error:
        raise UsageError(problem="the address of the database is no postgresql://USER@HOST:PORT/DATABASE") from None


def open_store(url: str, replica: str = "") -> RelationalStore:
    """The store in the database at `url` (`postgresql://…`), its schema brought up to date, by one replica at a time. `replica` is the
    name under which this process shares it.

    Raises `StoreUnavailable` when it cannot be reached or is not ours, `UsageError` for an address that is none.
    """
    address = _address(url)
    try:
        if not _is_up_to_date(address):
            import_module("edgeward.stores.schema").upgrade_postgres(lambda: psycopg.connect(address), MIGRATING)
    except psycopg.Error as error:
        raise StoreUnavailable(why=_reason(error)) from error
    return RelationalStore(_PostgresReader(address), Writer(_PostgresEngine(address)), replica)


def _is_up_to_date(address: str) -> bool:
    with psycopg.connect(address, autocommit=True) as connection:
        try:
            return connection.execute(version.PRESENT).fetchall() == [(version.newest(),)]
        except errors.UndefinedTable:  # a new database
            return False


def _reason(error: BaseException) -> str:
    """What went wrong, in one line."""
    return "; ".join(line.strip() for line in str(error).split("\n")[:2] if line.strip()) or type(error).__name__


@functools.cache
def _translated(statement: str) -> str:
    """A shared statement with psycopg's mark for a parameter."""
    return sql.PARAMETER.sub(r"%(\1)s", statement.replace("%", "%%"))


class _PostgresEngine:
    """The writer's connection, made when it is first needed and again when it broke."""

    local = False

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: psycopg.Connection[Row] | None = None
        self._transaction = ""

    def _connected(self) -> "psycopg.Connection[Row]":
        if self._connection is None or self._connection.closed:
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    self._connection = psycopg.connect(self._address, autocommit=True)
                    break
                except psycopg.Error as error:
                    if time.monotonic() > deadline:
                        raise StoreUnavailable(why=_reason(error)) from error
                    time.sleep(PAUSE)
        return self._connection

    @contextlib.contextmanager
    def _speaking(self) -> Iterator["psycopg.Connection[Row]"]:
        """The connection, with the driver's errors in our words."""
        connection = self._connection
        if connection is None:
            raise Lost
        try:
            yield connection
        except psycopg.IntegrityError as error:
            raise Duplicate(str(error)) from error
        except (errors.DeadlockDetected, errors.SerializationFailure) as error:
            raise Lost from error
        except psycopg.DataError:
            raise
        except psycopg.Error as error:
            if connection.closed:
                raise Lost from error
            raise StoreUnavailable(why=_reason(error)) from error

    def begin(self) -> None:
        self._connected()
        with self._speaking() as connection:
            cursor = connection.execute(
                f"BEGIN; SELECT pg_advisory_xact_lock({WRITING}); SELECT pg_current_xact_id()::text"
            )
            while cursor.nextset():
                pass
            self._transaction = next(iter(cursor.fetchall()))[0]

    def commit(self) -> None:
        try:
            with self._speaking() as connection:
                if connection.execute("COMMIT").statusmessage != "COMMIT":
                    raise StoreUnavailable(why="the database rolled the transaction back")
        except Lost as lost:
            if not self._was_committed(lost):
                raise

    def _was_committed(self, lost: Lost) -> bool:
        """What became of the transaction whose commit was not answered. Its old session may still be at it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                connection = self._connected()
                status = connection.execute("SELECT pg_xact_status(%s::text::xid8)", (self._transaction,)).fetchone()
            except psycopg.Error as error:
                if time.monotonic() > deadline:
                    raise OutcomeUnknown(why=_reason(error)) from lost
                continue
            except StoreUnavailable as error:
                raise OutcomeUnknown(why=str(error.facts["why"])) from lost
            if status is None or status[0] != "in progress":
                return status is not None and status[0] == "committed"
            if time.monotonic() > deadline:
                raise OutcomeUnknown(why="its transaction is still in progress") from lost
            time.sleep(PAUSE)

    def rollback(self) -> None:
        if self._connection is not None and not self._connection.closed:
            try:
                self._connection.execute("ROLLBACK")
            except psycopg.Error:  # the session is beyond saving, and with it goes its transaction
                self._connection.close()

    def savepoint(self) -> None:
        self._say("SAVEPOINT unit")

    def release(self) -> None:
        self._say("RELEASE unit")

    def rollback_to_savepoint(self) -> None:
        self._say("ROLLBACK TO unit")

    def _say(self, statement: str) -> None:
        with self._speaking() as connection:
            connection.execute(statement)

    def many(self, statement: str, rows: Sequence[Parameters]) -> int:
        named = [sql_sets.named(statement, row) for row in rows]
        with self._speaking() as connection:
            if len(named) == 1:
                return max(connection.execute(_translated(statement), named[0]).rowcount, 0)
            found = sql_sets.writing(statement)
            if found is not None and found[0].apart(named):
                # planned anew each time: tables that grow fast have no plan that stays good
                cursor = connection.execute(found[1], sql_sets.columns(found[0].types, named), prepare=False)
            else:
                cursor = connection.cursor()
                cursor.executemany(_translated(statement), named)
            return max(cursor.rowcount, 0)

    def query(self, statement: str, row: Parameters) -> list[Row]:
        with self._speaking() as connection:
            return connection.execute(_translated(statement), sql_sets.named(statement, row)).fetchall()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class _Asked(NamedTuple):
    """A read that somebody waits for."""

    row: dict[str, Any]
    answer: asyncio.Future[list[Row]]


class _PostgresReader:
    """Reads on connections of their own, a few at a time; each sees what was committed before it began. A read that breaks off is made
    again. What many ask for at the same time, as when a fleet connects, is read together: whoever asks while a read of this kind is under
    way shares the next one."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._idle: deque[psycopg.AsyncConnection[Row]] = deque()
        self._places = asyncio.Semaphore(READERS)
        self._asked: dict[str, deque[_Asked]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def query(self, statement: str, row: Parameters) -> list[Row]:
        if self._closed:
            raise StoreUnavailable(why="it was closed")
        named = sql_sets.named(statement, row)
        found = sql_sets.reading(statement)
        if found is None:
            return await self._query(statement, named)
        loop = asyncio.get_running_loop()
        asked = _Asked(named, loop.create_future())
        waiting = self._asked.get(statement)
        if waiting is not None:
            waiting.append(asked)
        else:
            self._asked[statement] = deque((asked,))
            task = loop.create_task(self._answer(statement, *found))
            self._tasks.add(task)  # the loop holds tasks weakly
            task.add_done_callback(self._tasks.discard)
        return await asked.answer

    async def each(self, statement: str, rows: Sequence[dict[str, Any]]) -> list[list[Row]]:
        """One statement for each `TOGETHER` of them."""
        kind, form = sql_sets.reading(statement) or (None, "")
        answers: list[list[Row]] = []
        for start in range(0, len(rows), TOGETHER):
            some = rows[start : start + TOGETHER]
            if kind is None or len(some) == 1:
                answers += [await self._query(statement, row) for row in some]
            else:
                found = await self._query(form, sql_sets.columns(kind.types, some), whole=True)
                answers += sql_sets.sorted_out(found, len(some))
        return answers

    async def _answer(self, statement: str, kind: sql_sets.Reading, form: str) -> None:
        """Read for everybody who asks, until nobody does."""
        waiting = self._asked[statement]
        try:
            while waiting:
                together = [waiting.popleft() for _ in range(min(len(waiting), TOGETHER))]
                answers = await self._together(statement, kind, form, [one.row for one in together])
                for one, answer in zip(together, answers, strict=True):
                    if one.answer.done():  # whoever asked has been cancelled
                        continue
                    if isinstance(answer, BaseException):
                        one.answer.set_exception(answer)
                    else:
                        one.answer.set_result(answer)
        finally:
            del self._asked[statement]

    async def _together(
        self, statement: str, kind: sql_sets.Reading, form: str, rows: list[dict[str, Any]]
    ) -> Sequence[list[Row] | BaseException]:
        """What each of `rows` finds, or why it finds nothing."""
        if len(rows) > 1:
            try:
                found = await self._query(form, sql_sets.columns(kind.types, rows), whole=True)
                return sql_sets.sorted_out(found, len(rows))
            except Exception as error:  # whatever it is, nobody may wait for ever
                if isinstance(error, StoreUnavailable) and not isinstance(error.__cause__, psycopg.DataError):
                    return [error] * len(rows)
                # one of them asks for what no text can be, such as a NUL: the others get their answers
        return await asyncio.gather(*(self._query(statement, row) for row in rows), return_exceptions=True)

    async def _query(self, statement: str, row: dict[str, Any], *, whole: bool = False) -> list[Row]:
        """One read. `whole`: the statement is in the driver's own words."""
        text = statement if whole else _translated(statement)
        async with self._places:
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    return await self._attempt(text, row)
                except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                    if time.monotonic() > deadline or isinstance(error, errors.QueryCanceled):
                        raise StoreUnavailable(why=_reason(error)) from error
                except psycopg.Error as error:
                    raise StoreUnavailable(why=_reason(error)) from error
                await asyncio.sleep(0 if self._idle else PAUSE)

    async def _attempt(self, text: str, row: dict[str, Any]) -> list[Row]:
        if self._idle:
            connection = self._idle.popleft()
        else:
            connection = await psycopg.AsyncConnection.connect(self._address, autocommit=True)
        try:
            found = await (await connection.execute(text, row)).fetchall()
        except BaseException:  # also when it was cancelled half-way: nobody knows what it would read next
            await connection.close()
            raise
        self._idle.append(connection)
        return found

    async def close(self) -> None:
        self._closed = True
        while self._idle:
            await self._idle.popleft().close()


class SealedKeys:
    """Sealed keys in the database, as `keys.database` wants them: rare, at start-up and for administration, each on its own connection."""

    def __init__(self, url: str, replica: str = "") -> None:
        self._address = _address(url)
        self._replica = replica

    def _run(self, statement: str, *row: Any) -> list[Row]:
        try:
            with psycopg.connect(self._address) as connection:
                cursor = connection.execute(statement, row)
                return cursor.fetchall() if cursor.description is not None else []
        except psycopg.Error as error:
            raise StoreUnavailable(why=_reason(error)) from error

    def put(self, name: str, sealed: bytes) -> None:
        """Keep what was sealed, durably, under a name that was not used before, on trial at this replica."""
        self._run("INSERT INTO sealed_key (name, sealed, trial) VALUES (%s, %s, %s)", name, sealed, self._replica)

    def get(self, name: str) -> bytes | None:
        """What was kept under this name."""
        found = self._run("SELECT sealed FROM sealed_key WHERE name = %s", name)
        return bytes(found[0][0]) if found else None

    def confirm(self, name: str) -> None:
        """It is here to stay."""
        self._run("UPDATE sealed_key SET trial = NULL WHERE name = %s", name)

    def on_trial(self) -> list[str]:
        """What this replica has on trial."""
        return [row[0] for row in self._run("SELECT name FROM sealed_key WHERE trial = %s", self._replica)]

    def remove(self, name: str) -> None:
        """Forget it."""
        self._run("DELETE FROM sealed_key WHERE name = %s", name)
