"""TLS handshake messages taken apart, for people: what each one says. RFC 5246 section 7.4, RFC 8446 section 4.

Reads what a hostile peer sent: bounded work, and a message that cannot be read is named and left at that.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgeward.errors import printable
from edgeward.model.handshake import Alert, Message

NAMES = {
    0: "HelloRequest", 1: "ClientHello", 2: "ServerHello", 4: "NewSessionTicket", 5: "EndOfEarlyData", 8: "EncryptedExtensions",
    11: "Certificate", 12: "ServerKeyExchange", 13: "CertificateRequest", 14: "ServerHelloDone", 15: "CertificateVerify",
    16: "ClientKeyExchange", 20: "Finished", 22: "CertificateStatus", 24: "KeyUpdate",
}  # fmt: skip

VERSIONS = {0x0300: "SSLv3", 0x0301: "TLSv1", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}

ALERTS = {
    0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow", 40: "handshake_failure",
    42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked", 45: "certificate_expired",
    46: "certificate_unknown", 47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error",
    51: "decrypt_error", 70: "protocol_version", 71: "insufficient_security", 80: "internal_error", 86: "inappropriate_fallback",
    90: "user_canceled", 100: "no_renegotiation", 109: "missing_extension", 110: "unsupported_extension", 112: "unrecognized_name",
    113: "bad_certificate_status_response", 115: "unknown_psk_identity", 116: "certificate_required", 120: "no_application_protocol",
}  # fmt: skip

_GROUPS = {
    23: "P-256", 24: "P-384", 25: "P-521", 29: "X25519", 30: "X448", 256: "ffdhe2048", 4587: "P-256 with ML-KEM-768",
    4588: "X25519 with ML-KEM-768",
}  # fmt: skip

_SCHEMES = {
    0x0201: "RSA with SHA-1", 0x0203: "ECDSA with SHA-1", 0x0401: "RSA with SHA-256", 0x0403: "ECDSA with P-256 and SHA-256",
    0x0501: "RSA with SHA-384", 0x0503: "ECDSA with P-384 and SHA-384", 0x0601: "RSA with SHA-512",
    0x0603: "ECDSA with P-521 and SHA-512", 0x0804: "RSA-PSS with SHA-256", 0x0805: "RSA-PSS with SHA-384",
    0x0806: "RSA-PSS with SHA-512", 0x0807: "Ed25519", 0x0808: "Ed448",
}  # fmt: skip

_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""The ServerHello.random that makes it a HelloRetryRequest. RFC 8446 section 4.1.3."""

Details = tuple[tuple[str, str], ...]


class _Short(Exception):
    """The message ends before it should."""


@dataclass(slots=True)
class _Reader:
    octets: bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.octets):
            raise _Short
        self.at += count
        return self.octets[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        return self.take(self.number(size))

    @property
    def left(self) -> int:
        return len(self.octets) - self.at


def _each(octets: bytes, size: int) -> Iterator[bytes]:
    reader = _Reader(octets)
    while reader.left:
        yield reader.vector(size)


def _numbers(octets: bytes) -> list[int]:
    return [int.from_bytes(octets[at : at + 2], "big") for at in range(0, len(octets) - 1, 2)]


def _extensions(reader: _Reader) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    if not reader.left:
        return found
    inner = _Reader(reader.vector(2))
    while inner.left:
        kind = inner.number(2)
        found.setdefault(kind, inner.vector(2))
    return found


def _version(number: int) -> str:
    return VERSIONS.get(number, f"{number:04x}")


def _client_hello(body: bytes) -> Details:
    reader = _Reader(body)
    legacy = reader.number(2)
    reader.take(32)
    reader.vector(1)
    suites = _numbers(reader.vector(2))
    reader.vector(1)
    found = _extensions(reader)
    offered = _numbers(found[43][1:]) if 43 in found else [legacy]
    details = [("versions", ", ".join(_version(one) for one in offered)), ("suites", f"{len(suites)} offered")]
    name = found.get(0, b"")[5:]
    details.append(("name (SNI)", name.decode("ascii", "backslashreplace") if name else "none"))
    if 16 in found:
        details.append(
            ("protocols (ALPN)", ", ".join(p.decode("ascii", "backslashreplace") for p in _each(found[16][2:], 1)))
        )
    if 51 in found and len(found[51]) > 4:
        details.append(("key share", _GROUPS.get(int.from_bytes(found[51][2:4], "big"), "of another group")))
    return tuple(details)


def _server_hello(body: bytes) -> Details:
    reader = _Reader(body)
    legacy = reader.number(2)
    random = reader.take(32)
    reader.vector(1)
    suite = reader.number(2)
    reader.take(1)
    found = _extensions(reader)
    version = int.from_bytes(found[43], "big") if 43 in found else legacy
    details = [("version", _version(version)), ("suite", f"0x{suite:04x}")]
    if random == _RETRY:
        details.insert(0, ("means", "try again with another key share"))
    if 51 in found and len(found[51]) >= 2:
        details.append(("key share", _GROUPS.get(int.from_bytes(found[51][:2], "big"), "of another group")))
    if 16 in found:
        details.append(
            ("protocol (ALPN)", ", ".join(p.decode("ascii", "backslashreplace") for p in _each(found[16][2:], 1)))
        )
    return tuple(details)


def _encrypted_extensions(body: bytes) -> Details:
    found = _extensions(_Reader(body))
    names = [p.decode("ascii", "backslashreplace") for p in _each(found.get(16, b"\0\0")[2:], 1)]
    return (("protocol (ALPN)", ", ".join(names)),) if names else ()


def certificates(body: bytes, tls13: bool) -> tuple[bytes, ...]:
    """The DER of each certificate in a Certificate message's body; empty for one that cannot be read."""
    try:
        return _certificates(body, tls13)
    except _Short:
        return ()


def _certificates(body: bytes, tls13: bool) -> tuple[bytes, ...]:
    reader = _Reader(body)
    if tls13:
        reader.vector(1)
    inner = _Reader(reader.vector(3))
    found = []
    while inner.left:
        found.append(inner.vector(3))
        if tls13:
            inner.vector(2)
    return tuple(found)


def _request(body: bytes, tls13: bool) -> tuple[list[int], tuple[bytes, ...]]:
    reader = _Reader(body)
    reader.vector(1)  # context, or in TLS 1.2 the types of certificate
    if tls13:
        found = _extensions(reader)
        schemes = _numbers(found.get(13, b"\0\0")[2:])
        names = found.get(47, b"\0\0")[2:]
    else:
        schemes = _numbers(reader.vector(2))
        names = reader.vector(2)
    return schemes, tuple(_each(names, 2))


def authorities(body: bytes, tls13: bool) -> tuple[bytes, ...]:
    """The DER names of the issuers in a CertificateRequest's body; empty when any will do, or when it cannot be read."""
    try:
        return _request(body, tls13)[1][:256]
    except _Short:
        return ()


def _details(kind: int, body: bytes, tls13: bool) -> Details:
    simple: dict[int, Callable[[bytes], Details]] = {1: _client_hello, 2: _server_hello, 8: _encrypted_extensions}
    if kind in simple:
        return simple[kind](body)
    if kind == 11:
        sent = _certificates(body, tls13)
        return (("certificates", str(len(sent)) if sent else "none"),)
    if kind == 13:
        schemes, names = _request(body, tls13)
        return (("issuers accepted", str(len(names)) if names else "any"), ("signatures accepted", f"{len(schemes)}"))
    if kind == 15 and len(body) >= 2:
        scheme = int.from_bytes(body[:2], "big")
        return (("signed with", _SCHEMES.get(scheme, f"0x{scheme:04x}")),)
    if kind == 12 and body[:1] == b"\x03" and len(body) >= 3:
        return (("key share", _GROUPS.get(int.from_bytes(body[1:3], "big"), "of another group")),)
    return ()


def read(heard: Sequence[tuple[str, int, bytes]], tls13: bool) -> tuple[Message, ...]:
    """The messages of a connection, in order. `heard`: (sender, record type, octets), as a `Tap` has them."""
    found = []
    clear = True
    for sender, kind, octets in heard[:200]:
        if kind == 21 and len(octets) >= 2:
            alert = ALERTS.get(octets[1], str(octets[1]))
            level = "fatal" if octets[0] == 2 else "warning"
            found.append(Message(sender=sender, name="Alert", octets=2, encrypted=not clear, details=((level, alert),)))
            continue
        if kind != 22 or len(octets) < 4:
            continue
        number, body = octets[0], octets[4:]
        try:
            details = _details(number, body, tls13)
        except _Short:
            details = (("unreadable", f"{len(octets)} octets"),)
        name = NAMES.get(number, f"message {number}")
        if details and details[0][0] == "means":
            name = "HelloRetryRequest"
        shown = tuple((what, printable(value, 200)) for what, value in details)
        encrypted = not clear or (not tls13 and number in (20, 4))
        found.append(Message(sender=sender, name=name, octets=len(octets), encrypted=encrypted, details=shown))
        clear = clear and not (tls13 and name == "ServerHello")
    return tuple(found)


def negotiated(heard: Sequence[tuple[str, int, bytes]]) -> str:
    """The version that the server chose (`TLSv1.3`); empty before its hello."""
    body = body_of(heard, "server", 2)
    if body is None:
        return ""
    try:
        return dict(_server_hello(body)).get("version", "")
    except _Short:
        return ""


def last_alert(heard: Sequence[tuple[str, int, bytes]], sender: str) -> Alert | None:
    """The last alert of `sender` that is not a goodbye, or None."""
    for who, kind, octets in reversed(heard):
        if who == sender and kind == 21 and len(octets) >= 2 and octets[1] not in (0, 90):
            return Alert(sender=sender, fatal=octets[0] == 2, code=octets[1])
    return None


def body_of(heard: Sequence[tuple[str, int, bytes]], sender: str, number: int) -> bytes | None:
    """The body of the last handshake message of this number that `sender` sent, or None."""
    for who, kind, octets in reversed(heard):
        if who == sender and kind == 22 and octets[:1] == bytes((number,)):
            return octets[4:]
    return None
