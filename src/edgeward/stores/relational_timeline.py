"""The nodes' history over any engine that speaks the shared SQL."""

from collections.abc import Sequence

from edgeward.model.device import Moment
from edgeward.stores import sql_timeline as sql
from edgeward.stores.rows import Reader, milliseconds, moment
from edgeward.stores.timeline import KEPT
from edgeward.stores.writer import Engine, Unit, Writer


class RelationalTimeline:
    """`stores.timeline.Timeline` over the reader and the writer of a store."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    async def add(self, moments: Sequence[Moment], skews: Sequence[tuple[str, int]] = ()) -> None:
        """Write moments and skews in one transaction."""
        rows = [
            {"node": one.node, "at": milliseconds(one.at), "event": one.event, "why": one.why, "address": one.address}
            for one in moments
        ]

        def work(engine: Engine) -> None:
            if rows:
                engine.many(sql.ADD, rows)
                engine.many(sql.TRIM, [{"node": node, "kept": KEPT} for node in {row["node"] for row in rows}])
            refused = [{name: row[name] for name in ("node", "at", "why")} for row in rows if row["event"] == "refused"]
            if refused:
                engine.many(sql.REFUSED, refused)
            if skews:
                engine.many(sql.SKEW, [{"node": node, "skew": skew} for node, skew in skews])

        await self._writer.submit(Unit(work=work))

    async def of(self, node: str, limit: int = KEPT) -> Sequence[Moment]:
        """The moments of a node, the newest first."""
        found = await self._reader.query(sql.OF_NODE, {"node": node, "limit": limit})
        return [Moment(node=row[0], at=moment(row[1]), event=row[2], why=row[3], address=row[4]) for row in found]
