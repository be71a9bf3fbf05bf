"""What the server remembers of those who failed: a handshake, an enrolment or a connection that did not succeed, and what was known of it.

Failures that differ in nothing but their moment are one record with a count, so that a flood of them is one line of a story.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from edgeward.errors import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeFailure:
    """A handshake that did not succeed. `code` is for programs, `reason` for people; `alert` is the TLS alert that was sent or received,
    in the words of RFC 8446 section 6 (`unknown ca`), None if there was none."""

    address: str
    server_name: str | None
    code: str
    """`tls`, `timeout`, `crowded`, `too-large`, `closed`, `plain-http`, `protocol` (ALPN), `session_reused`, or `unused`: it succeeded, and
    the peer closed without a word."""
    reason: str
    alert: str | None = None
    received: bool = False
    """Whether the peer sent the alert; else we did."""
    local: str = ""
    """The address of ours that the connection reached."""
    certificate: bytes | None = None
    """DER of the certificate that the peer showed, where that is known. Its key was not proved, unless the handshake succeeded."""


class Listener(StrEnum):
    """Which of the two ports it was."""

    ENROLMENT = "enrolment"
    HUB = "hub"


class Learnt(StrEnum):
    """How the server knows what the peer dialled."""

    SNI = "sni"
    """The peer's ClientHello named it (RFC 6066)."""
    HOST = "host"
    """The Host header of a request from the same address: of this one, or of the one for `/ca.crt` shortly before."""
    LOCAL = "local"
    """The address of ours that the connection reached; behind a translation of addresses the peer dialled another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A client certificate that was shown, whether or not its key was proved: names in RFC 4514 form, SHA-256 in lower-case hex."""

    subject: str
    issuer: str
    fingerprint: str
    not_after: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", printable(self.subject, 300))
        object.__setattr__(self, "issuer", printable(self.issuer, 300))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One or many failures of one kind. `first_at` and `last_at` bound them, `count` is how many they were.

    `code` is stable, for programs: `handshake.` and the kind of failure there, else the class of the refusal (`token-spent`). `alert`
    is the TLS alert in the words of RFC 8446 section 6, `received` whether the peer sent it (else we did). All text that comes from the
    peer is made printable and short here; nothing secret is ever part of it.
    """

    first_at: datetime
    last_at: datetime
    count: int = 1
    listener: Listener
    address: str
    """The peer's IP address; empty for the rest of a flood that was counted and not told apart."""
    code: str
    reason: str
    alert: str = ""
    received: bool = False
    dialled: str = ""
    learnt: Learnt | None = None
    node: str = ""
    """The node's name as proved or, failing that, as claimed."""
    shown: Shown | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", printable(self.reason, 500))
        object.__setattr__(self, "dialled", printable(self.dialled, 255))
        object.__setattr__(self, "node", printable(self.node, 80))

    @property
    def key(self) -> tuple[str, str, str, str, str, str, bool]:
        """What makes two failures the same."""
        return (self.listener, self.address, self.node, self.dialled, self.code, self.alert, self.received)

    def again(self, later: "Failure") -> "Failure":
        """This record after it happened once more."""
        return replace(later, first_at=self.first_at, count=self.count + later.count, shown=later.shown or self.shown)
