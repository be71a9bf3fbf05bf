"""Writing DER: the dozen encodings that our own structures need, as functions from values to octets.

The library signs and encodes certificates; this is for the containers that it does not write
(EncryptedPrivateKeyInfo, PKCS#7, PKCS#12) and for the odd extension value. `span` finds its way in DER that was read already.
X.690 sections 8 to 11.
"""

from collections.abc import Iterable

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
UTF8_STRING, PRINTABLE_STRING, IA5_STRING, BMP_STRING = 0x0C, 0x13, 0x16, 0x1E
SEQUENCE, SET = 0x30, 0x31


def length(octets: int) -> bytes:
    """The definite length of `octets` octets in the fewest octets. X.690 section 10.1."""
    if octets < 0x80:
        return bytes((octets,))
    encoded = octets.to_bytes((octets.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(encoded),)) + encoded


def span(octets: bytes, at: int) -> tuple[int, int]:
    """Where the content of the value at `at` begins and ends, in octets that are known to be DER. X.690 section 8.1.3."""
    size = octets[at + 1]
    if size < 0x80:
        return at + 2, at + 2 + size
    start = at + 2 + (size & 0x7F)
    return start, start + int.from_bytes(octets[at + 2 : start], "big")


def tlv(tag: int, content: bytes) -> bytes:
    """One value with the single identifier octet `tag` (tag numbers over 30 do not occur in what we write)."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    if 0x100 <= size < 0x10000:
        return bytes((tag, 0x82, size >> 8, size & 0xFF)) + content
    return bytes((tag,)) + length(size) + content


def sequence(*parts: bytes) -> bytes:
    """SEQUENCE of parts that are encoded already."""
    return tlv(SEQUENCE, b"".join(parts))


def set_of(parts: Iterable[bytes]) -> bytes:
    """SET OF parts that are encoded already, in the order that DER demands. X.690 section 11.6."""
    return tlv(SET, b"".join(sorted(parts)))


def integer(value: int) -> bytes:
    """INTEGER, two's complement in the fewest octets. X.690 section 8.3."""
    size = (value.bit_length() if value >= 0 else (value + 1).bit_length()) // 8 + 1
    return tlv(INTEGER, value.to_bytes(size, "big", signed=True))


def boolean(value: bool) -> bytes:
    """BOOLEAN: 0xFF is true. X.690 section 11.1."""
    return tlv(BOOLEAN, b"\xff" if value else b"\x00")


def octet_string(content: bytes) -> bytes:
    """OCTET STRING, primitive."""
    return tlv(OCTET_STRING, content)


def bit_string(content: bytes, unused: int = 0) -> bytes:
    """BIT STRING of whole octets, the last `unused` bits of which do not count."""
    return tlv(BIT_STRING, bytes((unused,)) + content)


def null() -> bytes:
    """NULL."""
    return b"\x05\x00"


def oid_content(dotted: str) -> bytes:
    """The content octets of an object identifier. Raises `ValueError` for text that is none. X.690 section 8.19."""
    arcs = [int(arc) for arc in dotted.split(".")]
    if len(arcs) < 2 or arcs[0] > 2 or min(arcs) < 0 or (arcs[0] < 2 and arcs[1] > 39):
        raise ValueError(f"{dotted} is not an object identifier")
    encoded = bytearray()
    for arc in (arcs[0] * 40 + arcs[1], *arcs[2:]):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | (arc & 0x7F))
        encoded.extend(reversed(groups))
    return bytes(encoded)


def oid(dotted: str) -> bytes:
    """OBJECT IDENTIFIER from dotted text."""
    return tlv(OID, oid_content(dotted))


def utf8(text: str) -> bytes:
    """UTF8String."""
    return tlv(UTF8_STRING, text.encode())


def bmp(text: str) -> bytes:
    """BMPString: UTF-16, big-endian; what PKCS#12 wants for friendly names."""
    return tlv(BMP_STRING, text.encode("utf-16-be"))


def explicit(number: int, content: bytes) -> bytes:
    """A value wrapped in the context-specific tag `number` (at most 30)."""
    return tlv(0xA0 | number, content)


def implicit(number: int, content: bytes, *, constructed: bool = False) -> bytes:
    """Content octets under the context-specific tag `number` (at most 30), in place of their own tag."""
    return tlv((0xA0 if constructed else 0x80) | number, content)


def algorithm(dotted: str, parameters: bytes = b"") -> bytes:
    """AlgorithmIdentifier. RFC 5280 section 4.1.1.2."""
    return sequence(oid(dotted), parameters)
