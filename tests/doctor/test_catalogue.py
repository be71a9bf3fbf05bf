"""The catalogue: complete, consistent, readable backwards, and safe to type."""

import re
import shlex

import click
import pytest

from edgeward import cli
from edgeward.pki.severity import Severity
from edgeward.services.doctor.catalogue import finding, in_commands, phrase_pattern
from edgeward.services.doctor.entries import ENTRIES, TABLES

PROGRAMS = {"Go", "OpenSSL", "Java", "Node", "Python"}


def test_no_id_is_used_twice() -> None:
    assert sum(len(table) for table in TABLES) == len(ENTRIES)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id_) for id_ in ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES.keys())
def test_an_entry_fills_in_without_any_fact(entry) -> None:
    shown = finding(entry)
    assert shown.what
    assert entry.severity is Severity.NOTE or shown.remedies or entry.id in {"handshake-refused"}
    for remedy in shown.remedies:
        assert "{" not in remedy.command.replace("{.data", "").replace('[{"op"', ""), remedy.command
        assert "\n" not in remedy.command


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES.keys())
def test_every_phrase_recognises_itself(entry) -> None:
    facts = {name: f"x{number}.example" for number, name in enumerate(sorted(_names(entry)))}
    facts |= dict.fromkeys(facts.keys() & {"pin", "actual"}, "ab" * 32) | {"port": "10002"}
    for _, template in entry.said:
        line = f"E1125 10:00:00.000000 edgecore.go:55] {template.format_map(facts)}"
        found = phrase_pattern(template).search(line)
        assert found is not None, template
        assert all(facts[name] == value for name, value in found.groupdict().items()), template


def _names(entry) -> set[str]:
    return {name for _, template in entry.said for name in re.findall(r"\{(\w+)\}", template)}


HOSTILE = (
    "$(reboot)",
    "`reboot`",
    "a;reboot",
    "a b",
    "a\nb",
    "'",
    '"',
    "--help",
    "",
    "a|b",
    "a>b",
    "$HOME",
    "x" * 3000,
)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_hostile_gets_into_a_command(text: str) -> None:
    assert text not in in_commands({"name": text}).values()
    assert shlex.split(in_commands({"file": text})["file"]) == [text]
    for entry in ENTRIES.values():
        for remedy in finding(
            entry, dict.fromkeys(("name", "address", "node", "valid", "wanted_san", "host"), text)
        ).remedies:
            assert not text or len(text) < 3 or text in {"--help"} or text not in remedy.command


def test_the_articles_message_is_recognised_in_both_forms() -> None:
    for words in ("not 1.1.1.1", "not for 1.1.1.1"):
        line = f"x509: certificate is valid for 2.2.2.2, {words}"
        patterns = [phrase_pattern(t) for who, t in ENTRIES["name-mismatch"].said if who == "Go"]
        assert any(m and m["name"] == "1.1.1.1" and m["valid"] == "2.2.2.2" for m in (p.search(line) for p in patterns))


OURS = sorted(
    {
        (entry.id, remedy.command)
        for entry in ENTRIES.values()
        for remedy in finding(entry).remedies
        if remedy.command.startswith("edgeward ")
    }
)


@pytest.mark.parametrize(("id_", "command"), OURS)
def test_every_command_of_ours_exists(id_: str, command: str) -> None:
    """Its words are parsed by the command line as it is; nothing runs."""
    words = shlex.split(command.partition(" | ")[0].partition(" > ")[0])[1:]
    found: click.Command = cli.command
    context = click.Context(found)
    while isinstance(found, click.Group) and not words[0].startswith("-"):
        name = words.pop(0)
        known = found.get_command(context, name)
        assert known is not None, f"{id_}: there is no command {name}"
        found = known
    found.make_context(found.name, words, resilient_parsing=False)
