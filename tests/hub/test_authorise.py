"""Who may open a session."""

import asyncio
import hashlib
from datetime import timedelta

import msgspec
import pytest

from edgeward import errors
from edgeward.errors import BadName, BadRequest, CertificateRefused, NodeBlocked, WrongIdentity
from edgeward.hub import authorise
from edgeward.model.audit import Event
from edgeward.model.authority import Reason
from edgeward.model.http import Request
from edgeward.stores.port import Signed
from tests.support.edges import CAUSE, certificate_of, enrol, new_store, now


def request(certificate: bytes | None = b"c", **headers: tuple[str, ...]) -> Request:
    given = {"node_id": ("edge-1",), "connectionuse": ("msg", "msg"), "project_id": ("p",)}
    given.update(headers)
    return Request(
        method="GET", target="/", headers=given, body=b"", address="127.0.0.1", at=now(), peer_certificate=certificate
    )


def admitted(*steps, claim: str = "edge-1", der: bytes | None = None, at=None):
    """Enrol edge-1, do `steps` with the store and its record, then ask."""

    async def scene():
        store = await new_store()
        record = await enrol(store, "edge-1")
        for step in steps:
            await step(store, record)
        presented = certificate_of("edge-1") if der is None else der
        claimed = authorise.claim(request(presented, node_id=(claim,)))
        try:
            return await authorise.admit(store, claimed, at or now())
        finally:
            await store.close()

    return asyncio.run(scene())


def test_an_issued_certificate_of_the_node_is_admitted():
    found = admitted()
    assert (found.node, found.fingerprint) == ("edge-1", hashlib.sha256(certificate_of("edge-1")).digest())
    assert found.superseded == ()


def test_an_unknown_certificate_is_refused():
    with pytest.raises(CertificateRefused, match="not a device certificate that was issued here"):
        admitted(der=b"somebody else's")


def test_t33_another_node_s_name_is_refused():
    with pytest.raises(WrongIdentity, match="for node edge-1, not for edge-2"):
        admitted(claim="edge-2")


def test_t34_a_revoked_certificate_is_refused():
    async def revoke(store, record):
        await store.revoke([record.serial], now(), Reason.KEY_COMPROMISE, CAUSE)

    with pytest.raises(CertificateRefused, match=r"revoked at .* \(keyCompromise\)"):
        admitted(revoke)


def test_a_blocked_node_is_refused_even_with_a_new_certificate():
    async def block(store, record):
        await store.block("edge-1", now(), Reason.UNSPECIFIED, CAUSE)

    with pytest.raises(CertificateRefused):
        admitted(block)

    async def block_then_issue(store, record):
        await store.block("edge-1", now(), Reason.UNSPECIFIED, CAUSE)
        der = certificate_of("edge-1", 2)
        new = msgspec.structs.replace(
            record, serial="ab" * 16, state="planned", der=None, fingerprint=None, issued_at=None
        )
        await store.plan(new, None)
        await store.issue(Signed(issuer_id=1, serial=new.serial, der=der, event=CAUSE), now())

    with pytest.raises(NodeBlocked, match="edge-1 is blocked: revoked, unspecified"):
        admitted(block_then_issue, der=certificate_of("edge-1", 2))


@pytest.mark.parametrize(("days", "why"), [(400, "expired at"), (-1, "not valid before")])
def test_a_certificate_out_of_its_time_is_refused(days, why):
    with pytest.raises(CertificateRefused, match=why):
        admitted(at=now() + timedelta(days=days))


@pytest.mark.parametrize("profile", ["server", "operator"])
def test_a_certificate_of_another_profile_is_refused(profile):
    async def other(store, record):
        await enrol(store, "edge-1", 3, profile=profile)

    with pytest.raises(CertificateRefused, match="not a device certificate"):
        admitted(other, der=certificate_of("edge-1", 3))


def test_a_renewed_certificate_supersedes_the_old_one_when_it_first_connects():
    async def scene():
        store = await new_store()
        old = await enrol(store, "edge-1")
        claim_old = authorise.claim(request(certificate_of("edge-1")))
        claim_new = authorise.claim(request(certificate_of("edge-1", 2)))
        await enrol(store, "edge-1", 2, replaces=old.serial)
        assert (await authorise.admit(store, claim_old, now())).superseded == ()  # until then either may connect
        assert (await authorise.admit(store, claim_new, now())).superseded == (old.fingerprint,)
        assert (await authorise.admit(store, claim_new, now())).superseded == ()
        with pytest.raises(CertificateRefused, match="superseded"):
            await authorise.admit(store, claim_old, now())
        records = await store.audit()
        await store.close()
        return [record.action for record in records if record.object == "node:edge-1"]

    assert asyncio.run(scene()) == ["certificate.revoked"]


def test_t34_a_certificate_that_is_revoked_while_it_supersedes_another_is_refused():
    async def scene():
        store = await new_store()
        await enrol(store, "edge-1")
        record = await enrol(store, "edge-1", 2)
        event = Event(at=now(), actor="operator:test", action="certificate.revoked", object="certificate:1", facts={})
        revoking = asyncio.create_task(store.revoke([record.serial], now(), Reason.SUPERSEDED, event))
        await asyncio.sleep(0)  # it waits for its commit, and nobody can read of it yet
        with pytest.raises(CertificateRefused, match="revoked"):
            await authorise.admit(store, authorise.claim(request(certificate_of("edge-1", 2))), now())
        assert len(await revoking) == 1
        await store.close()

    asyncio.run(scene())


def test_no_certificate_no_session():
    with pytest.raises(CertificateRefused, match="none was presented"):
        authorise.claim(request(None))


@pytest.mark.parametrize("values", [(), ("str",), ("MSG",), ("", "msg"), ("msg ",)])
def test_the_use_is_messages_and_nothing_else(values):
    with pytest.raises(BadRequest, match="ConnectionUse"):
        authorise.claim(request(connectionuse=values))


def test_a_node_that_does_not_say_its_name_is_refused_and_learns_first_what_its_certificate_is_worth():
    with pytest.raises(BadRequest, match="node_id is missing"):
        admitted(claim="")
    # a name is needed to adopt it, so nothing is said of it yet
    with pytest.raises(BadRequest, match="node_id is missing"):
        admitted(claim="", der=b"somebody else's")

    async def revoke(store, record):
        await store.revoke([record.serial], now(), Reason.UNSPECIFIED, CAUSE)

    with pytest.raises(CertificateRefused, match="revoked"):
        admitted(revoke, claim="")


@pytest.mark.parametrize("name", ["../../etc/x", "a/b", ".", "%2e", "A", "a" * 53, "a b", "é"])
def test_t09_a_name_that_is_none_never_reaches_the_store(name):
    with pytest.raises(BadName):
        authorise.claim(request(node_id=(name,)))


def every(kind: type[errors.EdgewardError]) -> list[type[errors.EdgewardError]]:
    return [kind, *(deeper for below in kind.__subclasses__() for deeper in every(below))]


def test_every_error_has_a_status_that_says_whose_fault_it_is():
    expected = {errors.InputError: 4, errors.UsageError: 4, errors.Refusal: 4, errors.Unavailable: 5}
    for kind in every(errors.EdgewardError):
        error = kind.__new__(kind)
        branch = next((b for b in expected if issubclass(kind, b)), None)
        assert authorise.status(error) // 100 == expected.get(branch, 5), kind
    assert set(authorise.STATUS) <= set(every(errors.EdgewardError))


def test_what_the_hub_itself_raises_has_the_status_it_should():
    refusals = {CertificateRefused: 403, NodeBlocked: 403, WrongIdentity: 403, BadRequest: 400, BadName: 400}
    refusals |= {errors.Busy: 503, errors.StoreUnavailable: 503}
    assert {kind: authorise.status(kind.__new__(kind)) for kind in refusals} == refusals
