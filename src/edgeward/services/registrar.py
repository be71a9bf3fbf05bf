"""Enrolment: what was shown, whom that entitles to what, and the certificate that follows.

    evidence ──▶ entitlement ──▶ CSR checked ──▶ the issuing road

The evidence is looked at first, because a look into the store is cheaper than a signature check and anybody can send garbage. A refusal
signs nothing and leaves one audit record; of a flood of refusals the excess is counted and not written one by one.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from edgeward.errors import (
    BadName,
    Busy,
    CertificateRefused,
    EdgewardError,
    InputError,
    LegacyEdge,
    NodeBlocked,
    NodeHasCertificate,
    PolicyRefused,
    Refusal,
    TokenSpent,
    Unauthenticated,
    WrongIdentity,
    printable,
)
from edgeward.model.allowance import Allowance
from edgeward.model.audit import Event
from edgeward.model.authority import CertificateRecord, CertificateState, Reason
from edgeward.model.evidence import CertificateEvidence, Enrolment, Operator, TokenEvidence
from edgeward.model.token import Bearer, Secret, Token
from edgeward.pki import csr, kubeedge, names
from edgeward.pki.csr import Requested
from edgeward.pki.issue import Grant
from edgeward.services.adoption import Adoption
from edgeward.services.issuance import Issuance, Issued, Order, key_digest
from edgeward.stores.port import Admission, Store, TokenUse

DEVICE = "device"
"""The profile of what a node enrols for."""


class ForeignTokens(Protocol):
    """Tokens of another system that are honoured for a while: KubeEdge's own, after its CA was imported."""

    def check(self, bearer: Secret, node: str, now: datetime) -> bool:
        """Whether `bearer` is such a token and good for `node`. Raises the refusal for a genuine one that is not good now."""
        ...


class _Entitlement(msgspec.Struct, frozen=True, kw_only=True):
    """What the evidence came to, before the CSR was looked at."""

    actor: str
    evidence: str
    strict: bool = True
    token: Token | None = None
    replaces: CertificateRecord | None = None
    new_name_only: bool = False
    unblock: bool = False
    supersedes: str | None = None
    renews: str | None = None
    """The serial of the certificate that was shown."""
    has_certificate: bool = True
    key_is_known: bool = True


REFUSALS = (100.0, 10.0)
"""Refusals that are written to the audit chain: so many at once, and a second."""

RENEWAL_INTERVAL = timedelta(seconds=30)
"""Between two renewals of a node, for long. An edge renews at most once in a few minutes, with the shortest lifetimes that make sense."""


@dataclass(slots=True)
class _Renewals:
    """How often a node may renew: ten times at once, then once every half minute, so that a device gone mad cannot fill the disk.

    For each node the moment at which its allowance is whole again; those that are whole are forgotten.
    """

    whole_at: dict[str, datetime] = field(default_factory=dict)

    def take(self, node: str, now: datetime) -> bool:
        """Whether the node may renew now; then it is counted."""
        if len(self.whole_at) > 100_000:
            self.whole_at = {name: at for name, at in self.whole_at.items() if at > now}
        due = max(self.whole_at.get(node, now), now)
        if due - now > 10 * RENEWAL_INTERVAL:  # the clock was set back: nobody can owe so much
            due = now
        if due - now > 9 * RENEWAL_INTERVAL:
            return False
        self.whole_at[node] = due + RENEWAL_INTERVAL
        return True


class Registrar:
    """Enrols devices. `grace`: for how long after its end a certificate may still renew itself (0: not at all). `refused` is told
    of every refusal."""

    def __init__(
        self,
        store: Store,
        issuance: Issuance,
        *,
        grace: timedelta = timedelta(0),
        foreign: ForeignTokens | None = None,
        adoption: Adoption | None = None,
        revoked: Callable[[Sequence[CertificateRecord]], None] = lambda _records: None,
    ) -> None:
        self._store = store
        self._issuance = issuance
        self._grace = grace
        self._foreign = foreign
        self._adoption = adoption
        self._revoked = revoked
        self._notes = Allowance(burst=REFUSALS[0], rate=REFUSALS[1])
        self._renewals = _Renewals()

    async def enrol(self, enrolment: Enrolment) -> bytes:
        """The DER certificate for a device.

        Raises what `errors` has for it: `InputError` (a request that cannot be read), `Refusal` (evidence or policy), `Unavailable`.
        """
        try:
            return (await self.issue(enrolment)).der
        except (Refusal, InputError) as error:
            await self.refused(
                error,
                node=enrolment.node,
                address=enrolment.address,
                evidence=type(enrolment.evidence).__name__,
                at=enrolment.at,
            )
            raise

    async def issue(self, enrolment: Enrolment) -> Issued:
        """Like `enrol`, with the plan beside the certificate and no record of a refusal: for an operator, who sees it."""
        node = names.node_name(enrolment.node)
        unproven = csr.read(enrolment.csr, names.node_subject(node))
        spki = key_digest(unproven.spki)
        await _side_by_side()
        if self._issuance.unsettled:
            await self._issuance.settle(enrolment.at)
        entitlement = await self._entitlement(enrolment, node, spki)
        await _side_by_side()
        requested = csr.prove(unproven)
        await _side_by_side()
        nameless = requested.known is None and await self._is_nameless(requested, entitlement, node)
        if entitlement.key_is_known:
            for record in await self._store.certificates_of_key(spki):
                if record.revocation_reason is Reason.KEY_COMPROMISE:
                    raise PolicyRefused(("the public key was reported as compromised",))
                if _same_answer(record, entitlement, node, enrolment.at) and record.der is not None:
                    return Issued(der=record.der, serial=record.serial, plan=None)
        token = entitlement.token
        if token is not None and token.used >= token.uses:
            raise TokenSpent(uses=token.uses)
        if entitlement.has_certificate:
            entitlement = await self._over_others(entitlement, node, enrolment.at)
        issued = await self._issuance.issue(
            Order(
                profile=DEVICE,
                requested=requested,
                grant=Grant(identity=node, strict=entitlement.strict, nameless=nameless),
                actor=entitlement.actor,
                evidence=entitlement.evidence,
                address=enrolment.address,
                token=None if token is None else token.key_id,
                replaces=None if entitlement.replaces is None else entitlement.replaces.serial,
                admission=lambda serial: _admission(entitlement, enrolment, node, serial),
                admission_event=_superseded(entitlement, enrolment.at),
                at=enrolment.at,
            )
        )
        if entitlement.supersedes is not None and entitlement.replaces is not None:
            self._revoked([entitlement.replaces])
        return issued

    async def _is_nameless(self, requested: Requested, entitlement: _Entitlement, node: str) -> bool:
        """Whether the request is one of an edge before KubeEdge v1.16, which names nobody, and the operator lets such edges in: then the
        name is that of the certificate it shows, or of a token for exactly this node. Raises `LegacyEdge` where that is not so."""
        if requested.subject is None or not entitlement.strict:
            return False
        if not kubeedge.is_legacy(requested.subject):
            return False
        if self._adoption is None or not await self._adoption.lets_old_edges_in():
            raise LegacyEdge(node)
        if entitlement.renews is None and (entitlement.token is None or entitlement.token.node != node):
            raise LegacyEdge(node, "; its token would have to be for exactly this node")
        return True

    # what each kind of evidence entitles to

    async def _entitlement(self, enrolment: Enrolment, node: str, spki: bytes) -> _Entitlement:
        match enrolment.evidence:
            case TokenEvidence(bearer=bearer):
                return await self._by_token(enrolment, node, bearer, spki)
            case CertificateEvidence(der=der):
                return await self._by_certificate(enrolment, node, der)
            case Operator(name=name):
                await self._not_blocked(node)
                return _Entitlement(actor=f"operator:{name}", evidence=f"operator:{name}", strict=False)
            case _:
                raise Unauthenticated

    async def _by_token(self, enrolment: Enrolment, node: str, secret: Secret, spki: bytes) -> _Entitlement:
        bearer = Bearer.parse(secret.reveal())
        standing = await self._store.standing("" if bearer is None else bearer.key_id, node, spki, enrolment.at)
        token = standing.token
        blocked = standing.blocked_at
        if bearer is None or token is None or not token.matches(bearer):
            if self._foreign is None or not self._foreign.check(secret, node, enrolment.at):
                raise Unauthenticated
            token = None
        else:
            token.check(node, enrolment.address, enrolment.at)
        if blocked is not None and not (token is not None and token.unblock):
            raise NodeBlocked(node=node, why=f"revoked at {blocked.isoformat()} ({standing.blocked_reason})")
        return _Entitlement(
            actor=f"node:{node}",
            evidence="kubeedge-token" if token is None else f"token:{token.key_id}",
            token=token,
            new_name_only=token is None or token.pattern is not None,
            unblock=token is not None and token.unblock,
            has_certificate=standing.has_certificate,
            key_is_known=standing.key_is_known,
        )

    async def _by_certificate(self, enrolment: Enrolment, node: str, der: bytes) -> _Entitlement:
        record = await self._store.certificate(hashlib.sha256(der).digest())
        if record is None and self._adoption is not None:
            record = await self._adoption.adopt(der, node, enrolment.address, enrolment.at)
        if record is None or record.profile != DEVICE:
            raise CertificateRefused(why="it is not a device certificate of this authority")
        if record.identity != node:
            raise WrongIdentity(proven=record.identity, claimed=node)
        if record.revoked_at is not None:
            raise CertificateRefused(
                why=f"it was revoked at {record.revoked_at.isoformat()} ({record.revocation_reason})"
            )
        if record.state is not CertificateState.ISSUED or enrolment.at < record.not_before:
            raise CertificateRefused(why="it is not valid yet")
        if enrolment.at > record.not_after + self._grace:
            raise CertificateRefused(why=f"it expired at {record.not_after.isoformat()}")
        await self._not_blocked(node)
        if not self._renewals.take(node, enrolment.at):
            raise Busy(what=f"node {node} has renewed ten times within minutes")
        return _Entitlement(
            actor=f"node:{node}", evidence=f"certificate:{record.serial}", replaces=record, renews=record.serial
        )

    async def _not_blocked(self, node: str) -> None:
        device = await self._store.device(node)
        if device is not None and device.blocked_at is not None:
            raise NodeBlocked(node=node, why=f"revoked at {device.blocked_at.isoformat()} ({device.blocked_reason})")

    async def _over_others(self, entitlement: _Entitlement, node: str, at: datetime) -> _Entitlement:
        """What becomes of the certificates that the node has already.

        One that has never connected and came from this same token (or, for a token of exactly this node, from anything) gives way at
        once: its answer was lost. Any other stays until the new one has connected, and a pattern token does not enrol over it.
        """
        if entitlement.replaces is not None:
            return entitlement
        valid = await self._store.valid_certificates(node, DEVICE, at)
        if not valid:
            return entitlement
        newest, token = valid[0], entitlement.token
        unused = len(valid) == 1 and newest.connected_at is None
        if entitlement.new_name_only and not (unused and token is not None and newest.token == token.key_id):
            raise NodeHasCertificate(node=node)
        supersedes = newest.serial if unused and token is not None else None
        return msgspec.structs.replace(entitlement, replaces=newest, supersedes=supersedes)

    async def refused(
        self, error: EdgewardError, *, node: str, address: str, at: datetime, evidence: str = "unread"
    ) -> None:
        """Record a refusal, as far as the allowance for them goes. A protocol says here what it refused before it was an enrolment;
        `node` is the name as claimed."""
        omitted = self._notes.take(at.timestamp())
        if omitted is None:
            return
        facts: dict[str, str | int | list[str] | None] = {
            "address": address,
            "why": printable(error, 500),
            "evidence": evidence,
        }
        if omitted:
            facts["omitted_before"] = omitted
        shown = printable(node, 80) if not isinstance(error, BadName) else "(not a node name)"
        await self._store.note(
            Event(
                at=at,
                actor="unproven",
                action=f"enrolment.refused.{error.code}",
                object=f"node:{shown}",
                facts=facts,
            )
        )


async def _side_by_side() -> None:
    """The end of a stage: give way to requests that came at the same time, until they have come as far. A stage that runs for several of
    them in a row finds its code and its tables in the processor's caches; requests that run from end to end find them gone each time."""
    await asyncio.sleep(0)


def _same_answer(record: CertificateRecord, entitlement: _Entitlement, node: str, at: datetime) -> bool:
    """Whether this certificate of the same key is what this token got before: then the answer was lost, and is given again."""
    token = entitlement.token
    return token is not None and record.token == token.key_id and record.identity == node and record.valid_at(at)


def _admission(entitlement: _Entitlement, enrolment: Enrolment, node: str, serial: str) -> Admission:
    token = entitlement.token
    use = None
    if token is not None:
        use = TokenUse(key_id=token.key_id, at=enrolment.at, node=node, address=enrolment.address, serial=serial)
    return Admission(
        at=enrolment.at,
        use=use,
        uses=None if token is None else token.uses,
        new_name_only=entitlement.new_name_only,
        supersedes=entitlement.supersedes,
        renews=entitlement.renews,
        unblock=entitlement.unblock,
    )


def _superseded(entitlement: _Entitlement, at: datetime) -> Event | None:
    if entitlement.supersedes is None:
        return None
    return Event(
        at=at,
        actor=entitlement.actor,
        action="certificate.revoked",
        object=f"certificate:{entitlement.supersedes}",
        facts={"reason": Reason.SUPERSEDED, "why": "it never connected, and its token was used again"},
    )
