"""Reading BER and DER into a tree, with bounds on depth, size and number of values.

This reader looks and does not judge: it takes BER where the strict gateway takes DER only, and says where the input
leaves DER (`Node.not_der`), so that `inspect --asn1` can draw broken files and the containers that are BER in the
wild (PKCS#7, PKCS#12) can be read and written back as DER. No value is decoded before it is asked for. X.690 sections
8 and 10.
"""

from collections.abc import Iterator
from typing import NamedTuple

from edgeward.errors import TooLarge, Unreadable
from edgeward.pki import der

MAX_DEPTH = 48
"""Levels of nesting. A PKCS#12 in BER from Windows reaches 25; nothing honest comes near this."""

MAX_NODES = 15_000
"""Values in one tree: about 60 ms of work. A CRL of 3,000 entries has 12,000."""

UNIVERSAL, APPLICATION, CONTEXT, PRIVATE = 0, 1, 2, 3

UNIVERSAL_NAMES = {
    0: "end-of-contents",
    1: "BOOLEAN",
    2: "INTEGER",
    3: "BIT STRING",
    4: "OCTET STRING",
    5: "NULL",
    6: "OBJECT IDENTIFIER",
    7: "ObjectDescriptor",
    8: "EXTERNAL",
    9: "REAL",
    10: "ENUMERATED",
    12: "UTF8String",
    13: "RELATIVE-OID",
    16: "SEQUENCE",
    17: "SET",
    18: "NumericString",
    19: "PrintableString",
    20: "TeletexString",
    21: "VideotexString",
    22: "IA5String",
    23: "UTCTime",
    24: "GeneralizedTime",
    25: "GraphicString",
    26: "VisibleString",
    27: "GeneralString",
    28: "UniversalString",
    30: "BMPString",
}

_ENCODINGS = {
    12: "utf-8",
    18: "ascii",
    19: "ascii",
    20: "latin-1",
    22: "ascii",
    26: "ascii",
    28: "utf-32-be",
    30: "utf-16-be",
}


class Node(NamedTuple):
    """One value: where it lies in `source`, its tag, and its children when it is constructed."""

    source: bytes
    offset: int
    """Octets from the start of `source` to the identifier octet."""
    header: int
    """Octets of identifier and length together."""
    length: int
    """Octets of content, without the end-of-contents octets of an indefinite length."""
    tag_class: int
    number: int
    constructed: bool
    indefinite: bool
    not_der: str
    """Why the encoding of this value's tag and length is not DER; empty when it is."""
    children: tuple["Node", ...]

    def __repr__(self) -> str:  # without the source, which may be a private key
        return f"<Node: {self.tag_name} at {self.offset}, {self.length} octets>"

    @property
    def content(self) -> bytes:
        """The content octets."""
        return self.source[self.offset + self.header : self.offset + self.header + self.length]

    @property
    def end(self) -> int:
        """The offset of the first octet behind this value, end-of-contents octets included."""
        return self.offset + self.header + self.length + (2 if self.indefinite else 0)

    @property
    def encoded(self) -> bytes:
        """The whole value as it stands in the source."""
        return self.source[self.offset : self.end]

    @property
    def tag_name(self) -> str:
        """`SEQUENCE`, `[0]`, `[APPLICATION 3]`, `[PRIVATE 1]`, `[UNIVERSAL 29]`."""
        if self.tag_class == UNIVERSAL:
            return UNIVERSAL_NAMES.get(self.number, f"[UNIVERSAL {self.number}]")
        prefix = {APPLICATION: "APPLICATION ", CONTEXT: "", PRIVATE: "PRIVATE "}[self.tag_class]
        return f"[{prefix}{self.number}]"

    def is_universal(self, number: int) -> bool:
        """Whether this is the universal type `number`."""
        return self.tag_class == UNIVERSAL and self.number == number

    def is_context(self, number: int) -> bool:
        """Whether this carries the context-specific tag `number`."""
        return self.tag_class == CONTEXT and self.number == number

    def walk(self) -> Iterator["Node"]:
        """This value and everything inside it, in order."""
        yield self
        for child in self.children:
            yield from child.walk()


class _Reader:
    def __init__(self, source: bytes, what: str, max_nodes: int, levels: int, width: int) -> None:
        self.levels = levels
        self.width = width
        self.source = source
        self.what = what
        self.left = max_nodes
        self.max_nodes = max_nodes

    def fail(self, offset: int, why: str) -> Unreadable:
        return Unreadable(what=self.what, why=f"{why} at offset {offset}")

    def tag(self, at: int, stop: int) -> tuple[int, int, bool]:
        """The tag number at `at`, the offset behind it, and whether it is in its shortest form."""
        number = self.source[at] & 0x1F
        at += 1
        if number != 0x1F:
            return number, at, True
        number, start = 0, at
        while True:
            if at >= stop or at - start > 4:
                raise self.fail(start - 1, "a tag number has no end")
            octet = self.source[at]
            at += 1
            number = number << 7 | octet & 0x7F
            if not octet & 0x80:
                return number, at, number > 30 and self.source[start] != 0x80

    def size(self, at: int, stop: int) -> tuple[int, int, bool]:
        """The length at `at` (-1 for the indefinite form), the offset behind it, and whether it is in its shortest
        form.
        """
        if at >= stop:
            raise self.fail(at, "the length is missing")
        first = self.source[at]
        at += 1
        if first < 0x80:
            return first, at, True
        if first == 0x80:
            return -1, at, False
        count = first & 0x7F
        if count > 8 or at + count > stop:
            raise self.fail(at - 1, "the length is not sound")
        value = int.from_bytes(self.source[at : at + count], "big")
        return value, at + count, value >= 0x80 and self.source[at] != 0

    def node(self, at: int, stop: int, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.fail(at, f"more than {MAX_DEPTH} levels of nesting")
        self.left -= 1
        if self.left < 0:
            raise TooLarge(what=f"the {self.what} ({self.max_nodes} values and more)", limit=at)
        if at >= stop:
            raise self.fail(at, "a value is missing")
        first = self.source[at]
        constructed = bool(first & 0x20)
        number, behind, short_tag = self.tag(at, stop)
        length, start, short_length = self.size(behind, stop)
        children: tuple[Node, ...] = ()
        indefinite = length < 0
        if indefinite:
            if not constructed:
                raise self.fail(at, "a primitive value of indefinite length")
            children, length = self.until_end(start, stop, depth + 1)
        elif start + length > stop:
            raise self.fail(at, f"{start + length - stop} octets are missing from a value of {length}")
        elif constructed and depth < self.levels:
            children = self.inside(start, start + length, depth + 1)
        not_der = (
            "indefinite length"
            if indefinite
            else "a length that is longer than needed"
            if not short_length
            else "a tag that is longer than needed"
            if not short_tag
            else "a string in pieces"
            if constructed and first < 0x40 and number not in {8, 16, 17}
            else ""
        )
        return Node(
            source=self.source,
            offset=at,
            header=start - at,
            length=length,
            tag_class=first >> 6,
            number=number,
            constructed=constructed,
            indefinite=indefinite,
            not_der=not_der,
            children=children,
        )

    def inside(self, at: int, stop: int, depth: int) -> tuple[Node, ...]:
        children: list[Node] = []
        while at < stop and len(children) < self.width:
            child = self.node(at, stop, depth)
            children.append(child)
            at = child.end
        return tuple(children)

    def until_end(self, at: int, stop: int, depth: int) -> tuple[tuple[Node, ...], int]:
        start, children = at, []
        while self.source[at : min(at + 2, stop)] != b"\0\0":
            if at >= stop:
                raise self.fail(start, "the end of an indefinite length is missing")
            child = self.node(at, stop, depth)
            children.append(child)
            at = child.end
        return tuple(children), at - start


def read(
    source: bytes,
    what: str = "ASN.1 value",
    *,
    max_nodes: int = MAX_NODES,
    levels: int = MAX_DEPTH,
    width: int = 2**31,
) -> tuple[Node, int]:
    """The first BER or DER value in `source` and the number of octets that follow it.

    Raises `Unreadable` (naming `what` and the offset) or `TooLarge`: the input's fault. Takes time in proportion to
    the values in it, of which there may be `max_nodes`.
    """
    node = _Reader(source, what, max_nodes, levels, width).node(0, len(source), 0)
    return node, len(source) - node.end


def exactly(source: bytes, what: str, *, max_nodes: int = MAX_NODES) -> Node:
    """The one value that `source` is. Raises `Unreadable` also for octets that follow it."""
    node, rest = read(source, what, max_nodes=max_nodes)
    if rest:
        raise Unreadable(what=what, why=f"{rest} octets follow its end")
    return node


def to_der(node: Node) -> bytes:
    """`node` written as DER as far as its tags tell: definite shortest lengths, strings in one piece, sets in order.

    An implicitly tagged string in pieces is joined too where every piece is an OCTET STRING.
    """
    if not node.constructed:
        return _header(node, constructed=False, size=node.length) + node.content
    if is_string_in_pieces(node):
        joined = string_octets(node)
        return _header(node, constructed=False, size=len(joined)) + joined
    parts = [to_der(child) for child in node.children]
    if node.is_universal(17):
        parts.sort()
    content = b"".join(parts)
    return _header(node, constructed=True, size=len(content)) + content


def _header(node: Node, *, constructed: bool, size: int) -> bytes:
    first = node.tag_class << 6 | (0x20 if constructed else 0)
    if node.number <= 30:
        return bytes((first | node.number,)) + der.length(size)
    groups, number = [node.number & 0x7F], node.number
    while number := number >> 7:
        groups.append(0x80 | number & 0x7F)
    return bytes((first | 0x1F, *reversed(groups))) + der.length(size)


def is_string_in_pieces(node: Node) -> bool:
    """Whether `node` is a constructed OCTET STRING. X.690 section 8.7.3."""
    return node.constructed and node.is_universal(4)


def string_octets(node: Node) -> bytes:
    """The octets of an OCTET STRING (or an implicitly tagged one), whole or in pieces."""
    if not node.constructed:
        return node.content
    return b"".join(string_octets(child) for child in node.children)


def oid_text(content: bytes) -> str:
    """The dotted text of an object identifier's content octets. Raises `Unreadable` when they are none."""
    if not content or content[-1] & 0x80 or len(content) > 128:
        raise Unreadable(what="object identifier", why="its last arc has no end")
    arcs: list[int] = []
    arc = 0
    for octet in content:
        arc = arc << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (first, arcs[0] - 40 * first, *arcs[1:]))


def oid_of(node: Node) -> str:
    """The dotted text of an OBJECT IDENTIFIER. Raises `Unreadable` for another type."""
    if not node.is_universal(6):
        raise Unreadable(what="object identifier", why=f"{node.tag_name} stands in its place")
    return oid_text(node.content)


def integer_of(node: Node) -> int:
    """The value of an INTEGER or ENUMERATED. Raises `Unreadable` for another type or one without octets."""
    if node.tag_class != UNIVERSAL or node.number not in {2, 10} or not node.length:
        raise Unreadable(what="integer", why=f"{node.tag_name} stands in its place")
    return int.from_bytes(node.content, "big", signed=True)


def text_of(node: Node) -> str:
    """The text of a string type; octets that do not decode become U+FFFD."""
    return node.content.decode(_ENCODINGS.get(node.number, "utf-8"), "replace")
