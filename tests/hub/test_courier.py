"""Messages to nodes over real sockets and a real store: what reaches whom in which order, and what their senders are told."""

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import Raw

from edgeward.errors import MessageConflict, NodeBlocked, NotFound, QueueFull, StoreUnavailable
from edgeward.hub.courier import Settings
from edgeward.hub.serve import Settings as HubSettings
from edgeward.model.authority import Reason
from edgeward.model.delivery import Bounds, State
from edgeward.model.device import Cause
from edgeward.model.message import Header, Message, Route
from edgeward.stores import sqlite
from tests.support.edges import CAUSE, content, new_store, now, site, until


def run(scene, *nodes: str, **options):
    async def whole():
        async with site(*nodes, **options) as one:
            return await scene(one)

    return asyncio.run(whole())


def update(msg_id: str = "", *, body: bytes = b'{"kind":"Pod"}', **route: str) -> Message:
    facts = {"source": "edgecontroller", "group": "resource", "operation": "update", "resource": "default/configmap/x"}
    return Message(header=Header(msg_id=msg_id), route=Route(**(facts | route)), content=Raw(body))


def version(msg_id: str, number: int, uid: str = "u", **route: str) -> Message:
    one = update(msg_id, body=b'{"metadata":{"uid":"%s"}}' % uid.encode(), **route)
    return Message(header=Header(msg_id=msg_id, resourceversion=str(number)), route=one.route, content=one.content)


def acknowledge(edge, got: Message, operation: str = "response", said: str = "OK") -> None:
    edge.say(operation, got.resource, parent=got.msg_id, source=got.source, group=got.group, content=said)


async def states(one, *msg_ids: str) -> list[State | None]:
    found = [await one.hub.courier.receipt(msg_id) for msg_id in msg_ids]
    return [None if receipt is None else receipt.state for receipt in found]


def test_send_reaches_the_node_and_waits_for_its_answer():
    async def scene(one):
        edge = await one.connect("edge-1")
        other = await one.connect("edge-2")
        waiting = asyncio.create_task(one.hub.send("edge-1", update(), wait=5))
        got = await edge.receive()
        other.say("response", parent=got.msg_id, content="forged")  # no node can answer for another
        await until(lambda: one.delivered)
        acknowledge(edge, got)
        return got, await waiting, await one.hub.courier.receipt(got.msg_id)

    got, ended, receipt = run(scene, "edge-1", "edge-2")
    assert got.msg_id.startswith("hub-") and got.timestamp > 0 and content(got) == {"kind": "Pod"}
    assert (ended.state, ended.msg_id, content(ended.answer)) == (State.ACKNOWLEDGED, got.msg_id, "OK")
    assert (receipt.state, receipt.attempts, receipt.answer) == (State.ACKNOWLEDGED, 1, '"OK"')
    assert receipt.queued_at <= receipt.sent_at + timedelta(milliseconds=2) and receipt.sent_at <= receipt.settled_at


def test_a_node_that_is_away_gets_everything_in_order_when_it_comes_also_from_another_life_of_the_hub(tmp_path: Path):
    names = [f"m{n}" for n in range(200)]

    async def before():
        store = sqlite.open_store(tmp_path / "store.db")
        await store.add_issuer((await (await new_store()).issuers())[0], None, CAUSE)
        async with site("edge-1", store=store) as one:
            answers = await asyncio.gather(*(one.hub.send("edge-1", update(name)) for name in names))
            return [one.state for one in answers]

    async def after():
        quick = HubSettings(rate=1e6, burst=1e6)
        async with site(store=sqlite.open_store(tmp_path / "store.db"), settings=quick) as one:
            edge = await one.connect("edge-1")
            seen = []
            for _ in names:
                got = await edge.receive()
                seen.append(got.msg_id)
                acknowledge(edge, got)
            await until(lambda: one.hub.courier._lines["edge-1"].outbox.under_way is None)
            await one.hub.settle()
            return seen, await one.store.queue.depths()

    assert asyncio.run(before()) == [State.QUEUED] * 200
    assert asyncio.run(after()) == (names, [])


def test_what_is_not_acknowledged_is_sent_again_and_comes_first_after_a_reconnection():
    async def scene(one):
        edge = await one.connect("edge-1")
        for name in ("a", "b"):
            await one.hub.send("edge-1", update(name))
        first = await edge.receive()
        seen = [first.msg_id]
        for _ in range(4):
            one.clock.t += 5
            await one.hub.sweep()
            edge.keepalive()
            again = await edge.receive()
            assert again == first
            seen.append(again.msg_id)
        edge.cut()
        await until(lambda: not one.hub.online())
        edge = await one.connect("edge-1")
        for _ in range(2):
            got = await edge.receive()
            seen.append(got.msg_id)
            acknowledge(edge, got)
        await until(lambda: one.hub.courier._lines["edge-1"].outbox.under_way is None)
        await one.hub.settle()
        return seen, (await one.hub.courier.receipt("a")).attempts

    assert run(scene, "edge-1") == (["a"] * 6 + ["b"], 6)


def test_an_error_is_told_to_the_sender_and_does_not_hold_up_the_next():
    async def scene(one):
        edge = await one.connect("edge-1")
        waiting = asyncio.create_task(one.hub.send("edge-1", update("a"), wait=5))
        got = await edge.receive()
        await one.hub.send("edge-1", update("b"))
        acknowledge(edge, got, "error", "no space left")
        ended = await waiting
        return ended.state, content(ended.answer), (await edge.receive()).msg_id, await states(one, "a", "b")

    assert run(scene, "edge-1") == (State.FAILED, "no space left", "b", [State.FAILED, State.SENDING])


def test_a_node_that_says_nothing_holds_up_nobody_else():
    async def scene(one):
        await one.connect("edge-1")
        edge = await one.connect("edge-2")
        for n in range(100):
            await one.hub.send("edge-1", update(f"silent-{n}"))
        waiting = asyncio.create_task(one.hub.send("edge-2", update("x"), wait=5))
        acknowledge(edge, await edge.receive())
        return (await waiting).state

    assert run(scene, "edge-1", "edge-2") is State.ACKNOWLEDGED


def test_the_end_is_durable_before_anybody_is_told(monkeypatch):
    async def scene(one):
        edge = await one.connect("edge-1")
        waiting = asyncio.create_task(one.hub.send("edge-1", update("a"), wait=5))
        got = await edge.receive()
        await one.hub.send("edge-1", update("b"))
        settle, tried = one.store.queue.settle, []

        async def away(outcomes):
            tried.append(outcomes)
            raise StoreUnavailable(why="disk full")

        monkeypatch.setattr(one.store.queue, "settle", away)
        monkeypatch.setattr("edgeward.hub.courier.PAUSE", 0.01)
        acknowledge(edge, got)
        await until(lambda: len(tried) > 2)
        assert not waiting.done() and await states(one, "a") == [State.QUEUED]
        assert (await one.hub.send("edge-1", update("c"))).state is State.QUEUED  # others are not held up by it
        monkeypatch.setattr(one.store.queue, "settle", settle)
        return (await waiting).state, (await edge.receive()).msg_id

    assert run(scene, "edge-1") == (State.ACKNOWLEDGED, "b")


def test_a_store_that_is_away_is_the_sender_s_answer_and_nothing_is_sent(monkeypatch):
    async def scene(one):
        edge = await one.connect("edge-1")

        async def away(outbound, bounds):
            raise StoreUnavailable(why="disk full")

        put = one.store.queue.put
        monkeypatch.setattr(one.store.queue, "put", away)
        with pytest.raises(StoreUnavailable, match="disk full"):
            await one.hub.send("edge-1", update("a"))
        monkeypatch.setattr(one.store.queue, "put", put)
        await one.hub.send("edge-1", update("b"))
        return (await edge.receive()).msg_id

    assert run(scene, "edge-1") == "b"


def test_who_may_not_have_messages_and_when_a_queue_is_full():
    async def scene(one):
        one.hub.courier.settings = Settings(bounds=Bounds(messages=2, octets=10_000))
        for name in ("a", "b"):
            await one.hub.send("edge-1", update(name))
        with pytest.raises(QueueFull, match="2 messages with"):
            await one.hub.send("edge-1", update("c"))
        with pytest.raises(NotFound):
            await one.hub.send("edge-9", update("c"))
        waiting = asyncio.create_task(one.hub.send("edge-1", update("a"), wait=5))  # the same again: one message
        await until(lambda: one.hub.courier._waiting)
        await one.hub.settle()
        with pytest.raises(MessageConflict):
            await one.hub.send("edge-1", update("a", body=b"1"))
        await one.store.block("edge-1", now(), Reason.KEY_COMPROMISE, CAUSE)
        one.hub.close_node("edge-1", Cause.REVOKED)
        with pytest.raises(NodeBlocked):
            await one.hub.send("edge-1", update("d"))
        return (await waiting).state, await states(one, "a", "b", "c", "d")

    assert run(scene, "edge-1") == (State.REFUSED, [State.REFUSED, State.REFUSED, None, None])


def test_a_version_that_is_overtaken_is_reported_as_superseded():
    async def scene(one):
        older = asyncio.create_task(one.hub.send("edge-1", version("v1", 1), wait=5))
        await until(lambda: one.hub.courier._waiting)
        await one.hub.settle()
        await one.hub.send("edge-1", version("v3", 3))
        assert (await one.hub.send("edge-1", version("v2", 2), wait=5)).state is State.SUPERSEDED
        assert (await older).state is State.SUPERSEDED
        edge = await one.connect("edge-1")
        got = await edge.receive()
        newer = asyncio.create_task(one.hub.send("edge-1", version("v4", 4), wait=5))
        await until(lambda: one.hub.courier._waiting)
        await until(lambda: one.hub.courier._lines["edge-1"].outbox._ordered)
        assert await states(one, "v3") == [State.SUPERSEDED]
        acknowledge(edge, got)
        following = await edge.receive()
        acknowledge(edge, following)
        return got.msg_id, following.msg_id, (await newer).state, await states(one, "v1", "v2", "v3", "v4")

    first, second, ended, after = run(scene, "edge-1")
    assert (first, second, ended) == ("v3", "v4", State.ACKNOWLEDGED)
    assert after == [State.SUPERSEDED] * 3 + [State.ACKNOWLEDGED]


def test_what_nobody_took_in_its_time_expires_and_is_not_sent_any_more():
    async def scene(one):
        waiting = asyncio.create_task(one.hub.send("edge-1", update("a"), wait=5, lifetime=timedelta(milliseconds=1)))
        await until(lambda: one.hub.courier._waiting)
        await one.hub.settle()
        await one.hub.send("edge-1", update("b"))
        await asyncio.sleep(0.002)
        await one.hub.courier.tidy(at_once=True)
        ended = (await waiting).state
        edge = await one.connect("edge-1")
        return ended, (await edge.receive()).msg_id

    assert run(scene, "edge-1") == (State.EXPIRED, "b")


def test_a_message_that_is_taken_back_is_not_sent_again():
    async def scene(one):
        edge = await one.connect("edge-1")
        for name in ("a", "b", "c"):
            await one.hub.send("edge-1", update(name))
        assert (await edge.receive()).msg_id == "a"
        assert await one.hub.courier.cancel("b") and await one.hub.courier.cancel("a")
        assert not await one.hub.courier.cancel("a") and not await one.hub.courier.cancel("zzz")
        return (await edge.receive()).msg_id, await states(one, "a", "b")

    assert run(scene, "edge-1") == ("c", [State.CANCELLED, State.CANCELLED])


def test_five_megabytes_go_down_and_come_up():
    async def scene(one):
        edge = await one.connect("edge-1")
        body = b'"' + hashlib.sha256(b"x").hexdigest().encode() * 80_000 + b'"'
        waiting = asyncio.create_task(one.hub.send("edge-1", update("big", body=body), wait=10))
        got = await edge.receive()
        acknowledge(edge, got)
        edge.say("upload", content=content(got))
        await until(lambda: any(message.operation == "upload" for _, message in one.delivered))
        return len(bytes(got.content)), (await waiting).state, len(bytes(one.delivered[-1][1].content))

    assert run(scene, "edge-1") == (5_120_002, State.ACKNOWLEDGED, 5_120_002)


def test_t41_a_node_that_connects_twice_gets_the_message_on_one_connection_and_nothing_twice_acknowledged():
    async def scene(one):
        older = await one.connect("edge-1")
        await one.hub.send("edge-1", update("a"))
        assert (await older.receive()).msg_id == "a"
        newer = await one.connect("edge-1")
        got = await newer.receive()
        acknowledge(newer, got)
        await older.closed()
        await one.hub.send("edge-1", update("b"))
        return got.msg_id, (await newer.receive()).msg_id, len(one.hub.courier._lines)

    assert run(scene, "edge-1") == ("a", "b", 1)


def test_messages_that_want_no_acknowledgement_are_sent_once_also_to_one_that_comes_later():
    async def scene(one):
        quiet = {"resource": "default/podlist/x"}
        waiting = asyncio.create_task(one.hub.send("edge-1", update("p", **quiet), wait=5))
        await until(lambda: one.hub.courier._waiting)
        edge = await one.connect("edge-1")
        assert (await edge.receive()).msg_id == "p"
        assert (await one.hub.send("edge-1", update("q", **quiet), wait=5)).state is State.SENT
        one.clock.t += 5
        await one.hub.sweep()
        await one.hub.send("edge-1", update("r"))
        return (await waiting).state, [(await edge.receive()).msg_id for _ in range(2)]

    assert run(scene, "edge-1") == (State.SENT, ["q", "r"])


def test_many_senders_to_many_nodes_keep_each_node_s_order():
    nodes = [f"edge-{n}" for n in range(20)]

    async def scene(one):
        edges = {node: await one.connect(node) for node in nodes[:10]}
        seen: dict[str, list[str]] = {node: [] for node in nodes}

        async def live(node, edge, count):
            while len(seen[node]) < count:
                got = await edge.receive()
                seen[node].append(got.msg_id)
                acknowledge(edge, got)

        async def send(node):
            for n in range(50):
                await one.hub.send(node, update(f"{node}/{n}"))

        await asyncio.gather(*(send(node) for node in nodes), *(live(node, edges[node], 50) for node in edges))
        edges |= {node: await one.connect(node) for node in nodes[10:]}
        await asyncio.gather(*(live(node, edges[node], 50) for node in nodes[10:]))
        await one.hub.settle()
        return seen

    seen = run(scene, *nodes)
    assert seen == {node: [f"{node}/{n}" for n in range(50)] for node in nodes}


def test_the_queue_of_a_node_for_which_nothing_waits_is_not_read():
    async def scene(one):
        seen: list[str] = []

        def reads() -> int:
            count = sum(
                "FROM message WHERE node" in statement and "ORDER BY n LIMIT" in statement for statement in seen
            )
            seen.clear()
            return count

        for connection in (one.store._reader._connection, one.store._writer._engine.connection):
            connection.set_trace_callback(seen.append)
        found = []
        edge = await one.connect("edge-1")
        await one.hub.settle()
        found.append(reads())
        edge.writer.close()
        await until(lambda: not one.hub.online())
        await one.hub.send("edge-1", update("m1"))
        for expected in ("m1", ""):  # it waits; and after it was delivered, nothing does
            seen.clear()
            edge = await one.connect("edge-1")
            if expected:
                got = await edge.receive()
                assert got.msg_id == expected
                acknowledge(edge, got)
                await until(lambda: one.hub.courier._lines["edge-1"].outbox.under_way is None)
            await one.hub.settle()
            found.append(reads() > 0)
            edge.writer.close()
            await until(lambda: not one.hub.online())
        edge = await one.connect("edge-1")
        await one.hub.settle()
        found.append(reads())
        waiting = asyncio.create_task(one.hub.send("edge-1", update("m2"), wait=5))
        got = await edge.receive()
        acknowledge(edge, got)
        return found, got.msg_id, (await waiting).state

    found, last, state = run(scene, "edge-1")
    assert found == [0, True, True, 0], "never waited; waits; its end was not noticed yet; nothing waits"
    assert (last, state) == ("m2", State.ACKNOWLEDGED)
