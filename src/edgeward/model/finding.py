"""What the doctor finds: one value for a live handshake, a pasted error, files on a disk and a running authority alike.

Ids are stable: programs, tests and search engines name them. The first finding of a diagnosis is the cause; those after it follow from it
or stand beside it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from edgeward.errors import printable
from edgeward.pki.severity import Severity


class Side(StrEnum):
    """Whose it is to mend: the one who dials, the one who answers, or what lies between them."""

    CLIENT = "client"
    SERVER = "server"
    NETWORK = "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """One way to mend it. `system` says where it is typed (`edgeward`, `kubeedge`, `openssl`, `cert-manager`, `shell`), `command` is one
    shell command, `words` what it does or what to look out for."""

    system: str
    command: str
    words: str = ""

    def as_json(self) -> dict[str, Any]:
        """The remedy for programs."""
        return {"system": self.system, "command": self.command, "words": self.words or None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong, or will be.

    `what` is one sentence; `why` the explanation, a sentence a line. `said`: how programs say it, as (program, message) pairs, each message
    on one line exactly as that program prints it, so that a person finds it by searching. `facts`: the names, addresses, hashes and times
    it speaks of. All text that comes from a peer or a file is made printable here.
    """

    id: str
    severity: Severity
    side: Side
    what: str
    why: tuple[str, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    said: tuple[tuple[str, str], ...] = ()
    facts: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", printable(self.what, 1000))
        object.__setattr__(self, "why", tuple(printable(line, 1000) for line in self.why))
        object.__setattr__(self, "said", tuple((who, printable(line, 2000)) for who, line in self.said))
        object.__setattr__(self, "facts", tuple((name, printable(value, 1000)) for name, value in self.facts))

    @staticmethod
    def from_json(found: dict[str, Any]) -> "Finding":
        """The inverse of `as_json`; members that are not known are left out."""
        return Finding(
            id=found["id"],
            severity=Severity(found["severity"]),
            side=Side(found["side"]),
            what=found["what"],
            why=tuple(found["why"]),
            remedies=tuple(
                Remedy(system=one["system"], command=one["command"], words=one["words"] or "")
                for one in found["remedies"]
            ),
            said=tuple(found["said"].items()),
            facts=tuple(found["facts"].items()),
        )

    def as_json(self) -> dict[str, Any]:
        """The finding for programs. Fields are only ever added."""
        return {
            "id": self.id,
            "severity": self.severity.value,
            "side": self.side.value,
            "what": self.what,
            "why": list(self.why),
            "remedies": [remedy.as_json() for remedy in self.remedies],
            "said": dict(self.said),
            "facts": dict(self.facts),
        }
