"""The authority itself: its CA, made on first start or imported, and the server certificate that carries the advertised names."""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from edgeward.errors import (
    AlreadyExists,
    EdgewardError,
    InternalError,
    NotFound,
    NothingPrepared,
    Unreadable,
    UsageError,
)
from edgeward.keys import generate
from edgeward.keys.port import KeyStore
from edgeward.model.audit import Event
from edgeward.model.authority import Issuer, IssuerState, KeyRef, Origin, Reason
from edgeward.model.bundle import MAX_ANCHORS, TrustBundle, bundle
from edgeward.pki import csr, names, parse
from edgeward.pki import keys as key_rules
from edgeward.pki.issue import Grant
from edgeward.pki.profile import Profile
from edgeward.services.issuance import Issuance, Order, SigningIssuer
from edgeward.stores.port import Store

_log = logging.getLogger(__name__)

_ADVERTISED = "advertised"
_BUNDLE = "trust-bundle"
SERVER_SETTING = "server-credential"
"""The setting that remembers the server certificate; only a store that an authority has run on has it."""

RENEW_FRACTION = 1 / 3
"""A server certificate is re-issued when less than this part of its lifetime is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCredential:
    """The server's certificate (DER) and its private key."""

    certificate: bytes
    key: CertificateIssuerPrivateKeyTypes
    serial: str
    issuer_id: int
    names: tuple[str, ...]
    not_after: datetime


class _Remembered(msgspec.Struct, frozen=True):
    serial: str
    key: str
    retiring: str | None = None
    """The key of the pair before it, which goes once this is written."""


class OfflineDirectory(UsageError):
    """The directory of an offline CA, given to an authority that would sign with it whatever a device asks."""

    sentence = (
        "this is the directory of the offline CA {subject}, which signs when a person says so and not for devices"
    )
    remedy = "give the authority a directory of its own: edgeward up --data DIR"


def _decoded(text: str) -> _Remembered:
    return msgspec.json.decode(text, type=_Remembered)


class Authorities:
    """The CA and the server certificate. `profiles` has at least `ca` and `server`."""

    def __init__(self, store: Store, keys: KeyStore, issuance: Issuance, profiles: dict[str, Profile]) -> None:
        self._store = store
        self._keys = keys
        self._issuance = issuance
        self._profiles = profiles
        self._trusted: tuple[bytes, ...] = ()
        self.bundle: TrustBundle | None = None
        """What devices are to trust: every CA there is, the prepared one included."""

    async def open(self, name: str, now: datetime, kept: Sequence[KeyRef] = ()) -> Issuer:
        """Load the active CA, or make one called `name` on the first start. What a crash left behind is cleared up; `kept` are the keys
        that others speak of. Raises `OfflineDirectory` before anything is changed."""
        present = await self._present_issuer()
        if present is not None and present.origin is Origin.OFFLINE:
            subject = parse.certificate(present.certificate).subject.rfc4514_string()
            raise OfflineDirectory(subject=subject)
        await self._settle_keys(kept)
        active = present or await self._create(name, now)
        self._issuance.use(SigningIssuer.of(active, self._keys.signer(active.key)))
        await self._trust(now)
        abandoned = await self._issuance.recover(now)
        if abandoned:
            _log.warning(
                "%d certificates were planned when the server last stopped; they are abandoned and revoked", abandoned
            )
        return active

    async def _settle_keys(self, kept: Sequence[KeyRef]) -> None:
        """A crash between a key file and its row, or before the key that it replaced was removed, leaves a key without a purpose."""
        text = await self._store.setting(SERVER_SETTING)
        remembered = None if text is None else _decoded(text)
        named = [*kept, *(issuer.key for issuer in await self._store.issuers())]
        if remembered is not None:
            named.append(KeyRef.parse(remembered.key))
            if remembered.retiring is not None:
                self._keys.remove(KeyRef.parse(remembered.retiring))
        gone = self._keys.settle(named)
        if gone:
            _log.warning("%d keys were made when the server last stopped and never used; they are removed", gone)

    async def _trust(self, now: datetime) -> None:
        """Read which CAs there are; a set that differs from the last one is a new trust bundle."""
        issuers = await self._store.issuers()
        self._trusted = tuple(issuer.certificate for issuer in issuers if issuer.state is not IssuerState.PREPARED)
        anchors = tuple(issuer.certificate for issuer in issuers)[-MAX_ANCHORS:]
        text = await self._store.setting(_BUNDLE)
        before = None if text is None else bundle(text.encode())
        if before is None or set(before.anchors) != set(anchors):
            before = TrustBundle(sequence=1 if before is None else before.sequence + 1, anchors=anchors)
            pins = [hashlib.sha256(one).hexdigest() for one in anchors]
            facts: dict[str, str | int | list[str] | None] = {"sequence": before.sequence, "pins": pins}
            event = Event(at=now, actor="edgeward", action="trust.changed", object="authority", facts=facts)
            await self._store.put_setting(_BUNDLE, msgspec.json.encode(before).decode(), event)
        self.bundle = before

    async def prepare(self, name: str, *, actor: str, now: datetime) -> Issuer:
        """Make the CA that is to follow the present one: devices are told to trust it, and nothing is signed with it yet.

        Raises `AlreadyExists` when there is one already.
        """
        if any(issuer.state is IssuerState.PREPARED for issuer in await self._store.issuers()):
            raise AlreadyExists(what="a prepared", name="CA")
        ref = await asyncio.to_thread(self._keys.create, "ec-p256")
        try:
            key = self._keys.signer(ref)
            asked = csr.asked_by_key(key.public_key())
            der, record = self._issuance.self_signed(self._profiles["ca"], asked, name, key, now)
            issuer = Issuer(
                id=0, certificate=der, key=ref, state=IssuerState.PREPARED, origin=Origin.CREATED, created_at=now
            )
            event = Event(
                at=now, actor=actor, action="ca.prepared", object="authority", facts={"name": name, "pin": issuer.pin}
            )
            issuer = await self._store.add_issuer(issuer, record, event)
        except EdgewardError:
            self._keys.remove(ref)  # no row speaks of it
            raise
        self._keys.confirm(ref)
        await self._trust(now)
        return issuer

    async def activate(self, *, actor: str, now: datetime) -> Issuer:
        """Sign with the prepared CA from now on; the present one is retired: trusted until it expires, and it signs no more.

        Raises `NothingPrepared`.
        """
        issuers = await self._store.issuers()
        prepared = next((issuer for issuer in issuers if issuer.state is IssuerState.PREPARED), None)
        if prepared is None:
            raise NothingPrepared
        key = self._keys.signer(prepared.key)
        event = Event(at=now, actor=actor, action="ca.activated", object="authority", facts={"pin": prepared.pin})
        issuer = await self._store.activate_issuer(prepared, event)
        self._issuance.use(SigningIssuer.of(issuer, key))
        await self._trust(now)
        return issuer

    async def refresh(self, now: datetime) -> None:
        """Sign with the issuer that another replica has made the active one."""
        active = await self._present_issuer()
        if active is not None and active.id != self.active.id:
            signer = await asyncio.to_thread(self._keys.signer, active.key)
            self._issuance.use(SigningIssuer.of(active, signer))
        await self._trust(now)

    @property
    def active(self) -> Issuer:
        """The issuer that signs."""
        return self._issuance.issuer.issuer

    @property
    def trusted(self) -> tuple[bytes, ...]:
        """The CA certificates (DER) whose client certificates may be shown: active and retired."""
        return self._trusted

    def kubeedge_mac(self, message: bytes) -> bytes:
        """HMAC-SHA256 under the active CA's key."""
        return self._keys.kubeedge_mac(self.active.key, message)

    async def _create(self, name: str, now: datetime) -> Issuer:
        ref = self._keys.create("ec-p256")
        key = self._keys.signer(ref)
        asked = csr.asked_by_key(key.public_key())
        der, record = self._issuance.self_signed(self._profiles["ca"], asked, name, key, now)
        issuer = Issuer(id=0, certificate=der, key=ref, state=IssuerState.ACTIVE, origin=Origin.CREATED, created_at=now)
        event = Event(
            at=now, actor="edgeward", action="ca.created", object="authority", facts={"name": name, "pin": issuer.pin}
        )
        try:
            added = await self._store.add_issuer(issuer, record, event)
            self._keys.confirm(ref)
            return added
        except AlreadyExists:  # another server on this store was first
            self._keys.remove(ref)
            first = await self._present_issuer()
            if first is None:
                raise
            return first
        except EdgewardError:
            self._keys.remove(ref)
            raise

    async def _present_issuer(self) -> Issuer | None:
        return next((i for i in await self._store.issuers() if i.state is IssuerState.ACTIVE), None)

    async def adopt(
        self, certificate: bytes, key: CertificateIssuerPrivateKeyTypes, *, actor: str, now: datetime
    ) -> tuple[Issuer, tuple[str, ...]]:
        """Bring in a CA that was made elsewhere and sign with it from now on; the one in use is retired.

        Returns the issuer and, in words, how it deviates from a CA that would be made here. Raises `Unreadable` for something that is
        no CA or whose key does not fit, `AlreadyExists` once a device has a certificate of the present CA. The CA that is in use already
        is taken as it is.
        """
        deviations = judge_ca(certificate, key, now)
        if certificate == self.active.certificate:
            return self.active, deviations
        if any(node.certificate is not None for node in await self._store.nodes()):
            raise AlreadyExists(what="a CA with enrolled nodes", name=f"(pin {self.active.pin[:16]}…)")
        ref = await asyncio.to_thread(self._keys.adopt, key)  # half a second in which nodes are served
        issuer = Issuer(
            id=0,
            certificate=certificate,
            key=ref,
            state=IssuerState.ACTIVE,
            origin=Origin.IMPORTED,
            created_at=now,
        )
        facts: dict[str, str | int | list[str] | None] = {"pin": issuer.pin, "deviations": list(deviations)}
        event = Event(at=now, actor=actor, action="ca.imported", object="authority", facts=facts)
        try:
            issuer = await self._store.add_issuer(issuer, None, event, retire_active=True)
        except EdgewardError:
            self._keys.remove(ref)  # no row speaks of it
            raise
        self._keys.confirm(ref)
        self._issuance.use(SigningIssuer.of(issuer, key))
        await self._trust(now)
        return issuer, deviations

    async def export_key(self, *, actor: str, now: datetime) -> bytes:
        """The CA's private key as PKCS#8 DER in the clear, for an operator who asked for it by name; audited before it is given."""
        ref = self.active.key
        exported = self._keys.export(ref)
        await self._store.note(
            Event(at=now, actor=actor, action="ca.key-exported", object="authority", facts={"key": str(ref)})
        )
        return exported

    async def pair_for_elsewhere(
        self, wanted: Sequence[str], *, actor: str, now: datetime
    ) -> tuple[bytes, CertificateIssuerPrivateKeyTypes]:
        """A server certificate (DER) for these names and its new private key, for a server that is not this one; the key is not kept."""
        key = key_rules.issuer_key(generate.new())
        issued = await self._issuance.issue(
            Order(
                profile="server",
                requested=csr.asked_by_key(key.public_key()),
                grant=Grant(identity=_common_name(wanted), names=tuple(names.server_name(name) for name in wanted)),
                actor=actor,
                evidence=actor,
                at=now,
            )
        )
        return issued.der, key

    # the server certificate

    async def advertised(self) -> tuple[str, ...]:
        """The names that clients dial, as the operator set them."""
        text = await self._store.setting(_ADVERTISED)
        return () if text is None else tuple(msgspec.json.decode(text, type=list[str]))

    async def advertise(self, wanted: Sequence[str], *, actor: str, now: datetime) -> tuple[str, ...]:
        """Set the names that clients dial. Raises `BadName`. Returns them in their canonical form; an unchanged list writes nothing."""
        canonical = tuple(dict.fromkeys(names.show(names.server_name(name)) for name in wanted))
        if canonical != await self.advertised():
            event = Event(
                at=now, actor=actor, action="authority.advertised", object="authority", facts={"names": list(canonical)}
            )
            await self._store.put_setting(_ADVERTISED, msgspec.json.encode(canonical).decode(), event)
        return canonical

    async def server_credential(self, local: Sequence[str], now: datetime) -> ServerCredential:
        """The server's certificate for the advertised names and the `local` ones (localhost, this machine's addresses).

        The present one is kept while it has exactly these names, is of the active CA and has a third of its life left.
        """
        wanted = tuple(dict.fromkeys([*await self.advertised(), *local]))
        remembered = await self._store.setting(SERVER_SETTING)
        present = await self._present(remembered)
        if present is not None and self._still_good(present, wanted, now):
            return present
        ref = await asyncio.to_thread(self._keys.create, "ec-p256")  # half a second in which nodes are served
        try:
            key = self._keys.signer(ref)
            issued = await self._issuance.issue(
                Order(
                    profile="server",
                    requested=csr.asked_by_key(key.public_key()),
                    grant=Grant(identity=_common_name(wanted), names=tuple(names.server_name(name) for name in wanted)),
                    actor="edgeward",
                    evidence="edgeward",
                    at=now,
                )
            )
            if issued.plan is None:
                raise InternalError(problem="a server certificate was issued without a plan")
            first = await self._remember(issued.serial, ref, remembered, now)
        except EdgewardError:
            self._keys.remove(ref)  # no row speaks of it
            raise
        if not first:  # another replica has made one meanwhile, and that is the server's
            await self._retire(ref, issued.serial, now)
            return await self.server_credential(local, now)
        self._keys.confirm(ref)
        before = None if remembered is None else KeyRef.parse(_decoded(remembered).key)
        await self._retire(before, None if present is None else present.serial, now)
        _log.info("new server certificate %s for %s", issued.serial, ", ".join(wanted))
        return ServerCredential(
            certificate=issued.der,
            key=key,
            serial=issued.serial,
            issuer_id=self.active.id,
            names=wanted,
            not_after=issued.plan.not_after,
        )

    async def _remember(self, serial: str, ref: KeyRef, before: str | None, now: datetime) -> bool:
        """Make this pair the server's; False when it is not the pair `before` any more that it would replace."""
        event = Event(
            at=now, actor="edgeward", action="server-certificate.changed", object=f"certificate:{serial}", facts={}
        )
        made = _Remembered(serial, str(ref), None if before is None else _decoded(before).key)
        return await self._store.swap_setting(SERVER_SETTING, msgspec.json.encode(made).decode(), before, event)

    async def _retire(self, key: KeyRef | None, old: str | None, now: datetime) -> None:
        if key is not None:
            self._keys.remove(key)
        if old is not None:
            event = Event(
                at=now,
                actor="edgeward",
                action="certificate.revoked",
                object=f"certificate:{old}",
                facts={"reason": Reason.SUPERSEDED},
            )
            await self._store.revoke([old], now, Reason.SUPERSEDED, event)

    async def _present(self, text: str | None) -> ServerCredential | None:
        if text is None:
            return None
        remembered = _decoded(text)
        record = await self._store.by_serial(remembered.serial)
        if record is None or record.der is None or record.revoked_at is not None:
            return None
        try:
            key = self._keys.signer(KeyRef.parse(remembered.key))
        except NotFound:
            _log.warning("the key of the server certificate %s is gone; a new pair is made", record.serial)
            return None
        san = parse.certificate(record.der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return ServerCredential(
            certificate=record.der,
            key=key,
            serial=record.serial,
            issuer_id=record.issuer_id,
            names=tuple(names.show(name) for name in san),
            not_after=record.not_after,
        )

    def _still_good(self, present: ServerCredential, wanted: tuple[str, ...], now: datetime) -> bool:
        certificate = parse.certificate(present.certificate)
        lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        return (
            set(present.names) == set(wanted)
            and present.issuer_id == self.active.id
            and now < present.not_after - lifetime * RENEW_FRACTION
        )


def _common_name(wanted: Sequence[str]) -> str:
    """The first name that a common name can hold whole (RFC 5280 appendix A, ub-common-name)."""
    return next((name for name in wanted if len(name) <= 64), "edgeward")


def judge_ca(certificate: bytes, key: CertificateIssuerPrivateKeyTypes, now: datetime) -> tuple[str, ...]:
    """How an imported CA deviates from one that would be made here, in words. Raises `Unreadable` for what cannot serve at all:
    not a CA, expired, a key that does not fit or is weak."""
    parsed = parse.certificate(certificate)
    public = parse.public_key(parsed)
    if parse.spki(public) != parse.spki(key.public_key()):
        raise Unreadable(what="CA", why="the private key does not belong to the certificate")
    if weak := key_rules.weaknesses(public):
        raise Unreadable(what="CA", why="; ".join(weak))
    if not parsed.not_valid_before_utc <= now < parsed.not_valid_after_utc:
        raise Unreadable(
            what="CA", why=f"it is valid from {parsed.not_valid_before_utc} to {parsed.not_valid_after_utc}"
        )
    by_kind = {type(extension.value): extension for extension in parsed.extensions}
    constraints = by_kind.get(x509.BasicConstraints)
    if constraints is None or not constraints.value.ca:
        raise Unreadable(what="CA", why="its basicConstraints do not say CA:TRUE")
    usage = by_kind.get(x509.KeyUsage)
    if usage is not None and not usage.value.key_cert_sign:
        raise Unreadable(what="CA", why="its keyUsage does not allow it to sign certificates")
    checks = {
        "it has no keyUsage": usage is None,
        "it may not sign CRLs (no cRLSign)": usage is not None and not usage.value.crl_sign,
        "it sets no limit on CAs below it (no pathLen)": constraints.value.path_length is None,
        "it has extended key usages": x509.ExtendedKeyUsage in by_kind,
        "it has no subject key identifier": x509.SubjectKeyIdentifier not in by_kind,
        "it lives longer than 25 years": (parsed.not_valid_after_utc - parsed.not_valid_before_utc).days > 25 * 366,
    }
    return tuple(words for words, found in checks.items() if found)
