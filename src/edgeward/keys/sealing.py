"""How a key is sealed at rest: a PEM `ENCRYPTED PRIVATE KEY` under scrypt (r 8, p 1) and a passphrase, whatever it is kept in."""

import secrets

from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from edgeward.errors import Unreadable
from edgeward.pki import pem
from edgeward.pki.formats import pkcs8

SCRYPT_N = 2**17
"""0.4 s and 128 MiB for each guess."""

_LABEL = "ENCRYPTED PRIVATE KEY"


def seal(key: CertificateIssuerPrivateKeyTypes, passphrase: bytes, n: int = SCRYPT_N) -> bytes:
    """The key as PEM that only the passphrase opens."""
    salt, iv = secrets.token_bytes(16), secrets.token_bytes(16)
    return pem.encode(_LABEL, pkcs8.encrypt_scrypt(pkcs8.encode(key), passphrase, salt=salt, iv=iv, n=n))


def unseal(sealed: bytes, passphrase: bytes, what: str) -> CertificateIssuerPrivateKeyTypes:
    """The inverse of `seal`. Raises `Unreadable` or `WrongPassword`, which say `what` could not be opened."""
    blocks = pem.decode(sealed)
    if len(blocks) != 1 or blocks[0].label != _LABEL:
        raise Unreadable(what=what, why=f"it is not one PEM block {_LABEL}")
    # only `seal` makes these, and it takes no other kind
    return pkcs8.decrypt(blocks[0].der, passphrase, what=what)  # type: ignore[return-value]
