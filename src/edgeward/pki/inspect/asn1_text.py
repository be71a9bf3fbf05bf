"""A DER or BER value drawn as a tree: offset, header and content length, tag, value, and what each field is where
that is known.

The names of fields follow the modules of RFC 5280, RFC 2986, RFC 5958, RFC 5652 and RFC 6960.
"""

from collections.abc import Iterator

from edgeward.errors import TooLarge, Unreadable
from edgeward.pki import asn1
from edgeward.pki.formats.item import Kind
from edgeward.pki.inspect import schema
from edgeward.pki.inspect.private import primitive

MAX_LINES = 100_000
"""Values of one tree that are drawn."""


def lines(data: bytes, kind: Kind) -> Iterator[str]:
    """The tree of `data`, one line for each value. Raises `Unreadable` or `TooLarge` for what is no BER.

    `offset header+length depth tag name: value`; the content of an OCTET STRING or BIT STRING that is DER itself is
    drawn below it.
    """
    node, rest = asn1.read(data, max_nodes=MAX_LINES)
    yield "  offset  head  length"
    yield from _draw(node, schema.root(kind), 0, 0)
    if rest:
        yield f"{node.end:8}                trailing data: {rest} octets"


def _draw(node: asn1.Node, field: schema.Field, depth: int, base: int) -> Iterator[str]:
    field = field.chosen(node)
    wrapped = None if field.secret else _inside(node, field)
    name = f"  {field.name}" if field.name else ""
    value = (
        ""
        if node.constructed or wrapped is not None
        else f"  {'(a secret, not shown)' if field.secret else primitive(node)}"
    )
    strange = f"  [{node.not_der}: not DER]" if node.not_der else ""
    size = "indef" if node.indefinite else str(node.length)
    tag = node.tag_name
    if value.strip().startswith(tag):
        value = "  " + value.strip().removeprefix(tag).strip()
    yield f"{base + node.offset:8} {node.header:5} {size:>7}  {'  ' * depth}{tag}{name}{value.rstrip()}{strange}"
    known = field.children(node)
    for child, child_field in zip(node.children, known, strict=True):
        yield from _draw(child, child_field, depth + 1, base)
    if wrapped is not None:
        inner, skipped = wrapped
        yield from _draw(inner, field.wrapped(), depth + 1, base + node.offset + node.header + skipped)


def _inside(node: asn1.Node, field: schema.Field) -> tuple[asn1.Node, int] | None:
    """The value inside an OCTET STRING or BIT STRING that holds DER, and how many octets come before it."""
    if node.constructed or not (node.is_universal(4) or node.is_universal(3)) or node.length < 2 or not field.may_wrap:
        return None
    skipped = 1 if node.is_universal(3) else 0
    content = node.content[skipped:]
    if content[:1] not in {b"\x30", b"\x31", b"\x03", b"\x04", b"\x02", b"\x05", b"\x0c", b"\x16", b"\x1e", b"\x0a"}:
        return None
    try:
        return asn1.exactly(content, "inner value"), skipped
    except (Unreadable, TooLarge):
        return None
