"""The doctor at a real Edgeward: each refusal is named, each command of ours that it gives is typed, and then nothing is wrong."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import run
from tests.support.server import Server, until


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("cloud"), "--advertise", "127.0.0.1")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def ca(cloud: Server, tmp_path: Path) -> Path:
    place = tmp_path / "ca.crt"
    place.write_bytes(cloud.run("ca", "export").octets)
    return place


def doctor(_cloud: Server, *arguments: str | Path) -> tuple[int, list[dict[str, Any]]]:
    said = run("doctor", *arguments, "--json")
    assert said.status in (0, 1), said.err
    return said.status, json.loads(said.octets)["findings"]


def cause(cloud: Server, *arguments: str | Path) -> dict[str, Any]:
    status, findings = doctor(cloud, *arguments)
    assert status == 1
    return findings[0]


def well(cloud: Server, *arguments: str | Path) -> None:
    status, findings = doctor(cloud, *arguments)
    assert status == 0, findings


def joined(cloud: Server, node: str, place: Path, **wanted: Any) -> tuple[str, ...]:
    """The options for the pair of a node that has joined."""
    token = place / f"{node}.token"
    token.write_text(cloud.token(node, **wanted))
    done = cloud.home.run(
        "join", f"https://127.0.0.1:{cloud.https}", "--hub", f"127.0.0.1:{cloud.hub}", "--token", f"@{token}", "--node", node,
        "--dir", place / node,
    )  # fmt: skip
    assert done.status == 0, done.err
    return ("--cert", str(place / node / "certs" / "server.crt"), "--key", str(place / node / "certs" / "server.key"))


def typed(cloud: Server, finding: dict[str, Any], pattern: str = "") -> None:
    """Type the first command of ours that the finding gives, for the data directory of this server."""
    commands = [
        one["command"]
        for one in finding["remedies"]
        if one["system"] == "edgeward" and re.search(pattern, one["command"])
    ]
    words = shlex.split(commands[0].partition(" > ")[0])
    assert words[0] == "edgeward"
    done = cloud.home.run(*words[1:], "--data", cloud.data)
    assert done.status == 0, done.err


def test_the_enrolment_port_is_well(cloud: Server, ca: Path) -> None:
    well(cloud, f"127.0.0.1:{cloud.https}", "--ca", ca)
    well(cloud, f"localhost:{cloud.https}")


def test_the_hub_is_well_and_no_session_is_opened(cloud: Server, ca: Path, tmp_path: Path) -> None:
    pair = joined(cloud, "edge-well", tmp_path)
    well(cloud, f"127.0.0.1:{cloud.hub}", "--ca", ca, *pair)
    assert cloud.state("edge-well") == "offline"
    assert "online_since" not in str(cloud.nodes()["edge-well"].get("online_since") or "")
    well(cloud, f"127.0.0.1:{cloud.hub}", "--ca", ca, *pair, "--connect")


def test_a_live_session_is_not_displaced(cloud: Server, ca: Path, tmp_path: Path) -> None:
    pair = joined(cloud, "edge-live", tmp_path)
    agent = cloud.home.start("agent", "--dir", tmp_path / "edge-live", log=tmp_path / "agent.log")
    try:
        until(lambda: cloud.state("edge-live") == "online", "the agent's session")
        since = cloud.nodes()["edge-live"]["since"]
        well(cloud, f"127.0.0.1:{cloud.hub}", "--ca", ca, *pair)
        assert cloud.nodes()["edge-live"]["since"] == since
        assert cloud.state("edge-live") == "online"
    finally:
        agent.terminate()
        agent.wait(20)


def test_a_name_that_is_missing_is_added_by_the_command_given(cloud: Server, ca: Path) -> None:
    asked = (f"127.0.0.1:{cloud.https}", "--ca", ca, "--name", "121.46.27.183")
    finding = cause(cloud, *asked)
    assert finding["id"] == "address-mismatch"
    assert finding["remedies"][0]["command"] == "edgeward advertise add 121.46.27.183"
    typed(cloud, finding)
    well(cloud, *asked)


def test_tokens(cloud: Server, ca: Path, tmp_path: Path) -> None:
    """Good, for another node, cut short, of another CA, spent, revoked, expired; and asking spends nothing."""
    place = tmp_path / "token"
    asked = (f"127.0.0.1:{cloud.https}", "--ca", ca, "--token", f"@{place}", "--node", "edge-t")
    place.write_text(good := cloud.token("edge-t"))
    well(cloud, *asked)
    well(cloud, *asked[:-2])
    assert cause(cloud, *asked[:-1], "edge-other")["id"] == "token-not-for-node"
    for told, id_ in ((good[:-9], "token-form"), (good[:70], "token-form"), ("0" * 64 + good[64:], "token-other-ca")):
        place.write_text(told)
        assert cause(cloud, *asked)["id"] == id_
    place.write_text(good[:-4] + ("AAAA" if not good.endswith("AAAA") else "BBBB"))
    assert cause(cloud, *asked)["id"] == "token-unknown"
    place.write_text(good)
    assert [one["used"] for one in cloud.api("GET", "/v1/tokens") if one["node"] == "edge-t"] == [0]
    done = cloud.home.run(
        "join", f"https://127.0.0.1:{cloud.https}", "--token", f"@{place}", "--node", "edge-t", "--dir", tmp_path / "t"
    )
    assert done.status == 0, done.err
    finding = cause(cloud, *asked)
    assert finding["id"] == "token-spent"
    place.write_text(cloud.run(*shlex.split(finding["remedies"][0]["command"].partition(" > ")[0])[1:]).out)
    well(cloud, *asked)


def test_a_token_that_was_revoked_or_has_expired(cloud: Server, ca: Path, tmp_path: Path) -> None:
    place = tmp_path / "token"
    asked = (f"127.0.0.1:{cloud.https}", "--ca", ca, "--token", f"@{place}", "--node", "edge-r")
    place.write_text(token := cloud.token("edge-r"))
    assert cloud.run("token", "revoke", token.split(".")[1]).status == 0
    assert cause(cloud, *asked)["id"] == "token-revoked"
    place.write_text(cloud.run("token", "new", "--node", "edge-r", "--ttl", "1s").out)
    until(lambda: doctor(cloud, *asked)[0] == 1, "the token's end")
    assert cause(cloud, *asked)["id"] == "token-expired"


def test_a_revoked_node_is_told_at_both_ports_and_let_back_by_the_command_given(
    cloud: Server, ca: Path, tmp_path: Path
) -> None:
    pair = joined(cloud, "edge-gone", tmp_path)
    cloud.revoke("edge-gone")
    hub = (f"127.0.0.1:{cloud.hub}", "--ca", ca)
    finding = cause(cloud, *hub, *pair)
    assert finding["id"] == "client-revoked"
    assert cause(cloud, f"127.0.0.1:{cloud.https}", "--ca", ca, *pair)["id"] == "client-revoked"
    command = finding["remedies"][0]["command"]
    assert command == "edgeward token new --node edge-gone --unblock > token"
    (tmp_path / "token").write_text(cloud.run(*shlex.split(command.partition(" > ")[0])[1:]).out)
    again = cloud.home.run(
        "join", f"https://127.0.0.1:{cloud.https}", "--hub", f"127.0.0.1:{cloud.hub}", "--token", f"@{tmp_path / 'token'}",
        "--node", "edge-gone", "--dir", tmp_path / "edge-gone",
    )  # fmt: skip
    assert again.status == 0, again.err
    well(cloud, *hub, *pair)


def test_the_wrong_port_and_no_pair(cloud: Server, ca: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(cloud.token("edge-p"))
    hub = f"127.0.0.1:{cloud.hub}"
    assert cause(cloud, hub, "--ca", ca)["id"] == "client-certificate-missing"
    assert cause(cloud, hub, "--ca", ca, "--token", f"@{tmp_path / 'token'}")["id"] == "hub-is-not-enrolment"
    assert cause(cloud, f"https://{hub}", "--ca", ca)["id"] == "hub-is-not-enrolment"
    assert cause(cloud, f"wss://127.0.0.1:{cloud.https}", "--ca", ca)["id"] == "enrolment-is-not-hub"


@pytest.mark.slow
def test_a_pair_of_another_authority(cloud: Server, ca: Path, tmp_path: Path) -> None:
    other = Server(tmp_path / "other")
    other.start()
    try:
        pair = joined(other, "edge-x", tmp_path)
    finally:
        other.stop()
    assert cause(cloud, f"127.0.0.1:{cloud.hub}", "--ca", ca, *pair)["id"] == "client-unknown-authority"


def test_another_node_than_the_certificate_s(cloud: Server, ca: Path, tmp_path: Path) -> None:
    pair = joined(cloud, "edge-a", tmp_path)
    asked = (f"127.0.0.1:{cloud.hub}", "--ca", ca, *pair, "--connect")
    finding = cause(cloud, *asked, "--node", "edge-b")
    assert finding["id"] == "wrong-identity"
    assert "--node edge-a" in finding["remedies"][0]["command"]
    well(cloud, *asked, "--node", "edge-a")


def test_the_json_is_whole(cloud: Server, ca: Path) -> None:
    said = run("doctor", f"127.0.0.1:{cloud.hub}", "--ca", ca, "--trace", "--json")
    told = json.loads(said.octets)
    assert set(told) == {"subject", "healthy", "findings", "facts"}
    assert told["facts"]["version"] == "TLSv1.3" and told["facts"]["trace"][0]["rows"]
