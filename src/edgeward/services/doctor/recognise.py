"""Reading pasted errors and logs of any size: lines in, findings out, in bounded memory and a time that grows with the text alone.

1. A line is looked at only if it has a piece of text that some rule needs; of the lines that differ in nothing but digits, the rules
   are tried on the first, and on the others only the one that fitted.
2. What a program wrapped onto a second line is put together again.
3. Errors that say the same are one finding with a count; the first cause in the text comes first, what is only worth knowing last.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from edgeward.model.finding import Finding, Side
from edgeward.pki.severity import worst_first
from edgeward.services.doctor import phrases, phrases_programs
from edgeward.services.doctor.catalogue import Entry, finding, phrase_pattern
from edgeward.services.doctor.entries import ENTRIES
from edgeward.services.doctor.phrases import Facts, Rule, is_address

LINE = 4096
"""Characters of a line that are looked at. An error with its context has 1,000 at most."""

GROUPS = 500
"""Different errors that are told apart; what comes after so many is counted alone."""

SHORT = 65536
"""Characters. A longer piece of text is passed over whole when it has nothing that a rule needs."""

SHAPES = 5000
"""Shapes of lines that are remembered with the rule that fitted."""


def _from_catalogue() -> Iterator[Rule]:
    """The catalogue's own phrases, read backwards, for what no rule was written for."""
    for entry in ENTRIES.values():
        for program, template in entry.said:
            literals = re.split(r"\{\w+\}", template)
            needle = max(literals, key=len).strip().lower()
            if len(needle) >= 10:  # `EOF` says nothing by itself
                yield Rule(needle=needle, pattern=phrase_pattern(template), meaning=entry.id, program=program)


RULES: tuple[Rule, ...] = (*phrases.RULES, *phrases_programs.RULES, *_from_catalogue())
"""Every rule, in the order in which they are tried."""

_NEEDLES = tuple(sorted({rule.needle for rule in RULES}))
_GATES = tuple(needle for needle in _NEEDLES if not any(other != needle and other in needle for other in _NEEDLES))
"""The needles that stand for all: a line without one of these has none of the others."""

_ANSI = re.compile(r"(?:\x1b|\^\[)\[[0-9;?]{0,20}[A-Za-z]")
_TIME = re.compile(
    r"(?P<iso>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)|(?P<klog>\b[IWEF]\d{4} \d\d:\d\d:\d\d)|(?P<syslog>\b[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)"
    r"|(?P<nginx>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d)"
)
_URL = re.compile(
    r"\b(?:https|wss)://(?P<address>(?:\[[0-9A-Fa-f:.]{2,60}\]|[A-Za-z0-9_.*-]{1,255})(?::[0-9]{1,5})?)(?=[/\"'\s:]|$)"
)
_KUBEEDGE = re.compile(
    r"edgecore|cloudcore|keadm|kubeedge|certmanager\.go|edgehub|cloudhub|edge\.crt\b|ca\.crt\b", re.IGNORECASE
)
_DIGITS = str.maketrans("123456789", "000000000")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """An error in the text: what it means, the facts in it, the program whose words they are, and where it stood."""

    meaning: str
    facts: Facts
    program: str
    line: str
    number: int


@dataclass(slots=True)
class _Group:
    first: Sighting
    last: str
    count: int = 1
    kubeedge: bool = False


def normal(line: str) -> str:
    """A line as its program meant it: without colours, JSON's escapes taken off."""
    if "\x1b" in line or "^[" in line:
        line = _ANSI.sub("", line)
    if "\\" in line:
        line = (
            line.replace('\\\\\\"', '"')
            .replace('\\"', '"')
            .replace("\\u003e", ">")
            .replace("\\u003c", "<")
            .replace("\\n", " ")
            .replace("\\t", " ")
        )
    return line.replace("\u2019", "'").replace("\u2018", "'").replace("\u201c", '"').replace("\u201d", '"')


def meaning_of(line: str, rules: Iterable[Rule] = RULES) -> tuple[Rule, str, Facts] | None:
    """The first rule that fits a normal line, the id of what it means, and its facts."""
    lower = line.lower()
    for rule in rules:
        if rule.needle not in lower:
            continue
        for tried, match in enumerate(rule.pattern.finditer(line)):
            if isinstance(rule.meaning, str):
                return rule, rule.meaning, phrases.groups(match) | rule.facts
            meaning, facts = rule.meaning(match, line)
            if meaning:
                return rule, meaning, facts | rule.facts
            if tried == 20:
                break
    return None


class Reader:
    """Takes a text piece by piece: `feed` lines of it, `finish`, then read `findings`, `lines`, `sighted`."""

    def __init__(self) -> None:
        self.lines = 0
        self.sighted = 0
        self.unheard = 0
        """Lines that are errors by their look and that no rule fits."""
        self._shapes: dict[str, Rule | None] = {}
        self._groups: dict[tuple[str, ...], _Group] = {}
        self._beyond = 0
        self._held: tuple[str, int] | None = None
        self._gates = _GATES

    def feed(self, text: str) -> None:
        """The next lines, whole ones."""
        lower = text.lower()
        self._gates = tuple(
            gate for gate in _GATES if gate in lower
        )  # the others need not be looked for in any line of it
        if not self._gates and self._held is None and len(text) > SHORT:
            self.lines += text.count("\n")
            return
        for line in text.split("\n"):
            self.lines += 1
            self._line(line[:LINE])
        self.lines -= 1  # what follows the last line break is no line yet

    def finish(self) -> None:
        """The text has ended."""
        self._line("")

    def _line(self, line: str) -> None:
        held, self._held = self._held, None
        if held is not None and self._joined(held, line):
            return
        lower = line.lower()
        for gate in self._gates:
            if gate in lower:
                break
        else:
            if len(line) > 12 and _looks_bad(lower):
                self.unheard += 1
            return
        found = self._look(normal(line))
        number = self.lines
        if found is None:
            self._held = (line, number)  # the rest of it may be on the next line
            return
        rule, meaning, facts = found
        if _cut(facts):
            self._held = (line, number)
            return
        self._saw(Sighting(meaning=meaning, facts=facts, program=rule.program, line=normal(line), number=number))

    def _joined(self, held: tuple[str, int], line: str) -> bool:
        """Whether what was held goes on in this line; either way it is done with."""
        start, number = held
        first = line.strip()
        alone = meaning_of(normal(start))
        if first and not _TIME.match(first) and len(first) < 400:
            for glue in ("", " "):
                whole = normal(start.rstrip("\r") + glue + first)[:LINE]
                found = meaning_of(whole)
                if (
                    found is not None
                    and not _cut(found[2])
                    and (alone is None or _cut(alone[2]) or alone[1] == found[1])
                ):
                    self._saw(
                        Sighting(meaning=found[1], facts=found[2], program=found[0].program, line=whole, number=number)
                    )
                    return meaning_of(normal(line)) is None
        if alone is not None:
            self._saw(
                Sighting(meaning=alone[1], facts=alone[2], program=alone[0].program, line=normal(start), number=number)
            )
        elif _looks_bad(start.lower()):
            self.unheard += 1
        return False

    def _look(self, line: str) -> tuple[Rule, str, Facts] | None:
        shape = line.translate(_DIGITS)
        if shape in self._shapes:
            rule = self._shapes[shape]
            return None if rule is None else meaning_of(line, (rule,))
        found = meaning_of(line)
        if len(self._shapes) >= SHAPES:
            self._shapes.clear()
        self._shapes[shape] = None if found is None else found[0]
        return found

    def _saw(self, sighting: Sighting) -> None:
        self.sighted += 1
        facts = sighting.facts
        key = (
            sighting.meaning,
            *(
                facts.get(name, "")
                for name in ("name", "valid", "address", "node", "anchor_name", "pin", "alert", "detail")
            ),
        )
        if sighting.meaning not in _EACH_CLIENT:
            key = (*key, facts.get("client_address", ""))
        group = self._groups.get(key)
        if group is not None:
            group.count += 1
            group.last = sighting.line
        elif len(self._groups) < GROUPS:
            kubeedge = _KUBEEDGE.search(sighting.line) is not None or sighting.program == "KubeEdge"
            self._groups[key] = _Group(first=sighting, last=sighting.line, kubeedge=kubeedge)
        else:
            self._beyond += 1

    @property
    def findings(self) -> list[Finding]:
        """What was found: errors in the order of the text, then warnings, then notes."""
        found = worst_first(_finding(group) for group in self._groups.values())
        if self._beyond:
            last = found[-1]
            found[-1] = replace(
                last, why=(*last.why, f"{self._beyond} more errors differ from these {GROUPS} and were only counted.")
            )
        return found


_EACH_CLIENT = frozenset({"closed-during-handshake"})
"""Findings that are not told apart by the client: there may be thousands, and they mean nothing."""


def read(text: str) -> Reader:
    """A whole text, read."""
    reader = Reader()
    reader.feed(text + "\n")
    reader.finish()
    return reader


def _looks_bad(lower: str) -> bool:
    return any(
        word in lower for word in ("error", "fail", "denied", "refused", "invalid", "expired", "untrusted", "mismatch")
    )


def _cut(facts: Facts) -> bool:
    """Whether a name was cut off in the middle by the end of a line: an address with too few numbers."""
    name = facts.get("name", "")
    return bool(re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{1,3}){0,2}\.?", name)) and not is_address(name)


def _context(sighting: Sighting) -> Facts:
    """What else the line says: whom it was about and when."""
    facts: Facts = {}
    url = _URL.search(sighting.line)
    if url is not None:
        facts["address"] = url["address"]
        facts["host"] = url["address"].rpartition(":")[0].strip("[]") or url["address"]
    when = _TIME.search(sighting.line)
    if when is not None:
        facts["at"] = when[0]
    return facts


def _finding(group: _Group) -> Finding:
    sighting = group.first
    entry = ENTRIES[sighting.meaning]
    facts = _context(sighting) | sighting.facts
    if "name" not in facts and facts.get("host") and entry.id in _NAMED_BY_URL:
        facts["name"] = facts["host"]
    if "name" in facts:
        address = is_address(facts["name"])
        facts |= {
            "kubeedge_list": "advertiseAddress" if address else "dnsNames",
            "cert_manager_list": "ipAddresses" if address else "dnsNames",
            "wanted_san": f"{'IP' if address else 'DNS'}:{facts['name']}",
        }
    why = [f"Line {sighting.number}: {sighting.line.strip()[:300]}"]
    if group.count > 1:
        facts["count"] = str(group.count)
        last = _TIME.search(group.last)
        until = f", the last time at {last[0]}" if last else ""
        why.append(f"It stands there {group.count} times{until}.")
    return finding(
        entry, facts, why=(*why, *_words(entry, facts)), systems=_systems(group), side=_side(entry, sighting)
    )


_NAMED_BY_URL = frozenset(
    {
        "name-mismatch",
        "address-mismatch",
        "no-names",
        "no-ip-sans",
        "common-name-only",
        "name-unknown-to-server",
        "dns-not-found",
    }
)


def _words(entry: Entry, facts: Facts) -> Iterator[str]:
    """A sentence about what is particular in the facts."""
    name, host = facts.get("name", ""), facts.get("host", "")
    if (
        entry.id in {"address-mismatch", "no-ip-sans", "name-mismatch"}
        and host
        and name
        and host != name
        and is_address(host)
    ):
        yield f"The URL says {host}, and the certificate was judged for {name}: a proxy or a redirection stands between."


def _side(entry: Entry, sighting: Sighting) -> Side | None:
    return None if "client" not in sighting.facts or entry.side is not Side.SERVER else Side.SERVER


def _systems(group: _Group) -> tuple[str, ...]:
    """Whose remedies come first: those of the program that speaks."""
    if group.kubeedge:
        return ("kubeedge", "edgeward")
    return {"nginx": ("nginx", "edgeward"), "OpenSSL": ("edgeward", "openssl")}.get(group.first.program, ("edgeward",))
