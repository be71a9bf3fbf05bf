"""Judging a running authority by what it knows of itself. Pure: facts in, findings out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from edgeward.model.device import Node
from edgeward.model.failure import Failure
from edgeward.model.finding import Finding
from edgeward.model.token import Token
from edgeward.pki.severity import Severity, worst_first
from edgeward.services.doctor.on_disk import found, judge_certificate, names_of

CA_SOON = timedelta(days=180)
"""A CA is replaced with a plan, not in a night: half a year, or a fifth of its life."""

NODES_SOON = timedelta(days=7)
"""Or a tenth of the certificate's life, if that is less: a node renews at 90 % at the latest."""

TOKENS_SOON = timedelta(hours=12)

SKEW = timedelta(seconds=60)
"""A node's clock may differ by so much: certificates are back-dated by five minutes."""

JUMP = timedelta(seconds=30)
"""How far the clock may run away from the machine's counter before somebody has set it."""

OFTEN = 3
"""Failures of one kind after which somebody keeps failing, and did not fail once."""

SPELL = timedelta(minutes=1)
"""What an address that is no known node failed at within it was one attempt: a scan, or a doctor that tried every version of TLS. An
edge dials again for ever."""

LISTED = 20
"""Nodes that fail that are listed; the rest is counted."""

PLANNED = timedelta(minutes=5)
"""A row that has been planned for longer than this is left by a crash: signing takes a millisecond."""

_MOST_NAMES = 5

_KEPT_OUT = frozenset({"client-revoked", "node-blocked"})
"""What a device meets that somebody has revoked: it dials again for ever, and that is as it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """What a running authority knows. `failures`: records with their findings, the newest first. `uptime` by a counter that never goes
    back; `since`: when it started, by the clock. `last_record`: when the newest audit record was written."""

    now: datetime
    since: datetime
    uptime: timedelta
    directory: str
    issuers: Sequence[x509.Certificate]
    server: x509.Certificate | None
    nodes: Sequence[Node]
    tokens: Sequence[Token]
    planned: Sequence[datetime]
    failures: Sequence[tuple[Failure, Finding]]
    last_record: datetime | None
    disk_free: int
    disk_total: int


def judge(one: Authority) -> list[Finding]:
    """Everything that is wrong, or will be, errors first."""
    findings = [
        *_clock(one),
        *_certificates(one),
        *_disk(one),
        *_planned(one),
        *_nodes(one),
        *_tokens(one),
        *_failures(one),
    ]
    return worst_first(findings)


def _clock(one: Authority) -> Iterator[Finding]:
    drift = (one.now - one.since) - one.uptime
    if abs(drift) > JUMP:
        yield found("clock-jumped", skew=_span(drift))
    if one.last_record is not None and one.last_record - one.now > JUMP:
        yield found("clock-before-record", now=_moment(one.now), last=_moment(one.last_record))


def _certificates(one: Authority) -> Iterator[Finding]:
    for certificate in one.issuers:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        facts = {"subject": names_of(certificate), "not_after": _moment(end)}
        if one.now > end:
            yield found("ca-expired", **facts)
        elif end - one.now < min(CA_SOON, (end - start) / 5):
            yield found("ca-expires", **facts, ago=_span(end - one.now))
    if one.server is not None:
        # it is issued again by itself long before its end, so whatever this finds is a failure to do so
        yield from judge_certificate(one.server, "the server certificate", one.now)


def _disk(one: Authority) -> Iterator[Finding]:
    if not one.disk_total:
        return
    facts = {
        "directory": one.directory,
        "free": _size(one.disk_free),
        "percent": str(100 * one.disk_free // one.disk_total),
    }
    if one.disk_free < 64 * 1024 * 1024:
        yield found("disk-full", **facts)
    elif one.disk_free < 1024 * 1024 * 1024 or one.disk_free * 20 < one.disk_total:
        yield found("disk-low", **facts)


def _planned(one: Authority) -> Iterator[Finding]:
    left = [at for at in one.planned if one.now - at > PLANNED]
    if left:
        yield found("data-planned", directory=one.directory, count=str(len(left)))


def _nodes(one: Authority) -> Iterator[Finding]:
    expired, soon, skewed = [], [], []
    for node in one.nodes:
        record = node.certificate
        if node.state == "revoked":
            continue
        if node.device.clock_skew_ms is not None and abs(node.device.clock_skew_ms) > SKEW.total_seconds() * 1000:
            skewed.append(node.device.name)
        if record is None or record.revoked_at is not None:
            continue
        if record.not_after < one.now:
            expired.append(node.device.name)
        elif record.not_after - one.now < min(NODES_SOON, (record.not_after - record.not_before) / 10):
            soon.append(node.device.name)
    if expired:
        yield found("node-certificates-expired", **_some(expired))
    if soon:
        yield found("node-certificates-expire", days=str(NODES_SOON.days), **_some(soon))
    if skewed:
        yield found("node-clocks", seconds=str(int(SKEW.total_seconds())), **_some(skewed))


def _some(nodes: Sequence[str]) -> dict[str, str]:
    more = f" and {len(nodes) - _MOST_NAMES} more" if len(nodes) > _MOST_NAMES else ""
    return {"count": str(len(nodes)), "node": nodes[0], "nodes": ", ".join(nodes[:_MOST_NAMES]) + more}


def _tokens(one: Authority) -> Iterator[Finding]:
    """Tokens for many that end soon. One for a single node lives a day and is used within minutes: no news."""
    ending = [
        token
        for token in one.tokens
        if token.revoked_at is None
        and token.used < token.uses
        and one.now < token.expires_at < one.now + TOKENS_SOON
        and (token.uses > 1 or token.pattern is not None)
    ]
    if ending:
        each = [
            f"{token.key_id} for {token.node or token.pattern} ({token.uses - token.used} left)" for token in ending
        ]
        shown = ", ".join(each[:_MOST_NAMES])
        yield found("tokens-end-unused", count=str(len(ending)), hours="12", detail=shown)


def _failures(one: Authority) -> Iterator[Finding]:
    """Who keeps failing and has not come back since, each cause of each of them once. Not who is kept out on purpose."""
    blocked = {node.device.name for node in one.nodes if node.device.blocked_at is not None}
    seen: set[tuple[str, str, str]] = set()
    listed = more = 0
    for failure, finding in one.failures:
        if finding.severity is Severity.NOTE or (finding.id in _KEPT_OUT and failure.node in blocked):
            continue
        about_names = finding.id in {"name-mismatch", "address-mismatch"}
        lasting = bool(failure.node) or failure.last_at - failure.first_at >= SPELL
        keeps = failure.count >= OFTEN and lasting
        if not keeps and not about_names:
            continue
        # a name that the certificate lacks is one thing to mend, however many dial it
        key = (finding.id, failure.dialled, "") if about_names else (finding.id, failure.node or failure.address, "")
        if key in seen:
            continue
        seen.add(key)
        if listed < LISTED:
            listed += 1
            yield finding
        else:
            more += 1
    if more:
        yield found("failures-more", count=str(more))


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _span(span: timedelta) -> str:
    seconds = int(abs(span).total_seconds())
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _size(octets: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if octets >= size:
            return f"{octets / size:.1f} {unit}"
    return f"{octets} octets"
