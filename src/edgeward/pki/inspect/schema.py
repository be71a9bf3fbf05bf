"""What the fields of the known structures are called, as a table: structure -> the names of its parts and what those
are.

A table and not a parser: it labels a tree that was read already, and leaves without a name whatever does not fit.
Sources: RFC 5280 (certificates, CRLs), RFC 2986 (requests), RFC 5958, RFC 5915, RFC 8017 (keys), RFC 5652 (PKCS#7),
RFC 7292 (PKCS#12), RFC 6960 (OCSP).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edgeward.errors import Unreadable
from edgeward.pki import asn1, oids
from edgeward.pki.formats.item import Kind

# A part is `name:type`, with `?` behind the name when it may be missing and `[n]` before it for a context tag.
# `type*` is a list. A type that is not in the table is a plain value; `secret` is one that is never shown.
_TYPES: dict[str, Sequence[str]] = {
    "Certificate": ("tbsCertificate:TBSCertificate", "signatureAlgorithm:Algorithm", "signature:raw"),
    "TBSCertificate": (
        "[0]version?:Explicit", "serialNumber:", "signature:Algorithm", "issuer:Name", "validity:Validity",
        "subject:Name", "subjectPublicKeyInfo:SPKI", "[1]issuerUniqueID?:", "[2]subjectUniqueID?:",
        "[3]extensions?:Extensions",
    ),
    "Validity": ("notBefore:", "notAfter:"),
    "Algorithm": ("algorithm:", "parameters?:"),
    "SPKI": ("algorithm:Algorithm", "subjectPublicKey:"),
    "Extensions": ("extensions:Extension*",),
    "Extension": ("extnID:", "critical?:", "extnValue:"),
    "Name": ("*relativeDistinguishedName:RDN",),
    "RDN": ("*attribute:Attribute",),
    "Attribute": ("type:", "value:"),
    "Request": ("certificationRequestInfo:RequestInfo", "signatureAlgorithm:Algorithm", "signature:raw"),
    "RequestInfo": ("version:", "subject:Name", "subjectPKInfo:SPKI", "[0]attributes?:Attributes"),
    "Attributes": ("*attribute:Attribute",),
    "CRL": ("tbsCertList:TBSCertList", "signatureAlgorithm:Algorithm", "signature:raw"),
    "TBSCertList": (
        "version?2:", "signature:Algorithm", "issuer:Name", "thisUpdate:", "nextUpdate?t:",
        "revokedCertificates?:Revoked*",
        "[0]crlExtensions?:Extensions",
    ),
    "Revoked": ("userCertificate:", "revocationDate:", "crlEntryExtensions?:Extension*"),
    "PKCS8": (
        "version:", "privateKeyAlgorithm:Algorithm", "privateKey:secret", "[0]attributes?:Attributes", "[1]publicKey?:",
    ),
    "EncryptedKey": ("encryptionAlgorithm:Algorithm", "encryptedData:raw"),
    "SEC1": ("version:", "privateKey:secret", "[0]parameters?:Explicit", "[1]publicKey?:Explicit"),
    "PKCS1": (
        "version:", "modulus:", "publicExponent:", "privateExponent:secret", "prime1:secret", "prime2:secret",
        "exponent1:secret", "exponent2:secret", "coefficient:secret",
    ),
    "PKCS1Public": ("modulus:", "publicExponent:"),
    "ContentInfo": ("contentType:", "[0]content?:SignedDataTag"),
    "SignedDataTag": ("content:SignedData",),
    "SignedData": (
        "version:", "digestAlgorithms:", "encapContentInfo:ContentInfo", "[0]certificates?:Certificate*",
        "[1]crls?:CRL*", "signerInfos:",
    ),
    "PFX": ("version:", "authSafe:Safe", "macData?:MacData"),
    "Safe": ("contentType:", "[0]content?:Explicit"),
    "MacData": ("mac:", "macSalt:raw", "iterations?:"),
    "OCSPRequest": ("tbsRequest:TBSRequest", "[0]optionalSignature?:"),
    "TBSRequest": ("[0]version?:", "[1]requestorName?:", "requestList:Single*", "[2]requestExtensions?:Extensions"),
    "Single": ("reqCert:CertID", "[0]singleRequestExtensions?:Extensions"),
    "CertID": ("hashAlgorithm:Algorithm", "issuerNameHash:raw", "issuerKeyHash:raw", "serialNumber:"),
    "OCSPResponse": ("responseStatus:", "[0]responseBytes?:ResponseTag"),
    "ResponseTag": ("responseBytes:ResponseBytes",),
    "ResponseBytes": ("responseType:", "response:@BasicResponse"),
    "BasicResponse": ("tbsResponseData:", "signatureAlgorithm:Algorithm", "signature:raw", "[0]certs?:"),
}  # fmt: skip

_ROOTS = {
    Kind.CERTIFICATE: "Certificate",
    Kind.REQUEST: "Request",
    Kind.CRL: "CRL",
    Kind.ENCRYPTED_KEY: "EncryptedKey",
    Kind.PRIVATE_KEY: "PrivateKey",
    Kind.PUBLIC_KEY: "PublicKey",
    Kind.PKCS7: "ContentInfo",
    Kind.PKCS12: "PFX",
    Kind.OCSP_REQUEST: "OCSPRequest",
    Kind.OCSP_RESPONSE: "OCSPResponse",
}


@dataclass(frozen=True, slots=True)
class Field:
    """The name of one field and the structure that it has."""

    name: str = ""
    type: str = ""

    @property
    def secret(self) -> bool:
        """Whether its content is never shown."""
        return self.type == "secret"

    @property
    def may_wrap(self) -> bool:
        """Whether the octets of a string may be DER themselves."""
        return self.type not in {"raw", "secret"}

    def wrapped(self) -> "Field":
        """The field for the value inside a string."""
        return Field(type=self.type[1:]) if self.type.startswith("@") else Field()

    def chosen(self, node: asn1.Node) -> "Field":
        """The field with a choice made by what stands there: which form a key has.

        Whatever has the form of a private key is taken for one, so that none is shown, wherever it hides.
        """
        form = _private_form(node) if self.type in {"PrivateKey", ""} else ""
        if form:
            return Field(self.name, form)
        if self.type == "PublicKey" and len(node.children) > 1:
            return Field(self.name, "PKCS1Public" if node.children[1].is_universal(2) else "SPKI")
        return self

    def children(self, node: asn1.Node) -> list["Field"]:
        """The fields of the node's children, as many as there are."""
        if self.type.endswith("*"):
            return [Field(type=self.type[:-1])] * len(node.children)
        parts = _TYPES.get(self.type, ())
        if parts and parts[0].startswith("*"):
            name, _, kind = parts[0][1:].partition(":")
            return [Field(name, kind)] * len(node.children)
        found, at = [], 0
        for child in node.children:
            field = Field()
            for place in range(at, len(parts)):
                if _fits(parts[place], child):
                    name, _, kind = parts[place].partition(":")
                    field, at = Field(name.split("]")[-1].split("?")[0], kind), place + 1
                    break
            found.append(field)
        if self.type == "Extension":
            return _extension(node, found)
        return found


def _private_form(node: asn1.Node) -> str:
    kinds = [child.number if child.tag_class == asn1.UNIVERSAL else -1 for child in node.children[:9]]
    if kinds[:3] == [2, 16, 4]:
        return "PKCS8"
    if kinds[:2] == [2, 4] and set(kinds[2:]) <= {-1}:
        return "SEC1"
    return "PKCS1" if kinds in ([2] * 9, [2] * 6) else ""


def _fits(part: str, child: asn1.Node) -> bool:
    name, _, kind = part.partition(":")
    if name.startswith("["):
        return child.is_context(int(name[1]))
    if child.tag_class == asn1.CONTEXT:
        return False
    if name == "version?2":
        return child.is_universal(2)
    if name == "nextUpdate?t":
        return child.is_universal(23) or child.is_universal(24)
    if name == "critical?":
        return child.is_universal(1)
    if name.endswith("?") and kind:
        return child.constructed
    return True


def _extension(node: asn1.Node, found: list[Field]) -> list[Field]:
    """An extension's value is called by the extension's own name."""
    try:
        name = oids.NAMES.get(asn1.oid_of(node.children[0]), "")
    except (Unreadable, IndexError):
        name = ""
    return [
        Field(f"extnValue ({name})", field.type) if field.name == "extnValue" and name else field for field in found
    ]


def root(kind: Kind) -> Field:
    """The field for a whole value of `kind`."""
    structure = _ROOTS.get(kind, "")
    return Field(structure if structure not in {"PrivateKey", "PublicKey"} else kind.words, structure)
