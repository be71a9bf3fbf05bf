"""Every command in docs/howto/offline-ca.md runs, in the order of the page."""

import re
import shlex
from pathlib import Path

import pytest

from tests.support.cli import run

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "offline-ca.md"


def test_every_command_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEWARD_PASSPHRASE", "correct horse battery")
    said = ""
    for block in re.findall(r"^```sh[^\n]*\n(.*?)^```", PAGE.read_text(), re.M | re.S):
        for line in block.splitlines():
            if line.startswith("printf"):
                (tmp_path / "password.txt").write_text("a-long-password\n")
                continue
            if line.startswith("mkdir "):
                made, _, line = line.partition(" && ")  # noqa: PLW2901 - the rest of the line
                (tmp_path / made.removeprefix("mkdir ")).mkdir()
            done = run(*shlex.split(line)[1:])
            assert done.status == 0, f"{line}\n{done.err}"
            said += done.out
    assert "0 signed, 2 had their certificate before" in said
