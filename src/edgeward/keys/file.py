"""Keys in files of a directory, each a PEM `ENCRYPTED PRIVATE KEY` under scrypt (2^17, 8, 1), 0600 in a 0700 directory.

A new key is `NAME.key.trial` until somebody confirms that a row speaks of it, and `NAME.key` from then on. What a crash leaves on trial is
settled at the next start; a confirmed key is never removed unasked, whatever the store says: it may be an older copy.

The passphrase opens them all. A key that has been opened stays in memory until the process ends.
"""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from edgeward import files
from edgeward.keys.memory import generate, traditional_der
from edgeward.keys.sealing import SCRYPT_N, Seal
from edgeward.model.authority import KeyRef
from edgeward.model.token import Secret
from edgeward.pki.formats import pkcs8

_TRIAL = ".key.trial"


class FileKeys:
    """`keys.port.KeyStore` in `directory`, which is created when it is not there. `scrypt_n` (a power of two from 2^14 on) is the
    cost of opening a key that is written from now on."""

    def __init__(self, directory: Path, passphrase: Secret, *, scrypt_n: int = SCRYPT_N) -> None:
        self._directory = directory
        self._seal = Seal(passphrase.reveal().encode(), scrypt_n)
        self._open: dict[str, CertificateIssuerPrivateKeyTypes] = {}
        files.make_private_directory(directory)
        files.sweep(directory)  # what a crash left half-written

    def create(self, algorithm: str) -> KeyRef:
        """A new key, in its file before this returns."""
        return self.adopt(generate(algorithm))

    def adopt(self, key: CertificateIssuerPrivateKeyTypes) -> KeyRef:
        """Keep a key under a new random name."""
        name = secrets.token_hex(8)
        files.write_private(self._trial(name), self._seal.seal(key))
        self._open[name] = key
        return KeyRef(store="file", name=name)

    def signer(self, ref: KeyRef) -> CertificateIssuerPrivateKeyTypes:
        """The key, opened with the passphrase."""
        if ref.name not in self._open:
            path = self._path(ref.name)
            if not path.exists() and self._trial(ref.name).exists():
                path = self._trial(ref.name)
            self._open[ref.name] = self._seal.open(files.read_private(path), f"the key file {path}")
        return self._open[ref.name]

    def export(self, ref: KeyRef) -> bytes:
        """PKCS#8 DER in the clear."""
        return pkcs8.encode(self.signer(ref))

    def kubeedge_mac(self, ref: KeyRef, message: bytes) -> bytes:
        """HMAC-SHA256 under the key's DER."""
        return hmac.digest(traditional_der(self.signer(ref)), message, hashlib.sha256)

    def confirm(self, ref: KeyRef) -> None:
        """The key's file gets its lasting name."""
        trial = self._trial(ref.name)
        if trial.exists():
            trial.rename(self._path(ref.name))
            files.sync_directory(self._directory)

    def settle(self, kept: Collection[KeyRef]) -> int:
        """Confirm or unlink what is on trial."""
        names = {ref.name for ref in kept}
        gone = 0
        for path in sorted(self._directory.glob(f"*{_TRIAL}")):
            ref = KeyRef(store="file", name=path.name.removesuffix(_TRIAL))
            if ref.name in names:
                self.confirm(ref)
            else:
                self.remove(ref)
                gone += 1
        return gone

    def remove(self, ref: KeyRef) -> None:
        """Forget the key and unlink its file."""
        self._open.pop(ref.name, None)
        self._trial(ref.name).unlink(missing_ok=True)
        self._path(ref.name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.key"

    def _trial(self, name: str) -> Path:
        return self._directory / f"{name}{_TRIAL}"
