"""PKCS#8: private keys in the clear and under a password, with a limit on the work that a file may demand.

The library's `BestAvailableEncryption` derives the key with 2,048 rounds of PBKDF2, which is thirty years old in
spirit, and its rounds cannot be set for PKCS#8. So the encrypted form is written here, over the library's own
primitives:

- `encrypt_portable` is for files that leave us: PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC, which every program
  reads.
- `encrypt_scrypt` is for keys at rest with us: scrypt costs a guesser 128 MiB for each password, and OpenSSL's
  command line refuses to spend more than 32 MiB to read it.

RFC 5958 (EncryptedPrivateKeyInfo), RFC 8018 (PBES2), RFC 7914 (scrypt).
"""

import hashlib
from collections.abc import Callable

from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from edgeward.errors import PasswordNeeded, TooLarge, Unreadable, UnsupportedKey, WrongPassword
from edgeward.pki import asn1, der
from edgeward.pki.formats import pbe
from edgeward.pki.parse import guarded

MIN_ITERATIONS = 600_000
"""Rounds of PBKDF2-HMAC-SHA256 below which we do not write: OWASP's figure of 2023, about 0.1 s."""

MAX_PRIVATE_KEY = 64 * 1024
"""Octets. An RSA-16384 key has 9 KiB, ML-DSA-87 in expanded form 5 KiB."""


Scrypt32 = Callable[[bytes, bytes, int, int, int], bytes]
"""A key of 32 octets from password, salt, n, r and p. RFC 7914 section 6."""


def scrypt(password: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
    """The function itself, as expensive as `n`, `r` and `p` say."""
    return Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(password)


def encrypt_portable(
    pkcs8_der: bytes, password: bytes, *, salt: bytes, iv: bytes, iterations: int = MIN_ITERATIONS
) -> bytes:
    """`pkcs8_der` (PrivateKeyInfo) as EncryptedPrivateKeyInfo in DER, in the form that every program reads.

    `salt` has at least 16 octets and `iv` exactly 16, both fresh and random; `iterations` is at least
    `MIN_ITERATIONS`. PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC. Raises `ValueError` for a salt, an IV or a count
    that would be unsafe, or for an empty password: the caller's fault. RFC 8018 sections 5.2 and 6.2.
    """
    if iterations < MIN_ITERATIONS:
        raise ValueError(f"{iterations} rounds are too few, {MIN_ITERATIONS} is the least")
    return encrypt_pbkdf2(pkcs8_der, password, salt=salt, iv=iv, iterations=iterations)


def encrypt_pbkdf2(plain: bytes, password: bytes, *, salt: bytes, iv: bytes, iterations: int) -> bytes:
    """`plain` in the form of `encrypt_portable`, with any count of rounds: for containers whose readers have a limit
    of their own.

    Raises `ValueError` as that does. RFC 8018 section 6.2.
    """
    _check(password, salt, iv)
    key = hashlib.pbkdf2_hmac("sha256", password, salt, iterations, 32)
    derivation = der.algorithm(
        pbe.PBKDF2,
        der.sequence(der.octet_string(salt), der.integer(iterations), der.algorithm(pbe.HMAC_SHA256, der.null())),
    )
    return _encrypted(plain, key, iv, derivation)


def encrypt_scrypt(
    pkcs8_der: bytes,
    password: bytes,
    *,
    salt: bytes,
    iv: bytes,
    n: int = 2**17,
    r: int = 8,
    p: int = 1,
    derive: Scrypt32 = scrypt,
) -> bytes:
    """`pkcs8_der` (PrivateKeyInfo) as EncryptedPrivateKeyInfo in DER, under scrypt.

    `n` (a power of two, at least 2^14), `r` and `p` set the cost: `128 * n * r` octets of memory, 128 MiB as given
    here, about 0.4 s. `salt` has at least 16 octets and is random, `iv` has exactly 16 and is fresh as well. `derive` is
    for who remembers what it gave. The library reads it back; OpenSSL's command line does so up to `n` = 2^14 only.
    Raises `ValueError` for parameters that would be unsafe: the caller's fault. RFC 7914 sections 2 and 7.
    """
    if n < 2**14 or r < 8 or p < 1 or n & (n - 1):
        raise ValueError("scrypt needs n >= 2^14 (a power of two), r >= 8 and p >= 1")
    _check(password, salt, iv)
    key = derive(password, salt, n, r, p)
    derivation = der.algorithm(
        pbe.SCRYPT, der.sequence(der.octet_string(salt), der.integer(n), der.integer(r), der.integer(p))
    )
    return _encrypted(pkcs8_der, key, iv, derivation)


def _check(password: bytes, salt: bytes, iv: bytes) -> None:
    if not password:
        raise ValueError("the password is empty")
    if len(salt) < 16 or len(iv) != 16:
        raise ValueError("the salt needs at least 16 octets and the IV exactly 16")


def _encrypted(plain: bytes, key: bytes, iv: bytes, derivation: bytes) -> bytes:
    padder = padding.PKCS7(128).padder()
    padded = padder.update(plain) + padder.finalize()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    scheme = der.algorithm(pbe.PBES2, der.sequence(derivation, der.algorithm(pbe.AES_256_CBC, der.octet_string(iv))))
    return der.sequence(scheme, der.octet_string(encryptor.update(padded) + encryptor.finalize()))


def is_encrypted(key_der: bytes) -> bool:
    """Whether `key_der` has the shape of EncryptedPrivateKeyInfo. RFC 5958 section 3."""
    try:
        node, _ = asn1.read(key_der, "private key", max_nodes=200)
    except (Unreadable, TooLarge):
        return False
    return (
        node.is_universal(16)
        and len(node.children) == 2
        and node.children[0].is_universal(16)
        and node.children[1].is_universal(4)
    )


def describe_encryption(key_der: bytes) -> str:
    """How an EncryptedPrivateKeyInfo is encrypted, in words: `PBES2: PBKDF2-HMAC-SHA256, 600000 rounds, AES-256-CBC`.

    Raises `Unreadable` when it is none.
    """
    return pbe.read_scheme(_scheme(key_der), "encrypted private key").words


def _scheme(key_der: bytes) -> asn1.Node:
    node = asn1.exactly(key_der, "encrypted private key", max_nodes=200)
    if len(node.children) != 2 or not node.children[1].is_universal(4):
        raise Unreadable(what="encrypted private key", why="it does not have the two parts of EncryptedPrivateKeyInfo")
    return node.children[0]


def decrypt(key_der: bytes, password: bytes | None, *, what: str = "the private key") -> PrivateKeyTypes:
    """The private key in an EncryptedPrivateKeyInfo.

    `what` names the key in errors. Raises `PasswordNeeded` when `password` is None, `WrongPassword` when it does not
    open the key, `UnsupportedKey` for a derivation that would cost more than `pbe`'s limits or a scheme the library
    does not know, `Unreadable` or `TooLarge` for bytes that are no such structure. RFC 5958 section 3.
    """
    if len(key_der) > MAX_PRIVATE_KEY:
        raise TooLarge(what=what, limit=MAX_PRIVATE_KEY)
    pbe.read_scheme(_scheme(key_der), "encrypted private key").affordable(what)
    if password is None:
        raise PasswordNeeded(what=what)
    try:
        return guarded("private key", lambda: serialization.load_der_private_key(key_der, password or b""))
    except Unreadable as error:
        why = str(error.facts["why"])
        if "Unknown key encryption algorithm" in why:
            raise UnsupportedKey(
                why=f"it is encrypted with an algorithm that is not supported ({why.rsplit(': ', maxsplit=1)[-1]})"
            ) from error
        # A wrong password leaves good padding once in 256 times, and noise behind it that is no key.
        raise WrongPassword(what=what) from error


def decrypt_scrypt(
    key_der: bytes, password: bytes, *, derive: Scrypt32 = scrypt, what: str = "the private key"
) -> PrivateKeyTypes:
    """What `encrypt_scrypt` made; `derive` as there. Raises as `decrypt` does, and `Unreadable` for another scheme."""
    scheme = pbe.read_scheme(_scheme(key_der), "encrypted private key")
    if scheme.derivation != "scrypt" or scheme.key_length != 32:
        raise Unreadable(what=what, why=f"it is encrypted with {scheme.words} and not with scrypt and AES-256")
    scheme.affordable(what)
    encrypted = asn1.exactly(key_der, "encrypted private key", max_nodes=200).children[1].content
    try:
        plain = pbe.decipher(scheme, encrypted, derive(password, scheme.salt, scheme.n, scheme.r, scheme.p))
        return guarded("private key", lambda: serialization.load_der_private_key(plain, None))
    except (
        ValueError,
        Unreadable,
    ) as error:  # a wrong password leaves good padding once in 256 times, and noise behind it
        raise WrongPassword(what=what) from error


def read(key_der: bytes, *, what: str = "the private key") -> PrivateKeyTypes:
    """The private key in the clear in `key_der`: PKCS#8, SEC1 or PKCS#1 (at most `MAX_PRIVATE_KEY` octets).

    Raises `Unreadable`, `TooLarge`, or `UnsupportedKey` for an algorithm the library does not know; `PasswordNeeded`
    when it is encrypted.
    """
    if len(key_der) > MAX_PRIVATE_KEY:
        raise TooLarge(what=what, limit=MAX_PRIVATE_KEY)
    if is_encrypted(key_der):
        raise PasswordNeeded(what=what)
    return guarded("private key", lambda: serialization.load_der_private_key(key_der, None))


def encode(key: PrivateKeyTypes) -> bytes:
    """`key` as PrivateKeyInfo (PKCS#8) in DER, in the clear: never write it to a file that others may read. RFC
    5958 section 2.
    """
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
