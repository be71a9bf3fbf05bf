"""What every store must do with devices, their presence and the audit chain: the second part of the contract."""

import asyncio
from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from edgeward.errors import (
    NodeBlocked,
    NodeHasCertificate,
    TokenSpent,
)
from edgeward.model import audit
from edgeward.model.authority import CertificateRecord, Reason
from edgeward.model.device import Cause, Device
from edgeward.stores.port import Presented
from edgeward.stores.relational import RelationalStore
from edgeward.stores.timeline import Arrival, Departure
from tests.support.places import Place, actions, refused, story
from tests.support.rows import (
    NOON,
    YEAR,
    admission,
    arrived,
    departed,
    enrolled,
    event,
    issue,
    new_record,
    new_token,
    use_of,
)

# ---------------------------------------------------------------------------------------------------------------- devices


def test_a_blocked_device_stays_out_until_it_is_let_back(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        records = [await enrolled(store, "edge-1") for _ in range(2)]
        expired = await enrolled(store, "edge-1", not_after=NOON - timedelta(seconds=1))
        operator = await enrolled(store, "edge-1", profile="operator")
        other = await enrolled(store, "edge-2")
        revoked = await store.block("edge-1", NOON, Reason.PRIVILEGE_WITHDRAWN, event("node.revoked"))
        assert {r.serial for r in revoked} == {r.serial for r in records}
        assert {(r.revoked_at, r.revocation_reason) for r in revoked} == {(NOON, Reason.PRIVILEGE_WITHDRAWN)}
        for kept in (expired, operator, other):
            assert await store.by_serial(kept.serial) == kept
        device = await store.device("edge-1")
        assert device == Device(name="edge-1", created_at=NOON, blocked_at=NOON, blocked_reason="privilegeWithdrawn")
        assert await store.block("edge-1", NOON + YEAR, Reason.UNSPECIFIED, event("node.revoked")) == []
        assert (await actions(store)).count("node.revoked") == 1
        assert await store.device("edge-1") == device
        await refused(store, NodeBlocked, store.plan(new_record(), admission()))
        await store.plan(new_record(), admission(unblock=True))
        assert await store.device("edge-1") == replace(device, blocked_at=None, blocked_reason=None)
        await store.plan(new_record(), admission())

    story(place, tell)


def test_blocking_a_device_takes_back_the_tokens_that_would_let_it_back(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        back, plain = new_token(unblock=True, uses=2), new_token()
        other = new_token(node="edge-2", unblock=True)
        for token in (back, plain, other):
            await store.add_token(token, event("token.created"))
        await enrolled(store)
        await store.block("edge-1", NOON, Reason.UNSPECIFIED, event("node.revoked"))
        assert await store.token(back.key_id) == replace(back, revoked_at=NOON)
        assert await store.token(plain.key_id) == plain
        assert await store.token(other.key_id) == other
        record = new_record()
        use = use_of(back, record)
        await refused(store, TokenSpent, store.plan(record, admission(use=use, uses=2, unblock=True)))
        later = new_token(unblock=True)
        await store.add_token(later, event("token.created"))
        await store.block("edge-1", NOON, Reason.UNSPECIFIED, event("node.revoked"))  # what is decided last counts
        assert await store.token(later.key_id) == replace(later, revoked_at=NOON)
        assert (await actions(store)).count("node.revoked") == 2

    story(place, tell)


def test_a_device_that_is_blocked_while_its_certificate_is_made_gets_a_revoked_one(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        record = new_record()
        await store.plan(record, admission())
        assert [r.serial for r in await store.block("edge-1", NOON, Reason.UNSPECIFIED, event())] == [record.serial]
        issued = await issue(store, record)
        assert issued.revoked_at == NOON
        await store.plan(new_record(), admission(unblock=True))
        assert await store.valid_certificates("edge-1", "device", NOON) == []

    story(place, tell)


def test_a_device_may_be_blocked_before_it_was_ever_seen(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        assert await store.block("edge-9", NOON, Reason.UNSPECIFIED, event("node.revoked")) == []
        await refused(store, NodeBlocked, store.plan(new_record("edge-9"), admission()))
        assert (await actions(store)).count("node.revoked") == 1

    story(place, tell)


def test_the_first_connection_revokes_what_it_replaces(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        second = timedelta(seconds=1)
        old, new, newest = [await enrolled(store, "edge-1", NOON + n * second) for n in range(3)]
        other = await enrolled(store, "edge-2")
        at = NOON + timedelta(hours=1)
        gone = await store.first_connection(new, at, event("certificate.revoked"))
        assert gone == [replace(old, revoked_at=at, revocation_reason=Reason.SUPERSEDED)]
        connected = await store.by_serial(new.serial)
        assert connected == replace(new, connected_at=at)
        assert await store.first_connection(connected, at + second, event("certificate.revoked")) is None
        assert await store.by_serial(new.serial) == connected
        assert await store.first_connection(other, at, event("certificate.revoked")) == []
        assert await store.first_connection(replace(old), at, event("certificate.revoked")) is None, (
            "a revoked one does not connect"
        )
        gone = await store.first_connection(newest, at, event("certificate.revoked"))
        assert gone is not None
        assert [r.serial for r in gone] == [new.serial]
        assert (await actions(store)).count("certificate.revoked") == 2

    story(place, tell)


def test_what_is_known_of_a_presented_certificate_says_whether_others_give_way_to_it(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        second, at = timedelta(seconds=1), NOON + timedelta(hours=1)
        old, new = [await enrolled(store, "edge-1", NOON + n * second) for n in range(2)]
        other = await enrolled(store, "edge-2")
        assert old.fingerprint and new.fingerprint and other.fingerprint
        assert await store.presented(b"nobody's", at) is None
        assert await store.presented(other.fingerprint, at) == Presented(
            issuer_id=other.issuer_id, serial=other.serial, state=other.state, profile="device", identity="edge-2",
            not_before=other.not_before, not_after=other.not_after, connected=False, revoked_at=None, revocation_reason=None,
            known=True, blocked=False, blocked_reason=None, succeeds=False,
        )  # fmt: skip

        async def succeeds(one: CertificateRecord, at: datetime = at) -> bool:
            presented = await store.presented(one.fingerprint or b"", at)
            assert presented is not None
            return presented.succeeds

        assert [await succeeds(one) for one in (old, new)] == [False, True]
        assert not await succeeds(new, old.not_after + second), "what has ended need not be revoked"
        await store.first_connection(new, at, event("certificate.revoked"))
        assert not await succeeds(new)
        gone = await store.presented(old.fingerprint, at)
        assert gone is not None
        assert (gone.connected, gone.revoked_at, gone.revocation_reason) == (False, at, "superseded")
        await store.block("edge-2", at, Reason.UNSPECIFIED, event("node.revoked"))
        blocked = await store.presented(other.fingerprint, at)
        assert blocked is not None
        assert (blocked.blocked, blocked.blocked_reason) == (True, "unspecified")

    story(place, tell)


def test_a_first_connection_is_noted_with_the_arrival_once_and_not_of_a_revoked_certificate(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        second = timedelta(seconds=1)
        one, revoked = await enrolled(store, "edge-1"), await enrolled(store, "edge-2")
        await store.revoke([revoked.serial], NOON, Reason.UNSPECIFIED, event("certificate.revoked"))
        for n in range(2):
            at = NOON + n * second
            await store.timeline.add(
                arrivals=[
                    Arrival("edge-1", at, "192.0.2.7", times=2, first=(one.issuer_id, one.serial)),
                    Arrival("edge-2", at, "192.0.2.8", first=(revoked.issuer_id, revoked.serial)),
                ],
                departures=[Departure("edge-2", at, Cause.REVOKED)],
            )
        assert await store.by_serial(one.serial) == replace(one, connected_at=NOON)
        unconnected = await store.by_serial(revoked.serial)
        assert unconnected is not None
        assert unconnected.connected_at is None
        here, gone = await store.device("edge-1"), await store.device("edge-2")
        assert here is not None
        assert gone is not None
        assert (here.connections, here.online_since) == (4, NOON + second)
        assert (gone.connections, gone.online_since, gone.offline_cause) == (2, None, Cause.REVOKED)

    story(place, tell)


def test_presence_comes_and_goes(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        second = timedelta(seconds=1)
        await enrolled(store, "edge-1")
        known = await store.device("edge-1")
        assert known == Device(name="edge-1", created_at=NOON)
        await arrived(store, "edge-1", NOON + second, "192.0.2.7")
        assert await store.device("edge-1") == replace(
            known, online_since=NOON + second, last_seen=NOON + second, address="192.0.2.7", connections=1
        )
        await store.seen([("edge-1", NOON + 5 * second), ("nobody", NOON)])
        await store.seen([])
        await departed(store, "edge-1", NOON + 9 * second, Cause.SILENT)
        device = await store.device("edge-1")
        assert device is not None
        assert (device.online_since, device.offline_since, device.offline_cause) == (
            None,
            NOON + 9 * second,
            Cause.SILENT,
        )
        assert device.last_seen == NOON + 5 * second
        await asyncio.gather(*(arrived(store, "edge-1", NOON + 10 * second, f"192.0.2.{n}") for n in range(10)))
        await arrived(store, "nobody", NOON, "192.0.2.7")
        device = await store.device("edge-1")
        assert device is not None
        assert (device.connections, device.offline_since, device.offline_cause) == (11, None, None)
        assert await store.device("nobody") is None

    story(place, tell)


def test_at_start_up_nobody_is_online(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        for name in ("edge-1", "edge-2"):
            await enrolled(store, name)
        await arrived(store, "edge-1", NOON, "192.0.2.7")
        await store.all_offline(NOON + YEAR, Cause.UNKNOWN)
        one, two = await store.device("edge-1"), await store.device("edge-2")
        assert one is not None
        assert two is not None
        assert (one.online_since, one.offline_since, one.offline_cause) == (None, NOON, Cause.UNKNOWN)
        assert (two.offline_since, two.offline_cause) == (None, None)

    story(place, tell)


def test_nodes_are_shown_once_each_with_their_newest_certificate(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        assert await store.nodes() == []
        await enrolled(store, "b-2")
        newest = await enrolled(store, "b-2", NOON + timedelta(seconds=1))
        await store.block("a-1", NOON, Reason.UNSPECIFIED, event())
        await store.plan(new_record("c-3"), admission())
        same_moment = [await enrolled(store, "d-4") for _ in range(3)]
        await store.revoke([r.serial for r in same_moment[:2]], NOON, Reason.SUPERSEDED, event())
        nodes = await store.nodes()
        assert [(n.device.name, n.state, n.certificate) for n in nodes] == [
            ("a-1", "revoked", None),
            ("b-2", "offline", newest),
            ("c-3", "offline", None),
            ("d-4", "offline", same_moment[2]),
        ]
        await arrived(store, "b-2", NOON, "192.0.2.7")
        assert [n.state for n in await store.nodes()] == ["revoked", "online", "offline", "offline"]

    story(place, tell)


# -------------------------------------------------------------------------------------------------------- the audit chain


def test_the_audit_chain_is_read_in_pieces(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        await asyncio.gather(*(store.note(event(f"note-{n}", number=n, text="ü\n\u2028'\"")) for n in range(50)))
        records = await store.audit(0, 100)
        assert [r.n for r in records] == list(range(1, 52))
        assert list(await store.audit(50)) == list(records[50:])
        assert [r.n for r in await store.audit(10, 3)] == [11, 12, 13]
        assert await store.audit(51) == []

    story(place, tell)


def test_writes_of_every_kind_at_once_leave_a_whole_chain(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        token = new_token(pattern="*", uses=40)
        await store.add_token(token, event())

        async def life(n: int) -> None:
            name = f"edge-{n % 25}"
            record = new_record(name, token=token.key_id)
            await store.plan(record, admission(use=use_of(token, record), uses=40, new_name_only=n % 2 == 0))
            issued = await issue(store, record)
            await arrived(store, name, NOON, "192.0.2.7")
            await store.first_connection(issued, NOON, event("certificate.revoked"))
            await store.seen([(name, NOON)])
            if n % 5 == 0:
                await store.block(name, NOON, Reason.UNSPECIFIED, event("node.revoked"))
            await store.note(event("note"))
            await departed(store, name, NOON, Cause.CLOSED)

        results = await asyncio.gather(*(life(n) for n in range(80)), return_exceptions=True)
        kinds = {type(result) for result in results}
        assert kinds <= {type(None), TokenSpent, NodeHasCertificate, NodeBlocked}
        assert results.count(None) == 40 or {NodeHasCertificate, NodeBlocked} & kinds
        stored = await store.token(token.key_id)
        assert stored is not None
        assert (await actions(store)).count("certificate.issued") == stored.used == results.count(None)

    story(place, tell)


def test_a_caller_that_goes_away_neither_undoes_its_write_nor_harms_the_others(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        records = [new_record(f"edge-{n}") for n in range(10)]
        tasks = [asyncio.create_task(store.plan(r, admission())) for r in records]
        await asyncio.sleep(0)
        tasks[3].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results].count(asyncio.CancelledError) == 1
        assert results.count(None) == 9
        assert len(await store.planned()) == 10

    story(place, tell)


def test_a_reader_sees_whole_writes_and_does_not_wait(place: Place) -> None:
    if not place.durable:
        pytest.skip("a store in memory is shared by its two connections and reads what is not committed yet")

    async def tell(store: RelationalStore) -> None:
        writing = asyncio.gather(*(enrolled(store, f"edge-{n}") for n in range(200)))
        looks = 0
        while not writing.done():
            names = {n.device.name for n in await store.nodes()}
            assert names <= {r.identity for r in await store.planned()} | {n.device.name for n in await store.nodes()}
            records = await store.audit(0, 100_000)
            assert audit.first_bad(records) is None
            looks += 1
            await asyncio.sleep(0)
        await writing
        assert looks > 3

    story(place, tell)
