"""What every store must do when a certificate of another cloud is adopted."""

from typing import Any

from msgspec.structs import replace

from edgeward.errors import NodeBlocked, NodeHasCertificate
from edgeward.model.authority import CertificateRecord, CertificateState, Reason
from edgeward.stores import port
from edgeward.stores.relational import RelationalStore
from tests.support.places import Place, actions, refused, story
from tests.support.rows import NOON, der_of, digest, enrolled, event, new_record


def adopted(identity: str = "edge-1", **changes: Any) -> CertificateRecord:
    record = new_record(identity, evidence=port.ADOPTED, state=CertificateState.ISSUED, issued_at=NOON, **changes)
    return replace(record, der=der_of(record), fingerprint=digest(record.serial))


def test_an_adopted_certificate_is_issued_and_its_device_known(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        record = adopted()
        await store.adopt(record, event("certificate.adopted"))
        assert record.fingerprint is not None
        assert await store.certificate(record.fingerprint) == record
        assert await store.device("edge-1") is not None
        assert (await actions(store))[-1] == "certificate.adopted"

    story(place, tell)


def test_one_certificate_of_a_name_is_adopted_whatever_becomes_of_it(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        first = adopted()
        await store.adopt(first, event())
        for again in (first, adopted()):
            await refused(store, NodeHasCertificate, store.adopt(again, event()))
        await store.revoke([first.serial], NOON, Reason.UNSPECIFIED, event())
        await refused(store, NodeHasCertificate, store.adopt(adopted(), event()))
        await store.adopt(adopted("edge-2"), event())
        taken = replace(adopted("edge-3"), serial=first.serial)
        await refused(store, NodeHasCertificate, store.adopt(taken, event()))

    story(place, tell)


def test_a_name_with_a_valid_certificate_or_a_blocked_one_adopts_nothing(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        await enrolled(store, "edge-1")
        await refused(store, NodeHasCertificate, store.adopt(adopted(), event()))
        await store.block("edge-2", NOON, Reason.UNSPECIFIED, event())
        await refused(store, NodeBlocked, store.adopt(adopted("edge-2"), event()))
        assert (await store.device("edge-2")) is not None

    story(place, tell)
