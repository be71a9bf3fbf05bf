"""Join tokens: the value an operator makes, its form on the wire, and what the store keeps of it.

    wire   = pin "." a "." b "." c
    pin    = SHA-256 of the CA certificate's DER, lower-case hex: the edge compares it with what `/ca.crt` answers
    a      = key id, under which the store finds the token          (16 hex digits)
    b      = base64url JSON of hints, the addresses to dial, or "-"
    c      = base64url of 32 random octets: the secret

An edge sends `a.b.c`; the store keeps SHA-256 of it. A plain digest is enough, because the secret has 256 random bits.
"""

import base64
import binascii
import fnmatch
import hashlib
import hmac
import ipaddress
import re
from datetime import datetime

import msgspec

from edgeward.errors import (
    BadToken,
    TokenExpired,
    TokenNotForNode,
    TokenNotFromHere,
    TokenRevoked,
    UsageError,
)
from edgeward.pki import names

SECRET_OCTETS = 32
KEY_ID_OCTETS = 8
MAX_BEARER = 4096
"""Characters of `a.b.c` that are looked at: a real one has under 400."""

MAX_USES = 10_000_000

_KEY_ID = re.compile(r"[0-9a-f]{16}")
_PIN = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"[A-Za-z0-9_=-]+")
_PATTERN = re.compile(r"[a-z0-9*?.\[\]!-]{1,64}")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Secret(str):
    """Text that must not be shown: its repr is `***`. `reveal()` is the one way to read it on purpose."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def reveal(self) -> str:
        """The text itself."""
        return str.__str__(self)


class Hints(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go with a token: `https` and `hub` are lists of `HOST:PORT`, best first. Empty when the operator gave none."""

    https: tuple[str, ...] = ()
    hub: tuple[str, ...] = ()

    def encode(self) -> str:
        """Part b of a token: base64url JSON without padding, `-` when there is nothing to say."""
        if not self.https and not self.hub:
            return "-"
        return _b64(msgspec.json.encode({"https": self.https, "hub": self.hub}))

    @staticmethod
    def decode(part: str) -> "Hints":
        """The hints in part b. Unknown members are ignored; a part that is not ours (a KubeEdge payload) has none."""
        if part == "-":
            return Hints()
        try:
            return msgspec.json.decode(_unb64(part), type=Hints)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return Hints()


class JoinToken(msgspec.Struct, frozen=True, kw_only=True):
    """A join token as text carries it: the pinned CA and the bearer part for the server."""

    pin: str
    bearer: Secret

    @staticmethod
    def parse(text: str) -> "JoinToken":
        """The token in `text` (surrounding white space ignored). Raises `BadToken`, which never repeats the text.

        KubeEdge's own tokens have the same outer form and are accepted here: an agent may join a KubeEdge cloud.
        """
        text = text.strip()
        parts = text.split(".")
        if len(parts) != 4:
            raise BadToken(why=f"it has {len(parts) - 1} dots instead of three" if text else "it is empty")
        if not _PIN.fullmatch(parts[0]):
            raise BadToken(why="its first part is not a SHA-256 in lower-case hex (64 digits)")
        if not all(parts[1:]) or len(text) > MAX_BEARER + 65:
            raise BadToken(why="a part of it is missing or far too long")
        if not all(map(_PART.fullmatch, parts[1:])):
            raise BadToken(
                why="there is something in it that belongs to no token; perhaps it was cut or has a line break"
            )
        return JoinToken(pin=parts[0], bearer=Secret(".".join(parts[1:])))

    @property
    def hints(self) -> Hints:
        """The addresses in it, if any."""
        return Hints.decode(self.bearer.reveal().split(".")[1])

    def reveal(self) -> str:
        """The whole token as text."""
        return f"{self.pin}.{self.bearer.reveal()}"


class Bearer(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a token that a server receives, taken apart: its key id and the digest to compare."""

    key_id: str
    digest: bytes

    @staticmethod
    def parse(text: str) -> "Bearer | None":
        """`a.b.c` taken apart, or None when it is not of that form. Bounded work on text of any length."""
        if len(text) > MAX_BEARER or text.count(".") != 2 or not text.isascii():
            return None
        key_id = text.partition(".")[0]
        if not _KEY_ID.fullmatch(key_id):
            return None
        return Bearer(key_id=key_id, digest=hashlib.sha256(text.encode("ascii")).digest())


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows of a join token. Bound to one `node` or to a glob `pattern`, never to both.

    `uses` is how often it may be used (1 to 10,000,000), `used` how often it was. `network`: the only source addresses, if set.
    `unblock`: its use lets a blocked node return.
    """

    key_id: str
    digest: bytes
    node: str | None
    pattern: str | None
    uses: int
    used: int = 0
    expires_at: datetime
    network: Network | None = None
    unblock: bool = False
    created_at: datetime
    revoked_at: datetime | None = None

    def __post_init__(self) -> None:
        if (self.node is None) == (self.pattern is None):
            raise UsageError(problem="a token is for one node (--node NAME) or for a pattern of names (--pattern GLOB)")
        if self.node is not None:
            names.node_name(self.node)
        elif not _PATTERN.fullmatch(self.pattern or ""):
            raise UsageError(problem="a pattern has 1 to 64 of: lower-case letters, digits, `-`, `.`, `*`, `?`, `[…]`")
        if not 1 <= self.uses <= MAX_USES:
            raise UsageError(problem=f"a token has between 1 and {MAX_USES} uses")
        if self.unblock and self.node is None:
            raise UsageError(problem="--unblock needs --node: a pattern cannot let blocked nodes back")

    def matches(self, bearer: Bearer) -> bool:
        """Whether `bearer` is this token, compared in constant time."""
        return hmac.compare_digest(self.digest, bearer.digest)

    def check(self, node: str, address: str, now: datetime) -> None:
        """Raise the refusal that tells the holder of this genuine token why it does not work, or return.

        Whether it is spent is not looked at: that is decided in the transaction that spends it, and a spent token still gives its
        holder the certificate it got before.
        """
        if self.revoked_at is not None:
            raise TokenRevoked(revoked_at=self.revoked_at.isoformat())
        if now >= self.expires_at:
            raise TokenExpired(expired_at=self.expires_at.isoformat())
        if not self.covers(node):
            raise TokenNotForNode(node=node)
        if self.network is not None and not _inside(address, self.network):
            raise TokenNotFromHere(address=address)

    def covers(self, node: str) -> bool:
        """Whether the token is for this node. In a pattern `*` matches dots too."""
        if self.node is not None:
            return self.node == node
        return fnmatch.fnmatchcase(node, self.pattern or "")


def make(pin: str, hints: Hints, *, key_id: bytes, secret: bytes) -> tuple[JoinToken, Bearer]:
    """A new token for the CA whose DER has the SHA-256 `pin` (hex), out of 8 and 32 random octets: its text, and what to store."""
    text = f"{key_id.hex()}.{hints.encode()}.{_b64(secret)}"
    bearer = Bearer.parse(text)
    if bearer is None or len(secret) != SECRET_OCTETS:
        raise UsageError(problem="the hints are too long for a token")
    return JoinToken(pin=pin, bearer=Secret(text)), bearer


def _inside(address: str, network: Network) -> bool:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return parsed in network


def _b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _unb64(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
