"""What was seen, for people and for programs: addresses, the agreement, the chain as a tree, names, and what each client makes of it."""

from collections.abc import Sequence
from typing import Any

from cryptography import x509

from edgeward.errors import printable
from edgeward.model.diagnosis import Section
from edgeward.model.finding import Finding
from edgeward.model.handshake import Handshake
from edgeward.pki import dialled
from edgeward.pki.inspect import chain as families
from edgeward.pki.inspect.certificate import issued_by
from edgeward.pki.inspect.names import dn
from edgeward.pki.severity import Severity
from edgeward.services.doctor import client
from edgeward.services.doctor.alerts import meaning
from edgeward.services.doctor.case import Case, moment, read, span
from edgeward.services.doctor.chain import key_facts

_CLIENTS = ("Go", "OpenSSL", "Java", "Node", "Python")
_ABOUT_SERVER = {
    "unknown-authority", "same-name-other-ca", "missing-intermediate", "self-signed", "tls-intercepted", "expired", "not-yet-valid",
    "clock-behind", "clock-ahead", "eku-server", "key-usage", "issuer-is-no-ca", "chain-rule", "critical-extension", "weak-key",
    "weak-signature", "server-revoked", "name-mismatch", "address-mismatch", "no-ip-sans", "ip-in-dns-san", "common-name-only",
    "no-names", "name-for-some", "tls-too-old", "no-common-suite", "unreadable-certificate", "server-key-mismatch", "wrong-leaf-first",
}  # fmt: skip


def sections(case: Case, findings: Sequence[Finding]) -> tuple[Section, ...]:
    """The picture of the case, a section each."""
    contact = case.contact
    made = [Section(title=f"{printable(contact.host, 200)}:{contact.port}", lines=tuple(_connections(case)))]
    shown = case.shown
    if shown is not None:
        made.append(Section(title="handshake", lines=tuple(_agreed(case, shown))))
        made.append(Section(title="chain", lines=tuple(tree(case))))
        leaf = read(shown.certificates[0])
        if leaf is not None:
            title = f"names of the certificate, and {printable(contact.name, 200)} was dialled"
            made.append(
                Section(title=title, lines=tuple(dialled.explained(dialled.Names.of(leaf), contact.name)) or ("none",))
            )
        made.append(Section(title="as clients judge the server", lines=tuple(_verdicts(case, findings))))
    return tuple(made)


def _connections(case: Case) -> list[str]:
    contact = case.contact
    if contact.resolution.failure:
        return [f"does not resolve: {contact.resolution.why}"]
    return [
        f"{one.address}  {one.why or one.failure}"
        if one.failure
        else f"{one.address}  connected in {one.seconds * 1000:.1f} ms"
        for one in contact.connections
    ]


def _agreed(case: Case, shown: Handshake) -> list[str]:
    contact = case.contact
    also = [
        one.version for one in (contact.older, contact.ancient) if one is not None and one.certificates and one.version
    ]
    lines = [
        f"agreed         {shown.version or 'nothing'}, {shown.suite or 'no suite'}"
        + (f" (also {', '.join(also)})" if also else ""),
        f"protocol       {shown.protocol or 'none named (ALPN)'}" + ("; h2 if it is offered" if _h2(case) else ""),
    ]
    if shown.asked:
        lines.append(f"client         a certificate is asked for, of {client.accepted(shown.authorities)}")
        lines.append(f"               {_ours(case, shown)}")
    else:
        lines.append("client         no certificate is asked for")
    if shown.alert is not None:
        means = meaning(shown.alert.code)
        lines.append(f"alert          {shown.alert.sender} sent {means.name} ({shown.alert.code}): {means.words}")
    theirs = case.server_time
    if theirs is not None:
        lines.append(f"clocks         the server's {moment(theirs)}, this machine's {moment(case.now)}")
    return lines


def _h2(case: Case) -> bool:
    return case.contact.h2 is not None and case.contact.h2.protocol == "h2"


def _ours(case: Case, shown: Handshake) -> str:
    if case.mine is None:
        return "refused without one" if client.turned_away(shown) else "let in without one"
    did = "refused" if client.turned_away(shown) else "taken" if shown.shown else "not shown"
    return f"ours, {dn(case.mine.leaf.subject)} of {dn(case.mine.leaf.issuer)}, was {did}"


def tree(case: Case) -> list[str]:
    """The chain as a tree, the CA at its root; what is missing is in brackets."""
    shown = case.shown
    if shown is None:
        return []
    sent = [one for one in map(read, shown.certificates) if one is not None]
    if not sent:
        return ["nothing that can be read"]
    heap = families.family(sent)
    path = [sent[place] for place in heap.path(0)]
    top = path[-1]
    anchors = [one for one in map(read, case.trust.anchors) if one is not None]
    source = {"given": "--ca", "system": "this machine's", "pinned": "the token's", "first-use": "its own word"}[
        case.trust.source
    ]
    roots: list[str] = []
    if top in anchors:
        roots = []
    elif (anchor := next((a for a in anchors if a.subject == top.issuer and issued_by(top, a)), None)) is not None:
        roots = [_line(case, anchor, f"trusted: {source}")]
    elif not heap.is_root(heap.path(0)[-1]):
        namesake = any(a.subject == top.issuer for a in anchors)
        roots = [
            f"[{dn(top.issuer)}: {'another one of this name is trusted' if namesake else 'not sent and not known here'}]"
        ]
    lines = list(roots)
    for depth, one in enumerate(reversed(path), len(roots)):
        aside = f"trusted: {source}" if one in anchors else "self-signed" if one.subject == one.issuer else ""
        aside = ", ".join(part for part in (aside, "the server's" if one is path[0] else "") if part)
        lines.append(("   " * (depth - 1) + "└─ " if depth else "") + _line(case, one, aside))
    strangers = [one for place, one in enumerate(sent) if place not in heap.path(0)]
    lines += [f"also sent: {_line(case, one, '')}" for one in strangers[:5]]
    return lines


def _line(case: Case, certificate: x509.Certificate, aside: str) -> str:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if case.now > end:
        when = f"EXPIRED {moment(end)}, {span(case.now - end)} ago"
    elif case.now < start.replace(microsecond=0):
        when = f"NOT YET VALID, from {moment(start)}"
    else:
        when = f"until {moment(end)}, {span(end - case.now)} left"
    kind = key_facts(certificate).get("key_kind", "")
    return f"{dn(certificate.subject)}{f' ({aside})' if aside else ''}  {when}  {kind}"


def _verdicts(case: Case, findings: Sequence[Finding]) -> list[str]:
    """What each client says: its own words for the first thing that it minds."""
    lines = []
    about = [one for one in findings if one.id in _ABOUT_SERVER and one.severity is not Severity.NOTE]
    for program in (*_CLIENTS, "Chrome"):
        words = next((text for one in about for who, text in one.said if who == program), "")
        if words or program != "Chrome":
            lines.append(
                f"{'browsers' if program == 'Chrome' else program:9} {'refuses: ' + words if words else _takes(about, program)}"
            )
    return lines


def _takes(about: Sequence[Finding], program: str) -> str:
    silent = [
        one.id for one in about if one.severity is Severity.ERROR and not any(who == program for who, _ in one.said)
    ]
    lenient = {"common-name-only", "name-for-some", "server-revoked"}
    return f"refuses ({silent[0]})" if silent and silent[0] not in lenient else "takes it"


def facts(case: Case) -> dict[str, Any]:
    """What was seen, for programs."""
    contact, shown = case.contact, case.shown
    leaf = read(shown.certificates[0]) if shown is not None else None
    names = dialled.Names.of(leaf) if leaf is not None else None
    return {
        "name": printable(contact.name, 300),
        "addresses": [
            {"address": str(one.address), "milliseconds": round(one.seconds * 1000, 1), "failure": one.failure or None}
            for one in contact.connections
        ],
        "version": shown.version if shown else None,
        "suite": shown.suite if shown else None,
        "protocol": shown.protocol if shown else None,
        "client_certificate": None if shown is None else {"asked": shown.asked, "refused": client.turned_away(shown)},
        "accepted_issuers": [] if shown is None else [client.name_from_der(der) for der in shown.authorities[:50]],
        "alert": meaning(shown.alert.code).name if shown and shown.alert else None,
        "chain": [] if shown is None else [_certificate(der) for der in shown.certificates],
        "trust": case.trust.source,
        "names": None
        if names is None
        else {
            "dns": [printable(n, 300) for n in names.dns],
            "ip": list(names.addresses),
            "common_name": printable(names.common_name, 300),
        },
        "server_time": moment(case.server_time) if case.server_time else None,
        "local_time": moment(case.now),
    }


def _certificate(der: bytes) -> dict[str, Any]:
    found = read(der)
    if found is None:
        return {"subject": None}
    return {
        "subject": dn(found.subject),
        "issuer": dn(found.issuer),
        "serial": f"{found.serial_number:x}",
        "not_before": moment(found.not_valid_before_utc),
        "not_after": moment(found.not_valid_after_utc),
    }
