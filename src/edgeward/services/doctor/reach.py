"""Judging whether the server was reached at all, and what it speaks."""

import re

from edgeward.errors import printable
from edgeward.model.handshake import Connected, Handshake, Outcome
from edgeward.pki.severity import Severity
from edgeward.services.doctor.alerts import meaning
from edgeward.services.doctor.case import Case

_BANNERS = (
    (re.compile(rb"SSH-"), "SSH", ""),
    (re.compile(rb"220[ -][^\r\n]*(?:FTP|vsF)", re.IGNORECASE), "FTP", "ftp"),
    (re.compile(rb"220[ -]"), "SMTP", "smtp"),
    (re.compile(rb"\+OK"), "POP3", "pop3"),
    (re.compile(rb"\* OK"), "IMAP", "imap"),
    (re.compile(rb"INFO \{"), "NATS", ""),
    (re.compile(rb"-ERR|-NOAUTH|-DENIED"), "Redis", ""),
    (re.compile(rb".\x00\x00\x00\x0a[0-9.]+.{0,80}(?:mysql|MariaDB)", re.IGNORECASE | re.DOTALL), "MySQL", "mysql"),
    (re.compile(rb"RFB 00"), "VNC", ""),
)
_PORTS = {"SMTP": "465", "IMAP": "993", "POP3": "995", "FTP": "990", "MySQL": "3306"}
_HTTP = re.compile(rb"HTTP/1\.[01] \d{3}|\s*<(?:!doctype|html|\?xml)", re.IGNORECASE)
_PROXY = re.compile(
    rb"\r\n(?:Proxy-[A-Za-z-]+:|X-Squid|Server: (?:squid|tinyproxy|privoxy))|HTTP/1\.[01] 407", re.IGNORECASE
)


def judge(case: Case) -> bool:
    """Add what keeps a client from TLS with this server; whether there is nothing of that."""
    contact = case.contact
    if contact.resolution.failure:
        id_ = "dns-not-found" if contact.resolution.failure == "not-found" else "dns-failed"
        case.add(id_, {"name": contact.host, "why": contact.resolution.why})
        return False
    failed = [one for one in contact.connections if one.failure]
    if len(failed) == len(contact.connections):
        _unconnected(case, failed)
        return False
    main = contact.main
    if case.shown is None:
        if main is not None:
            _no_tls(case, main)
        return False
    return True


def aside(case: Case) -> None:
    """What is odd about some of the addresses, while others work."""
    failed = [one for one in case.contact.connections if one.failure]
    if failed and len(failed) < len(case.contact.connections):
        # a name such as localhost often has an IPv6 address that nothing listens on: clients go on to the next one at once
        quick = all(one.failure == "refused" for one in failed)
        case.add(
            "some-addresses-fail",
            {"failing": ", ".join(f"{one.address} ({one.why or one.failure})" for one in failed)},
            severity=Severity.NOTE if quick else None,
        )
    shown = case.shown
    different = [
        one
        for one in case.contact.others
        if shown and one.certificates and one.certificates[0] != shown.certificates[0]
    ]
    if different and shown:
        case.add("addresses-differ", {"detail": f"{different[0].address} shows another one than {shown.address}."})


def _unconnected(case: Case, failed: list[Connected]) -> None:
    order = {"no-answer": 0, "refused": 1, "no-route": 2}
    first = min(failed, key=lambda one: order.get(one.failure, 3))
    id_ = {"refused": "port-closed", "no-answer": "no-answer"}.get(first.failure, "no-route")
    facts = {"address": str(first.address), "seconds": f"{first.seconds:.0f}", "why": first.why}
    case.add(id_, facts)


def _no_tls(case: Case, main: Handshake) -> None:
    contact = case.contact
    heard = contact.plain or (main.first if main.outcome is Outcome.NOT_TLS else b"")
    facts = {"seconds": f"{main.seconds:.0f}", "local": main.local}
    if heard and not (heard[:1] == b"\x15" and heard[1:2] == b"\x03"):
        _spoken(case, heard)
    elif main.outcome is Outcome.SILENT:
        case.add("silent", facts)
    elif main.outcome is Outcome.ALERT and main.alert is not None:
        _alert(case, main)
    elif main.outcome is Outcome.CLOSED:
        case.add("closed-at-once", facts)
    elif main.outcome is Outcome.OURS:
        _ours(case, main)
    else:
        case.add(
            "closed-at-once",
            facts,
            why=(f"The connection could not be made again: {main.reason}.",) if main.reason else (),
        )


def _spoken(case: Case, heard: bytes) -> None:
    for pattern, protocol, starttls in _BANNERS:
        if pattern.match(heard):
            facts = {"protocol": protocol, "starttls": starttls, "tls_port": _PORTS.get(protocol, "")}
            case.add("starttls-port" if starttls else "not-tls", facts)
            return
    if _PROXY.search(heard[:2048]):
        case.add("http-proxy")
    elif _HTTP.match(heard):
        case.add("plain-http")
    else:
        shown = printable(heard[:40].decode("latin-1"), 60)
        case.add("not-tls", {"protocol": f"something else (it said {shown!r})"})


def _alert(case: Case, main: Handshake) -> None:
    assert main.alert is not None  # noqa: S101 - asked by the caller
    code = main.alert.code
    means = meaning(code)
    if code == 70:
        case.add("tls-too-old", {"version": "an older version of TLS", "version_hex": "301", "java_version": "TLS10"})
    elif code in (40, 71):
        detail = "Nothing that this machine's OpenSSL knows was accepted: suites, curves and signatures of every kind were offered."
        case.add("no-common-suite", {"detail": detail})
    elif code == 112:
        case.add("name-unknown-to-server")
    elif code == 120:
        case.add("alpn-refused", {"detail": "it ends the handshake of a client that names no protocol"})
    else:
        facts = {"alert": means.name, "meaning": means.words, "go_alert": means.go, "java_alert": means.name}
        case.add("handshake-refused", facts)


def _ours(case: Case, main: Handshake) -> None:
    reason = main.reason.upper()
    if "BAD_SIGNATURE" in reason:
        case.add("server-key-mismatch", {"go_detail": "the signature does not verify"})
    elif reason in {"UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "WRONG_SSL_VERSION"}:
        case.add("tls-too-old", {"version": main.version or "an old version of TLS"})
    else:
        words = reason.lower().replace("_", " ")
        case.add("not-tls", {"protocol": f"something that OpenSSL cannot follow ({words})"})


def versions(case: Case) -> None:
    """Which versions and suites there are, where some handshake succeeded."""
    contact, main, shown = case.contact, case.contact.main, case.shown
    if main is None or shown is None:
        return
    if not main.certificates:
        if shown.version in ("TLSv1", "TLSv1.1", "SSLv3"):
            hexed = {"SSLv3": "300", "TLSv1": "301", "TLSv1.1": "302"}[shown.version]
            java = {"SSLv3": "SSL30", "TLSv1": "TLS10", "TLSv1.1": "TLS11"}[shown.version]
            case.add("tls-too-old", {"version": shown.version, "version_hex": hexed, "java_version": java})
        else:
            detail = f"With everything offered it takes {shown.suite}, which Go and with it every edge does not offer."
            case.add("no-common-suite", {"detail": detail})
    if "BAD_SIGNATURE" in main.reason.upper():
        case.add("server-key-mismatch", {"go_detail": "the signature does not verify"})
    if contact.older is not None and not contact.older.certificates and contact.older.outcome is Outcome.ALERT:
        case.add("only-tls13")
    if contact.ancient is not None and contact.ancient.certificates and main.certificates:
        case.add("old-versions-too", {"versions": f"{contact.ancient.version}"})


def unfinished(case: Case) -> None:
    """Why the handshake of an edge did not succeed although the server showed a certificate, where nothing else has said so."""
    main = case.contact.main
    if main is None or not main.certificates or any(one.severity is Severity.ERROR for one in case.findings):
        return
    if main.outcome is Outcome.ALERT and main.alert is not None and main.alert.sender == "server":
        means = meaning(main.alert.code)
        facts = {"alert": means.name, "meaning": means.words, "go_alert": means.go, "java_alert": means.name}
        case.add("handshake-refused", facts)
    elif not main.finished and main.outcome is Outcome.SILENT:
        case.add("silent", {"seconds": f"{main.seconds:.0f}", "local": main.local})
    elif not main.finished and main.outcome is Outcome.CLOSED:
        case.add("closed-at-once", {"local": main.local}, why=("It did so after it had shown its certificate.",))
    elif not main.finished and main.outcome is Outcome.OURS:
        case.add("handshake-broken", {"detail": main.reason.lower().replace("_", " ")})
