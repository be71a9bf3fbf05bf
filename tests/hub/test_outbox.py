"""What a node is sent, and when: the table, the clock of repetitions, and, for any sequence of events, order and no loss."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgeward.hub import outbox
from edgeward.hub.outbox import (
    BUSY_PAUSE,
    RETRY,
    TABLE,
    WINDOW,
    WINDOW_OCTETS,
    Doing,
    End,
    Happening,
    Load,
    Order,
    Outbox,
    Send,
    Slot,
    Tried,
)
from edgeward.model.delivery import Outbound, State

PAGE = Path(__file__).parent.parent.parent / "docs" / "explain" / "delivery.md"
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def message(
    msg_id: str, n: int = 0, *, uid: str = "", version: int = -1, acknowledge: bool = True, octets: int = 10
) -> Outbound:
    return Outbound(
        node="edge-1", msg_id=msg_id, wire=msg_id.encode().ljust(octets), operation="update", resource="x", n=n,
        acknowledge=acknowledge, queued_at=NOON, expires_at=NOON, uid=uid, version=version,
    )  # fmt: skip


def connected(*found: Outbound, complete: bool = True, at: float = 0.0) -> tuple[Outbox, list[Order]]:
    one = Outbox("edge-1")
    assert one.start() == [Load("edge-1")]
    return one, one.loaded(found, complete, at)


def sent(orders: Sequence[Order]) -> list[str]:
    return [order.outbound.msg_id for order in orders if isinstance(order, Send)]


def ended(orders: Sequence[Order]) -> list[tuple[str, State]]:
    return [(order.outbound.msg_id, order.state) for order in orders if isinstance(order, End)]


def test_every_pair_has_its_line_and_the_page_shows_the_table() -> None:
    assert set(TABLE) == set(itertools.product(Slot, Happening))
    assert all(TABLE[Slot.CLOSED, happening] == (Slot.CLOSED, Doing.NOTHING) for happening in Happening)
    assert f"```mermaid\n{outbox.diagram()}\n```" in PAGE.read_text()


def test_one_at_a_time_the_next_when_the_end_of_the_one_before_is_durable() -> None:
    one, orders = connected(message("a"), message("b"))
    assert sent(orders) == ["a"]
    orders = one.answered("a", State.ACKNOWLEDGED, "OK", 1.0)
    assert sent(orders) == [] and ended(orders) == [("a", State.ACKNOWLEDGED)]
    assert sent(one.written("a", 1.1)) == ["b"]
    assert one.answered("a", State.ACKNOWLEDGED, "OK", 1.2) == []  # once more: known
    assert one.answered("zzz", State.ACKNOWLEDGED, "OK", 1.2) == []


def test_the_same_message_again_every_5_s_five_times_in_all_then_a_rest_at_the_head() -> None:
    one, orders = connected(message("a"), message("b"))
    times = [0.0]
    while not any(isinstance(order, Tried) for order in orders):
        at = one.due
        orders = one.tick(at)
        times += [at] if sent(orders) else []
        assert not sent(orders) or sent(orders) == ["a"]
    assert times == [0.0, 5.0, 10.0, 15.0, 20.0] and at == 25.0
    assert one.due == pytest.approx(25.005)
    assert sent(one.tick(one.due)) == ["a"]  # and nothing has passed it
    for _ in range(5):
        orders = one.tick(one.due)
    assert isinstance(orders[0], Tried) and orders[0].attempts == 10
    assert one.due == pytest.approx(50.015)  # twice the first rest
    # an answer that comes late is an answer all the same
    assert ended(one.answered("a", State.ACKNOWLEDGED, "OK", 50.01)) == [("a", State.ACKNOWLEDGED)]
    assert sent(one.written("a", 50.02)) == ["b"]


def test_a_version_of_an_object_that_was_given_up_lets_the_others_pass_but_not_those_of_its_object() -> None:
    one, _ = connected(
        message("u1", uid="u", version=1), message("other"), message("u2-delete", uid="u", version=2), message("last")
    )
    for _ in range(4):
        one.tick(one.due)
    orders = one.tick(one.due)
    assert sent(orders) == ["other"]
    one.answered("other", State.ACKNOWLEDGED, "", 25.0)
    assert sent(one.written("other", 25.0)) == ["last"]
    assert sent(one.tick(25.01)) == []  # its rest is over, and it waits for the slot
    one.answered("last", State.ACKNOWLEDGED, "", 25.0)
    assert sent(one.written("last", 25.1)) == ["u1"]
    one.answered("u1", State.ACKNOWLEDGED, "", 25.2)
    assert sent(one.written("u1", 25.3)) == ["u2-delete"]


def test_a_late_answer_to_what_was_set_aside_counts() -> None:
    one, _ = connected(message("u1", uid="u", version=1), message("u2", uid="u", version=2))
    for _ in range(5):
        orders = one.tick(one.due)
    assert sent(orders) == []
    orders = one.answered("u1", State.ACKNOWLEDGED, "", 25.001)
    assert ended(orders) == [("u1", State.ACKNOWLEDGED)] and sent(orders) == ["u2"]


def test_an_error_ends_a_message_as_failed_and_the_next_one_goes() -> None:
    one, _ = connected(message("a"), message("b"))
    assert ended(one.answered("a", State.FAILED, "no such object", 1.0)) == [("a", State.FAILED)]
    assert sent(one.written("a", 1.0)) == ["b"]


def test_messages_without_acknowledgement_have_a_lane_of_their_own() -> None:
    one, orders = connected(message("a"), message("p", acknowledge=False), message("b"))
    assert sent(orders) == ["p", "a"] and ended(orders) == [("p", State.SENT)]
    orders = one.offer(message("q", acknowledge=False), 1.0)
    assert sent(orders) == ["q"]
    orders = one.offer(message("r", acknowledge=False), 1.0, busy=True)
    assert sent(orders) == [] and one.due == 1.0 + BUSY_PAUSE
    assert sent(one.tick(2.0)) == ["r"]


def test_while_a_connection_is_behind_nothing_is_sent_again() -> None:
    one, _ = connected(message("a", octets=5_000_000))
    assert one.tick(5.0, busy=True) == [] and one.due == 10.0
    assert sent(one.tick(10.0)) == ["a"] and one.attempts == 2


def test_what_ended_elsewhere_is_not_sent() -> None:
    one, _ = connected(message("a"), message("b"), message("c"), message("p", acknowledge=False))
    one.withdraw("b", 0.0)
    assert sent(one.withdraw("a", 0.0)) == ["c"]  # cancelled while it was under way
    assert one.answered("a", State.ACKNOWLEDGED, "", 0.0) == []


def test_a_superseded_message_that_is_under_way_is_waited_for_and_not_repeated() -> None:
    one, _ = connected(message("v1", uid="u", version=1), message("v2", uid="u", version=2))
    assert one.withdraw("v1", 1.0, superseded=True) == []
    assert sent(one.tick(5.0)) == ["v2"]
    one, _ = connected(message("v1", uid="u", version=1), message("v2", uid="u", version=2))
    one.withdraw("v1", 1.0, superseded=True)
    assert ended(one.answered("v1", State.ACKNOWLEDGED, "", 1.0)) == [("v1", State.ACKNOWLEDGED)]
    assert sent(one.written("v1", 1.0)) == ["v2"]


def test_memory_holds_a_window_and_the_store_the_rest() -> None:
    one, _ = connected(message("0"))
    for n in range(1, 1000):
        assert one.offer(message(str(n)), 0.0) == []
    assert len(one._ordered) <= WINDOW
    for n in range(WINDOW + 1):
        one.answered(str(n), State.ACKNOWLEDGED, "", 0.0)
        orders = one.written(str(n), 0.0)
    assert Load("edge-1") in orders
    big, _ = connected(message("a"), message("b", octets=WINDOW_OCTETS))
    big.offer(message("c"), 0.0)
    assert len(big._ordered) == 1


def test_nothing_is_said_to_a_connection_that_is_gone_and_attempts_are_kept() -> None:
    one, _ = connected(message("a"), message("b"))
    one.tick(5.0)
    assert [(o.outbound.msg_id, o.attempts) for o in one.lost() if isinstance(o, Tried)] == [("a", 2)]
    assert one.lost() == one.tick(100.0) == one.offer(message("c"), 1.0) == []
    assert one.loaded([message("c")], True, 1.0) == one.answered("a", State.ACKNOWLEDGED, "", 1.0) == []
    again, orders = connected(msgspec.structs.replace(message("a"), attempts=2))
    assert sent(orders) == ["a"] and again.attempts == 3
    for _ in range(4):  # a new connection has five sends of its own
        assert sent(again.tick(again.due)) == ["a"]


class Delivery(RuleBasedStateMachine):
    """A store, a node that may come, go, answer, err or be silent, a clock, a crash: what the node sees keeps its order, and nothing that
    was put is lost without an end."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0
        self.queue: dict[str, Outbound] = {}  # live, in order
        self.outbox: Outbox | None = None
        self.loads = 0
        self.unwritten: list[End] = []
        self.tried: dict[str, int] = {}
        self.numbers = itertools.count(1)
        self.put: list[Outbound] = []
        self.seen: list[str] = []  # what the node received, first receptions only
        self.acknowledged: set[str] = set()
        self.unanswered: list[str] = []
        self.once: set[str] = set()  # sent on this connection and not to be sent again

    def perform(self, orders: Sequence[Order]) -> None:
        for order in orders:
            match order:
                case Send(outbound):
                    assert self.outbox is not None and self.outbox.slot is not Slot.CLOSED
                    assert outbound.msg_id not in self.once
                    if outbound.acknowledge:
                        self.unanswered = [outbound.msg_id]
                    else:
                        self.once.add(outbound.msg_id)
                    if outbound.msg_id not in self.seen:
                        self.seen.append(outbound.msg_id)
                case End():
                    self.unwritten.append(order)
                case Load():
                    self.loads += 1
                case Tried(outbound, attempts):
                    self.tried[outbound.msg_id] = attempts

    @rule(uid=st.sampled_from(["", "", "u", "w"]), acknowledge=st.booleans())
    def somebody_sends(self, uid: str, acknowledge: bool) -> None:
        n = next(self.numbers)
        outbound = message(f"m{n}", n, uid=uid, version=n if uid else -1, acknowledge=acknowledge or bool(uid))
        self.put.append(outbound)
        self.queue[outbound.msg_id] = outbound
        if self.outbox is not None:
            self.perform(self.outbox.offer(outbound, self.at))

    @precondition(lambda self: self.loads and self.outbox is not None)
    @rule(limit=st.integers(3, 8))
    def the_store_is_read(self, limit: int) -> None:
        self.loads -= 1
        found = list(self.queue.values())[: limit + len(self.outbox._aside)]  # type: ignore[union-attr]
        self.perform(self.outbox.loaded(found, len(found) == len(self.queue), self.at))  # type: ignore[union-attr]

    @precondition(lambda self: self.outbox is None)
    @rule()
    def the_node_connects(self) -> None:
        self.outbox, self.loads, self.unanswered, self.once = Outbox("edge-1"), 0, [], set()
        self.perform(self.outbox.start())

    @precondition(lambda self: self.outbox is not None)
    @rule(how=st.sampled_from(["it goes", "it goes", "it connects again", "the hub dies"]))
    def the_connection_ends(self, how: str) -> None:
        if how == "the hub dies":  # what was not written is lost; the queue is not
            self.unwritten = []
        else:
            self.perform(self.outbox.lost())  # type: ignore[union-attr]
        self.outbox, self.loads, self.unanswered = None, 0, []
        if how == "it connects again":
            self.the_node_connects()

    @precondition(lambda self: self.outbox is not None and self.unanswered)
    @rule(state=st.sampled_from([State.ACKNOWLEDGED, State.ACKNOWLEDGED, State.FAILED]))
    def the_node_answers(self, state: State) -> None:
        orders = self.outbox.answered(self.unanswered[0], state, "OK", self.at)  # type: ignore[union-attr]
        self.once.update(order.outbound.msg_id for order in orders if isinstance(order, End))
        self.perform(orders)

    @rule()
    def the_disk_writes(self) -> None:
        ends, self.unwritten = self.unwritten, []
        for end in ends:
            self.queue.pop(end.outbound.msg_id, None)
            if end.state is State.ACKNOWLEDGED:
                self.acknowledged.add(end.outbound.msg_id)
            if self.outbox is not None:
                self.perform(self.outbox.written(end.outbound.msg_id, self.at))

    @precondition(lambda self: self.outbox is not None)
    @rule(seconds=st.sampled_from([0.01, 1.0, RETRY, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.at += seconds
        self.perform(self.outbox.tick(self.at))  # type: ignore[union-attr]

    @invariant()
    def order_is_kept(self) -> None:
        numbers = {one.msg_id: one.n for one in self.put}
        kinds = {one.msg_id: one for one in self.put}
        heads = [m for m in self.seen if kinds[m].acknowledge and not kinds[m].uid]
        assert heads == sorted(heads, key=numbers.__getitem__)
        for uid in ("u", "w"):
            versions = [m for m in self.seen if kinds[m].uid == uid]
            assert versions == sorted(versions, key=numbers.__getitem__)

    @invariant()
    def nothing_is_lost(self) -> None:
        for one in self.put:
            assert one.msg_id in self.queue or one.msg_id in self.seen
        assert self.acknowledged <= set(self.seen)

    def teardown(self) -> None:
        """With a node that answers everything, the queue runs dry."""
        if self.outbox is not None:
            self.the_connection_ends("it goes")
        self.the_node_connects()
        for _ in range(20 * len(self.put) + 20):
            if self.loads:
                self.the_store_is_read(5)
            if self.unanswered:
                self.the_node_answers(State.ACKNOWLEDGED)
                self.unanswered = []
            self.the_disk_writes()
            self.time_passes(1.0)
            if not self.queue:
                break
        assert not self.queue
        self.order_is_kept()


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_what_has_ended_and_is_not_written_yet_is_not_sent_again_though_the_store_still_shows_it() -> None:
    one = Outbox("edge-1")
    one.start()
    plain = message("p", acknowledge=False)
    one.offer(plain, 0.0)
    assert sent(one.loaded([plain], True, 0.0)) == ["p"]
    assert sent(one.loaded([plain], True, 0.0)) == []
    one.written("p", 0.0)
    assert one._ending == set()


@given(st.lists(st.tuples(st.sampled_from(Happening), st.floats(0, 100)), max_size=50))
def test_whatever_happens_a_slot_that_is_closed_stays_closed(happenings: list[tuple[Happening, float]]) -> None:
    one, _ = connected(message("a"), message("b"))
    closed = False
    for happening, at in happenings:
        orders = one._step(happening, at)
        assert not (closed and orders)
        closed = closed or happening is Happening.LOST
