"""Extensions that the library leaves as octets: decoded where their owners say how, drawn as their values otherwise."""

from collections.abc import Callable

from edgeward.errors import TooLarge, Unreadable
from edgeward.pki import asn1, oids
from edgeward.pki.inspect.names import hexed, shown
from edgeward.pki.inspect.report import Json

_NETSCAPE_TYPES = (
    "SSL client", "SSL server", "S/MIME", "object signing", "reserved", "SSL CA", "S/MIME CA", "object signing CA",
)  # fmt: skip

_STRINGS = {12, 18, 19, 20, 22, 26, 27, 28, 30}

MAX_VALUES = 24
"""Values of an unknown extension that are shown."""


def _text(node: asn1.Node) -> list[str]:
    return [shown(asn1.text_of(node))]


def _netscape_type(node: asn1.Node) -> list[str]:
    if not node.is_universal(3) or node.length < 2:
        return ["malformed"]
    bits = node.content[1]
    found = [name for place, name in enumerate(_NETSCAPE_TYPES) if bits & (0x80 >> place)]
    return [", ".join(found) or "none", "an extension of the 1990s: extendedKeyUsage says it today"]


def _oid_list(node: asn1.Node) -> list[str]:
    return [oids.name(asn1.oid_of(inner)) for inner in node.walk() if inner.is_universal(6)]


def _ca_version(node: asn1.Node) -> list[str]:
    version = asn1.integer_of(node)
    return [f"CA certificate {version & 0xFFFF}, key {version >> 16}"]


def _hash(node: asn1.Node) -> list[str]:
    return [hexed(asn1.string_octets(node))]


def _sid(node: asn1.Node) -> list[str]:
    texts = [inner.content for inner in node.walk() if inner.is_universal(4)]
    return [f"the Windows account {shown(text.decode('ascii', 'replace'))}" for text in texts]


def _statements(node: asn1.Node) -> list[str]:
    return [oids.name(asn1.oid_of(statement.children[0])) for statement in node.children]


def _provisioner(node: asn1.Node) -> list[str]:
    texts = [asn1.string_octets(inner) for inner in node.children if inner.is_universal(4)]
    return ["issued by step-ca: " + ", ".join(shown(text.decode("utf-8", "replace"), 80) for text in texts)]


def _acme(node: asn1.Node) -> list[str]:
    return ["an answer to a tls-alpn-01 challenge, not a certificate for use", hexed(asn1.string_octets(node))]


def _nothing(text: str) -> Callable[[asn1.Node], list[str]]:
    return lambda _: [text]


_DECODERS: dict[str, Callable[[asn1.Node], list[str]]] = {
    "2.16.840.1.113730.1.1": _netscape_type,
    "1.3.6.1.4.1.311.20.2": lambda node: [f"made from Microsoft template {_text(node)[0]}"],
    "1.3.6.1.4.1.311.21.10": _oid_list,
    "1.3.6.1.4.1.311.21.1": _ca_version,
    "1.3.6.1.4.1.311.21.2": _hash,
    "1.3.6.1.4.1.311.25.2": _sid,
    "1.3.6.1.5.5.7.1.3": _statements,
    "1.3.6.1.4.1.37476.9000.64.1": _provisioner,
    "1.3.6.1.5.5.7.1.31": _acme,
    "2.5.29.56": _nothing("short-lived: nobody will ever say that it is revoked (RFC 9608)"),
    "1.3.6.1.4.1.11129.2.1.17": _nothing("Android says in what hardware the key lives"),
}

_BARE_TEXT = {f"1.3.6.1.4.1.57264.1.{number}" for number in range(1, 8)}
"""Sigstore's first extensions hold text without any ASN.1 around it."""


def spoken(dotted: str, octets: bytes) -> tuple[Json, list[str]]:
    """The value of an extension (its octets in hexadecimal) and what it says, as far as that is known."""
    written: Json = octets[:4096].hex()
    if dotted in _BARE_TEXT:
        return written, [shown(octets.decode("utf-8", "replace"))]
    try:
        node = asn1.exactly(octets, "extension", max_nodes=2_000)
        decoder = _DECODERS.get(dotted)
        if decoder is not None:
            return written, decoder(node)
        if dotted.startswith("2.16.840.1.113730.1.") and node.number in _STRINGS:
            return written, [*_text(node), "an extension of the 1990s: programs ignore it"]
        return written, _drawn(node)
    except (Unreadable, TooLarge, IndexError):
        return written, [f"{len(octets)} octets: {hexed(octets, 32)}"]


def _drawn(node: asn1.Node) -> list[str]:
    """The values inside an unknown structure, in order."""
    words: list[str] = []
    for inner in node.walk():
        if inner.constructed:
            continue
        if len(words) == MAX_VALUES:
            words.append("…")
            break
        words.append(primitive(inner))
    return words or ["empty"]


def primitive(node: asn1.Node) -> str:
    """One primitive value in a few words."""
    try:
        if node.is_universal(6):
            return oids.name(asn1.oid_text(node.content))
        if node.is_universal(2) and 0 < node.length <= 8:
            return str(asn1.integer_of(node))
    except Unreadable:
        return f"{node.tag_name} {hexed(node.content, 16)}"
    if node.is_universal(1):
        return "TRUE" if node.content.strip(b"\0") else "FALSE"
    if node.is_universal(5):
        return "NULL"
    if node.tag_class == asn1.UNIVERSAL and node.number in {*_STRINGS, 23, 24}:
        return shown(asn1.text_of(node), 120)
    content = node.content
    if 0 < len(content) <= 64 and content.isascii() and content.decode("ascii").isprintable():
        return f"{node.tag_name} {content.decode('ascii')!r}"
    return f"{node.tag_name} {hexed(content, 32)}" if content else f"{node.tag_name} (empty)"
