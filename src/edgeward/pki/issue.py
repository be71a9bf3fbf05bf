"""The issuing road, pure: what a requester may have, the certificate decided from it, and the one place that signs.

    Requested + Grant ──▶ decide ──▶ Plan ──▶ sign ──▶ DER ──▶ conform

`decide` reports every broken rule at once. What a plan says comes from the grant and the profile; of the request only the public key
is used. A request that asks for more than the grant is refused (`strict`), or, where an operator vouches for it, gets what was granted
and the plan says what was dropped.
"""

import functools
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID

from edgeward.errors import InternalError, PolicyRefused
from edgeward.pki import crl, keys, names, tbs
from edgeward.pki.csr import Requested
from edgeward.pki.profile import PURPOSES, Profile
from edgeward.pki.tbs import Planned, Subject

SERIAL_OCTETS = 16
"""Random octets in a serial: 128 bits, twice what BR 7.1.2.7 asks; with the sign octet 17, under RFC 5280's 20."""

BACKDATE_FRACTION = 0.05
"""The part of a lifetime by which notBefore is moved back at most. Edges renew at 70 to 90 % of the time from notBefore to notAfter: a
short-lived certificate that was back-dated by minutes would be due on arrival."""

_TOLERATED_ATTRIBUTES = frozenset({NameOID.COUNTRY_NAME, NameOID.STATE_OR_PROVINCE_NAME, NameOID.LOCALITY_NAME})
"""Subject attributes that real edges send and that say nothing about identity: neither copied nor refused."""

_TOLERATED_USAGES = ("key_cert_sign", "crl_sign")
"""Key usages that no end entity may ask for; the others are merely not what it gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossCertified:
    """The CA of somebody else that is certified as it is: what is below it hangs on exactly this name and key identifier."""

    subject: x509.Name
    key_identifier: bytes

    @staticmethod
    def of(certificate: x509.Certificate) -> "CrossCertified":
        """The name and the key identifier of a CA's certificate."""
        return CrossCertified(subject=certificate.subject, key_identifier=_key_identifier(certificate))


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What evidence entitles its bearer to: one identity, these further names, at most until `not_after`.

    `strict`: a request that asks for anything beyond is refused; otherwise the excess is dropped and the plan lists it. `cross`: the
    subject is that CA's own, in place of the one that follows from the profile and the identity. `nameless`: the common name and the
    organization that the request asks for say nothing, and count for nothing.
    """

    identity: str
    names: tuple[x509.GeneralName, ...] = ()
    not_after: datetime | None = None
    strict: bool = True
    cross: CrossCertified | None = None
    nameless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuing:
    """The facts of the CA that will sign, as far as a plan needs them."""

    subject: bytes
    """DER of the CA's subject Name."""
    key_identifier: bytes
    spki: bytes
    not_before: datetime
    not_after: datetime
    path_length: int | None = None
    """How many CAs may follow below it; None: any number."""
    crl_urls: tuple[str, ...] = ()
    """Where its revocation lists are published; every certificate that it signs says so."""

    @staticmethod
    def of(certificate: x509.Certificate, spki: bytes) -> "Issuing":
        """The facts of a CA certificate, its key identifier taken from its extension or made from its key (RFC 5280 4.2.1.1)."""
        constraints = [e.value for e in certificate.extensions if isinstance(e.value, x509.BasicConstraints)]
        return Issuing(
            subject=certificate.subject.public_bytes(),
            key_identifier=_key_identifier(certificate),
            path_length=constraints[0].path_length if constraints else None,
            spki=spki,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate decided and not yet signed."""

    profile: str
    identity: str
    serial: int
    issuer: bytes
    """DER of the issuer's Name, as it stands in the CA's certificate."""
    subject: Subject
    name: bytes
    """DER of the subject: our encoding, or somebody else's where it is taken over."""
    not_before: datetime
    not_after: datetime
    public_key: CertificatePublicKeyTypes
    spki: bytes
    extensions: tuple[Planned, ...]
    dropped: tuple[str, ...] = ()
    """What the request asked for and does not get, in words."""


def _key_identifier(certificate: x509.Certificate) -> bytes:
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectKeyIdentifier):
            return extension.value.digest
    return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


def serial_number(octets: bytes) -> int:
    """The serial made of `SERIAL_OCTETS` random octets: positive and under 2^159 (RFC 5280 section 4.1.2.2).

    The top bit is set below a zero octet, so that every serial has the same length in DER.
    """
    if len(octets) != SERIAL_OCTETS:
        raise InternalError(problem=f"a serial is made of {SERIAL_OCTETS} random octets, not {len(octets)}")
    return int.from_bytes(octets, "big") | 1 << (8 * SERIAL_OCTETS - 1)


def decide(
    profile: Profile,
    requested: Requested,
    grant: Grant,
    *,
    issuer: Issuing | None,
    trust_domain: str,
    now: datetime,
    serial: int,
) -> Plan:
    """The certificate that `grant` entitles the requester to under `profile`, valid from `now` (aware UTC, to the second).

    `issuer` is None for a self-signed CA. Raises `PolicyRefused` with every broken rule: the requester's fault.
    """
    subject = profile.subject(grant.identity, trust_domain)
    if grant.cross is not None:
        subject = tuple((attribute.oid, str(attribute.value)) for attribute in grant.cross.subject)
    granted = profile.names(grant.identity, trust_domain) + grant.names
    algorithm = keys.algorithm(requested.public_key)
    broken = []
    if algorithm not in profile.key_algorithms:
        broken.append(f"{keys.describe(requested.public_key)} keys are not allowed by profile {profile.name}")
    if issuer is not None and requested.spki == issuer.spki:
        broken.append("the public key is the CA's own")
    if profile.ca and issuer is not None and not _leaves_room(issuer.path_length, profile.path_length):
        broken.append(
            f"path length: the CA above allows {issuer.path_length} further CAs in a row, and one more comes in"
        )
    excess = _excess(profile, requested, () if grant.nameless else subject, granted)
    if grant.strict:
        broken += excess
    start, end = _validity(profile, grant, issuer, now)
    if start >= end or end <= now or (issuer is not None and not issuer.not_before <= now < issuer.not_after):
        broken.append("no time is left in which the certificate and its CA are both valid")
    if broken:
        raise PolicyRefused(tuple(broken))
    return Plan(
        profile=profile.name,
        identity=grant.identity,
        serial=serial,
        issuer=tbs.name(subject) if issuer is None else issuer.subject,
        subject=subject,
        not_before=start,
        not_after=end,
        public_key=requested.public_key,
        spki=requested.spki,
        extensions=_extensions(profile, algorithm, requested, granted, grant.cross, issuer),
        name=tbs.name(subject) if grant.cross is None else grant.cross.subject.public_bytes(),
        dropped=tuple(excess),
    )


def _leaves_room(above: int | None, wanted: int | None) -> bool:
    """Whether a CA with the path length `wanted` fits below one with `above`. RFC 5280 section 4.2.1.9."""
    return above is None or (wanted is not None and wanted < above)


def _validity(profile: Profile, grant: Grant, issuer: Issuing | None, now: datetime) -> tuple[datetime, datetime]:
    now -= timedelta(microseconds=now.microsecond)
    start, end = now - _backdate(profile.backdate, profile.lifetime), now + profile.lifetime
    if grant.not_after is not None:
        end = min(end, grant.not_after.replace(microsecond=0))
    if issuer is not None:
        start, end = max(start, issuer.not_before), min(end, issuer.not_after)
    return start, end


@functools.lru_cache(maxsize=64)
def _backdate(wanted: timedelta, lifetime: timedelta) -> timedelta:
    return min(wanted, timedelta(seconds=int(lifetime.total_seconds() * BACKDATE_FRACTION)))


def _excess(
    profile: Profile, requested: Requested, subject: Subject, granted: tuple[x509.GeneralName, ...]
) -> list[str]:
    """Everything the request asks for beyond what it gets, in words. A key of our own asks for nothing. Without a `subject` to compare
    with, the names in the request's own are not looked at."""
    if requested.request is None:
        return []
    excess = []
    if requested.known != subject:
        asked = requested.request.subject if requested.subject is None else requested.subject
        excess = _excess_subject(asked, subject)
    if requested.extensions:
        excess += [f"subject alternative name {names.show(name)}" for name in requested.names if name not in granted]
        purposes = {PURPOSES[purpose] for purpose in profile.purposes}
        for extension in requested.extensions:
            excess += _excess_extension(extension, purposes)
    return excess


def _excess_subject(wanted: x509.Name, subject: Subject) -> list[str]:
    excess = []
    asked: dict[x509.ObjectIdentifier, list[str]] = {NameOID.COMMON_NAME: [], NameOID.ORGANIZATION_NAME: []}
    for attribute in wanted:
        if attribute.oid in asked:
            asked[attribute.oid].append(str(attribute.value))
        elif attribute.oid not in _TOLERATED_ATTRIBUTES:
            excess.append(f"subject attribute {attribute.rfc4514_attribute_name}")
    if subject:
        given = dict(subject)
        common_name = given[NameOID.COMMON_NAME]
        if asked[NameOID.COMMON_NAME] != [common_name]:
            excess.append(f"common name {', '.join(asked[NameOID.COMMON_NAME]) or '(none)'} instead of {common_name}")
        organizations = asked[NameOID.ORGANIZATION_NAME]
        if organizations and organizations != [given.get(NameOID.ORGANIZATION_NAME)]:
            excess.append(f"organization {', '.join(organizations)}")
    return excess


def _excess_extension(extension: x509.Extension[x509.ExtensionType], purposes: set[x509.ObjectIdentifier]) -> list[str]:
    match extension.value:
        case x509.SubjectAlternativeName():
            return []
        case x509.BasicConstraints(ca=False):
            return []
        case x509.BasicConstraints():
            return ["to be a CA"]
        case x509.KeyUsage() as usage:
            return [f"key usage {name}" for name in _TOLERATED_USAGES if getattr(usage, name)]
        case x509.ExtendedKeyUsage() as usages:
            return [f"extended key usage {oid.dotted_string}" for oid in usages if oid not in purposes]
        case _:
            return [f"extension {extension.oid.dotted_string}"]


def _extensions(
    profile: Profile,
    algorithm: str,
    requested: Requested,
    granted: tuple[x509.GeneralName, ...],
    cross: CrossCertified | None,
    issuer: Issuing | None,
) -> tuple[Planned, ...]:
    """The extensions of the certificate in the order in which they are written. RFC 5280 section 4.2.1."""
    own = tbs.key_identifier(requested.spki) if cross is None else cross.key_identifier
    planned = (
        *profile.extensions(algorithm),
        tbs.subject_key_identifier(own),
        _authority_key_identifier(own if issuer is None else issuer.key_identifier),
        *(() if issuer is None or not issuer.crl_urls else (crl.distribution_points(issuer.crl_urls),)),
    )
    return (*planned, tbs.subject_alternative_names(granted)) if granted else planned


@functools.lru_cache(maxsize=64)
def _authority_key_identifier(identifier: bytes) -> Planned:
    return tbs.extension(x509.AuthorityKeyIdentifier(identifier, None, None), False)


def sign(plan: Plan, key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """The DER certificate of `plan`, signed by the CA's `key`. The only call that signs a certificate."""
    scheme = tbs.scheme(key)
    signed = tbs.encode(
        serial=plan.serial,
        signature=scheme,
        issuer=plan.issuer,
        validity=(plan.not_before, plan.not_after),
        subject=plan.name,
        spki=plan.spki,
        extensions=[planned.encoded for planned in plan.extensions],
    )
    return tbs.certificate(signed, scheme, key.sign(signed, *scheme.arguments))  # type: ignore[arg-type]  # each key has its own
