"""What every store must do, method by method: `stores.port.Store`, said precisely.

An adapter takes part by a line in `tests.support.places.PLACES`.
"""

import asyncio
import hashlib
import inspect
from datetime import timedelta

import pytest
from msgspec.structs import replace

from edgeward.errors import (
    AlreadyExists,
    CertificateRefused,
    Conflict,
    NodeBlocked,
    NodeHasCertificate,
    SerialCollision,
    TokenSpent,
)
from edgeward.model.authority import CertificateState, IssuerState, Reason
from edgeward.stores import port
from edgeward.stores.port import Signed
from edgeward.stores.relational import RelationalStore
from tests.support.places import Place, actions, refused, story
from tests.support.rows import (
    NOON,
    YEAR,
    admission,
    der_of,
    digest,
    enrolled,
    event,
    issue,
    new_issuer,
    new_record,
    new_token,
    signed,
    use_of,
)


def test_the_adapter_has_every_method_of_the_port_with_the_same_signature() -> None:
    methods = {
        name: one for name, one in inspect.getmembers(port.Store, inspect.isfunction) if not name.startswith("_")
    }
    assert len(methods) > 25
    for name, wanted in methods.items():
        if name == "__init__":
            continue
        offered = inspect.signature(getattr(RelationalStore, name))
        assert offered.parameters == inspect.signature(wanted).parameters, name
        assert offered.return_annotation == inspect.signature(wanted).return_annotation, name
        assert inspect.iscoroutinefunction(getattr(RelationalStore, name)), name


# ----------------------------------------------------------------------------------------------------- settings, issuers


def test_a_setting_is_put_and_put_again(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        assert await store.setting("advertised") is None
        await store.put_setting("advertised", "[]", event("advertised.changed"))
        await store.put_setting("advertised", '["ä"]', event("advertised.changed"))
        assert await store.setting("advertised") == '["ä"]'
        assert await store.setting("other") is None
        assert await actions(store) == ["ca.created", "advertised.changed", "advertised.changed"]

    story(place, tell)


def test_one_issuer_is_active_and_a_second_one_only_retires_it(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        first = (await store.issuers())[0]
        assert first == replace(new_issuer(), id=first.id)
        await refused(store, AlreadyExists, store.add_issuer(new_issuer("second"), None, event("ca.created")))
        prepared = await store.add_issuer(new_issuer("prepared", IssuerState.PREPARED), None, event("ca.prepared"))
        second = await store.add_issuer(new_issuer("second"), None, event("ca.imported"), retire_active=True)
        assert await store.issuers() == [replace(first, state=IssuerState.RETIRED), prepared, second]

    story(place, tell)


def test_a_prepared_issuer_becomes_active_and_the_active_one_retires_at_once(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        first = (await store.issuers())[0]
        prepared = await store.add_issuer(new_issuer("prepared", IssuerState.PREPARED), None, event("ca.prepared"))
        active = await store.activate_issuer(prepared, event("ca.activated"))
        assert active == replace(prepared, state=IssuerState.ACTIVE)
        assert await store.issuers() == [replace(first, state=IssuerState.RETIRED), active]
        await refused(store, Conflict, store.activate_issuer(prepared, event("ca.activated")))
        await refused(store, Conflict, store.activate_issuer(first, event("ca.activated")))
        assert await store.issuers() == [replace(first, state=IssuerState.RETIRED), active], (
            "as if nothing had been asked"
        )

    story(place, tell)


def test_an_issuer_comes_with_the_record_of_its_own_certificate(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        record = new_record(
            "CA",
            profile="ca",
            issuer_id=0,
            der=b"ca2",
            state=CertificateState.ISSUED,
            issued_at=NOON,
            fingerprint=digest("ca2"),
        )
        issuer = await store.add_issuer(new_issuer("ca2"), record, event("ca.imported"), retire_active=True)
        assert await store.by_serial(record.serial) == replace(record, issuer_id=issuer.id)
        assert await store.certificate(digest("ca2")) == replace(record, issuer_id=issuer.id)
        assert await store.nodes() == []

    story(place, tell)


def test_t24_racers_for_the_first_issuer_leave_one(place: Place) -> None:
    async def tell() -> None:
        store = place.open()
        try:
            racers = [store.add_issuer(new_issuer(f"ca-{n}"), None, event("ca.created")) for n in range(20)]
            results = await asyncio.gather(*racers, return_exceptions=True)
            assert sum(isinstance(result, AlreadyExists) for result in results) == 19
            assert len(await store.issuers()) == 1
            assert await actions(store) == ["ca.created"]
        finally:
            await store.close()

    asyncio.run(tell())


# ---------------------------------------------------------------------------------------------------------- certificates


def test_planned_then_issued(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        record = new_record(replaces="ab", evidence="token:1", token=None)
        await store.plan(record, None)
        assert await store.planned() == [record]
        assert await store.by_serial(record.serial) == record
        assert await store.certificate(digest("x")) is None
        issued = await issue(store, record)
        assert issued == replace(
            record, state=CertificateState.ISSUED, der=der_of(record), issued_at=NOON, fingerprint=issued.fingerprint
        )
        assert await store.certificate(issued.fingerprint or b"") == issued
        assert await store.planned() == []
        assert await store.by_serial("ffff") is None
        with pytest.raises(Conflict):
            await issue(store, record)
        assert (await actions(store)).count("certificate.issued") == 1

    story(place, tell)


def test_many_are_planned_and_issued_together_or_not_at_all(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        records = [new_record(f"edge-{n}") for n in range(50)]
        await store.plan_many(records)
        assert list(await store.planned()) == records
        more = [new_record(f"more-{n}") for n in range(3)]
        await refused(store, SerialCollision, store.plan_many([*more, records[0]]))
        assert list(await store.planned()) == records, "one that is there already, and none of the others is written"

        done = [
            Signed(
                issuer_id=r.issuer_id,
                serial=r.serial,
                der=der_of(r),
                event=event("certificate.issued", identity=r.identity),
            )
            for r in records
        ]
        await store.issue_many(done[:40], NOON)
        await refused(store, Conflict, store.issue_many(done[39:], NOON))
        assert list(await store.planned()) == records[40:]
        issued = await store.by_serial(records[0].serial)
        assert issued is not None
        assert (issued.der, issued.issued_at) == (der_of(records[0]), NOON)
        assert await store.certificate(hashlib.sha256(der_of(records[0])).digest()) == issued
        assert (await actions(store)).count("certificate.issued") == 40
        await store.plan_many([])
        await store.issue_many([], NOON)

    story(place, tell)


def test_t23_a_serial_is_used_once(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        record = new_record()
        await store.plan(record, admission())
        error = await refused(store, SerialCollision, store.plan(replace(record, identity="edge-2"), admission()))
        assert error.facts == {"serial": record.serial}
        assert await store.device("edge-2") is None
        racers = [replace(new_record(f"racer-{n}"), serial="dead") for n in range(20)]
        results = await asyncio.gather(*(store.plan(r, admission()) for r in racers), return_exceptions=True)
        assert sum(isinstance(result, SerialCollision) for result in results) == 19
        assert [n.device.name for n in await store.nodes() if n.device.name.startswith("racer")] == [
            r.identity for r, result in zip(racers, results, strict=True) if result is None
        ]

    story(place, tell)


def test_a_bad_row_fails_alone_in_its_group(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        taken, blocked = new_record("taken"), new_record("blocked")
        await store.plan(taken, None)
        await store.block("blocked", NOON, Reason.UNSPECIFIED, event())
        token = new_token(node="spent")
        await store.add_token(token, event())
        spent = [new_record("spent", token=token.key_id) for _ in range(2)]
        good = [new_record(f"good-{n}") for n in range(30)]
        results = await asyncio.gather(
            *(store.plan(r, admission()) for r in good[:15]),
            store.plan(taken, admission()),
            store.plan(blocked, admission()),
            *(store.plan(r, admission(use=use_of(token, r), uses=1)) for r in spent),
            store.revoke_token("f" * 16, NOON, event("token.revoked")),
            store.issue(signed(new_record(serial="beef")), NOON),
            *(store.plan(r, admission(), event("planned")) for r in good[15:]),
            return_exceptions=True,
        )
        assert [type(result) for result in results[15:21]] == [
            SerialCollision,
            NodeBlocked,
            type(None),
            TokenSpent,
            bool,
            Conflict,
        ]
        assert results[:15] + results[21:] == [None] * 30
        assert {r.identity for r in await store.planned()} == {"taken", "spent", *(r.identity for r in good)}
        assert (await actions(store)).count("planned") == 15
        assert "certificate.issued" not in await actions(store)

    story(place, tell)


def test_racers_for_a_new_name_get_one_certificate_between_them(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        token = new_token(pattern="*", uses=100)
        await store.add_token(token, event())
        records = [new_record("edge-1", token=token.key_id) for _ in range(50)]
        racers = (store.plan(r, admission(use=use_of(token, r), uses=100, new_name_only=True)) for r in records)
        results = await asyncio.gather(*racers, return_exceptions=True)
        assert results.count(None) == 1
        assert all(isinstance(result, NodeHasCertificate) for result in results if result is not None)
        stored = await store.token(token.key_id)
        assert stored is not None
        assert stored.used == 1, "a use is not spent on a refusal"

    story(place, tell)


def test_a_name_is_new_again_when_its_certificates_have_ended(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        only_new = admission(new_name_only=True)
        record = await enrolled(store)
        await refused(store, NodeHasCertificate, store.plan(new_record(), only_new))
        late = record.not_after + timedelta(milliseconds=1)
        await store.plan(new_record(planned_at=late, serial="1a"), admission(late, new_name_only=True))
        await store.revoke([record.serial], NOON, Reason.UNSPECIFIED, event())
        await store.abandon(1, "1a", NOON, event())
        await store.plan(new_record(), only_new)

    story(place, tell)


def test_an_abandoned_row_is_revoked_and_its_use_given_back(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        token = new_token()
        await store.add_token(token, event())
        record = new_record(token=token.key_id)
        conditions = admission(use=use_of(token, record), uses=1)
        await store.plan(record, conditions)
        later = NOON + timedelta(seconds=1)
        await store.abandon(1, record.serial, later, event("certificate.abandoned"))
        left = await store.by_serial(record.serial)
        assert left is not None
        assert (left.state, left.revoked_at, left.revocation_reason) == (
            CertificateState.ABANDONED,
            later,
            Reason.UNSPECIFIED,
        )
        assert await store.planned() == []
        stored = await store.token(token.key_id)
        assert stored is not None
        assert stored.used == 0
        assert len(await store.token_uses(token.key_id)) == 1, "what was tried stays on record"
        await refused(store, Conflict, store.abandon(1, record.serial, later, event()))
        await refused(store, Conflict, store.issue(signed(record), NOON))
        again = new_record(token=token.key_id)
        await store.plan(again, admission(use=use_of(token, again), uses=1))
        issued = await issue(store, again)
        await refused(store, Conflict, store.abandon(1, issued.serial, later, event()))

    story(place, tell)


def test_issue_and_abandon_race_and_one_wins(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        records = [new_record(f"edge-{n}") for n in range(20)]
        await asyncio.gather(*(store.plan(r, None) for r in records))
        results = await asyncio.gather(
            *(store.issue(signed(r), NOON) for r in records),
            *(store.abandon(1, r.serial, NOON, event()) for r in records),
            return_exceptions=True,
        )
        for one, other in zip(results[:20], results[20:], strict=True):
            assert {type(one), type(other)} == {type(None), Conflict}

    story(place, tell)


def test_a_certificate_that_was_shown_and_is_revoked_by_now_renews_nothing(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        shown, other = await enrolled(store), await enrolled(store, "edge-2")
        await refused(store, CertificateRefused, store.plan(new_record(), admission(renews=other.serial)))
        await store.plan(new_record(), admission(renews=shown.serial))
        assert await store.by_serial(shown.serial) == shown
        await store.revoke([shown.serial], NOON, Reason.KEY_COMPROMISE, event("certificate.revoked"))
        await refused(store, CertificateRefused, store.plan(new_record(), admission(renews=shown.serial)))

    story(place, tell)


def test_an_unused_certificate_gives_way_in_the_same_transaction(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        unused = await enrolled(store)
        other = await enrolled(store, "edge-2")
        await refused(store, Conflict, store.plan(new_record(), admission(supersedes="ffff")))
        await refused(store, Conflict, store.plan(new_record(), admission(supersedes=other.serial)))
        newer = new_record(replaces=unused.serial)
        await store.plan(newer, admission(new_name_only=True, supersedes=unused.serial), event("certificate.revoked"))
        gone = await store.by_serial(unused.serial)
        assert gone is not None
        assert (gone.revoked_at, gone.revocation_reason) == (NOON, Reason.SUPERSEDED)
        assert (await actions(store))[-1] == "certificate.revoked"
        issued = await issue(store, newer)
        await store.first_connection(issued, NOON, event())
        await refused(store, Conflict, store.plan(new_record(), admission(supersedes=issued.serial)))
        kept = await store.by_serial(issued.serial)
        assert kept is not None
        assert kept.revoked_at is None

    story(place, tell)


def test_certificates_of_an_identity_and_of_a_key_newest_first(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        second = timedelta(seconds=1)
        records = [await enrolled(store, "edge-1", NOON + n * second, spki_sha256=digest("same")) for n in range(4)]
        operator = await enrolled(store, "edge-1", profile="operator")
        await store.plan(new_record(spki_sha256=digest("same")), None)
        await store.revoke([records[1].serial], NOON, Reason.UNSPECIFIED, event())
        assert await store.valid_certificates("edge-1", "device", NOON) == [records[3], records[2], records[0]]
        assert await store.valid_certificates("edge-1", "operator", NOON) == [operator]
        assert await store.valid_certificates("edge-1", "device", NOON + YEAR) == [records[3], records[2], records[0]]
        assert await store.valid_certificates("edge-1", "device", NOON + YEAR + second) == []
        assert [r.serial for r in await store.certificates_of_key(digest("same"))] == [
            r.serial for r in reversed(records)
        ]
        assert await store.certificates_of_key(digest("other")) == []
        many = [digest(f"key {number}") for number in range(200)]
        assert await store.known_keys([*many, digest("same"), digest("other")]) == {digest("same")}
        await store.plan(new_record(spki_sha256=many[0]), None)
        assert await store.known_keys(many) == frozenset(), "planned is not issued"
        assert await store.known_keys([]) == frozenset()

    story(place, tell)


def test_of_a_key_with_many_certificates_the_compromised_one_is_never_left_out(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        first = await enrolled(store, spki_sha256=digest("same"))
        await store.revoke([first.serial], NOON, Reason.KEY_COMPROMISE, event("certificate.revoked"))
        later = [
            await enrolled(store, at=NOON + timedelta(seconds=n), spki_sha256=digest("same")) for n in range(1, 31)
        ]
        found = [r.serial for r in await store.certificates_of_key(digest("same"))]
        assert found == [first.serial, *[r.serial for r in reversed(later)][:19]]
        assert len(await store.valid_certificates("edge-1", "device", NOON)) == 20

    story(place, tell)


@pytest.mark.parametrize("set_back", [0, 60], ids=["in one moment", "after the clock was set back"])
def test_a_certificate_never_supersedes_the_one_that_replaces_it(place: Place, set_back: int) -> None:
    async def tell(store: RelationalStore) -> None:
        old = await enrolled(store)
        new = await enrolled(store, at=NOON - timedelta(seconds=set_back), replaces=old.serial)
        assert await store.first_connection(old, NOON, event("certificate.revoked")) == []
        gone = await store.first_connection(new, NOON, event("certificate.revoked"))
        assert gone is not None
        assert [r.serial for r in gone] == [old.serial]

    story(place, tell)


def test_revoked_once_and_recorded_once(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        one, two = await enrolled(store, "edge-1"), await enrolled(store, "edge-2")
        planned = new_record("edge-3")
        await store.plan(planned, None)
        first = await store.revoke([one.serial], NOON, Reason.KEY_COMPROMISE, event("certificate.revoked"))
        assert first == [replace(one, revoked_at=NOON, revocation_reason=Reason.KEY_COMPROMISE)]
        later = NOON + YEAR
        both = await store.revoke(
            [one.serial, two.serial, "ffff"], later, Reason.SUPERSEDED, event("certificate.revoked")
        )
        assert both == [replace(two, revoked_at=later, revocation_reason=Reason.SUPERSEDED)]
        assert await store.by_serial(one.serial) == first[0]
        assert (
            await store.revoke([one.serial, two.serial], later, Reason.SUPERSEDED, event("certificate.revoked")) == []
        )
        assert await store.revoke([], later, Reason.SUPERSEDED, event("certificate.revoked")) == []
        assert (await actions(store)).count("certificate.revoked") == 2
        device = await store.device("edge-1")
        assert device is not None
        assert device.blocked_at is None, "a certificate is revoked, not its device"

    story(place, tell)


def test_what_stands_on_a_revocation_list(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        one, two, ended, valid = [await enrolled(store, f"edge-{n}") for n in range(4)]
        old = new_record("old", not_after=NOON - YEAR, not_before=NOON - 2 * YEAR)
        await store.plan(old, None)
        await issue(store, old)
        lost = new_record("lost")
        await store.plan(lost, None)
        await store.revoke([two.serial], NOON + timedelta(minutes=2), Reason.KEY_COMPROMISE, event())
        await store.revoke([one.serial], NOON + timedelta(minutes=1), Reason.SUPERSEDED, event())
        await store.revoke([ended.serial, old.serial], NOON + timedelta(minutes=3), Reason.UNSPECIFIED, event())
        await store.abandon(lost.issuer_id, lost.serial, NOON + timedelta(minutes=4), event())
        listed = await store.revoked(1, NOON)
        assert [(line.serial, line.reason) for line in listed] == [
            (one.serial, Reason.SUPERSEDED),
            (two.serial, Reason.KEY_COMPROMISE),
            (ended.serial, Reason.UNSPECIFIED),
            (lost.serial, Reason.UNSPECIFIED),
        ]
        assert listed[0].at == NOON + timedelta(minutes=1)
        assert valid.serial not in {line.serial for line in listed}
        assert old.serial in {line.serial for line in await store.revoked(1, NOON - 3 * YEAR)}
        assert await store.revoked(2, NOON) == []

    story(place, tell)
