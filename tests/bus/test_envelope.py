"""How notices travel: whole, from replicas of ours alone, whatever somebody puts on the bus."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward.bus.envelope import Envelopes, _Part
from edgeward.bus.port import Changed, Interest, Moved, Notice, Presence, Queued, Settled, Upward, Withdrawn

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
NOTICES: list[Notice] = [
    Changed(),
    Moved(node="edge-1", epoch=2**53),
    Queued(node="edge-1"),
    Settled(node="edge-1", msg_id="m", state="acknowledged", answer=b"{}"),
    Withdrawn(node="edge-1", msg_id="m", superseded=True),
    Interest(seconds=15.0),
    Upward(node="edge-1", at=NOON, message=b"x" * 100_000),
    Presence(node="edge-1", at=NOON, event="online", why="", address="192.0.2.1"),
]


def pair(room: int = 5000) -> tuple[Envelopes, Envelopes]:
    return Envelopes(b"k" * 32, "a", room, 1), Envelopes(b"k" * 32, "b", room, 1)


def wrapped(one: Envelopes, *notices: Notice) -> list[bytes]:
    return one.wrap([octets for notice in notices if (octets := one.encoded(notice)) is not None])


@pytest.mark.parametrize("notice", NOTICES, ids=lambda notice: type(notice).__name__)
def test_a_notice_arrives_whole_once_with_its_sender(notice: Notice) -> None:
    a, b = pair()
    parts = wrapped(a, notice)
    assert all(len(part) <= 5000 for part in parts)
    heard = [b.unwrap(part) for part in reversed(parts)]
    assert heard == [None] * (len(parts) - 1) + [("a", [notice])]


def test_several_are_said_at_once_in_their_order() -> None:
    a, b = pair()
    parts = wrapped(a, *NOTICES)
    assert [b.unwrap(part) for part in parts][-1] == ("a", NOTICES)


def test_one_s_own_and_a_stranger_s_are_not_heard() -> None:
    a, b = pair()
    (octets,) = wrapped(a, Changed())
    assert a.unwrap(octets) is None
    assert Envelopes(b"x" * 32, "b", 5000, 1).unwrap(octets) is None
    assert b.unwrap(octets[:-1]) is None
    assert b.unwrap(bytes([octets[0] ^ 1]) + octets[1:]) is None
    assert b.unwrap(octets) == ("a", [Changed()])


def test_what_was_recorded_is_not_heard_again() -> None:
    """Else a device's old message would be shown as a new one, or a hub made to pass on what nobody asked for."""
    a, b = pair(200)
    old = wrapped(a, Upward(node="edge-1", at=NOON, message=b"x" * 1000))
    new = wrapped(a, Interest(seconds=15.0))
    assert [b.unwrap(part) for part in old][-1] is not None
    assert all(b.unwrap(part) is None for part in old)
    assert b.unwrap(new[0]) is not None
    assert all(b.unwrap(part) is None for part in (*old, *new))
    again = Envelopes(b"k" * 32, "a", 200, 2)  # the replica has started anew, whatever its clock says
    assert b.unwrap(wrapped(again, Changed())[0]) == ("a", [Changed()])
    assert all(b.unwrap(part) is None for part in (*old, *new))


def test_a_replica_that_was_brought_up_to_date_is_heard_by_one_that_heard_it_before() -> None:
    """Earlier versions numbered their notices by the clock, and said one at a time."""
    a, b = pair()
    body = msgspec.msgpack.encode(Changed())
    old = a._sealed(msgspec.msgpack.encode(_Part("a", 1_764_000_000_000_000_000, 0, 1, body)))
    assert b.unwrap(old) is None
    assert b.unwrap(wrapped(a, Changed())[0]) == ("a", [Changed()])


def test_what_is_unfinished_is_bounded() -> None:
    a, b = pair(200)
    for _ in range(1000):
        first, *_rest = wrapped(a, Upward(node="edge-1", at=NOON, message=b"x" * 1000))
        assert b.unwrap(first) is None
    assert len(b._unfinished) <= 33
    assert a.encoded(Upward(node="edge-1", at=NOON, message=b"x" * 10_000_000)) is None, "too large for this bus"


@given(st.binary(max_size=300))
def test_garbage_is_nothing(octets: bytes) -> None:
    a, b = pair()
    assert b.unwrap(octets) is None
    assert b.unwrap(b._sealed(octets)) is None
    assert a is not b
