"""What the API takes and answers, as values: the schema of its OpenAPI document and of `edgeward.client`.

Members are only ever added. Times are RFC 3339, serials lower-case hex. Light: it imports nothing but the JSON library and the message.
"""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw

from edgeward.model.message import Message


def _null() -> Raw:
    return Raw(b"null")


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request body: an unknown member is an error."""


class NewMessage(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/messages`. `wait` in seconds: answer when it has ended, or with its state when it has not by then.

    `msg_id` makes a repetition recognisable; `acknowledge` overrules whether an answer of the node is waited for.
    """

    node: str
    operation: str
    resource: str
    group: str = "resource"
    source: str = "edgecontroller"
    content: Raw = msgspec.field(default_factory=_null)
    wait: float | None = None
    msg_id: str | None = None
    parent_msg_id: str = ""
    resourceversion: str = ""
    type: str = ""
    acknowledge: bool | None = None
    lifetime_seconds: float | None = None


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when a message was taken: `answer` is the node's message, when it was waited for and came."""

    msg_id: str
    node: str
    state: str
    answer: Message | None = None


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message: `state` is queued, sending, sent, acknowledged, superseded, expired, failed, refused or cancelled."""

    number: int
    msg_id: str
    node: str
    state: str
    operation: str
    resource: str
    octets: int
    acknowledge: bool
    attempts: int
    queued_at: datetime
    expires_at: datetime
    sent_at: datetime | None = None
    settled_at: datetime | None = None
    answer: Any = None


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """How much waits for a node."""

    node: str
    messages: int
    octets: int
    oldest: datetime


class Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a message was taken back by this very call."""

    msg_id: str
    cancelled_now: bool


class MessageEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="message"):
    """A node sent a message. `lost`: how many events this stream lost just before, because it was read too slowly."""

    node: str
    received: datetime
    message: Message
    lost: int = 0


class PresenceEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="presence"):
    """A node is `online`, `offline` (and why), or was `refused` (and why)."""

    node: str
    at: datetime
    state: str
    why: str = ""
    address: str = ""
    lost: int = 0


class DeliveryEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="delivery"):
    """A message to a node ended."""

    node: str
    at: datetime
    msg_id: str
    state: str
    lost: int = 0


Happened = MessageEvent | PresenceEvent | DeliveryEvent


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate as lists show it: its serial in lower-case hex, its dates, and when and why it was revoked."""

    serial: str
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None = None
    revocation_reason: str | None = None


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The last connection that was refused in a node's name."""

    at: datetime
    why: str


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A node. `state` is online, offline or revoked; `cause` says why it is offline or revoked; `refused` is there when a connection in
    its name was refused since it was last online. `clock_skew_ms`: how far its clock is ahead."""

    name: str
    state: str
    connected: bool
    since: datetime
    cause: str | None
    last_seen: datetime | None
    address: str | None
    connections: int
    clock_skew_ms: int | None
    refused: Refused | None
    certificate: Certificate | None


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """Something in a node's history: `event` is online, offline, refused or clock."""

    at: datetime
    event: str
    why: str
    address: str


class NewOperator(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/operators`: a name, and a CSR (base64 of DER) of the operator's own key."""

    name: str
    csr: str


class OperatorMade(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's new certificate, and the CA to verify the server with."""

    name: str
    serial: str
    pem: str
    ca_pem: str
    not_after: datetime


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's certificate."""

    name: str
    certificate: Certificate


class NewToken(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/tokens`: for one node or for the names of a pattern."""

    node: str | None = None
    pattern: str | None = None
    uses: int = 1
    lifetime_seconds: float = 86400
    network: str | None = None
    unblock: bool = False


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A join token as lists show it: `state` is valid, spent, expired or revoked."""

    key_id: str
    state: str
    node: str | None
    pattern: str | None
    uses: int
    used: int
    expires_at: datetime
    network: str | None
    unblock: bool
    created_at: datetime
    revoked_at: datetime | None


class TokenMade(Token, frozen=True, kw_only=True):
    """A new join token, with the text that the device needs; it is shown this once."""

    token: str


class TokenUse(msgspec.Struct, frozen=True, kw_only=True):
    """One use of a join token."""

    at: datetime
    node: str
    address: str
    serial: str


class TokenRevoked(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a token was taken back by this very call."""

    key_id: str
    revoked_now: bool


class RevokedCertificate(Certificate, frozen=True, kw_only=True):
    """A certificate that was revoked now, and whose it is."""

    identity: str


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """What a revocation did: the node that it blocked, if it was one, and the certificates that it revoked now. `tokens`: the join tokens
    of an operator that were revoked now too or, by their `state`, are still valid."""

    node: str | None
    revoked: list[RevokedCertificate]
    tokens: list[Token] = []


class NewCertificate(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/certificates`: a CSR (base64 of DER) that an operator vouches for."""

    node: str
    csr: str


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A node's new certificate, and what of its request was left out."""

    serial: str
    pem: str
    ca_pem: str
    not_after: datetime
    dropped: list[str]


class CA(msgspec.Struct, frozen=True, kw_only=True):
    """The CA: `pin` is the SHA-256 of its DER."""

    pem: str
    pin: str
    subject: str
    serial: str
    key: str
    not_before: datetime
    not_after: datetime
    origin: str
    state: str


class Export(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/ca/export`."""

    with_key: bool = False


class Exported(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The CA (base64 of DER), and its key (PKCS#8) where it was asked for by name."""

    certificate: str
    key: str = ""


class Names(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`PUT /v1/advertised`."""

    names: list[str]


class Advertised(msgspec.Struct, frozen=True, kw_only=True):
    """The names that clients dial."""

    names: list[str]


class Readvertised(Advertised, frozen=True, kw_only=True):
    """The same, and what the server certificate is valid for now."""

    certificate_names: list[str]


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the audit chain; `hash` covers it and the one before."""

    n: int
    at: datetime
    actor: str
    action: str
    object: str
    facts: Raw
    hash: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457 section 3.1, and three members of ours: `code` (the class), `hint`, and the exit status that a command line ends with.

    Some classes add the figures of their sentence as members of their own (`EdgewardError.members`).
    """

    title: str
    status: int
    code: str
    hint: str = ""
    exit_status: int = 1
    type: str = "about:blank"
