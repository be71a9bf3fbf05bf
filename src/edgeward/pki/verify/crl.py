"""Certificate revocation lists: whether a CRL speaks of a certificate, and what it says. RFC 5280 sections 5 and 6.3.

This file reads lists and applies scopes (distribution points, kinds of certificate, reasons, indirect and delta CRLs).
Who signed a list and whether that signer is trusted is the business of `revocation`, which hands it in as a function.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from edgeward.pki import parse
from edgeward.pki.verify.algorithms import Signed, signed_by_crl
from edgeward.pki.verify.dn import DistinguishedName, comparable, relative, shown
from edgeward.pki.verify.facts import Facts

_PROCESSED = frozenset(
    (
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.CRL_NUMBER,
        ExtensionOID.DELTA_CRL_INDICATOR,
        ExtensionOID.ISSUING_DISTRIBUTION_POINT,
    )
)
_PROCESSED_IN_ENTRIES = frozenset(
    (
        CRLEntryExtensionOID.CERTIFICATE_ISSUER,
        CRLEntryExtensionOID.CRL_REASON,
        CRLEntryExtensionOID.INVALIDITY_DATE,
    )
)
ALL_REASONS = frozenset(x509.ReasonFlags) - {x509.ReasonFlags.unspecified, x509.ReasonFlags.remove_from_crl}
"""The eight reasons of RFC 5280 section 4.2.1.13 that a complete answer must cover."""

_MOST_POINTS = 64  # distribution points of one certificate that are looked at: real ones have one or two

Key = tuple[str, object]
Reasons = frozenset[x509.ReasonFlags]


@dataclass(frozen=True, slots=True, eq=False)
class Crl:
    """One list, read. `problem` says why it must not be used for any certificate, or is empty (section 5.2, 5.3)."""

    der: bytes
    title: str
    issuer: DistinguishedName
    this_update: datetime
    next_update: datetime | None
    number: int | None
    delta_base: int | None
    key_id: bytes | None
    scope: x509.IssuingDistributionPoint | None
    scope_names: frozenset[Key]
    entries: Mapping[tuple[DistinguishedName, int], x509.ReasonFlags]
    signed: Signed
    form: tuple[str, ...]
    problem: str = ""

    @property
    def indirect(self) -> bool:
        return self.scope is not None and self.scope.indirect_crl

    def stale(self, now: datetime) -> str:
        """Why it does not speak of `now`, or an empty string."""
        if self.this_update > now:
            return f"it is not valid before {self.this_update:%Y-%m-%d %H:%M:%S} UTC"
        if self.next_update is None:
            return "it does not say when the next one comes"
        if self.next_update < now:
            return f"it was to be replaced by {self.next_update:%Y-%m-%d %H:%M:%S} UTC"
        return ""


def _entries(
    value: x509.CertificateRevocationList, issuer: DistinguishedName
) -> tuple[dict[tuple[DistinguishedName, int], x509.ReasonFlags], str]:
    """The entries by certificate issuer and serial number, and the first problem. RFC 5280 section 5.3."""
    found: dict[tuple[DistinguishedName, int], x509.ReasonFlags] = {}
    current = issuer
    problem = ""
    for entry in value:
        reason = x509.ReasonFlags.unspecified
        for extension in entry.extensions:
            if isinstance(extension.value, x509.CertificateIssuer):
                names = extension.value.get_values_for_type(x509.DirectoryName)
                current = comparable(names[0]) if names else ()
                problem = problem or ("" if names else "an entry's certificate issuer is not a directory name")
            elif isinstance(extension.value, x509.CRLReason):
                reason = extension.value.reason
            elif extension.critical and extension.oid not in _PROCESSED_IN_ENTRIES:
                problem = (
                    problem
                    or f"an entry has a critical extension that is not understood: {extension.oid.dotted_string}"
                )
        found[current, entry.serial_number] = reason
    return found, problem


def _form(value: x509.CertificateRevocationList) -> Iterator[str]:
    """What RFC 5280 section 5.2 asks of a conforming CRL and the algorithm of section 6.3 does not need."""
    by_oid = {extension.oid: extension for extension in value.extensions}
    number = by_oid.get(ExtensionOID.CRL_NUMBER)
    if number is None:
        yield "it has no CRL number"
    elif number.critical:
        yield "its CRL number is critical, and must not be"
    if ExtensionOID.AUTHORITY_KEY_IDENTIFIER not in by_oid:
        yield "it has no authority key identifier"


def read(der: bytes) -> Crl:
    """The list in `der`. Raises `Unreadable` or `TooLarge`: the fault is the input's."""
    value = parse.crl(der)
    by_oid = {extension.oid: extension.value for extension in value.extensions}
    unknown = [e.oid.dotted_string for e in value.extensions if e.critical and e.oid not in _PROCESSED]
    issuer = comparable(value.issuer)
    entries, problem = _entries(value, issuer)
    number = by_oid.get(ExtensionOID.CRL_NUMBER)
    delta = by_oid.get(ExtensionOID.DELTA_CRL_INDICATOR)
    key_id = by_oid.get(ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
    scope = by_oid.get(ExtensionOID.ISSUING_DISTRIBUTION_POINT)
    return Crl(
        der=der,
        title=f"CRL of {shown(value.issuer)}",
        issuer=issuer,
        this_update=value.last_update_utc,
        next_update=value.next_update_utc,
        number=number.crl_number if isinstance(number, x509.CRLNumber) else None,
        delta_base=delta.crl_number if isinstance(delta, x509.DeltaCRLIndicator) else None,
        key_id=key_id.key_identifier if isinstance(key_id, x509.AuthorityKeyIdentifier) else None,
        scope=scope if isinstance(scope, x509.IssuingDistributionPoint) else None,
        scope_names=_scope_names(scope, issuer),
        entries=entries,
        signed=signed_by_crl(value),
        form=tuple(_form(value)),
        problem=f"it has a critical extension that is not understood: {unknown[0]}" if unknown else problem,
    )


def _keys(names: Sequence[x509.GeneralName]) -> set[Key]:
    """Names in a form in which equal names are equal."""
    return {
        ("directory", comparable(name.value))
        if isinstance(name, x509.DirectoryName)
        else (type(name).__name__, name.value)
        for name in names
    }


def _point_names(
    full: Sequence[x509.GeneralName] | None, rdn: x509.RelativeDistinguishedName | None, base: DistinguishedName
) -> set[Key]:
    """The names of a distribution point, a name relative to `base` written out. RFC 5280 section 4.2.1.13."""
    found = _keys(full or ())
    return found | {("directory", (*base, relative(rdn)))} if rdn is not None else found


def _scope_names(scope: x509.ExtensionType | None, issuer: DistinguishedName) -> frozenset[Key]:
    if not isinstance(scope, x509.IssuingDistributionPoint):
        return frozenset()
    return frozenset(_point_names(scope.full_name, scope.relative_name, issuer))


@dataclass(frozen=True, slots=True)
class _Point:
    """One distribution point of a certificate: its names, who issues its CRLs, and for which reasons."""

    names: frozenset[Key]
    issuers: frozenset[Key]
    reasons: Reasons


def _points(certificate: Facts) -> list[_Point]:
    """The certificate's distribution points, and at last the one that section 6.3.3 assumes: the issuer itself."""
    found = []
    for point in list(certificate.extension(x509.CRLDistributionPoints) or ())[:_MOST_POINTS]:
        issuers = _keys(point.crl_issuer or ())
        base = next((key[1] for key in sorted(issuers, key=str) if key[0] == "directory"), certificate.issuer)
        names = _point_names(point.full_name, point.relative_name, base)  # type: ignore[arg-type]  # a directory key's name
        found.append(_Point(frozenset(names), frozenset(issuers), point.reasons or ALL_REASONS))
    return [*found, _Point(frozenset({("directory", certificate.issuer)}), frozenset(), ALL_REASONS)]


def _out_of_scope(crl: Crl, certificate: Facts, point: _Point) -> str:
    """Why the list does not speak of the certificate for this point; empty when it does. RFC 5280 section 6.3.3(b)."""
    if point.issuers:
        if ("directory", crl.issuer) not in point.issuers or not crl.indirect:
            return "another issuer makes the CRLs of this distribution point"
    elif crl.issuer != certificate.issuer:
        return "it is not of the certificate's issuer"
    scope = crl.scope
    if scope is None:
        return ""
    if crl.scope_names and not crl.scope_names & (point.names or point.issuers):
        return "it is for another distribution point"
    if scope.only_contains_user_certs and certificate.is_ca:
        return "it is for end-entity certificates only"
    if scope.only_contains_ca_certs and not certificate.is_ca:
        return "it is for CA certificates only"
    return "it is for attribute certificates only" if scope.only_contains_attribute_certs else ""


def _delta_fits(delta: Crl, base: Crl) -> bool:
    """Whether a delta CRL continues a complete one. RFC 5280 section 5.2.4 and 6.3.3(c)."""
    if delta.delta_base is None or delta.number is None or base.number is None:
        return False
    same = delta.issuer == base.issuer and delta.scope == base.scope and delta.key_id == base.key_id
    return same and delta.delta_base <= base.number < delta.number


class Answer:
    """What the lists say of one certificate, collected point by point. `why_not` explains the related lists."""

    __slots__ = ("covered", "revoked", "why_not")

    def __init__(self) -> None:
        self.covered: Reasons = frozenset()
        self.revoked: x509.ReasonFlags | None = None
        self.why_not: list[tuple[Crl, str]] = []

    @property
    def good(self) -> bool:
        """Not revoked, for every reason there is."""
        return self.revoked is None and self.covered >= ALL_REASONS


Trusted = Callable[[Crl], str]
"""Why a list is not authentic and current, or an empty string."""


def look_up(certificate: Facts, crls: Sequence[Crl], trusted: Trusted) -> Answer:
    """What `crls` say of `certificate`. RFC 5280 section 6.3.3, steps (b) to (l), for every point and every list.

    The standard stops at the first lists that cover every reason; here all are asked, and one that revokes is enough.
    So a compromised signer of CRLs cannot clear itself while another list revokes it.
    """
    answer = Answer()
    about = (certificate.issuer, certificate.certificate.serial_number)
    for point in _points(certificate):
        for crl in crls:
            if answer.revoked is not None:
                return answer
            if crl.delta_base is not None:
                continue
            why = _out_of_scope(crl, certificate, point)
            limited = crl.scope.only_some_reasons if crl.scope is not None else None
            why = why or crl.problem or trusted(crl)
            if why:
                if crl.issuer == certificate.issuer or ("directory", crl.issuer) in point.issuers:
                    answer.why_not.append((crl, why))
                continue
            answer.revoked = _status(about, crl, [d for d in crls if _delta_fits(d, crl) and not trusted(d)])
            answer.covered |= point.reasons & (limited or ALL_REASONS)
    return answer


def _status(about: tuple[DistinguishedName, int], crl: Crl, deltas: Sequence[Crl]) -> x509.ReasonFlags | None:
    """The reason of revocation, or None. The newest delta speaks before the complete list. RFC 5280 section
    6.3.3(i)-(k).
    """
    usable = [delta for delta in deltas if not delta.problem]
    for delta in sorted(usable, key=lambda one: one.number or 0, reverse=True)[:1]:
        if about in delta.entries:
            reason = delta.entries[about]
            return None if reason is x509.ReasonFlags.remove_from_crl else reason
    return crl.entries.get(about)
