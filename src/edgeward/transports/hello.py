"""The first words of a TLS client: whether they are there, which protocols it offers, and which server it calls.

OpenSSL, as Python offers it, ignores a list of protocols (ALPN) without one of ours, and forgets the server name when a handshake fails.
Nothing here decides what is sound TLS: a hello that this module cannot read goes to OpenSSL, which answers with the right alert.
"""

import struct
from typing import NamedTuple

_KIND_AND_LENGTH = struct.Struct(">HH")
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_ALPN = 16

MAX_HELLO = 5 + 16384
"""Octets that are waited for: one TLS record of the largest size (RFC 8446 section 5.1). Real hellos have 200 to 2,000."""


class Hello(NamedTuple):
    """What a ClientHello says: the server name (RFC 6066 section 3), and the protocols offered (RFC 7301), None without the extension."""

    server_name: str | None = None
    protocols: tuple[bytes, ...] | None = None


UNREADABLE = Hello()


def whole(octets: bytes) -> bool:
    """Whether `octets` begin with a whole ClientHello, or with something else; False while more of it must arrive."""
    if len(octets) < 5:
        return octets[:1] not in (b"", b"\x16")
    end = 5 + (octets[3] << 8 | octets[4])
    return len(octets) >= end or octets[0] != _HANDSHAKE or end > MAX_HELLO


def speaks(octets: bytes, protocol: bytes) -> bool:
    """Whether the client of a whole ClientHello would speak `protocol`: it offers it, or no protocols at all. One that writes the protocol
    elsewhere in its hello passes too, and OpenSSL agrees on no protocol with it: it deceives itself alone."""
    if _ALPN.to_bytes(2, "big") not in octets or bytes([len(protocol)]) + protocol in octets:
        return True  # nothing to refuse, and nothing to be taken apart
    protocols = read(octets).protocols
    return protocols is None or protocol in protocols


def read(octets: bytes) -> Hello:
    """The ClientHello at the start of `octets`; `UNREADABLE` for anything that is not one, whole and in one record.

    Bounded work, never raises.
    """
    if len(octets) < 48 or octets[0] != _HANDSHAKE or octets[5] != _CLIENT_HELLO:
        return UNREADABLE
    end = 5 + int.from_bytes(octets[3:5], "big")
    if not 48 <= end <= min(len(octets), MAX_HELLO) or int.from_bytes(octets[6:9], "big") != end - 9:
        return UNREADABLE
    try:
        return _extensions(octets, end)
    except (IndexError, struct.error):
        return UNREADABLE


def _extensions(octets: bytes, end: int) -> Hello:
    at = 9 + 2 + 32
    at += 1 + octets[at]  # session id
    at += 2 + (octets[at] << 8 | octets[at + 1])  # cipher suites
    at += 1 + octets[at]  # compression methods
    at += 2  # length of the extensions: they fill the rest
    server_name = None
    protocols = None
    next_one = _KIND_AND_LENGTH.unpack_from
    while at < end:
        kind, length = next_one(octets, at)
        at += 4 + length
        if kind == _SERVER_NAME:
            server_name = _host(octets[at - length : at])
        elif kind == _ALPN:
            protocols = _names(octets[at - length : at])
    return Hello(server_name=server_name, protocols=protocols) if at == end else UNREADABLE


def _host(entry: bytes) -> str | None:
    """The one host name in a server_name extension: list length (2), kind 0 (1), length (2), name."""
    name = entry[5:]
    if entry[2:3] != b"\x00" or int.from_bytes(entry[3:5], "big") != len(name) or not 0 < len(name) <= 255:
        return None
    return name.decode("ascii", "backslashreplace")


def _names(entry: bytes) -> tuple[bytes, ...]:
    """The protocols of an ALPN extension: list length (2), then each with its length (1)."""
    found = []
    at = 2
    while at < len(entry):
        found.append(entry[at + 1 : at + 1 + entry[at]])
        at += 1 + entry[at]
    return tuple(found)
