"""Java key stores: reading JKS and JCEKS, writing JKS.

The formats are Sun's own and documented by their source only. JKS protects a key by XOR with a SHA-1 key stream and
the whole file by a SHA-1 keyed with a constant: both are weak, and neither may guard anything that matters. Java
reads PKCS#12 since version 8.
"""

import hashlib
import hmac
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from edgeward.errors import EdgewardError, PasswordNeeded, Unreadable, UnsupportedKey, WrongPassword
from edgeward.pki import asn1, der

MAGIC = {b"\xfe\xed\xfe\xed": "JKS", b"\xce\xce\xce\xce": "JCEKS"}

MAX_ENTRIES = 5_000
"""Entries in one store: Java's own list of roots has 150."""

MAX_ROUNDS = 1_000_000
"""Rounds of JCEKS's derivation over all keys of a file, about 1.5 s; Java writes 200,000 for each."""

JKS_PROTECTION = "1.3.6.1.4.1.42.2.17.1.1"
JCEKS_PROTECTION = "1.3.6.1.4.1.42.2.19.1"

_WHITENER = b"Mighty Aphrodite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry: a trusted certificate (`key` is None), or a key with its chain.

    `key` is PKCS#8 in the clear when the password opened it, EncryptedPrivateKeyInfo when `problem` says why not.
    """

    alias: str
    created_ms: int
    """Milliseconds since 1970."""
    certificates: tuple[bytes, ...]
    key: bytes | None = field(repr=False, default=None)
    problem: EdgewardError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A key store: `JKS` or `JCEKS`, its entries, and what to know of it."""

    kind: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]


class _Octets:
    """A cursor over the file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise Unreadable(what="Java key store", why=f"it ends in the middle of an entry at offset {self.at}")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text(self) -> str:
        return self.take(self.number(2)).replace(b"\xc0\x80", b"\0").decode("utf-8", "replace")


def read(data: bytes, password: str | None, key_password: str | None = None) -> Store:
    """The entries of a JKS or JCEKS store.

    Without a password the certificates are read and nothing is checked; with one the store's digest is checked first
    (`WrongPassword`), then every key is opened with `key_password` (the store's own where None). Raises `Unreadable`
    for a store that is not sound.
    """
    kind = MAGIC.get(data[:4])
    if kind is None:
        raise Unreadable(what="Java key store", why="it does not start with the mark of JKS or JCEKS")
    notes = [f"{kind} protects its keys weakly: convert it to PKCS#12, which Java reads since version 8"]
    if password is None:
        notes.append("the store's digest was not checked: no password was given")
    else:
        _check_digest(data, password)
    source = _Octets(data[:-20])
    source.take(4)
    version, count = source.number(4), source.number(4)
    if version not in {1, 2} or count > MAX_ENTRIES:
        raise Unreadable(what="Java key store", why=f"version {version} with {count} entries")
    entries, rounds = [], MAX_ROUNDS
    for _ in range(count):
        tag = source.number(4)
        if tag == 3 and kind == "JCEKS":
            notes.append(f"a secret key ({source.text()}) is skipped, with every entry behind it: it is a Java object")
            break
        if tag not in {1, 2}:
            raise Unreadable(what="Java key store", why=f"an entry of kind {tag} at offset {source.at - 4}")
        alias, created = source.text(), source.number(8)
        protected = source.take(source.number(4)) if tag == 1 else None
        chain = source.number(4) if tag == 1 else 1
        if chain > MAX_ENTRIES:
            raise Unreadable(what="Java key store", why=f"a chain of {chain} certificates")
        certificates = tuple(_certificate(source, version) for _ in range(chain))
        entry = Entry(alias=alias, created_ms=created, certificates=certificates)
        if protected is not None:
            entry, rounds = _with_key(entry, protected, password if key_password is None else key_password, rounds)
        entries.append(entry)
    return Store(kind=kind, entries=tuple(entries), notes=tuple(notes))


def _certificate(source: _Octets, version: int) -> bytes:
    if version == 2:
        source.text()
    return source.take(source.number(4))


def _check_digest(data: bytes, password: str) -> None:
    digest = hashlib.sha1(_utf16(password) + _WHITENER + data[:-20], usedforsecurity=False).digest()
    if not hmac.compare_digest(digest, data[-20:]):
        raise WrongPassword(what="the key store")


def _utf16(password: str) -> bytes:
    return password.encode("utf-16-be", "surrogatepass")


def _with_key(entry: Entry, protected: bytes, password: str | None, rounds: int) -> tuple[Entry, int]:
    """`entry` with its key opened, or with the reason why not, and the rounds of derivation that are left."""
    what = f"the key {entry.alias!r}"
    key = protected
    problem: EdgewardError | None = None
    try:
        node = asn1.exactly(protected, "protected key", max_nodes=50)
        algorithm = node.children[0]
        encrypted = asn1.string_octets(node.children[1])
        scheme = asn1.oid_of(algorithm.children[0])
        if password is None:
            raise PasswordNeeded(what=what)
        if scheme == JKS_PROTECTION:
            key = _open_jks(encrypted, _utf16(password), what)
        elif scheme == JCEKS_PROTECTION:
            salt = asn1.string_octets(algorithm.children[1].children[0])
            iterations = asn1.integer_of(algorithm.children[1].children[1])
            rounds -= max(iterations, 0)
            if rounds < 0 or iterations < 1:
                raise UnsupportedKey(why=f"{what} demands {iterations} rounds of derivation")
            key = _open_jceks(encrypted, password, salt, iterations, what)
        else:
            raise UnsupportedKey(why=f"{what} is protected by {scheme}")
    except IndexError:
        problem = Unreadable(what="protected key", why="a part of it is missing")
    except EdgewardError as error:
        problem = error
    opened = Entry(
        alias=entry.alias, created_ms=entry.created_ms, certificates=entry.certificates, key=key, problem=problem
    )
    return opened, rounds


def _key_stream(password: bytes, salt: bytes, size: int) -> bytes:
    stream, block = b"", salt
    while len(stream) < size:
        block = hashlib.sha1(password + block, usedforsecurity=False).digest()
        stream += block
    return stream[:size]


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")


def _open_jks(protected: bytes, password: bytes, what: str) -> bytes:
    if len(protected) < 40 or len(protected) > 64 * 1024:
        raise Unreadable(what="protected key", why="it is shorter than its own salt and digest, or longer than any key")
    salt, encrypted, check = protected[:20], protected[20:-20], protected[-20:]
    key = _xor(encrypted, _key_stream(password, salt, len(encrypted)))
    if not hmac.compare_digest(hashlib.sha1(password + key, usedforsecurity=False).digest(), check):
        raise WrongPassword(what=what)
    return key


def _open_jceks(encrypted: bytes, password: str, salt: bytes, iterations: int, what: str) -> bytes:
    """Sun's PBEWithMD5AndTripleDES: two chains of MD5, one for each half of the salt."""
    if len(salt) != 8:
        raise Unreadable(what="protected key", why=f"a salt of {len(salt)} octets")
    first, second = salt[:4], salt[4:]
    if first == second:
        first = bytes((first[3], first[0], first[1], first[3]))  # Sun meant to reverse it, and this is what it does
    secret, derived = password.encode("utf-8", "surrogatepass"), b""
    for half in (first, second):
        block = half
        for _ in range(iterations):
            block = hashlib.md5(block + secret, usedforsecurity=False).digest()
        derived += block
    try:
        decryptor = Cipher(TripleDES(derived[:24]), modes.CBC(derived[24:])).decryptor()
        padded = decryptor.update(encrypted) + decryptor.finalize()
        unpadder = padding.PKCS7(64).unpadder()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError as error:
        raise WrongPassword(what=what) from error


def write(entries: Sequence[Entry], password: str, *, entropy: Callable[[int], bytes]) -> bytes:
    """A JKS store of version 2 with `entries`, their keys (PKCS#8 in the clear) under the store's password.

    `entropy` gives so many random octets: one salt of 20 for each key. Java takes aliases in lower case and passwords
    of at least six characters. Raises `ValueError` for a shorter one.
    """
    if len(password) < 6:
        raise ValueError("Java wants a password of at least six characters")
    secret = _utf16(password)
    parts = [struct.pack(">4sII", b"\xfe\xed\xfe\xed", 2, len(entries))]
    for entry in entries:
        tag = 2 if entry.key is None else 1
        parts += [struct.pack(">I", tag), _text(entry.alias), struct.pack(">Q", entry.created_ms)]
        if entry.key is not None:
            salt = entropy(20)
            stream = _xor(entry.key, _key_stream(secret, salt, len(entry.key)))
            check = hashlib.sha1(secret + entry.key, usedforsecurity=False).digest()
            protected = der.sequence(der.algorithm(JKS_PROTECTION, der.null()), der.octet_string(salt + stream + check))
            parts += [struct.pack(">I", len(protected)), protected, struct.pack(">I", len(entry.certificates))]
        parts += [_text("X.509") + struct.pack(">I", len(der_)) + der_ for der_ in entry.certificates]
    body = b"".join(parts)
    return body + hashlib.sha1(secret + _WHITENER + body, usedforsecurity=False).digest()


def _text(text: str) -> bytes:
    encoded = text.encode("utf-8", "replace").replace(b"\0", b"\xc0\x80")[:65535]
    return struct.pack(">H", len(encoded)) + encoded
