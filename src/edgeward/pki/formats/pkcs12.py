"""PKCS#12 stores: reading every one that programs have written since 1999, and writing a modern and a legacy kind.

The library's own reader takes one key, hides the parameters and spends whatever a file asks for. This one says how a
store is protected before it opens it, keeps all its keys, certificates and CRLs with their names, takes BER, knows
that an empty password and no password are two things, and has a budget. RFC 7292; RFC 9579 for PBMAC1; RFC 9879 for
its use in certificates' stores.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from edgeward.errors import EdgewardError, PasswordNeeded, TooLarge, Unreadable, UnsupportedKey, WrongPassword
from edgeward.pki import asn1, der
from edgeward.pki.formats import pbe, pkcs8

DATA = "1.2.840.113549.1.7.1"
ENCRYPTED_DATA = "1.2.840.113549.1.7.6"
_BAG = "1.2.840.113549.1.12.10.1."
_X509_CERTIFICATE, _X509_CRL = "1.2.840.113549.1.9.22.1", "1.2.840.113549.1.9.23.1"
_FRIENDLY_NAME, _LOCAL_KEY_ID = "1.2.840.113549.1.9.20", "1.2.840.113549.1.9.21"
_JAVA_TRUSTED = "2.16.840.1.113894.746875.1.1"
_ANY_USAGE = "2.5.29.37.0"
_PBMAC1 = "1.2.840.113549.1.5.14"

_DIGESTS = {
    "1.3.14.3.2.26": "sha1",
    "1.2.840.113549.2.5": "md5",
    "2.16.840.1.101.3.4.2.4": "sha224",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}

MAX_SECONDS = 5.0
"""Estimated time for all derivations that one store demands."""

MAX_UNASKED_SECONDS = 0.3
"""The same where nobody gave a password and the empty one is tried."""

MAX_BAGS = 5_000

WHAT = "the PKCS#12 store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bag:
    """One thing in the store. `kind` is `key`, `certificate`, `crl` or `secret`; a key that could not be opened has
    a `problem`.
    """

    kind: str
    data: bytes = field(repr=False)
    name: str = ""
    """The friendly name, which Java calls alias."""
    key_id: bytes = b""
    """The localKeyID: equal in a key and its certificate."""
    trusted: bool = False
    """Marked by Java as a trusted root."""
    protection: str = ""
    problem: EdgewardError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A store as read: its bags in order, how its integrity is protected, and why it could not be opened, if so."""

    bags: tuple[Bag, ...]
    mac: str
    notes: tuple[str, ...]
    problem: EdgewardError | None = None


class _Opening:
    """One attempt at a store: the password in one of its readings, and the time left."""

    def __init__(self, password: str | None, *, null: bool, seconds: float) -> None:
        self.password = password
        self.null = null
        self.left = seconds
        self.bags: list[Bag] = []
        self.notes: list[str] = []
        self.missing: EdgewardError | None = None

    def spend(self, seconds: float, what: str) -> None:
        self.left -= seconds
        if self.left < 0 or seconds < 0:
            raise UnsupportedKey(why=f"{what} demands more password derivation than any honest file")

    def decrypt(self, algorithm: asn1.Node, encrypted: bytes, what: str) -> tuple[bytes, str]:
        scheme = pbe.read_scheme(algorithm, what)
        scheme.affordable(what)
        self.spend(scheme.seconds + len(encrypted) / 400_000, what)
        if self.password is None:
            raise PasswordNeeded(what=WHAT)
        return pbe.decrypt(scheme, encrypted, self.password, null_password=self.null, what=what), scheme.words

    def contents(self, safe: bytes) -> None:
        """Read an AuthenticatedSafe. RFC 7292 section 4.1."""
        for info in asn1.exactly(safe, "PKCS#12 store").children:
            content_type = asn1.oid_of(info.children[0])
            if content_type == DATA:
                self.safe(asn1.string_octets(info.children[1].children[0]), "", 0)
            elif content_type == ENCRYPTED_DATA:
                content = info.children[1].children[0].children[1]
                try:
                    plain, words = self.decrypt(content.children[1], asn1.string_octets(content.children[2]), WHAT)
                except (WrongPassword, PasswordNeeded) as error:
                    self.missing = error
                    continue
                self.safe(plain, words, 0)
            else:
                self.notes.append(f"a part of type {content_type} is skipped: it is not encrypted under a password")

    def safe(self, octets: bytes, protection: str, depth: int) -> None:
        """Read a SafeContents. RFC 7292 section 4.2."""
        try:
            bags = asn1.exactly(octets, "PKCS#12 store").children
        except (Unreadable, TooLarge) as error:
            if not protection:
                raise
            # Noise behind good padding: the password was wrong after all, once in 256 times.
            self.missing = WrongPassword(what=WHAT)
            self.missing.__cause__ = error
            return
        for bag in bags:
            if len(self.bags) >= MAX_BAGS:
                raise TooLarge(what=f"{WHAT} ({MAX_BAGS} entries and more)", limit=bag.offset)
            self.bag(bag, protection, depth)

    def bag(self, bag: asn1.Node, protection: str, depth: int) -> None:
        bag_type = asn1.oid_of(bag.children[0])
        value = bag.children[1].children[0]
        attributes = _attributes(bag.children[2]) if len(bag.children) > 2 else Bag(kind="", data=b"")
        known = replace(attributes, protection=protection)
        number = bag_type.removeprefix(_BAG)
        if number == "1":
            self.bags.append(replace(known, kind="key", data=asn1.to_der(value)))
        elif number == "2":
            self.bags.append(self.shrouded(known, value))
        elif number in {"3", "4"}:
            kind, wanted = ("certificate", _X509_CERTIFICATE) if number == "3" else ("crl", _X509_CRL)
            if asn1.oid_of(value.children[0]) == wanted:
                self.bags.append(replace(known, kind=kind, data=asn1.string_octets(value.children[1].children[0])))
        elif number == "5":
            self.bags.append(replace(known, kind="secret", data=b""))
        elif number == "6" and depth < 4:
            for inner in value.children:
                self.bag(inner, protection, depth + 1)
        else:
            self.notes.append(f"an entry of type {bag_type} is skipped")

    def shrouded(self, known: Bag, value: asn1.Node) -> Bag:
        """A pkcs8ShroudedKeyBag, opened when it can be."""
        data = asn1.to_der(value)
        what = f"the key {known.name!r}" if known.name else "the key"
        try:
            plain, words = self.decrypt(value.children[0], asn1.string_octets(value.children[1]), what)
            asn1.exactly(plain, "private key")
        except (Unreadable, TooLarge) as error:
            problem: EdgewardError = WrongPassword(what=what)
            problem.__cause__ = error
        except EdgewardError as error:
            problem = error
        else:
            return replace(known, kind="key", data=plain, protection=words)
        return replace(known, kind="key", data=data, problem=problem)


def _attributes(node: asn1.Node) -> Bag:
    name, key_id, trusted = "", b"", False
    for attribute in node.children:
        kind = asn1.oid_of(attribute.children[0])
        values = attribute.children[1].children
        if kind == _FRIENDLY_NAME and values:
            name = asn1.text_of(values[0]).rstrip("\0")
        elif kind == _LOCAL_KEY_ID and values:
            key_id = asn1.string_octets(values[0])
        elif kind == _JAVA_TRUSTED:
            trusted = True
    return Bag(kind="", data=b"", name=name, key_id=key_id, trusted=trusted)


def read(data: bytes, password: str | None) -> Store:
    """The store in `data` (PFX, DER or BER), opened with `password`.

    Without a password the empty one is tried, because many stores have it. A store that does not open is no error
    here: its `problem` says why, and its bags are the ones that need no password. Raises `Unreadable`, `TooLarge`, or
    `UnsupportedKey` for a store that demands more work than `MAX_SECONDS`. RFC 7292 section 4.
    """
    try:
        pfx = asn1.exactly(data, "PKCS#12 store")
        if asn1.integer_of(pfx.children[0]) != 3 or asn1.oid_of(pfx.children[1].children[0]) != DATA:
            raise Unreadable(what="PKCS#12 store", why="it is not of version 3 with password integrity")
        safe = asn1.string_octets(pfx.children[1].children[1].children[0])
        mac = _read_mac(pfx.children[2]) if len(pfx.children) > 2 else None
        notes = [] if mac else ["it has no MAC: nothing shows whether it was changed"]
        if any(node.not_der for node in pfx.walk()):
            notes.append("BER, as Windows and old Java write it: it is written back as DER")
        return _open(safe, mac, password, notes)
    except (IndexError, ValueError) as error:
        raise Unreadable(what="PKCS#12 store", why="a part of it is missing or of the wrong kind") from error


def _open(safe: bytes, mac: "_Mac | None", password: str | None, notes: list[str]) -> Store:
    words = mac.words if mac else ""
    seconds = MAX_SECONDS if password is not None else MAX_UNASKED_SECONDS
    readings = [(password or "", False)] if password else [("", False), ("", True)]
    for text, null in readings:
        attempt = _Opening(text, null=null, seconds=seconds)
        try:
            if mac is not None and not mac.holds(safe, attempt):
                continue
            attempt.contents(safe)
        except UnsupportedKey:
            if password is not None:
                raise
            break
        opened = [bag for bag in attempt.bags if bag.problem is None]
        if attempt.missing is None and (mac is not None or len(opened) == len(attempt.bags)):
            empty = ["it opens with an empty password: anybody can read its keys"] if not text and attempt.bags else []
            return Store(bags=tuple(attempt.bags), mac=words, notes=(*notes, *empty, *attempt.notes))
    problem: EdgewardError = PasswordNeeded(what=WHAT) if password is None else WrongPassword(what=WHAT)
    closed = _Opening(None, null=False, seconds=float("inf"))
    closed.contents(safe)
    bags = tuple(replace(bag, problem=problem) if bag.problem else bag for bag in closed.bags)
    return Store(bags=bags, mac=words, notes=(*notes, *closed.notes), problem=problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mac:
    """MacData. RFC 7292 section 4, RFC 9579 section 4."""

    digest: str
    value: bytes = field(repr=False)
    salt: bytes
    iterations: int
    pbmac1: pbe.Scheme | None
    words: str

    def holds(self, safe: bytes, attempt: _Opening) -> bool:
        """Whether the MAC over `safe` is right under the attempt's password."""
        password = attempt.password or ""
        if self.pbmac1 is not None:
            scheme = self.pbmac1
            scheme.affordable(WHAT)
            attempt.spend(scheme.seconds, WHAT)
            secret = password.encode("utf-8", "surrogatepass")
            key = hashlib.pbkdf2_hmac(scheme.digest, secret, scheme.salt, max(scheme.iterations, 1), scheme.key_length)
        else:
            if self.iterations > pbe.MAX_PKCS12_ROUNDS:
                raise UnsupportedKey(why=f"{WHAT} demands {self.iterations} rounds for its MAC")
            attempt.spend(self.iterations / 700_000, WHAT)
            octets = b"" if attempt.null and not password else pbe.pkcs12_password(password)
            size = hashlib.new(self.digest, usedforsecurity=False).digest_size
            key = pbe.pkcs12_derive(self.digest, octets, self.salt, 3, self.iterations, size)
        return hmac.compare_digest(hmac.digest(key, safe, self.digest), self.value)


def _read_mac(node: asn1.Node) -> _Mac:
    algorithm = node.children[0].children[0]
    name = asn1.oid_of(algorithm.children[0])
    value = asn1.string_octets(node.children[0].children[1])
    salt = asn1.string_octets(node.children[1])
    iterations = asn1.integer_of(node.children[2]) if len(node.children) > 2 else 1
    if name == _PBMAC1:
        scheme, digest = _read_pbmac1(algorithm.children[1])
        words = f"HMAC-{digest.upper()} (PBMAC1), {scheme.iterations} rounds"
        return _Mac(digest=digest, value=value, salt=salt, iterations=0, pbmac1=scheme, words=words)
    digest = _DIGESTS.get(name, "")
    if not digest:
        raise UnsupportedKey(why=f"{WHAT} has a MAC with the digest {name}")
    words = f"HMAC-{digest.upper()}, {iterations} rounds"
    return _Mac(digest=digest, value=value, salt=salt, iterations=iterations, pbmac1=None, words=words)


def _read_pbmac1(parameters: asn1.Node) -> tuple[pbe.Scheme, str]:
    """The derivation and the digest of PBMAC1. RFC 8018 appendix A.5; RFC 9579 demands the key length."""
    derivation, mac = parameters.children
    values = derivation.children[1].children
    prf = next((asn1.oid_of(value.children[0]) for value in values[2:] if value.is_universal(16)), "")
    key_length = next((asn1.integer_of(value) for value in values[2:] if value.is_universal(2)), 0)
    digest, mac_digest = pbe.PRFS.get(prf, ""), pbe.PRFS.get(asn1.oid_of(mac.children[0]), "")
    if not digest or not mac_digest or not 16 <= key_length <= 128:
        raise UnsupportedKey(why=f"{WHAT} has a PBMAC1 with unknown parts")
    scheme = pbe.Scheme(
        algorithm=_PBMAC1, words="PBMAC1", derivation="pbkdf2", digest=digest, salt=asn1.string_octets(values[0]),
        iterations=asn1.integer_of(values[1]), key_length=key_length,
    )  # fmt: skip
    return scheme, mac_digest


# -------------------------------------------------------------------------------------------------------------- writing

LEGACY_ROUNDS = 2_048
"""What OpenSSL and Windows wrote for twenty years; more does not save SHA-1 and 3DES, and slows old readers."""

MODERN_ROUNDS = 100_000
"""For the keys, the certificates and the MAC alike, because a password is guessed through the cheapest of the three.
Fewer than `pkcs8` writes: .NET refuses a store with more than 300,000 for one of them, and old Java takes seconds."""


def write(bags: Sequence[Bag], password: str, *, entropy: Callable[[int], bytes], legacy: bool = False) -> bytes:
    """A store with `bags` (keys are PKCS#8 in the clear) under `password`.

    `entropy` gives so many random octets. The modern kind is PBES2 (PBKDF2-HMAC-SHA256 with `MODERN_ROUNDS`,
    AES-256-CBC) with an HMAC-SHA256, for Windows 10 1709, Java 8u301, OpenSSL 1.1 and newer; `legacy` is 3DES with
    SHA-1, for whatever is older, and protects little. Raises `ValueError` for an empty password. RFC 7292 section 4.
    """
    if not password:
        raise ValueError("the password is empty")
    certificates = der.sequence(*(_write_bag(bag, password, entropy, legacy) for bag in bags if bag.kind != "key"))
    keys = der.sequence(*(_write_bag(bag, password, entropy, legacy) for bag in bags if bag.kind == "key"))
    parts = []
    if any(bag.kind != "key" for bag in bags):
        scheme, encrypted = _encrypt(certificates, password, entropy, legacy)
        content = der.sequence(der.oid(DATA), scheme, der.implicit(0, encrypted))
        parts.append(der.sequence(der.oid(ENCRYPTED_DATA), der.explicit(0, der.sequence(der.integer(0), content))))
    if any(bag.kind == "key" for bag in bags):
        parts.append(der.sequence(der.oid(DATA), der.explicit(0, der.octet_string(keys))))
    safe = der.sequence(*parts)
    return der.sequence(
        der.integer(3),
        der.sequence(der.oid(DATA), der.explicit(0, der.octet_string(safe))),
        _write_mac(safe, password, entropy, legacy),
    )


def _write_mac(safe: bytes, password: str, entropy: Callable[[int], bytes], legacy: bool) -> bytes:
    digest, rounds = ("sha1", LEGACY_ROUNDS) if legacy else ("sha256", MODERN_ROUNDS)
    salt = entropy(8 if legacy else 16)
    size = hashlib.new(digest, usedforsecurity=False).digest_size
    key = pbe.pkcs12_derive(digest, pbe.pkcs12_password(password), salt, 3, rounds, size)
    name = next(dotted for dotted, known in _DIGESTS.items() if known == digest)
    info = der.sequence(der.algorithm(name, der.null()), der.octet_string(hmac.digest(key, safe, digest)))
    return der.sequence(info, der.octet_string(salt), der.integer(rounds))


def _encrypt(plain: bytes, password: str, entropy: Callable[[int], bytes], legacy: bool) -> tuple[bytes, bytes]:
    """The AlgorithmIdentifier and the encrypted octets of `plain`."""
    if not legacy:
        encrypted = pkcs8.encrypt_pbkdf2(
            plain, password.encode(), salt=entropy(16), iv=entropy(16), iterations=MODERN_ROUNDS
        )
        scheme, octets = asn1.exactly(encrypted, "encrypted content").children
        return scheme.encoded, octets.content
    salt = entropy(8)
    secret = pbe.pkcs12_password(password)
    key = pbe.pkcs12_derive("sha1", secret, salt, 1, LEGACY_ROUNDS, 24)
    iv = pbe.pkcs12_derive("sha1", secret, salt, 2, LEGACY_ROUNDS, 8)
    padder = padding.PKCS7(64).padder()
    encryptor = Cipher(TripleDES(key), modes.CBC(iv)).encryptor()
    octets_ = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    parameters = der.sequence(der.octet_string(salt), der.integer(LEGACY_ROUNDS))
    return der.algorithm(pbe.PKCS12_3DES, parameters), octets_


def _write_bag(bag: Bag, password: str, entropy: Callable[[int], bytes], legacy: bool) -> bytes:
    if bag.kind == "key":
        scheme, encrypted = _encrypt(bag.data, password, entropy, legacy)
        number, value = "2", der.sequence(scheme, der.octet_string(encrypted))
    elif bag.kind in {"certificate", "crl"}:
        number, name = ("3", _X509_CERTIFICATE) if bag.kind == "certificate" else ("4", _X509_CRL)
        value = der.sequence(der.oid(name), der.explicit(0, der.octet_string(bag.data)))
    else:
        raise ValueError(f"a {bag.kind} cannot be written")
    attributes = []
    if bag.name:
        attributes.append(der.sequence(der.oid(_FRIENDLY_NAME), der.set_of([der.bmp(bag.name)])))
    if bag.key_id:
        attributes.append(der.sequence(der.oid(_LOCAL_KEY_ID), der.set_of([der.octet_string(bag.key_id)])))
    if bag.trusted:
        attributes.append(der.sequence(der.oid(_JAVA_TRUSTED), der.set_of([der.oid(_ANY_USAGE)])))
    return der.sequence(der.oid(_BAG + number), der.explicit(0, value), der.set_of(attributes) if attributes else b"")
