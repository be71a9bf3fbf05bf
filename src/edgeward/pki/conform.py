"""Reading a signed certificate back and comparing it with its plan, before anyone gets it.

The library reads every certificate. Its numbers and times are compared as values; names, times, key and extensions as octets in their
places. What those octets mean is asked once: the first certificate in which they stand is taken apart by the library, object by object,
but for the texts and identifiers at their ends, which differ in every certificate and mean what they are.
"""

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from edgeward.errors import NotConforming
from edgeward.pki import der as encode
from edgeward.pki import keys, parse, tbs
from edgeward.pki.issue import Plan

_understood: set[bytes] = set()
"""Beginnings of subjects and extensions that the library has read as what they were planned to be."""

_MANY = 1_000
"""So many of them are remembered: a few hundred are in use, two for each length of a node's name. Those of a CA that signs for servers,
each with names of its own, come once and are soon forgotten."""


def conform(der: bytes, plan: Plan, issuer_key: CertificatePublicKeyTypes | None = None) -> None:
    """See that the certificate in `der` says what `plan` says and nothing else.

    With `issuer_key` its signature is verified too: for signers outside this process, which might use another key than they were
    asked to. One that signs in this very process was matched with its certificate when it was loaded.

    Raises `NotConforming` with every difference: ours is the fault, and the certificate must not leave.
    """
    differences = parse.guarded("signed certificate", lambda: _differences(der, plan, issuer_key))
    if differences:
        raise NotConforming(differences=", ".join(differences))


def _differences(der: bytes, plan: Plan, issuer_key: CertificatePublicKeyTypes | None) -> list[str]:
    certificate = x509.load_der_x509_certificate(der)
    found = [] if _is_like_others(certificate, der, plan) else _read_otherwise(certificate, der, plan)
    if issuer_key is not None and not _signed_by(certificate, issuer_key):
        found.append("signature")
    return found


def _is_like_others(certificate: x509.Certificate, der: bytes, plan: Plan) -> bool:
    """Whether it is as planned, by octets that were asked about before. Where not, `_read_otherwise` says what there is to say."""
    return (
        _understood.issuperset(_beginnings(plan))
        and certificate.version is x509.Version.v3
        and certificate.serial_number == plan.serial
        and certificate.not_valid_before_utc == plan.not_before
        and certificate.not_valid_after_utc == plan.not_after
        and _octets_agree(der, plan)
    )


def _octets_agree(der: bytes, plan: Plan) -> bool:
    """Whether what was planned, from the issuer on, stands octet for octet in a certificate that the library has read, and the algorithm
    twice. RFC 5280 sections 4.1.1.2, 4.1.2.5 and 7.1."""
    at, end = encode.span(der, encode.span(der, 0)[0])
    # past version and serial number, whose lengths have one octet, as the algorithm's has
    start = at + 7 + der[at + 6]
    algorithm = der[start : start + 2 + der[start + 1]]
    middle = tbs.behind_serial(algorithm, plan.issuer, (plan.not_before, plan.not_after))
    ending = tbs.ending(plan.name, plan.spki, [one.encoded for one in plan.extensions])
    return der.startswith(middle, start) and der[start + len(middle) : end] == ending and der.startswith(algorithm, end)


def _read_otherwise(certificate: x509.Certificate, der: bytes, plan: Plan) -> list[str]:
    """What the library reads otherwise than it was planned. The octets of a certificate without a difference count as understood."""
    same = {
        "version": certificate.version is x509.Version.v3,
        "serial": certificate.serial_number == plan.serial,
        "subject": tuple([(attribute.oid, attribute.value) for attribute in certificate.subject]) == plan.subject,
        "notBefore": certificate.not_valid_before_utc == plan.not_before,
        "notAfter": certificate.not_valid_after_utc == plan.not_after,
        # the whole SubjectPublicKeyInfo stands in it, and the extensions, the one other place for it, are compared too
        "public key": plan.spki in der,
        "extensions": list(certificate.extensions) == [planned.extension for planned in plan.extensions],
        "issuer": certificate.issuer.public_bytes() == plan.issuer,
    }
    differences = [name for name, holds in same.items() if not holds]
    if not differences and not _octets_agree(der, plan):
        differences.append("encoding")
    if not differences:
        if len(_understood) > _MANY:
            _understood.clear()
        _understood.update(_beginnings(plan))
    return differences


def _beginnings(plan: Plan) -> list[bytes]:
    return [plan.name.removesuffix(plan.subject[-1][1].encode()), *[one.head for one in plan.extensions]]


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
