"""A certificate request as facts: what was asked, once the request's own signature has been checked. None of it is trusted."""

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from edgeward.errors import BadProof, UnsupportedKey
from edgeward.pki import der as encode
from edgeward.pki import keys, parse, tbs
from edgeward.pki.tbs import Subject


class Requested(msgspec.Struct, frozen=True):
    """The facts of a CSR whose signature proves possession of the private key (RFC 2986 section 4.2)."""

    public_key: CertificatePublicKeyTypes
    spki: bytes
    """The key as DER SubjectPublicKeyInfo."""
    request: x509.CertificateSigningRequest | None = None
    """None for a key of our own, of which nothing was asked."""
    subject: x509.Name | None = None
    """The subject of the request, which the library would take apart anew at every access; None where there is no request, and where
    its octets said that it is the `known` one."""
    known: Subject | None = None
    """The subject, where its octets said that it is the one that was expected."""
    extensions: tuple[x509.Extension[x509.ExtensionType], ...] = ()
    """The extensions asked for (PKCS#9 extensionRequest, RFC 2985 section 5.4.2)."""

    @property
    def names(self) -> tuple[x509.GeneralName, ...]:
        """Every subject alternative name asked for."""
        return tuple(
            name for e in self.extensions if isinstance(e.value, x509.SubjectAlternativeName) for name in e.value
        )


class Unproven(msgspec.Struct, frozen=True):
    """A CSR that was read, with a key that could be certified, and whose signature nobody has checked yet."""

    request: x509.CertificateSigningRequest
    signed: bytes
    """The octets that the signature is over: CertificationRequestInfo in DER."""
    claimed: Requested
    """What it comes to once it is proved."""

    @property
    def spki(self) -> bytes:
        """The key as DER SubjectPublicKeyInfo."""
        return self.claimed.spki


def read(der: bytes, likely: Subject | None = None) -> Unproven:
    """The PKCS#10 request in `der`, its key sound. Raises `Unreadable` or `TooLarge` (not a CSR), `UnsupportedKey` (a key nobody
    should certify): the requester's fault. The key is judged before any signature, so that a giant key costs no arithmetic.

    `likely` is the subject that it should have: where its octets are just that, nobody need take them apart.
    """
    request, extensions = parse.request_fields(der)
    at = parse.subject_at(der)
    known = likely if likely is not None and tbs.stands_in(der, at, likely) else None
    subject = parse.request_subject(request) if known is None else None
    key = parse.public_key(request)
    weak = keys.weaknesses(key)
    if weak:
        raise UnsupportedKey(why="; ".join(weak))
    spki = parse.request_spki(der, at, key)
    # `weaknesses` lets only kinds pass that sign
    claimed = Requested(key, spki, request, subject, known, extensions)  # type: ignore[arg-type]
    signed = encode.span(der, 0)[0]
    return Unproven(request, der[signed : encode.span(der, signed)[1]], claimed)


def prove(unproven: Unproven) -> Requested:
    """The facts of a request, its signature verified. Raises `BadProof` when it does not verify: the requester's fault."""
    if not parse.guarded("certificate request", lambda: _is_signed(unproven)):
        raise BadProof
    return unproven.claimed


def _is_signed(unproven: Unproven) -> bool:
    """Whether the request is signed with its own key. The library reads the key from the request again, and writes again what was signed;
    where key and algorithm are the usual ones, the key that was read is used, and the octets as they came."""
    request, key = unproven.request, unproven.claimed.public_key
    if request.signature_algorithm_oid != x509.SignatureAlgorithmOID.ECDSA_WITH_SHA256 or not keys.is_ec(key):
        return request.is_signature_valid
    try:
        key.verify(request.signature, unproven.signed, _ECDSA_WITH_SHA256)
    except InvalidSignature:
        return False
    return True


_ECDSA_WITH_SHA256 = ec.ECDSA(hashes.SHA256())


def requested(der: bytes) -> Requested:
    """`read` and `prove` in one."""
    return prove(read(der))


def asked_by_key(key: CertificatePublicKeyTypes) -> Requested:
    """A request of our own: the key and nothing else. For certificates of the server and the CA, whose key is ours."""
    return Requested(key, parse.spki(key))
