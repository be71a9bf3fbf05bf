"""PKCS#7 bundles: the certificates and CRLs in a SignedData, read from DER or BER and written as DER.

Nothing is verified here: a certs-only bundle has no signature, and a signed message's certificates are as good as
their own. RFC 2315 section 9, RFC 5652 section 5.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edgeward.errors import Unreadable
from edgeward.pki import asn1, der

SIGNED_DATA = "1.2.840.113549.1.7.2"
DATA = "1.2.840.113549.1.7.1"

_CONTENTS = {
    DATA: "plain data",
    "1.2.840.113549.1.7.3": "data encrypted for a recipient (EnvelopedData)",
    "1.2.840.113549.1.7.5": "digested data",
    "1.2.840.113549.1.7.6": "encrypted data",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What a SignedData carries: DER of each certificate and CRL in the order found, how many signed it, and
    whether it was BER.
    """

    certificates: tuple[bytes, ...]
    crls: tuple[bytes, ...]
    signers: int
    has_content: bool
    not_der: str


def read(data: bytes) -> Bundle:
    """The bundle in a ContentInfo of SignedData.

    Raises `Unreadable` for another content or a structure that is not sound, `TooLarge` for more values than `asn1`
    reads.
    """
    # Five levels down begin the certificates and CRLs themselves, which are other people's business.
    top, rest = asn1.read(data, "PKCS#7 bundle", max_nodes=100_000, levels=5)
    if rest:
        raise Unreadable(what="PKCS#7 bundle", why=f"{rest} octets follow its end")
    try:
        content_type = asn1.oid_of(top.children[0])
        if content_type != SIGNED_DATA:
            found = _CONTENTS.get(content_type, f"content of type {content_type}")
            raise Unreadable(what="PKCS#7 bundle", why=f"it is {found}, which holds no certificates")
        signed = top.children[1].children[0].children
        fields = signed[3:]
        signers = next((child for child in reversed(fields) if child.is_universal(17)), None)
        return Bundle(
            certificates=tuple(_members(fields, 0)),
            crls=tuple(_members(fields, 1)),
            signers=len(signers.children) if signers else 0,
            has_content=len(signed[2].children) > 1,
            not_der=next((node.not_der for node in top.walk() if node.not_der), ""),
        )
    except IndexError as error:
        raise Unreadable(what="PKCS#7 bundle", why="a part of SignedData is missing") from error


def _members(fields: Sequence[asn1.Node], number: int) -> list[bytes]:
    """The encoded certificates ([0]) or CRLs ([1]); attribute certificates and other formats carry a tag and are
    left out.
    """
    return [
        member.encoded
        for child in fields
        if child.is_context(number)
        for member in child.children
        if member.is_universal(16)
    ]


def write(certificates: Sequence[bytes], crls: Sequence[bytes] = ()) -> bytes:
    """A certs-only SignedData in DER. The certificates are a SET OF, so DER decides their order, not the caller.

    RFC 5652 section 5.1, X.690 section 11.6.
    """
    signed = der.sequence(
        der.integer(1),
        der.set_of(()),
        der.sequence(der.oid(DATA)),
        der.implicit(0, b"".join(sorted(certificates)), constructed=True),
        der.implicit(1, b"".join(sorted(crls)), constructed=True) if crls else b"",
        der.set_of(()),
    )
    return der.sequence(der.oid(SIGNED_DATA), der.explicit(0, signed))
