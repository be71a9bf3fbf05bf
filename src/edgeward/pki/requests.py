"""Certificate requests: from what a person types to a signed PKCS#10.

Subjects come as RFC 4514 (`CN=web,O=Example`) or as openssl writes them (`/O=Example/CN=web`); alternative names as
`dns:…`, `ip:…` and so on, or bare where they can only be one thing. A request is a wish: the issuer decides what of
it a certificate gets.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID

from edgeward.errors import BadName, KeyPolicyRefused, Unreadable, UsageError
from edgeward.pki import der
from edgeward.pki.parse import guarded

_SIGNERS = (
    rsa.RSAPrivateKey,
    ec.EllipticCurvePrivateKey,
    ed25519.Ed25519PrivateKey,
    ed448.Ed448PrivateKey,
    mldsa.MLDSA44PrivateKey,
    mldsa.MLDSA65PrivateKey,
    mldsa.MLDSA87PrivateKey,
    dsa.DSAPrivateKey,
)

MAX_NAMES = 1_000
"""Alternative names in one request: more do not fit into the 64 KiB that any protocol takes."""

_NAME_OIDS = {
    "cn": NameOID.COMMON_NAME,
    "commonname": NameOID.COMMON_NAME,
    "c": NameOID.COUNTRY_NAME,
    "st": NameOID.STATE_OR_PROVINCE_NAME,
    "l": NameOID.LOCALITY_NAME,
    "street": NameOID.STREET_ADDRESS,
    "o": NameOID.ORGANIZATION_NAME,
    "ou": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "dc": NameOID.DOMAIN_COMPONENT,
    "uid": NameOID.USER_ID,
    "emailaddress": NameOID.EMAIL_ADDRESS,
    "email": NameOID.EMAIL_ADDRESS,
    "e": NameOID.EMAIL_ADDRESS,
    "serialnumber": NameOID.SERIAL_NUMBER,
    "sn": NameOID.SURNAME,
    "surname": NameOID.SURNAME,
    "givenname": NameOID.GIVEN_NAME,
    "gn": NameOID.GIVEN_NAME,
    "title": NameOID.TITLE,
    "dnqualifier": NameOID.DN_QUALIFIER,
    "pseudonym": NameOID.PSEUDONYM,
    "organizationidentifier": NameOID.ORGANIZATION_IDENTIFIER,
    "businesscategory": NameOID.BUSINESS_CATEGORY,
    "postalcode": NameOID.POSTAL_CODE,
    "unstructuredname": NameOID.UNSTRUCTURED_NAME,
}

KEY_USAGES = {
    "digitalSignature": "digital_signature",
    "nonRepudiation": "content_commitment",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign",
    "cRLSign": "crl_sign",
}

PURPOSES = {
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "codeSigning": ExtendedKeyUsageOID.CODE_SIGNING,
    "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timeStamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "OCSPSigning": ExtendedKeyUsageOID.OCSP_SIGNING,
}

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")
_HOST = re.compile(r"(?=.{1,253}\Z)(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{1,62}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a request asks for. Empty means that nothing is asked."""

    subject: x509.Name
    names: tuple[x509.GeneralName, ...] = ()
    key_usages: tuple[str, ...] = ()
    """Names out of `KEY_USAGES`."""
    purposes: tuple[str, ...] = ()
    """Names out of `PURPOSES`, or dotted OIDs."""
    ca: bool = False
    path_length: int | None = None
    extensions: tuple[tuple[str, bool, bytes], ...] = ()
    """Further ones: OID, critical, DER of the value."""
    challenge_password: str = ""


# ---------------------------------------------------------------------------------------------------------------
# subjects


def subject(text: str) -> x509.Name:
    """The distinguished name in `text`: `/C=DE/CN=web` in the order written, or RFC 4514, which is written backwards.

    Attribute types are names out of a table or dotted OIDs. Raises `BadName`: the typist's fault. RFC 4514 section 3.
    """
    if not text.strip():
        return x509.Name([])
    if any(ord(character) < 0x20 or character == "\x7f" for character in text):
        raise BadName(value=text, kind="distinguished name", why="it has control characters")
    try:
        if text.startswith("/"):
            return guarded("subject", lambda: _slashed(text))
        # People write a space behind the comma, which RFC 4514 takes for a part of the next attribute's name.
        joined = re.sub(r"(?<!\\)([,+])\s+(?=[A-Za-z0-9.]+\s*=)", r"\1", text.strip())
        parsed = guarded("subject", lambda: x509.Name.from_rfc4514_string(joined, _overrides(joined)))
    except Unreadable as error:
        why = str(error.facts["why"])
        hint = "write CN=web,O=Example or /O=Example/CN=web" if why in {"", "ValueError"} else why
        raise BadName(value=text, kind="distinguished name", why=hint) from error
    return parsed


def _overrides(text: str) -> dict[str, x509.ObjectIdentifier]:
    """The table for the attribute types as they are written in `text`: the library's own is in upper case only."""
    written = re.findall(r"(?:^|[,+])\s*([A-Za-z][A-Za-z0-9]*)\s*=", text)
    return {name: _NAME_OIDS[name.lower()] for name in written if name.lower() in _NAME_OIDS}


def _slashed(text: str) -> x509.Name:
    relative = []
    for part in re.split(r"(?<!\\)/(?=(?:[A-Za-z][A-Za-z0-9]*|[0-2](?:\.[0-9]+)+)\s*=)", text)[1:]:
        pairs = []
        for pair in re.split(r"(?<!\\)\+(?=(?:[A-Za-z][A-Za-z0-9]*|[0-2](?:\.[0-9]+)+)\s*=)", part):
            kind, equals, value = pair.partition("=")
            oid = _NAME_OIDS.get(kind.strip().lower())
            if oid is None and re.fullmatch(r"[0-2](\.[0-9]+)+", kind.strip()):
                oid = x509.ObjectIdentifier(kind.strip())
            if oid is None or not equals:
                raise ValueError(f"no attribute is called {kind.strip()!r}")
            if value:
                pairs.append(x509.NameAttribute(oid, re.sub(r"\\(.)", r"\1", value)))
        if pairs:
            relative.append(x509.RelativeDistinguishedName(pairs))
    if not relative:
        raise ValueError("it has no attributes")
    return x509.Name(relative)


# ------------------------------------------------------------------------------------------------------ alternative
# names


def alternative_name(text: str) -> x509.GeneralName:
    """The general name in `text`: `dns:web.example`, `ip:192.0.2.1`, `email:a@b`, `uri:spiffe://x/y`, `rid:1.2.3`,
    `dirname:CN=x`, `other:1.2.3;UTF8:text`, `upn:user@realm`, in any case; or bare text that is an address, a URI, an
    e-mail address or a DNS name.

    Raises `BadName`: the typist's fault. RFC 5280 section 4.2.1.6.
    """
    kind, colon, value = text.strip().partition(":")
    maker = _MAKERS.get(kind.lower()) if colon else None
    if maker is None:
        kind, value = _bare(text.strip()), text.strip()
        maker = _MAKERS[kind]
    if not value.strip() or len(value) > 2048:
        raise BadName(value=text, kind="alternative name", why="it is empty or too long")
    try:
        return guarded("alternative name", lambda: maker(value.strip()))
    except Unreadable as error:
        raise BadName(value=text, kind="alternative name", why=error.facts["why"]) from error


def alternative_names(texts: Iterable[str]) -> list[x509.GeneralName]:
    """The general names in `texts`, in order; one text may hold several with commas, `DNS:a,IP:b`, as openssl writes them. Raises
    `BadName`."""
    return [alternative_name(part) for text in texts for part in _parts(text)]


def _parts(text: str) -> list[str]:
    whole = text.lower().startswith(("dirname:", "uri:", "other"))  # these may have commas of their own
    return [text] if whole else text.split(",")


def _bare(text: str) -> str:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return "uri" if "://" in text else "email" if "@" in text else "dns"
    return "ip"


def _dns(value: str) -> x509.GeneralName:
    if not value.isascii():
        raise ValueError("international names are written in their ASCII form, xn--…")
    labels = value.removeprefix("*.").split(".")
    if len(value) > 253 or not all(_LABEL.match(label) for label in labels):
        raise ValueError("labels have letters, digits and hyphens, 63 at most, and a wildcard is the whole first one")
    if _bare(value) == "ip":
        raise ValueError(f"it is an address: write ip:{value}")
    return x509.DNSName(value)


def _ip(value: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(value.strip("[]")))


def _email(value: str) -> x509.GeneralName:
    if not value.isascii() or value.count("@") != 1 or value.startswith("@") or value.endswith("@") or " " in value:
        raise ValueError("it is not of the form name@host")
    if (
        len(value) > 320 or "(" in value
    ):  # RFC 5321 section 4.5.3.1; the library reads nested comments by recursion, without end
        raise ValueError("it is longer than any address, or has a comment")
    return x509.RFC822Name(value)


def _uri(value: str) -> x509.GeneralName:
    if not value.isascii() or not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:\S+\Z", value):
        raise ValueError("a URI is a scheme, a colon and ASCII without spaces")
    return x509.UniformResourceIdentifier(value)


def _registered(value: str) -> x509.GeneralName:
    return x509.RegisteredID(x509.ObjectIdentifier(value))


def _directory(value: str) -> x509.GeneralName:
    return x509.DirectoryName(subject(value))


def _ia5(text: str) -> bytes:
    return der.tlv(der.IA5_STRING, text.encode("ascii"))


_OTHER_VALUES: dict[str, Callable[[str], bytes]] = {
    "UTF8": der.utf8,
    "UTF8STRING": der.utf8,
    "IA5": _ia5,
    "IA5STRING": _ia5,
    "DER": bytes.fromhex,
}


def _other(value: str) -> x509.GeneralName:
    dotted, _, rest = value.partition(";")
    kind, colon, text = rest.partition(":")
    encoder = _OTHER_VALUES.get(kind.upper())
    if not colon or encoder is None:
        raise ValueError("write OID;UTF8:text, OID;IA5:text or OID;DER:hexadecimal")
    return x509.OtherName(x509.ObjectIdentifier(dotted.strip()), encoder(text))


def _principal(value: str) -> x509.GeneralName:
    return x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), der.utf8(value))


_MAKERS = {
    "dns": _dns,
    "ip": _ip,
    "ip address": _ip,
    "email": _email,
    "uri": _uri,
    "rid": _registered,
    "registeredid": _registered,
    "dirname": _directory,
    "other": _other,
    "othername": _other,
    "upn": _principal,
}


def constraint(text: str) -> x509.GeneralName:
    """The name constraint in `text`: `dns:example.org` (it and all below), `ip:10.0.0.0/8`, `email:example.org`, `email:.example.org`,
    `uri:.example.org`, `dirname:O=Example`.

    Raises `BadName`: the typist's fault. RFC 5280 section 4.2.1.10.
    """
    kind, colon, value = text.strip().partition(":")
    maker = _CONSTRAINTS.get(kind.lower()) if colon else None
    if maker is None or not value.strip():
        raise BadName(
            value=text, kind="name constraint", why=f"write KIND:VALUE, with one of {', '.join(_CONSTRAINTS)}"
        )
    try:
        return guarded("name constraint", lambda: maker(value.strip()))
    except Unreadable as error:
        raise BadName(value=text, kind="name constraint", why=error.facts["why"]) from error


def _domain(value: str) -> str:
    labels = value.removeprefix(".").split(".")
    if not value.isascii() or len(value) > 253 or not all(_LABEL.match(label) for label in labels):
        raise ValueError("a domain has labels of letters, digits and hyphens, and no wildcard")
    return value


def _email_constraint(value: str) -> x509.GeneralName:
    return _email(value) if "@" in value else x509.RFC822Name(_domain(value))


_CONSTRAINTS: dict[str, Callable[[str], x509.GeneralName]] = {
    "dns": lambda value: x509.DNSName(_domain(value).removeprefix(".")),
    "ip": lambda value: x509.IPAddress(ipaddress.ip_network(value)),
    "email": _email_constraint,
    "uri": lambda value: x509.UniformResourceIdentifier(_domain(value)),
    "dirname": lambda value: x509.DirectoryName(subject(value)),
}


def name_from_subject(name: x509.Name) -> x509.GeneralName | None:
    """The alternative name that a common name stands for when it looks like a host name or an address; None otherwise.

    No program of today matches a server's name against the common name. RFC 9525 section 2.
    """
    for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME):
        text = str(attribute.value)
        if _bare(text) == "ip":
            return _ip(text)
        if _HOST.match(text) or text == "localhost":
            return x509.DNSName(text)
    return None


# ---------------------------------------------------------------------------------------------------------------
# building


def digest_for(key: PrivateKeyTypes) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """The hash that a signature by `key` uses; None for algorithms that bring their own. RFC 5480 section 4, FIPS
    186-5.
    """
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return hashes.SHA256() if key.key_size <= 256 else hashes.SHA384() if key.key_size <= 384 else hashes.SHA512()
    return hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey) else None


def build(wish: Wish, key: PrivateKeyTypes) -> bytes:
    """The DER of a request for `wish`, signed by `key`.

    Raises `UsageError` for an unknown usage or purpose, `KeyPolicyRefused` for a key that cannot sign, `BadName` for
    names that do not encode. RFC 2986 section 4, RFC 2985 section 5.4.
    """
    if not isinstance(key, _SIGNERS):
        raise KeyPolicyRefused(why="it cannot sign")
    if len(wish.names) > MAX_NAMES:
        raise UsageError(problem=f"{len(wish.names)} alternative names are more than {MAX_NAMES}")
    builder = x509.CertificateSigningRequestBuilder().subject_name(wish.subject)
    for extension, critical in _extensions(wish):
        builder = builder.add_extension(extension, critical)
    if wish.challenge_password:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, wish.challenge_password.encode())
    try:
        request = guarded("certificate request", lambda: builder.sign(key, digest_for(key)))
    except Unreadable as error:
        raise BadName(value="the request", kind="request that can be written", why=error.facts["why"]) from error
    return request.public_bytes(Encoding.DER)


def _extensions(wish: Wish) -> Sequence[tuple[x509.ExtensionType, bool]]:
    found: list[tuple[x509.ExtensionType, bool]] = []
    if wish.names:
        found.append((x509.SubjectAlternativeName(wish.names), not list(wish.subject)))
    if wish.ca or wish.path_length is not None:
        found.append((x509.BasicConstraints(ca=wish.ca, path_length=wish.path_length), True))
    if wish.key_usages:
        unknown = [name for name in wish.key_usages if name not in KEY_USAGES]
        if unknown:
            raise UsageError(problem=f"no key usage is called {unknown[0]!r}; there are {', '.join(KEY_USAGES)}")
        asked = {KEY_USAGES[name] for name in wish.key_usages}
        flags = {attribute: attribute in asked for attribute in KEY_USAGES.values()}
        found.append((x509.KeyUsage(**flags, encipher_only=False, decipher_only=False), True))
    if wish.purposes:
        found.append((x509.ExtendedKeyUsage([_purpose(name) for name in wish.purposes]), False))
    for dotted, critical, value in wish.extensions:
        found.append((x509.UnrecognizedExtension(x509.ObjectIdentifier(dotted), value), critical))
    return found


def _purpose(name: str) -> x509.ObjectIdentifier:
    known = PURPOSES.get(name)
    if known is not None:
        return known
    if not re.fullmatch(r"[0-2](\.[0-9]+)+", name):
        raise UsageError(problem=f"no purpose is called {name!r}; there are {', '.join(PURPOSES)}, or write an OID")
    try:
        return x509.ObjectIdentifier(name)
    except ValueError as error:
        raise UsageError(problem=f"{name} is not an OID") from error
