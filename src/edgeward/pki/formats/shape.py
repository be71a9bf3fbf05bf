"""Telling by its shape alone what a DER value is, without parsing more than its first levels.

The shapes differ in their first children; nothing is validated. The strict gateway does that for whatever is read
afterwards.
"""

from edgeward.errors import TooLarge, Unreadable
from edgeward.pki import asn1
from edgeward.pki.formats.item import Kind

_SEQUENCE, _SET, _INTEGER, _BITS, _OCTETS, _OID, _ENUMERATED = 16, 17, 2, 3, 4, 6, 10


def shape(data: bytes) -> tuple[Kind, int] | None:
    """The kind of the BER or DER value at the start of `data` and the octets behind it; None when there is no sound
    value.

    `Kind.ASN1` is a sound value of no known shape.
    """
    if data[:1] not in {b"\x30", b"\x06"}:
        return None
    try:
        top, rest = asn1.read(data, levels=4, width=12, max_nodes=30_000)
    except (Unreadable, TooLarge):
        return None
    if top.is_universal(_OID):
        return Kind.EC_PARAMETERS, rest
    return _kind(top), rest


def _tags(node: asn1.Node, count: int) -> tuple[int, ...]:
    """The universal tags of the first `count` children; 100 + n for a context-specific tag n."""
    return tuple(
        child.number if child.tag_class == asn1.UNIVERSAL else 100 + child.number for child in node.children[:count]
    )


def _kind(top: asn1.Node) -> Kind:
    tags = _tags(top, 9)
    if tags == (_SEQUENCE, _SEQUENCE, _BITS):
        return _signed(top.children[0])
    key = _key(top, tags)
    if key is not None:
        return key
    if tags[:2] == (_OID, 100):
        return Kind.PKCS7 if _starts_with_oid(top, "1.2.840.113549.1.7.") else Kind.ASN1
    if tags[:2] == (_INTEGER, _SEQUENCE) and _starts_with_oid(top.children[1], "1.2.840.113549.1.7."):
        return Kind.PKCS12
    if tags in {(_ENUMERATED,), (_ENUMERATED, 100)}:
        return Kind.OCSP_RESPONSE
    if tags in {(_SEQUENCE,), (_SEQUENCE, 100)} and _is_ocsp_request(top.children[0]):
        return Kind.OCSP_REQUEST
    return Kind.ASN1


def _signed(inner: asn1.Node) -> Kind:
    """A value of the form (to-be-signed, algorithm, signature): certificate, request, CRL, or none of them."""
    tags = _tags(inner, 8)
    if tags[:3] == (_INTEGER, _SEQUENCE, _SEQUENCE) and _is_public_key(inner.children[2]):
        return Kind.REQUEST
    without_version = tags[1:] if tags[:1] in {(_INTEGER,), (100,)} else tags
    if without_version[:2] == (_SEQUENCE, _SEQUENCE) and without_version[2:3] in {(23,), (24,)}:
        return Kind.CRL
    serial = tags[1:] if tags[:1] == (100,) else tags
    if serial[:6] == (_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE):
        return Kind.CERTIFICATE
    return Kind.ASN1


def _key(top: asn1.Node, tags: tuple[int, ...]) -> Kind | None:
    if _is_public_key(top) or tags == (_INTEGER, _INTEGER):
        return Kind.PUBLIC_KEY
    if tags == (_SEQUENCE, _OCTETS) and _tags(top.children[0], 1) == (_OID,):
        return Kind.ENCRYPTED_KEY
    if tags[:3] == (_INTEGER, _SEQUENCE, _OCTETS) and _tags(top.children[1], 1) == (_OID,):
        return Kind.PRIVATE_KEY
    if tags in {(_INTEGER,) * 9, (_INTEGER,) * 6} or (tags[:2] == (_INTEGER, _OCTETS) and set(tags[2:]) <= {100, 101}):
        return Kind.PRIVATE_KEY
    return None


def _is_public_key(node: asn1.Node) -> bool:
    return _tags(node, 3) == (_SEQUENCE, _BITS) and _tags(node.children[0], 1) == (_OID,)


def _starts_with_oid(node: asn1.Node, prefix: str) -> bool:
    try:
        return asn1.oid_of(node.children[0]).startswith(prefix)
    except (IndexError, Unreadable):
        return False


def _is_ocsp_request(inner: asn1.Node) -> bool:
    """Whether `inner` is a TBSRequest: a list of (hash algorithm, two hashes, serial). RFC 6960 section 4.1.1."""
    requests = next((child for child in inner.children if child.is_universal(_SEQUENCE)), None)
    if requests is None or set(_tags(requests, 9)) != {_SEQUENCE}:
        return False
    cert_id = requests.children[0].children[:1]
    try:
        return bool(cert_id) and _tags(asn1.exactly(cert_id[0].encoded, "CertID"), 4) == (
            _SEQUENCE,
            _OCTETS,
            _OCTETS,
            _INTEGER,
        )
    except (Unreadable, TooLarge):
        return False
