"""The one catalogue of findings: id, severity, side, words, what Go, OpenSSL, Java, Node and Python print, and the command that mends it.

Words, phrases and commands are templates over the facts of a case (`{name}`); a fact that nobody knows shows as its name in capitals in
words and commands, and leaves a phrase out. The same phrases, read backwards by `phrase_pattern`, recognise a pasted error.

Facts may be hostile. A command gets one only if it is free of everything that a shell would act on; file names are quoted.
"""

import functools
import re
import shlex
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgeward.model.finding import Finding, Remedy, Side
from edgeward.pki.severity import Severity

FILES = frozenset({"cert", "key", "ca", "file", "crl", "token_file", "data", "directory", "ca_file", "config"})
"""Facts that are paths: quoted in commands, where a template puts them outside quotes."""

DEFAULTS = {
    "server_cert": "server.crt",
    "server_csr": "server.csr",
    "ca_directory": "DIR",
    "server_key": "server.key",
    "issuer_cert": "ca.crt",
    "issuer_key": "ca.key",
    "ca": "ca.crt",
    "ca_dir": "ca",
    "cert": "client.crt",
    "key": "client.key",
    "certificate_object": "edge-cloud",
    "kubeedge_list": "dnsNames",
    "cert_manager_list": "dnsNames",
    "unit": "edgeward",
    "https_port": "10002",
    "hub_port": "10000",
}
"""What a command says for something whose real name is known on the other machine alone."""

_SAFE = re.compile(r"[A-Za-z0-9_.:@%+,/=*\[\]-]{1,2000}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the catalogue. `remedies`: (system, command, words); `said`: (program, message), several for one program if it
    words the same thing in several ways, the present version's first."""

    id: str
    severity: Severity
    side: Side
    what: str
    why: tuple[str, ...] = ()
    remedies: tuple[tuple[str, str, str], ...] = ()
    said: tuple[tuple[str, str], ...] = ()


def error(id_: str, side: Side, what: str, **more: object) -> Entry:
    """An entry that fails now."""
    return Entry(id=id_, severity=Severity.ERROR, side=side, what=what, **more)  # type: ignore[arg-type]


def warning(id_: str, side: Side, what: str, **more: object) -> Entry:
    """An entry that will fail, or fails for some."""
    return Entry(id=id_, severity=Severity.WARNING, side=side, what=what, **more)  # type: ignore[arg-type]


def note(id_: str, side: Side, what: str, **more: object) -> Entry:
    """An entry that is worth knowing."""
    return Entry(id=id_, severity=Severity.NOTE, side=side, what=what, **more)  # type: ignore[arg-type]


class _Words(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return key.upper()


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def _fill(template: str, facts: Mapping[str, str]) -> str:
    return template.format_map(_Words(facts))


def in_commands(facts: Mapping[str, str]) -> dict[str, str]:
    """The facts as a command may show them: paths quoted, whatever is not plainly a name, an address or a number left out."""
    shown = dict(DEFAULTS)
    for name, value in facts.items():
        if name in FILES:
            shown[name] = shlex.quote(value)
        elif _SAFE.fullmatch(value) and not value.startswith("-"):
            shown[name] = value
    return shown


def finding(
    entry: Entry,
    facts: Mapping[str, str] | None = None,
    *,
    severity: Severity | None = None,
    side: Side | None = None,
    why: Iterable[str] = (),
    systems: Iterable[str] = (),
    said: Mapping[str, str] | None = None,
) -> Finding:
    """The finding of `entry` for a case. `severity`, `side`: where the case differs from the entry. `why`: sentences put before the
    entry's own. `systems`: the systems whose remedies come first, in this order (`edgeward` when the server is known to be one). `said`:
    what programs print in this very case, in place of the entry's phrases.
    """
    known = dict(facts or {})
    order = list(systems)
    safe = in_commands(known)
    remedies = sorted(
        (Remedy(system=s, command=_fill(c, safe), words=_fill(w, DEFAULTS | known)) for s, c, w in entry.remedies),
        key=lambda remedy: order.index(remedy.system) if remedy.system in order else len(order),
    )
    printed: dict[str, str] = dict(said or {})
    for program, template in entry.said:
        if said is None and program not in printed and _fields(template) <= known.keys():
            printed[program] = _fill(template, known)
    return Finding(
        id=entry.id,
        severity=severity or entry.severity,
        side=side or entry.side,
        what=_fill(entry.what, known),
        why=(*why, *(_fill(line, known) for line in entry.why)),
        remedies=tuple(remedies),
        said=tuple(printed.items()),
        facts=tuple(known.items()),
    )


_SHAPES = {
    "name": r"[A-Za-z0-9_*.:%-]{0,254}[A-Za-z0-9_*]",
    "address": r"\[?[A-Za-z0-9_.:%-]{0,254}[A-Za-z0-9_\]]",
    "port": r"[0-9]{1,5}",
    "pin": r"[0-9a-fA-F]{64}",
    "actual": r"[0-9a-fA-F]{64}",
}


@functools.cache
def phrase_pattern(template: str) -> re.Pattern[str]:
    """A phrase read backwards: a pattern whose groups are its facts. It matches anywhere in a line and takes bounded, linear time."""
    parts = []
    seen: set[str] = set()
    pieces = list(string.Formatter().parse(template))
    for place, (literal, name, _, _) in enumerate(pieces):
        parts.append(re.escape(literal).replace(r"\ ", r"\s"))
        if name:
            rest = r"[^\n]{0,2000}" + ("?" if place < len(pieces) - 1 else "")
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{_SHAPES.get(name, rest)})")
            seen.add(name)
    return re.compile("".join(parts))
