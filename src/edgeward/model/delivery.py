"""A message on its way to a node: what the queue keeps of it, how it may end, and which messages a newer one may overtake. Pure.

The rules are those of KubeEdge's cloud hub: which operations and resources want an acknowledgement is `wants_acknowledgement`, and an
object's version counts only where a message names both the object's UID and its version.
"""

import hashlib
from datetime import datetime
from enum import StrEnum

import msgspec

from edgeward.model import message as messages
from edgeward.model.message import Message

MAX_VERSION = 2**63 - 1
"""Of an object, as a store keeps it; KubeEdge's are etcd revisions, far below."""

DELETE = "delete"


class State(StrEnum):
    """What became of a message. The first two are on the way, the others are ends, and an end never changes."""

    QUEUED = "queued"
    """In the queue: durable, not sent, or sent and given up for now."""
    SENDING = "sending"
    """Sent, and its acknowledgement is waited for. Known only to the hub that holds the node's connection; a store says `queued`."""
    SENT = "sent"
    """Sent; it wanted no acknowledgement."""
    ACKNOWLEDGED = "acknowledged"
    SUPERSEDED = "superseded"
    """A newer version of the same object took its place, or was there before it."""
    EXPIRED = "expired"
    """Nobody took it before its time was up."""
    FAILED = "failed"
    """The node answered with an error."""
    REFUSED = "refused"
    """Its node was revoked."""
    CANCELLED = "cancelled"
    """An operator took it back."""

    @property
    def final(self) -> bool:
        """Whether this is an end."""
        return self not in (State.QUEUED, State.SENDING)


class Outbound(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message in a node's queue. `wire` is exactly what is sent, each time; `n` is its place, 0 before it has one.

    `uid` and `version` are set when a newer version of the same object may overtake it; `digest` when its id was its sender's choice.
    """

    node: str
    msg_id: str
    wire: bytes
    operation: str
    resource: str
    acknowledge: bool
    queued_at: datetime
    expires_at: datetime
    uid: str = ""
    version: int = -1
    digest: bytes = b""
    n: int = 0
    attempts: int = 0

    @property
    def versioned(self) -> bool:
        """Whether it speaks of a version of an object, so that a newer one may overtake it."""
        return self.version >= 0

    @property
    def replaceable(self) -> bool:
        """Whether a newer version takes its place. Deletions and responses never give way."""
        return self.version >= 0 and self.operation not in (DELETE, messages.RESPONSE)


class Receipt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of a message that was given to the queue. `answer` is JSON text: what the node said, cut when it was long."""

    n: int
    node: str
    msg_id: str
    operation: str
    resource: str
    octets: int
    acknowledge: bool
    state: State
    queued_at: datetime
    expires_at: datetime
    sent_at: datetime | None = None
    settled_at: datetime | None = None
    attempts: int = 0
    answer: str | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How the message `n` of `node` ended (`state` is final), after how many attempts."""

    n: int
    node: str
    msg_id: str
    state: State
    at: datetime
    sent_at: datetime | None = None
    attempts: int = 0
    answer: str | None = None
    uid: str = ""
    version: int = -1
    forget: bool = False
    """The object is gone: its version need not be remembered."""


class Depth(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How much waits for a node."""

    node: str
    messages: int
    octets: int
    oldest: datetime


class Bounds(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How much may wait for one node."""

    messages: int
    octets: int


class _Metadata(msgspec.Struct, gc=False):
    uid: str = ""


class _Object(msgspec.Struct, gc=False):
    metadata: _Metadata | None = None


_object = msgspec.json.Decoder(_Object)
_text = msgspec.json.Decoder(str)

_UNANSWERED_RESOURCES = ("podlist", "membership", "twin/cloud_updated", "serviceaccounttoken", "k8s/ca.crt", "/volume/")
_UNANSWERED_SOURCES = frozenset({"taskmanager", "nodeupgradejobcontroller"})
_UNANSWERED_TYPES = frozenset(
    {"lease", "nodepatch", "podpatch", "podstatus", "certificatesigningrequest"}
)  # from the edgecontroller


def wants_acknowledgement(message: Message) -> bool:
    """Whether an edge acknowledges this message from the cloud, by KubeEdge's rules; the others are sent once."""
    route = message.route
    operation = route.operation
    if operation in ("applicationResponse", messages.ERROR) or route.group == "user":
        return False
    if route.source in _UNANSWERED_SOURCES or any(part in route.resource for part in _UNANSWERED_RESOURCES):
        return False
    if operation == messages.RESPONSE and _says_ok_or_error(message):
        return False
    if route.source == "edgecontroller":
        parts = route.resource.split("/")
        kind = parts[1] if len(parts) > 1 else ""
        if kind == "node" and operation != "update":
            return False
        if kind in _UNANSWERED_TYPES or (kind == "pod" and operation == messages.RESPONSE):
            return False
    return True


def _says_ok_or_error(message: Message) -> bool:
    if len(memoryview(message.content)) > 64:
        return False
    try:
        return _text.decode(message.content) == messages.OK_TEXT
    except msgspec.MsgspecError:
        return False


def object_of(message: Message) -> tuple[str, int]:
    """The UID and the version of the object that a message carries; `("", -1)` unless it has both."""
    stated = message.header.resourceversion
    if not stated.isascii() or not stated.isdecimal() or len(stated) > 19:
        return "", -1
    version = int(stated)
    try:
        found = _object.decode(message.content).metadata
    except (msgspec.MsgspecError, RecursionError):
        return "", -1
    if found is None or not found.uid or len(found.uid) > 200 or "\0" in found.uid or version > MAX_VERSION:
        return "", -1
    return found.uid, version


def outbound(
    node: str,
    message: Message,
    *,
    queued_at: datetime,
    expires_at: datetime,
    acknowledge: bool | None = None,
    chosen_id: bool = False,
) -> Outbound:
    """`message` as the queue of `node` keeps it. `acknowledge`: None leaves it to the rules. `chosen_id`: the sender chose its id, so
    that sending it again with the same content is the same message and not another one."""
    uid, version = object_of(message)
    return Outbound(
        node=node,
        msg_id=message.msg_id,
        wire=messages.encode(message),
        operation=message.route.operation,
        resource=message.route.resource,
        acknowledge=wants_acknowledgement(message) if acknowledge is None else acknowledge,
        queued_at=queued_at,
        expires_at=expires_at,
        uid=uid,
        version=version,
        digest=digest(node, message) if chosen_id else b"",
    )


def digest(node: str, message: Message) -> bytes:
    """What makes two messages with one id the same message: everything but the moment at which each was made."""
    header = message.header
    facts = (
        node, header.parent_msg_id, header.resourceversion, header.sync, header.type, message.route, message.content,
    )  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(facts)).digest()
