"""What an inspection says: one `Report` for each thing, as frozen values that become text for people or JSON for
programs.

Every text that comes from the input passes `printable` before it gets here, so that a report can be printed as it is.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from edgeward.errors import EdgewardError, printable
from edgeward.pki.severity import Severity

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_NO_FACTS: Mapping[str, Json] = MappingProxyType({})


class Warning(NamedTuple):
    """Something that will bite. `id` is stable."""

    id: str
    severity: Severity
    text: str
    remedy: str = ""

    def as_json(self) -> dict[str, Json]:
        """The warning for programs."""
        return {"id": self.id, "severity": self.severity.value, "text": self.text, "remedy": self.remedy}


class Extension(NamedTuple):
    """One extension or attribute: what it is called, its value for programs, and what it says for people."""

    oid: str
    name: str
    critical: bool
    value: Json
    words: tuple[str, ...]

    def as_json(self) -> dict[str, Json]:
        """The extension for programs."""
        return {
            "oid": self.oid,
            "name": self.name,
            "critical": self.critical,
            "value": self.value,
            "words": list(self.words),
        }


class Report(NamedTuple):
    """What one thing is. `rows` are its fields for people, in order; `facts` the same for programs."""

    kind: str
    title: str
    origin: str = ""
    encoding: str = ""
    label: str = ""
    alias: str = ""
    protection: str = ""
    rows: tuple[tuple[str, str], ...] = ()
    facts: Mapping[str, Json] = _NO_FACTS
    extensions: tuple[Extension, ...] = ()
    warnings: tuple[Warning, ...] = ()
    notes: tuple[str, ...] = ()
    parts: tuple["Report", ...] = ()
    tree: tuple[str, ...] = ()
    """The chain that the parts make, drawn."""
    problem: EdgewardError | None = None

    def as_json(self) -> dict[str, Json]:
        """The report for programs: always the same keys for one kind; empty ones are left out but for lists of its
        own kind.
        """
        written: dict[str, Json] = {"kind": self.kind}
        for name in ("origin", "encoding", "label", "alias", "protection"):
            value = getattr(self, name)
            if value:
                written[name] = value
        written.update(self.facts)
        if self.extensions:
            written["extensions"] = [extension.as_json() for extension in self.extensions]
        written["warnings"] = [warning.as_json() for warning in self.warnings]
        written["notes"] = list(self.notes)
        if self.parts:
            written["parts"] = [part.as_json() for part in self.parts]
        if self.problem is not None:
            written["problem"] = {
                "code": self.problem.code,
                "text": printable(str(self.problem), 400),
                "hint": self.problem.hint,
            }
        return written

    def walk(self) -> Iterator["Report"]:
        """This report and every one inside it."""
        yield self
        for part in self.parts:
            yield from part.walk()
