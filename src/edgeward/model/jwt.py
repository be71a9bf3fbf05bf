"""KubeEdge's own join tokens: an HS256 JWT whose only claim is its end, taken apart strictly. RFC 7515, RFC 7519, RFC 8725.

Nothing here checks the MAC: its key belongs to the key store. The parser is narrow on purpose: one algorithm, no header that selects a
key, canonical base64url, integers where integers belong, no claim twice.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

MAX_JWT = 2048
"""Characters; KubeEdge's own has about 105."""

_MAX_TIME = 253_402_300_799
"""The last second of the year 9999: beyond it there are no dates."""


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    alg: str
    typ: str = "JWT"


class _Claims(msgspec.Struct):
    exp: int
    nbf: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeEdgeJwt:
    """A token of a KubeEdge cloud: what was signed, the MAC over it, and when it may be used."""

    signed: bytes
    mac: bytes
    expires_at: datetime
    not_before: datetime | None

    @staticmethod
    def parse(text: str) -> "KubeEdgeJwt | None":
        """The token in `text`, or None when it is not exactly of this form."""
        parts = text.split(".") if len(text) <= MAX_JWT and text.isascii() else []
        decoded = [_octets(part) for part in parts]
        if len(decoded) != 3 or any(part is None or _ambiguous(part) for part in decoded[:2]) or decoded[2] is None:
            return None
        try:
            header = msgspec.json.decode(decoded[0] or b"", type=_Header, strict=True)
            claims = msgspec.json.decode(decoded[1] or b"", type=_Claims, strict=True)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        times = [claims.exp] + ([] if claims.nbf is None else [claims.nbf])
        if header.alg != "HS256" or header.typ != "JWT" or any(not 0 <= time <= _MAX_TIME for time in times):
            return None
        return KubeEdgeJwt(
            signed=f"{parts[0]}.{parts[1]}".encode(),
            mac=decoded[2] or b"",
            expires_at=datetime.fromtimestamp(claims.exp, UTC),
            not_before=None if claims.nbf is None else datetime.fromtimestamp(claims.nbf, UTC),
        )

    @staticmethod
    def to_sign(expires_at: datetime) -> bytes:
        """What the MAC of such a token goes over: header and payload, as KubeEdge writes them."""
        claims = b'{"exp":%d}' % int(expires_at.timestamp())
        return b".".join(
            base64.urlsafe_b64encode(part).rstrip(b"=") for part in (b'{"alg":"HS256","typ":"JWT"}', claims)
        )

    @staticmethod
    def with_mac(signed: bytes, mac: bytes) -> str:
        """The token as text."""
        return (signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


def _ambiguous(members: bytes) -> bool:
    """Whether a member that counts could be there twice (RFC 8725 section 2.4): parsers differ in which one they take."""
    return b"\\" in members or any(members.count(b'"%s"' % name) > 1 for name in (b"alg", b"typ", b"exp", b"nbf"))


def _octets(part: str) -> bytes | None:
    """base64url without padding, in its one canonical spelling."""
    try:
        octets = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return octets if base64.urlsafe_b64encode(octets).rstrip(b"=").decode() == part else None
