"""Keys in the store that replicas share, each sealed as in a file: the database has nothing that the passphrase does not open.

A key that has been opened stays in memory until the process ends.
"""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from edgeward.errors import NotFound
from edgeward.keys.memory import generate, traditional_der
from edgeward.keys.sealing import SCRYPT_N, Seal
from edgeward.model.authority import KeyRef
from edgeward.model.token import Secret
from edgeward.pki.formats import pkcs8


class Rows(Protocol):
    """Octets by name, durable and shared. Raises `StoreUnavailable`."""

    def put(self, name: str, sealed: bytes) -> None:
        """Keep it, on trial at this replica."""
        ...

    def get(self, name: str) -> bytes | None: ...
    def confirm(self, name: str) -> None: ...
    def on_trial(self) -> Collection[str]:
        """The names of those that are on trial at this replica."""
        ...

    def remove(self, name: str) -> None: ...


class DatabaseKeys:
    """`keys.port.KeyStore` in `rows`. Every replica has the same passphrase. `scrypt_n` is the cost of opening a key that is
    written from now on."""

    def __init__(self, rows: Rows, passphrase: Secret, *, scrypt_n: int = SCRYPT_N) -> None:
        self._rows = rows
        self._seal = Seal(passphrase.reveal().encode(), scrypt_n)
        self._open: dict[str, CertificateIssuerPrivateKeyTypes] = {}

    def create(self, algorithm: str) -> KeyRef:
        """A new key, in its row before this returns."""
        return self.adopt(generate(algorithm))

    def adopt(self, key: CertificateIssuerPrivateKeyTypes) -> KeyRef:
        """Keep a key under a new random name."""
        name = secrets.token_hex(8)
        self._rows.put(name, self._seal.seal(key))
        self._open[name] = key
        return KeyRef(store="database", name=name)

    def signer(self, ref: KeyRef) -> CertificateIssuerPrivateKeyTypes:
        """The key, opened with the passphrase."""
        if ref.name not in self._open:
            sealed = self._rows.get(ref.name)
            if sealed is None:
                raise NotFound(what="key", name=ref)
            self._open[ref.name] = self._seal.open(sealed, f"the key {ref}")
        return self._open[ref.name]

    def export(self, ref: KeyRef) -> bytes:
        """PKCS#8 DER in the clear."""
        return pkcs8.encode(self.signer(ref))

    def kubeedge_mac(self, ref: KeyRef, message: bytes) -> bytes:
        """HMAC-SHA256 under the key's DER."""
        return hmac.digest(traditional_der(self.signer(ref)), message, hashlib.sha256)

    def confirm(self, ref: KeyRef) -> None:
        """The key is no replica's trial any more."""
        self._rows.confirm(ref.name)

    def settle(self, kept: Collection[KeyRef]) -> int:
        """Confirm or remove what this replica's earlier life left on trial; what others have on trial is theirs."""
        names = {ref.name for ref in kept}
        gone = 0
        for name in self._rows.on_trial():
            ref = KeyRef(store="database", name=name)
            if name in names:
                self.confirm(ref)
            else:
                self.remove(ref)
                gone += 1
        return gone

    def remove(self, ref: KeyRef) -> None:
        """Forget the key and its row."""
        self._open.pop(ref.name, None)
        self._rows.remove(ref.name)
