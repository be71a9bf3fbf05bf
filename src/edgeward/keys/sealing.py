"""How keys are sealed at rest: PEM `ENCRYPTED PRIVATE KEY` under scrypt (r 8, p 1) and a passphrase, whatever they are kept in."""

import secrets

from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from edgeward.errors import Unreadable
from edgeward.pki import pem
from edgeward.pki.formats import pkcs8

SCRYPT_N = 2**17
"""0.4 s and 128 MiB for each guess."""

_LABEL = "ENCRYPTED PRIVATE KEY"


class Seal:
    """Seals keys under one passphrase, and opens them. `n` (a power of two from 2^14 on) is the cost of those sealed from now on.

    What was derived from the passphrase is remembered, and a key is sealed with the salt of one that was opened before, so that a server
    with several keys starts after one derivation. A guesser gains nothing: whoever finds the passphrase for one of them has it for all.
    """

    def __init__(self, passphrase: bytes, n: int = SCRYPT_N) -> None:
        self._passphrase = passphrase
        self._n = n
        self._derived: dict[tuple[bytes, int, int, int], bytes] = {}

    def seal(self, key: CertificateIssuerPrivateKeyTypes) -> bytes:
        """The key as PEM that only the passphrase opens."""
        known = (salt for salt, n, _, _ in self._derived if n == self._n)
        salt = next(known, None) or secrets.token_bytes(16)
        sealed = pkcs8.encrypt_scrypt(
            pkcs8.encode(key), self._passphrase, salt=salt, iv=secrets.token_bytes(16), n=self._n, derive=self._derive
        )
        return pem.encode(_LABEL, sealed)

    def open(self, sealed: bytes, what: str) -> CertificateIssuerPrivateKeyTypes:
        """The inverse of `seal`. Raises `Unreadable` or `WrongPassword`, which say `what` could not be opened."""
        blocks = pem.decode(sealed)
        if len(blocks) != 1 or blocks[0].label != _LABEL:
            raise Unreadable(what=what, why=f"it is not one PEM block {_LABEL}")
        # only `seal` makes these, and it takes no other kind
        return pkcs8.decrypt_scrypt(blocks[0].der, self._passphrase, derive=self._derive, what=what)  # type: ignore[return-value]

    def _derive(self, password: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
        known = (salt, n, r, p)
        if known not in self._derived:
            self._derived[known] = pkcs8.scrypt(password, salt, n, r, p)
        return self._derived[known]
