"""Group commit: many concurrent writes become one transaction, durable before anyone is answered.

A `Unit` is a write that happens whole or not at all: steps, an optional piece of code, and audit events. The units that have gathered
while the last transaction was syncing go into the next one together. Their steps are first run by kind, each kind with one
`executemany`, between units with code of their own; the sum of changed rows says whether every rule held. When one did not, the
transaction is rolled back and the units are run again one by one, each behind a savepoint, so that a refused unit fails alone and the
others share the sync all the same.

A unit may have a sequel: code that is called once the steps of all units have held, and gives the rest of what is written. So a
certificate is signed between its planned and its issued row, and both cost one transaction and one sync (decision 2).

Where statements take microseconds (a local database) they run in the event loop, and only the commit, which waits for the disk, runs in
a thread, and not even that while the disk is quick: two threads that pass the interpreter's lock back and forth cost more than the rows.
A database across a network gets the whole transaction in the thread.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import msgspec

from edgeward.errors import EdgewardError, InternalError, StoreUnavailable
from edgeward.model import audit
from edgeward.stores import sql
from edgeward.stores.rows import Parameters

MAX_UNITS = 512
"""Units in one transaction: enough to share a sync among, few enough to keep the wait of the first one short."""

MAX_SEQUELS = 64
"""Units with a sequel in one transaction: each signs a certificate, in the event loop, which takes milliseconds with an RSA key."""

QUICK = 0.004
"""Seconds. While commits take less than this, they are made in the event loop as well: handing one to a thread and back costs more than
the wait (0.3 ms of CPU for each enrolment of 8 clients, measured). A disk that is slower than that gets the thread."""

GATHER = 0.003
"""Seconds that the first unit waits at most for others to share its transaction, while there is company: eight enrolments that share a
commit cost a quarter less than eight for each of which the process sleeps, and more of them fit into a second."""

COMPANY = 2
"""Units that share a transaction where others can be expected. A lone client does not wait, but for a while after a crowd (`FADING`)."""

ENOUGH = 8
"""Units that wait for no others, even if there were more of late."""

FADING = 0.1
"""By how much the company that is expected shrinks with each transaction that has less: a crowd that has left is waited for 60 times at
most."""

ATTEMPTS = 3
"""How often a transaction is tried that a database across a network lost before it was committed."""


class Duplicate(Exception):
    """The engine's own error for a broken uniqueness rule, the same for every engine."""


class Lost(Exception):
    """The open transaction is gone and nothing of it was written: the connection broke, or the database chose it to end a deadlock."""


class Engine(Protocol):
    """A database connection as the writer uses it, never from two threads at once. Raises `Duplicate` or `StoreUnavailable`; one
    across a network also `Lost`, when the transaction may be run again, and `OutcomeUnknown` from `commit`."""

    local: bool
    """Whether statements take microseconds and only the commit waits."""

    def begin(self) -> None: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def savepoint(self) -> None: ...
    def release(self) -> None: ...
    def rollback_to_savepoint(self) -> None: ...
    def many(self, statement: str, rows: Sequence[Parameters]) -> int:
        """Run once for each row; the number of rows changed in all."""
        ...

    def query(self, statement: str, row: Parameters) -> list[tuple[Any, ...]]: ...
    def close(self) -> None: ...


class Step(msgspec.Struct, frozen=True):
    """One statement, and its parameters."""

    statement: str
    row: Parameters


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """A write that happens whole or not at all. Each of its steps must change exactly one row; of one that does not, `refused` says what
    the caller is told. None: any number will do. `work` runs after the steps and gives the result; `events` of a unit with `work` are
    recorded only if it returns something true. `then` is called when the steps of every unit in the transaction have held, and says how the
    unit goes on in the same transaction; it is called again if that is run again."""

    steps: Sequence[Step] = ()
    refused: Callable[[Step], EdgewardError] | None = None
    events: Sequence[audit.Event] = ()
    work: Callable[[Engine], Any] | None = None
    then: Callable[[], "Sequel"] | None = None


class Sequel(msgspec.Struct, frozen=True, kw_only=True):
    """The second half of a unit: further steps and events. `error`: what its caller has raised when all of it is durable."""

    steps: Sequence[Step]
    events: Sequence[audit.Event]
    error: Exception | None = None


class _Ticket(msgspec.Struct, frozen=True):
    unit: Unit
    answer: asyncio.Future[Any]


class _RuleBroken(Exception):
    """Fewer rows changed than units asked for."""


class Writer:
    """The queue of units and its one transaction at a time. All methods are for the event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: deque[_Ticket] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="edgeward-writer")
        self._writing: asyncio.Task[None] | None = None
        self._closed = False
        self._pace = 0.0  # seconds that a commit takes, the recent ones counting most
        self._company = 0.0  # units that came together of late
        self._enough: asyncio.Future[None] | None = None  # while the first unit waits for company

    def submit(self, unit: Unit) -> asyncio.Future[Any]:
        """Do `unit`, durably. Returns what its work returned. Raises its refusal, or `StoreUnavailable`."""
        if self._closed:
            raise InternalError(problem="a write after the store was closed")
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self._waiting.append(_Ticket(unit, answer))
        if self._enough is not None and len(self._waiting) >= self._company and not self._enough.done():
            self._enough.set_result(None)
        if self._writing is None:
            self._writing = loop.create_task(self._write())
        return answer

    async def close(self) -> None:
        """Finish what is queued, then let go of the database. Idempotent."""
        if not self._closed:
            self._closed = True
            if self._writing is not None:
                await self._writing
            await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.close)
            self._thread.shutdown()

    async def _write(self) -> None:
        """Transactions until nothing waits."""
        while self._waiting:
            await self._gather()
            tickets = self._next()
            self._company = max(min(len(tickets), ENOUGH), self._company - FADING)
            results = await self._transaction([ticket.unit for ticket in tickets])
            _settle(tickets, results)
        self._writing = None

    async def _gather(self) -> None:
        """In company, wait until as many are here as came together of late, and not for long."""
        if self._company < COMPANY or len(self._waiting) >= self._company or self._closed:
            return
        self._enough = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._enough,), timeout=GATHER)
        self._enough = None

    def _next(self) -> list[_Ticket]:
        """The tickets of the next transaction."""
        tickets: list[_Ticket] = []
        sequels = 0
        while self._waiting and len(tickets) < MAX_UNITS and sequels < MAX_SEQUELS:
            ticket = self._waiting.popleft()
            sequels += ticket.unit.then is not None
            tickets.append(ticket)
        return tickets

    @property
    def _quick(self) -> bool:
        return self._engine.local and self._pace < QUICK

    async def _transaction(self, units: list[Unit]) -> list[Any]:
        """Run and commit the units, each part where it blocks nobody. The result of each, or the exception it ends with."""
        loop = asyncio.get_running_loop()
        if not self._engine.local:
            return await loop.run_in_executor(self._thread, self._run_and_commit, units)
        results = self._run(units)
        if _all_failed(results):
            return results
        began = time.perf_counter()
        failure = self._commit() if self._quick else await loop.run_in_executor(self._thread, self._commit)
        self._pace += (time.perf_counter() - began - self._pace) / 8
        return results if failure is None else [failure] * len(units)

    def _run_and_commit(self, units: list[Unit]) -> list[Any]:
        """The whole transaction, and again when it was lost on the way."""
        for _ in range(ATTEMPTS):
            results = self._run(units)
            if all(isinstance(result, Lost) for result in results):
                continue
            if _all_failed(results):
                return results
            failure = self._commit()
            if not isinstance(failure, Lost):
                return results if failure is None else [failure] * len(units)
        return [StoreUnavailable(why=f"the transaction was lost {ATTEMPTS} times in a row")] * len(units)

    def _commit(self) -> BaseException | None:
        """Commit what is open; the reason why it could not be."""
        try:
            self._engine.commit()
        except BaseException as error:  # whatever it is, the callers must hear of it
            self._abort()
            return error
        return None

    def _abort(self) -> None:
        with contextlib.suppress(EdgewardError):  # the connection is beyond saving; the next transaction will say so
            self._engine.rollback()

    def _run(self, units: list[Unit]) -> list[Any]:
        """Run the statements of every unit in an open transaction; the result of each, or the exception it ends with."""
        try:
            if sum([len(unit.steps) for unit in units]) > 1:
                try:
                    return self._all_at_once(units)
                except (StoreUnavailable, Lost):
                    raise
                except Exception:  # a broken rule, or whatever it is: one by one it will show whose it is
                    self._engine.rollback()
            return self._one_by_one(units)
        except BaseException as error:  # whatever it is, the callers must hear of it and the queue must go on
            self._abort()
            return [error] * len(units)

    def _all_at_once(self, units: list[Unit]) -> list[Any]:
        """In their order, the units without code together."""
        results: list[Any] = []
        together: list[Unit] = []
        self._engine.begin()
        for unit in units:
            if unit.work is None:
                together.append(unit)
            else:
                results += self._together(together)
                results.append(self._one(unit))
                together = []
        return results + self._together(together)

    def _together(self, units: list[Unit]) -> list[Any]:
        self._by_kind(units, [unit.steps for unit in units])
        sequels = [None if unit.then is None else unit.then() for unit in units]
        self._by_kind(units, [() if sequel is None else sequel.steps for sequel in sequels])
        events: list[audit.Event] = []
        for unit, sequel in zip(units, sequels, strict=True):
            events += unit.events
            if sequel is not None:
                events += sequel.events
        self._record(events)
        return sequels

    def _by_kind(self, units: list[Unit], series: list[Sequence[Step]]) -> None:
        """Run steps of the units, each kind with one call. Raises `_RuleBroken` when a rule does not hold for one of them."""
        kinds: dict[str, list[Parameters]] = {}
        rules: set[str] = set()
        for unit, steps in zip(units, series, strict=True):
            for step in steps:
                rows = kinds.get(step.statement)
                if rows is None:
                    kinds[step.statement] = [step.row]
                else:
                    rows.append(step.row)
                if unit.refused is not None:
                    rules.add(step.statement)
        for statement in sorted(kinds, key=_RANK.__getitem__):
            rows = kinds[statement]
            if statement == sql.SPEND and len(rows) > 1:
                rows = _joined(rows)
            if self._engine.many(statement, rows) != len(rows) and statement in rules:
                raise _RuleBroken

    def _one_by_one(self, units: list[Unit]) -> list[Any]:
        results: list[Any] = []
        self._engine.begin()
        alone = len(units) == 1  # then what it did wrong goes with its transaction
        for unit in units:
            if not alone:
                self._engine.savepoint()
            try:
                results.append(self._one(unit))
            except Lost:
                raise
            except Exception as error:  # whatever it is, its caller hears of it and the others do not
                if not alone:
                    self._engine.rollback_to_savepoint()
                results.append(error)
            if not alone:
                self._engine.release()
        if _all_failed(results):
            self._engine.rollback()
        return results

    def _one(self, unit: Unit) -> Any:
        self._steps(unit, unit.steps)
        result = unit.work(self._engine) if unit.work is not None else None
        if unit.work is None or result:
            self._record(unit.events)
        if unit.then is None:
            return result
        sequel = unit.then()
        self._steps(unit, sequel.steps)
        self._record(sequel.events)
        return sequel

    def _steps(self, unit: Unit, steps: Sequence[Step]) -> None:
        for step in steps:
            try:
                changed = self._engine.many(step.statement, [step.row])
            except Duplicate as error:
                if unit.refused is None:
                    raise InternalError(problem=f"a duplicate row: {error}") from error
                raise unit.refused(step) from error
            if changed != 1 and unit.refused is not None:
                raise unit.refused(step)

    def _record(self, events: Sequence[audit.Event]) -> None:
        """Append to the audit chain, in the open transaction."""
        if not events:
            return
        tip = self._engine.query(sql.AUDIT_TIP, ())
        last, previous = tip[0] if tip else (0, audit.GENESIS)
        rows: list[Parameters] = []
        for n, event in enumerate(events, last + 1):
            record = audit.record(event, n, previous)
            previous = record.hash
            rows.append(msgspec.structs.astuple(record))
        self._engine.many(sql.ADD_AUDIT, rows)


def _joined(uses: Sequence[Any]) -> list[Parameters]:
    """The uses of each token as one of so many, which holds where the last of them would hold after the others."""
    tokens: dict[str, tuple[int, int]] = {}
    for count, key_id, at in uses:
        before, latest = tokens.get(key_id, (0, 0))
        tokens[key_id] = (before + count, max(latest, at))
    return [(count, key_id, at) for key_id, (count, at) in tokens.items()]


def _all_failed(results: Sequence[Any]) -> bool:
    """Whether nothing was written."""
    return all(isinstance(result, BaseException) for result in results)


def _settle(tickets: list[_Ticket], results: list[Any]) -> None:
    for ticket, result in zip(tickets, results, strict=True):
        if ticket.answer.done():  # cancelled: the write happened all the same
            continue
        told = result.error if isinstance(result, Sequel) else result
        if isinstance(told, BaseException):
            ticket.answer.set_exception(told)
        else:
            ticket.answer.set_result(told)


class _Rank(dict[str, int]):
    """The order of the kinds within a unit; kinds without a rank stand alone in theirs."""

    def __missing__(self, statement: str) -> int:
        return len(self)


_RANK = _Rank(
    (statement, rank)
    for rank, statement in enumerate(
        (
            sql.SPEND,
            sql.ADMIT_DEVICE,
            sql.SUPERSEDE_UNCONNECTED,
            sql.HOLD_RENEWED,
            sql.PLAN,
            sql.RECORD_USE,
            sql.ISSUE,
        )
    )
)
