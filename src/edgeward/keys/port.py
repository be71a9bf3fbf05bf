"""What a key store must be able to do: keep private keys, and let them be used without handing them around.

`tests/contract/test_keys.py` says it precisely. Methods may take half a second (a key under scrypt): they are called at start-up and
for administrative work, never while a node waits.
"""

from collections.abc import Collection
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from edgeward.model.authority import KeyRef


class KeyStore(Protocol):
    """Private keys by reference. Raises `NotFound` for a reference that names nothing, `WrongPassword` when the store cannot be opened."""

    def create(self, algorithm: str) -> KeyRef:
        """A new key (`ec-p256`, `ec-p384` or `rsa`), kept durably before this returns."""
        ...

    def adopt(self, key: CertificateIssuerPrivateKeyTypes) -> KeyRef:
        """Keep a key that was made elsewhere. Raises `KeyPolicyRefused` where keys cannot be brought in."""
        ...

    def signer(self, ref: KeyRef) -> CertificateIssuerPrivateKeyTypes:
        """An object that signs with the key. It need not be the key: for hardware it is a stand-in with the same interface."""
        ...

    def export(self, ref: KeyRef) -> bytes:
        """The key as PKCS#8 DER in the clear, for an operator who asked for it by name. Raises `KeyPolicyRefused` for hardware."""
        ...

    def kubeedge_mac(self, ref: KeyRef, message: bytes) -> bytes:
        """HMAC-SHA256 of `message` under the key's own DER (SEC 1, or PKCS#1 for RSA), as KubeEdge's tokens have it.

        Raises `KeyPolicyRefused` for hardware, and for keys of other kinds.
        """
        ...

    def confirm(self, ref: KeyRef) -> None:
        """A row speaks of this key now: it stays. Until then it is on trial."""
        ...

    def settle(self, kept: Collection[KeyRef]) -> int:
        """At start-up, when nobody else makes keys: of those on trial, which a crash left behind, the ones in `kept` stay and the others
        go; a key that was confirmed is never touched. How many went."""
        ...

    def remove(self, ref: KeyRef) -> None:
        """Forget the key. Nothing happens when it is not there."""
        ...
