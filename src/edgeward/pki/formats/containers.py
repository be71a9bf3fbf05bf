"""Opening what holds other things, or is locked: PKCS#7, PKCS#12, Java key stores, Kubernetes objects and encrypted
keys as `Item`s.

`detect` loads this module by name, when it meets the first of them: reading a certificate does not wait for it.
"""

import re
from collections.abc import Callable

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from edgeward.errors import EdgewardError, PasswordNeeded, Unreadable, UnsupportedKey, WrongPassword, printable
from edgeward.pki.formats import jks, kubernetes, pem, pkcs7, pkcs8, pkcs12
from edgeward.pki.formats.item import Item, Kind
from edgeward.pki.parse import guarded


def encrypted_key(item: Item, password: str | None) -> Item:
    """A PKCS#8 key under a password, opened when there is one."""
    try:
        words = pkcs8.describe_encryption(item.data)
        item = item._replace(protection=words)
        key = pkcs8.decrypt(item.data, None if password is None else _octets(password))
    except EdgewardError as error:
        return item._replace(problem=error)
    return _opened_key(item, key)


def traditional_key(block: pem.Block, origin: str, password: str | None) -> Item:
    """A SEC1 or PKCS#1 key under OpenSSL's old encryption, which is part of the PEM. RFC 1421 section 4.6."""
    cipher = next(value for name, value in block.headers if name.lower() == "dek-info").split(",")[0]
    item = Item(
        kind=Kind.ENCRYPTED_KEY, data=block.data, label=block.label, origin=origin, encoding="PEM",
        protection=f"OpenSSL's old PEM encryption: MD5 once, {printable(cipher, 20)}",
        notes=("its password costs nothing to guess: one MD5 for each try. Write it anew with `edgeward key convert`",),
    )  # fmt: skip
    if password is None:
        return item._replace(problem=PasswordNeeded(what="the private key"))
    # The library's core panics on an IV that is shorter than its cipher's, so it is measured here.
    iv = next(value for name, value in block.headers if name.lower() == "dek-info").partition(",")[2].strip()
    if not re.fullmatch(r"[0-9A-Fa-f]+", iv) or len(iv) != (16 if "DES" in cipher.upper() else 32):
        return item._replace(problem=Unreadable(what="private key", why="the IV in its DEK-Info header is malformed"))
    headers = b"".join(f"{name}: {value}\n".encode() for name, value in block.headers)
    plain = pem.write(block.label, block.data)
    first, _, rest = plain.partition(b"\n")
    text = first + b"\n" + headers + b"\n" + rest
    secret = _octets(password)
    try:
        key = guarded("private key", lambda: serialization.load_pem_private_key(text, secret))
    except Unreadable as error:
        # a wrong password leaves good padding once in 256 times, and noise behind it that the library says many things about
        unknown = "nsupported" in str(error) and "Could not deserialize" not in str(error)
        problem = UnsupportedKey(why=str(error.facts["why"])) if unknown else WrongPassword(what="the private key")
        return item._replace(problem=problem)
    return _opened_key(item, key)


def pkcs7_bundle(item: Item, password: str | None) -> Item:
    try:
        bundle = pkcs7.read(item.data)
    except EdgewardError as error:
        return item._replace(problem=error)
    members = [(Kind.CERTIFICATE, der) for der in bundle.certificates] + [(Kind.CRL, der) for der in bundle.crls]
    parts = [
        Item(kind=kind, data=data, origin=f"PKCS#7 member {number}", encoding="DER")
        for number, (kind, data) in enumerate(members, 1)
    ]
    signers = f"signed by {bundle.signers}: the signatures are not checked" if bundle.signers else ""
    return item._replace(parts=tuple(parts), encoding="BER" if bundle.not_der else "DER").noted(
        f"BER ({bundle.not_der}): it is written back as DER" if bundle.not_der else "",
        signers,
        "it carries no certificates" if not parts else "",
    )


def pkcs12_store(item: Item, password: str | None) -> Item:
    try:
        store = pkcs12.read(item.data, password)
    except EdgewardError as error:
        return item._replace(problem=error)
    kinds = {"key": Kind.PRIVATE_KEY, "certificate": Kind.CERTIFICATE, "crl": Kind.CRL, "secret": Kind.BROKEN}
    parts = [
        Item(
            kind=Kind.ENCRYPTED_KEY if bag.kind == "key" and bag.problem else kinds[bag.kind],
            data=bag.data,
            alias=bag.name,
            origin=f"PKCS#12 entry {number}",
            encoding="DER",
            protection=bag.protection,
            notes=("marked as trusted by Java",) if bag.trusted else (),
            problem=Unreadable(what="entry", why="a secret of another kind") if bag.kind == "secret" else bag.problem,
        )
        for number, bag in enumerate(store.bags, 1)
    ]
    return item._replace(parts=tuple(parts), problem=store.problem, protection=store.mac).noted(*store.notes)


def java_store(item: Item, password: str | None) -> Item:
    try:
        store = jks.read(item.data, password)
    except EdgewardError as error:
        return item._replace(problem=error)
    parts = []
    for entry in store.entries:
        place = f"entry {entry.alias!r}"
        if entry.key is not None:
            key_kind = Kind.ENCRYPTED_KEY if entry.problem else Kind.PRIVATE_KEY
            parts.append(
                Item(kind=key_kind, data=entry.key, alias=entry.alias, origin=place, encoding="DER",
                     protection=f"{store.kind}'s own", problem=entry.problem)
            )  # fmt: skip
        parts += [
            Item(
                kind=Kind.CERTIFICATE,
                data=der,
                alias=entry.alias if number == 0 else "",
                origin=place,
                encoding="DER",
            )
            for number, der in enumerate(entry.certificates)
        ]
    return item._replace(parts=tuple(parts)).noted(*store.notes)


def kubernetes_objects(data: bytes, found_in: Callable[[bytes], list[Item]]) -> list[Item]:
    text, notes = pem.decode_text(data)
    items = []
    for found in kubernetes.read(text):
        parts: list[Item] = []
        others = list(found.notes)
        for field in found.fields:
            if field.problem:
                others.append(f"key {field.key}: {field.problem}")
                continue
            try:
                inner = found_in(field.octets)
            except EdgewardError:
                others.append(f"key {field.key}: {len(field.octets)} octets of something else, not shown")
                continue
            parts += [item.within(f"key {field.key}")._replace(label=field.key).noted(field.meaning) for item in inner]
        kind = Kind.KUBECONFIG if found.kind == "Config" else Kind.KUBERNETES_SECRET
        item = Item(kind=kind, data=b"", label=found.name, encoding="JSON" if text.lstrip()[:1] == b"{" else "YAML")
        items.append(item._replace(parts=tuple(parts)).noted(*notes, *others))
    return items


def _octets(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


def _opened_key(item: Item, key: PrivateKeyTypes) -> Item:
    return item._replace(kind=Kind.PRIVATE_KEY, data=pkcs8.encode(key))


OPENERS: dict[Kind, Callable[[Item, str | None], Item]] = {
    Kind.ENCRYPTED_KEY: encrypted_key,
    Kind.PKCS7: pkcs7_bundle,
    Kind.PKCS12: pkcs12_store,
    Kind.JKS: java_store,
    Kind.JCEKS: java_store,
}
"""How each kind of container is opened: the item with its parts, or with its problem."""
