"""Whether a client's certificate is one of ours, where OpenSSL does not judge it: signed by an anchor itself, for clients, in its time."""

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgeward.errors import CertificateRefused
from edgeward.pki import keys, parse

_UNDERSTOOD = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName)


def verify(certificate: x509.Certificate, anchors: Sequence[bytes], now: datetime) -> None:
    """Raise `CertificateRefused`, with every broken rule, unless `certificate` may be a client's under one of `anchors` (DER).
    It has passed `parse.certificate`.

    The rules are those of RFC 5280 section 6.1 for a path of one certificate, and RFC 5280 section 4.2.1.12 for its purpose. That it was
    issued here, and not revoked, is another question: its row answers it.
    """
    public = parse.public_key(certificate)
    extensions = certificate.extensions
    values = {type(each.value): each.value for each in extensions}
    constraints, usage = values.get(x509.BasicConstraints), values.get(x509.KeyUsage)
    purposes = values.get(x509.ExtendedKeyUsage)
    when = f"{certificate.not_valid_before_utc.isoformat()} to {certificate.not_valid_after_utc.isoformat()}"
    unknown = [
        each.oid.dotted_string for each in extensions if each.critical and not isinstance(each.value, _UNDERSTOOD)
    ]
    checks = {
        "it is not signed by a CA of this authority": not any(
            _signed_by(certificate, anchor, now) for anchor in anchors
        ),
        f"it is valid from {when}": not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc,
        "it is a CA certificate": isinstance(constraints, x509.BasicConstraints) and constraints.ca,
        "its key may not sign (key usage)": isinstance(usage, x509.KeyUsage) and not usage.digital_signature,
        "it is not for clients (extended key usage)": not isinstance(purposes, x509.ExtendedKeyUsage)
        or ExtendedKeyUsageOID.CLIENT_AUTH not in purposes,
        f"its critical extensions {', '.join(unknown)} are not understood": bool(unknown),
        "; ".join(keys.weaknesses(public)): bool(keys.weaknesses(public)),
    }
    broken = [words for words, found in checks.items() if found]
    if broken:
        raise CertificateRefused(why="; ".join(broken))


def _signed_by(certificate: x509.Certificate, anchor: bytes, now: datetime) -> bool:
    issuer = parse.certificate(anchor)
    if not issuer.not_valid_before_utc <= now <= issuer.not_valid_after_utc:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
