"""Reading a signed certificate back and comparing it with its plan, before anyone gets it."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from edgeward.errors import NotConforming
from edgeward.pki import keys, parse
from edgeward.pki.issue import Plan


def conform(der: bytes, plan: Plan, issuer_key: CertificatePublicKeyTypes) -> x509.Certificate:
    """The certificate in `der`, if it says what `plan` says and nothing else, and `issuer_key` signed it.

    Raises `NotConforming` with every difference: ours is the fault, and the certificate must not leave.
    """
    certificate = parse.certificate(der)
    compared = {
        "version": (certificate.version, x509.Version.v3),
        "serial": (certificate.serial_number, plan.serial),
        "issuer": (certificate.issuer, plan.issuer),
        "subject": (certificate.subject, plan.subject),
        "notBefore": (certificate.not_valid_before_utc, plan.not_before),
        "notAfter": (certificate.not_valid_after_utc, plan.not_after),
        "public key": (parse.spki(parse.public_key(certificate)), plan.spki),
        "extensions": (tuple(certificate.extensions), plan.extensions),
    }
    differences = [name for name, (actual, planned) in compared.items() if actual != planned]
    if not _signed_by(certificate, issuer_key):
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
