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
    certificate = parse.guarded("signed certificate", lambda: x509.load_der_x509_certificate(der))
    actual = (
        certificate.version,
        certificate.serial_number,
        tuple([(attribute.oid, attribute.value) for attribute in certificate.subject]),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        # the whole SubjectPublicKeyInfo stands in what was signed, and the extensions, the one other place for it, are compared too
        plan.spki in certificate.tbs_certificate_bytes,
        list(certificate.extensions),
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
    if certificate.issuer.public_bytes() != plan.issuer:
        differences.append("issuer")
    if issuer_key is not None and not _signed_by(certificate, issuer_key):
        differences.append("signature")
    if differences:
        raise NotConforming(differences=", ".join(differences))
    return certificate


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
