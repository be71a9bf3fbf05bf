"""A handshake told message by message: what was sent, what it means, which step of mutual authentication that is, and where it stopped.

The steps are those that every introduction repeats, `STEPS`: one-way TLS is the same without the fifth. (Introductions let the client send
the key under the server's public key; with forward secrecy, which is all that is left in TLS 1.3, both compute it from key shares.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgeward.model.finding import Finding
from edgeward.model.handshake import Contact, Handshake, Message, Outcome
from edgeward.pki.inspect.names import dn
from edgeward.pki.severity import Severity
from edgeward.services.doctor import client
from edgeward.services.doctor.alerts import ALERTS, Meaning
from edgeward.services.doctor.case import read

STEPS = {
    1: "the client asks for a connection",
    2: "the server shows its certificate",
    3: "the client looks whether a CA that it trusts signed it",
    4: "the client compares the name that it dialled",
    5: "the server asks for the client's certificate and checks it",
    6: "the client says which versions and ciphers it knows",
    7: "the server chooses one",
    8: "both compute the same key",
    9: "the server shows that it holds the private key",
    10: "from here on everything is encrypted with the agreed key",
}

_MEANS: dict[tuple[str, str], tuple[tuple[int, ...], str]] = {
    ("client", "ClientHello"): ((1, 6), "The client asks for a connection and says what it can."),
    ("server", "HelloRetryRequest"): (
        (7,),
        "The server wants a key share of another group; the client says hello again.",
    ),
    ("server", "ServerHello"): (
        (7, 8),
        "The server chooses version and cipher; with TLS 1.3 its key share comes here.",
    ),
    ("server", "EncryptedExtensions"): (
        (7,),
        "The rest of what the server chooses, the first message under encryption.",
    ),
    ("server", "Certificate"): ((2,), "The server shows its certificate and those above it."),
    ("server", "CertificateStatus"): ((2,), "The server brings proof that its certificate is not revoked (OCSP)."),
    ("server", "CertificateRequest"): (
        (5,),
        "The server asks for a certificate of the client: this is what makes it mutual.",
    ),
    ("server", "ServerKeyExchange"): (
        (8, 9),
        "The server's key share, signed with the private key of its certificate.",
    ),
    ("server", "CertificateVerify"): (
        (9,),
        "The server signs what was said so far: only the holder of the private key can.",
    ),
    ("server", "ServerHelloDone"): ((7,), "The server has said its part."),
    ("server", "Finished"): ((10,), "The server confirms all that was said, under the agreed key."),
    ("server", "NewSessionTicket"): (
        (10,),
        "A ticket with which the client could resume; the handshake is over for the server.",
    ),
    ("client", "Certificate"): ((5,), "The client answers the request with its certificate."),
    ("client", "ClientKeyExchange"): (
        (8,),
        "The client's key share; where RSA is used, the key itself under the server's public key.",
    ),
    ("client", "CertificateVerify"): (
        (5,),
        "The client signs what was said: it holds the private key, which itself never leaves.",
    ),
    ("client", "Finished"): ((10,), "The client confirms all that was said, under the agreed key."),
}

_CHAIN = {
    "unknown-authority", "same-name-other-ca", "missing-intermediate", "self-signed", "tls-intercepted", "expired", "not-yet-valid",
    "clock-behind", "clock-ahead", "eku-server", "key-usage", "issuer-is-no-ca", "chain-rule", "critical-extension", "weak-key",
    "weak-signature", "server-revoked", "unreadable-certificate", "wrong-leaf-first", "server-key-mismatch",
}  # fmt: skip
_NAMES = {
    "name-mismatch",
    "address-mismatch",
    "no-ip-sans",
    "ip-in-dns-san",
    "common-name-only",
    "no-names",
    "name-for-some",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the diagram. `sender` is `client`, `server`, or empty for a check that the client makes and for the end."""

    sender: str
    title: str
    steps: tuple[int, ...] = ()
    says: str = ""
    means: str = ""
    encrypted: bool = False
    bad: bool = False

    def as_json(self) -> dict[str, Any]:
        """The row for programs."""
        return {
            "sender": self.sender or None,
            "title": self.title,
            "steps": list(self.steps),
            "says": self.says or None,
            "means": self.means or None,
            "encrypted": self.encrypted,
            "bad": self.bad,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One handshake as rows."""

    title: str
    rows: tuple[Row, ...]


def traces(contact: Contact, findings: Sequence[Finding]) -> tuple[Trace, ...]:
    """The handshakes that are worth showing: the one of an edge, TLS 1.2 beside 1.3, and what was tried where that failed."""
    candidates = [contact.main, contact.older]
    if contact.main is None or not contact.main.certificates:
        candidates += [contact.lenient, contact.nameless]
    shown = [one for one in candidates if one is not None and one.messages]
    return tuple(Trace(title=_title(one), rows=tuple(rows(one, findings))) for one in shown)


def _title(one: Handshake) -> str:
    kind = "mutual" if one.asked else "one-way"
    version = one.version or f"{one.offer.versions[0]} to {one.offer.versions[1]} offered"
    return f"{version}, {kind}, {one.address}"


def rows(one: Handshake, findings: Sequence[Finding]) -> Iterator[Row]:
    """The rows of one handshake, in the order of time, with the client's checks where it makes them."""
    checked = False
    for message in one.messages:
        if message.name == "Alert":
            yield _alert(message, one)
            continue
        if message.sender == "client" and message.name != "ClientHello" and not checked and one.certificates:
            checked = True
            yield from _checks(findings)
        yield _message(message, one)
    if one.certificates and not checked:
        yield from _checks(findings)
    yield from _end(one)


def _message(message: Message, one: Handshake) -> Row:
    steps, means = _MEANS.get((message.sender, message.name), ((), ""))
    says = "; ".join(f"{what} {value}" for what, value in (*message.details, *_told(message, one)))
    nothing = (
        message.sender == "client" and message.name == "Certificate" and ("certificates", "none") in message.details
    )
    if nothing:
        means = "The client has none to show: it answers with an empty list."
    title = f"{message.name} ({message.octets} octets)"
    return Row(
        sender=message.sender,
        title=title,
        steps=steps,
        says=says,
        means=means,
        encrypted=message.encrypted,
        bad=nothing,
    )


def _told(message: Message, one: Handshake) -> tuple[tuple[str, str], ...]:
    """What the handshake as a whole tells of a message: the suite's name, whose certificates, which issuers."""
    if message.sender != "server":
        return ()
    if message.name == "ServerHello" and one.suite:
        return (("that is", one.suite),)
    if message.name == "Certificate":
        subjects = [
            dn(found.subject) if found is not None else "(unreadable)" for found in map(read, one.certificates[:6])
        ]
        return (("of", " and ".join(subjects)),) if subjects else ()
    if message.name == "CertificateRequest" and one.authorities:
        return (("they are", client.accepted(one.authorities)),)
    return ()


def _checks(findings: Sequence[Finding]) -> Iterator[Row]:
    """Steps 3 and 4, which send nothing: what the client makes of the certificate."""
    for step, ids, good in (
        (3, _CHAIN, "a trusted CA signed it, and it is valid now"),
        (4, _NAMES, "it is for the name that was dialled"),
    ):
        wrong = next((one for one in findings if one.id in ids and one.severity is not Severity.NOTE), None)
        if wrong is None:
            yield Row(sender="", title=f"the client checks: {good}", steps=(step,))
        else:
            means = "A client stops here, with an alert or without; the doctor goes on to see the rest."
            yield Row(
                sender="", title=f"the client checks: {wrong.what}", steps=(step,), says=wrong.id, means=means, bad=True
            )


def _alert(message: Message, one: Handshake) -> Row:
    level, name = message.details[0] if message.details else ("", "")
    known = next((meaning for meaning in ALERTS.values() if meaning.name == name), None)
    if name == "close_notify":
        return Row(sender=message.sender, title="Alert close_notify", says="goodbye", encrypted=message.encrypted)
    late = one.finished and message.sender == "server"
    means = _late(known) if late else (known.words if known is not None else "")
    return Row(
        sender=message.sender,
        title=f"Alert {name}",
        says=level,
        means=means,
        encrypted=message.encrypted,
        bad=True,
        steps=(5,) if late else (),
    )


def _late(known: Meaning | None) -> str:
    words = known.words if known is not None else ""
    return f"{words} With TLS 1.3 it comes when the client believes to be connected: programs report it at their first read."


_ENDS = {
    Outcome.SILENT: "nothing came any more: here it stopped",
    Outcome.CLOSED: "the server closed the connection without a word: here it stopped",
    Outcome.NOT_TLS: "what came is not TLS: here it stopped",
    Outcome.ALERT: "here it stopped",
}


def _end(one: Handshake) -> Iterator[Row]:
    if one.outcome is Outcome.OURS:
        words = one.reason.lower().replace("_", " ")
        yield Row(sender="", title=f"the client cannot go on ({words}): here it stopped", bad=True)
    elif one.outcome in _ENDS:
        yield Row(sender="", title=_ENDS[one.outcome], bad=True)
    else:
        answered = (
            f"; the server answered with {one.answer.status}" if one.answer is not None and one.answer.status else ""
        )
        yield Row(sender="", title=f"the handshake is done{answered}", steps=(10,))


# ------------------------------------------------------------------------------------------------------------------------ text

_WIDTH = 76


def drawn(trace: Trace) -> list[str]:
    """The trace as a sequence diagram in text: `─` in the clear, `═` under encryption."""
    lines = [trace.title, "", f"client{' ' * (_WIDTH - 12)}server"]
    for row in trace.rows:
        steps = "·".join(str(step) for step in row.steps)
        mark = "✗ " if row.bad else ""
        if not row.sender:
            lines.append(f"│ {mark or '✓ '}{f'({steps}) ' if steps else ''}{row.title}")
        else:
            label = f"{mark}{f'({steps}) ' if steps else ''}{row.title}"
            stroke = ("═" if row.encrypted else "─") * max(3, _WIDTH - len(label) - 6)
            lines.append(f"│ {label} {stroke}▶ │" if row.sender == "client" else f"│ ◀{stroke} {label} │")
        lines += [f"│       {text}" for text in (row.says, row.means) if text]
    return [*lines, ""]


def legend() -> list[str]:
    """What the numbers stand for."""
    return [f"({number}) {words}" for number, words in STEPS.items()]
