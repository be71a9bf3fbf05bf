"""Certificates of a KubeEdge cloud without a row here: adopted at first sight, on terms, at both doors."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from tests.support.kubeedge_cloud import LEGACY, Cloud, edge
from tests.support.world import NOON, World, csr, new_key, run, world

from edgeward.errors import (
    AlreadyExists,
    CertificateRefused,
    LegacyEdge,
    NodeBlocked,
    NotAdopted,
    PolicyRefused,
    TokenNotForNode,
    UsageError,
    WrongIdentity,
)
from edgeward.hub import authorise
from edgeward.model.authority import CertificateRecord, Reason
from edgeward.model.evidence import Operator
from edgeward.services.adoption import Adoption, Terms
from edgeward.services.migration import Brought

UNTIL = NOON + timedelta(days=30)
ADOPTING = Terms(until=UNTIL)
LENIENT = Terms(until=UNTIL, legacy=True)


async def move(w: World, terms: Terms | None = ADOPTING, key: Any = None) -> Cloud:
    """A KubeEdge cloud whose CA is imported on these terms."""
    cloud = Cloud.new(key, now=NOON - timedelta(days=1))
    await w.migration.bring(
        Brought(certificate=cloud.der, key=cloud.key, terms=terms), actor="operator:test", now=w.now
    )
    return cloud


def told(tell: Callable[[World, Cloud], Awaitable[None]], terms: Terms | None = ADOPTING) -> None:
    async def story() -> None:
        async with world() as w:
            await tell(w, await move(w, terms))

    run(story())


async def admit(w: World, der: bytes, node: str) -> authorise.Admitted:
    """At the hub."""
    fingerprint = x509.load_der_x509_certificate(der).fingerprint(HASH)
    claimed = authorise.Claim(node=node, certificate=der, fingerprint=fingerprint)
    return await authorise.admit(w.store, claimed, w.now, address="192.0.2.9", adopt=w.adoption.adopt)


HASH = hashes.SHA256()


async def actions(w: World) -> list[str]:
    return [record.action for record in await w.store.audit(0, 100_000)]


async def rows(w: World, node: str = "edge-1") -> list[CertificateRecord]:
    return list(await w.store.valid_certificates(node, "device", w.now))


async def refused(kind: type[Exception], doing: Awaitable[Any], words: str = ".") -> None:
    with pytest.raises(kind, match=words):
        await doing


def test_at_the_hub_a_certificate_is_adopted_once_with_its_record() -> None:
    async def tell(w: World, cloud: Cloud) -> None:
        der = cloud.issue(edge("edge-1"), new_key(), now=NOON)
        assert (await admit(w, der, "edge-1")).node == "edge-1"
        (record,) = await rows(w)
        assert (record.evidence, record.der, record.token) == ("adopted", der, None)
        assert record.serial == format(x509.load_der_x509_certificate(der).serial_number, "x")
        assert (await actions(w)).count("certificate.adopted") == 1
        await admit(w, der, "edge-1")
        assert (await actions(w)).count("certificate.adopted") == 1, "from then on it is like any other"

    told(tell)


def test_at_renewal_a_certificate_is_adopted_and_then_replaced() -> None:
    async def tell(w: World, cloud: Cloud) -> None:
        der = cloud.issue(edge("edge-1"), new_key(), now=NOON)
        renewed = await w.enrol("edge-1", der)
        assert [r.evidence for r in await rows(w)].count("adopted") == 1
        await admit(w, renewed, "edge-1")
        (record,) = await rows(w)
        assert record.der == renewed
        await refused(CertificateRefused, admit(w, der, "edge-1"), "revoked")

    told(tell)


def test_t20_a_second_certificate_of_the_name_is_refused_for_good() -> None:
    async def tell(w: World, cloud: Cloud) -> None:
        first, second = (cloud.issue(edge("edge-1"), new_key(), now=NOON) for _ in range(2))
        await admit(w, first, "edge-1")
        await refused(NotAdopted, admit(w, second, "edge-1"), "one for each name is adopted")
        await refused(NotAdopted, w.enrol("edge-1", second), "one for each name is adopted")
        assert [a for a in await actions(w) if a.endswith("not-adopted")] == ["enrolment.refused.not-adopted"]
        serial = (await rows(w))[0].serial
        await w.revoker.revoke(f"serial:{serial}", Reason.UNSPECIFIED, actor="operator:test", now=w.now)
        await refused(NotAdopted, admit(w, second, "edge-1"))

    told(tell)


def test_a_node_that_joined_here_is_not_overrun_by_its_old_certificate() -> None:
    async def tell(w: World, cloud: Cloud) -> None:
        token, _ = await w.token("edge-1")
        await w.enrol("edge-1", token)
        old = cloud.issue(edge("edge-1"), new_key(), now=NOON)
        await refused(NotAdopted, admit(w, old, "edge-1"), "another certificate")

    told(tell)


def test_a_name_that_was_blocked_before_its_node_came_is_not_adopted() -> None:
    async def tell(w: World, cloud: Cloud) -> None:
        await w.revoker.revoke("edge-1", Reason.UNSPECIFIED, actor="operator:test", now=w.now)
        der = cloud.issue(edge("edge-1"), new_key(), now=NOON)
        await refused(NodeBlocked, admit(w, der, "edge-1"))
        await refused(NodeBlocked, w.enrol("edge-1", der))

    told(tell)


def test_a_compromised_key_is_not_adopted() -> None:
    async def tell(w: World, cloud: Cloud) -> None:
        key = new_key()
        await w.enrol("edge-1", (await w.token("edge-1"))[0], csr("edge-1", key))
        (record,) = await rows(w)
        await w.revoker.revoke(f"serial:{record.serial}", Reason.KEY_COMPROMISE, actor="operator:test", now=w.now)
        await refused(NotAdopted, admit(w, cloud.issue(edge("edge-1"), key, now=NOON), "edge-1"), "compromised")

    told(tell)


def test_the_name_is_the_certificate_s() -> None:
    async def tell(w: World, cloud: Cloud) -> None:
        der = cloud.issue(edge("edge-1"), new_key(), now=NOON)
        await refused(WrongIdentity, admit(w, der, "edge-2"))
        await refused(WrongIdentity, w.enrol("edge-2", der))
        assert not await rows(w, "edge-1")

    told(tell)


def test_only_until_the_date_and_remembered_over_a_start() -> None:
    async def tell(w: World, cloud: Cloud) -> None:
        der = cloud.issue(edge("edge-1"), new_key(), now=NOON)
        w.now = UNTIL
        await refused(NotAdopted, admit(w, der, "edge-1"), "until 2026-12-23")
        w.now = UNTIL - timedelta(seconds=1)
        elsewhere = Adoption(w.store)  # another process over the same store
        assert (await _hub(w, der, elsewhere)).node == "edge-1"
        await elsewhere.allow(Terms(), actor="operator:test", now=w.now)
        other = cloud.issue(edge("edge-2"), new_key(), now=NOON)
        await refused(NotAdopted, admit(w, other, "edge-2"), "is not adopted here")

    told(tell)


async def _hub(w: World, der: bytes, adoption: Adoption) -> authorise.Admitted:
    claimed = authorise.Claim(
        node="edge-1", certificate=der, fingerprint=x509.load_der_x509_certificate(der).fingerprint(HASH)
    )
    return await authorise.admit(w.store, claimed, w.now, adopt=adoption.adopt)


def test_without_terms_nothing_is_adopted_and_the_reason_is_said() -> None:
    async def tell(w: World, cloud: Cloud) -> None:
        await refused(
            NotAdopted, admit(w, cloud.issue(edge("edge-1"), new_key(), now=NOON), "edge-1"), "KubeEdge issued it"
        )

    told(tell, None)


def test_a_certificate_of_our_own_ca_or_of_nobody_is_not_adopted() -> None:
    async def story() -> None:
        async with world() as w:
            foreign = Cloud.new(now=NOON).issue(edge("edge-1"), new_key(), now=NOON)
            with pytest.raises(UsageError, match="no CA was imported"):
                await w.adoption.allow(ADOPTING, actor="operator:test", now=w.now)
            await move(w)
            await refused(CertificateRefused, admit(w, foreign, "edge-1"), "not a device certificate")
            await refused(CertificateRefused, admit(w, w.authorities.active.certificate, "edge-1"))

    run(story())


def test_two_connections_at_once_adopt_one_certificate_once() -> None:
    async def tell(w: World, cloud: Cloud) -> None:
        der = cloud.issue(edge("edge-1"), new_key(), now=NOON)
        other = cloud.issue(edge("edge-1"), new_key(), now=NOON)
        outcomes = await asyncio.gather(
            *(admit(w, one, "edge-1") for one in (der, other, der, other, der)), return_exceptions=True
        )
        admitted = {type(one).__name__ for one in outcomes}
        assert admitted == {"Admitted", "NotAdopted"}, outcomes
        assert (await actions(w)).count("certificate.adopted") == 1
        assert len(await rows(w)) == 1

    told(tell)


def test_a_serial_that_is_taken_is_a_refusal_and_no_bug_of_ours() -> None:
    async def tell(w: World, cloud: Cloud) -> None:
        for node, kind in (("edge-1", None), ("edge-2", NotAdopted)):
            doing = admit(w, cloud.issue(edge(node), new_key(), now=NOON, serial=77), node)
            await (doing if kind is None else refused(kind, doing))

    told(tell)


# ------------------------------------------------------------------------------------------------------ edges before v1.16


def test_t20_an_old_edge_s_certificate_is_nobody_s() -> None:
    async def tell(w: World, cloud: Cloud) -> None:
        der = cloud.issue(LEGACY, new_key(), now=NOON)
        await refused(NotAdopted, admit(w, der, "edge-1"), "identity of every edge before v1.16")
        await refused(NotAdopted, w.enrol("edge-1", der, csr(LEGACY)))

    told(tell)


def test_behind_the_flag_an_old_edge_is_adopted_under_one_name() -> None:
    async def tell(w: World, cloud: Cloud) -> None:
        der, thief = (cloud.issue(LEGACY, new_key(), now=NOON) for _ in range(2))
        assert (await admit(w, der, "edge-1")).node == "edge-1"
        await refused(WrongIdentity, admit(w, der, "edge-2"))
        await refused(NotAdopted, admit(w, thief, "edge-1"))
        renewed = x509.load_der_x509_certificate(await w.enrol("edge-1", der, csr(LEGACY)))
        assert renewed.subject.rfc4514_string() == "CN=system:node:edge-1,O=system:nodes"

    told(tell, LENIENT)


def test_an_old_edge_s_request_is_refused_in_words() -> None:
    async def tell(w: World, cloud: Cloud) -> None:
        token, _ = await w.token("edge-1", uses=5)
        await refused(LegacyEdge, w.enrol("edge-1", token, csr(LEGACY)), "older than KubeEdge v1.16")
        assert (await actions(w))[-1] == "enrolment.refused.legacy-edge"
        assert await w.issued() == 0

    told(tell)


def test_behind_the_flag_an_old_edge_enrols_and_renews_under_the_name_of_its_token() -> None:
    async def tell(w: World, cloud: Cloud) -> None:
        old = [(NameOID.COUNTRY_NAME, "CN"), *LEGACY, (NameOID.LOCALITY_NAME, "Hangzhou")]
        token, _ = await w.token("edge-1", uses=5)
        der = await w.enrol("edge-1", token, csr(old))
        subject = x509.load_der_x509_certificate(der).subject.rfc4514_string()
        assert subject == "CN=system:node:edge-1,O=system:nodes"
        assert await w.enrol("edge-1", der, csr(old))
        await refused(TokenNotForNode, w.enrol("edge-2", token, csr(old)))
        pattern, _ = await w.token(pattern="*", uses=5)
        await refused(LegacyEdge, w.enrol("edge-3", pattern, csr(old)), "exactly this node")
        asking = ((x509.SubjectAlternativeName([x509.DNSName("cloud")]), False),)
        await refused(PolicyRefused, w.enrol("edge-1", token, csr(old, extensions=asking)), "cloud")
        nearly = [(NameOID.ORGANIZATION_NAME, "system:masters"), (NameOID.COMMON_NAME, "kubeedge.io")]
        await refused(PolicyRefused, w.enrol("edge-1", token, csr(nearly)), "system:masters")
        with pytest.raises(PolicyRefused):
            await w.enrol("edge-1", token, csr([*old, (NameOID.ORGANIZATIONAL_UNIT_NAME, "x")]))
        assert await w.enrol("edge-1", Operator(name="test"), csr(old)), "an operator knows what he does"

    told(tell, LENIENT)


def test_behind_the_flag_an_old_edge_enrols_at_a_ca_that_was_made_here() -> None:
    """The command in the refusal works on every authority; with nothing to adopt, no certificate without a record is let in."""

    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-1", uses=5)
            await refused(LegacyEdge, w.enrol("edge-1", token, csr(LEGACY)), "older than KubeEdge v1.16")
            await w.adoption.allow(Terms(legacy=True), actor="operator:test", now=w.now)
            der = await w.enrol("edge-1", token, csr(LEGACY))
            assert (await admit(w, der, "edge-1")).node == "edge-1"
            assert await w.enrol("edge-1", der, csr(LEGACY)), "and renews"
            stranger = Cloud.new(now=NOON).issue(LEGACY, new_key(), now=NOON)
            await refused(CertificateRefused, admit(w, stranger, "edge-2"))

    run(story())


# --------------------------------------------------------------------------------------------------------------- terms


def test_terms_that_make_no_sense_change_nothing() -> None:
    async def story() -> None:
        async with world() as w:
            before = w.authorities.active
            cloud = Cloud.new(now=NOON - timedelta(days=1))
            with pytest.raises(UsageError, match="in the past"):
                await w.migration.bring(
                    Brought(certificate=cloud.der, key=cloud.key, terms=Terms(until=NOON)),
                    actor="operator:test",
                    now=w.now,
                )
            assert w.authorities.active == before

    run(story())


def test_an_import_may_be_done_again_with_other_terms() -> None:
    async def tell(w: World, cloud: Cloud) -> None:
        await admit(w, cloud.issue(edge("edge-1"), new_key(), now=NOON), "edge-1")
        issuer, written = w.authorities.active, await actions(w)
        for terms in (ADOPTING, Terms()):
            await w.migration.bring(
                Brought(certificate=cloud.der, key=cloud.key, terms=terms), actor="operator:test", now=w.now
            )
            assert w.authorities.active == issuer
        assert (await actions(w))[len(written) :] == ["kubeedge-adoption.changed"]
        await refused(NotAdopted, admit(w, cloud.issue(edge("edge-2"), new_key(), now=NOON), "edge-2"))
        other = Cloud.new(now=NOON)
        with pytest.raises(AlreadyExists):
            await w.migration.bring(Brought(certificate=other.der, key=other.key), actor="operator:test", now=w.now)

    told(tell)


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())], ids=["rsa", "p-384"]
)
def test_a_ca_with_another_kind_of_key_serves_as_well(key: Any) -> None:
    async def story() -> None:
        async with world() as w:
            cloud = await move(w, key=key)
            old = cloud.issue(edge("edge-1"), new_key(), now=NOON)
            await admit(w, old, "edge-1")
            renewed = await w.enrol("edge-1", old)
            x509.load_der_x509_certificate(renewed).verify_directly_issued_by(cloud.certificate)
            assert (await admit(w, renewed, "edge-1")).superseded

    run(story())
