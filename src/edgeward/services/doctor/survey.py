"""What is asked of a server, and in which order: each handshake answers one question, and what it brings decides about the next.

resolve ─▶ connect (every address) ─▶ as an edge ─┬▶ nothing of TLS: everything at once, then in the clear
                                                  └▶ certificates: TLS 1.2, older ones, without our certificate, without a name,
                                                     with HTTP/2, as a WebSocket; the other addresses
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from edgeward.model.handshake import Address, Connected, Contact, Handshake, Offer, Outcome, Resolution
from edgeward.pki import dialled

AGENT = "edgeward-doctor"
EVERYTHING = ("TLSv1", "TLSv1.3")


class Look(Protocol):
    """The adapter that touches the network. Its failures are facts: only a pair of ours that does not fit raises."""

    def resolve(self, host: str, port: int) -> Resolution: ...
    def connect(self, addresses: Sequence[Address]) -> Sequence[Connected]: ...
    def handshake(
        self, address: Address, offer: Offer, question: bytes = b"", only_to: bytes | None = None
    ) -> Handshake:
        """`question` is sent after the handshake, to the holder of the certificate `only_to` alone if that is given."""
        ...

    def plain(self, address: Address, question: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is to be looked at. `name`: what clients dial; `pair`: whether we have a certificate and key that can be shown."""

    host: str
    port: int
    name: str
    scheme: str = ""
    pair: bool = False


def request(target: str, host: str, port: int, *more: tuple[str, str], body: bytes = b"") -> bytes:
    """A GET as an edge sends it. `more` are further headers; a value with a line break in it is left out."""
    shown = f"[{host}]" if ":" in host else host
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {shown}:{port}",
        f"User-Agent: {AGENT}",
        *(f"{k}: {v}" for k, v in more if v.isprintable()),
    ]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    if not any(name == "Connection" for name, _ in more):
        lines.append("Connection: close")
    return "\r\n".join(lines).encode("utf-8", "replace") + b"\r\n\r\n" + body


def upgrade(ask: Ask, version: str, *more: tuple[str, str]) -> bytes:
    """A WebSocket upgrade; version `0` is one that every server must refuse (RFC 6455 section 4.4), so that no session begins."""
    return request(
        "/",
        ask.name,
        ask.port,
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", version),
        ("Sec-WebSocket-Key", "ZWRnZXdhcmQgZG9jdG9yLg=="),
        ("ConnectionUse", "msg"),
        *more,
    )


def survey(ask: Ask, look: Look, now: Callable[[], datetime]) -> Contact:
    """Everything that a look at the server brings."""
    resolution = look.resolve(ask.host, ask.port)
    connections = tuple(look.connect(resolution.addresses)) if resolution.addresses else ()
    contact = Contact(
        host=ask.host,
        port=ask.port,
        name=ask.name,
        scheme=ask.scheme,
        resolution=resolution,
        connections=connections,
        now=now(),
    )
    reached = [one.address for one in connections if not one.failure]
    if not reached:
        return contact
    sni = None if dialled.address(ask.name) is not None else ask.name.removesuffix(".")
    edge = Offer(server_name=sni)
    main = look.handshake(reached[0], edge, request("/ca.crt", ask.name, ask.port))
    contact = replace(contact, main=main)
    if not main.certificates:
        contact = _without_certificates(contact, ask, look)
    found = contact.lenient if contact.lenient is not None and contact.lenient.certificates else main
    if not found.certificates:
        return contact
    return _with_certificates(contact, found, ask, look, reached[1:])


def _without_certificates(contact: Contact, ask: Ask, look: Look) -> Contact:
    main = contact.main
    assert main is not None  # noqa: S101 - the caller has just set it
    address, sni = main.address, main.offer.server_name
    if main.outcome is Outcome.NOT_TLS:
        return replace(contact, plain=look.plain(address, request("/", ask.name, ask.port)))
    if main.outcome is Outcome.SILENT:
        return replace(contact, plain=look.plain(address, request("/", ask.name, ask.port)))
    lenient = look.handshake(address, Offer(server_name=sni, versions=EVERYTHING, suites="all"))
    contact = replace(contact, lenient=lenient)
    if lenient.certificates:
        return contact
    ancient = look.handshake(address, Offer(server_name=sni, versions=("TLSv1", "TLSv1.1"), suites="all"))
    contact = replace(contact, ancient=ancient, lenient=ancient if ancient.certificates else lenient)
    if sni is not None and not ancient.certificates:
        contact = replace(
            contact, nameless=look.handshake(address, Offer(server_name=None, versions=EVERYTHING, suites="all"))
        )
    if main.outcome is Outcome.CLOSED and not ancient.certificates:
        contact = replace(contact, plain=look.plain(address, request("/", ask.name, ask.port)))
    return contact


def _with_certificates(contact: Contact, found: Handshake, ask: Ask, look: Look, rest: Sequence[Address]) -> Contact:
    address, offer = found.address, found.offer
    if found.version == "TLSv1.3":
        contact = replace(contact, older=look.handshake(address, replace(offer, versions=("TLSv1.2", "TLSv1.2"))))
    if contact.ancient is None and found is contact.main:
        contact = replace(
            contact,
            ancient=look.handshake(address, replace(offer, versions=("TLSv1", "TLSv1.1"), suites="all", pair=False)),
        )
    if ask.pair and found.asked:
        contact = replace(
            contact, bare=look.handshake(address, replace(offer, pair=False), request("/ca.crt", ask.name, ask.port))
        )
    if offer.server_name is not None:
        contact = replace(contact, nameless=look.handshake(address, replace(offer, server_name=None)))
    h2 = look.handshake(address, replace(offer, protocols=("h2", "http/1.1")))
    if h2.protocol == "h2":
        alone = look.handshake(address, replace(offer, protocols=("http/1.1",)))
        h2 = alone if alone.outcome is Outcome.ALERT and not alone.finished else h2
    contact = replace(contact, h2=h2)
    if found.answer is not None and 200 < found.answer.status < 600:  # it speaks HTTP, and is no enrolment server
        contact = replace(contact, hub=look.handshake(address, offer, upgrade(ask, "0")))
    return replace(contact, others=tuple(look.handshake(other, offer) for other in rest))
