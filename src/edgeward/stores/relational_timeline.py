"""What happens to nodes over any engine that speaks the shared SQL."""

from collections.abc import Sequence
from typing import Any

from edgeward.model.device import Moment
from edgeward.stores import sql
from edgeward.stores import sql_timeline as statements
from edgeward.stores.rows import Reader, milliseconds, moment
from edgeward.stores.timeline import KEPT, Arrival, Departure
from edgeward.stores.writer import Engine, Unit, Writer


class RelationalTimeline:
    """`stores.timeline.Timeline` over the reader and the writer of a store."""

    def __init__(self, reader: Reader, writer: Writer, replica: str) -> None:
        self._reader = reader
        self._writer = writer
        self._replica = replica

    async def add(
        self,
        moments: Sequence[Moment] = (),
        skews: Sequence[tuple[str, int]] = (),
        arrivals: Sequence[Arrival] = (),
        departures: Sequence[Departure] = (),
    ) -> None:
        """Write what happened in one transaction, each kind with one statement."""
        told = [
            {"node": one.node, "at": milliseconds(one.at), "event": one.event, "why": one.why, "address": one.address}
            for one in moments
        ]
        came = [
            {
                "name": one.node,
                "at": milliseconds(one.at),
                "address": one.address,
                "epoch": one.epoch,
                "times": one.times,
            }
            | {"replica": self._replica}
            for one in arrivals
        ]
        first = [
            {"issuer_id": one.first[0], "serial": one.first[1], "at": milliseconds(one.at)}
            for one in arrivals
            if one.first is not None
        ]
        went = [
            {"name": one.node, "at": milliseconds(one.at), "cause": one.cause, "replica": self._replica}
            for one in departures
        ]
        kinds: list[tuple[str, list[dict[str, Any]]]] = [
            (sql.FIRST_CONNECTION, first),
            (statements.CONNECTED, came),
            (statements.DISCONNECTED, went),
            (statements.ADD, told),
            (statements.TRIM, [{"node": node, "kept": KEPT} for node in {row["node"] for row in told}]),
            (
                statements.REFUSED,
                [{name: row[name] for name in ("node", "at", "why")} for row in told if row["event"] == "refused"],
            ),
            (statements.SKEW, [{"node": node, "skew": skew} for node, skew in skews]),
        ]

        def work(engine: Engine) -> None:
            for statement, rows in kinds:
                if rows:
                    engine.many(statement, rows)

        await self._writer.submit(Unit(work=work))

    async def of(self, node: str, limit: int = KEPT) -> Sequence[Moment]:
        """The moments of a node, the newest first."""
        found = await self._reader.query(statements.OF_NODE, {"node": node, "limit": limit})
        return [Moment(node=row[0], at=moment(row[1]), event=row[2], why=row[3], address=row[4]) for row in found]
