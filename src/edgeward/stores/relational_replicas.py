"""What replicas know of each other, over any engine that speaks the shared SQL."""

from collections.abc import Sequence
from datetime import datetime

from edgeward.model.authority import CertificateRecord
from edgeward.stores import rows, sql_replicas
from edgeward.stores.replicas import Change, Held
from edgeward.stores.rows import Reader, milliseconds
from edgeward.stores.writer import Engine, Step, Unit, Writer


class RelationalReplicas:
    """`stores.replicas.Replicas` over a reader and a writer of one database."""

    def __init__(self, reader: Reader, writer: Writer, name: str) -> None:
        self._reader = reader
        self._writer = writer
        self._name = name

    @property
    def name(self) -> str:
        """The name of this replica."""
        return self._name

    async def beat(self, at: datetime) -> bool:
        """This replica is alive; whether that was known."""
        row = {"replica": self._name, "at": milliseconds(at)}

        def work(engine: Engine) -> bool:
            known = engine.many(sql_replicas.BEAT, [row]) == 1
            if not known:
                engine.many(sql_replicas.ENTER, [row])
            return known

        known: bool = await self._writer.submit(Unit(work=work))
        return known

    async def live(self) -> int:
        """A life of this replica begins; which one."""
        row = {"name": f"lives-of:{self._name}"}
        number: int = await self._writer.submit(
            Unit(work=lambda engine: int(engine.query(sql_replicas.LIVE, row)[0][0]))
        )
        return number

    async def leave(self) -> None:
        """This replica is no more."""
        await self._writer.submit(Unit(steps=(Step(sql_replicas.LEAVE, {"replica": self._name}),)))

    async def lapsed(self, before: datetime, at: datetime) -> Sequence[str]:
        """Clear up after replicas that stopped beating."""
        row = {"replica": self._name, "before": milliseconds(before)}

        def work(engine: Engine) -> list[str]:
            names = [found[0] for found in engine.query(sql_replicas.LAPSED, row)]
            for name in names:
                engine.many(sql_replicas.CLEAR, [{"lapsed": name, "at": milliseconds(at)}])
            return names

        names: list[str] = await self._writer.submit(Unit(work=work))
        return names

    async def orphans(self, before: datetime) -> Sequence[CertificateRecord]:
        """Planned rows of replicas that are not alive."""
        row = {"replica": self._name, "before": milliseconds(before)}
        return [rows.certificate(found) for found in await self._reader.query(sql_replicas.ORPHANS, row)]

    async def leads(self) -> bool:
        """Whether this replica is the first by name."""
        first = (await self._reader.query(sql_replicas.FIRST, {}))[0][0]
        return first in (None, self._name)

    async def tip(self) -> int:
        """The newest change's number."""
        number: int = (await self._reader.query(sql_replicas.TIP, {}))[0][0]
        return number

    async def changes(self, after: int, limit: int = 1000) -> Sequence[Change]:
        """Changes after a number."""
        return [
            Change(*found) for found in await self._reader.query(sql_replicas.CHANGES, {"after": after, "limit": limit})
        ]

    async def epoch(self) -> int:
        """The largest epoch on record."""
        largest: int = (await self._reader.query(sql_replicas.EPOCH, {}))[0][0]
        return largest

    async def moved(self, since: datetime) -> Sequence[tuple[str, int]]:
        """Nodes that connected elsewhere."""
        row = {"replica": self._name, "since": milliseconds(since)}
        return [(found[0], found[1]) for found in await self._reader.query(sql_replicas.MOVED, row)]

    async def hold(self, sessions: Sequence[Held]) -> None:
        """Record sessions again."""
        steps = [
            Step(
                sql_replicas.HOLD,
                {
                    "name": one.node,
                    "at": milliseconds(one.since),
                    "address": one.address,
                    "epoch": one.epoch,
                    "replica": self._name,
                },
            )
            for one in sessions
        ]
        await self._writer.submit(Unit(steps=steps))
