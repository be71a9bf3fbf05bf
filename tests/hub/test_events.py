"""What subscribers hear: what they asked for, in order, and no slow one or talkative node at the cost of others."""

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from edgeward.hub.courier import Settlement
from edgeward.hub.delivery import DELIVERY, MESSAGE, PRESENCE, REMEMBERED, Wanted, Watch, Watchers
from edgeward.model.delivery import State
from edgeward.model.message import Header, Message, Route
from tests.support.edges import certificate_of, head, now, site, until

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def run(scene, *nodes: str, **options):
    async def whole():
        async with site(*nodes, **options) as one:
            return await scene(one)

    return asyncio.run(whole())


def message(msg_id: str = "m", octets: int = 2, **route: str) -> Message:
    facts = {"source": "edged", "group": "meta", "operation": "update", "resource": "default/podstatus/x"} | route
    return Message(header=Header(msg_id=msg_id), route=Route(**facts), content=Raw(b'"' + b"x" * (octets - 2) + b'"'))


def read(watch: Watch) -> list[tuple[str, str, int]]:
    async def all_of_it():
        watch.close()
        return [(one.node, one.message.msg_id if one.message else one.state, one.lost_before) async for one in watch]

    return asyncio.run(all_of_it())


@pytest.mark.parametrize(
    ("wanted", "heard"),
    [
        ({}, ["a", "b", "c", "online", "acknowledged"]),
        ({"types": frozenset({MESSAGE})}, ["a", "b", "c"]),
        ({"types": frozenset({PRESENCE, DELIVERY})}, ["online", "acknowledged"]),
        ({"node": "edge-[12]"}, ["a", "c", "online", "acknowledged"]),
        ({"node": "*-3"}, ["b"]),
        ({"resource": "default/*"}, ["a", "b"]),
        ({"resource": "*/podstatus/*", "operation": "update"}, ["a", "b"]),
        ({"operation": "up*"}, ["a", "b", "c"]),
        ({"operation": "up"}, []),
        ({"group": "user"}, ["c"]),
        ({"types": frozenset({MESSAGE}), "node": "edge-2", "group": "user"}, ["c"]),
    ],
)
def test_a_subscriber_hears_what_it_asked_for(wanted: dict[str, str], heard: list[str]) -> None:
    watchers = Watchers()
    watch = watchers.watch(Wanted(**wanted))
    watchers.received("edge-1", NOON, message("a"))
    watchers.received("edge-3", NOON, message("b"))
    watchers.received("edge-2", NOON, message("c", group="user", resource="upload/x", operation="upload"))
    watchers.presence("edge-1", NOON, "online")
    watchers.settled(Settlement("edge-1", "m", State.ACKNOWLEDGED), NOON)
    assert [what for _, what, _ in read(watch)] == heard


def test_t42_in_a_full_queue_one_that_talks_without_end_pushes_out_its_own_events() -> None:
    watchers = Watchers()
    watch = watchers.watch(queued=100)
    for n in range(10):
        watchers.received(f"calm-{n}", NOON, message(f"first-{n}"))
    for n in range(10_000):
        watchers.received("flood", NOON, message(str(n)))
    for n in range(10):
        watchers.received(f"calm-{n}", NOON, message(f"last-{n}"))
    heard = read(watch)
    assert len(heard) == 100
    assert [what for node, what, _ in heard if node != "flood"] == [f"first-{n}" for n in range(10)] + [
        f"last-{n}" for n in range(10)
    ]
    assert [what for node, what, _ in heard if node == "flood"] == [str(n) for n in range(9920, 10_000)]
    assert sum(lost for _, _, lost in heard) == 10_020 - 100


def test_large_messages_are_bounded_by_their_octets() -> None:
    watchers = Watchers()
    watch = watchers.watch(octets=10_000)
    for n in range(10):
        watchers.received("edge-1", NOON, message(str(n), octets=3000))
        watchers.received("edge-2", NOON, message("small"))
    heard = read(watch)
    assert [what for node, what, _ in heard if node == "edge-1"] == ["7", "8", "9"]
    alone = watchers.watch(octets=10)
    watchers.received("edge-1", NOON, message("huge", octets=1000))
    assert [what for _, what, _ in read(alone)] == ["huge"]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(2, 50)), max_size=60),
    st.integers(1, 10),
    st.integers(20, 200),
)
def test_whatever_comes_a_queue_keeps_its_bounds_its_order_and_its_count(
    events: list[tuple[str, int]], queued: int, octets: int
) -> None:
    watchers = Watchers()
    watch = watchers.watch(queued=queued, octets=octets)
    for n, (node, size) in enumerate(events):
        watchers.received(node, NOON, message(str(n), octets=size))
        assert watch._waiting <= queued
        assert watch._octets <= octets or watch._waiting == 1
        assert watch._octets == sum(place.event.octets for place in watch._queue if place.event is not None)
    heard = read(watch)
    assert [int(what) for _, what, _ in heard] == sorted(int(what) for _, what, _ in heard)
    assert len(heard) + sum(lost for _, _, lost in heard) == len(events)
    if events:
        assert heard[-1][1] == str(len(events) - 1)


def test_a_subscriber_goes_on_where_it_was_and_is_told_when_that_is_too_long_ago() -> None:
    watchers = Watchers("life1")
    for n in range(5):
        watchers.received("edge-1", NOON, message(str(n)))
    again = watchers.watch(after="life1-3")
    assert not again.gap
    assert [what for _, what, _ in read(again)] == ["3", "4"]
    assert [what for _, what, _ in read(watchers.watch(after="life1-5"))] == []
    for unknown in ("life0-3", "x", "life1-", "life1-" + "9" * 30, "-"):
        other = watchers.watch(after=unknown)
        assert other.gap
        assert len(read(other)) == 5
    for n in range(REMEMBERED):
        watchers.received("edge-1", NOON, message(str(n)))
    late = watchers.watch(after="life1-3", queued=5000)
    assert late.gap and len(read(late)) == REMEMBERED


def test_presence_says_who_came_went_and_was_refused_and_why_and_the_history_keeps_it():
    async def scene(one):
        with one.hub.watch(Wanted(types=frozenset({PRESENCE}))) as watch:
            edge = await one.connect("edge-1")
            edge.say("keepalive", "node")
            await until(lambda: one.hub.registry.of_node("edge-1").session.stated)
            liar = await one.dial(certificate_of("edge-2"))
            for _ in range(2):
                liar.writer.write(head("edge-1"))
                await liar.answer()
                liar = await one.dial(certificate_of("edge-2"))
            edge.cut()
            heard = [await anext(watch) for _ in range(3)]
        await until(lambda: not one.hub.online())
        await one.hub.settle()
        return heard, await one.store.timeline.of("edge-1"), await one.store.device("edge-1")

    heard, history, device = run(scene, "edge-1", "edge-2")
    assert [(one.node, one.state) for one in heard] == [
        ("edge-1", "online"),
        ("edge-1", "refused"),
        ("edge-1", "offline"),
    ]
    assert heard[0].address == "127.0.0.1" and "for node edge-2, not for edge-1" in heard[1].why
    assert heard[2].why == "closed"
    assert sorted(one.event for one in history) == ["clock", "offline", "online", "refused"]  # one refusal a minute
    assert history[0].event == "offline"
    assert device.clock_skew_ms < -(10**12) and "behind" in next(one.why for one in history if one.event == "clock")
    assert "edge-2" in device.refused_why


def test_a_right_clock_is_no_event():
    async def scene(one):
        edge = await one.connect("edge-1")
        edge.keepalive()
        await until(lambda: one.hub.registry.of_node("edge-1").clocked)
        await one.hub.settle()
        return await one.store.timeline.of("edge-1"), await one.store.device("edge-1")

    history, device = run(scene, "edge-1")
    assert [one.event for one in history] == ["online"] and abs(device.clock_skew_ms) < 5000


def test_an_answer_is_a_message_and_its_delivery_follows_once_it_is_durable():
    async def scene(one):
        edge = await one.connect("edge-1")
        with one.hub.watch(Wanted(types=frozenset({MESSAGE, DELIVERY}))) as watch:
            await one.hub.send("edge-1", message("a"))
            got = await edge.receive()
            edge.say("response", parent=got.msg_id, content="OK")
            first, second = await anext(watch), await anext(watch)
            edge.say("response", parent="who", content="OK")
            third = await anext(watch)
        return first, second, third

    first, second, third = run(scene, "edge-1")
    assert (first.type, first.message.parent_msg_id, bytes(first.message.content)) == (MESSAGE, "a", b'"OK"')
    assert (second.type, second.node, second.msg_id, second.state) == (DELIVERY, "edge-1", "a", "acknowledged")
    assert (third.type, third.message.parent_msg_id) == (MESSAGE, "who")
    assert second.at <= now()
