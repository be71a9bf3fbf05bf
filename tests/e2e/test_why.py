"""`edgeward why`: real clients fail, the story is told, the command in it is typed, and they connect."""

import shlex
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets.exceptions

from tests.e2e.test_failures import ELSEWHERE
from tests.support.fake_cloud import FakeCA
from tests.support.programs import needs
from tests.support.server import Pair, Server, acknowledged, server
from tests.support.world import csr, new_key


@pytest.fixture(scope="module")
def authority() -> Iterator[Server]:
    with server("--listen", "0.0.0.0") as one:  # a test on many addresses
        yield one


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("go") / "mutual"
    subprocess.run(["go", "build", "-o", program, "."], cwd=Path(__file__).parents[1] / "interop" / "go", check=True)
    return program


@needs("go")
def test_an_address_that_is_missing_is_told_added_and_then_works_without_dropping_a_connection(
    authority: Server, go: Path, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text(authority.api("GET", "/v1/ca")["pem"])
    pair = authority.device("edge-7")
    with authority.connect(pair, "edge-7") as live:
        assert acknowledged(live)

        def dial() -> "subprocess.CompletedProcess[bytes]":
            return subprocess.run(
                [go, "dial", f"{ELSEWHERE}:{authority.hub}", ca, "", ""], capture_output=True, check=False, timeout=30
            )

        refused = dial()
        assert f"not {ELSEWHERE}".encode() in refused.stderr

        said = authority.run("why", "127.0.0.1")
        assert said.status == 1
        story = f"127.0.0.1 (where edge-7 connected from) refused our certificate (alert bad certificate): it dialled {ELSEWHERE}"
        assert story in said.out
        assert "address-mismatch" in said.out
        told = authority.run("why", "127.0.0.1", "--json").json
        (command,) = [remedy["command"] for remedy in told["findings"][0]["remedies"] if remedy["system"] == "edgeward"]
        assert command == f"edgeward advertise add {ELSEWHERE}"

        assert authority.run(*shlex.split(command)[1:]).status == 0
        mended = dial()
        # it takes the server's certificate now; that it has none of its own is another story, which the hub tells it
        assert b"tls: certificate required" in mended.stderr, mended
        assert acknowledged(live), "the live session was dropped by the new certificate"
        assert authority.state("edge-7") == "online"

        now = {found["id"]: found for found in authority.run("why", "127.0.0.1", "--all", "--json").json["findings"]}
        assert now.pop("client-certificate-missing")["severity"] == "error"
        assert {found["severity"] for found in now.values()} == {"note"}, now
        assert "It is over: the certificate has" in authority.run("why", "127.0.0.1", "--all").out

        # and taken back: the certificate goes, the session stays
        assert authority.run("advertise", "remove", ELSEWHERE).status == 0
        assert f"not {ELSEWHERE}".encode() in dial().stderr
        assert ELSEWHERE not in authority.run("advertise", "list").out
        assert acknowledged(live)


def test_a_node_with_another_installations_certificate(authority: Server) -> None:
    key = new_key()
    foreign = Pair(FakeCA("KubeEdge").device(key.public_key(), "edge-9"), key)
    for _ in range(2):
        with pytest.raises((ssl.SSLError, OSError, websockets.exceptions.WebSocketException)):
            authority.connect(foreign, "edge-9")
    said = authority.run("why", "edge-9")
    assert said.status == 1
    assert "client-unknown-authority" in said.out
    assert "edge-9 at 127.0.0.1 showed a certificate of CN=KubeEdge" in said.out
    assert "edgeward token new --node edge-9 > token" in said.out


def test_a_revoked_node_and_its_way_back(authority: Server) -> None:
    pair = authority.device("edge-8")
    authority.revoke("edge-8")
    with pytest.raises(websockets.exceptions.InvalidStatus):
        authority.connect(pair, "edge-8")
    said = authority.run("why", "edge-8")
    assert said.status == 1
    assert "client-revoked" in said.out
    assert "edge-8 is revoked" in said.out
    assert "edgeward token new --node edge-8 --unblock > token" in said.out
    back = authority.run("token", "new", "--node", "edge-8", "--unblock")
    key = new_key()
    answer = authority.enrol("edge-8", back.out.strip(), csr("edge-8", key))
    assert answer.status == 200
    with authority.connect(Pair(answer.body, key), "edge-8") as live:
        assert acknowledged(live)
        said = authority.run("why", "edge-8")
        assert (said.status, "is over" in authority.run("why", "edge-8", "--all").out) == (0, True), said.out


def test_who_was_never_heard_of_and_what_is_no_target(authority: Server) -> None:
    said = authority.run("why", "edge-unheard")
    assert said.status == 1
    assert "no node edge-unheard was ever heard of here" in said.err
    assert authority.run("why", "a b").status == 2
    assert authority.run("why", "192.0.2.200").status == 1
    authority.device("edge-quiet")
    said = authority.run("why", "edge-quiet", "--json")
    assert said.json["facts"]["nodes"][0]["name"] == "edge-quiet"


def test_the_name_in_the_hello_counts_and_an_attacker_forges_nothing(authority: Server) -> None:
    context = authority.context()
    for name in ("wrong.example.com", "x" * 60 + ".example"):
        tcp = socket.create_connection(("127.0.0.1", authority.hub))
        with pytest.raises(ssl.SSLError), context.wrap_socket(tcp, server_hostname=name):
            pass
    said = authority.run("why", "127.0.0.1", "--json").json
    assert {"wrong.example.com"} <= {dict(found["facts"]).get("name") for found in said["findings"]}


def test_an_agent_of_ours_that_dials_a_name_which_is_missing(authority: Server, tmp_path: Path) -> None:
    """It judges the certificate after the handshake and closes politely, so there is no alert to learn from."""
    token = tmp_path / "token"
    token.write_text(authority.token("edge-ours"))
    token.chmod(0o600)
    url = f"https://127.0.0.5:{authority.https}"
    said = authority.home.run("join", url, "--token", f"@{token}", "--node", "edge-ours", "--dir", tmp_path / "edge")
    assert said.status == 69
    assert "not for 127.0.0.5" in said.err
    told = authority.run("why", "127.0.0.1", "--json").json
    found = {dict(one["facts"]).get("name"): one for one in told["findings"]}
    assert found["127.0.0.5"]["id"] == "address-mismatch"
    assert "without a word" in found["127.0.0.5"]["why"][0]
