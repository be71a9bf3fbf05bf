"""An offline CA: a root or an intermediate that signs when a person says so. The same road as the running authority's.

Every certificate has its row in the store of the CA that signed it, an intermediate's in that of the CA above. A store has one active
issuer, and beside it the certificates above that one, up to the root. Whoever signs again what was signed before is told so
(`present`), which is how a run over many requests goes on where it stopped.
"""

import base64
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from cryptography import x509

from edgeward.errors import AlreadyExists, NotFound, PolicyRefused, Unreadable, UsageError
from edgeward.keys.port import KeyStore
from edgeward.model.audit import AuditRecord, Event
from edgeward.model.authority import CertificateRecord, Issuer, IssuerState, Origin, Reason
from edgeward.pki import crl, csr, names, parse
from edgeward.pki import keys as key_rules
from edgeward.pki.csr import Requested
from edgeward.pki.issue import SERIAL_OCTETS, CrossCertified, Grant, Issuing, Plan, decide, serial_number
from edgeward.pki.profile import Profile
from edgeward.pki.verify import constraints, facts
from edgeward.services import lists
from edgeward.services.authorities import SERVER_SETTING
from edgeward.services.bulk import Decision
from edgeward.services.issuance import Issuance, Issued, Order, SigningIssuer
from edgeward.services.revoker import Revoker
from edgeward.stores.port import Signed, Store

_ABOVE = "offline-ca-above"
_CRL_URLS = "offline-ca-crl-urls"
_NAMED = ("device", "server", "operator", "intermediate", "cross")
"""Profiles under which certificates are given to somebody."""

EVIDENCE = "operator:offline"
"""What was shown for every certificate of an offline CA: a person with its directory and its passphrase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A certificate as the operator wants it: its profile, whom it is for, and its further names."""

    profile: Profile
    identity: str
    names: tuple[x509.GeneralName, ...] = ()

    @property
    def grant(self) -> Grant:
        """What it entitles to."""
        return Grant(identity=self.identity, names=self.names, strict=False)

    def every_name(self, trust_domain: str) -> tuple[x509.GeneralName, ...]:
        """Its names, and those that follow from its identity."""
        return self.profile.names(self.identity, trust_domain) + self.names


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what an offline CA decides, beside the request: the CA that signs, the path above it with its constraints, the trust domain."""

    issuing: Issuing
    path: tuple[facts.Facts, ...]
    trust_domain: str

    @staticmethod
    def of(chain: Sequence[bytes], issuing: Issuing, trust_domain: str) -> "Terms":
        """The terms of the CA at the head of `chain` (DER, the root last)."""
        return Terms(issuing=issuing, path=tuple(facts.read(der) for der in chain), trust_domain=trust_domain)

    def decide(self, wanted: Wanted, requested: Requested, now: datetime, octets: bytes) -> Plan:
        """The certificate for `requested`, which an operator vouches for: what it asks for beyond `wanted` is dropped and the plan says
        so. `octets` become the serial. Raises `PolicyRefused`, also for names that the constraints of the path do not allow."""
        self.check_names(wanted)
        return decide(
            wanted.profile,
            requested,
            wanted.grant,
            issuer=self.issuing,
            trust_domain=self.trust_domain,
            now=now,
            serial=serial_number(octets),
        )

    def check_names(self, wanted: Wanted) -> None:
        """Raise `PolicyRefused` for names that the constraints of the path do not allow."""
        if not any(ca.has(x509.OID_NAME_CONSTRAINTS) for ca in self.path):
            return
        subject = wanted.profile.subject(wanted.identity, self.trust_domain)
        name = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
        self.check_subject(name, wanted.every_name(self.trust_domain))

    def check_subject(self, subject: x509.Name, granted: tuple[x509.GeneralName, ...] = ()) -> None:
        """The same for a subject as it stands."""
        broken = constraints.violations(subject, granted, self.path)
        if broken:
            raise PolicyRefused(tuple(broken))


class NoCa(NotFound):
    """A directory without a CA in it."""

    sentence = "there is no CA in {name}"
    remedy = "make one: edgeward ca new --ca-dir {name} --name 'Example Root CA'"


class HasCa(AlreadyExists):
    """A directory with a CA in it, where one was to be made. Its key is not overwritten."""

    sentence = "a CA in {name} exists already"
    remedy = "sign with it: edgeward cert sign CSR --ca-dir {name}; or make the new one in another directory"


class IsAuthority(UsageError):
    """The data directory of an authority, whose devices have a standing that an offline signature would pass by."""

    sentence = "{name} is the data directory of an authority, which knows of blocked devices and signs itself"
    remedy = "have the authority sign: edgeward cert sign CSR --node NAME --data {name}"


class OfflineCa:
    """The CA in one directory. `actor` is who uses it, for the audit log; `place` its directory, for messages."""

    def __init__(self, store: Store, keys: KeyStore, *, place: object, trust_domain: str, actor: str) -> None:
        self._store = store
        self._keys = keys
        self._place = place
        self._trust_domain = trust_domain
        self._actor = actor
        self._signing: SigningIssuer | None = None
        self._above: tuple[bytes, ...] = ()
        self._terms: Terms | None = None

    # ------------------------------------------------------------------------------------------------ making and loading

    async def create(
        self,
        profile: Profile,
        name: str,
        algorithm: str,
        now: datetime,
        under: "OfflineCa | None",
        crl_urls: Sequence[str] = (),
    ) -> None:
        """Make the CA: self-signed, or signed by the CA `under`. `crl_urls`: as for `publish_lists`. Raises `AlreadyExists` when there is
        one."""
        if await self._active() is not None:
            raise HasCa(name=self._place)
        ref = self._keys.create(algorithm)
        key = self._keys.signer(ref)
        asked = csr.asked_by_key(key.public_key())
        record: CertificateRecord | None = None
        try:
            if under is None:
                der, record = Issuance(self._store, {}, self._trust_domain).self_signed(profile, asked, name, key, now)
            else:
                der = (await under.sign(Wanted(profile=profile, identity=name), asked, now)).der
                above = [base64.b64encode(one).decode() for one in under.chain]
                await self._store.put_setting(
                    _ABOVE,
                    msgspec.json.encode(above).decode(),
                    self._event("ca.above", "authority", now, {"count": len(above)}),
                )
        except Exception:  # whatever it was, a key without a certificate is of no use to anyone
            self._keys.remove(ref)
            raise
        issuer = Issuer(id=0, certificate=der, key=ref, state=IssuerState.ACTIVE, origin=Origin.OFFLINE, created_at=now)
        made = self._event("ca.created", "authority", now, {"name": name, "pin": issuer.pin, "profile": profile.name})
        if crl_urls:
            await self.publish_lists(crl_urls, now)
        await self._store.add_issuer(issuer, record, made)
        self._keys.confirm(ref)
        await self.open(now)

    async def open(self, now: datetime) -> None:
        """Load the CA and clear up what a crash left. Raises `NoCa`, `IsAuthority`."""
        active = await self._active()
        if active is None:
            raise NoCa(name=self._place)
        if await self._store.setting(SERVER_SETTING) is not None:
            raise IsAuthority(name=self._place)
        self._keys.settle([issuer.key for issuer in await self._store.issuers()])
        signing = SigningIssuer.of(active, self._keys.signer(active.key))
        text = await self._store.setting(_CRL_URLS)
        urls = tuple(msgspec.json.decode(text or "[]", type=list[str]))
        self._signing = msgspec.structs.replace(signing, facts=dataclasses.replace(signing.facts, crl_urls=urls))
        text = await self._store.setting(_ABOVE)
        self._above = tuple(base64.b64decode(one) for one in msgspec.json.decode(text or "[]", type=list[str]))
        self._terms = Terms.of(self.chain, self.signing.facts, self._trust_domain)
        await self.settle(now)

    async def _active(self) -> Issuer | None:
        return next((i for i in await self._store.issuers() if i.state is IssuerState.ACTIVE), None)

    @property
    def signing(self) -> SigningIssuer:
        """The issuer and its key."""
        if self._signing is None:
            raise NoCa(name=self._place)
        return self._signing

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The CA's own certificate (DER) and those above it, the root last."""
        return (self.signing.issuer.certificate, *self._above)

    def _road(self, *profiles: Profile) -> Issuance:
        road = Issuance(self._store, {profile.name: profile for profile in profiles}, self._trust_domain)
        if self._signing is not None:
            road.use(self._signing)
        return road

    def _event(self, action: str, thing: str, now: datetime, what: dict[str, str | int | list[str] | None]) -> Event:
        return Event(at=now, actor=self._actor, action=action, object=thing, facts=what)

    # ------------------------------------------------------------------------------------------------------------ signing

    @property
    def terms(self) -> Terms:
        """On what it decides."""
        if self._terms is None:
            raise NoCa(name=self._place)
        return self._terms

    def preview(self, wanted: Wanted, requested: Requested, now: datetime) -> Plan:
        """What `sign` would sign, but for its serial. Raises `PolicyRefused` as it does. Nothing is recorded."""
        return self.terms.decide(wanted, requested, now, bytes(SERIAL_OCTETS))

    def decided(self, wanted: Wanted, plan: Plan) -> Decision:
        """What a plan says, for reports."""
        return Decision.of(plan, wanted.every_name(self._trust_domain))

    async def settle(self, now: datetime) -> None:
        """Abandon what is planned: nobody else uses this store, so nobody will sign it."""
        await self._road().recover(now)

    async def sign(self, wanted: Wanted, requested: Requested, now: datetime) -> Issued:
        """A certificate for `requested`, which an operator vouches for: what it asks for beyond `wanted` is dropped and the plan says so.

        Raises `PolicyRefused`, also for names that the constraints of this CA or of one above do not allow.
        """
        self.terms.check_names(wanted)
        await self._of_key(hashlib.sha256(requested.spki).digest())
        return await self._road(wanted.profile).issue(self._order(wanted.profile, requested, wanted.grant, now))

    def _order(self, profile: Profile, requested: Requested, grant: Grant, now: datetime) -> Order:
        return Order(
            profile=profile.name, requested=requested, grant=grant, actor=self._actor, evidence=EVIDENCE, at=now
        )

    async def plan_many(self, profile: Profile, decisions: Sequence[Decision], now: datetime) -> None:
        """The planned rows of certificates that were decided on the terms of this CA, in one transaction, before any is signed."""
        issuer = self.signing.issuer.id
        await self._store.plan_many([decision.record(issuer, profile.name, EVIDENCE, now) for decision in decisions])

    async def issue_many(self, profile: Profile, signed: Sequence[tuple[Decision, bytes]], now: datetime) -> None:
        """The rows and audit records of certificates (DER) that were signed as they were planned, in one transaction, before anybody
        gets one."""
        issuer = self.signing.issuer.id
        done = [
            Signed(
                issuer_id=issuer,
                serial=decision.serial,
                der=der,
                event=decision.event(profile.name, self._actor, EVIDENCE, now),
            )
            for decision, der in signed
        ]
        await self._store.issue_many(done, now)

    async def known(self, decisions: Sequence[Decision]) -> frozenset[bytes]:
        """The keys among these that have been given a certificate, by their digests. For the others there is nothing `present`."""
        return await self._store.known_keys([decision.spki_sha256 for decision in decisions])

    async def present(self, profile: Profile, decision: Decision, now: datetime) -> CertificateRecord | None:
        """The valid certificate that this CA gave the key of `decision` under this profile, for its identity and its names; None when
        there is none. Raises `PolicyRefused` for a key that was compromised."""
        for record in await self._of_key(decision.spki_sha256):
            fits = (record.issuer_id, record.profile, record.identity) == (
                self.signing.issuer.id,
                profile.name,
                decision.identity,
            )
            if fits and record.der is not None and record.valid_at(now) and _names(record.der) == {*decision.names}:
                return record
        return None

    async def _of_key(self, spki_sha256: bytes) -> Sequence[CertificateRecord]:
        """The certificates of a key. Raises `PolicyRefused` when one of them was revoked because the key was compromised."""
        found = await self._store.certificates_of_key(spki_sha256)
        if any(record.revocation_reason is Reason.KEY_COMPROMISE for record in found):
            raise PolicyRefused(("the public key was reported as compromised",))
        return found

    # --------------------------------------------------------------------------------------------------------- revocation

    async def named(self, name: str, now: datetime) -> list[CertificateRecord]:
        """The valid certificates of whoever is called `name`, under any profile."""
        found = [await self._store.valid_certificates(name, profile, now) for profile in _NAMED]
        return [record for records in found for record in records]

    async def revoke(self, serial: str, reason: Reason, now: datetime) -> tuple[CertificateRecord, ...]:
        """Revoke a certificate of this CA by its serial, in any way that people write one; what this call revoked. Raises `NotFound`,
        and `UsageError` for the CA's own certificate."""
        own = self.signing.issuer.certificate
        revoker = Revoker(self._store, lambda _records: None, revocable=lambda record: record.der != own)
        return (await revoker.revoke(f"serial:{serial}", reason, actor=self._actor, now=now)).revoked

    async def publish_lists(self, urls: Sequence[str], now: datetime) -> None:
        """From its next opening on, every certificate that this CA signs names `urls` as the place of its lists; none: no place. Raises
        `UsageError` for what is no such URL."""
        if len(urls) > crl.MAX_URLS:
            raise UsageError(problem=f"{len(urls)} URLs are more than {crl.MAX_URLS}")
        urls = [crl.location(url) for url in dict.fromkeys(urls)]
        said = self._event("crl.location", "authority", now, {"urls": urls})
        await self._store.put_setting(_CRL_URLS, msgspec.json.encode(urls).decode(), said)

    async def make_list(self, lifetime: timedelta, now: datetime) -> lists.List:
        """The next revocation list of this CA. Raises as `lists.make` does."""
        return await lists.make(self._store, self.signing, lifetime, actor=self._actor, now=now)

    async def cross_sign(self, other: bytes, profile: Callable[[int | None], Profile], now: datetime) -> Issued:
        """A certificate of ours for the CA in `other` (DER), with its own name, key and key identifier: who trusts this CA trusts what
        is below that one. `profile` makes the rules, given the path length that fits below this CA and is no more than the other's.

        Raises `Unreadable` for something that is no CA.
        """
        certificate = parse.certificate(other)
        key = parse.public_key(certificate)
        by_kind = {type(e.value): e.value for e in certificate.extensions}
        basic = by_kind.get(x509.BasicConstraints)
        if not isinstance(basic, x509.BasicConstraints) or not basic.ca:
            raise Unreadable(what="CA", why="its basicConstraints do not say CA:TRUE")
        if weak := key_rules.weaknesses(key):
            raise Unreadable(what="CA", why="; ".join(weak))
        if any(not isinstance(attribute.value, str) for attribute in certificate.subject) or not certificate.subject:
            raise Unreadable(what="CA", why="its subject is empty or has values that are no text")
        room = [n for n in (basic.path_length, self._room()) if n is not None]
        rules = profile(min(room) if room else None)
        if isinstance(limits := by_kind.get(x509.NameConstraints), x509.NameConstraints):
            if rules.permitted and limits.permitted_subtrees:
                raise PolicyRefused(
                    ("the CA has permitted names of its own; they are taken over, and cannot be narrowed here",)
                )
            rules = dataclasses.replace(
                rules,
                permitted=rules.permitted or tuple(limits.permitted_subtrees or ()),
                excluded=(*rules.excluded, *(limits.excluded_subtrees or ())),
            )
        self.terms.check_subject(certificate.subject)
        identity = certificate.subject.rfc4514_string()
        grant = Grant(
            identity=identity, not_after=certificate.not_valid_after_utc, cross=CrossCertified.of(certificate)
        )
        asked = csr.asked_by_key(key)  # type: ignore[arg-type]  # `weaknesses` lets only kinds pass that sign
        return await self._road(rules).issue(self._order(rules, asked, grant, now))

    def _room(self) -> int | None:
        above = self.signing.facts.path_length
        return None if above is None else max(0, above - 1)

    async def audit(self) -> list[AuditRecord]:
        """The whole audit log, oldest first."""
        found: list[AuditRecord] = []
        while page := await self._store.audit(found[-1].n if found else 0):
            found += page
        return found

    async def export_key(self, now: datetime) -> bytes:
        """The CA's private key as PKCS#8 DER in the clear, for an operator who asked for it by name; audited before it is given."""
        ref = self.signing.issuer.key
        exported = self._keys.export(ref)
        await self._store.note(self._event("ca.key-exported", "authority", now, {"key": str(ref)}))
        return exported


def _names(der: bytes) -> set[str]:
    return {
        names.show(name)
        for extension in parse.certificate(der).extensions
        if isinstance(extension.value, x509.SubjectAlternativeName)
        for name in extension.value
    }


def chain_below_root(chain: Sequence[bytes]) -> tuple[bytes, ...]:
    """What a server sends after its own certificate: the CAs of `chain` without the self-signed root."""
    return tuple(der for der in chain if not _self_issued(der))


def _self_issued(der: bytes) -> bool:
    certificate = parse.certificate(der)
    return certificate.subject == certificate.issuer
