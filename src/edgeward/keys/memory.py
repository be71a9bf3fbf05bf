"""Keys that live as long as their process: for tests, and for throw-away authorities."""

import hashlib
import hmac
import secrets
from collections.abc import Collection

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from edgeward.errors import KeyPolicyRefused, NotFound, UnsupportedKey
from edgeward.model.authority import KeyRef
from edgeward.pki.formats import pkcs8


def generate(algorithm: str) -> CertificateIssuerPrivateKeyTypes:
    """A new private key of an algorithm that an authority uses. Raises `UnsupportedKey`."""
    match algorithm:
        case "ec-p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ec-p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "rsa":
            return rsa.generate_private_key(65537, 3072)
    raise UnsupportedKey(why=f"an authority's own keys are ec-p256, ec-p384 or rsa, not {algorithm}")


def traditional_der(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """The key in the form that its algorithm had before PKCS#8: SEC 1 for EC, PKCS#1 for RSA. KubeEdge keeps CA keys like this.
    Raises `KeyPolicyRefused` for a key of another kind, which no KubeEdge has."""
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise KeyPolicyRefused(why="KubeEdge's tokens are made with EC and RSA keys alone")
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


class MemoryKeys:
    """`keys.port.KeyStore` in a dictionary."""

    def __init__(self) -> None:
        self._keys: dict[str, CertificateIssuerPrivateKeyTypes] = {}

    def create(self, algorithm: str) -> KeyRef:
        """A new key."""
        return self.adopt(generate(algorithm))

    def adopt(self, key: CertificateIssuerPrivateKeyTypes) -> KeyRef:
        """Keep a key."""
        name = secrets.token_hex(8)
        self._keys[name] = key
        return KeyRef(store="memory", name=name)

    def signer(self, ref: KeyRef) -> CertificateIssuerPrivateKeyTypes:
        """The key itself."""
        if ref.name not in self._keys:
            raise NotFound(what="key", name=ref)
        return self._keys[ref.name]

    def export(self, ref: KeyRef) -> bytes:
        """PKCS#8 DER."""
        return pkcs8.encode(self.signer(ref))

    def kubeedge_mac(self, ref: KeyRef, message: bytes) -> bytes:
        """HMAC-SHA256 under the key's DER."""
        return hmac.digest(traditional_der(self.signer(ref)), message, hashlib.sha256)

    def confirm(self, ref: KeyRef) -> None:
        """Nothing: these keys end with their process."""

    def settle(self, kept: Collection[KeyRef]) -> int:
        """Nothing is left of a crash."""
        return 0

    def remove(self, ref: KeyRef) -> None:
        """Forget it."""
        self._keys.pop(ref.name, None)
