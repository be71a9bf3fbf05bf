"""How keys and certificates leave us: one place that encodes items for files of every format, with passwords and
fresh salts.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from edgeward.cli import reading
from edgeward.errors import InputError, UsageError
from edgeward.pki import parse
from edgeward.pki.formats import jks, pem, pkcs7, pkcs8, pkcs12
from edgeward.pki.formats.item import Item, Kind
from edgeward.pki.inspect import chain

LABELS = {
    Kind.CERTIFICATE: "CERTIFICATE",
    Kind.REQUEST: "CERTIFICATE REQUEST",
    Kind.CRL: "X509 CRL",
    Kind.PUBLIC_KEY: "PUBLIC KEY",
    Kind.EC_PARAMETERS: "EC PARAMETERS",
    Kind.OCSP_REQUEST: "OCSP REQUEST",
    Kind.OCSP_RESPONSE: "OCSP RESPONSE",
    Kind.ENCRYPTED_KEY: "ENCRYPTED PRIVATE KEY",
}

FORMATS = ("pem", "der", "pkcs7", "pkcs7-pem", "pkcs12", "pkcs12-legacy", "jks")

ENDINGS = {
    ".pem": "pem", ".crt": "pem", ".cer": "pem", ".key": "pem", ".csr": "pem", ".crl": "pem", ".der": "der",
    ".p7b": "pkcs7", ".p7c": "pkcs7", ".p12": "pkcs12", ".pfx": "pkcs12", ".jks": "jks",
}  # fmt: skip
"""The format that the end of a file's name stands for."""


class KeysAlone(InputError):
    """Several private keys for one store, and some without a certificate: nobody could tell which is meant."""

    sentence = "there are {count} private keys, and not for each its certificate"
    remedy = "give one key, or each with its certificate; to take a file apart: edgeward split FILE DIRECTORY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """How private keys are protected on their way out: a password, or in the clear because somebody said so."""

    password: str | None
    clear: bool = False
    scrypt: bool = False

    @classmethod
    def from_options(
        cls, password: str | None, *, clear: bool, scrypt: bool = False, option: str = "--password"
    ) -> "Lock":
        """The lock that a command's options ask for; a person at a terminal is asked when they say nothing."""
        if clear and password is not None:
            raise UsageError(problem=f"{option} and --no-password at once")
        if clear:
            return cls(password=None, clear=True)
        typed = reading.secret(password, option=option)
        if typed is None:
            typed = reading.asked(
                "password for the new file",
                twice=True,
                option=option,
                or_clear="; --no-password writes PEM and DER in the clear",
            )
        if not typed:
            raise UsageError(problem="the password is empty; to write the key in the clear say --no-password")
        return cls(password=typed, scrypt=scrypt)

    @property
    def octets(self) -> bytes:
        """The password as PBES2 takes it."""
        return (self.password or "").encode("utf-8", "surrogateescape")


def key_der(key: PrivateKeyTypes, lock: Lock) -> tuple[str, bytes]:
    """The PEM label and the DER of a private key under `lock`."""
    plain = pkcs8.encode(key)
    if lock.clear:
        return "PRIVATE KEY", plain
    encrypt = pkcs8.encrypt_scrypt if lock.scrypt else pkcs8.encrypt_portable
    return "ENCRYPTED PRIVATE KEY", encrypt(plain, lock.octets, salt=os.urandom(16), iv=os.urandom(16))


def traditional(key: PrivateKeyTypes, form: str) -> tuple[str, bytes]:
    """A private key in the clear as SEC1 or PKCS#1. Raises `UsageError` where the form does not fit the key."""
    wanted = {"sec1": ec.EllipticCurvePrivateKey, "pkcs1": rsa.RSAPrivateKey}[form]
    if not isinstance(key, wanted):
        raise UsageError(problem=f"{form.upper()} is for {'EC' if form == 'sec1' else 'RSA'} keys")
    der = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return f"{'EC' if form == 'sec1' else 'RSA'} PRIVATE KEY", der


def public_der(key: PrivateKeyTypes) -> bytes:
    """The public half of a private key, as SubjectPublicKeyInfo."""
    return parse.spki(key.public_key())


def in_order(items: Sequence[Item]) -> list[Item]:
    """Keys first, then certificates in the order of a chain without duplicates, then the rest."""
    unique: dict[bytes, Item] = {}
    for item in items:
        if item.kind is Kind.CERTIFICATE:
            unique.setdefault(item.data, item)
    certificates = list(unique.values())
    heap = chain.family([parse.certificate(item.data) for item in certificates])
    ordered = [certificates[place] for place in chain.ordered(heap)]
    keys = [item for item in items if item.kind in {Kind.PRIVATE_KEY, Kind.ENCRYPTED_KEY}]
    rest = [item for item in items if item not in keys and item.kind is not Kind.CERTIFICATE]
    return keys + ordered + [item for item in rest if item.kind is not Kind.EC_PARAMETERS]


def encode(items: Sequence[Item], form: str, lock: Lock | None, *, alias: str, now_ms: int = 0) -> bytes:
    """`items` (in order) as one file of `form`, one of `FORMATS`. A lock is needed where a private key is among them.

    Raises `UsageError` for things that the format cannot hold.
    """
    if form == "pem":
        return b"".join(_pem(item, lock) for item in items)
    if form == "der":
        if len(items) != 1:
            raise UsageError(
                problem=f"DER holds one thing and there are {len(items)}: use pem, pkcs7 or pkcs12, or `split`"
            )
        return _single(items[0], lock)[1]
    if form in {"pkcs7", "pkcs7-pem"}:
        others = [item.kind.words for item in items if item.kind not in {Kind.CERTIFICATE, Kind.CRL}]
        if others:
            raise UsageError(problem=f"PKCS#7 holds certificates and CRLs, no {others[0]}")
        der = pkcs7.write(
            [item.data for item in items if item.kind is Kind.CERTIFICATE],
            [item.data for item in items if item.kind is Kind.CRL],
        )
        return pem.write("PKCS7", der) if form == "pkcs7-pem" else der
    if lock is None or not lock.password:
        raise UsageError(problem=f"a {form} file needs a password")
    if form == "jks":
        return jks.write(_java(items, alias, now_ms), lock.password, entropy=os.urandom)
    return pkcs12.write(_bags(items, alias), lock.password, entropy=os.urandom, legacy=form == "pkcs12-legacy")


def _single(item: Item, lock: Lock | None) -> tuple[str, bytes]:
    if item.kind is Kind.PRIVATE_KEY:
        if lock is None:
            raise UsageError(problem="a private key is written under a password, or with --no-password")
        return key_der(pkcs8.read(item.data), lock)
    if item.kind not in LABELS:
        raise UsageError(problem=f"a {item.kind.words} cannot be written on its own")
    return LABELS[item.kind], item.data


def _pem(item: Item, lock: Lock | None) -> bytes:
    label, der = _single(item, lock)
    return pem.write(label, der)


def _paired(items: Sequence[Item]) -> tuple[list[tuple[bytes, list[Item]]], list[Item]]:
    """Each private key (PKCS#8) with its chain, leaf first, and the certificates that belong to no key."""
    certificates = [item for item in items if item.kind is Kind.CERTIFICATE]
    heap = chain.family([parse.certificate(item.data) for item in certificates])
    digests = [chain.spki_digest(certificate) for certificate in heap.certificates]
    pairs, used = [], set()
    for item in items:
        if item.kind is not Kind.PRIVATE_KEY:
            continue
        key = pkcs8.read(item.data)
        digest = chain.key_digest(key.public_key())
        place = digests.index(digest) if digest in digests else -1
        path = heap.path(place) if place >= 0 else []
        used.update(path)
        pairs.append((pkcs8.encode(key), [certificates[step] for step in path]))
    return pairs, [item for place, item in enumerate(certificates) if place not in used]


def _bags(items: Sequence[Item], alias: str) -> list[pkcs12.Bag]:
    unknown = [item.kind.words for item in items if item.kind not in {Kind.CERTIFICATE, Kind.CRL, Kind.PRIVATE_KEY}]
    if unknown:
        raise UsageError(problem=f"PKCS#12 holds keys, certificates and CRLs, no {unknown[0]}")
    pairs, others = _paired(items)
    if len(pairs) > 1 and not all(path for _, path in pairs):
        raise KeysAlone(count=len(pairs))
    bags: list[pkcs12.Bag] = []
    written: set[bytes] = set()
    for number, (key, path) in enumerate(pairs):
        name = alias if number == 0 else f"{alias}-{number + 1}"
        key_id = bytes((number + 1,))
        bags.append(pkcs12.Bag(kind="key", data=key, name=name, key_id=key_id))
        for step, item in enumerate(path):
            if item.data not in written:
                own = step == 0
                bags.append(
                    pkcs12.Bag(
                        kind="certificate",
                        data=item.data,
                        name=name if own else item.alias,
                        key_id=key_id if own else b"",
                    )
                )
                written.add(item.data)
    for number, item in enumerate(others):
        name = item.alias or (alias if not pairs and number == 0 else f"{alias}-ca-{number + 1}" if not pairs else "")
        # Without a key the store is a trust store, and Java shows only what is marked as trusted.
        bags.append(pkcs12.Bag(kind="certificate", data=item.data, name=name, trusted=not pairs))
    return bags + [pkcs12.Bag(kind="crl", data=item.data) for item in items if item.kind is Kind.CRL]


def _java(items: Sequence[Item], alias: str, now_ms: int) -> list[jks.Entry]:
    pairs, others = _paired(items)
    entries = [
        jks.Entry(
            alias=(alias if number == 0 else f"{alias}-{number + 1}").lower(),
            created_ms=now_ms,
            certificates=tuple(item.data for item in path),
            key=key,
        )
        for number, (key, path) in enumerate(pairs)
    ]
    if any(not entry.certificates for entry in entries):
        raise UsageError(problem="a key in a Java key store needs its certificate")
    return entries + [
        jks.Entry(
            alias=(item.alias or f"{alias}-ca-{number + 1}").lower(), created_ms=now_ms, certificates=(item.data,)
        )
        for number, item in enumerate(others)
    ]
