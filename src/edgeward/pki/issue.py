"""The issuing road, pure: what a requester may have, the certificate decided from it, and the one place that signs.

    Requested + Grant ──▶ decide ──▶ Plan ──▶ sign ──▶ DER ──▶ conform

`decide` reports every broken rule at once. What a plan says comes from the grant and the profile; of the request only the public key
is used. A request that asks for more than the grant is refused (`strict`), or, where an operator vouches for it, gets what was granted
and the plan says what was dropped.
"""

import functools
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from edgeward.errors import InternalError, PolicyRefused
from edgeward.pki import keys, names
from edgeward.pki.csr import Requested
from edgeward.pki.profile import PURPOSES, Profile

SERIAL_OCTETS = 16
"""Random octets in a serial: 128 bits, twice what BR 7.1.2.7 asks; with the sign octet 17, under RFC 5280's 20."""

BACKDATE_FRACTION = 0.05
"""The part of a lifetime by which notBefore is moved back at most. Edges renew at 70 to 90 % of the time from notBefore to notAfter: a
short-lived certificate that was back-dated by minutes would be due on arrival."""

_JUDGED_ATTRIBUTES = frozenset(
    {
        NameOID.COMMON_NAME,
        NameOID.ORGANIZATION_NAME,
        NameOID.COUNTRY_NAME,
        NameOID.STATE_OR_PROVINCE_NAME,
        NameOID.LOCALITY_NAME,
    }
)
"""Subject attributes with a rule of their own, and those that real edges send and that say nothing about identity: the latter are neither
copied nor refused."""

_TOLERATED_USAGES = ("key_cert_sign", "crl_sign")
"""Key usages that no end entity may ask for; the others are merely not what it gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What evidence entitles its bearer to: one identity, these further names, at most until `not_after`.

    `strict`: a request that asks for anything beyond is refused; otherwise the excess is dropped and the plan lists it.
    """

    identity: str
    names: tuple[x509.GeneralName, ...] = ()
    not_after: datetime | None = None
    strict: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuing:
    """The facts of the CA that will sign, as far as a plan needs them."""

    subject: x509.Name
    key_identifier: bytes
    spki: bytes
    not_before: datetime
    not_after: datetime

    @staticmethod
    def of(certificate: x509.Certificate, spki: bytes) -> "Issuing":
        """The facts of a CA certificate, its key identifier taken from its extension or made from its key (RFC 5280 4.2.1.1)."""
        try:
            identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        except x509.ExtensionNotFound:
            identifier = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
        return Issuing(
            subject=certificate.subject,
            key_identifier=identifier,
            spki=spki,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A certificate decided and not yet signed."""

    profile: str
    identity: str
    serial: int
    issuer: x509.Name
    subject: x509.Name
    not_before: datetime
    not_after: datetime
    public_key: CertificatePublicKeyTypes
    spki: bytes
    extensions: tuple[x509.Extension[x509.ExtensionType], ...]
    dropped: tuple[str, ...] = ()
    """What the request asked for and does not get, in words."""


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
    granted = profile.names(grant.identity, trust_domain) + grant.names
    algorithm = keys.algorithm(requested.public_key)
    broken = []
    if algorithm not in profile.key_algorithms:
        broken.append(f"a {keys.describe(requested.public_key)} key is not allowed by profile {profile.name}")
    if issuer is not None and requested.spki == issuer.spki:
        broken.append("the public key is the CA's own")
    excess = _excess(profile, requested, subject, granted)
    if grant.strict:
        broken += excess
    start, end = _validity(profile, grant, issuer, now)
    if start >= end or (issuer is not None and not issuer.not_before <= now < issuer.not_after):
        broken.append("no time is left in which the certificate and its CA are both valid")
    if broken:
        raise PolicyRefused(tuple(broken))
    return Plan(
        profile=profile.name,
        identity=grant.identity,
        serial=serial,
        issuer=subject if issuer is None else issuer.subject,
        subject=subject,
        not_before=start,
        not_after=end,
        public_key=requested.public_key,
        spki=requested.spki,
        extensions=_extensions(profile, requested.public_key, granted, algorithm, issuer),
        dropped=tuple(excess),
    )


def _validity(profile: Profile, grant: Grant, issuer: Issuing | None, now: datetime) -> tuple[datetime, datetime]:
    start, end = now - min(profile.backdate, profile.lifetime * BACKDATE_FRACTION), now + profile.lifetime
    if grant.not_after is not None:
        end = min(end, grant.not_after)
    if issuer is not None:
        start, end = max(start, issuer.not_before), min(end, issuer.not_after)
    return start.replace(microsecond=0), end.replace(microsecond=0)


def _excess(
    profile: Profile, requested: Requested, subject: x509.Name, granted: tuple[x509.GeneralName, ...]
) -> list[str]:
    """Everything the request asks for beyond what it gets, in words. A key of our own asks for nothing."""
    if requested.subject is None:
        return []
    excess = []
    wanted, given = names.common_names(requested.subject), names.common_names(subject)
    if wanted != given:
        excess.append(f"common name {', '.join(wanted) or '(none)'} instead of {', '.join(given)}")
    organizations = names.organizations(requested.subject)
    if organizations and organizations != names.organizations(subject):
        excess.append(f"organization {', '.join(organizations)}")
    for attribute in requested.subject:
        if attribute.oid not in _JUDGED_ATTRIBUTES:
            excess.append(f"subject attribute {attribute.rfc4514_attribute_name}")
    excess += [f"subject alternative name {names.show(name)}" for name in requested.names if name not in granted]
    if requested.extensions:
        purposes = {PURPOSES[purpose] for purpose in profile.purposes}
        for extension in requested.extensions:
            excess += _excess_extension(extension, purposes)
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
    key: CertificatePublicKeyTypes,
    granted: tuple[x509.GeneralName, ...],
    algorithm: str,
    issuer: Issuing | None,
) -> tuple[x509.Extension[x509.ExtensionType], ...]:
    """The extensions of the certificate in the order in which they are written. RFC 5280 section 4.2.1."""
    own = x509.SubjectKeyIdentifier.from_public_key(key)
    usages = profile.extended_key_usage()
    values: list[tuple[bool, x509.ExtensionType]] = [
        (True, profile.constraints()),
        (True, profile.key_usage(algorithm)),
    ]
    if usages is not None:
        values.append((False, usages))
    values.append((False, own))
    values.append((False, _authority_key_identifier(own.digest if issuer is None else issuer.key_identifier)))
    if granted:
        values.append((False, x509.SubjectAlternativeName(granted)))
    return tuple([x509.Extension(value.oid, critical, value) for critical, value in values])


@functools.lru_cache(maxsize=64)
def _authority_key_identifier(identifier: bytes) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier(identifier, None, None)


def sign(plan: Plan, key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """The DER certificate of `plan`, signed by the CA's `key`. The only call that signs a certificate.

    ECDSA nonces are deterministic (RFC 6979), so that a signature depends on nothing but its input.
    """
    builder = x509.CertificateBuilder(
        issuer_name=plan.issuer,
        subject_name=plan.subject,
        public_key=plan.public_key,
        serial_number=plan.serial,
        not_valid_before=plan.not_before,
        not_valid_after=plan.not_after,
        extensions=list(plan.extensions),
    )
    deterministic = True if isinstance(key, ec.EllipticCurvePrivateKey) else None
    return builder.sign(key, keys.signature_hash(key.public_key()), ecdsa_deterministic=deterministic).public_bytes(
        Encoding.DER
    )
