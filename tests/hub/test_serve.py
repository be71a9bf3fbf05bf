"""The hub over real sockets: who is let in, what happens to messages, and how sessions end."""

import asyncio
import contextlib
import gc
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import Raw
from websockets.frames import Frame, Opcode

from edgeward.errors import StoreUnavailable
from edgeward.hub.serve import SWEEP, Attendance, Hub, Settings
from edgeward.model.authority import Reason
from edgeward.model.delivery import State
from edgeward.model.device import Cause
from edgeward.model.http import Request, Response
from edgeward.model.message import Header, Message, Route
from tests.support.edges import CAUSE, certificate_of, content, enrol, head, new_store, now, site, until
from tests.support.rows import arrived


def run(scene, *nodes: str, **options):
    async def whole():
        async with site(*nodes, **options) as one:
            return await scene(one)

    return asyncio.run(whole())


async def node_row(one, name: str):
    await one.hub.settle()
    device = await one.store.device(name)
    assert device is not None
    return device


def request(node: str, certificate: bytes) -> Request:
    headers = {"node_id": (node,), "connectionuse": ("msg",)}
    return Request(
        method="GET", target="/", headers=headers, body=b"", address="127.0.0.1", at=now(), peer_certificate=certificate
    )


def fingerprint(node: str, generation: int = 1) -> bytes:
    return hashlib.sha256(certificate_of(node, generation)).digest()


# ----------------------------------------------------------------------------------------------------------- admission


def test_a_node_connects_and_is_online():
    async def scene(one):
        await one.connect("edge-1")
        return one.hub.online(), await node_row(one, "edge-1")

    online, device = run(scene, "edge-1")
    assert [(one.node, one.address) for one in online] == [("edge-1", "127.0.0.1")]
    assert device.online_since is not None and device.address == "127.0.0.1" and device.connections == 1


def test_who_asks_the_store_next_finds_everybody_who_is_here():
    """Presence is written a moment later, so that many share a transaction; a reader does not see that."""

    async def scene(one):
        names = [f"edge-{n}" for n in range(5)]
        found = []
        for name in names:
            await one.connect(name)
            await one.hub.recorded()
            device = await one.store.device(name)
            found.append(device is not None and device.online_since is not None)
        await asyncio.gather(*(one.hub.recorded() for _ in range(3)))
        return found

    assert run(scene, *(f"edge-{n}" for n in range(5))) == [True] * 5


REFUSED = {
    "another node's name": (certificate_of("edge-1"), head("edge-2"), 403, "certificate is for node edge-1, not for"),
    "no name": (certificate_of("edge-1"), head(Node_id=None), 400, "node_id is missing"),
    "a name that is none": (certificate_of("edge-1"), head("../x"), 400, "is not a node name"),
    "the other use": (certificate_of("edge-1"), head(Connectionuse="str"), 400, "ConnectionUse must be `msg`"),
    "no use": (certificate_of("edge-1"), head(Connectionuse=None), 400, "ConnectionUse must be `msg`"),
    "an unknown certificate": (b"unknown", head(), 403, "not a device certificate that was issued here"),
    "no certificate": (None, head(), 403, "none was presented"),
}


@pytest.mark.parametrize(("certificate", "request_", "status", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_t33_a_refusal_comes_before_the_upgrade_in_words_and_is_audited(certificate, request_, status, words):
    async def scene(one):
        edge = await one.dial(certificate)
        edge.writer.write(request_)
        answer = await edge.answer()
        await one.hub.settle()
        return answer, one.hub.online(), [record.action for record in await one.store.audit()]

    answer, online, actions = run(scene, "edge-1", "edge-2")
    assert answer[0] == status and words in answer[1]
    assert online == []
    assert len([action for action in actions if action.startswith("connection.refused.")]) == 1


def test_over_the_limit_a_node_is_refused_and_closed_but_one_that_returns_is_not():
    async def scene(one):
        first = await one.connect("edge-1")
        late = await one.dial(certificate_of("edge-2"))
        refused = await late.upgrade("edge-2")
        again = await one.connect("edge-1")
        await first.closed()
        again.cut()
        await until(lambda: not one.hub.online())
        await one.connect("edge-2")
        return refused

    status, text = run(scene, "edge-1", "edge-2", settings=Settings(nodes=1))
    assert status == 503 and "1 nodes are connected" in text


def test_a_store_that_is_away_is_a_503_and_not_an_opinion():
    async def scene(one):
        async def away(*_asked):
            raise StoreUnavailable(why="disk full")

        one.store.presented = away
        edge = await one.dial(certificate_of("edge-1"))
        return await edge.upgrade()

    status, text = run(scene, "edge-1")
    assert status == 503 and "disk full" in text


# ------------------------------------------------------------------------------------------------------------ messages


def test_control_messages_get_ack_and_a_keepalive_gets_nothing():
    async def scene(one):
        edge = await one.connect("edge-1")
        edge.keepalive()
        edge.say("ping", "r", msg_id="p", source="s", group="g")
        answer = await edge.receive()
        return answer, one.delivered

    answer, delivered = run(scene, "edge-1")
    assert (answer.parent_msg_id, answer.operation, content(answer)) == ("p", "response", "ack")
    assert (answer.source, answer.group, answer.resource) == ("s", "g", "r")
    assert delivered == []


def test_messages_are_delivered_with_the_certificate_s_name():
    async def scene(one):
        edge = await one.connect("edge-1")
        edge.say("update", "default/podstatus", source="edged", group="meta", content={"a": [1]})
        await until(lambda: one.delivered)
        return one.delivered[0]

    node, message = run(scene, "edge-1")
    assert node == "edge-1" and message.operation == "update" and content(message) == {"a": [1]}


def test_t43_a_message_about_another_node_is_dropped_and_audited_and_the_connection_stays():
    async def scene(one):
        edge = await one.connect("edge-1")
        for _ in range(3):
            edge.say("update", "node/edge-2/default/pod/x")
        edge.say("insert", "default/pod/x", source="edgecontroller")
        edge.say("update", "node/edge-1/default/pod/x")
        edge.say("response", "default/pod/y", source="edgecontroller")
        await until(lambda: len(one.delivered) == 2)
        await one.hub.settle()
        return one.delivered, [r for r in await one.store.audit() if r.action == "message.dropped"], one.hub.online()

    delivered, records, online = run(scene, "edge-1", "edge-2")
    assert [message.resource for _, message in delivered] == ["node/edge-1/default/pod/x", "default/pod/y"]
    assert len(records) == 1 and records[0].actor == "node:edge-1"  # one a minute; the others are counted
    assert "node/edge-2/default/pod/x" in records[0].facts
    assert len(online) == 1


def test_t40_a_message_that_is_none_closes_the_session_as_protocol():
    async def scene(one):
        edge = await one.connect("edge-1")
        edge.send(b'{"header":{"msg_id":1}}')
        edge.say("update")
        code = await edge.closed()
        return code, one.delivered, (await node_row(one, "edge-1")).offline_cause

    assert run(scene, "edge-1") == (1007, [], Cause.PROTOCOL)


def test_t39_a_frame_that_breaks_the_rules_closes_the_session_as_protocol():
    async def scene(one):
        edge = await one.connect("edge-1")
        edge.writer.write(Frame(Opcode.TEXT, b"{}").serialize(mask=False))
        code = await edge.closed()
        await until(lambda: not one.hub.online())
        return code, (await node_row(one, "edge-1")).offline_cause

    assert run(scene, "edge-1") == (1002, Cause.PROTOCOL)


def update(**header: object) -> Message:
    return Message(
        header=Header(**header),
        route=Route(source="edgecontroller", group="resource", operation="update", resource="default/pod/x"),
        content=Raw(b'{"kind":"Pod"}'),
    )


def test_a_watcher_sees_messages_and_a_slow_one_is_told_what_it_lost():
    async def scene(one):
        edge = await one.connect("edge-1")
        with one.hub.watch() as quick, one.hub.watch(queued=3) as slow:
            for n in range(10):
                edge.say("update", msg_id=str(n))
            all_of_it = [await anext(quick) for _ in range(10)]
            rest = [await anext(slow) for _ in range(3)]
        assert [one async for one in slow] == []
        return all_of_it, rest

    everything, rest = run(scene, "edge-1")
    assert [one.message.msg_id for one in everything] == [str(n) for n in range(10)]
    assert {one.node for one in everything} == {"edge-1"} and everything[0].at <= datetime.now(UTC)
    assert [(one.message.msg_id, one.lost_before) for one in rest] == [("7", 7), ("8", 0), ("9", 0)]


# ----------------------------------------------------------------------------------------------------- ends of sessions


def test_t38_a_node_that_falls_silent_is_offline_in_one_interval_and_its_socket_freed():
    async def scene(one):
        quiet = await one.connect("edge-1")
        lively = await one.connect("edge-2")
        quiet.writer.transport.pause_reading()
        one.clock.t += 29
        lively.keepalive()
        lively.say("ping")
        await lively.receive()
        await one.hub.sweep()
        assert len(one.hub.online()) == 2
        one.clock.t += 1
        await one.hub.sweep()
        assert [one.node for one in one.hub.online()] == ["edge-2"]
        await until(lambda: one.connections[0]._transport is None)
        return (await node_row(one, "edge-1")).offline_cause

    assert run(scene, "edge-1", "edge-2") is Cause.SILENT


def test_other_messages_do_not_keep_a_session_alive():
    async def scene(one):
        edge = await one.connect("edge-1")
        one.clock.t += 30
        edge.say("update")
        await until(lambda: one.delivered)
        await one.hub.sweep()
        return one.hub.online()

    assert run(scene, "edge-1") == []


def test_t34_revoking_while_connected_closes_at_once_and_nothing_more_is_sent_or_dispatched():
    async def scene(one):
        edge = await one.connect("edge-1")
        record = await one.store.certificate(fingerprint("edge-1"))
        await one.store.revoke([record.serial], now(), Reason.KEY_COMPROMISE, CAUSE)
        edge.say("update")  # may arrive after the revocation
        closed = one.hub.close_certificates([fingerprint("edge-1")], Cause.REVOKED)
        assert (await one.hub.send("edge-1", update())).state is State.QUEUED
        frame = await edge.next_frame()
        again = await one.dial(certificate_of("edge-1"))
        refused = await again.upgrade()
        return closed, frame, one.delivered, refused, (await node_row(one, "edge-1")).offline_cause

    closed, frame, delivered, refused, cause = run(scene, "edge-1")
    assert (closed, frame, delivered, cause) == (1, None, [], Cause.REVOKED)
    assert refused[0] == 403 and "keyCompromise" in refused[1]


def test_t34_a_revocation_that_is_being_written_when_its_node_first_connects_ends_that_session():
    async def scene(one):
        record = await one.store.certificate(fingerprint("edge-1"))
        present, admitted = one.store.presented, asyncio.Event()

        async def before_its_commit(*asked):
            found = await present(*asked)
            revoking.append(asyncio.create_task(one.store.revoke([record.serial], now(), Reason.UNSPECIFIED, CAUSE)))
            admitted.set()
            return found

        revoking = []
        one.store.presented = before_its_commit
        edge = await one.connect("edge-1")
        await admitted.wait()
        revoked = await revoking[0]
        one.hub.close_certificates([one.fingerprint for one in revoked], Cause.REVOKED)
        ended = await edge.next_frame()
        one.store.presented = present
        again = await one.dial(certificate_of("edge-1"))
        refused = await again.upgrade()
        await one.hub.settle()
        return ended, refused[0], await one.store.certificate(fingerprint("edge-1")), one.hub.online()

    ended, status, record, online = run(scene, "edge-1")
    assert (ended, status, online) == (None, 403, [])
    assert record.revoked_at is not None and record.connected_at is None


def test_t34_a_revocation_during_the_admission_is_not_lost():
    async def scene(one, closing):
        looked_up, go_on = asyncio.Event(), asyncio.Event()
        presented = one.store.presented

        async def slow(*asked):
            found = await presented(*asked)
            looked_up.set()
            await go_on.wait()
            return found

        one.store.presented = slow
        edge = await one.dial(certificate_of("edge-1"))
        edge.writer.write(head())
        await looked_up.wait()
        closing(one.hub)
        go_on.set()
        return await edge.answer(), one.hub.online()

    for closing in (
        lambda hub: hub.close_certificates([fingerprint("edge-1")], Cause.REVOKED),
        lambda hub: hub.close_node("edge-1", Cause.REVOKED),
    ):
        (status, text), online = run(lambda one, closing=closing: scene(one, closing), "edge-1")
        assert status == 403 and "revoked just now" in text and online == []


def test_a_renewed_certificate_closes_the_session_of_the_one_it_replaces():
    async def scene(one):
        old = await one.connect("edge-1")
        record = await one.store.certificate(fingerprint("edge-1"))
        await enrol(one.store, "edge-1", 2, replaces=record.serial)
        await one.connect("edge-1", 2)
        await old.closed()
        again = await one.dial(certificate_of("edge-1", 1))
        device = await node_row(one, "edge-1")
        return await again.upgrade(), device, [one.fingerprint for one in one.hub.online()]

    refused, device, online = run(scene, "edge-1")
    assert refused[0] == 403 and "superseded" in refused[1]
    assert online == [fingerprint("edge-1", 2)]
    assert device.online_since is not None and device.offline_cause is None


def test_a_renewed_certificate_takes_over_without_its_node_ever_being_offline():
    async def scene(one):
        old = await one.connect("edge-1")
        record = await one.store.certificate(fingerprint("edge-1"))
        await enrol(one.store, "edge-1", 2, replaces=record.serial)
        await one.connect("edge-1", 2)
        code = await old.closed()
        await one.hub.settle()
        return code, [moment.event for moment in await one.store.timeline.of("edge-1")]

    code, story = run(scene, "edge-1")
    assert code == 1008
    assert story == ["online", "online"]


def test_a_replaced_certificate_keeps_no_session_when_its_successor_is_admitted_and_never_opens_one():
    async def scene(one):
        old = await one.connect("edge-1")
        record = await one.store.certificate(fingerprint("edge-1"))
        await enrol(one.store, "edge-1", 2, replaces=record.serial)
        admitted = await one.hub.admit(request("edge-1", certificate_of("edge-1", 2)))  # and nothing is made of it
        standing = [live.fingerprint for live in one.hub.online()]
        one.clock.t += SWEEP
        await one.hub.sweep()
        await old.closed()
        await one.hub.settle()
        return admitted, standing, one.hub.online(), (await one.store.device("edge-1")).offline_cause

    admitted, standing, online, cause = run(scene, "edge-1")
    assert not isinstance(admitted, Response)
    assert standing == [fingerprint("edge-1")]
    assert (online, cause) == ([], Cause.REVOKED)


def test_t41_a_node_that_connects_twice_keeps_the_newer_session_and_stays_online():
    async def scene(one):
        older = await one.connect("edge-1")
        newer = await one.connect("edge-1")
        code = await older.closed()
        await one.hub.send("edge-1", update(msg_id="x"))
        assert (await newer.receive()).msg_id == "x"
        device = await node_row(one, "edge-1")
        return code, device

    code, device = run(scene, "edge-1")
    assert code == 1008
    assert device.online_since is not None and device.offline_cause is None and device.connections == 2


def test_t41_a_hundred_at_once_leave_one_session_and_no_trace():
    async def scene(one):
        edges = [await one.dial(certificate_of("edge-1")) for _ in range(100)]
        for edge in edges:
            edge.writer.write(head())
        statuses = [(await edge.answer())[0] for edge in edges]
        await until(lambda: len(one.hub.online()) == 1)
        live = one.hub.registry.of_node("edge-1")
        await one.hub.send("edge-1", update(msg_id="x"))

        async def reads(edge):
            frame = await edge.next_frame()
            return frame is not None and frame.opcode is Opcode.TEXT

        last = [n for n, edge in enumerate(edges) if await reads(edge)]
        for edge in edges:
            edge.writer.close()
        await until(lambda: not one.hub.online())
        device = await node_row(one, "edge-1")
        one.connections.clear()
        del live
        gc.collect()
        left = [thing for thing in gc.get_objects() if isinstance(thing, Attendance)]
        return statuses, last, device, len(left)

    statuses, last, device, left = run(scene, "edge-1")
    assert statuses == [101] * 100
    assert len(last) == 1  # no message to both
    assert device.connections == 100 and device.online_since is None and device.offline_cause is Cause.CLOSED
    assert left == 0


def test_t42_a_flood_of_one_node_does_not_starve_the_others():
    async def scene(one):
        flooder = await one.connect("edge-1")
        calm = await one.connect("edge-2")
        message = Frame(Opcode.TEXT, b'{"route":{"operation":"update"}}').serialize(mask=True)
        flooder.writer.write(message * 50_000)
        calm.say("ping", msg_id="p")
        assert (await calm.receive()).parent_msg_id == "p"
        before = len(one.delivered)
        calm.keepalive()
        calm.say("ping", msg_id="q")
        assert (await calm.receive()).parent_msg_id == "q"
        return before, len(one.delivered), [o.node for o in one.hub.online()]

    before, after, online = run(scene, "edge-1", "edge-2")
    assert before <= 300  # its burst and the rest of a slice
    assert after == before
    assert sorted(online) == ["edge-1", "edge-2"]  # held up, not thrown out


def test_t42_pings_count_as_well():
    async def scene(one):
        flooder = await one.connect("edge-1")
        flooder.writer.write(Frame(Opcode.PING, b"").serialize(mask=True) * 50_000)
        await until(lambda: one.connections[0]._held is not None)
        return one.connections[0]._transport.get_write_buffer_size()

    assert run(scene, "edge-1") < 10_000


def test_a_node_that_is_held_up_is_not_silent():
    async def scene(one):
        edge = await one.connect("edge-1")
        for _ in range(4):
            edge.say("update")
        await until(lambda: len(one.delivered) == 4)
        assert one.connections[0]._held is not None
        one.clock.t += 25
        await until(lambda: one.connections[0]._held is None)
        one.clock.t += 25
        await one.hub.sweep()
        return len(one.hub.online())

    assert run(scene, "edge-1", settings=Settings(rate=50.0, burst=1.0)) == 1


# ------------------------------------------------------------------------------------------------------------ presence


def test_last_seen_is_written_in_bulk_for_those_heard_of():
    async def scene(one):
        written = []
        seen = one.store.seen

        async def counted(moments):
            written.append(sorted(name for name, _ in moments))
            await seen(moments)

        one.store.seen = counted
        first, second = await one.connect("edge-1"), await one.connect("edge-2")
        one.clock.t += 15
        for edge in (first, second):
            edge.keepalive()
            edge.say("ping")
            await edge.receive()
        one.clock.t += 14
        await one.hub.sweep()
        assert written == []
        one.clock.t += 1
        second.keepalive()
        second.say("ping")
        await second.receive()
        await one.hub.sweep()
        one.clock.t += 29
        await one.hub.flush()
        return written, await node_row(one, "edge-1"), await node_row(one, "edge-2")

    written, first, second = run(scene, "edge-1", "edge-2")
    assert written == [["edge-1", "edge-2"]]
    assert (second.last_seen - first.last_seen).total_seconds() == pytest.approx(15, abs=2)


def test_a_store_that_fails_is_no_reason_to_drop_anybody_and_is_told_when_it_is_back(caplog):
    async def scene(one):
        async def away(*_):
            raise StoreUnavailable(why="disk full")

        add, one.store.timeline.add = one.store.timeline.add, away
        edge = await one.connect("edge-1")
        edge.say("ping")
        await edge.receive()
        await one.hub.settle()
        online = one.hub.online()
        one.store.timeline.add = add
        again = await one.connect("edge-1")
        again.writer.close()
        await until(lambda: not one.hub.online())
        await one.hub.settle()
        return online, await one.store.device("edge-1"), await one.store.certificate(fingerprint("edge-1"))

    online, device, record = run(scene, "edge-1")
    assert len(online) == 1
    assert "moments of nodes not recorded" in caplog.text and "disk full" in caplog.text
    assert (device.connections, device.online_since, device.offline_cause) == (2, None, Cause.CLOSED)
    assert record.connected_at is not None


def test_a_node_that_comes_and_goes_faster_than_is_written_ends_where_it_is_and_every_move_is_in_its_history():
    async def scene():
        store = await new_store()
        record = await enrol(store, "edge-1")
        hub = Hub(store, now=now, new_id=lambda: "x")
        seen = []
        for last in (False, True):
            for _ in range(3):
                hub._presence.connected("edge-1", now(), "", first=(record.issuer_id, record.serial))
                hub._presence.disconnected("edge-1", now(), Cause.CLOSED)
            if last:
                hub._presence.connected("edge-1", now(), "")
            await hub.settle()
            seen.append(await store.device("edge-1"))
        story = [moment.event for moment in await store.timeline.of("edge-1")]
        known = await store.certificate(record.fingerprint)
        await store.close()
        return seen, story, known

    (away, here), story, known = asyncio.run(scene())
    assert (away.connections, away.online_since, away.offline_cause) == (3, None, Cause.CLOSED)
    assert (here.connections, here.offline_since, here.offline_cause) == (7, None, None)
    assert here.online_since is not None
    assert story == ["online", *["offline", "online"] * 6]
    assert known.connected_at is not None


def test_a_session_ends_with_its_certificate_s_time_and_no_other_does():
    async def scene(one):
        at = now()
        for node, minutes in (("short", 10), ("longer", 20)):
            await enrol(one.store, node, not_after=at + timedelta(minutes=minutes))
        short, longer = await one.connect("short"), await one.connect("longer")
        left = []
        for minutes in (9, 11, 19, 21):
            one.hub._now = lambda minutes=minutes: at + timedelta(minutes=minutes)
            await one.hub.sweep()
            left.append(sorted(live.node for live in one.hub.online()))
        again = await (await one.dial(certificate_of("short"))).upgrade("short")
        codes = await short.closed(), await longer.closed()
        await one.hub.settle()
        return left, codes, again, (await one.store.device("short")).offline_cause

    left, codes, again, cause = run(scene)
    assert left == [["longer", "short"], ["longer"], ["longer"], []]
    assert (codes, cause) == ((1008, 1008), Cause.EXPIRED)
    assert again[0] == 403 and "it expired at" in again[1]


def test_shutdown_says_goodbye_and_records_it():
    async def scene(one):
        edge = await one.connect("edge-1")
        await one.hub.shutdown()
        code = await edge.closed()
        late = await one.dial(certificate_of("edge-1"))
        refused = await late.upgrade()
        return code, (await one.store.device("edge-1")).offline_cause, refused

    code, cause, refused = run(scene, "edge-1")
    assert (code, cause) == (1001, Cause.SHUTDOWN)
    assert refused[0] == 503


def test_at_the_start_nobody_is_online():
    async def scene():
        store = await new_store()
        await enrol(store, "edge-1")
        await arrived(store, "edge-1", now(), "10.0.0.1")
        hub = Hub(store, now=now, new_id=lambda: "x")
        await hub.start()
        device = await store.device("edge-1")
        await store.close()
        return device

    device = asyncio.run(scene())
    assert device.online_since is None and device.offline_cause is Cause.UNKNOWN


def test_a_flood_of_refusals_does_not_fill_the_audit_trail():
    async def scene(one):
        for _ in range(150):
            edge = await one.dial(b"unknown")
            await edge.upgrade()
        await one.hub.settle()
        return len([r for r in await one.store.audit() if r.action.startswith("connection.refused.")])

    assert 100 <= run(scene) < 150


def test_the_loop_outlives_a_failing_sweep(caplog, monkeypatch):
    async def scene(one):
        monkeypatch.setattr("edgeward.hub.serve.SWEEP", 0.001)
        calls = []

        async def failing():
            calls.append(1)
            raise RuntimeError("once more")

        one.hub.sweep = failing
        loop = asyncio.create_task(one.hub.run())
        await until(lambda: len(calls) > 2)
        loop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await loop

    run(scene)
    assert "the hub's sweep failed" in caplog.text
