"""What people trip over on their first day: each mistake has its words, its exit status and the command that comes next."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeward.agent.enrol import refusal
from edgeward.errors import HandshakeFailed, NotFound, ServerRefused, Unreachable
from edgeward.files import write_private
from edgeward.testing import authority
from tests.support.cli import run

CERTIFICATE = authority().server("web.example")


@pytest.mark.parametrize("arguments", [("inspect",), ("lint",), ("fingerprint",)])
def test_a_full_disk_behind_the_output_is_said(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgeward", *arguments, str(CERTIFICATE.certificate_path)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
        )
    assert done.stderr == "error: cannot write the output: no space left on device\nhint: make room there: df -h\n"
    assert done.returncode == 69


def test_a_key_where_a_certificate_belongs() -> None:
    done = run("lint", CERTIFICATE.key_path)
    assert done.status == 65
    assert "holds no certificate, but 1 private key" in done.err


@pytest.mark.parametrize("command", [("agent",), ("agent", "status")])
def test_an_agent_s_directory_that_is_none(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = run(*command, "--dir", tmp_path)
    assert done.status == 1
    assert f"no node has joined in {tmp_path}" in done.err
    assert "hint: join first: edgeward join https://" in done.err


def test_a_new_ca_says_where_its_passphrase_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("EDGEWARD_PASSPHRASE", raising=False)
    done = run("ca", "new", "--ca-dir", tmp_path / "ca", "--name", "Example Root CA")
    (file,) = (tmp_path / ".config" / "edgeward" / "passphrases").iterdir()
    assert f"the passphrase of its key, {file}\n" in done.out
    monkeypatch.setenv("EDGEWARD_PASSPHRASE", "a-long-passphrase")
    done = run("ca", "new", "--ca-dir", tmp_path / "other", "--name", "Example Root CA")
    assert done.status == 0
    assert "passphrase" not in done.out


def test_what_the_server_advises_is_a_hint_and_no_escaped_line() -> None:
    found = refusal("https://h:10002/edge.crt", 403, "the token is spent\nhint: edgeward token new --node NAME")
    assert isinstance(found, ServerRefused)
    assert str(found) == "https://h:10002/edge.crt answered 403: the token is spent"
    assert found.hint == "edgeward token new --node NAME"
    assert not refusal("https://h:10002/edge.crt", 403, "no").hint


@pytest.mark.parametrize("kind", [Unreachable, HandshakeFailed])
def test_a_server_that_does_not_answer_as_it_should_is_one_for_the_doctor(
    kind: type[Unreachable] | type[HandshakeFailed],
) -> None:
    assert kind(address="[::1]:10002", why="x").hint == "find out why: edgeward doctor [::1]:10002"
    assert kind(address="cloud.example:10002", why="x").hint.endswith("doctor cloud.example:10002")
    for other in ("/srv/admin.sock", "the hub", "h:1 (UDP)", "h:1; rm -rf /", "$(id):1"):
        assert not kind(address=other, why="x").hint


def test_a_node_that_is_not_there_is_looked_for_in_the_list() -> None:
    assert NotFound(what="node", name="edge-9").hint == "see which there are: edgeward nodes"
    assert not NotFound(what="file", name="x").hint


def test_a_file_that_cannot_be_written_is_called_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with pytest.raises(Exception, match=f"cannot write {tmp_path}/plain/x: Not a directory") as failed:
        write_private(tmp_path / "plain" / "x", b"y")
    assert "ls -ld" in getattr(failed.value, "hint", "")


@pytest.mark.parametrize(
    "group",
    (
        "agent",
        "token",
        "message",
        "operator",
        "advertise",
        "ca",
        "kubeedge",
        "cert",
        "kit",
        "key",
        "csr",
        "audit",
        "trust",
    ),
)
def test_the_list_of_a_group_cuts_no_sentence(group: str) -> None:
    commands = run(group, "--help").out.partition("Commands:")[2]
    assert commands
    assert "..." not in commands
    assert max(map(len, commands.splitlines())) <= 100


def test_an_offline_ca_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would sign for whatever device comes, and its keys would be tidied away."""
    monkeypatch.setenv("EDGEWARD_PASSPHRASE", "correct horse battery")
    directory = tmp_path / "root"
    assert run("ca", "new", "--ca-dir", directory, "--name", "Example Root CA").status == 0
    before = sorted(path.name for path in (directory / "keys").iterdir())
    ports = ("--https-port", "0", "--hub-port", "0", "--listen", "127.0.0.1")
    done = run("up", "--data", directory, *ports)
    assert done.status == 2
    assert done.err.endswith(
        "error: this is the directory of the offline CA CN=Example Root CA, which signs when a person says so and not for devices\n"
        "hint: give the authority a directory of its own: edgeward up --data DIR\n"
    ), done.err
    assert sorted(path.name for path in (directory / "keys").iterdir()) == before
    assert run("ca", "show", "--ca-dir", directory).status == 0, "it is an offline CA as before"


@pytest.mark.parametrize("command", [("up",), ("nodes",), ("audit", "verify")])
def test_a_data_directory_that_is_a_file(tmp_path: Path, command: tuple[str, ...]) -> None:
    place = tmp_path / "edgeward.toml"
    place.write_text("[listen]\n")
    done = run(*command, "--data", place)
    assert done.status == 2
    assert f"'{place}' is a file" in done.err
    assert "hint: " in done.err
