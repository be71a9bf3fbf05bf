"""Public keys in words: algorithm, size, hashes, and what is weak about them at a glance.

A glance only: it looks at sizes and names. Whether a key may be certified is the issuing policy's decision.
"""

import hashlib
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from edgeward.pki import parse
from edgeward.pki.inspect.report import Json, Warning
from edgeward.pki.severity import Severity

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521", "secp224r1": "P-224", "secp192r1": "P-192"}
_STRONG_CURVES = {"secp256r1", "secp384r1", "secp521r1", "brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1"}


class PublicKey(NamedTuple):
    """A public key as it is shown."""

    words: str
    """`RSA 2048`, `EC P-256`, `Ed25519`, `ML-DSA-65`."""
    family: str
    """`RSA`, `EC`, `EdDSA`, `ML-DSA`, `X25519`…: what key usages make sense for."""
    bits: int
    spki_sha256: str
    warnings: tuple[Warning, ...]

    def as_json(self) -> dict[str, Json]:
        """The key for programs."""
        return {"algorithm": self.words, "family": self.family, "bits": self.bits, "spki_sha256": self.spki_sha256}


def describe(key: PublicKeyTypes) -> PublicKey:
    """`key` in words. The hash is over its SubjectPublicKeyInfo, as `curl --pinnedpubkey` wants it in another
    encoding.
    """
    digest = hashlib.sha256(parse.spki(key)).hexdigest()
    words, family, bits = _algorithm(key)
    return PublicKey(words=words, family=family, bits=bits, spki_sha256=digest, warnings=tuple(_weak(key)))


def _algorithm(key: PublicKeyTypes) -> tuple[str, str, int]:
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}", "RSA", key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        name = key.curve.name
        return f"EC {_CURVES.get(name, name)}", "EC", key.key_size
    if isinstance(key, dsa.DSAPublicKey):
        return f"DSA {key.key_size}", "DSA", key.key_size
    # Ed25519PublicKey, X448PublicKey, MLDSA65PublicKey, MLKEM768PublicKey: one class for each, named for the algorithm.
    name = type(key).__name__.removesuffix("PublicKey")
    for family in ("MLDSA", "MLKEM"):
        if name.startswith(family):
            dashed = f"ML-{family[2:]}"
            return f"{dashed}-{name[5:]}", dashed, int(name[5:])
    if name == "DH":
        return "DH", "DH", 0
    bits = 456 if name == "Ed448" else 448 if name == "X448" else 256
    return name, "EdDSA" if name.startswith("Ed") else name, bits


def _weak(key: PublicKeyTypes) -> list[Warning]:
    found = []
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        if key.key_size < 2048:
            text = f"an RSA key of {key.key_size} bits is too short: TLS libraries refuse it"
            found.append(Warning(id="weak-key", severity=Severity.ERROR, text=text, remedy="edgeward key new"))
        if numbers.e < 65537 or numbers.e % 2 == 0:
            text = f"the RSA exponent is {numbers.e if numbers.e < 2**64 else 'huge'}: use 65537"
            found.append(
                Warning(id="weak-key", severity=Severity.WARNING if numbers.e % 2 else Severity.ERROR, text=text)
            )
        if numbers.e >= 2**32:
            found.append(
                Warning(id="odd-exponent", severity=Severity.WARNING, text="the RSA exponent is longer than 32 bits")
            )
        if numbers.n % 2 == 0:
            found.append(
                Warning(id="weak-key", severity=Severity.ERROR, text="the RSA modulus is even: no RSA key at all")
            )
        if key.key_size > 8192:
            text = f"an RSA key of {key.key_size} bits makes every handshake slow, and many programs refuse it"
            found.append(Warning(id="odd-key", severity=Severity.WARNING, text=text))
    elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in _STRONG_CURVES:
        text = f"the curve {key.curve.name} is weak or unknown to TLS libraries: use P-256"
        found.append(
            Warning(id="weak-key", severity=Severity.ERROR, text=text, remedy="edgeward key new --type ec:P-256")
        )
    elif isinstance(key, dsa.DSAPublicKey):
        found.append(Warning(id="weak-key", severity=Severity.ERROR, text="DSA keys are not used with TLS any more"))
    return found
