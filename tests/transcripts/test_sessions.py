"""What people type and what they are answered, as text: see `README.md`."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.server import Server, server

SESSIONS = sorted((Path(__file__).parent / "sessions").glob("*.txt"))


@dataclass
class Step:
    """One command and what is expected of it."""

    line: int
    command: str
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    status: int = 0


def steps(text: str) -> Iterator[Step]:
    """The commands of a session."""
    step: Step | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("$ "):
            if step is not None:
                yield step
            step = Step(number, line[2:])
        elif line.startswith(("# ", "needs: ")) or step is None:
            continue
        elif line.startswith("> "):
            step.command += "\n" + line[2:]
        elif line.startswith("! "):
            step.err.append(line[2:])
        elif match := re.fullmatch(r"\[(\d+)\]", line):
            step.status = int(match[1])
        else:
            step.out.append(line)
    if step is not None:
        yield step


def matches(expected: list[str], said: str) -> bool:
    """Whether the text is what was expected of it."""
    lines = [r"(?:.*\n)*?" if one == "…" else ".*?".join(map(re.escape, one.split("…"))) + r"\n" for one in expected]
    text = said.rstrip("\n")
    return re.fullmatch("".join(lines), text + "\n" if text else "") is not None


@pytest.fixture
def authority() -> Iterator[Server]:
    with server() as one:
        yield one


@pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.stem)
def test_session(path: Path, authority: Server) -> None:
    text = path.read_text()
    for needed in re.findall(r"^needs: (\S+)", text, re.MULTILINE):
        if shutil.which(needed) is None:
            pytest.skip(f"NOT TESTED: this session needs {needed}, which is not installed")
    environment = shell(authority)
    for step in steps(text):
        done = subprocess.run(
            ["sh", "-c", step.command],
            env=environment,
            cwd=authority.directory / "here",
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        said = f"{path.name}:{step.line}: $ {step.command}\n{done.stdout}--- stderr\n{done.stderr}--- {done.returncode}"
        assert done.returncode == step.status, said
        assert matches(step.err, done.stderr), said
        assert matches(step.out, done.stdout), said
        assert "Traceback" not in done.stderr, said


def shell(authority: Server) -> dict[str, str]:
    """The environment of a person at a shell."""
    programs = authority.directory / "bin"
    programs.mkdir()
    (authority.directory / "here").mkdir()
    program = programs / "edgeward"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m edgeward "$@"\n')
    program.chmod(0o755)
    return authority.home.environment | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "EDGEWARD_DATA": str(authority.data),
        "HTTPS": str(authority.https),
        "HUB": str(authority.hub),
    }
