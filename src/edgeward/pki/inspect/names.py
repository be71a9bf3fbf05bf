"""Names in words: distinguished names, general names, hexadecimal numbers and times."""

from collections.abc import Iterable
from datetime import datetime

from cryptography import x509

from edgeward.errors import Unreadable, printable
from edgeward.pki import asn1, oids

MAX_SHOWN = 256
"""Characters of one foreign text that are shown; `--json` has as many."""


def shown(text: object, limit: int = MAX_SHOWN) -> str:
    """Foreign text as one printable line."""
    return printable(text, limit)


def dn(name: x509.Name) -> str:
    """A distinguished name as RFC 4514 writes it; `(empty)` for one without attributes."""
    return shown(name.rfc4514_string(), 1_000) or "(empty)"


def hexed(octets: bytes, limit: int = 64) -> str:
    """Octets as `A1:B2:…`, at most `limit` of them."""
    text = octets[:limit].hex(":").upper()
    return text + ("…" if len(octets) > limit else "")


def moment(time: datetime) -> str:
    """A time as `2026-11-23 17:00:00 UTC`."""
    return (
        time.strftime("%Y-%m-%d %H:%M:%S UTC") if time.year >= 1000 else f"{time.year:04}{time.strftime('-%m-%d UTC')}"
    )


def iso(time: datetime) -> str:
    """A time as `2026-11-23T17:00:00Z`, for programs."""
    return time.replace(tzinfo=None).isoformat() + "Z"


def general(name: x509.GeneralName) -> tuple[str, str]:
    """The kind (`dns`, `ip`, `email`, `uri`, `dirname`, `rid`, or an otherName's own) and text of a general name.

    RFC 5280 section 4.2.1.6.
    """
    if isinstance(name, x509.DNSName):
        return "dns", shown(name.value)
    if isinstance(name, x509.IPAddress):
        return "ip", shown(name.value)
    if isinstance(name, x509.RFC822Name):
        return "email", shown(name.value)
    if isinstance(name, x509.UniformResourceIdentifier):
        return "uri", shown(name.value)
    if isinstance(name, x509.DirectoryName):
        return "dirname", dn(name.value)
    if isinstance(name, x509.RegisteredID):
        return "rid", oids.name(name.value.dotted_string)
    if isinstance(name, x509.OtherName):
        return f"other {oids.name(name.type_id.dotted_string)}", _other(name.value)
    return "unknown", ""


def _other(value: bytes) -> str:
    """The value of an otherName: its text when it is a string, its octets otherwise."""
    try:
        node = asn1.exactly(value, "otherName", max_nodes=50)
    except Unreadable:
        return hexed(value)
    if node.tag_class == asn1.UNIVERSAL and node.number in {12, 19, 20, 22, 27, 30}:
        return shown(asn1.text_of(node))
    return hexed(value)


def generals(names: Iterable[x509.GeneralName]) -> list[str]:
    """General names as `dns:example.org`."""
    return [":".join(general(name)) for name in names]
