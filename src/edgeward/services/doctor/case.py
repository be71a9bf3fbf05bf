"""What one examination knows and collects: the contact, who is trusted, what is ours; and the findings in the order in which they came."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509

from edgeward.errors import EdgewardError
from edgeward.model.finding import Finding, Side
from edgeward.model.handshake import Contact, Handshake
from edgeward.pki import names, parse
from edgeward.pki.severity import Severity
from edgeward.services.doctor.catalogue import finding
from edgeward.services.doctor.entries import ENTRIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom clients trust: `anchors` in DER; `source` is `given` (--ca), `pinned` (the token's), `first-use` (the server's own word) or
    `system`. `crls` in DER."""

    anchors: tuple[bytes, ...]
    source: str
    crls: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mine:
    """Our own certificate with what is sent above it (DER), and the names of its files."""

    certificates: tuple[bytes, ...]
    cert: str = "client.crt"
    key: str = "client.key"

    @property
    def leaf(self) -> x509.Certificate:
        """Our certificate."""
        return parse.certificate(self.certificates[0])

    @property
    def node(self) -> str:
        """The node that it is of, or empty."""
        return names.node_of(self.leaf.subject) or ""


@dataclass(slots=True)
class Case:
    """An examination while it goes on."""

    contact: Contact
    trust: Trust
    now: datetime
    mine: Mine | None = None
    node: str = ""
    findings: list[Finding] = field(default_factory=list)
    common: dict[str, str] = field(default_factory=dict)
    systems: tuple[str, ...] = ()
    anchors_shown: str = ""

    def __post_init__(self) -> None:
        contact = self.contact
        self.common = {
            "address": contact.address,
            "host": contact.host,
            "port": str(contact.port),
            "name": contact.name,
            "node": self.node or (self.mine.node if self.mine is not None else "") or "NAME",
        }

    def add(
        self,
        id_: str,
        facts: Mapping[str, str] | None = None,
        *,
        severity: Severity | None = None,
        side: Side | None = None,
        why: Iterable[str] = (),
        said: Mapping[str, str] | None = None,
    ) -> None:
        """Something was found. `said`: what programs print in this very case, in place of the catalogue's."""
        if any(one.id == id_ for one in self.findings):
            return
        known = {key: value for key, value in {**self.common, **(facts or {})}.items() if value}
        self.findings.append(
            finding(ENTRIES[id_], known, severity=severity, side=side, why=why, systems=self.systems, said=said)
        )

    def has(self, *ids: str) -> bool:
        """Whether one of these was found."""
        return any(one.id in ids for one in self.findings)

    @property
    def shown(self) -> Handshake | None:
        """The handshake whose certificates are judged."""
        main, lenient = self.contact.main, self.contact.lenient
        if main is not None and main.certificates:
            return main
        return lenient if lenient is not None and lenient.certificates else None

    @property
    def server_time(self) -> datetime | None:
        """The server's clock, from the Date of an answer, moved to `now`: what it would say at this moment."""
        for one in (self.contact.main, self.contact.bare, self.contact.hub):
            if one is not None and one.answer is not None and one.answer.at is not None:
                said = _date(one.answer.header("date"))
                if said is not None:
                    return self.now + (said - one.answer.at.replace(microsecond=0))
        return None


def _date(text: str) -> datetime | None:
    try:
        found = datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT")
    except ValueError:
        return None
    return found.replace(tzinfo=UTC)


def read(der: bytes) -> x509.Certificate | None:
    """The certificate, or None where it cannot be read."""
    try:
        return parse.certificate(der)
    except EdgewardError:
        return None


def span(time: timedelta) -> str:
    """A stretch of time in one unit: `12 s`, `3 min`, `5 h`, `40 days`."""
    seconds = abs(int(time.total_seconds()))
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // divisor} {unit}"
    return f"{seconds // 86400} days"


def moment(time: datetime) -> str:
    """A time as Go prints it: `2026-11-25T17:26:19Z`."""
    return (
        time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if time.year >= 1000 else f"{time.year:04}-01-01T00:00:00Z"
    )
