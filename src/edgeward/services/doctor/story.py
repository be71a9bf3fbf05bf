"""What a recorded failure means: the server's memory of a client that failed, told as a sentence and judged like any other finding.

Pure. What the server knows besides (the names in its certificate, the node, whether it has come back since) is handed in.
"""

import dataclasses
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from edgeward.model.device import Device
from edgeward.model.failure import Failure, Learnt, Listener
from edgeward.model.finding import Finding
from edgeward.pki.severity import Severity
from edgeward.services.doctor.catalogue import finding, in_commands
from edgeward.services.doctor.entries import ENTRIES
from edgeward.services.doctor.phrases import Facts, is_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What is known besides the record. `names`: those of the server's certificate. `authority`: the CA's subject. `nodes`: the nodes
    that a nameless record may be about, by the address they connected from last. `device`: the node, where its name is known, or the
    one that was asked about. `certified_at`: when the server's present certificate was issued."""

    names: Sequence[str]
    authority: str
    now: datetime
    nodes: Sequence[str] = ()
    device: Device | None = None
    certified_at: datetime | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    """The port of each listener."""
    retired: Sequence[str] = ()
    """The subjects of the CAs that signed before, the latest last."""


def covers(names: Sequence[str], dialled: str) -> bool:
    """Whether one of a certificate's names is what was dialled. A wildcard stands for one label (RFC 9525 section 6.3)."""
    wanted = _plain(dialled)
    parent = wanted.partition(".")[2]
    return any(_plain(name) == wanted or (bool(parent) and _plain(name) == f"*.{parent}") for name in names)


def _plain(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name.strip("[]").partition("%")[0]))
    except ValueError:
        return name.lower().rstrip(".")


def who(failure: Failure, known: Circumstances) -> str:
    """The peer in words: `edge-7 at 10.1.2.3`."""
    if not failure.address:
        return "many clients"
    if failure.node:
        return f"{failure.node} at {failure.address}"
    if known.nodes:
        more = "" if len(known.nodes) == 1 else f" or another of {len(known.nodes)} nodes"
        return f"{failure.address} (where {known.nodes[0]}{more} connected from)"
    return failure.address


def judge(failure: Failure, known: Circumstances) -> Finding:
    """The finding for a record; its `why` begins with the story."""
    meaning, facts, story = _meaning(failure, known)
    times = "" if failure.count == 1 else f"; {failure.count} times since {_moment(failure.first_at)}"
    why = [
        f"{who(failure, known)} {story}.",
        f"On the {_PORTS[failure.listener]}, last at {_moment(failure.last_at)}{times}.",
    ]
    if failure.shown is not None:
        why.append(
            f"It showed a certificate of {failure.shown.subject}, issued by {failure.shown.issuer}, SHA-256 {failure.shown.fingerprint}."
        )
    facts = _common(failure, known) | facts
    found = finding(ENTRIES[meaning], facts, why=why, systems=("edgeward",))
    healed = _healed(failure, known, meaning)
    if healed:
        found = dataclasses.replace(found, severity=Severity.NOTE, why=(healed, *found.why))
    return found


_PORTS = {Listener.ENROLMENT: "enrolment port", Listener.HUB: "hub's port"}


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _common(failure: Failure, known: Circumstances) -> Facts:
    facts = {
        "client": failure.address or "many clients",
        "client_address": failure.address,
        "alert": failure.alert or "none",
        "go_alert": failure.alert,
        "meaning": "",
        "authorities": known.authority,
        "issuer": "another CA",
        "subject": failure.node or "the client",
        "detail": failure.reason,
        "count": str(failure.count),
        "last": _moment(failure.last_at),
    }
    node = failure.node or (known.nodes[0] if len(known.nodes) == 1 else "")
    if node:
        facts["node"] = node
    if failure.shown is not None:
        facts |= {"subject": failure.shown.subject, "issuer": failure.shown.issuer}
        if failure.shown.not_after is not None:
            facts["not_after"] = _moment(failure.shown.not_after)
    for name, listener in (("https_port", Listener.ENROLMENT), ("hub_port", Listener.HUB)):
        facts[name] = str(known.ports.get(listener, ""))
    if failure.dialled:
        host = f"[{failure.dialled}]" if ":" in failure.dialled else failure.dialled
        port = known.ports.get(failure.listener)
        facts |= {"dialled": failure.dialled, "host": host, "address": f"{host}:{port}" if port else host}
    return {name: value for name, value in facts.items() if value}


def _healed(failure: Failure, known: Circumstances, meaning: str) -> str:
    """Why it is over, or nothing."""
    device = known.device
    seen = None if device is None else device.last_seen
    if device is not None and device.blocked_at is None and seen is not None and seen > failure.last_at:
        return f"It is over: {device.name} has connected since ({_moment(seen)})."
    if (
        failure.dialled
        and _later(known.certified_at, failure.last_at)
        and meaning in _ABOUT_OURS
        and covers(known.names, failure.dialled)
    ):
        return f"It is over: the certificate has {failure.dialled} since {_moment(known.certified_at or known.now)}, and it failed before."
    return ""


_ABOUT_OURS = frozenset(
    {"name-mismatch", "address-mismatch", "server-certificate-refused", "unknown-authority", "node-distrusts-ca"}
)
"""Findings that a new server certificate may have mended."""


def _later(one: datetime | None, other: datetime) -> bool:
    return one is not None and one > other


_Told = tuple[str, Facts, str]


def _meaning(failure: Failure, known: Circumstances) -> _Told:
    """The id of the finding, its facts, and what the peer did, in words that follow its name."""
    if failure.code.startswith("handshake."):
        if failure.code == "handshake.unused":
            return _left(failure, known)
        if failure.code == "handshake.tls" and failure.received:
            return _they_refused(failure, known)
        if failure.code == "handshake.tls":
            return _we_refused(failure, known)
        meaning, story = _HANDSHAKES.get(failure.code, ("handshake-refused", "failed in the handshake: {reason}"))
        return meaning, {}, story.format(reason=failure.reason)
    if failure.code.startswith("http."):
        status = failure.code.partition(".")[2]
        if failure.listener is Listener.HUB:
            return (
                "hub-is-not-enrolment",
                {"address": "this port"},
                f"asked the hub for something that is no WebSocket ({failure.reason})",
            )
        return "request-refused", {"status": status}, f"sent a request that HTTP itself refuses: {failure.reason}"
    if failure.code == "certificate-refused":
        return _certificate_refused(failure)
    meaning = _REFUSALS.get(failure.code, "request-refused")
    return meaning, {"status": failure.code, "proven": failure.node}, f"was refused: {failure.reason}"


_HANDSHAKES = {
    "handshake.plain-http": ("client-not-tls", "speaks HTTP without TLS to a port that speaks TLS"),
    "handshake.protocol": ("alpn-refused", "offers protocols (ALPN) among which http/1.1 is not"),
    "handshake.timeout": ("closed-during-handshake", "did not finish the handshake in time"),
    "handshake.closed": ("closed-during-handshake", "closed the connection during the handshake"),
    "handshake.crowded": (
        "closed-during-handshake",
        "was put out during the handshake, because newer ones needed the place",
    ),
    "handshake.session_reused": (
        "handshake-refused",
        "resumed an earlier session, which proves nothing about its certificate now",
    ),
    "handshake.too-large": ("handshake-refused", "sent more than a handshake may have"),
}

_REFUSALS = {
    "token-spent": "token-spent",
    "token-expired": "token-expired",
    "token-revoked": "token-revoked",
    "token-not-for-node": "token-not-for-node",
    "token-not-from-here": "token-not-from-here",
    "unauthenticated": "token-unknown",
    "no-evidence": "token-missing",
    "node-blocked": "node-blocked",
    "node-has-certificate": "node-has-certificate",
    "wrong-identity": "wrong-identity",
    "busy": "rate-limited",
    "flood": "failures-beyond-count",
}
"""The classes of refusals that have a finding of their own."""

_NOT_OURS = frozenset(
    {
        *("bad certificate", "unknown ca", "certificate unknown", "certificate expired", "unsupported certificate"),
        *("certificate revoked", "decrypt error", "access denied"),
    }
)


def _they_refused(failure: Failure, known: Circumstances) -> _Told:
    """The peer sent an alert."""
    if failure.alert not in _NOT_OURS:
        meaning = {"protocol version": "client-too-old", "handshake failure": "no-common-suite"}.get(
            failure.alert, "handshake-refused"
        )
        return meaning, {"versions": "none of ours"}, f"ended the handshake with the alert {failure.alert}"
    story = f"refused our certificate (alert {failure.alert})"
    if failure.alert == "certificate expired":
        return (
            "clock-ahead",
            {"skew": "some time"},
            f"{story}: it takes it for expired, and it is not by our clock ({_moment(known.now)})",
        )
    dialled = failure.dialled
    if failure.alert in {"bad certificate", "certificate unknown"}:
        if dialled and not covers(known.names, dialled):
            facts = _of_name(dialled, known)
            return (
                "address-mismatch" if is_address(dialled) else "name-mismatch",
                facts,
                f"{story}: it dialled {dialled}, which is not among [{', '.join(known.names)}]{_adding(dialled)}",
            )
        if failure.learnt is Learnt.LOCAL:
            return (
                "server-certificate-refused",
                {},
                f"{story}: it named no server, so it dialled an address; the connection reached {dialled}, which the certificate"
                " has. Either it dialled another address that is translated on the way (NAT, port forwarding, a load balancer),"
                f" which must be added, or it does not trust our CA{_succession(known)}",
            )
    return _distrusted(failure, known, f"{story}: it does not trust our CA, {known.authority}")


def _distrusted(failure: Failure, known: Circumstances, story: str) -> _Told:
    """It does not trust our CA: it is not told of a CA that came after its own, or belongs elsewhere."""
    own = "" if failure.shown is None else failure.shown.issuer
    if own in known.retired:
        holds = f". Its own certificate is of {own}, which {known.authority} has replaced, and it has not been told so"
    else:
        holds = f"; it holds an older one, or another server's{_succession(known)}"
    meaning = "node-distrusts-ca" if failure.node or len(known.nodes) == 1 else "unknown-authority"
    return meaning, {"issuer": known.authority, "anchors": "it has another"}, story + holds


def _succession(known: Circumstances) -> str:
    return f" ({known.authority} has replaced {known.retired[-1]})" if known.retired else ""


def _left(failure: Failure, known: Circumstances) -> _Told:
    """The peer finished the handshake and went: it judges the server's certificate afterwards, as Edgeward's agent and others do.
    Who shows a certificate wants more than to see whether the port is open."""
    story = "finished the handshake and closed the connection without a word, as clients do that judge our certificate after it"
    dialled = failure.dialled
    if not dialled or covers(known.names, dialled):
        if failure.shown is None:
            return "closed-during-handshake", {}, story
        return _distrusted(
            failure,
            known,
            f"{story}: it dialled {dialled or 'us'}, which the certificate has, so it does not trust our CA",
        )
    meaning = "address-mismatch" if is_address(dialled) else "name-mismatch"
    told = f"{story}: it dialled {dialled}, which is not among [{', '.join(known.names)}]{_adding(dialled)}"
    return meaning, _of_name(dialled, known), told


def _adding(dialled: str) -> str:
    """How to add what was dialled; nothing for what a shell would take for more than a name: any stranger says what they dial."""
    name = in_commands({"dialled": dialled}).get("dialled")
    return f"; add it with `edgeward advertise add {name}`" if name else ""


def _of_name(dialled: str, known: Circumstances) -> Facts:
    address = is_address(dialled)
    return {
        "name": dialled,
        "valid": ", ".join(known.names),
        "valid_addresses": ", ".join(name for name in known.names if is_address(name)),
        "kubeedge_list": "advertiseAddress" if address else "dnsNames",
        "cert_manager_list": "ipAddresses" if address else "dnsNames",
        "wanted_san": f"{'IP' if address else 'DNS'}:{dialled}",
    }


def _we_refused(failure: Failure, known: Circumstances) -> _Told:
    """We sent the alert, or the handshake broke without one."""
    tell: dict[str, tuple[str, Callable[[], str]]] = {
        "unknown ca": (
            "client-unknown-authority",
            lambda: f"showed a certificate of {_issuer(failure)}, and this authority is {known.authority}",
        ),
        "certificate expired": ("client-expired", lambda: "showed a certificate that has expired"),
        "certificate revoked": ("client-revoked", lambda: "showed a certificate that is revoked"),
        "unsupported certificate": ("client-eku", lambda: "showed a certificate that is not for clients"),
        "certificate required": ("client-certificate-missing", lambda: "showed no client certificate"),
        "protocol version": ("client-too-old", lambda: f"cannot be talked to: {failure.reason}"),
        "handshake failure": ("no-common-suite", lambda: f"cannot be talked to: {failure.reason}"),
    }
    early = "not yet valid" in failure.reason
    if failure.alert == "bad certificate" and early:
        return (
            "client-not-yet-valid",
            {},
            "showed a certificate that is not valid yet: its clock or ours was wrong when it was issued",
        )
    if failure.alert in tell:
        meaning, words = tell[failure.alert]
        return meaning, {"usages": "another", "versions": "old ones"}, words()
    if failure.alert:
        return "client-refused", {}, f"was refused in the handshake: {failure.reason}"
    if "closed" in failure.reason or "eof" in failure.reason:
        return "closed-during-handshake", {}, "closed the connection during the handshake"
    return "handshake-refused", {}, f"failed in the handshake: {failure.reason}"


def _issuer(failure: Failure) -> str:
    return "another CA" if failure.shown is None else failure.shown.issuer


def _certificate_refused(failure: Failure) -> _Told:
    story = f"was refused: {failure.reason}"
    if "revoked" in failure.reason:
        return "client-revoked", {}, story
    if "expired" in failure.reason:
        return "client-expired", {}, story
    if "not valid before" in failure.reason or "not valid yet" in failure.reason:
        return "client-not-yet-valid", {}, story
    if "none was presented" in failure.reason:
        return "client-certificate-missing", {}, story
    return "client-refused", {}, story
