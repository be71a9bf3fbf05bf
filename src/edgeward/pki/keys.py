"""What a public key is and what is wrong with it: algorithm names, and the weaknesses for which a key is never certified.

The checks are those of the CA/Browser Forum's Baseline Requirements 6.1.1.3 that need no external list: size, exponent, close primes
(Fermat, 100 rounds), small factors, and keys made by the ROCA library.
"""

import functools
import math
from typing import TypeGuard

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
    PrivateKeyTypes,
    PublicKeyTypes,
)

from edgeward.errors import UnsupportedKey

_EC = {"secp256r1": "ec-p256", "secp384r1": "ec-p384", "secp521r1": "ec-p521"}
_OTHER: tuple[tuple[type, str], ...] = (
    (ed25519.Ed25519PublicKey, "ed25519"),
    (ed448.Ed448PublicKey, "ed448"),
    (mldsa.MLDSA44PublicKey, "ml-dsa-44"),
    (mldsa.MLDSA65PublicKey, "ml-dsa-65"),
    (mldsa.MLDSA87PublicKey, "ml-dsa-87"),
)

ALGORITHMS = frozenset({"rsa", *_EC.values(), *(name for _, name in _OTHER)})
"""The key algorithms that can be certified."""

_SMALL_PRIMES = math.prod(p for p in range(3, 752, 2) if all(p % d for d in range(3, 28, 2) if d < p))

_ROCA_PRIMES = tuple(p for p in range(3, 168, 2) if all(p % d for d in range(3, 14, 2) if d < p))
"""The moduli of the fingerprint in "The Return of Coppersmith's Attack" (CCS 2017), section 3: n is a power of 65537 modulo each."""

_ROCA_RESIDUES = {p: frozenset(pow(65537, e, p) for e in range(p)) for p in _ROCA_PRIMES}


def algorithm(key: PublicKeyTypes) -> str:
    """The name of a key's algorithm as profiles spell it (`ec-p256`, `rsa`, `ed25519`, …); `unsupported` for any other."""
    family = _family(type(key))
    return family if family is not None else _EC.get(key.curve.name, "unsupported")  # type: ignore[union-attr]  # EC


@functools.lru_cache(maxsize=64)
def _family(kind: type) -> str | None:
    """The algorithm of every key of this class, None for EC, where the curve says it. The library's classes are abstract ones, and
    asking those takes longer than everything else here."""
    if issubclass(kind, ec.EllipticCurvePublicKey):
        return None
    if issubclass(kind, rsa.RSAPublicKey):
        return "rsa"
    return next((name for each, name in _OTHER if issubclass(kind, each)), "unsupported")


def is_ec(key: PublicKeyTypes) -> TypeGuard[ec.EllipticCurvePublicKey]:
    """Whether `key` is on an elliptic curve, for ECDSA."""
    return _family(type(key)) is None


def issuer_key(key: PrivateKeyTypes) -> CertificateIssuerPrivateKeyTypes:
    """`key`, if it is of a kind that can sign certificates. Raises `UnsupportedKey`."""
    if algorithm(key.public_key()) == "unsupported":
        raise UnsupportedKey(why=f"{type(key).__name__} cannot sign certificates here")
    return key  # type: ignore[return-value]  # every supported algorithm signs


def describe(key: PublicKeyTypes) -> str:
    """A key in words: `EC P-256`, `RSA 2048 bits`, `Ed25519`."""
    name = algorithm(key)
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size} bits"
    if name.startswith("ec-p"):
        return f"EC P-{name.removeprefix('ec-p')}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return {"ed25519": "Ed25519", "ed448": "Ed448"}.get(
        name, name.upper() if name != "unsupported" else type(key).__name__
    )


def weaknesses(key: PublicKeyTypes) -> tuple[str, ...]:
    """Every reason not to certify `key`; empty for a sound one. Bounded work: under a millisecond for RSA of up to 8192 bits."""
    name = algorithm(key)
    if name == "rsa":
        numbers = key.public_numbers()  # type: ignore[union-attr]  # an RSA key
        return tuple(_rsa_weaknesses(numbers.n, numbers.e))  # type: ignore[union-attr]
    if name == "unsupported":
        return (f"{describe(key)} keys are not certified here",)
    return ()


def _rsa_weaknesses(n: int, e: int) -> list[str]:
    bits = n.bit_length()
    if bits < 2048:
        return [f"RSA keys have at least 2048 bits, this one has {bits}"]
    if bits > 8192:
        return [f"RSA keys have at most 8192 bits, this one has {bits}"]
    found = []
    if e < 65537 or e % 2 == 0 or e.bit_length() > 256:
        found.append(
            f"the RSA public exponent is odd and between 65537 and 2^256, this one is {e if e < 1 << 64 else 'larger'}"
        )
    if n % 2 == 0 or math.gcd(n, _SMALL_PRIMES) != 1:
        found.append("the RSA modulus has a small factor")
    elif _close_primes(n):
        found.append("the RSA primes are so close to each other that the key can be factored")
    elif all(n % p in residues for p, residues in _ROCA_RESIDUES.items()):
        found.append("the RSA key was made by a library with the ROCA flaw (CVE-2017-15361)")
    return found


def _close_primes(n: int) -> bool:
    """Fermat's factorisation, 100 rounds. BR 6.1.1.3."""
    a = math.isqrt(n)
    if a * a < n:
        a += 1
    for _ in range(100):
        rest = a * a - n
        if math.isqrt(rest) ** 2 == rest:
            return True
        a += 1
    return False


def signature_hash(key: PublicKeyTypes) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """The hash a CA with this key signs with: of the key's own strength for EC, SHA-256 for RSA, none where it is built in."""
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name != "secp256r1":
        return hashes.SHA384() if key.curve.name == "secp384r1" else hashes.SHA512()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return hashes.SHA256()
    return hashes.SHA256() if isinstance(key, rsa.RSAPublicKey) else None
