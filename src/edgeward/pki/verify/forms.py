"""The form that RFC 5280 section 4 prescribes, beyond the rules of the path: one function for each rule.

These rules say what a conforming CA must not issue. Breaking one is harmless to the path in most cases, so the profile
`device` does not ask; `rfc5280` asks all of them and `webpki` all but those that the Baseline Requirements overrule.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from edgeward.pki.verify.algorithms import Algorithms
from edgeward.pki.verify.meter import Meter
from edgeward.pki.verify.options import Profile
from edgeward.pki.verify.rules import Place
from edgeward.pki.verify.syntax import is_uri, mailbox, pattern_labels
from edgeward.pki.verify.verdict import Check

_SERIAL_BITS = 159  # a positive INTEGER of 20 octets: its first bit is the sign

_NEVER_CRITICAL = {
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER: "RFC 5280 section 4.2.1.1",
    ExtensionOID.SUBJECT_KEY_IDENTIFIER: "RFC 5280 section 4.2.1.2",
    ExtensionOID.FRESHEST_CRL: "RFC 5280 section 4.2.1.15",
    ExtensionOID.AUTHORITY_INFORMATION_ACCESS: "RFC 5280 section 4.2.2.1",
    ExtensionOID.SUBJECT_INFORMATION_ACCESS: "RFC 5280 section 4.2.2.2",
    ExtensionOID.SUBJECT_DIRECTORY_ATTRIBUTES: "RFC 5280 section 4.2.1.8",
}
_ALWAYS_CRITICAL = {
    ExtensionOID.POLICY_CONSTRAINTS: "RFC 5280 section 4.2.1.11",
    ExtensionOID.INHIBIT_ANY_POLICY: "RFC 5280 section 4.2.1.14",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The profile that asks for form, and the meter for the one rule that needs a signature."""

    profile: Profile
    meter: Meter


Rule = Callable[[Place, Asked], Iterator[str]]


def _serial(place: Place, asked: Asked) -> Iterator[str]:
    if place.anchor and asked.profile is Profile.WEBPKI:
        return  # roots that every trust store has carry serial number 0
    serial = place.certificate.certificate.serial_number
    if serial <= 0:
        yield f"its serial number is {'zero' if serial == 0 else 'negative'}"
    elif serial.bit_length() > _SERIAL_BITS:
        yield "its serial number is longer than 20 octets"


def _names(place: Place, _: Asked) -> Iterator[str]:
    if not place.certificate.issuer:
        yield "its issuer is empty"
    if not place.certificate.subject and (place.certificate.is_ca or place.position > 0):
        yield "it is a CA and its subject is empty"


def _signature_algorithms(place: Place, _: Asked) -> Iterator[str]:
    if place.anchor and not place.certificate.algorithms_agree:
        yield "it names two different signature algorithms"


def _authority_key_id(place: Place, asked: Asked) -> Iterator[str]:
    certificate = place.certificate
    if certificate.authority_key_id is not None:
        return
    # Section 4.2.1.1 excuses a self-signed certificate: one whose own key verifies it, whatever its names say.
    if not asked.meter.verifies(certificate.signed, certificate.spki, Algorithms.LEGACY):
        yield "it has no authority key identifier"


def _subject_key_id(place: Place, _: Asked) -> Iterator[str]:
    if place.certificate.is_ca and place.certificate.subject_key_id is None:
        yield "it is a CA certificate without a subject key identifier"


def _key_usage(place: Place, _: Asked) -> Iterator[str]:
    usage = place.certificate.extension(x509.KeyUsage)
    constraints = place.certificate.extension(x509.BasicConstraints)
    signs = usage is not None and usage.key_cert_sign
    if signs and not place.certificate.is_ca:
        yield "keyUsage lets it sign certificates, and it is not a CA"
    limited = constraints is not None and constraints.path_length is not None
    if limited and usage is not None and not signs:
        yield "it has a path length and keyUsage does not let it sign certificates"


def _basic_constraints(place: Place, _: Asked) -> Iterator[str]:
    certificate = place.certificate
    if certificate.is_ca and not certificate.critical(ExtensionOID.BASIC_CONSTRAINTS):
        yield "it is a CA certificate and basicConstraints is not critical"
    if place.position > 0 and not certificate.has(ExtensionOID.BASIC_CONSTRAINTS):
        yield "it issues certificates and has no basicConstraints"


def _name_constraints(place: Place, asked: Asked) -> Iterator[str]:
    certificate = place.certificate
    if not certificate.has(ExtensionOID.NAME_CONSTRAINTS):
        return
    if not certificate.is_ca:
        yield "it has name constraints and is not a CA"
    if asked.profile is Profile.RFC5280 and not certificate.critical(ExtensionOID.NAME_CONSTRAINTS):
        yield "its name constraints are not critical"


def _criticality(place: Place, _: Asked) -> Iterator[str]:
    for oid in _NEVER_CRITICAL:
        if place.certificate.critical(oid):
            yield f"{oid._name} is critical, and must not be"
    for oid in _ALWAYS_CRITICAL:
        if place.certificate.has(oid) and not place.certificate.critical(oid):
            yield f"{oid._name} is not critical, and must be"


def name_problem(name: x509.GeneralName) -> str:
    """What is wrong with the syntax of a name in subjectAltName, or an empty string. RFC 5280 section 4.2.1.6."""
    if isinstance(name, x509.DNSName) and pattern_labels(name.value) is None:
        return f"the DNS name {name.value!r} is not in the preferred name syntax"
    if isinstance(name, x509.RFC822Name) and mailbox(name.value) is None:
        return f"{name.value!r} is not an e-mail address"
    if isinstance(name, x509.UniformResourceIdentifier) and not is_uri(name.value):
        return f"{name.value!r} is not an absolute URI"
    return ""


def _alternative_names(place: Place, _: Asked) -> Iterator[str]:
    san = place.certificate.extension(x509.SubjectAlternativeName)
    if not place.certificate.subject and not place.certificate.critical(ExtensionOID.SUBJECT_ALTERNATIVE_NAME):
        yield "its subject is empty and it has no critical subjectAltName"
    if san is None:
        return
    names = list(san)
    if not names:
        yield "its subjectAltName is empty"
    yield from [problem for name in names if (problem := name_problem(name))][:3]


_RULES: dict[str, tuple[str, str, Rule]] = {
    "form-serial": ("RFC 5280 section 4.1.2.2", "its serial number is positive and short enough", _serial),
    "form-names": ("RFC 5280 section 4.1.2.4, 4.1.2.6", "its issuer and subject are not empty", _names),
    "form-algorithm": ("RFC 5280 section 4.1.1.2", "it names one signature algorithm", _signature_algorithms),
    "form-authority-key-id": (
        "RFC 5280 section 4.2.1.1",
        "its authority key identifier is in order",
        _authority_key_id,
    ),
    "form-subject-key-id": ("RFC 5280 section 4.2.1.2", "its subject key identifier is in order", _subject_key_id),
    "form-key-usage": ("RFC 5280 section 4.2.1.3", "keyUsage agrees with basicConstraints", _key_usage),
    "form-basic-constraints": ("RFC 5280 section 4.2.1.9", "basicConstraints is in order", _basic_constraints),
    "form-name-constraints": ("RFC 5280 section 4.2.1.10", "its name constraints are in order", _name_constraints),
    "form-critical": ("RFC 5280 section 4.2", "its extensions are critical where they must be", _criticality),
    "form-alternative-names": ("RFC 5280 section 4.2.1.6", "its names are well formed", _alternative_names),
}


def check_form(place: Place, profile: Profile, meter: Meter) -> list[Check]:
    """Every rule of form for one certificate at its place."""
    asked = Asked(profile, meter)
    checks: list[Check] = []
    for check_id, (paragraph, fine, rule) in _RULES.items():
        problems = list(rule(place, asked))
        if problems:
            checks.extend(place.bad(check_id, paragraph, problem) for problem in problems)
        else:
            checks.append(place.ok(check_id, paragraph, fine))
    return checks
