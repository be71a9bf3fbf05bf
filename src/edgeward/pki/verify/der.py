"""A small strict reader of DER, for the few fields of a certificate that the library drops or does not know.

It reads definite lengths and tag numbers below 31, which is all that X.509 uses, and refuses everything else.
"""

from dataclasses import dataclass

from edgeward.errors import Unreadable

SEQUENCE = 0x30
INTEGER = 0x02
OBJECT_IDENTIFIER = 0x06


@dataclass(frozen=True, slots=True)
class Element:
    """One encoded value: `tag` is the identifier octet, `content` the value octets, `raw` the whole encoding."""

    tag: int
    content: bytes
    raw: bytes


def _refuse(why: str) -> Unreadable:
    return Unreadable(what="DER value", why=why)


def _length(der: bytes, at: int) -> tuple[int, int]:
    """The length at `at`, and where the value octets start. X.690 section 10.1: the shortest form only."""
    first = der[at]
    if first < 0x80:
        return first, at + 1
    size = first & 0x7F
    if not 1 <= size <= 4 or at + 1 + size > len(der):
        raise _refuse("a length is not definite or does not fit")
    length = int.from_bytes(der[at + 1 : at + 1 + size], "big")
    if length < 0x80 or length < 1 << (8 * (size - 1)):
        raise _refuse("a length is not in its shortest form")
    return length, at + 1 + size


def _element(der: bytes, at: int) -> tuple[Element, int]:
    if at + 2 > len(der):
        raise _refuse("it ends in the middle of a value")
    tag = der[at]
    if tag & 0x1F == 0x1F:
        raise _refuse("a tag number is above 30")
    length, start = _length(der, at + 1)
    end = start + length
    if end > len(der):
        raise _refuse("a value is longer than what contains it")
    return Element(tag, der[start:end], der[at:end]), end


def children(content: bytes) -> tuple[Element, ...]:
    """The values that follow each other in `content`, the value octets of a constructed value.

    Raises `Unreadable` when they are not strict DER: the fault is the input's.
    """
    found = []
    at = 0
    while at < len(content):
        element, at = _element(content, at)
        found.append(element)
    return tuple(found)


def only(der: bytes, tag: int) -> Element:
    """The one value in `der`, which must have the identifier octet `tag` and end where `der` ends."""
    element, end = _element(der, 0)
    if element.tag != tag or end != len(der):
        raise _refuse("it is not the one value that belongs there")
    return element


def object_identifier(content: bytes) -> str:
    """The dotted form of an OBJECT IDENTIFIER's value octets. X.690 section 8.19."""
    if not content or content[-1] & 0x80:
        raise _refuse("an object identifier ends in the middle of an arc")
    arcs: list[int] = []
    value = 0
    fresh = True
    for octet in content:
        if fresh and octet == 0x80:
            raise _refuse("an object identifier has a padded arc")
        value = value << 7 | octet & 0x7F
        fresh = not octet & 0x80
        if fresh:
            arcs.append(value)
            value = 0
    head = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (head, arcs[0] - 40 * head, *arcs[1:]))
