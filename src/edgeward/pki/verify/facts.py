"""What a certificate says, read once: the library's view, the octets that it drops, and comparable names.

Only what the strict gateway `edgeward.pki.parse` has accepted becomes a `Facts`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from edgeward.errors import Unreadable
from edgeward.pki import parse
from edgeward.pki.verify import der as tlv
from edgeward.pki.verify.algorithms import Signed, signed_by_certificate
from edgeward.pki.verify.dn import DistinguishedName, comparable, shown

_Value = TypeVar("_Value", bound=x509.ExtensionType)

_EXPLICIT_VERSION = 0xA0
_EXTENSIONS = 0xA3


@dataclass(frozen=True, slots=True)
class RawExtension:
    """An extension as encoded: its value octets and whether it is critical."""

    critical: bool
    octets: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """One certificate. Two of them are the same certificate when their `der` is equal."""

    der: bytes
    certificate: x509.Certificate
    subject: DistinguishedName
    issuer: DistinguishedName
    spki: bytes
    signed: Signed
    algorithms_agree: bool
    raw: Mapping[str, RawExtension]

    @property
    def title(self) -> str:
        """The subject for people; where it is empty, the first alternative name."""
        name = shown(self.certificate.subject)
        if self.subject:
            return name
        san = self.extension(x509.SubjectAlternativeName)
        first = next(iter(san), None) if san else None
        return str(first.value) if isinstance(first, x509.DNSName | x509.IPAddress | x509.RFC822Name) else name

    @property
    def version(self) -> int:
        """1 or 3."""
        return self.certificate.version.value + 1

    @property
    def not_before(self) -> datetime:
        return self.certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        return self.certificate.not_valid_after_utc

    @property
    def self_issued(self) -> bool:
        """Subject and issuer are the same name. RFC 5280 section 3.2."""
        return self.subject == self.issuer

    @property
    def is_ca(self) -> bool:
        """basicConstraints says cA. RFC 5280 section 4.2.1.9."""
        constraints = self.extension(x509.BasicConstraints)
        return constraints is not None and constraints.ca

    @property
    def subject_key_id(self) -> bytes | None:
        value = self.extension(x509.SubjectKeyIdentifier)
        return value.digest if value else None

    @property
    def authority_key_id(self) -> bytes | None:
        value = self.extension(x509.AuthorityKeyIdentifier)
        return value.key_identifier if value else None

    def extension(self, kind: type[_Value]) -> _Value | None:
        """The value of the extension of this kind, or None."""
        try:
            return self.certificate.extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return None

    def critical(self, oid: x509.ObjectIdentifier) -> bool:
        """Whether the extension is there and critical."""
        found = self.raw.get(oid.dotted_string)
        return found is not None and found.critical

    def has(self, oid: x509.ObjectIdentifier) -> bool:
        return oid.dotted_string in self.raw

    @property
    def policy_mappings(self) -> tuple[tuple[str, str], ...]:
        """(issuerDomainPolicy, subjectDomainPolicy) pairs. RFC 5280 section 4.2.1.5."""
        found = self.raw.get(ExtensionOID.POLICY_MAPPINGS.dotted_string)
        return policy_mappings(found.octets) if found else ()


def policy_mappings(octets: bytes) -> tuple[tuple[str, str], ...]:
    """Decode a policyMappings value, which the library leaves as octets. Raises `Unreadable`."""
    pairs = []
    for pair in tlv.children(tlv.only(octets, tlv.SEQUENCE).content):
        policies = tlv.children(pair.content)
        if pair.tag != tlv.SEQUENCE or [policy.tag for policy in policies] != [tlv.OBJECT_IDENTIFIER] * 2:
            raise Unreadable(what="policyMappings extension", why="a mapping is not two object identifiers")
        pairs.append((tlv.object_identifier(policies[0].content), tlv.object_identifier(policies[1].content)))
    if not pairs:
        raise Unreadable(what="policyMappings extension", why="it is empty")
    return tuple(pairs)


def _raw_extensions(fields: list[tlv.Element]) -> dict[str, RawExtension]:
    """The extensions of a TBSCertificate's optional fields, by object identifier. RFC 5280 section 4.1.2.9."""
    found: dict[str, RawExtension] = {}
    for field in fields:
        if field.tag != _EXTENSIONS:
            continue
        for item in tlv.children(tlv.only(field.content, tlv.SEQUENCE).content):
            parts = tlv.children(item.content)
            critical = len(parts) == 3 and parts[1].content == b"\xff"
            found[tlv.object_identifier(parts[0].content)] = RawExtension(critical, parts[-1].content)
    return found


def read(der: bytes) -> Facts:
    """The facts of the certificate in `der`. Raises `Unreadable` or `TooLarge`: the fault is the input's."""
    certificate = parse.certificate(der)
    whole = tlv.children(tlv.only(der, tlv.SEQUENCE).content)
    fields = list(tlv.children(whole[0].content))
    if fields[0].tag == _EXPLICIT_VERSION:
        fields.pop(0)
    facts = Facts(
        der=der,
        certificate=certificate,
        subject=comparable(certificate.subject),
        issuer=comparable(certificate.issuer),
        spki=fields[5].raw,
        signed=signed_by_certificate(certificate),
        algorithms_agree=fields[1].raw == whole[1].raw,
        raw=_raw_extensions(fields[6:]),
    )
    _ = facts.policy_mappings  # a malformed one is refused here, not when a path happens to need it
    return facts
