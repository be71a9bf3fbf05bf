"""Reading a signed certificate back and comparing it with its plan, before anyone gets it."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from edgeward.errors import NotConforming
from edgeward.pki import keys, parse
from edgeward.pki.issue import Plan

_FIELDS = ("version", "serial", "subject", "notBefore", "notAfter", "public key", "extensions")


def conform(der: bytes, plan: Plan, issuer_key: CertificatePublicKeyTypes | None = None) -> x509.Certificate:
    """The certificate in `der`, if it says what `plan` says and nothing else.

    With `issuer_key` its signature is verified too: for signers outside this process, which might use another key than they were
    asked to. One that signs in this very process was matched with its certificate when it was loaded.

    Raises `NotConforming` with every difference: ours is the fault, and the certificate must not leave.
    """
    certificate, extensions = parse.guarded("signed certificate", lambda: _read(der))
    actual = (
        certificate.version,
        certificate.serial_number,
        tuple([(attribute.oid, attribute.value) for attribute in certificate.subject]),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        # the whole SubjectPublicKeyInfo stands in it, and the extensions, the one other place for it, are compared too
        plan.spki in der,
        extensions,
    )
    planned = (
        x509.Version.v3,
        plan.serial,
        plan.subject,
        plan.not_before,
        plan.not_after,
        True,
        [planned.extension for planned in plan.extensions],
    )
    differences = [name for name, one, other in zip(_FIELDS, actual, planned, strict=True) if one != other]
    if not _names_issuer(der, plan.issuer):
        differences.append("issuer")
    if issuer_key is not None and not _signed_by(certificate, issuer_key):
        differences.append("signature")
    if differences:
        raise NotConforming(differences=", ".join(differences))
    return certificate


def _read(der: bytes) -> tuple[x509.Certificate, list[x509.Extension[x509.ExtensionType]]]:
    certificate = x509.load_der_x509_certificate(der)
    return certificate, list(certificate.extensions)


def _names_issuer(der: bytes, issuer: bytes) -> bool:
    """Whether `issuer` (a Name, as it stands in the CA's certificate) is what follows version, serial and algorithm in a certificate
    that the library has read. The octets have to be the same (RFC 5280 section 7.1), so they are compared and not their meaning."""
    at = 0
    for _ in range(2):  # Certificate, TBSCertificate
        at += 2 if der[at + 1] < 0x80 else 2 + (der[at + 1] & 0x7F)
    for _ in range(3):  # all shorter than 128 octets: [0] version, serialNumber, signature
        at += 2 + der[at + 1]
    return der.startswith(issuer, at)


def _signed_by(certificate: x509.Certificate, key: CertificatePublicKeyTypes) -> bool:
    algorithm = keys.signature_hash(key)
    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    try:
        match key:
            case ec.EllipticCurvePublicKey() if algorithm is not None:
                key.verify(signature, signed, ec.ECDSA(algorithm))
            case rsa.RSAPublicKey() if algorithm is not None:
                key.verify(signature, signed, PKCS1v15(), algorithm)
            case _:
                key.verify(signature, signed)  # type: ignore[call-arg, union-attr]
    except InvalidSignature:
        return False
    return True
