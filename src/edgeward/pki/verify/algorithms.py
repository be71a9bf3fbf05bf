"""Which signature algorithms and keys are good enough, and the one place where signatures are verified.

Strength is a switch of its own (`Algorithms`), apart from the rules of the path, so that an old chain can be examined
for everything else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509 import ocsp
from cryptography.x509.oid import SignatureAlgorithmOID

from edgeward.errors import Unreadable
from edgeward.pki.parse import guarded

Parameters = padding.PKCS1v15 | padding.PSS | ec.ECDSA | None


class Algorithms(StrEnum):
    """How strong signatures and keys must be.

    `CURRENT`: SHA-2 and SHA-3 of 256 bits and more; RSA from 2048 to 8192 bits; the NIST and Brainpool curves from 256
    bits; Ed25519, Ed448 and ML-DSA. `WEBPKI`: what the CA/Browser Forum's Baseline Requirements section 6.1.5 allow.
    `LEGACY`: also SHA-1, SHA-224, DSA, smaller curves and RSA from 1024 bits; only to examine old chains.
    """

    CURRENT = "current"
    WEBPKI = "webpki"
    LEGACY = "legacy"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Strength:
    """The limits of one `Algorithms` value. `curves` is empty when every curve that the library can use is allowed."""

    digests: frozenset[str]
    rsa_from: int
    rsa_step: int = 1
    rsa_exponent_from: int = 3
    curves: frozenset[str] = frozenset()
    dsa: bool = False
    edwards: bool = True
    mldsa: bool = True


_RSA_TO = 8192  # bits: public CAs stop at 4096, and a verification with 16384 bits costs over a millisecond
_SHA2 = frozenset(("sha256", "sha384", "sha512"))
_NIST = frozenset(("secp256r1", "secp384r1", "secp521r1"))
_STRENGTHS = {
    Algorithms.CURRENT: _Strength(
        digests=_SHA2 | {"sha3-256", "sha3-384", "sha3-512"},
        rsa_from=2048,
        curves=_NIST | {"brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1"},
    ),
    Algorithms.WEBPKI: _Strength(digests=_SHA2, rsa_from=2048, rsa_step=8, curves=_NIST, edwards=False, mldsa=False),
    Algorithms.LEGACY: _Strength(
        digests=_SHA2 | {"sha1", "sha224", "sha3-224", "sha3-256", "sha3-384", "sha3-512"}, rsa_from=1024, dsa=True
    ),
}

_EDWARDS = {
    SignatureAlgorithmOID.ED25519: ed25519.Ed25519PublicKey,
    SignatureAlgorithmOID.ED448: ed448.Ed448PublicKey,
}
_MLDSA = {
    SignatureAlgorithmOID.ML_DSA_44: mldsa.MLDSA44PublicKey,
    SignatureAlgorithmOID.ML_DSA_65: mldsa.MLDSA65PublicKey,
    SignatureAlgorithmOID.ML_DSA_87: mldsa.MLDSA87PublicKey,
}
_MLDSA_KEYS = (mldsa.MLDSA44PublicKey, mldsa.MLDSA65PublicKey, mldsa.MLDSA87PublicKey)
_PURE: dict[x509.ObjectIdentifier, type] = {**_EDWARDS, **_MLDSA}
_PURE_KEYS = (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey, *_MLDSA_KEYS)
_DSA = frozenset(oid for name, oid in vars(SignatureAlgorithmOID).items() if name.startswith("DSA_WITH_"))
_ECDSA = frozenset(oid for name, oid in vars(SignatureAlgorithmOID).items() if name.startswith("ECDSA_WITH_"))
_RSA = frozenset(oid for name, oid in vars(SignatureAlgorithmOID).items() if name.startswith("RSA_WITH_"))


@dataclass(frozen=True, slots=True)
class Signed:
    """Signed octets and what is said about their signature. `problem` says why it cannot be verified, or is empty."""

    octets: bytes
    signature: bytes
    oid: x509.ObjectIdentifier
    digest: hashes.HashAlgorithm | None = None
    parameters: Parameters = None
    problem: str = ""

    @property
    def algorithm(self) -> str:
        """The algorithm for people."""
        name = self.oid._name
        return name if name != "Unknown OID" else self.oid.dotted_string


def _described(
    octets: bytes,
    signature: bytes,
    oid: x509.ObjectIdentifier,
    read: Callable[[], tuple[hashes.HashAlgorithm | None, Parameters]],
) -> Signed:
    try:
        digest, parameters = guarded("signature algorithm", read)
    except Unreadable as error:
        return Signed(octets, signature, oid, problem=str(error.facts["why"]))
    return Signed(octets, signature, oid, digest, parameters)


def signed_by_certificate(value: x509.Certificate) -> Signed:
    """What the issuer of a certificate signed. RFC 5280 section 4.1.1."""
    return _described(
        value.tbs_certificate_bytes,
        value.signature,
        value.signature_algorithm_oid,
        lambda: (value.signature_hash_algorithm, value.signature_algorithm_parameters),
    )


def signed_by_crl(value: x509.CertificateRevocationList) -> Signed:
    """What the issuer of a CRL signed. RFC 5280 section 5.1.1."""
    return _described(
        value.tbs_certlist_bytes,
        value.signature,
        value.signature_algorithm_oid,
        lambda: (value.signature_hash_algorithm, value.signature_algorithm_parameters),
    )


def signed_by_responder(value: ocsp.OCSPResponse) -> Signed:
    """What an OCSP responder signed. The library hides the parameters of PSS here, so PSS is not verified."""
    oid = value.signature_algorithm_oid

    def read() -> tuple[hashes.HashAlgorithm | None, Parameters]:
        digest = value.signature_hash_algorithm
        if oid in _RSA:
            return digest, padding.PKCS1v15()
        if oid in _ECDSA and digest is not None:
            return digest, ec.ECDSA(digest)
        return digest, None

    return _described(value.tbs_response_bytes, value.signature, oid, read)


def signature_objection(signed: Signed, algorithms: Algorithms) -> str:
    """Why the signature algorithm is not good enough, or an empty string."""
    strength = _STRENGTHS[algorithms]
    if signed.problem:
        return f"the signature algorithm {signed.algorithm} is not usable: {signed.problem}"
    if signed.oid in _EDWARDS:
        return "" if strength.edwards else f"{signed.algorithm} is not allowed by this profile"
    if signed.oid in _MLDSA:
        return "" if strength.mldsa else f"{signed.algorithm} is not allowed by this profile"
    if signed.oid in _DSA and not strength.dsa:
        return "DSA signatures are no longer accepted"
    if signed.digest is None or signed.digest.name not in strength.digests:
        return f"the signature algorithm {signed.algorithm} is too weak"
    return ""


def _rsa_objection(key: rsa.RSAPublicKey, strength: _Strength) -> str:
    bits = key.key_size
    exponent = key.public_numbers().e
    if not strength.rsa_from <= bits <= _RSA_TO:
        return f"an RSA key of {bits} bits (it must have {strength.rsa_from} to {_RSA_TO})"
    if bits % strength.rsa_step:
        return f"an RSA key of {bits} bits, which is not a multiple of {strength.rsa_step}"
    if exponent < strength.rsa_exponent_from or exponent % 2 == 0:
        return f"an RSA key with the unsafe exponent {exponent}"
    return ""


def key_objection(key: PublicKeyTypes, algorithms: Algorithms) -> str:
    """Why the key is not good enough, as a noun phrase, or an empty string."""
    strength = _STRENGTHS[algorithms]
    if isinstance(key, rsa.RSAPublicKey):
        return _rsa_objection(key, strength)
    if isinstance(key, ec.EllipticCurvePublicKey):
        fine = not strength.curves or key.curve.name in strength.curves
        return "" if fine else f"a key on the curve {key.curve.name}"
    if isinstance(key, dsa.DSAPublicKey):
        return "" if strength.dsa else "a DSA key"
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return "" if strength.edwards else "an Edwards-curve key"
    if isinstance(key, _MLDSA_KEYS):
        return "" if strength.mldsa else "an ML-DSA key"
    return "a key that cannot make signatures"


def verify_signature(key: PublicKeyTypes, signed: Signed) -> None:
    """Verify `signed` with `key`. Raises InvalidSignature, also when the algorithm is not one of that key's."""
    signature, octets, parameters = signed.signature, signed.octets, signed.parameters
    if isinstance(key, rsa.RSAPublicKey) and isinstance(parameters, padding.PKCS1v15 | padding.PSS) and signed.digest:
        key.verify(signature, octets, parameters, signed.digest)
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(parameters, ec.ECDSA):
        key.verify(signature, octets, parameters)
    elif isinstance(key, dsa.DSAPublicKey) and signed.oid in _DSA and signed.digest:
        key.verify(signature, octets, signed.digest)
    elif isinstance(key, _PURE_KEYS) and isinstance(key, _PURE.get(signed.oid, ())):
        key.verify(signature, octets)
    else:
        raise InvalidSignature
