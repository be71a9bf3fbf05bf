"""The one road to a certificate: decide, planned row, sign, conform, issued row. Whoever wants a certificate goes through here.

The row exists before the signature does, so that no certificate can exist without a record. With a key in this process, the planned
row, the signature and the issued row are one transaction of the store: what was signed goes nowhere before it is committed, so a crash
loses all three together (decision 2). With a key elsewhere the planned row is durable first. A failure after that abandons it at once, or
before the next enrolment when the store fails just then, and a crash abandons it at the next start (`recover`).
"""

import asyncio
import functools
import hashlib
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, CertificatePublicKeyTypes

from edgeward.errors import EdgewardError, NotConforming, OutcomeUnknown, StoreUnavailable
from edgeward.model.audit import Event
from edgeward.model.authority import CertificateRecord, CertificateState, Issuer
from edgeward.pki import parse
from edgeward.pki.conform import conform
from edgeward.pki.csr import Requested
from edgeward.pki.issue import SERIAL_OCTETS, Grant, Issuing, Plan, decide, serial_number, sign
from edgeward.pki.profile import Profile
from edgeward.stores.port import Admission, Signed, Store, Unsigned

_log = logging.getLogger(__name__)

_NOT_SIGNED = "it could not be signed or recorded"

Octets = Callable[[int], bytes]
"""The source of randomness: `secrets.token_bytes`, or a scripted one in tests."""


class SigningIssuer(msgspec.Struct, frozen=True, kw_only=True):
    """An issuer with its key at hand."""

    issuer: Issuer
    certificate: x509.Certificate
    facts: Issuing
    key: CertificateIssuerPrivateKeyTypes
    remote_key: CertificatePublicKeyTypes | None = None
    """The CA's public key, where the private one signs outside this process: then every signature is verified."""

    @staticmethod
    def of(issuer: Issuer, key: CertificateIssuerPrivateKeyTypes) -> "SigningIssuer":
        """`issuer` and the key of its certificate. Raises `NotConforming` when they do not belong together: ours is the fault."""
        certificate = parse.certificate(issuer.certificate)
        spki = parse.spki(parse.public_key(certificate))
        if spki != parse.spki(key.public_key()):
            raise NotConforming(differences="the CA's key and its certificate do not belong together")
        return SigningIssuer(issuer=issuer, certificate=certificate, facts=Issuing.of(certificate, spki), key=key)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of the road: under which profile, for which request and grant, on whose word.

    `actor` is who caused it (`node:NAME`, `operator:NAME`, `edgeward`), `evidence` what was shown, as the row keeps it. `replaces`: the
    serial of the certificate that this one is to replace once it has connected.
    """

    profile: str
    requested: Requested
    grant: Grant
    actor: str
    evidence: str
    at: datetime
    address: str = ""
    token: str | None = None
    replaces: str | None = None
    admission: Callable[[str], Admission] | None = None
    """The conditions for the row, given its serial."""
    admission_event: Event | None = None


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate on its way out: its DER, and what the plan said; no plan when it is one that was issued before."""

    der: bytes
    serial: str
    plan: Plan | None


class Issuance:
    """The road, for one active issuer at a time."""

    def __init__(
        self, store: Store, profiles: Mapping[str, Profile], trust_domain: str, octets: Octets = secrets.token_bytes
    ) -> None:
        self._store = store
        self._profiles = profiles
        self._trust_domain = trust_domain
        self._octets = octets
        self._issuer: SigningIssuer | None = None
        self._left: list[CertificateRecord] = []

    def use(self, issuer: SigningIssuer) -> None:
        """Sign with this issuer from now on."""
        self._issuer = issuer

    @property
    def issuer(self) -> SigningIssuer:
        """The active issuer."""
        if self._issuer is None:
            raise NotConforming(differences="there is no active issuer")
        return self._issuer

    async def issue(self, order: Order) -> Issued:
        """Go the road. Raises `PolicyRefused` and the refusals of `Store.plan`; nothing is signed then."""
        issuer = self.issuer
        plan = decide(
            self._profiles[order.profile],
            order.requested,
            order.grant,
            issuer=issuer.facts,
            trust_domain=self._trust_domain,
            now=order.at,
            serial=serial_number(self._octets(SERIAL_OCTETS)),
        )
        serial = format(plan.serial, "x")
        record = _planned(plan, order, issuer.issuer.id, serial)
        admission = None if order.admission is None else order.admission(serial)

        if issuer.remote_key is not None:
            der = await self._apart(record, admission, order, lambda: _signed(issuer, plan, order, serial))
            return Issued(der=der, serial=serial, plan=plan)
        once: list[Signed | Unsigned] = []

        def sign_once() -> Signed | Unsigned:
            if not once:
                try:
                    once.append(_signed(issuer, plan, order, serial))
                except Exception as error:  # whatever it was, the row must not stay planned; the error goes on its way
                    once.append(Unsigned(event=_abandoned(record, order.at, _NOT_SIGNED), error=error))
            return once[0]

        # with a key in this process: row, signature and record in one transaction
        await self._store.certify(record, admission, order.admission_event, sign_once)
        done = once[0]
        assert isinstance(done, Signed)  # noqa: S101  # else `certify` has raised the error
        return Issued(der=done.der, serial=serial, plan=plan)

    async def _apart(
        self, record: CertificateRecord, admission: Admission | None, order: Order, signed: Callable[[], Signed]
    ) -> bytes:
        """With a key elsewhere: the row is durable before anything is asked to sign, because somebody else's memory or log may keep a
        signature that we know nothing of."""
        try:
            await self._store.plan(record, admission, order.admission_event)
        except OutcomeUnknown:
            self._left.append(record)  # if it was written, it must not stay
            raise
        try:
            done = signed()
            await self._store.issue(done, order.at)
        except Exception:  # whatever it was, the row must not stay planned; the error goes on its way
            await self._abandon(record, order.at, _NOT_SIGNED)
            raise
        return done.der

    def self_signed(
        self,
        profile: Profile,
        requested: Requested,
        identity: str,
        key: CertificateIssuerPrivateKeyTypes,
        now: datetime,
    ) -> tuple[bytes, CertificateRecord]:
        """A CA certificate signed with its own key, and its record, to be stored together with the issuer (`issuer_id` 0 until then).

        Here the row cannot come first, because it hangs on the issuer; nobody has the certificate before both are stored.
        """
        der, plan = self_sign(
            profile,
            requested,
            Grant(identity=identity),
            key,
            trust_domain=self._trust_domain,
            now=now,
            octets=self._octets,
        )
        record = CertificateRecord(
            issuer_id=0,
            serial=format(plan.serial, "x"),
            state=CertificateState.ISSUED,
            profile=plan.profile,
            identity=identity,
            spki_sha256=hashlib.sha256(plan.spki).digest(),
            evidence="edgeward",
            token=None,
            replaces=None,
            not_before=plan.not_before,
            not_after=plan.not_after,
            planned_at=now,
            der=der,
            fingerprint=hashlib.sha256(der).digest(),
            issued_at=now,
        )
        return der, record

    @property
    def unsettled(self) -> bool:
        """Whether something could not be abandoned when it should have been, because the store failed."""
        return bool(self._left)

    async def settle(self, at: datetime) -> None:
        """Abandon what is left `unsettled`. Before a token is looked at."""
        left, self._left = self._left, []
        for record in left:
            await self._abandon(record, at, "the store failed")

    async def recover(self, at: datetime) -> int:
        """At start-up: abandon whatever a crash left planned. How many rows that were."""
        return await self.give_up(await self._store.planned(), at, "found planned at start-up: its answer never left")

    async def give_up(self, left: Sequence[CertificateRecord], at: datetime, why: str) -> int:
        """Abandon planned rows that nobody will issue any more. How many they are."""
        await asyncio.gather(*(self._abandon(record, at, why) for record in left))  # together they share a sync
        return len(left)

    async def _abandon(self, record: CertificateRecord, at: datetime, why: str) -> None:
        try:
            await self._store.abandon(record.issuer_id, record.serial, at, _abandoned(record, at, why))
        except StoreUnavailable as error:
            self._left.append(record)
            _log.warning("certificate %s could not be abandoned yet: %s", record.serial, error)
        except EdgewardError as error:
            _log.warning("certificate %s could not be abandoned: %s", record.serial, error)


def self_sign(
    profile: Profile,
    requested: Requested,
    grant: Grant,
    key: CertificateIssuerPrivateKeyTypes,
    *,
    trust_domain: str,
    now: datetime,
    octets: Octets = secrets.token_bytes,
) -> tuple[bytes, Plan]:
    """A certificate signed with the key that it certifies, and its plan: a CA's own, or a throw-away one that no authority stands for."""
    serial = serial_number(octets(SERIAL_OCTETS))
    plan = decide(profile, requested, grant, issuer=None, trust_domain=trust_domain, now=now, serial=serial)
    der = sign(plan, key)
    conform(der, plan, requested.public_key)
    return der, plan


@functools.lru_cache(maxsize=256)
def key_digest(spki: bytes) -> bytes:
    """SHA-256 of a public key (DER SubjectPublicKeyInfo), by which rows are found; a request's is wanted before it is planned and after."""
    return hashlib.sha256(spki).digest()


_iso = functools.lru_cache(maxsize=64)(datetime.isoformat)
"""Of the ends of certificates: those of one second have the same."""


def _signed(issuer: SigningIssuer, plan: Plan, order: Order, serial: str) -> Signed:
    der = sign(plan, issuer.key)
    conform(der, plan, issuer.remote_key)
    return Signed(issuer_id=issuer.issuer.id, serial=serial, der=der, event=_event(order, plan, serial))


def _planned(plan: Plan, order: Order, issuer_id: int, serial: str) -> CertificateRecord:
    return CertificateRecord(
        issuer_id=issuer_id,
        serial=serial,
        state=CertificateState.PLANNED,
        profile=plan.profile,
        identity=plan.identity,
        spki_sha256=key_digest(plan.spki),
        evidence=order.evidence,
        token=order.token,
        replaces=order.replaces,
        not_before=plan.not_before,
        not_after=plan.not_after,
        planned_at=order.at,
    )


def _abandoned(record: CertificateRecord, at: datetime, why: str) -> Event:
    return Event(
        at=at,
        actor="edgeward",
        action="certificate.abandoned",
        object=f"certificate:{record.serial}",
        facts={"identity": record.identity, "why": why, "token": record.token},
    )


def _event(order: Order, plan: Plan, serial: str) -> Event:
    return Event(
        at=order.at,
        actor=order.actor,
        action="certificate.issued",
        object=f"certificate:{serial}",
        facts=facts_of(
            plan.profile,
            plan.identity,
            order.evidence,
            plan.not_after,
            plan.dropped,
            address=order.address,
            replaces=order.replaces,
        ),
    )


def facts_of(
    profile: str,
    identity: str,
    evidence: str,
    not_after: datetime,
    dropped: Sequence[str],
    *,
    address: str = "",
    replaces: str | None = None,
) -> dict[str, str | int | list[str] | None]:
    """What the audit log says of a certificate that was issued."""
    return {
        "profile": profile,
        "identity": identity,
        "evidence": evidence,
        "address": address,
        "not_after": _iso(not_after),
        "replaces": replaces,
        "dropped": list(dropped),
    }
