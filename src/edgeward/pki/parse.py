"""The strict gateway: DER in, an object whose every field has been read once, or one `Unreadable`.

The library parses lazily: a certificate may load and then raise one of seven exceptions, long afterwards, when a field is first
read. Everything that reads foreign bytes comes through here, so that the rest of the code never meets those exceptions. A panic of
the Rust core derives from `BaseException`; it is mapped as well, because one bad input must not take a server down.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import InternalError as OpenSSLError
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import _serialization as serialization  # the public package loads OpenSSH: 10 ms
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from edgeward.errors import TooLarge, Unreadable, UnsupportedKey
from edgeward.pki import der as encode

MAX_CERTIFICATE = 256 * 1024
"""Octets of DER. Real certificates stay under 20 KiB with post-quantum keys; OpenSSL accepts chains of 100 KiB by default."""

MAX_REQUEST = 64 * 1024
"""Octets of DER: the limit for a CSR on every protocol."""

MAX_CRL = 64 * 1024 * 1024
"""Octets of DER: about 1.5 million revoked certificates."""

_ED25519 = "1.3.101.112"

_Parsed = TypeVar("_Parsed")

_MAPPED = (
    ValueError,  # includes InvalidVersion's parent in some releases, and every malformed encoding
    TypeError,  # a name attribute whose type does not fit its value
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    x509.AttributeNotFound,
    x509.ExtensionNotFound,
    UnsupportedAlgorithm,
    InvalidSignature,
    OverflowError,
    RecursionError,  # an address with a thousand nested comments
    KeyError,  # a TLS feature that the library has no name for
    OpenSSLError,  # "unknown OpenSSL error" for some malformed keys
)


def guarded(what: str, read: Callable[[], _Parsed]) -> _Parsed:
    """`read()`, with every exception that malformed input can raise mapped to `Unreadable`.

    `what` names the structure in the error ("certificate", "certificate request").
    """
    try:
        return read()
    except _MAPPED as error:
        # OpenSSL's own complaint is a page long and asks to be reported to the library.
        why = "OpenSSL refuses it" if isinstance(error, OpenSSLError) else _words(str(error)) or type(error).__name__
        raise Unreadable(what=what, why=why) from error
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise Unreadable(what=what, why="the parser gave up") from error


def _words(text: str) -> str:
    """What the library says of broken ASN.1, without the spelling of its source: `unexpected tag in Certificate tbs_cert`."""
    kind, _, rest = text.partition("ParseError { kind: ")[2].partition(", location: ")
    if not kind:
        return text
    name = "".join(f" {c.lower()}" if c.isupper() else c for c in kind.split(maxsplit=1)[0].strip(" {}")).strip()
    place = " ".join(part.rpartition("::")[2] for part in rest.strip("[] })").replace('"', "").split(", ") if part)
    return f"its encoding is broken: {name}{f' in {place}' if place else ''}"


def _bounded(der: bytes, what: str, limit: int) -> None:
    if not der:
        raise Unreadable(what=what, why="it is empty")
    if len(der) > limit:
        raise TooLarge(what=f"the {what}", limit=limit)


def _touch(value: Any) -> None:
    """Read the fields that every lazily parsed structure has."""
    for extension in value.extensions:
        _ = extension.value
    _ = value.signature, value.signature_algorithm_oid


def _touch_name(name: x509.Name) -> None:
    """A name whose values are all text can be shown; with any other value, see whether it can."""
    for attribute in name:
        if type(attribute.value) is not str:
            name.rfc4514_string()
            return


def certificate(der: bytes) -> x509.Certificate:
    """The X.509 certificate in `der` (at most `MAX_CERTIFICATE` octets), every field readable.

    A public key of an unknown algorithm is not an error here: such a certificate can be shown, and is refused where its key is used.
    Raises `Unreadable` or `TooLarge`: the fault is the input's. RFC 5280 section 4.1.
    """
    _bounded(der, "certificate", MAX_CERTIFICATE)

    def read() -> x509.Certificate:
        parsed = x509.load_der_x509_certificate(der)
        _touch(parsed)
        _touch_name(parsed.subject)
        _touch_name(parsed.issuer)
        _ = parsed.not_valid_before_utc, parsed.not_valid_after_utc, parsed.serial_number, parsed.version
        return parsed

    return guarded("certificate", read)


def certificate_request(der: bytes) -> x509.CertificateSigningRequest:
    """The PKCS#10 certificate request in `der` (at most `MAX_REQUEST` octets), every field readable, signature not yet checked.

    Raises `Unreadable` or `TooLarge`: the fault is the requester's. RFC 2986 section 4.
    """
    request = request_fields(der).request
    request_subject(request)
    return request


class RequestFields(NamedTuple):
    """A certificate request whose fields are readable, but for its subject and its key, which nobody has looked at."""

    request: x509.CertificateSigningRequest
    extensions: tuple[x509.Extension[x509.ExtensionType], ...]


def request_fields(der: bytes) -> RequestFields:
    """The certificate request in `der`, without its subject and its key. Raises `Unreadable` or `TooLarge`."""
    _bounded(der, "certificate request", MAX_REQUEST)

    def read() -> RequestFields:
        parsed = x509.load_der_x509_csr(der)
        extensions = tuple(parsed.extensions)
        for extension in extensions:
            _ = extension.value
        _ = parsed.signature, parsed.signature_algorithm_oid
        for attribute in parsed.attributes:
            _ = attribute.value
        return RequestFields(parsed, extensions)

    return guarded("certificate request", read)


def request_subject(request: x509.CertificateSigningRequest) -> x509.Name:
    """The subject of a request, which the library parses anew at every access. Raises `Unreadable`."""

    def read() -> x509.Name:
        subject = request.subject
        _touch_name(subject)
        return subject

    return guarded("certificate request", read)


def request_spki(der: bytes, subject: int, key: PublicKeyTypes) -> bytes:
    """The DER SubjectPublicKeyInfo of the `key` that was read from the request in `der`, whose subject begins at `subject`. On P-256 its
    octets stand there as they should; any other is written anew, because an encoding that can be read need not be the one that DER asks
    for."""
    _, at = encode.span(der, subject)
    return der[at : at + _P256_SIZE] if der.startswith(_P256, at) else spki(key)


_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
"""What a SubjectPublicKeyInfo of a key on P-256 begins with: the lengths, the algorithm (RFC 5480 section 2.1.1), and that the point is
not compressed. `_P256_SIZE` octets with the point."""
_P256_SIZE = 91


def subject_at(der: bytes) -> int:
    """Where the subject begins in a request that the library has read: inside two SEQUENCEs, behind the version, which is INTEGER 0."""
    inside = 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
    length = der[inside + 1]
    return inside + 5 + (0 if length < 0x80 else length & 0x7F)


def crl(der: bytes) -> x509.CertificateRevocationList:
    """The certificate revocation list in `der` (at most `MAX_CRL` octets), every field and every entry readable.

    Raises `Unreadable` or `TooLarge`: the fault is the input's. RFC 5280 section 5.1.
    """
    _bounded(der, "CRL", MAX_CRL)

    def read() -> x509.CertificateRevocationList:
        parsed = x509.load_der_x509_crl(der)
        _touch(parsed)
        _touch_name(parsed.issuer)
        _ = parsed.last_update_utc, parsed.next_update_utc
        for entry in parsed:
            for extension in entry.extensions:
                _ = extension.value
        return parsed

    return guarded("CRL", read)


def name(der: bytes) -> x509.Name:
    """The distinguished name in `der`, as a TLS server lists the issuers it accepts. Raises `Unreadable` or `TooLarge`.

    The library reads names inside other structures alone, so an unsigned certificate request is put around it.
    """
    _bounded(der, "name", MAX_REQUEST // 2)
    key = encode.sequence(encode.algorithm(_ED25519), encode.bit_string(bytes(32)))
    wish = encode.sequence(encode.integer(0), der, key, encode.implicit(0, b"", constructed=True))
    return certificate_request(encode.sequence(wish, encode.algorithm(_ED25519), encode.bit_string(bytes(64)))).subject


def public_key(holder: x509.Certificate | x509.CertificateSigningRequest) -> PublicKeyTypes:
    """The public key of a certificate or request. Raises `UnsupportedKey` when its algorithm or parameters are not sound."""
    try:
        return guarded("public key", holder.public_key)
    except Unreadable as error:
        raise UnsupportedKey(why=error.facts["why"]) from error


def spki(key: PublicKeyTypes) -> bytes:
    """The DER SubjectPublicKeyInfo of `key`. RFC 5280 section 4.1.2.7."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
