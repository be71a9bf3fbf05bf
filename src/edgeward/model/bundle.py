"""The trust bundle: the CA certificates that a device is to trust now, as one value with a number that only grows. Pure.

It is what lets a CA be replaced while devices are out there: the new CA is in the bundle long before anything is signed with it, and the
old one long after. It travels over the authenticated connection, as messages about the resource `edgeward/trust`:

    device -> hub   query     {"sequence": 3}                        what it has; after each connection
    hub -> device   update    {"sequence": 4, "anchors": ["MII…"]}   if the hub has a newer one; DER in base64
    device -> hub   response  {"sequence": 4}                        stored, and in use from now on
"""

import msgspec
from msgspec import Raw

from edgeward.errors import Unreadable

RESOURCE = "edgeward/trust"

GROUP = "resource"

MAX_ANCHORS = 8
"""CA certificates in a bundle: one that signs, one that follows, and those that are on their way out."""


class TrustBundle(msgspec.Struct, frozen=True, kw_only=True):
    """`anchors` (DER, 1 to 8), and the number of this set: a greater one replaces a smaller one, never the other way round."""

    sequence: int
    anchors: tuple[bytes, ...]


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a device has: the number of its bundle, 0 for the CA that its join brought."""

    sequence: int


def encode(value: TrustBundle | Held) -> Raw:
    """The content of a message."""
    return Raw(msgspec.json.encode(value))


def bundle(content: Raw | bytes) -> TrustBundle:
    """The bundle in the content of an `update`. Raises `Unreadable`: the sender's fault."""
    try:
        found = msgspec.json.decode(content, type=TrustBundle)
    except msgspec.MsgspecError as error:
        raise Unreadable(what="trust bundle", why=str(error)) from error
    if not 1 <= len(found.anchors) <= MAX_ANCHORS or not 0 < found.sequence < 2**53:
        raise Unreadable(
            what="trust bundle", why=f"it has {len(found.anchors)} anchors and the number {found.sequence}"
        )
    return found


def held(content: Raw | bytes) -> int:
    """The number in the content of a `query` or a confirmation. Raises `Unreadable`: the sender's fault."""
    try:
        return msgspec.json.decode(content, type=Held).sequence
    except msgspec.MsgspecError as error:
        raise Unreadable(what="trust bundle's number", why=str(error)) from error
