"""The container file: no engine is needed to see that it can be parsed and that its steps make a program that runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "contrib" / "container" / "Containerfile"

INSTRUCTIONS = {
    "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD",
}  # fmt: skip


def instructions() -> list[tuple[str, str]]:
    text = re.sub(
        r"\\\n", " ", "".join(line + "\n" for line in FILE.read_text().splitlines() if not line.startswith("#"))
    )
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def test_it_is_made_of_known_instructions_runs_as_nobody_and_copies_what_is_there():
    found = instructions()
    assert {name for name, _ in found} <= INSTRUCTIONS
    assert [name for name, _ in found].count("FROM") == 2
    assert dict(found)["USER"] == "10001", "not root"
    for name, rest in found:
        if name in ("ENTRYPOINT", "CMD"):
            assert rest.startswith("["), "no shell between the engine and the program: signals reach it"
    assert "requirements.lock" in dict(found)["RUN"] or any("requirements.lock" in rest for _, rest in found)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_its_steps_make_a_program_that_runs_without_writing(tmp_path):
    """The RUN lines of the first stage, with another place instead of /opt and without the root of an image."""
    (steps,) = [rest for name, rest in instructions() if name == "RUN" and "venv" in rest]
    place = tmp_path / "opt" / "edgeward"
    steps = steps.replace("/opt/edgeward", str(place)).replace("python -m venv", f"{sys.executable} -m venv", 1)
    made = subprocess.run(["sh", "-ec", steps], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-3000:]
    environment = {"PATH": f"{place}/bin:{os.environ['PATH']}", "HOME": "/nowhere"}
    for arguments in (["--version"], ["agent", "--help"], ["agent", "status", "--dir", "/nowhere"]):
        said = subprocess.run(
            ["edgeward", *arguments], env=environment, cwd="/", capture_output=True, text=True, check=False
        )
        assert "Traceback" not in said.stderr
        assert said.returncode == (1 if "status" in arguments else 0), said
    quic = subprocess.run(
        [f"{place}/bin/python", "-c", "import edgeward.agent.over_quic"], env=environment, cwd="/", check=False
    )
    assert quic.returncode == 0
