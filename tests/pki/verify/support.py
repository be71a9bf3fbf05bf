"""Certificates, CRLs and OCSP responses made for a test, small and fresh."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from edgeward.pki.verify import Outcome, Question, Verdict, verify

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
Extension = tuple[x509.ExtensionType, bool]
_serials = count(1000)
SHA256 = hashes.SHA256()
KEY_USAGE = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True, slots=True)
class Made:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def name(self) -> x509.Name:
        return self.certificate.subject


@cache
def spare_key(number: int) -> ec.EllipticCurvePrivateKey:
    """One of a few keys that tests share, where only sameness and difference count."""
    return ec.generate_private_key(ec.SECP256R1())


def name(text: str) -> x509.Name:
    return x509.Name.from_rfc4514_string(text) if text else x509.Name([])


def usage(**bits: bool) -> x509.KeyUsage:
    """keyUsage with the bits that are named."""
    return x509.KeyUsage(**{field: bits.get(field, False) for field in KEY_USAGE})


def make(
    subject: str,
    issuer: Made | None = None,
    *,
    extensions: Iterable[Extension] = (),
    key: Any = None,
    not_before: datetime = NOW - 30 * DAY,
    not_after: datetime = NOW + 30 * DAY,
    serial: int | None = None,
    issuer_name: str | None = None,
    digest: hashes.HashAlgorithm | None = SHA256,
) -> Made:
    """A certificate with exactly these extensions; self-signed without an issuer."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    signer = issuer.key if issuer else key
    issued_by = name(issuer_name) if issuer_name is not None else issuer.name if issuer else name(subject)
    builder = x509.CertificateBuilder(
        issuer_name=issued_by,
        subject_name=name(subject),
        public_key=key.public_key(),
        serial_number=serial if serial is not None else next(_serials),
        not_valid_before=not_before,
        not_valid_after=not_after,
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return Made(builder.sign(signer, digest), key)


def kinds(extensions: Sequence[Extension]) -> set[x509.ObjectIdentifier]:
    return {value.oid for value, _ in extensions}


def merged(standard: Sequence[Extension], extra: Sequence[Extension], without: Sequence[type]) -> list[Extension]:
    """The standard extensions but for those that `extra` replaces or `without` names."""
    replaced = kinds(extra)
    kept = [(v, c) for v, c in standard if v.oid not in replaced and not isinstance(v, tuple(without))]
    return [*kept, *extra]


def ca(
    subject: str,
    issuer: Made | None = None,
    *extra: Extension,
    path_length: int | None = None,
    without: Sequence[type] = (),
    **fields: Any,
) -> Made:
    """A CA certificate that keeps RFC 5280's form."""
    key = fields.pop("key", None) or ec.generate_private_key(ec.SECP256R1())
    standard: list[Extension] = [
        (x509.BasicConstraints(True, path_length), True),
        (usage(key_cert_sign=True, crl_sign=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    ]
    if issuer:
        standard.append((x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False))
    return make(subject, issuer, extensions=merged(standard, extra, without), key=key, **fields)


def leaf(
    issuer: Made,
    *extra: Extension,
    subject: str = "CN=edge.example.com",
    names: Sequence[x509.GeneralName] = (x509.DNSName("edge.example.com"),),
    without: Sequence[type] = (),
    **fields: Any,
) -> Made:
    """A leaf for client and server that keeps RFC 5280's form."""
    both = x509.ExtendedKeyUsage([x509.OID_SERVER_AUTH, x509.OID_CLIENT_AUTH])
    standard: list[Extension] = [
        (x509.BasicConstraints(False, None), True),
        (usage(digital_signature=True), True),
        (both, False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False),
    ]
    if names:
        standard.append((x509.SubjectAlternativeName(names), not subject))
    return make(subject, issuer, extensions=merged(standard, extra, without), **fields)


def crl(
    issuer: Made,
    *revoked: x509.RevokedCertificate | Made,
    extensions: Iterable[Extension] = (),
    number: int | None = 1,
    this_update: datetime = NOW - DAY,
    next_update: datetime = NOW + DAY,
    issuer_name: str | None = None,
) -> bytes:
    """A CRL of `issuer` in DER."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(name(issuer_name) if issuer_name else issuer.name)
        .last_update(this_update)
        .next_update(next_update)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False)
    )
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), False)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    for one in revoked:
        builder = builder.add_revoked_certificate(
            entry(one.certificate.serial_number) if isinstance(one, Made) else one
        )
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def entry(serial: int, *extensions: Extension) -> x509.RevokedCertificate:
    """One entry of a CRL."""
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - DAY)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.build()


def ocsp_response(
    subject: Made,
    issuer: Made,
    responder: Made,
    *,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    this_update: datetime = NOW - DAY,
    next_update: datetime | None = NOW + DAY,
) -> bytes:
    """An OCSP response about `subject` in DER, with the responder's certificate when it is not the issuer itself."""
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=subject.certificate,
        issuer=issuer.certificate,
        algorithm=hashes.SHA256(),
        cert_status=status,
        this_update=this_update,
        next_update=next_update,
        revocation_time=NOW - DAY if revoked else None,
        revocation_reason=x509.ReasonFlags.key_compromise if revoked else None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, responder.certificate)
    if responder is not issuer:
        builder = builder.certificates([responder.certificate])
    return builder.sign(responder.key, hashes.SHA256()).public_bytes(Encoding.DER)


def judge(
    subject: Made, anchors: Sequence[Made], chain: Sequence[Made] = (), question: Question | None = None, **more: Any
) -> Verdict:
    """`verify` at `NOW`."""
    return verify(
        subject.der,
        now=more.pop("now", NOW),
        anchors=[one.der for one in anchors],
        intermediates=[one.der for one in chain],
        question=question,
        **more,
    )


def failed(verdict: Verdict) -> set[str]:
    """The ids of the checks that failed."""
    assert verdict.valid is not bool(verdict.failures)
    return {check.id for check in verdict.checks if check.outcome is Outcome.FAIL}
