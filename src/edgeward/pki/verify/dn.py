"""Distinguished names in the form in which RFC 5280 section 7.1 compares them.

Two names are equal when they have the same relative names in the same order, and each attribute has the same type and
the same value after the string preparation of RFC 4518: mapped, normalised (NFKC), case folded and with its
insignificant spaces gone. The kind of ASN.1 string does not count: a CA that moved from PrintableString to UTF8String
keeps its name. Values that are not text compare as octets.
"""

import unicodedata

from cryptography import x509

RelativeName = tuple[tuple[str, str | bytes], ...]
DistinguishedName = tuple[RelativeName, ...]

_TO_SPACE = frozenset("\t\n\x0b\x0c\r\x85")
_IGNORED = frozenset("\u00ad\u034f\u1806\u180b\u180c\u180d\u200b\ufffc") | frozenset(map(chr, range(0xFE00, 0xFE10)))
_PROHIBITED = frozenset(("Cn", "Co", "Cs"))  # unassigned, private use, surrogates: RFC 4518 section 2.4 gives no match


def prepare(text: str) -> str | bytes:
    """`text` ready for comparison without regard to case, or its octets when RFC 4518 prohibits a character in it."""
    if text.isascii() and text.isprintable():
        return " ".join(text.lower().split())
    mapped = []
    for character in text:
        category = unicodedata.category(character)
        if character in _TO_SPACE or category in ("Zs", "Zl", "Zp"):
            mapped.append(" ")
        elif category in _PROHIBITED or character == "\ufffd":
            return text.encode("utf-8", "surrogatepass")
        elif character not in _IGNORED and category not in ("Cc", "Cf"):
            mapped.append(character)
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", "".join(mapped)).casefold())
    return " ".join(folded.split())


def relative(rdn: x509.RelativeDistinguishedName) -> RelativeName:
    """One relative name, its attributes in a fixed order because a SET has none."""
    pairs = [
        (attribute.oid.dotted_string, prepare(attribute.value) if isinstance(attribute.value, str) else attribute.value)
        for attribute in rdn
    ]
    return tuple(sorted(pairs, key=lambda pair: (pair[0], isinstance(pair[1], bytes), pair[1])))


def comparable(name: x509.Name) -> DistinguishedName:
    """`name` in comparable form: equal names give equal tuples."""
    return tuple(relative(rdn) for rdn in name.rdns)


def within(name: DistinguishedName, subtree: DistinguishedName) -> bool:
    """Whether `name` lies in the subtree that starts at `subtree`. RFC 5280 section 4.2.1.10."""
    return name[: len(subtree)] == subtree


def shown(name: x509.Name) -> str:
    """`name` for people, in RFC 4514 form; an empty name says so."""
    return name.rfc4514_string() or "(empty name)"
