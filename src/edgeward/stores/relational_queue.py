"""The durable queue over any engine that speaks the shared SQL: `stores.queue.Queue` as reads and units of writing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from edgeward.errors import EdgewardError, MessageConflict, NodeBlocked, NotFound, QueueFull
from edgeward.model.delivery import Bounds, Depth, Outbound, Outcome, Receipt, State
from edgeward.stores import sql_queue as sql
from edgeward.stores.queue import Put
from edgeward.stores.rows import Reader, Row, milliseconds, moment
from edgeward.stores.writer import Engine, Step, Unit, Writer

_FOREVER = 2**62
_CHUNK = 5000
"""Receipts that are dropped in one transaction: some 20 ms, so that nobody waits for the sweeping."""


class RelationalQueue:
    """`stores.queue.Queue` over the reader and the writer of a store."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    async def put(self, outbound: Sequence[Outbound], bounds: Bounds) -> Sequence[Put | EdgewardError]:
        """Queue messages in one transaction; the answer for each."""

        def work(engine: Engine) -> list[Put | EdgewardError]:
            return [_put(engine, one, bounds) for one in outbound]

        answers: list[Put | EdgewardError] = await self._writer.submit(Unit(work=work))
        return answers

    async def waiting(self, nodes: Sequence[str]) -> set[str]:
        """Those of the nodes that have live messages."""
        found = await self._reader.each(sql.WAITING, [{"node": node} for node in nodes])
        return {node for node, rows in zip(nodes, found, strict=True) if rows}

    async def pending(self, node: str, limit: int, octets: int) -> Sequence[Outbound]:
        """The first live messages of a node, in order."""
        found = await self._reader.query(sql.PENDING, {"node": node, "limit": limit})
        chosen: list[Outbound] = []
        room = octets
        for row in found:
            one = _outbound(row)
            room -= len(one.wire)
            if room < 0 and chosen:
                break
            chosen.append(one)
        return chosen

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """End messages that are live."""
        if not outcomes:
            return
        objects = [one for one in outcomes if one.state is State.ACKNOWLEDGED and one.uid]
        forget = [{"node": one.node, "uid": one.uid} for one in objects if one.forget]
        remember = [{"node": one.node, "uid": one.uid, "version": one.version} for one in objects if not one.forget]

        def work(engine: Engine) -> None:
            engine.many(sql.SETTLE, [_settled(one) for one in outcomes])
            if remember:
                engine.many(sql.REMEMBER, remember)
            if forget:
                engine.many(sql.FORGET_OBJECT, forget)

        await self._writer.submit(Unit(work=work))

    async def tried(self, outbound: Sequence[tuple[Outbound, datetime]]) -> None:
        """Note how often messages were sent."""
        steps = tuple(
            Step(sql.TRIED, {"n": one.n, "attempts": one.attempts, "at": milliseconds(at)}) for one, at in outbound
        )
        if steps:
            await self._writer.submit(Unit(steps=steps))

    async def receipt(self, msg_id: str) -> Receipt | None:
        """What is known of the message with this id."""
        found = await self._reader.query(sql.RECEIPT, {"msg_id": msg_id})
        return _receipt(found[0]) if found else None

    async def receipts(self, node: str | None, *, live: bool, before: int, limit: int) -> Sequence[Receipt]:
        """Receipts, newest first."""
        row: dict[str, Any] = {"before": before or _FOREVER, "limit": limit}
        if node is None:
            statement = sql.LIVE if live else sql.RECEIPTS
        else:
            statement = sql.LIVE_OF_NODE if live else sql.RECEIPTS_OF_NODE
            row["node"] = node
        return [_receipt(found) for found in await self._reader.query(statement, row)]

    async def depths(self) -> Sequence[Depth]:
        """How much waits for each node."""
        return [
            Depth(node=row[0], messages=row[1], octets=int(row[2]), oldest=moment(row[3]))
            for row in await self._reader.query(sql.DEPTHS, {})
        ]

    async def cancel(self, msg_id: str, at: datetime) -> bool:
        """Take a live message back."""
        row = {"msg_id": msg_id, "at": milliseconds(at)}
        return bool(await self._writer.submit(Unit(work=lambda engine: engine.many(sql.CANCEL, [row]))))

    async def expire(self, at: datetime) -> Sequence[tuple[str, int, str]]:
        """End what is past its time."""
        row = {"at": milliseconds(at)}
        ended = await self._writer.submit(Unit(work=lambda engine: engine.query(sql.EXPIRE, row)))
        return [(node, n, msg_id) for node, n, msg_id in ended]

    async def forget(self, before: datetime, keep: int) -> int:
        """Drop old receipts."""

        def work(engine: Engine) -> int:
            dropped = engine.many(sql.FORGET_OLD, [{"before": milliseconds(before)}])
            excess = engine.query(sql.SETTLED, {})[0][0] - keep
            if excess > 0:
                dropped += engine.many(sql.FORGET_OLDEST, [{"excess": min(excess, _CHUNK)}])
            return dropped

        dropped: int = await self._writer.submit(Unit(work=work))
        return dropped


def _put(engine: Engine, one: Outbound, bounds: Bounds) -> Put | EdgewardError:
    queued_at = milliseconds(one.queued_at)
    superseded: list[Row] = []
    row = {
        "node": one.node,
        "msg_id": one.msg_id,
        "wire": one.wire,
        "octets": len(one.wire),
        "operation": one.operation,
        "resource": one.resource,
        "acknowledge": int(one.acknowledge),
        "queued_at": queued_at,
        "expires_at": milliseconds(one.expires_at),
        "uid": one.uid,
        "version": one.version,
        "digest": one.digest,
        "max_messages": bounds.messages,
        "max_octets": bounds.octets,
    }
    added = engine.query(sql.ENQUEUE_VERSION if one.replaceable else sql.ENQUEUE, row)
    if not added:
        return _why_not(engine, one, bounds)
    n, state = added[0]
    if one.replaceable and state == State.QUEUED:
        about = {"node": one.node, "uid": one.uid, "version": one.version, "queued_at": queued_at}
        superseded = engine.query(sql.SUPERSEDE, about)
    return Put(n=n, state=State(state), superseded=tuple((row[0], row[1]) for row in superseded))


def _why_not(engine: Engine, one: Outbound, bounds: Bounds) -> Put | EdgewardError:
    """Why `ENQUEUE` added nothing: the very same message is there, or a rule refuses it."""
    same = engine.query(sql.SAME_ID, {"msg_id": one.msg_id})
    if same:
        n, state, digest = same[0]
        if one.digest and bytes(digest) == one.digest:
            return Put(n=n, state=State(state), fresh=False)
        return MessageConflict(msg_id=one.msg_id)
    known = engine.query(sql.WHY_NOT, {"node": one.node})
    if not known:
        return NotFound(what="node", name=one.node)
    waiting, octets, blocked_at, reason = known[0]
    if blocked_at is not None:
        return NodeBlocked(node=one.node, why=f"revoked, {reason or 'without a reason'}")
    return QueueFull(
        node=one.node,
        waiting=waiting,
        octets=int(octets),
        max_messages=bounds.messages,
        max_octets=bounds.octets,
    )


def _settled(one: Outcome) -> dict[str, Any]:
    return {
        "n": one.n,
        "state": one.state,
        "at": milliseconds(one.at),
        "sent_at": None if one.sent_at is None else milliseconds(one.sent_at),
        "attempts": one.attempts,
        "answer": one.answer,
    }


def _outbound(row: Row) -> Outbound:
    return Outbound(
        n=row[0],
        node=row[1],
        msg_id=row[2],
        wire=bytes(row[3]),
        operation=row[4],
        resource=row[5],
        acknowledge=bool(row[6]),
        queued_at=moment(row[7]),
        expires_at=moment(row[8]),
        uid=row[9],
        version=row[10],
        digest=bytes(row[11]),
        attempts=row[12],
    )


def _receipt(row: Row) -> Receipt:
    return Receipt(
        n=row[0],
        node=row[1],
        msg_id=row[2],
        operation=row[3],
        resource=row[4],
        octets=row[5],
        acknowledge=bool(row[6]),
        state=State(row[7]),
        queued_at=moment(row[8]),
        expires_at=moment(row[9]),
        sent_at=None if row[10] is None else moment(row[10]),
        settled_at=None if row[11] is None else moment(row[11]),
        attempts=row[12],
        answer=row[13],
    )
