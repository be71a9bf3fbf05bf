"""Every command of ours that a finding names is one that exists, with the options that it has."""

import shlex

import pytest
from click.testing import CliRunner

from edgeward.cli import command
from edgeward.services.doctor.catalogue import finding
from edgeward.services.doctor.entries import ENTRIES

OURS = sorted(
    {
        (entry.id, remedy.command)
        for entry in ENTRIES.values()
        for remedy in finding(entry, {"file": "a.pem", "directory": "data"}).remedies
        if remedy.command.startswith("edgeward ")
    }
)


@pytest.mark.parametrize(("id_", "typed"), OURS, ids=[f"{id_}: {typed}" for id_, typed in OURS])
def test_a_command_of_ours_is_one(id_: str, typed: str) -> None:
    words = shlex.split(typed.partition(" > ")[0].partition(" | ")[0])[1:]
    said = CliRunner().invoke(command, [*words, "--help"])
    assert said.exit_code == 0, said.output
    assert said.output.startswith("Usage: ")
