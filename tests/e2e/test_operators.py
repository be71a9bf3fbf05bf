"""Operators elsewhere, for real: the port, the handshake, the command line and the client library, and what a revocation cuts."""

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from edgeward import testing
from edgeward.client import Answered, Client, MessageEvent, PresenceEvent
from edgeward.errors import NotRunning, Unreachable, UsageError
from tests.support.server import Pair, Server, free_port, message, receive, server, until


@pytest.fixture(scope="module")
def authority() -> Iterator[Server]:
    port = free_port()
    with server("--api-port", str(port)) as one:
        one.api_port = port  # type: ignore[attr-defined]
        yield one


def url(authority: Server) -> str:
    return f"https://127.0.0.1:{authority.api_port}"  # type: ignore[attr-defined]


def operator(authority: Server, name: str) -> Path:
    """The directory of a new operator."""
    place = authority.directory / f"operator-{name}"
    said = authority.run("operator", "new", name, "--out", place)
    assert said.status == 0, said
    assert {path.name for path in place.iterdir()} == {"ca.crt", "operator.crt", "operator.key"}
    assert (place / "operator.key").stat().st_mode & 0o777 == 0o600
    return place


def test_the_command_line_works_from_elsewhere(authority: Server) -> None:
    place = operator(authority, "carol")
    remote = {"EDGEWARD_SERVER": url(authority), "EDGEWARD_OPERATOR": str(place)}
    home = type(authority.home).at(authority.directory / "elsewhere", **remote)
    token = home.run("token", "new", "--node", "edge-remote")
    assert token.status == 0 and token.out.count(".") == 3
    assert home.run("nodes", "--json").status == 0
    refused = home.run("ca", "export", "--with-key", authority.directory / "ca.pem")
    assert refused.status != 0
    sent = home.run("send", "edge-none", "--operation", "update", "--resource", "default/configmap/x")
    assert sent.status == 1 and "no node edge-none" in sent.err
    again = home.run("operator", "new", "mallory", "--out", authority.directory / "mallory")
    assert again.status == 1 and "for the machine of the authority alone" in again.err
    assert home.run("operator", "list", "--json").json[0]["name"] == "carol"


def test_a_program_sends_waits_and_hears(authority: Server) -> None:
    pair = authority.device("edge-1")
    client = Client(server=url(authority), operator=operator(authority, "alice"))
    heard: list[object] = []
    ready = threading.Event()

    def listen() -> None:
        for event in client.subscribe(node="edge-1"):
            heard.append(event)
            ready.set()
            if isinstance(event, MessageEvent):
                return

    listening = threading.Thread(target=listen, daemon=True)
    listening.start()
    with contextlib.ExitStack() as stack:
        waiting = client.send(
            "edge-1", operation="update", resource="default/configmap/x", content={"a": 1}, msg_id="first"
        )
        assert waiting.state == "queued" and client.queues()[0].node == "edge-1"
        while not ready.is_set():  # the subscription stands when it hears of a connection
            connection = stack.enter_context(authority.connect(pair, "edge-1"))
            ready.wait(2)
        got = receive(connection)
        assert (got["header"]["msg_id"], got["content"]) == ("first", {"a": 1})
        answer = message("response", got["route"]["resource"], "OK", msg_id="r", parent_msg_id="first")
        connection.send(answer)
        until(lambda: client.receipt("first").state == "acknowledged", "the acknowledgement")
        connection.send(message("upload", "default/x", {"t": 21}))
        listening.join(20)
    assert not listening.is_alive()
    assert isinstance(heard[0], PresenceEvent) and isinstance(heard[-1], MessageEvent)
    assert client.node("edge-1").certificate is not None
    assert until(lambda: client.timeline("edge-1"), "its history")[-1].event == "online"
    with pytest.raises(Answered) as caught:
        client.send("edge-9", operation="update", resource="x")
    assert (caught.value.code, caught.value.status) == ("not-found", 404)
    assert client.cancel("first") is False
    made = client.new_token("edge-8")
    assert (
        made.token.count(".") == 3
        and client.revoke_token(made.key_id)
        and made.key_id in [t.key_id for t in client.tokens()]
    )


def test_t21_the_handshake_turns_strangers_away_and_the_row_turns_devices_away(authority: Server) -> None:
    port = authority.api_port  # type: ignore[attr-defined]

    def get(pair: Pair | None) -> int:
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=authority.context(pair), timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/v1/nodes")
            return connection.getresponse().status

    assert get(authority.device("edge-2")) == 403
    for stranger in (None, foreign()):
        with pytest.raises((ssl.SSLError, OSError)):
            get(stranger)


def test_t12_whoever_is_no_operator_sends_nothing_large(authority: Server) -> None:
    """TLS lets devices in, and operators who were revoked; the 40 MiB of a message are for operators."""
    alice, eve = operator(authority, "alice-large"), operator(authority, "eve")
    assert authority.run("operator", "revoke", "eve").status == 0
    device = authority.context(authority.device("edge-4"))
    revoked = ssl.create_default_context(cafile=str(eve / "ca.crt"))
    revoked.load_cert_chain(eve / "operator.crt", eve / "operator.key")
    size = 39_000_000
    for context in (device, revoked):
        with socket.create_connection(("127.0.0.1", authority.api_port), timeout=20) as tcp:  # type: ignore[attr-defined]
            peer = context.wrap_socket(tcp, server_hostname="127.0.0.1")
            peer.sendall(b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % size)
            peer.sendall(b"x" * 100_000)
            assert peer.recv(100).startswith(b"HTTP/1.1 403 ")
    with pytest.raises(Answered) as caught:
        Client(server=url(authority), operator=alice).send("edge-none", operation="o", resource="r", content="x" * size)
    assert caught.value.status in (404, 413)


def foreign() -> Pair:
    """A pair of another authority."""
    made = testing.authority().client("alice")
    key = serialization.load_pem_private_key(made.key, None)
    return Pair(x509.load_pem_x509_certificate(made.certificate).public_bytes(serialization.Encoding.DER), key)  # type: ignore[arg-type]


def test_t34_t58_a_revoked_operator_is_cut_at_once_and_comes_back_to_a_refusal(authority: Server) -> None:
    place = operator(authority, "bob")
    client = Client(server=url(authority), operator=place)
    assert client.nodes() is not None
    stream = client._request("GET", "/v1/events", None)
    assert stream.readline().startswith(b": connected")
    ended: list[str] = []

    def read() -> None:
        try:
            while stream.readline():
                pass
            ended.append("closed")
        except Exception as error:
            ended.append(type(error).__name__)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    assert authority.run("operator", "revoke", "bob").status == 0
    reading.join(5)
    assert ended
    with pytest.raises(Answered) as caught:
        client.nodes()
    assert (caught.value.code, caught.value.status) == ("operator-refused", 403)
    assert authority.run("operator", "revoke", "bob").status == 1


def test_what_a_client_is_told_when_nobody_is_there(tmp_path: Path, authority: Server) -> None:
    with pytest.raises(NotRunning):
        Client(tmp_path).nodes()
    with pytest.raises(UsageError, match="either"):
        Client()
    with pytest.raises(UsageError, match="https"):
        Client(server="http://127.0.0.1", operator=tmp_path)
    with pytest.raises(UsageError, match="operator"):
        Client(server="https://127.0.0.1")
    with pytest.raises(UsageError, match=r"ca\.crt"):
        Client(server="https://127.0.0.1", operator=tmp_path)
    place = operator(authority, "dave")
    with pytest.raises(Unreachable):
        Client(server=f"https://127.0.0.1:{free_port()}", operator=place).nodes()
    with pytest.raises(Unreachable, match="TLS"):  # the hub's own port speaks TLS and no API
        (place / "ca.crt").write_bytes(testing.authority().certificate)
        Client(server=url(authority), operator=place).nodes()


def test_what_a_new_operator_types_is_said_with_the_port_that_is_open(authority: Server) -> None:
    place = authority.directory / "operator erin"
    said = authority.run("operator", "new", "erin", "--out", place)
    assert f"EDGEWARD_SERVER={url(authority)} EDGEWARD_OPERATOR='{place}'" in said.err
    said = authority.run("operator", "new", "frank", "--out", "frank", cwd=authority.directory)
    assert "EDGEWARD_OPERATOR=$PWD/frank" in said.err, "it is good in every directory of theirs"
    with server() as closed:
        said = closed.run("operator", "new", "erin", "--out", closed.directory / "erin")
        assert "does not listen for operators yet: edgeward up --api-port 10010" in said.err


def test_the_tokens_of_a_revoked_operator_are_named_with_what_takes_them_back(authority: Server) -> None:
    frank = Client(server=url(authority), operator=operator(authority, "frank"))
    one, many = frank.new_token("edge-f"), frank.new_token(pattern="shop-*", uses=20)
    said = authority.run("operator", "revoke", "frank")
    assert said.status == 0
    lines = said.err.splitlines()
    assert lines[0] == "warning: 2 join tokens that frank made can still be used"
    assert lines[1].startswith(f"  {one.key_id} for edge-f, used 0 of 1 times, until 20")
    assert lines[2].startswith(f"  {many.key_id} for pattern shop-*, used 0 of 20 times, until 20")
    assert lines[3] == "hint: take them back: edgeward operator revoke frank --tokens"
    assert authority.enrol("shop-1", many.token).status == 200
    said = authority.run(*lines[3].partition(": edgeward ")[2].split())
    assert said.status == 0 and not said.err
    assert [line.split()[2] for line in said.out.splitlines()] == [one.key_id, many.key_id]
    assert authority.enrol("shop-2", many.token).status == 403
    again = authority.run("operator", "revoke", "frank", "--tokens")
    assert again.status == 1 and "no operator with a valid certificate frank" in again.err


def test_a_revocation_by_serial_names_them_too(authority: Server) -> None:
    grace = Client(server=url(authority), operator=operator(authority, "grace"))
    made = grace.new_token("edge-g")
    (serial,) = [
        one["certificate"]["serial"] for one in authority.api("GET", "/v1/operators") if one["name"] == "grace"
    ]
    said = authority.run("revoke", f"serial:{serial}")
    assert said.status == 0 and f"revoked certificate {serial} of grace" in said.out
    assert f"  {made.key_id} for edge-g" in said.err and "edgeward operator revoke grace --tokens" in said.err
