"""Certificates and requests as KubeEdge makes them, judged by the rules under which one may be taken over.

KubeEdge's cloud keeps no record of what it issued, so a certificate of an imported CA has to speak for itself:

1. The CA signed it directly.
2. Its subject is O=system:nodes and CN=system:node:NAME and nothing else, and NAME is a node name.
3. It is for clientAuth alone, is no CA, and is inside its validity.
4. Its key is one that could be certified here, and is not the CA's own.

Edges before v1.16 all carry one subject, O=kubeEdge and CN=kubeedge.io: it names no node, so rule 2 cannot hold for them.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgeward.errors import EdgewardError
from edgeward.pki import keys, names, parse

LEGACY_NAME = "kubeedge.io"
_LEGACY_ORGANIZATION = "kubeedge"
"""Compared without case: edges asked as `kubeEdge`, clouds compare with `KubeEdge`."""

_WEAK_HASHES = {"md5", "sha1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What became of one certificate: the node that its subject names, whether it is one of the old, nameless kind, and every rule it
    breaks as an id and a sentence."""

    fingerprint: bytes
    serial: int
    subject: str
    node: str | None
    legacy: bool
    spki: bytes
    not_before: datetime
    not_after: datetime
    problems: tuple[tuple[str, str], ...]


def is_legacy(subject: x509.Name) -> bool:
    """Whether this is the subject that all edges before v1.16 share."""
    organizations = names.organizations(subject)
    return (
        names.common_names(subject) == (LEGACY_NAME,)
        and len(organizations) == 1
        and organizations[0].lower() == _LEGACY_ORGANIZATION
    )


def issued_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    """Whether `ca` signed `certificate` directly."""
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def judge(der: bytes, ca: x509.Certificate, now: datetime) -> Judged:
    """A certificate (DER) by the rules above. Raises `Unreadable` for what is none: whoever supplied it."""
    parsed = parse.certificate(der)
    legacy = is_legacy(parsed.subject)
    node = names.node_of(parsed.subject) if len(list(parsed.subject)) == 2 else None
    problems: list[tuple[str, str]] = []
    if not issued_by(parsed, ca):
        problems.append(("foreign", "the imported CA did not sign it"))
    elif parsed.signature_hash_algorithm is not None and parsed.signature_hash_algorithm.name in _WEAK_HASHES:
        problems.append(("weak-signature", f"it is signed with {parsed.signature_hash_algorithm.name}"))
    if legacy:
        problems.append(
            ("legacy-identity", f"CN={LEGACY_NAME} is the identity of every edge before v1.16 and names no node")
        )
    elif node is None:
        problems.append(("subject", "its subject is not exactly O=system:nodes, CN=system:node:NAME"))
    problems += _purposes(parsed)
    if now < parsed.not_valid_before_utc:
        problems.append(("not-yet-valid", f"it is not valid before {parsed.not_valid_before_utc.isoformat()}"))
    if now > parsed.not_valid_after_utc:
        problems.append(("expired", f"it expired at {parsed.not_valid_after_utc.isoformat()}"))
    spki, weak = _key(parsed, ca)
    return Judged(
        fingerprint=hashlib.sha256(der).digest(),
        serial=parsed.serial_number,
        subject=parsed.subject.rfc4514_string(),
        node=node,
        legacy=legacy,
        spki=spki,
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        problems=(*problems, *weak),
    )


def _purposes(parsed: x509.Certificate) -> list[tuple[str, str]]:
    problems = []
    by_kind = {type(extension.value): extension.value for extension in parsed.extensions}
    usage = by_kind.get(x509.ExtendedKeyUsage)
    if not isinstance(usage, x509.ExtendedKeyUsage) or set(usage) != {ExtendedKeyUsageOID.CLIENT_AUTH}:
        problems.append(("purpose", "its extended key usage is not clientAuth alone"))
    constraints = by_kind.get(x509.BasicConstraints)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        problems.append(("ca", "it is a CA"))
    return problems


def _key(parsed: x509.Certificate, ca: x509.Certificate) -> tuple[bytes, list[tuple[str, str]]]:
    try:
        key = parse.public_key(parsed)
        weak = [("weak-key", sentence) for sentence in keys.weaknesses(key)]
        spki = parse.spki(key)
    except EdgewardError as error:
        return b"", [("weak-key", str(error))]
    if spki == parse.spki(parse.public_key(ca)):
        weak.append(("ca-key", "its key is the CA's own"))
    return spki, weak
