"""The rules of the path that look at one certificate in its place: RFC 5280 section 6.1.3(a), 6.1.4(k)-(o) and
6.1.5(f).

Signatures were verified while the path was built; names, policies and revocation have files of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from edgeward.pki.verify.algorithms import Algorithms, key_objection
from edgeward.pki.verify.build import Path
from edgeward.pki.verify.facts import Facts
from edgeward.pki.verify.meter import Meter
from edgeward.pki.verify.options import PURPOSE_OIDS, KeyUse, Limits, Purpose
from edgeward.pki.verify.verdict import Check, failed, passed

_PROCESSED = frozenset(
    oid.dotted_string
    for oid in (
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.INHIBIT_ANY_POLICY,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.POLICY_CONSTRAINTS,
        ExtensionOID.POLICY_MAPPINGS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    )
)
"""Extensions that may be critical because the rules here act on them (a key identifier, on building)."""

_KEY_USE_FIELDS = {
    KeyUse.DIGITAL_SIGNATURE: "digital_signature",
    KeyUse.CONTENT_COMMITMENT: "content_commitment",
    KeyUse.KEY_ENCIPHERMENT: "key_encipherment",
    KeyUse.DATA_ENCIPHERMENT: "data_encipherment",
    KeyUse.KEY_AGREEMENT: "key_agreement",
    KeyUse.KEY_CERT_SIGN: "key_cert_sign",
    KeyUse.CRL_SIGN: "crl_sign",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A certificate at its position in a path: 0 is the leaf."""

    certificate: Facts
    position: int
    anchor: bool

    def ok(self, check_id: str, paragraph: str, words: str) -> Check:
        return passed(check_id, paragraph, words, self.position, self.certificate.title)

    def bad(self, check_id: str, paragraph: str, words: str, remedy: str = "") -> Check:
        return failed(check_id, paragraph, words, self.position, self.certificate.title, remedy)


def places(path: Path) -> list[Place]:
    """The certificates of a path in their places. A pinned leaf is not an anchor in this sense: it issues nothing."""
    found = [Place(certificate, position, False) for position, certificate in enumerate(path.certificates)]
    return found if path.pinned else [*found, Place(path.anchor, len(found), True)]


def check_signature(place: Place) -> Check:
    """RFC 5280 section 6.1.3(a)(1) and 4.1.1.2. An anchor's own signature proves nothing and is not looked at."""
    paragraph = "RFC 5280 section 6.1.3(a)(1)"
    if not place.certificate.algorithms_agree:
        words = "it names two different signature algorithms"
        return place.bad("signature", "RFC 5280 section 4.1.1.2", words)
    return place.ok(
        "signature", paragraph, f"its issuer's key verifies its signature ({place.certificate.signed.algorithm})"
    )


def check_key(place: Place, algorithms: Algorithms, meter: Meter) -> Check:
    """The strength of the key. A key of no known kind fails as well."""
    key = meter.key(place.certificate.spki)
    why = f"a key that cannot be used: {key}" if isinstance(key, str) else key_objection(key, algorithms)
    if why:
        return place.bad("key", "RFC 5280 section 4.1.2.7", f"it has {why}", "make a new key: P-256 is a good choice")
    return place.ok("key", "RFC 5280 section 4.1.2.7", "its key is of an accepted kind and strength")


def check_validity(place: Place, now: datetime) -> Check:
    """Both ends of the period belong to it; fractions of a second are cut off. RFC 5280 section 4.1.2.5."""
    paragraph = "RFC 5280 section 6.1.3(a)(2)"
    second = now.replace(microsecond=0)
    start, end = place.certificate.not_before, place.certificate.not_after
    if second < start:
        words = f"it is not valid before {start:%Y-%m-%d %H:%M:%S} UTC (now: {second:%Y-%m-%d %H:%M:%S})"
        return place.bad("validity", paragraph, words, "check the clocks: this one's and the issuer's")
    if second > end:
        words = f"it expired at {end:%Y-%m-%d %H:%M:%S} UTC (now: {second:%Y-%m-%d %H:%M:%S})"
        return place.bad("validity", paragraph, words, "renew it")
    return place.ok("validity", paragraph, f"it is valid until {end:%Y-%m-%d %H:%M:%S} UTC")


def check_critical(place: Place) -> Check:
    """RFC 5280 section 4.2, 6.1.4(o) and 6.1.5(f)."""
    paragraph = "RFC 5280 section 6.1.4(o)" if place.position else "RFC 5280 section 6.1.5(f)"
    unknown = [oid for oid, raw in place.certificate.raw.items() if raw.critical and oid not in _PROCESSED]
    if unknown:
        words = f"it has a critical extension that is not understood: {', '.join(unknown[:5])}"
        return place.bad("critical-extensions", paragraph, words)
    return place.ok("critical-extensions", paragraph, "every critical extension is understood")


def check_issuing(place: Place) -> list[Check]:
    """Whether a certificate above the leaf may issue certificates. RFC 5280 section 6.1.4(k) and (n).

    An anchor of version 1 has no extensions to say so: that it is an anchor says it.
    """
    certificate = place.certificate
    paragraph = "RFC 5280 section 6.1.4(k)"
    checks = []
    if certificate.is_ca or (place.anchor and certificate.version == 1):
        checks.append(place.ok("basic-constraints", paragraph, "it is a CA certificate"))
    else:
        why = "basicConstraints says that it is not a CA" if certificate.has(ExtensionOID.BASIC_CONSTRAINTS) else ""
        words = why or "it has no basicConstraints, so it is not a CA"
        checks.append(place.bad("basic-constraints", paragraph, words, "issue the CA certificate with CA:TRUE"))
    usage = certificate.extension(x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        words = "keyUsage does not let it sign certificates"
        remedy = "issue the CA certificate with keyCertSign"
        checks.append(place.bad("key-usage", "RFC 5280 section 6.1.4(n)", words, remedy))
    else:
        checks.append(place.ok("key-usage", "RFC 5280 section 6.1.4(n)", "keyUsage lets it sign certificates"))
    return checks


def check_lengths(path: Path, limit: int | None) -> list[Check]:
    """Path length constraints, self-issued certificates not counted. RFC 5280 section 6.1.4(l)-(m), 4.2.1.9.

    `limit` is the caller's own bound on intermediates, or None.
    """
    paragraph = "RFC 5280 section 6.1.4(l)-(m)"
    checks = []
    below = 0
    for place in places(path)[1:]:
        constraints = place.certificate.extension(x509.BasicConstraints)
        allowed = constraints.path_length if constraints is not None and constraints.ca else None
        if allowed is not None and below > allowed:
            words = f"it allows {allowed} CA certificates below it, and there are {below}"
            checks.append(place.bad("path-length", paragraph, words))
        below += not place.certificate.self_issued and not place.anchor
    if limit is not None and below > limit:
        words = f"the path has {below} intermediates, and {limit} are allowed"
        checks.append(failed("path-length", "RFC 5280 section 6.1.1", words))
    return checks or [passed("path-length", paragraph, "the path is no longer than its CAs allow")]


def check_purpose(place: Place, purpose: Purpose) -> Check:
    """extKeyUsage, where there is one, must have the purpose or anyExtendedKeyUsage: in the leaf and in every CA above
    it.

    The standard leaves the CAs open (section 4.2.1.12); every browser and OpenSSL read it this way.
    """
    paragraph = "RFC 5280 section 4.2.1.12"
    usages = place.certificate.extension(x509.ExtendedKeyUsage)
    if purpose is Purpose.ANY or usages is None:
        words = "any purpose will do" if purpose is Purpose.ANY else "extKeyUsage does not limit it"
        return place.ok("purpose", paragraph, words)
    if PURPOSE_OIDS[purpose] in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages:
        return place.ok("purpose", paragraph, f"it may be used for {purpose.value} authentication")
    has = ", ".join(sorted(usage._name for usage in usages))
    words = f"it may not be used for {purpose.value} authentication, only for {has}"
    return place.bad("purpose", paragraph, words, f"issue it with {PURPOSE_OIDS[purpose]._name}")


def check_key_usage(leaf: Place, wanted: frozenset[KeyUse]) -> list[Check]:
    """The bits of keyUsage that the caller asks of the leaf. RFC 5280 section 4.2.1.3."""
    usage = leaf.certificate.extension(x509.KeyUsage)
    if not wanted or usage is None:
        return []
    missing = sorted(use.value for use in wanted if not getattr(usage, _KEY_USE_FIELDS[use]))
    if missing:
        words = f"its keyUsage does not have {', '.join(missing)}"
        return [leaf.bad("leaf-key-usage", "RFC 5280 section 4.2.1.3", words)]
    return [leaf.ok("leaf-key-usage", "RFC 5280 section 4.2.1.3", "its keyUsage has what is asked of it")]


def check_certificate(place: Place, now: datetime, algorithms: Algorithms, meter: Meter) -> list[Check]:
    """The rules for one certificate at its place, the leaf's and the CAs'."""
    checks = [check_key(place, algorithms, meter), check_validity(place, now), check_critical(place)]
    return checks + (check_issuing(place) if place.position > 0 else [])


def check_places(
    path: Path, now: datetime, algorithms: Algorithms, purpose: Purpose, limits: Limits, meter: Meter
) -> list[Check]:
    """All rules of this file for a whole path, from the leaf up."""
    at: Sequence[Place] = places(path)
    if path.pinned:
        trust = [at[0].ok("signature", "RFC 5280 section 6.1.1(d)", "it is itself an anchor, trusted as it stands")]
    else:
        trust = [check_signature(place) for place in at[:-1]]
    checks = trust + [check for place in at for check in check_certificate(place, now, algorithms, meter)]
    checks += [check_purpose(place, purpose) for place in at]
    checks += check_key_usage(at[0], limits.key_usage)
    return checks + check_lengths(path, limits.intermediates)
