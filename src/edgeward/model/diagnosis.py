"""A diagnosis: what was looked at, what was seen, and what was found. The same value for every kind of patient."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeward.errors import printable
from edgeward.model.finding import Finding
from edgeward.pki.severity import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading and lines below it, for people. All text is made printable here."""

    title: str
    lines: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", printable(self.title, 200))
        object.__setattr__(self, "lines", tuple(printable(line, 1000) for line in self.lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """`subject` is what was looked at (an address, a file, `pasted text`); the first of `findings` is the cause. `facts` are what was
    seen, as JSON values for programs: fields are only ever added."""

    subject: str
    findings: tuple[Finding, ...] = ()
    sections: tuple[Section, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Nothing above a note was found."""
        return all(finding.severity is Severity.NOTE for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The diagnosis for programs."""
        return {
            "subject": printable(self.subject, 1000),
            "healthy": self.healthy,
            "findings": [finding.as_json() for finding in self.findings],
            "facts": dict(self.facts),
        }
