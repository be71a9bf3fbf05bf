"""What one address may ask of a listener, and what a ClientHello says, without a socket."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward.model.failure import HandshakeFailure
from edgeward.transports import hello
from edgeward.transports.limits import RateLimit, WaitingRoom
from edgeward.transports.reasons import HandshakeLog
from tests.support.listener import client_hello


def test_a_full_waiting_room_puts_out_whoever_waits_longest() -> None:
    room: WaitingRoom[str] = WaitingRoom(total=4, per_address=2)
    assert [room.enter(m, "a") for m in ("a1", "a2", "a3")] == [None, None, "a1"]
    assert [room.enter(m, "b") for m in ("b1", "b2", "b3")] == [None, None, "b1"]
    assert room.enter("c1", "c") == "a2" and len(room) == 4
    room.leave("a2")
    room.leave("never here")
    for member in ("a3", "b2", "b3", "c1"):
        room.leave(member)
    assert len(room) == 0 and not room._by_address


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.booleans()), max_size=60))
def test_a_waiting_room_never_holds_more_than_its_limits(steps: list[tuple[str, int, bool]]) -> None:
    room: WaitingRoom[tuple[str, int]] = WaitingRoom(total=7, per_address=3)
    inside: set[tuple[str, int]] = set()
    for address, number, enters in steps:
        member = (address, number)
        if enters and member not in inside:
            out = room.enter(member, address)
            inside.add(member)
            inside.discard(out) if out is not None else None
        else:
            room.leave(member)
            inside.discard(member)
        assert len(room) == len(inside) <= 7
        assert all(sum(m[0] == a for m in inside) <= 3 for a in "abc")


def test_t42_a_bucket_has_a_burst_and_a_rate() -> None:
    now = [100.0]
    limit = RateLimit(clock=lambda: now[0], rate=10.0, burst=5)
    assert [limit.admit("a") for _ in range(5)] == [0.0] * 5
    assert limit.admit("a") == pytest.approx(0.1)
    assert limit.admit("b") == 0.0  # another address has its own
    now[0] += 0.2001
    assert [limit.admit("a") > 0 for _ in range(3)] == [False, False, True]
    now[0] += 1000
    assert [limit.admit("a") > 0 for _ in range(6)] == [False] * 5 + [True]


def test_t42_the_table_of_addresses_is_bounded_and_forgets_the_quiet_ones() -> None:
    limit = RateLimit(clock=lambda: 0.0, rate=1.0, burst=1, table=100)
    limit.admit("busy")
    for number in range(10_000):
        limit.admit(str(number))
        assert limit.admit("busy") > 0  # still limited, because it keeps asking
    assert len(limit._now) + len(limit._older) <= 201


def test_a_hello_says_whom_it_calls_and_what_it_speaks() -> None:
    octets = client_hello()
    assert hello.read(octets) == hello.Hello(server_name="edge.example", protocols=None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2", "http/1.1"])
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    assert hello.read(outgoing.read()) == hello.Hello(server_name=None, protocols=(b"h2", b"http/1.1"))
    assert not any(hello.whole(octets[:cut]) for cut in range(len(octets)))
    assert all(hello.read(octets[:cut]) == hello.UNREADABLE for cut in range(len(octets)))
    assert hello.whole(octets) and hello.whole(octets + b"more")
    assert hello.read(octets + b"more") == hello.read(octets)


@pytest.mark.parametrize(
    ("offered", "speaks"),
    [([], True), (["h2"], False), (["h2", "http/1.1"], True), (["xhttp/1.1", "http/1.1x"], False)],
)
def test_a_hello_that_offers_other_protocols_alone_is_told_apart(offered: list[str], speaks: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if offered:
        context.set_alpn_protocols(offered)
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="http/1.1.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    assert hello.speaks(outgoing.read(), b"http/1.1") is speaks


@given(st.integers(0, 600), st.binary(max_size=200), st.integers(0, 20))
def test_no_octets_break_the_reading_of_a_hello(at: int, noise: bytes, dropped: int) -> None:
    octets = HELLO[:at] + noise + HELLO[at + dropped :]
    for given_octets in (octets, noise):
        read = hello.read(given_octets)
        assert read.server_name is None or len(read.server_name) <= 4 * 255
        assert read == hello.UNREADABLE or hello.whole(given_octets)


HELLO = client_hello()


def test_a_flood_of_failed_handshakes_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    clock = [0.0]
    log = HandshakeLog(clock=lambda: clock[0], rate=2.0, burst=10.0)
    failure = HandshakeFailure(address="192.0.2.1", server_name=None, code="closed", reason="it went away")
    with caplog.at_level("INFO"):
        for _ in range(1000):
            log(failure)
        assert len(caplog.records) == 10
        clock[0] += 1.0
        for _ in range(1000):
            log(failure)
    assert len(caplog.records) == 12
    assert "990 failures before this one are not listed" in caplog.messages[10]
    assert "not listed" not in caplog.messages[11]


def test_a_look_at_a_port_is_not_logged_as_a_failed_handshake(caplog: pytest.LogCaptureFixture) -> None:
    log = HandshakeLog(clock=lambda: 0.0)
    with caplog.at_level("INFO"):
        log(HandshakeFailure(address="192.0.2.1", server_name=None, code="unused", reason="it finished the handshake"))
    assert caplog.messages == ["nothing was asked over a connection from 192.0.2.1: it finished the handshake"]
