"""Finding out what some bytes are: any format in, a list of `Item`s out.

Nothing is guessed from a file's name: it is compared with what was found, because a PEM text called `.der` bites.
What cannot be read inside a bigger whole becomes an item with a `problem`, so that one bad certificate does not hide
the other nine. Nothing is validated beyond its shape: the strict gateway (`edgeward.pki.parse`) does that for whoever
uses an item.
"""

import re
from importlib import import_module
from types import ModuleType
from typing import cast

from edgeward.errors import TooLarge, Unreadable
from edgeward.pki import asn1
from edgeward.pki.formats import pem
from edgeward.pki.formats.item import Item, Kind
from edgeward.pki.formats.shape import shape

MAX_INPUT = 64 * 1024 * 1024
"""Octets: the biggest CRL that the gateway reads."""

MAX_NESTING = 4
"""A PKCS#12 in a Secret in a list: three."""

_LABELS = {
    "CERTIFICATE": {Kind.CERTIFICATE},
    "X509 CERTIFICATE": {Kind.CERTIFICATE},
    "TRUSTED CERTIFICATE": {Kind.CERTIFICATE},
    "CERTIFICATE REQUEST": {Kind.REQUEST},
    "NEW CERTIFICATE REQUEST": {Kind.REQUEST},
    "X509 CRL": {Kind.CRL},
    "PRIVATE KEY": {Kind.PRIVATE_KEY},
    "RSA PRIVATE KEY": {Kind.PRIVATE_KEY},
    "EC PRIVATE KEY": {Kind.PRIVATE_KEY},
    "DSA PRIVATE KEY": {Kind.PRIVATE_KEY},
    "ENCRYPTED PRIVATE KEY": {Kind.ENCRYPTED_KEY},
    "PUBLIC KEY": {Kind.PUBLIC_KEY},
    "RSA PUBLIC KEY": {Kind.PUBLIC_KEY},
    "EC PARAMETERS": {Kind.EC_PARAMETERS, Kind.ASN1},
    "PKCS7": {Kind.PKCS7},
    "PKCS #7 SIGNED DATA": {Kind.PKCS7},
    "CMS": {Kind.PKCS7},
    "PKCS12": {Kind.PKCS12},
    "OCSP REQUEST": {Kind.OCSP_REQUEST},
    "OCSP RESPONSE": {Kind.OCSP_RESPONSE},
}

_MUST_BE_DER = {Kind.CERTIFICATE, Kind.REQUEST, Kind.CRL, Kind.PRIVATE_KEY, Kind.PUBLIC_KEY}

_TOKEN = rb"\s*([0-9a-fA-F]{64}(?:\.[A-Za-z0-9_-]{1,8192}){3})\s*"  # compiled when first needed, as start-up counts

_CONTAINERS = {Kind.ENCRYPTED_KEY, Kind.PKCS7, Kind.PKCS12}
_JAVA_MAGIC = {b"\xfe\xed\xfe\xed": Kind.JKS, b"\xce\xce\xce\xce": Kind.JCEKS}

_FOREIGN = (
    (b"PK\x03\x04", "it is a ZIP archive: unpack it first"),
    (b"\x1f\x8b", "it is compressed with gzip: unpack it first"),
    (b"ssh-", "it is an OpenSSH public key: convert it with `ssh-keygen -e -m PKCS8 -f FILE`"),
    (b"ecdsa-sha2-", "it is an OpenSSH public key: convert it with `ssh-keygen -e -m PKCS8 -f FILE`"),
    (b"PuTTY-User-Key-File", "it is a PuTTY key: convert it with `puttygen FILE -O private-openssh`"),
    (b"<", "it is HTML or XML: a web page in place of the file?"),
)
_OPENSSH = "it is an OpenSSH key: convert a copy of it with `ssh-keygen -p -m PKCS8 -f COPY`"


def detect(data: bytes, *, password: str | None = None, name: str = "") -> list[Item]:
    """Everything in `data`, in order.

    `password` opens whatever is encrypted; without one, such things are items with a `PasswordNeeded` as their
    problem. `name` (a file's name) is only compared with what is found. Raises `Unreadable` when there is nothing
    that is known, `TooLarge` for more than `MAX_INPUT` octets.
    """
    return _Detector(password).found(data, name, 0)


def _containers() -> ModuleType:
    """The module that opens containers, loaded when the first one is met: it and the formats below it double the
    start-up time.
    """
    return import_module("edgeward.pki.formats.containers")


def _looks_like_kubernetes(text: bytes) -> bool:
    return b"kind" in text and (b"apiVersion" in text or b"clusters" in text)


class _Detector:
    def __init__(self, password: str | None) -> None:
        self.password = password

    def found(self, data: bytes, name: str, depth: int) -> list[Item]:
        if len(data) > MAX_INPUT:
            raise TooLarge(what="the input", limit=MAX_INPUT)
        if depth > MAX_NESTING:
            raise Unreadable(what="file", why="containers within containers without end")
        if not data.strip():
            raise Unreadable(what="file", why="it is empty")
        if data[:4] in _JAVA_MAGIC:
            kind = _JAVA_MAGIC[data[:4]]
            return [self.opened(Item(kind=kind, data=data, encoding=kind.value.upper()))]
        if shape(data) is not None:
            return _with_name(self.ders(data, depth), name, pem_name=False)
        if _looks_like_kubernetes(data):
            return cast(
                "list[Item]", _containers().kubernetes_objects(data, lambda inner: self.found(inner, "", depth + 1))
            )
        text = pem.read(data)
        if text is not None:
            return _with_name(self.blocks(text, depth), name, pem_name=True)
        if token := re.fullmatch(_TOKEN, data):
            return [Item(kind=Kind.KUBEEDGE_TOKEN, data=token[1], encoding="text")]
        bare = pem.bare_base64(data)
        if bare is not None and shape(bare) is not None:
            return [item.noted("base64 without its BEGIN and END lines") for item in self.ders(bare, depth)]
        raise _unrecognised(data)

    def opened(self, item: Item) -> Item:
        return cast("Item", _containers().OPENERS[item.kind](item, self.password))

    def ders(self, data: bytes, depth: int) -> list[Item]:
        """DER or BER values one behind the other."""
        items: list[Item] = []
        at = 0
        while at < len(data):
            known = shape(data[at:]) if len(items) < pem.MAX_BLOCKS else None
            if known is None:
                rest = data[at:]
                note = "a line end" if not rest.strip() else f"trailing data: {len(rest)} octets"
                items[-1] = items[-1].noted(f"{note} behind its end")
                break
            kind, left = known
            end = len(data) - left
            items.append(self.value(kind, data[at:end], "", depth, f"value at offset {at}" if at or left else ""))
            at = end
        return items

    def value(self, kind: Kind, data: bytes, label: str, depth: int, origin: str) -> Item:
        """The item for one whole DER or BER value."""
        item = Item(kind=kind, data=data, label=label, origin=origin, encoding="DER")
        if kind in _CONTAINERS:
            return self.opened(item)
        if kind in _MUST_BE_DER:
            node, _ = asn1.read(data, levels=3, width=1_000, max_nodes=100_000)
            bad = next((inner for inner in node.walk() if inner.not_der), None)
            if bad is not None:
                why = f"it is BER, not DER: {bad.not_der} at offset {bad.offset}"
                return item._replace(encoding="BER", problem=Unreadable(what=kind.words, why=why))
        return item

    def blocks(self, text: pem.Text, depth: int) -> list[Item]:
        items = []
        for number, block in enumerate(text.blocks, 1):
            origin = f"PEM block {number}, line {block.line}" if len(text.blocks) > 1 else ""
            item = self.block(block, origin, depth)
            items.append(item.noted(*text.notes) if number == 1 else item)
        return items

    def block(self, block: pem.Block, origin: str, depth: int) -> Item:
        broken = Item(kind=Kind.BROKEN, data=b"", label=block.label, origin=origin, encoding="PEM")
        if block.problem is not None:
            return broken._replace(problem=block.problem)
        if block.label == "OPENSSH PRIVATE KEY":
            return broken._replace(problem=Unreadable(what="private key", why=_OPENSSH))
        if any(name.lower() == "dek-info" for name, _ in block.headers):
            return cast("Item", _containers().traditional_key(block, origin, self.password))
        known = shape(block.data)
        if known is None:
            why = _why_not_asn1(block.data)
            return broken._replace(problem=Unreadable(what=f"PEM block ({block.label})", why=why))
        kind, left = known
        if block.label == "EC PARAMETERS":
            kind = Kind.EC_PARAMETERS
        data = block.data[: len(block.data) - left] if left else block.data
        item = self.value(kind, data, block.label, depth, origin)._replace(encoding="PEM")
        expected = _LABELS.get(block.label)
        opened = {item.kind, kind}
        return item.noted(
            *(f"PEM header {name}: {value[:60]}" for name, value in block.headers),
            f"labelled {block.label}, but it is a {kind.words}" if expected and not expected & opened else "",
            f"a PEM label that nobody knows: {block.label}" if expected is None else "",
            _left_over(block.label, left),
        )


def _left_over(label: str, left: int) -> str:
    if not left:
        return ""
    return (
        "OpenSSL's trust settings behind the certificate are left out"
        if label == "TRUSTED CERTIFICATE"
        else f"trailing data: {left} octets behind its end"
    )


def _with_name(items: list[Item], name: str, *, pem_name: bool) -> list[Item]:
    lower = name.lower()
    note = ""
    if pem_name and lower.endswith(".der"):
        note = "PEM text under a DER name: programs that trust the name fail"
    elif not pem_name and lower.endswith(".pem"):
        note = "DER under a PEM name: openssl needs -inform DER to read it"
    return [items[0].noted(note), *items[1:]] if note and items else items


def _why_not_asn1(data: bytes) -> str:
    try:
        asn1.read(data, levels=3, width=1_000, max_nodes=100_000)
    except Unreadable as error:
        return str(error.facts["why"])
    except TooLarge:
        return "it has more values than anything honest"
    return "it is no SEQUENCE"


def _unrecognised(data: bytes) -> Unreadable:
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    for mark, why in _FOREIGN:
        if head.startswith(mark):
            return Unreadable(what="file", why=why)
    if b"-----BEGIN PGP" in head:
        return Unreadable(what="file", why="it is PGP, not X.509")
    if data[:1] == b"\x30" and not head.isascii():
        return Unreadable(what="DER", why=_why_not_asn1(data))
    kind = "text without a PEM block" if b"\0" not in head and head.isascii() else "a format not known here"
    return Unreadable(what="file", why=f"it is {len(data)} octets of {kind}")
