"""What a look at a server brought: addresses, connections, handshakes and their messages, answers. Facts only; nothing is judged here."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from edgeward.model.address import joined


class Outcome(StrEnum):
    """How a handshake ended."""

    DONE = "done"
    ALERT = "alert"
    """The server sent a fatal alert, in the handshake or right after it."""
    SILENT = "silent"
    """Nothing came within the time."""
    CLOSED = "closed"
    """The server closed or reset the connection without an alert."""
    NOT_TLS = "not-tls"
    """What the server sent is not TLS."""
    OURS = "ours"
    """Our own side could not go on with what the server sent."""
    UNCONNECTED = "unconnected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address to dial: text of an IP address (with a zone for a link-local one) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return joined(self.host, self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What the resolver said. `failure` is empty, `not-found` or `failed`; `why` its words."""

    addresses: tuple[Address, ...] = ()
    failure: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """One TCP connection. `failure` is empty, `refused`, `no-answer` or `no-route`; `seconds` is how long it took; `local` our end."""

    address: Address
    seconds: float
    failure: str = ""
    why: str = ""
    local: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a handshake offers: `versions` the lowest and the highest (`TLSv1.2`), `suites` `edge` (what Go's TLS offers) or `all`,
    `protocols` for ALPN, `pair` whether our client certificate is shown if asked for."""

    server_name: str | None
    versions: tuple[str, str] = ("TLSv1.2", "TLSv1.3")
    suites: str = "edge"
    protocols: tuple[str, ...] = ()
    pair: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A handshake message or alert as it went over the wire: `details` are what it says, as (what, value) pairs."""

    sender: str
    """`client` or `server`."""
    name: str
    octets: int
    encrypted: bool = False
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A TLS alert. RFC 8446 section 6."""

    sender: str
    fatal: bool
    code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer after a handshake, or what else came: `octets` of its beginning. `status` 0 when it is not HTTP/1."""

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    octets: bytes = b""
    at: datetime | None = None

    def header(self, name: str) -> str:
        """The first header of this name, or empty."""
        return next((value for key, value in self.headers if key == name), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """One attempt. `authorities` are the DER names of the issuers that the server accepts (empty: any, or not asked); `first` the first
    octets that came; `reason` OpenSSL's code (`WRONG_VERSION_NUMBER`) where our side gave up."""

    address: Address
    offer: Offer
    outcome: Outcome
    finished: bool = False
    """The handshake itself was done, whatever came after."""
    version: str = ""
    suite: str = ""
    protocol: str | None = None
    certificates: tuple[bytes, ...] = ()
    asked: bool = False
    """The server asked for a client certificate."""
    shown: bool = False
    """We showed one."""
    authorities: tuple[bytes, ...] = ()
    alert: Alert | None = None
    reason: str = ""
    first: bytes = b""
    messages: tuple[Message, ...] = ()
    answer: Answer | None = None
    seconds: float = 0.0
    local: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Everything that a look at one server brought. `main` is the handshake as an edge makes it, or the one that got furthest."""

    host: str
    port: int
    name: str
    """The name that clients dial: what the certificate must have."""
    scheme: str = ""
    resolution: Resolution = field(default_factory=Resolution)
    connections: tuple[Connected, ...] = ()
    main: Handshake | None = None
    lenient: Handshake | None = None
    bare: Handshake | None = None
    """The same as `main` without a client certificate."""
    older: Handshake | None = None
    """TLS 1.2 alone."""
    ancient: Handshake | None = None
    """TLS 1.1 and below alone."""
    nameless: Handshake | None = None
    h2: Handshake | None = None
    hub: Handshake | None = None
    """A WebSocket upgrade that no server accepts (RFC 6455 section 4.4)."""
    others: tuple[Handshake, ...] = ()
    plain: bytes = b""
    """What a request in the clear was answered with, where TLS was not."""
    asked_for_token: tuple[Handshake, ...] = ()
    now: datetime

    @property
    def address(self) -> str:
        """The address that was looked at, or what was dialled."""
        if self.main is not None:
            return str(self.main.address)
        return str(Address(host=self.host, port=self.port))
