"""The record of failures: nothing is written while nothing fails, a flood is counted, and what a peer says cannot forge a line."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.tls import DEVICE

from edgeward.errors import BadRequest, TokenSpent, Unauthenticated
from edgeward.model.failure import Failure, HandshakeFailure, Learnt, Listener
from edgeward.model.http import Request
from edgeward.services.failures import ACQUAINTANCES, LOOK, MAX_PENDING, Failures
from edgeward.stores.relational import RelationalStore
from edgeward.stores.sqlite import open_store

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


def story(tell: Callable[[Failures, RelationalStore], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = open_store(":memory:")
        try:
            await tell(Failures(store, now=lambda: NOON), store)
        finally:
            await store.close()

    asyncio.run(whole())


def handshake(address: str = "192.0.2.7", **changes: Any) -> HandshakeFailure:
    facts: dict[str, Any] = {
        "address": address,
        "server_name": None,
        "code": "tls",
        "reason": "it sent the alert: bad certificate",
        "alert": "bad certificate",
        "received": True,
        "local": "10.0.2.15",
    }
    return HandshakeFailure(**(facts | changes))


def request(path: str = "/edge.crt", address: str = "192.0.2.7", **headers: str) -> Request:
    return Request(
        method="GET",
        target=path,
        headers={name.replace("_", "-"): (value,) for name, value in headers.items()},
        body=b"",
        address=address,
        at=NOON,
    )


def test_what_was_dialled_is_the_name_in_the_hello_then_the_host_of_an_earlier_request_then_our_own_address() -> None:
    async def tell(failures: Failures, _store: RelationalStore) -> None:
        failures.introduced(request("/ca.crt", host="121.46.27.183:10002"))
        failures.introduced(request("/node/edge-7", host="121.46.27.183:10002"))
        failures.handshake(Listener.ENROLMENT, handshake(server_name="Cloud.Example.com"))
        failures.handshake(Listener.HUB, handshake())
        failures.handshake(Listener.HUB, handshake("192.0.2.8"))
        found = await failures.recent()
        assert sorted((one.dialled, one.learnt, one.node, one.address) for one in found) == [
            ("10.0.2.15", Learnt.LOCAL, "", "192.0.2.8"),
            ("121.46.27.183", Learnt.HOST, "edge-7", "192.0.2.7"),
            ("cloud.example.com", Learnt.SNI, "edge-7", "192.0.2.7"),
        ]

    story(tell)


def test_a_refusal_is_recorded_with_the_node_that_was_claimed_the_host_and_the_certificate() -> None:
    async def tell(failures: Failures, _store: RelationalStore) -> None:
        failures.refused(Listener.ENROLMENT, request(nodename="edge-1", host="[2001:db8::1]:10002"), TokenSpent(uses=1))
        shown = Request(
            method="GET", target="/", headers={}, body=b"", address="192.0.2.9", at=NOON, peer_certificate=DEVICE.der
        )
        failures.refused(Listener.HUB, shown, Unauthenticated())
        by_certificate, by_token = sorted(await failures.recent(), key=lambda one: one.code != "unauthenticated")
        assert (by_token.node, by_token.dialled, by_token.code) == ("edge-1", "2001:db8::1", "token-spent")
        assert by_token.reason == "the token has been used 1 of 1 times"
        assert by_certificate.shown is not None
        assert by_certificate.shown.fingerprint
        assert by_certificate.node

    story(tell)


def test_a_thousand_failures_of_one_kind_are_one_write() -> None:
    async def tell(failures: Failures, store: RelationalStore) -> None:
        written = []
        add = store.add_failures

        async def counted(rows: Any, oldest: datetime) -> None:
            written.append(len(rows))
            await add(rows, oldest)

        store.add_failures = counted  # type: ignore[method-assign]
        for _ in range(1000):
            failures.handshake(Listener.HUB, handshake())
        (one,) = await failures.recent()
        assert one.count == 1000
        assert written == [1]
        assert await failures.recent() == [one]
        assert written == [1]

    story(tell)


def test_beyond_what_can_wait_failures_are_counted_and_not_told_apart() -> None:
    async def tell(failures: Failures, _store: RelationalStore) -> None:
        for n in range(MAX_PENDING + 500):
            failures.handshake(Listener.HUB, handshake(f"10.{n // 250}.0.{n % 250}"))
        found = await failures.recent(limit=10_000)
        assert sum(one.count for one in found) == MAX_PENDING + 500
        (rest,) = [one for one in found if not one.address]
        assert (rest.count, rest.code) == (500, "flood")

    story(tell)


def test_addresses_are_remembered_up_to_a_bound() -> None:
    async def tell(failures: Failures, _store: RelationalStore) -> None:
        for n in range(ACQUAINTANCES + 100):
            failures.introduced(request("/ca.crt", address=f"a{n}", host="x" * 16_000))
        assert len(failures._called) == ACQUAINTANCES
        assert max(len(host) for host, _ in failures._called.values()) <= 255

    story(tell)


@pytest.mark.parametrize(
    "hostile",
    ["a\r\n2026-01-01 forged line", "\x1b[2J\x1b[31mred", "\u2028\u202eabc", "x" * 100_000, "\x00"],
    ids=["line", "escape", "separators", "long", "nul"],
)
def test_t51_what_a_peer_says_cannot_forge_a_line_or_fill_a_record(hostile: str) -> None:
    async def tell(failures: Failures, _store: RelationalStore) -> None:
        failures.introduced(request("/ca.crt", host=hostile))
        failures.handshake(Listener.HUB, handshake(server_name=None))
        failures.handshake(Listener.HUB, handshake(server_name=hostile))
        failures.refused(Listener.HUB, request(nodename=hostile, host=hostile), Unauthenticated())
        for one in await failures.recent():
            for text in (one.node, one.dialled, one.reason):
                assert text.isprintable()
                assert len(text) < 2500

    story(tell)


def test_t17_a_token_in_a_refused_request_is_not_recorded() -> None:
    async def tell(failures: Failures, store: RelationalStore) -> None:
        secret = "s3cr3t" * 8
        failures.refused(
            Listener.ENROLMENT, request(authorization=f"Bearer a.b.{secret}", nodename="edge-1"), Unauthenticated()
        )
        await failures.settle()
        everything = await store._reader.query("SELECT * FROM failure", {})
        assert everything
        assert secret not in repr(everything)

    story(tell)


def test_a_certificate_that_cannot_be_read_is_recorded_by_its_fingerprint() -> None:
    async def tell(failures: Failures, _store: RelationalStore) -> None:
        failures.handshake(Listener.HUB, handshake(certificate=b"0\x82garbage"))
        (one,) = await failures.recent()
        assert one.shown is not None
        assert one.shown.subject == "(not readable)"

    story(tell)


def test_a_record_that_happens_again_keeps_what_it_knew() -> None:
    one = Failure(
        first_at=NOON, last_at=NOON, listener=Listener.HUB, address="a", code="c", reason="r", count=2, alert="x"
    )
    later = Failure(
        first_at=NOON + timedelta(hours=1),
        last_at=NOON + timedelta(hours=1),
        listener=Listener.HUB,
        address="a",
        code="c",
        reason="r2",
        alert="x",
    )
    both = one.again(later)
    assert (both.first_at, both.last_at, both.count, both.reason) == (NOON, later.last_at, 3, "r2")


SHOWN = DEVICE.der
"""A client certificate."""


def wordless(address: str = "192.0.2.7", **changes: Any) -> HandshakeFailure:
    """A handshake that succeeded and led to nothing."""
    return handshake(
        address,
        **({"code": "unused", "reason": "it closed without a word", "alert": None, "received": False} | changes),
    )


def named(tell: Callable[[Failures, list[datetime]], Awaitable[None]]) -> None:
    """As `story`, with a server certificate that has the address dialled, and a clock that can be set."""

    async def whole() -> None:
        store, clock = open_store(":memory:"), [NOON]
        try:
            await tell(Failures(store, now=lambda: clock[0], names=lambda: ("10.0.2.15",)), clock)
        finally:
            await store.close()

    asyncio.run(whole())


def test_who_goes_without_a_word_is_recorded_if_it_showed_a_certificate_or_dialled_another_name() -> None:
    async def tell(failures: Failures, _clock: list[datetime]) -> None:
        failures.handshake(Listener.HUB, wordless())
        assert await failures.recent() == [], "a load balancer that looks whether TLS comes about"
        failures.handshake(Listener.HUB, wordless(certificate=SHOWN))
        failures.handshake(Listener.HUB, wordless(server_name="elsewhere.example.com"))
        device, other = sorted(await failures.recent(), key=lambda one: one.dialled)
        assert device.node and device.shown is not None and device.dialled == "10.0.2.15"
        assert (other.node, other.dialled) == ("", "elsewhere.example.com")

    named(tell)


def test_the_doctors_own_look_is_no_failure() -> None:
    async def tell(failures: Failures, _clock: list[datetime]) -> None:
        doctor = {"user_agent": "edgeward-doctor"}
        failures.introduced(request("/ca.crt", host="10.0.2.15:10002", **doctor))
        failures.handshake(Listener.HUB, wordless(certificate=SHOWN))
        failures.handshake(Listener.HUB, handshake(alert="protocol version", received=False))
        failures.handshake(Listener.HUB, handshake(alert="certificate required", received=False))
        failures.turned_away(Listener.HUB, "192.0.2.7", 426, "this is no WebSocket")
        failures.refused(Listener.HUB, request("/", **doctor), BadRequest(why="the header node_id is missing"))
        assert await failures.recent() == []

    named(tell)


def test_what_the_doctor_finds_and_what_others_do_is_recorded_all_the_same() -> None:
    async def tell(failures: Failures, clock: list[datetime]) -> None:
        doctor = {"user_agent": "edgeward-doctor"}
        failures.introduced(request("/ca.crt", host="10.0.2.15:10002", **doctor))
        failures.refused(Listener.ENROLMENT, request(**doctor), TokenSpent(uses=1))
        failures.handshake(Listener.HUB, handshake(alert="certificate expired", received=False, certificate=SHOWN))
        failures.handshake(Listener.HUB, wordless("192.0.2.8", certificate=SHOWN))
        failures.refused(Listener.HUB, request("/"), BadRequest(why="the header node_id is missing"))
        clock[0] += LOOK
        failures.handshake(Listener.HUB, wordless(certificate=SHOWN))
        found = sorted((one.address, one.code, one.alert) for one in await failures.recent())
        assert found == [
            ("192.0.2.7", "bad-request", ""),
            ("192.0.2.7", "handshake.tls", "certificate expired"),
            ("192.0.2.7", "handshake.unused", ""),
            ("192.0.2.7", "token-spent", ""),
            ("192.0.2.8", "handshake.unused", ""),
        ]

    named(tell)


def test_the_name_that_the_doctor_was_told_is_not_what_others_at_its_address_dial() -> None:
    async def tell(failures: Failures, clock: list[datetime]) -> None:
        failures.introduced(request("/ca.crt", host="cloud.example.com:10002", user_agent="edgeward-doctor"))
        clock[0] += LOOK
        failures.handshake(Listener.ENROLMENT, wordless())  # a join that looks first whether the server is there
        assert [one.dialled for one in await failures.recent()] == []

    named(tell)


def test_a_clock_that_is_set_back_hides_nothing_behind_an_earlier_look() -> None:
    async def tell(failures: Failures, clock: list[datetime]) -> None:
        failures.introduced(request("/ca.crt", host="10.0.2.15:10002", user_agent="edgeward-doctor"))
        clock[0] -= LOOK
        failures.handshake(Listener.HUB, wordless(certificate=SHOWN))
        assert [one.code for one in await failures.recent()] == ["handshake.unused"]

    named(tell)


def test_the_addresses_of_doctors_are_bounded() -> None:
    async def tell(failures: Failures, _clock: list[datetime]) -> None:
        for n in range(ACQUAINTANCES + 1):
            address = f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"
            failures.introduced(request("/ca.crt", address, user_agent="edgeward-doctor"))
        failures.turned_away(Listener.HUB, "10.0.0.0", 426, "the oldest look is forgotten")
        failures.turned_away(Listener.HUB, "10.0.0.1", 426, "this one is not")
        assert [one.address for one in await failures.recent()] == ["10.0.0.0"]

    named(tell)
