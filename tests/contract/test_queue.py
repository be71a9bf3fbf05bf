"""What every queue must do: `stores.queue.Queue`, said precisely, on every store of `tests.support.places.PLACES`."""

import asyncio
import inspect
from datetime import timedelta
from typing import Any

import msgspec
from msgspec import Raw

from edgeward.errors import MessageConflict, NodeBlocked, NotFound, QueueFull
from edgeward.model import delivery
from edgeward.model.authority import Reason
from edgeward.model.delivery import Bounds, Outbound, Outcome, State
from edgeward.model.message import Header, Message, Route
from edgeward.stores.queue import Put, Queue
from edgeward.stores.relational import RelationalStore
from edgeward.stores.relational_queue import RelationalQueue
from tests.support.places import Place, story
from tests.support.rows import NOON, enrolled, event, new_issuer

WIDE = Bounds(messages=1000, octets=10_000_000)
HOUR = timedelta(hours=1)


def message(msg_id: str, node: str = "edge-1", *, uid: str = "", version: int | None = None, **more: Any) -> Outbound:
    """A message for a node, about an object if `uid` is given."""
    content = more.pop("content", {"metadata": {"uid": uid}} if uid else {"id": msg_id})
    chosen = more.pop("chosen_id", False)
    header = Header(msg_id=msg_id, timestamp=1, resourceversion="" if version is None else str(version))
    route = {"source": "edgecontroller", "group": "resource", "operation": "update", "resource": "default/configmap/x"}
    one = Message(header=header, route=Route(**(route | more)), content=Raw(msgspec.json.encode(content)))
    return delivery.outbound(node, one, queued_at=NOON, expires_at=NOON + HOUR, chosen_id=chosen)


def ended(one: Outbound, put: Put, state: State = State.ACKNOWLEDGED, **more: Any) -> Outcome:
    return Outcome(
        n=put.n, node=one.node, msg_id=one.msg_id, state=state, at=NOON, uid=one.uid, version=one.version, **more
    )


async def put(queue: Queue, one: Outbound, bounds: Bounds = WIDE) -> Put:
    answer = (await queue.put([one], bounds))[0]
    assert isinstance(answer, Put), answer
    return answer


async def waiting(queue: Queue, node: str = "edge-1") -> list[str]:
    return [one.msg_id for one in await queue.pending(node, 1000, 10**9)]


def test_the_adapter_has_every_method_of_the_port_with_the_same_signature() -> None:
    for name, wanted in inspect.getmembers(Queue, inspect.isfunction):
        if not name.startswith("_"):
            offered = inspect.signature(getattr(RelationalQueue, name))
            assert offered.parameters == inspect.signature(wanted).parameters, name
            assert offered.return_annotation == inspect.signature(wanted).return_annotation, name


def test_those_for_whom_something_waits_are_found_among_many(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        names = [f"edge-{n}" for n in range(1, 8)]
        for name in names:
            await enrolled(store, name)
        for name in names[::2]:
            await put(store.queue, message(f"for-{name}", name))
        over = message("over", "edge-2")
        await store.queue.settle([ended(over, await put(store.queue, over))])
        assert await store.queue.waiting([*names, "nobody"]) == set(names[::2])
        assert await store.queue.waiting(["edge-3"]) == {"edge-3"}
        assert await store.queue.waiting([]) == set()

    story(place, tell)


def test_messages_wait_in_the_order_in_which_they_came_each_for_its_node(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        for node in ("edge-1", "edge-2"):
            await enrolled(store, node)
        queue = store.queue
        await put(queue, message("a"))
        await queue.put([message("b"), message("x", "edge-2"), message("c")], WIDE)
        await asyncio.gather(*(put(queue, message(f"d{n}")) for n in range(50)))
        assert await waiting(queue) == ["a", "b", "c", *(f"d{n}" for n in range(50))]
        assert await waiting(queue, "edge-2") == ["x"]
        first = (await queue.pending("edge-1", 1, 10**9))[0]
        assert msgspec.structs.replace(first, n=0) == message("a")

    story(place, tell)


def test_a_page_of_what_waits_is_bounded_in_count_and_octets_and_never_empty(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        await enrolled(store, "edge-1")
        await store.queue.put([message("big", content="x" * 5000), message("b"), message("c")], WIDE)
        assert len(await store.queue.pending("edge-1", 2, 10**9)) == 2
        assert [one.msg_id for one in await store.queue.pending("edge-1", 10, 100)] == ["big"]
        assert len(await store.queue.pending("edge-1", 10, 5400)) == 2

    story(place, tell)


def test_settled_messages_are_gone_from_the_queue_and_leave_a_receipt(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        await enrolled(store, "edge-1")
        queue = store.queue
        a, b = message("a"), message("b")
        first = await put(queue, a)
        second = await put(queue, b)
        await queue.settle([ended(a, first, answer='"OK"', attempts=2, sent_at=NOON)])
        assert await waiting(queue) == ["b"]
        receipt = await queue.receipt("a")
        assert receipt is not None
        assert (receipt.state, receipt.settled_at, receipt.attempts, receipt.answer) == (
            State.ACKNOWLEDGED, NOON, 2, '"OK"',
        )  # fmt: skip
        assert (receipt.node, receipt.operation, receipt.octets) == ("edge-1", "update", len(a.wire))
        # an end is an end
        await queue.settle([ended(a, first, State.FAILED), ended(b, second, State.FAILED, answer='"no"')])
        assert (await queue.receipt("a")).state is State.ACKNOWLEDGED  # type: ignore[union-attr]
        assert (await queue.receipt("b")).state is State.FAILED  # type: ignore[union-attr]
        assert await queue.receipt("c") is None

    story(place, tell)


def test_a_queue_has_bounds_and_says_the_figures_when_they_are_reached(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        for node in ("edge-1", "edge-2"):
            await enrolled(store, node)
        queue = store.queue
        answers = await queue.put([message(str(n)) for n in range(5)], Bounds(messages=3, octets=10**6))
        assert [isinstance(one, Put) for one in answers] == [True, True, True, False, False]
        full = answers[3]
        assert isinstance(full, QueueFull) and full.facts["waiting"] == full.facts["max_messages"] == 3
        assert isinstance((await queue.put([message("y", "edge-2")], Bounds(messages=3, octets=10**6)))[0], Put)
        size = len(message("z", "edge-2").wire)
        by_octets = await queue.put([message("z", "edge-2")], Bounds(messages=9, octets=2 * size - 1))
        assert isinstance(by_octets[0], QueueFull)
        # what is settled makes room
        await queue.settle([ended(message("0"), answers[0])])  # type: ignore[arg-type]
        assert isinstance((await queue.put([message("9")], Bounds(messages=3, octets=10**6)))[0], Put)
        assert await waiting(queue) == ["1", "2", "9"]

    story(place, tell)


def test_only_nodes_that_are_known_and_not_blocked_have_a_queue(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        await enrolled(store, "edge-1")
        queue = store.queue
        await put(queue, message("a"))
        nobody = (await queue.put([message("n", "edge-9")], WIDE))[0]
        assert isinstance(nobody, NotFound)
        await store.block("edge-1", NOON, Reason.KEY_COMPROMISE, event("node.revoked"))
        assert (await queue.receipt("a")).state is State.REFUSED  # type: ignore[union-attr]
        assert isinstance((await queue.put([message("b")], WIDE))[0], NodeBlocked)
        assert await waiting(queue) == [] and await queue.receipt("b") is None

    story(place, tell)


def test_the_same_message_again_is_the_same_and_another_one_under_its_id_a_conflict(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        for node in ("edge-1", "edge-2"):
            await enrolled(store, node)
        queue = store.queue
        one = message("a", chosen_id=True)
        first = await put(queue, one)
        again = await put(queue, one)
        assert (again.n, again.state, again.fresh) == (first.n, State.QUEUED, False)
        for other in (
            message("a", chosen_id=True, content="another"),
            message("a", "edge-2", chosen_id=True),
            message("a"),
        ):
            assert isinstance((await queue.put([other], WIDE))[0], MessageConflict)
        await queue.settle([ended(one, first)])
        assert (await put(queue, one)).state is State.ACKNOWLEDGED
        assert await waiting(queue) == []
        # two at once, also in one batch
        answers = await asyncio.gather(*(put(queue, message("r", chosen_id=True)) for _ in range(20)))
        assert [one.fresh for one in answers].count(True) == 1
        assert await waiting(queue) == ["r"]

    story(place, tell)


def test_a_newer_version_takes_the_place_of_an_older_one_and_an_older_one_is_discarded(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        for node in ("edge-1", "edge-2"):
            await enrolled(store, node)
        queue = store.queue
        await put(queue, message("v5", uid="u", version=5))
        await put(queue, message("other", uid="w", version=1))
        await put(queue, message("elsewhere", "edge-2", uid="u", version=1))
        newer = await put(queue, message("v7", uid="u", version=7))
        assert [msg_id for _, msg_id in newer.superseded] == ["v5"]
        assert (await put(queue, message("v6", uid="u", version=6))).state is State.SUPERSEDED
        assert (await put(queue, message("v7-again", uid="u", version=7))).state is State.SUPERSEDED
        assert await waiting(queue) == ["other", "v7"]
        assert (await queue.receipt("v5")).state is State.SUPERSEDED  # type: ignore[union-attr]
        # also when the newer one has gone out and was acknowledged
        await queue.settle([ended(message("v7", uid="u", version=7), newer)])
        assert (await put(queue, message("v6-late", uid="u", version=6))).state is State.SUPERSEDED
        assert (await put(queue, message("v8", uid="u", version=8))).state is State.QUEUED
        assert await waiting(queue, "edge-2") == ["elsewhere"]

    story(place, tell)


def test_deletions_and_responses_are_always_queued_and_never_give_way(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        await enrolled(store, "edge-1")
        queue = store.queue
        await put(queue, message("v5", uid="u", version=5))
        deletion = message("gone", uid="u", version=5, operation="delete")
        gone = await put(queue, deletion)
        answer = await put(queue, message("answer", uid="u", version=4, operation="response"))
        assert answer.state is State.QUEUED
        assert (await put(queue, message("v4", uid="u", version=4))).state is State.SUPERSEDED
        await put(queue, message("v9", uid="u", version=9))
        assert await waiting(queue) == ["gone", "answer", "v9"]
        # an object that is gone is forgotten: nothing is older than it any more
        await queue.settle([ended(deletion, gone, forget=True)])
        assert (await put(queue, message("v3", uid="u2", version=3))).state is State.QUEUED

    story(place, tell)


def test_a_newer_version_finds_room_in_a_queue_that_its_older_one_fills(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        await enrolled(store, "edge-1")
        one = Bounds(messages=1, octets=10**6)
        for version in range(1, 5):
            await put(store.queue, message(f"v{version}", uid="u", version=version), one)
        assert await waiting(store.queue) == ["v4"]
        assert isinstance((await store.queue.put([message("x")], one))[0], QueueFull)

    story(place, tell)


def test_what_is_past_its_time_expires_and_old_receipts_are_dropped(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        await enrolled(store, "edge-1")
        queue = store.queue
        short = msgspec.structs.replace(message("short"), expires_at=NOON + timedelta(seconds=1))
        put_short = await put(queue, short)
        await put(queue, message("long"))
        assert await queue.expire(NOON) == []
        assert await queue.expire(NOON + timedelta(seconds=1)) == [("edge-1", put_short.n, "short")]
        assert await waiting(queue) == ["long"]
        assert await queue.forget(NOON, keep=100) == 0
        assert await queue.forget(NOON + HOUR, keep=100) == 1
        assert await queue.receipt("short") is None
        assert await queue.receipt("long") is not None  # live ones stay
        answers = await queue.put([message(str(n)) for n in range(10)], WIDE)
        await queue.settle([ended(message(str(n)), answers[n]) for n in range(10)])  # type: ignore[arg-type]
        assert await queue.forget(NOON, keep=4) == 6
        assert await waiting(queue) == ["long"]

    story(place, tell)


def test_a_message_may_be_taken_back_while_it_waits(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        await enrolled(store, "edge-1")
        await put(store.queue, message("a"))
        assert await store.queue.cancel("a", NOON)
        assert not await store.queue.cancel("a", NOON)
        assert not await store.queue.cancel("b", NOON)
        assert await waiting(store.queue) == []

    story(place, tell)


def test_attempts_are_kept_and_the_lists_show_what_waits(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        for node in ("edge-1", "edge-2"):
            await enrolled(store, node)
        queue = store.queue
        answers = await queue.put([message("a"), message("b"), message("c", "edge-2")], WIDE)
        first = (await queue.pending("edge-1", 1, 1000))[0]
        await queue.tried([(msgspec.structs.replace(first, attempts=5), NOON)])
        assert (await queue.pending("edge-1", 1, 1000))[0].attempts == 5
        await queue.settle([ended(message("b"), answers[1])])  # type: ignore[arg-type]
        assert [(d.node, d.messages, d.oldest) for d in await queue.depths()] == [
            ("edge-1", 1, NOON),
            ("edge-2", 1, NOON),
        ]
        assert [r.msg_id for r in await queue.receipts(None, live=False, before=0, limit=10)] == ["c", "b", "a"]
        assert [r.msg_id for r in await queue.receipts(None, live=True, before=0, limit=10)] == ["c", "a"]
        assert [r.msg_id for r in await queue.receipts("edge-1", live=False, before=0, limit=1)] == ["b"]
        assert [r.msg_id for r in await queue.receipts("edge-1", live=True, before=0, limit=9)] == ["a"]
        assert [r.attempts for r in await queue.receipts("edge-1", live=True, before=answers[1].n, limit=9)] == [5]  # type: ignore[union-attr]

    story(place, tell)


def test_what_was_put_outlives_its_store(place: Place) -> None:
    async def whole() -> None:
        store = place.open()
        await store.add_issuer(new_issuer(), None, event("ca.created"))
        await enrolled(store, "edge-1")
        await store.queue.put([message("a"), message("b")], WIDE)
        await store.close()
        if place.durable:
            again = place.open()
            assert await waiting(again.queue) == ["a", "b"]
            await again.close()

    asyncio.run(whole())
