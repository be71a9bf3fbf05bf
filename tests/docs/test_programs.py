"""Every example in docs/howto/programs.md runs, in the order of the page."""

import ast
import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import pytest

from edgeward.testing import authority as new_authority
from tests.support.cli import run

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "programs.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.M | re.S)


def test_every_example_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    place: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in blocks("python"):
            exec(compile(ast.parse(block), str(PAGE), "exec"), place)
    said = capsys.readouterr().out
    assert "b'hello edge-1'" in said
    assert "the private key in client.key belongs to no certificate in server.crt\n" in said
    assert "see which belong together: edgeward key match client.key server.crt\npair-mismatch\n" in said
    assert re.search(r"^name\S* ", said, re.M), "verify says that the name is wrong"
    place["test_a_stranger_is_refused"](new_authority())
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) >= 2
    for line in commands:
        assert run(*shlex.split(line)[1:]).status == 0, line
