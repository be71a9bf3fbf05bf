"""Password-based encryption as files use it: reading a scheme's parameters, refusing the ones that are bombs, and
decrypting.

A file names its own cost: 10^8 rounds of PBKDF2 or 16 GiB of scrypt would stop whoever opens it. So a scheme is first
read (`read_scheme`), then judged (`Scheme.affordable`), and only then derived. RFC 8018 (PBES2), RFC 7292 appendix B
and C (PKCS#12).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4, RC2, TripleDES
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from edgeward.errors import Unreadable, UnsupportedKey, WrongPassword
from edgeward.pki import asn1
from edgeward.pki.formats import rc2

PBES2 = "1.2.840.113549.1.5.13"
PBKDF2 = "1.2.840.113549.1.5.12"
SCRYPT = "1.3.6.1.4.1.11591.4.11"
HMAC_SHA256 = "1.2.840.113549.2.9"
AES_256_CBC = "2.16.840.1.101.3.4.1.42"
PKCS12_3DES = "1.2.840.113549.1.12.1.3"

MAX_PBKDF2_ROUNDS = 10_000_000
"""About 2 s of one core with SHA-256; sixteen times what OWASP asks for."""

MAX_PKCS12_ROUNDS = 1_000_000
"""Rounds of the PKCS#12 derivation, which runs in Python: about 1.5 s. Programs write 1 to 100,000."""

MAX_SCRYPT_MEMORY = 256 * 1024 * 1024
"""Octets: twice what we write."""

MAX_SCRYPT_WORK = 2**22
"""n * r * p: about 1.5 s; we write 2^20."""

PRFS = {
    "1.2.840.113549.2.7": "sha1",
    "1.2.840.113549.2.8": "sha224",
    HMAC_SHA256: "sha256",
    "1.2.840.113549.2.10": "sha384",
    "1.2.840.113549.2.11": "sha512",
}

_PBES2_CIPHERS: dict[str, tuple[str, int, Callable[[bytes], BlockCipherAlgorithm]]] = {
    "2.16.840.1.101.3.4.1.2": ("AES-128-CBC", 16, algorithms.AES),
    "2.16.840.1.101.3.4.1.22": ("AES-192-CBC", 24, algorithms.AES),
    AES_256_CBC: ("AES-256-CBC", 32, algorithms.AES),
    "1.2.840.113549.3.7": ("3DES-CBC", 24, TripleDES),
}

_PKCS12_CIPHERS = {
    "1.2.840.113549.1.12.1.1": ("RC4-128", 16),
    "1.2.840.113549.1.12.1.2": ("RC4-40", 5),
    PKCS12_3DES: ("3DES", 24),
    "1.2.840.113549.1.12.1.4": ("3DES with two keys", 16),
    "1.2.840.113549.1.12.1.5": ("RC2-128", 16),
    "1.2.840.113549.1.12.1.6": ("RC2-40", 5),
}

_PBES1 = {
    "1.2.840.113549.1.5.1": "MD2 and DES",
    "1.2.840.113549.1.5.3": "MD5 and DES",
    "1.2.840.113549.1.5.4": "MD2 and RC2",
    "1.2.840.113549.1.5.6": "MD5 and RC2",
    "1.2.840.113549.1.5.10": "SHA-1 and DES",
    "1.2.840.113549.1.5.11": "SHA-1 and RC2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One password-based encryption as a file states it. What does not apply is 0 or empty."""

    algorithm: str
    """The OID of the scheme."""
    words: str
    """The scheme for people."""
    derivation: str = ""
    """`pbkdf2`, `scrypt`, `pkcs12` or empty for one that is known by name only."""
    digest: str = ""
    salt: bytes = b""
    iterations: int = 0
    n: int = 0
    r: int = 0
    p: int = 0
    cipher: str = ""
    """The OID of the cipher."""
    key_length: int = 0
    iv: bytes = b""
    weak: bool = False
    """Whether the cipher or the derivation is broken or from another age."""

    @property
    def seconds(self) -> float:
        """About how long one derivation takes on one core, for budgets over many."""
        if self.derivation == "scrypt":
            return self.n * self.r * self.p / 2_800_000
        return self.iterations / (700_000 if self.derivation == "pkcs12" else 5_000_000)

    def affordable(self, what: str) -> None:
        """Return when deriving the key stays within the limits of this module. Raises `UnsupportedKey` otherwise."""
        limit = MAX_PKCS12_ROUNDS if self.derivation == "pkcs12" else MAX_PBKDF2_ROUNDS
        if not 0 <= self.iterations <= limit:
            raise UnsupportedKey(why=f"{what} demands {self.iterations} rounds of derivation, {limit} is the limit")
        if self.derivation == "scrypt" and (
            self.n < 2
            or self.r < 1
            or self.p < 1
            or 128 * self.n * self.r > MAX_SCRYPT_MEMORY
            or self.n * self.r * self.p > MAX_SCRYPT_WORK
        ):
            raise UnsupportedKey(
                why=f"{what} demands scrypt with n={self.n}, r={self.r}, p={self.p}: more than 256 MiB or 4 Mi steps"
            )


def read_scheme(node: asn1.Node, what: str) -> Scheme:
    """The scheme in an AlgorithmIdentifier. Raises `Unreadable`, naming `what`, when its parameters are not of
    their kind.
    """
    try:
        return _read_scheme(node)
    except (IndexError, ValueError, Unreadable) as error:
        raise Unreadable(what=what, why="the parameters of its encryption are malformed") from error


def _read_scheme(node: asn1.Node) -> Scheme:
    algorithm = asn1.oid_of(node.children[0])
    if algorithm == PBES2:
        derivation, cipher = node.children[1].children
        return _read_pbes2(derivation, cipher)
    parameters = node.children[1].children if len(node.children) > 1 else ()
    if algorithm in _PKCS12_CIPHERS:
        name, key_length = _PKCS12_CIPHERS[algorithm]
        iterations = asn1.integer_of(parameters[1])
        return Scheme(
            algorithm=algorithm,
            words=f"PKCS#12 PBE: SHA-1, {iterations} rounds, {name}",
            derivation="pkcs12",
            digest="sha1",
            salt=asn1.string_octets(parameters[0]),
            iterations=iterations,
            cipher=algorithm,
            key_length=key_length,
            weak=True,
        )
    if algorithm in _PBES1:
        iterations = asn1.integer_of(parameters[1])
        return Scheme(
            algorithm=algorithm,
            words=f"PBES1: {_PBES1[algorithm]}, {iterations} rounds",
            iterations=iterations,
            weak=True,
        )
    return Scheme(algorithm=algorithm, words=f"algorithm {algorithm}")


def _read_pbes2(derivation: asn1.Node, cipher: asn1.Node) -> Scheme:
    cipher_oid = asn1.oid_of(cipher.children[0])
    name, key_length, _ = _PBES2_CIPHERS.get(cipher_oid, (f"cipher {cipher_oid}", 0, algorithms.AES))
    iv = asn1.string_octets(cipher.children[1]) if len(cipher.children) > 1 else b""
    kind = asn1.oid_of(derivation.children[0])
    parameters = derivation.children[1].children
    salt = asn1.string_octets(parameters[0])
    weak = "DES" in name
    if kind == SCRYPT:
        n, r, p = (asn1.integer_of(value) for value in parameters[1:4])
        words = f"PBES2: scrypt n={n} r={r} p={p}, {name}"
        return Scheme(
            algorithm=PBES2, words=words, derivation="scrypt", salt=salt, n=n, r=r, p=p, cipher=cipher_oid,
            key_length=key_length, iv=iv, weak=weak,
        )  # fmt: skip
    iterations = asn1.integer_of(parameters[1])
    prf = next(
        (asn1.oid_of(value.children[0]) for value in parameters[2:] if value.is_universal(16)), "1.2.840.113549.2.7"
    )
    digest = PRFS.get(prf, "")
    if kind != PBKDF2 or not digest:
        return Scheme(algorithm=PBES2, words=f"PBES2: derivation {kind} with {prf}, {name}", iterations=iterations)
    return Scheme(
        algorithm=PBES2,
        words=f"PBES2: PBKDF2-HMAC-{digest.upper()}, {iterations} rounds, {name}",
        derivation="pbkdf2",
        digest=digest,
        salt=salt,
        iterations=iterations,
        cipher=cipher_oid,
        key_length=key_length,
        iv=iv,
        weak=weak or iterations < 10_000,
    )


def pkcs12_derive(digest: str, password: bytes, salt: bytes, purpose: int, iterations: int, size: int) -> bytes:
    """`size` octets by the PKCS#12 derivation; `password` is UTF-16 with its two zero octets, or empty for none at all.

    `purpose` is 1 for a key, 2 for an IV, 3 for a MAC key. RFC 7292 appendix B.2.
    """
    block = hashlib.new(digest, usedforsecurity=False).block_size

    def stretched(octets: bytes) -> bytes:
        full = -(-len(octets) // block) * block
        return (octets * (full // len(octets) + 1))[:full] if octets else b""

    blocks = bytearray(stretched(salt) + stretched(password))
    derived = b""
    while True:
        output = bytes((purpose,)) * block + blocks
        for _ in range(max(iterations, 1)):
            output = hashlib.new(digest, output, usedforsecurity=False).digest()
        derived += output
        if len(derived) >= size:
            return derived[:size]
        increment = int.from_bytes(stretched(output)[:block], "big") + 1
        for start in range(0, len(blocks), block):
            total = int.from_bytes(blocks[start : start + block], "big") + increment
            blocks[start : start + block] = (total % (1 << 8 * block)).to_bytes(block, "big")


def pkcs12_password(password: str) -> bytes:
    """A password as PKCS#12 wants it: UTF-16, big-endian, with two zero octets behind it. RFC 7292 appendix B.1."""
    return password.encode("utf-16-be", "surrogatepass") + b"\0\0"


def decrypt(scheme: Scheme, encrypted: bytes, password: str, *, null_password: bool, what: str) -> bytes:
    """What `encrypted` hides under `password`.

    `null_password` says that an empty password means none at all instead of the empty text (PKCS#12 knows both).
    `what` names the content in errors. Raises `UnsupportedKey` for an unknown or too costly scheme, `WrongPassword`
    when the padding is not sound.
    """
    scheme.affordable(what)
    try:
        if scheme.derivation == "pkcs12":
            return _decrypt_pkcs12(
                scheme, encrypted, b"" if null_password and not password else pkcs12_password(password)
            )
        if scheme.derivation not in {"pbkdf2", "scrypt"} or not scheme.key_length:
            raise UnsupportedKey(why=f"{what} is encrypted with {scheme.words}")
        secret = password.encode("utf-8", "surrogatepass")
        if scheme.derivation == "scrypt":
            key = Scrypt(salt=scheme.salt, length=scheme.key_length, n=scheme.n, r=scheme.r, p=scheme.p).derive(secret)
        else:
            key = hashlib.pbkdf2_hmac(scheme.digest, secret, scheme.salt, max(scheme.iterations, 1), scheme.key_length)
        return decipher(scheme, encrypted, key)
    except (ValueError, OverflowError, MemoryError) as error:
        raise WrongPassword(what=what) from error


def decipher(scheme: Scheme, encrypted: bytes, key: bytes) -> bytes:
    """What `encrypted` hides under a PBES2 scheme whose key was derived. Raises `ValueError` when the padding is not sound."""
    return _cbc(_PBES2_CIPHERS[scheme.cipher][2](key), scheme.iv, encrypted)


def _decrypt_pkcs12(scheme: Scheme, encrypted: bytes, password: bytes) -> bytes:
    name = _PKCS12_CIPHERS[scheme.algorithm][0]
    key = pkcs12_derive(scheme.digest, password, scheme.salt, 1, scheme.iterations, scheme.key_length)
    if name.startswith("RC4"):
        return Cipher(ARC4(key), None).decryptor().update(encrypted)
    iv = pkcs12_derive(scheme.digest, password, scheme.salt, 2, scheme.iterations, 8)
    if name == "RC2-40":
        return rc2.decrypt_cbc(key, 40, iv, encrypted)
    if name.startswith("RC2"):
        return _cbc(RC2(key), iv, encrypted)
    return _cbc(TripleDES(key if len(key) == 24 else key + key[:8]), iv, encrypted)


def _cbc(cipher: BlockCipherAlgorithm, iv: bytes, encrypted: bytes) -> bytes:
    decryptor = Cipher(cipher, modes.CBC(iv)).decryptor()
    padded = decryptor.update(encrypted) + decryptor.finalize()
    unpadder = padding.PKCS7(cipher.block_size).unpadder()
    return unpadder.update(padded) + unpadder.finalize()
