"""`edgeward join` and `edgeward agent` as people use them, against a small enrolment server."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest
from tests.support.fake_cloud import FakeCA, FakeCloud, running

from edgeward import cli
from edgeward.agent.certificates import Certificates
from edgeward.agent.join import addresses
from edgeward.errors import UsageError
from edgeward.model.token import Hints, JoinToken, make
from edgeward.pki import parse


@pytest.fixture(scope="module")
def ca() -> FakeCA:
    return FakeCA()


@pytest.fixture
def cloud(ca, tmp_path):
    with running(FakeCloud(ca), ca.server_context(tmp_path, "127.0.0.1")) as up:
        yield up


@pytest.fixture
def token(cloud, tmp_path):
    file = tmp_path / "token"
    file.write_text(cloud.token + "\n")
    file.chmod(0o600)
    return f"@{file}"


def join(cloud: FakeCloud, token: str, directory, *more: str, node: str = "edge-1") -> int:
    return cli.run(
        ["join", f"https://{cloud.address}", "--token", token, "--node", node, "--dir", str(directory), *more]
    )


def test_join_writes_the_directory_and_says_what_it_did(cloud, token, tmp_path, capsys):
    assert join(cloud, token, tmp_path / "edge") == 0
    said = capsys.readouterr().out
    files = Certificates(tmp_path / "edge")
    with files.locked():
        pair = files.pair()
        settings = files.settings()
        assert files.ca() == cloud.ca.der
    assert settings.node == "edge-1"
    assert [str(e) for e in settings.https] == [cloud.address]
    assert [str(e) for e in settings.hub] == ["127.0.0.1:10000"]
    for words in (
        "edge-1",
        cloud.ca.pin[:16],
        f"{pair.certificate.serial_number:x}",
        f"edgeward agent --dir {tmp_path}/edge",
    ):
        assert words in said
    assert stat.S_IMODE((tmp_path / "edge").stat().st_mode) == 0o700
    assert not list((tmp_path / "edge").glob("pending-*"))


def test_join_speaks_json(cloud, token, tmp_path, capsys):
    assert join(cloud, token, tmp_path / "edge", "--json", "--hub", "hub.example") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["node"] == "edge-1"
    assert said["hub"] == ["hub.example:10000"]
    assert said["ca_sha256"] == cloud.ca.pin
    assert said["not_after"].endswith("Z")
    with Certificates(tmp_path / "edge").locked():
        assert int(said["serial"], 16) == Certificates(tmp_path / "edge").pair().certificate.serial_number


def test_without_a_directory_it_is_in_the_state_home_and_the_agent_finds_it(
    cloud, token, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    command = ["join", f"https://{cloud.address}", "--token", token, "--node"]
    assert cli.run(["agent"]) == 1
    assert "join first" in capsys.readouterr().err
    assert cli.run([*command, "edge-1"]) == 0
    assert "edgeward agent\n" in capsys.readouterr().out
    assert (tmp_path / "state/edgeward/agent/edge-1/certs/server.key").exists()
    assert cli.run([*command, "edge-2"]) == 0
    assert cli.run(["agent"]) == 2
    assert "several nodes" in capsys.readouterr().err


def spki(asked) -> bytes:
    return parse.spki(asked.csr.public_key())


def test_a_lost_answer_is_asked_for_again_with_the_same_key(cloud, token, tmp_path, capsys):
    issued = {}

    def lose(asked):
        issued[spki(asked)] = cloud.sign(asked)
        return lambda shell: None  # closes without a word

    cloud.edge_crt = lose
    assert join(cloud, token, tmp_path / "edge") == 69
    assert "error: " in capsys.readouterr().err
    (pending,) = (tmp_path / "edge").glob("pending-*")
    assert stat.S_IMODE(pending.stat().st_mode) == 0o600
    assert not (tmp_path / "edge/certs").exists()
    cloud.edge_crt = lambda asked: issued[spki(asked)]
    assert join(cloud, token, tmp_path / "edge") == 0
    assert "not answered" in capsys.readouterr().out
    assert not pending.exists()


def test_another_token_means_another_key(cloud, token, tmp_path):
    cloud.edge_crt = lambda asked: (500, b"out of order")
    assert join(cloud, token, tmp_path / "edge") == 69
    (tmp_path / "token").write_text(cloud.token.replace("0123", "4567"))
    assert join(cloud, token, tmp_path / "edge") == 69
    keys = [asked.csr.public_key() for asked in cloud.asked if asked.path == "/edge.crt"]
    assert keys[0] != keys[1]


@pytest.mark.parametrize("answer", [(500, b"no"), (200, b""), (200, b"x")])
def test_a_join_that_fails_leaves_an_earlier_one_as_it_was(cloud, token, tmp_path, answer):
    assert join(cloud, token, tmp_path / "edge") == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "edge").rglob("*") if p.is_file() and p.suffix != ".key"}
    cloud.edge_crt = lambda asked: answer
    assert join(cloud, token, tmp_path / "edge") != 0
    after = {p.name: p.read_bytes() for p in (tmp_path / "edge").rglob("*") if p.is_file() and p.suffix != ".key"}
    assert after == before


def test_joining_again_keeps_what_a_person_changed_and_not_for_another_node(cloud, token, tmp_path, capsys):
    assert join(cloud, token, tmp_path / "edge") == 0
    file = tmp_path / "edge/agent.toml"
    file.write_text(file.read_text().replace('project = "', 'project = "x-'))
    assert join(cloud, token, tmp_path / "edge") == 0
    assert 'project = "x-' in file.read_text()
    assert join(cloud, token, tmp_path / "edge", node="edge-2") == 2
    assert "belongs to node edge-1" in capsys.readouterr().err


def test_t16_a_wrong_ca_is_refused_with_a_hint_and_exit_1(cloud, token, tmp_path, capsys):
    cloud.offered_ca = FakeCA().der
    assert join(cloud, token, tmp_path / "edge") == 1
    said = capsys.readouterr().err
    assert "error: the server's CA is" in said
    assert "hint: " in said


def test_t17_the_token_is_nowhere_but_in_its_file(cloud, token, tmp_path, capsys):
    cloud.edge_crt = lambda asked: (401, asked.headers["authorization"].encode())
    assert join(cloud, token, tmp_path / "edge") == 1
    cloud.edge_crt = cloud.sign
    assert join(cloud, token, tmp_path / "edge") == 0
    said = capsys.readouterr()
    assert "s3cr3t" not in said.out + said.err
    for file in (tmp_path / "edge").rglob("*"):
        assert not file.is_file() or b"s3cr3t" not in file.read_bytes()
        assert "s3cr3t" not in file.name


def test_a_literal_token_works_with_a_warning_that_does_not_show_it(cloud, tmp_path, capsys):
    assert join(cloud, cloud.token, tmp_path / "edge") == 0
    said = capsys.readouterr()
    assert "warning:" in said.err
    assert "s3cr3t" not in said.out + said.err


@pytest.mark.parametrize(("node", "status"), [("../x", 65), ("Edge", 65), ("", 65), ("a" * 53, 65)])
def test_t09_bad_node_names_are_refused_before_anything_is_written(cloud, token, tmp_path, node, status, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert cli.run(["join", f"https://{cloud.address}", "--token", token, "--node", node]) == status
    assert not (tmp_path / "state").exists()
    assert not cloud.asked


# --------------------------------------------------------------------------------------------------------------- addresses


def hinted(**hints) -> JoinToken:
    return make("0" * 64, Hints(**hints), key_id=b"k" * 8, secret=b"s" * 32)[0]


def shown(token: JoinToken, url: str | None = None, hub: str | None = None) -> tuple[list[str], list[str]]:
    servers, hubs = addresses(token, url, hub)
    return [str(e) for e in servers], [str(e) for e in hubs]


def test_what_is_given_counts_then_the_hints_then_the_servers_host():
    token = hinted(https=("a:1", "b:2"), hub=("h:3",))
    assert shown(token) == (["a:1", "b:2"], ["h:3"])
    assert shown(token, "https://c") == (["c:10002"], ["h:3"])
    assert shown(token, None, "d:4") == (["a:1", "b:2"], ["d:4"])
    assert shown(hinted(), "https://[fd00::1]:7") == (["[fd00::1]:7"], ["[fd00::1]:10000"])
    assert shown(hinted(https=("a:1", "b:2"))) == (["a:1", "b:2"], ["a:10000", "b:10000"])
    with pytest.raises(UsageError, match="give its URL"):
        shown(hinted())


def test_the_next_hint_is_tried_when_one_does_not_answer(cloud, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        hints = Hints(https=(f"127.0.0.1:{closed.getsockname()[1]}", cloud.address), hub=("127.0.0.1:5",))
        token = make(cloud.ca.pin, hints, key_id=b"k" * 8, secret=b"s" * 32)[0]
        (tmp_path / "token").write_text(token.reveal())
        (tmp_path / "token").chmod(0o600)
        command = ["join", "--token", f"@{tmp_path}/token", "--node", "edge-1", "--dir", str(tmp_path / "edge")]
        assert cli.run(command) == 0


# --------------------------------------------------------------------------------------------------------------- processes


def lines_of(process: subprocess.Popen, words: str) -> str:
    """What the process says up to the line with `words`."""
    said = ""
    deadline = time.monotonic() + 20
    while words not in said and time.monotonic() < deadline:
        line = process.stderr.readline()
        assert line, said
        said += line
    return said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_agent_stops_when_asked_with_exit_0_and_there_is_only_one(cloud, token, tmp_path, number):
    assert join(cloud, token, tmp_path / "edge", "--hub", "127.0.0.1:1") == 0
    command = [sys.executable, "-m", "edgeward", "agent", "--dir", str(tmp_path / "edge")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        said = lines_of(process, "not connected")
        assert "will be renewed at" in said
        assert "Traceback" not in said
        assert join(cloud, token, tmp_path / "edge") == 69
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stderr.read().rstrip().endswith("stopped")
    assert join(cloud, token, tmp_path / "edge") == 0
