"""The octets that a CA signs: TBSCertificate out of a plan's facts. RFC 5280 section 4.1.

Extension values are the library's encoding; what wraps them is ours, because the library's builder spends more on objects than on the
signature (docs/decisions/0004-encoding-certificates.md has the figures). Two implementations check each other at every certificate: what
is written here is read back by the library in `pki.conform`.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from edgeward.pki import der, keys

Subject = tuple[tuple[x509.ObjectIdentifier, str], ...]
"""A distinguished name of one attribute an RDN, in order."""

_VERSION_3 = der.explicit(0, der.integer(2))
_NAME_OIDS = {oid: der.oid(oid.dotted_string) for oid in (x509.NameOID.ORGANIZATION_NAME, x509.NameOID.COMMON_NAME)}


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a CA's key signs: the AlgorithmIdentifier, and what the library's `sign` wants besides the octets."""

    identifier: bytes
    arguments: tuple[object, ...]


_ECDSA = {
    "ec-p256": Scheme(der.algorithm("1.2.840.10045.4.3.2"), (ec.ECDSA(hashes.SHA256(), deterministic_signing=True),)),
    "ec-p384": Scheme(der.algorithm("1.2.840.10045.4.3.3"), (ec.ECDSA(hashes.SHA384(), deterministic_signing=True),)),
    "ec-p521": Scheme(der.algorithm("1.2.840.10045.4.3.4"), (ec.ECDSA(hashes.SHA512(), deterministic_signing=True),)),
}
_SCHEMES = _ECDSA | {
    "rsa": Scheme(der.algorithm("1.2.840.113549.1.1.11", der.null()), (padding.PKCS1v15(), hashes.SHA256())),
    "ed25519": Scheme(der.algorithm("1.3.101.112"), ()),
    "ed448": Scheme(der.algorithm("1.3.101.113"), ()),
    "ml-dsa-44": Scheme(der.algorithm("2.16.840.1.101.3.4.3.17"), ()),
    "ml-dsa-65": Scheme(der.algorithm("2.16.840.1.101.3.4.3.18"), ()),
    "ml-dsa-87": Scheme(der.algorithm("2.16.840.1.101.3.4.3.19"), ()),
}
"""ECDSA nonces are deterministic (RFC 6979), so that a signature depends on nothing but its input. RFC 5758, 4055, 8410, 9881."""


@functools.lru_cache(maxsize=16)
def scheme(key: CertificateIssuerPrivateKeyTypes) -> Scheme:
    """How `key` signs certificates."""
    return _SCHEMES["rsa" if isinstance(key, rsa.RSAPrivateKey) else keys.algorithm(key.public_key())]


def encode(
    *,
    serial: int,
    signature: Scheme,
    issuer: bytes,
    validity: tuple[datetime, datetime],
    subject: bytes,
    spki: bytes,
    extensions: Iterable[bytes],
) -> bytes:
    """TBSCertificate in DER, of parts that are encoded (`issuer` and `subject`: a Name, `spki`: a SubjectPublicKeyInfo, `extensions`:
    one Extension each) and of values; the times are UTC to the second."""
    middle = behind_serial(signature.identifier, issuer, validity)
    return der.sequence(_VERSION_3, der.integer(serial), middle, ending(subject, spki, extensions))


@functools.lru_cache(maxsize=64)
def behind_serial(algorithm: bytes, issuer: bytes, validity: tuple[datetime, datetime]) -> bytes:
    """What stands in a TBSCertificate between serial number and subject: the same in all certificates of one second."""
    return algorithm + issuer + der.sequence(time(validity[0]), time(validity[1]))


def ending(subject: bytes, spki: bytes, extensions: Iterable[bytes]) -> bytes:
    """What a TBSCertificate ends with, from the subject on."""
    return b"".join((subject, spki, der.explicit(3, der.sequence(*extensions))))


class Planned(NamedTuple):
    """An extension that a certificate will have, as the library reads it and as it is encoded."""

    value: Callable[[], x509.ExtensionType]
    critical: bool
    encoded: bytes
    """The Extension in DER. RFC 5280 section 4.1."""
    head: bytes
    """What it begins with, up to what differs between certificates whose extension of this kind is as long."""

    @property
    def extension(self) -> x509.Extension[x509.ExtensionType]:
        """The extension as the library reads it."""
        value = self.value()
        return x509.Extension(value.oid, self.critical, value)


def name(subject: Subject, kind: int = der.UTF8_STRING) -> bytes:
    """A Name in DER, its values as UTF8String or as another `kind` of string of the same octets. RFC 5280 section 4.1.2.4."""
    oid, text = subject[-1]
    octets = text.encode()
    return _before_last(subject[:-1], oid, len(octets), kind) + octets


@functools.lru_cache(maxsize=256)
def _before_last(ahead: Subject, oid: x509.ObjectIdentifier, size: int, kind: int) -> bytes:
    """What stands in a Name before the text, of `size` octets, of its last attribute."""
    texts = [*((one, text.encode()) for one, text in ahead), (oid, bytes(size))]
    whole = der.sequence(
        *[der.tlv(der.SET, der.sequence(_NAME_OIDS[one], der.tlv(kind, octets))) for one, octets in texts]
    )
    return whole[: len(whole) - size]


def stands_in(octets: bytes, at: int, subject: Subject) -> bool:
    """Whether the Name that begins at `at` is `subject`, in one of the two encodings that are in use: as PrintableString (Go), as
    UTF8String (OpenSSL, this project)."""
    return octets.startswith(name(subject, der.PRINTABLE_STRING), at) or octets.startswith(name(subject), at)


@functools.lru_cache(maxsize=64)
def time(moment: datetime) -> bytes:
    """A Time in DER: UTCTime until 2049, GeneralizedTime from 2050 on. RFC 5280 section 4.1.2.5."""
    if moment.year < 2050:
        return der.tlv(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())
    return der.tlv(0x18, moment.strftime("%Y%m%d%H%M%SZ").encode())


def key_identifier(spki: bytes) -> bytes:
    """The SHA-1 of the subjectPublicKey bits in a DER SubjectPublicKeyInfo. RFC 5280 section 4.2.1.2, method (1)."""
    if spki[1] < 0x80:  # then every length in it has one octet
        start = 4 + spki[3] + 2  # past the heads of both SEQUENCEs, the AlgorithmIdentifier, the head of the bits
    else:
        inside, _ = der.span(spki, 0)
        start, _ = der.span(spki, der.span(spki, inside)[1])
    return hashlib.sha1(spki[start + 1 :], usedforsecurity=False).digest()  # one octet says how many bits are unused


def certificate(tbs: bytes, signature: Scheme, octets: bytes) -> bytes:
    """The Certificate in DER: what was signed, how, and the signature's octets."""
    return der.sequence(tbs, signature.identifier, der.bit_string(octets))


def extension(value: x509.ExtensionType, critical: bool) -> Planned:
    """An extension with its octets. RFC 5280 section 4.1.2.9."""
    octets = der.octet_string(value.public_bytes())
    encoded = der.sequence(_oid(value.oid), _TRUE if critical else b"", octets)
    return Planned(lambda: value, critical, encoded, encoded)


def subject_key_identifier(identifier: bytes) -> Planned:
    """The extension that names a certificate's own key: it differs in every one. RFC 5280 section 4.2.1.2."""
    head = _before_identifier(len(identifier))
    return Planned(partial(x509.SubjectKeyIdentifier, identifier), False, head + identifier, head)


def subject_alternative_names(names: tuple[x509.GeneralName, ...]) -> Planned:
    """The extension with the names of a certificate's subject. RFC 5280 section 4.2.1.6."""
    if len(names) != 1 or type(names[0]) is not x509.UniformResourceIdentifier:
        return extension(x509.SubjectAlternativeName(names), False)
    uri = names[0].value.encode("ascii")  # the library has seen to that
    head = _before_uri(len(uri))
    return Planned(partial(x509.SubjectAlternativeName, names), False, head + uri, head)


@functools.lru_cache(maxsize=16)
def _before_identifier(size: int) -> bytes:
    encoded = extension(x509.SubjectKeyIdentifier(bytes(size)), False).head
    return encoded[: len(encoded) - size]


@functools.lru_cache(maxsize=256)
def _before_uri(size: int) -> bytes:
    encoded = extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier("x" * size)]), False).head
    return encoded[: len(encoded) - size]


_TRUE = der.boolean(True)


@functools.lru_cache(maxsize=256)
def _oid(oid: x509.ObjectIdentifier) -> bytes:
    return der.oid(oid.dotted_string)
