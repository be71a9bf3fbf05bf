"""Every command in docs/howto/from-openssl.md runs, in the order of the page, openssl's and ours."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.cli import run
from tests.support.programs import needs

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "from-openssl.md"


@needs("openssl")
def test_every_command_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEWARD_PASSPHRASE", "correct horse battery")
    count = 0
    for block in re.findall(r"^```sh[^\n]*\n(.*?)^```", PAGE.read_text(), re.M | re.S):
        for line in block.splitlines():
            if line.startswith("edgeward "):
                ours = run(*shlex.split(line)[1:])
                assert ours.status == 0, f"{line}\n{ours.err}"
            else:
                theirs = subprocess.run(["sh", "-c", line], capture_output=True, check=False)
                assert theirs.returncode == 0, f"{line}\n{theirs.stderr.decode()}"
            count += 1
    assert count > 40


@needs("openssl")
def test_what_the_page_quotes_is_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in (
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=ca",
        "openssl req -new -newkey rsa:2048 -nodes -keyout x.key -out x.csr -subj /CN=localhost",
        "openssl x509 -req -in x.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out x.crt",
    ):
        subprocess.run(shlex.split(line), capture_output=True, check=True)
    said = [line.strip() for line in run("inspect", "x.crt").out.splitlines()]
    quoted = re.search(r"^```text\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    assert quoted is not None
    for line in quoted[1].splitlines():
        assert line.strip() in said
