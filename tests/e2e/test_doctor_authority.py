"""`edgeward doctor` on a running authority: silent while it is well, and with what mends it when it is not."""

import shlex
import socket
import sqlite3
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import Server, server


@pytest.fixture(scope="module")
def authority() -> Iterator[Server]:
    with server("--advertise", "cloud.example.com") as one:
        yield one


def findings(authority: Server) -> dict[str, dict[str, object]]:
    """What is found, but for what the machine that tests run on may lack."""
    said = authority.run("doctor", "--json")
    assert said.status in (0, 1), said
    found = {one["id"]: one for one in said.json["findings"] if not one["id"].startswith("disk-")}
    assert said.json["healthy"] == (said.status == 0)
    return found


def test_a_fresh_authority_is_well_and_says_what_was_looked_at(authority: Server) -> None:
    assert findings(authority) == {}
    said = authority.run("doctor").out
    assert "0 nodes, 0 online" in said
    assert "cloud.example.com" in said


def test_without_a_server_there_is_nothing_to_ask(authority: Server, tmp_path: object) -> None:
    said = authority.home.run("doctor", "--data", str(tmp_path))
    assert said.status == 69
    assert "no edgeward is running" in said.err


def test_a_name_that_clients_dial_and_the_certificate_lacks(authority: Server) -> None:
    strict = authority.context()
    tcp = socket.create_connection(("127.0.0.1", authority.hub))
    with pytest.raises(ssl.SSLCertVerificationError), strict.wrap_socket(tcp, server_hostname="edge.example.net"):
        pass
    (found,) = findings(authority).values()
    assert found["id"] == "name-mismatch"
    command = next(one["command"] for one in found["remedies"] if one["system"] == "edgeward")  # type: ignore[attr-defined]
    assert command == "edgeward advertise add edge.example.net"
    assert authority.run(*shlex.split(command)[1:]).status == 0
    assert findings(authority) == {}


def test_a_node_that_keeps_failing_until_it_is_back(authority: Server) -> None:
    token = authority.token("edge-again")
    assert authority.enrol("edge-again", token).status == 200
    for _ in range(2):
        authority.enrol("edge-again", token)
    assert findings(authority) == {}
    authority.enrol("edge-again", token)
    (found,) = findings(authority).values()
    assert found["id"] == "token-spent"
    assert "edge-again at 127.0.0.1 was refused" in found["why"][0]  # type: ignore[index]
    with authority.connect(authority.device("edge-again"), "edge-again"):
        assert findings(authority) == {}


def test_a_token_for_many_that_ends_soon(authority: Server) -> None:
    made = authority.api("POST", "/v1/tokens", {"pattern": "edge-*", "uses": 10, "lifetime_seconds": 3600})
    assert list(findings(authority)) == ["tokens-end-unused"]
    authority.api("POST", f"/v1/tokens/{made['key_id']}/revoke")
    assert findings(authority) == {}


def test_modes_of_the_data_directory(authority: Server) -> None:
    database = authority.data / "edgeward.db"
    database.chmod(0o644)
    (found,) = findings(authority).values()
    assert found["id"] == "key-mode"
    database.chmod(0o600)
    assert findings(authority) == {}


def test_a_record_that_was_changed(authority: Server) -> None:
    with sqlite3.connect(authority.data / "edgeward.db", timeout=20) as database:
        ((actor,),) = database.execute("SELECT actor FROM audit WHERE n = 2").fetchall()
        database.execute("UPDATE audit SET actor = 'nobody' WHERE n = 2")
    (found,) = findings(authority).values()
    assert found["id"] == "data-audit"
    assert "record 2" in str(found["what"])
    with sqlite3.connect(authority.data / "edgeward.db", timeout=20) as database:
        database.execute("UPDATE audit SET actor = ? WHERE n = 2", (actor,))
    database.close()
    assert findings(authority) == {}


def test_rows_that_a_crash_left(authority: Server) -> None:
    authority.device("edge-planned")
    with sqlite3.connect(authority.data / "edgeward.db", timeout=20) as database:
        database.execute("UPDATE certificate SET state = 'planned', planned_at = 0 WHERE identity = 'edge-planned'")
    database.close()
    assert list(findings(authority)) == ["data-planned"]
    authority.restart()  # which sets the advertised names to those of its command line again
    assert "data-planned" not in findings(authority)


def test_a_join_that_tries_its_addresses_leaves_no_failure_behind(authority: Server, tmp_path: Path) -> None:
    before = authority.api("GET", "/v1/failures?limit=1000")
    token = tmp_path / "token"
    token.write_text(authority.token("edge-join"))
    token.chmod(0o600)
    said = authority.home.run(
        "join", f"https://localhost:{authority.https}", "--hub", f"localhost:{authority.hub}", "--token", f"@{token}",
        "--node", "edge-join", "--dir", tmp_path / "edge", "--json",
    )  # fmt: skip
    assert said.status == 0, said
    assert [(one["answers"], one["named"]) for one in said.json["tried"]] == [(True, True), (True, True)]
    assert authority.api("GET", "/v1/failures?limit=1000") == before
