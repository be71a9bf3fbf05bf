"""The documentation says what is so: its links lead somewhere, and the commands it shows exist with the options it gives them."""

import re
import shlex
from pathlib import Path

import click
import pytest

from edgeward import cli

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
_LINK = re.compile(r"\[[^\]]+\]\((?!https?:|#|mailto:)([^)#\s]+)")
_COMMAND = re.compile(r"(?:^|[\s`(|&])edgeward ([a-z][a-z-]*(?: [^`\n|>&;)]*)?)", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    broken = [link for link in _LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not broken


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / link).resolve() for link in _LINK.findall(index.read_text())}
    pages = {page for page in ROOT.glob("docs/**/*.md") if page.parent.name != "decisions" and page != index}
    assert not pages - listed


def test_decisions_are_numbered_once_without_gaps() -> None:
    numbers = sorted(int(page.name[:4]) for page in ROOT.glob("docs/decisions/*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def shown_commands() -> list[tuple[str, str]]:
    """Every `edgeward …` inside a code block or in backticks, with the page it is on."""
    found = []
    for page in PAGES:
        text = page.read_text()
        code = re.findall(r"```(?:console|sh|shell|bash)\n(.*?)```", text, re.DOTALL) + re.findall(
            r"`(edgeward [^`\n]+)`", text
        )
        found += [(str(page.relative_to(ROOT)), match.strip()) for block in code for match in _COMMAND.findall(block)]
    return found


@pytest.mark.parametrize(("page", "line"), sorted(set(shown_commands())))
def test_every_command_shown_exists(page: str, line: str) -> None:
    words = shlex.split(line.split(" #", maxsplit=1)[0].split("…", maxsplit=1)[0].replace("\\", " "))
    command: click.Command = cli.command
    context = click.Context(command)
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"{page} shows `edgeward {line}`, and there is no command {name}"
        command = found
    options = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
    unknown = [
        word.split("=")[0]
        for word in words
        if re.match(r"--[a-z]", word) and word.split("=")[0] not in options | {"--help", "--version"}
    ]
    assert not unknown, f"{page} shows `edgeward {line}`, which knows no {unknown}"


def test_nothing_speaks_of_the_place_where_it_was_made() -> None:
    suspicious = re.compile(r"\.\./shared|/work/|pypi\.org|/tmp/venv")
    files = [
        p for p in ROOT.rglob("*") if p.is_file() and p.suffix in {".py", ".md", ".toml", ".lock", ".go", ".service"}
    ]
    mine = Path(__file__)
    found = [
        str(path.relative_to(ROOT))
        for path in files
        if not {".venv", ".git", "node_modules"} & set(path.relative_to(ROOT).parts) and path != mine
        if suspicious.search(path.read_text("utf-8", "replace"))
    ]
    assert not found
