"""The hub over real mutual TLS: who gets in, who is cut, and what an operator sees of it."""

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import websockets.exceptions
from websockets.sync.client import ClientConnection

from tests.support.fake_cloud import FakeCA
from tests.support.server import Pair, Server, acknowledged, free_port, message, receive, server, until
from tests.support.world import csr, new_key

PROMISED = 5.0
"""Seconds from a revocation to the end of the session."""


def refusal(authority: Server, pair: Pair, node: str, **more: Any) -> tuple[int, str]:
    """Status and words of a connection that is refused before the upgrade."""
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        authority.connect(pair, node, **more)
    response = refused.value.response
    return response.status_code, (response.body or b"").decode()


def closed(connection: ClientConnection, seconds: float = 10) -> tuple[int | None, float]:
    """Wait for the end: the code of the close frame, None without one, and the seconds that it took."""
    began = time.monotonic()
    try:
        while True:
            connection.recv(timeout=seconds)
    except websockets.exceptions.ConnectionClosed as error:
        return (None if error.rcvd is None else error.rcvd.code), time.monotonic() - began


# ------------------------------------------------------------------------------------------------------ an ordinary day


def test_a_node_connects_and_its_control_messages_are_acknowledged(authority: Server) -> None:
    pair = authority.device("day-1")
    with authority.connect(pair, "day-1") as connection:
        for operation in ("ping", "pong", "config"):
            connection.send(message(operation, "membership", msg_id=f"id-{operation}") + "\n")
            answer = receive(connection)
            assert answer["header"]["parent_msg_id"] == f"id-{operation}"
            assert (answer["route"]["operation"], answer["content"]) == ("response", "ack")
        until(lambda: authority.state("day-1") == "online")
        shown = authority.run("nodes", "--json").json
        node = next(one for one in shown if one["name"] == "day-1")
        assert node["address"] == "127.0.0.1" and node["since"].endswith("Z")
        assert set(node["certificate"]) >= {"serial", "not_after"} and int(node["certificate"]["serial"], 16)
    until(lambda: authority.state("day-1") == "offline")
    assert authority.nodes()["day-1"]["cause"] == "closed"


def test_a_connection_that_breaks_is_offline(authority: Server) -> None:
    connection = authority.connect(authority.device("day-2"), "day-2")
    until(lambda: authority.state("day-2") == "online")
    connection.socket.shutdown(socket.SHUT_RDWR)
    until(lambda: authority.state("day-2") == "offline")


def test_repeated_headers_of_a_real_edge_do_no_harm(authority: Server) -> None:
    pair = authority.device("day-3")
    with authority.connect(pair, "day-3", headers=[("Connectionuse", "msg")] * 5) as connection:
        assert acknowledged(connection)


def test_send_waits_for_the_answer_and_watch_sees_it(authority: Server) -> None:
    with authority.connect(authority.device("day-4"), "day-4") as connection:
        until(lambda: authority.state("day-4") == "online")
        log = authority.directory / "watch.out"
        watch = authority.home.start("watch", "--count", "1", "--data", authority.data, log=log)
        try:

            def answer() -> None:
                asked = receive(connection)
                assert (asked["route"]["source"], asked["route"]["group"]) == ("edgecontroller", "resource")
                assert asked["content"] == {"interval": 30}
                connection.send(
                    message("response", asked["route"]["resource"], "OK", parent_msg_id=asked["header"]["msg_id"])
                )

            edge = threading.Thread(target=answer)
            edge.start()
            until(lambda: watching(watch), "a watcher")
            said = authority.run(
                "send", "day-4", '{"interval": 30}', "--operation", "update", "--resource", "default/configmap/x",
                "--wait", "10", "--json",
            )  # fmt: skip
            edge.join()
            assert said.status == 0 and said.json["answer"]["content"] == "OK"
            assert said.json["answer"]["header"]["parent_msg_id"] == said.json["msg_id"]
            assert watch.wait(10) == 0
            seen = json.loads(log.read_text().splitlines()[-1])
            assert seen["node"] == "day-4" and seen["message"]["content"] == "OK" and "received" in seen
        finally:
            watch.kill()
            watch.wait()
    until(lambda: authority.state("day-4") == "offline")
    said = authority.run("send", "day-4", "x", "--operation", "update", "--resource", "default/configmap/x")
    assert said.status == 0 and said.out.split()[1:] == ["queued"]


def watching(process: subprocess.Popen[bytes]) -> bool:
    """Whether a `watch` is past its start: it has its socket and waits."""
    try:
        sockets = [str(entry.readlink()) for entry in Path(f"/proc/{process.pid}/fd").iterdir()]
        waits = Path(f"/proc/{process.pid}/wchan").read_text()
    except OSError:
        return False
    return any(one.startswith("socket:") for one in sockets) and bool(waits)


def test_an_answer_that_does_not_come(authority: Server) -> None:
    with authority.connect(authority.device("day-5"), "day-5"):
        until(lambda: authority.state("day-5") == "online")
        asked = {"node": "day-5", "operation": "query", "resource": "default/status/x", "wait": 0.2}
        assert authority.api("POST", "/v1/messages", asked)["answer"] is None


# ----------------------------------------------------------------------------------------------------- T-33, T-41, names


def test_t33_another_nodes_name_is_refused(authority: Server) -> None:
    mine = authority.device("t33-a")
    authority.device("t33-b")
    for claimed in ("t33-b", "t33-none"):
        with authority.refuses():
            status, words = refusal(authority, mine, claimed)
            assert status == 403 and "t33-a" in words, words
    for claimed in ("../t33-a", "T33-A", "t33-a.", "t33-a t33-b", "x" * 300):
        with authority.refuses():
            assert upgrade(authority, authority.context(mine), f"Node_id: {claimed}\r\nConnectionuse: msg\r\n") in (
                400,
                403,
            )
    assert authority.state("t33-b") == "offline"


def upgrade(
    authority: Server, context: ssl.SSLContext, headers: str, *, name: str | None = "127.0.0.1", path: str = "/x"
) -> int:
    """A handshake and an upgrade request; the status, 0 when the connection ended without one."""
    context.check_hostname = context.check_hostname and name is not None
    try:
        with (
            socket.create_connection(("127.0.0.1", authority.hub), timeout=10) as tcp,
            context.wrap_socket(tcp, server_hostname=name) as tls,
        ):
            return ask_upgrade(tls, headers, path)
    except OSError:
        return 0


UPGRADE = (
    "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: tIgvfXubm+xYyhuPs2qFRA==\r\n"
)


def ask_upgrade(tls: ssl.SSLSocket, headers: str, path: str = "/x") -> int:
    tls.sendall(f"GET {path} HTTP/1.1\r\n{UPGRADE}{headers}\r\n".encode())
    received = b""
    while b"\r\n" not in received:
        piece = tls.recv(4096)
        if not piece:
            return 0
        received += piece
    return int(received.split(b" ", 2)[1])


def test_the_path_does_not_matter_and_the_headers_must_be_there(authority: Server) -> None:
    context = authority.context(authority.device("names-1"))
    good = "Node_id: names-1\r\nConnectionuse: msg\r\n"
    for path in ("/", "/x/y/z", "/e632aba927ea4ac2b575ec1603d56f10/other/events", "/%2e%2e"):
        assert upgrade(authority, context, good, path=path) == 101
    for bad in ("", "Node_id: names-1\r\n", "Connectionuse: msg\r\n", "Node_id: names-1\r\nConnectionuse: str\r\n"):
        assert upgrade(authority, context, bad) == 400, bad


def test_t41_the_newest_connection_wins(authority: Server) -> None:
    pair = authority.device("t41")
    older = authority.connect(pair, "t41")
    newer = authority.connect(pair, "t41")
    code, _ = closed(older)
    assert code == 1008
    assert acknowledged(newer)
    until(lambda: authority.state("t41") == "online")
    newer.close()


def test_t41_a_hundred_connections_at_once_leave_one(authority: Server) -> None:
    pair = authority.device("t41-many")
    context = authority.context(pair)
    descriptors = Path(f"/proc/{authority.process.pid}/fd") if authority.process else Path("/")
    base = len(list(descriptors.iterdir()))
    start = threading.Barrier(100)

    def dial(_: int) -> ClientConnection | None:
        start.wait(60)
        try:
            return authority.connect(pair, "t41-many", context=context)
        except (OSError, websockets.exceptions.WebSocketException):
            return None

    with ThreadPoolExecutor(100) as pool:
        connections = [one for one in pool.map(dial, range(100)) if one is not None]
    until(lambda: sum(alive(one) for one in connections) == 1, "one of them left", 20)
    survivor = next(one for one in connections if alive(one))
    sent = {"node": "t41-many", "operation": "update", "resource": "default/pod/x", "content": 1}
    authority.api("POST", "/v1/messages", sent)
    assert receive(survivor)["content"] == 1
    assert acknowledged(survivor)
    for one in connections:
        one.close()
    until(lambda: authority.state("t41-many") == "offline")
    until(lambda: len(list(descriptors.iterdir())) <= base + 2, "descriptors given back")


def alive(connection: ClientConnection) -> bool:
    return connection.protocol.state is websockets.protocol.State.OPEN


# ---------------------------------------------------------------------------------- T-34, T-35: revoked means refused


def test_t34_revoked_while_connected_is_cut_at_once(authority: Server) -> None:
    pair = authority.device("t34")
    connection = authority.connect(pair, "t34")
    bystander = authority.connect(authority.device("t34-other"), "t34-other")
    authority.revoke("t34", "keyCompromise")
    code, took = closed(connection)
    assert code is None and took < PROMISED, "without another octet"
    with authority.refuses():
        status, words = refusal(authority, pair, "t34")
        assert status == 403 and "revoked" in words
    shown = authority.nodes()["t34"]
    assert (shown["state"], shown["connected"], shown["cause"]) == ("revoked", False, "keyCompromise")
    assert acknowledged(bystander)
    bystander.close()


def test_t34_a_revoked_serial_is_cut_and_the_node_may_return(authority: Server) -> None:
    pair = authority.device("t34-serial")
    connection = authority.connect(pair, "t34-serial")
    serial = authority.nodes()["t34-serial"]["certificate"]["serial"]
    authority.revoke("serial:00" + serial.upper())
    assert closed(connection)[1] < PROMISED
    assert refusal(authority, pair, "t34-serial")[0] == 403
    key = new_key()
    answer = authority.enrol("t34-serial", authority.token("t34-serial"), csr("t34-serial", key))
    with authority.connect(Pair(answer.body, key), "t34-serial") as again:
        assert acknowledged(again)


RESUMPTIONS = {
    "TLS 1.2 session ID": {"maximum_version": ssl.TLSVersion.TLSv1_2, "ticket": False},
    "TLS 1.2 ticket": {"maximum_version": ssl.TLSVersion.TLSv1_2, "ticket": True},
    "TLS 1.3 PSK": {"minimum_version": ssl.TLSVersion.TLSv1_3, "ticket": True},
}


def test_t34_no_resumption_brings_a_revoked_node_back(authority: Server) -> None:
    """Not by session ID, ticket or PSK, before a restart and after it."""
    before = []
    for kind, settings in RESUMPTIONS.items():
        node = f"t34-{'-'.join(kind.lower().split())}".replace(".", "-")
        tls = {name: value for name, value in settings.items() if name != "ticket"}
        context = authority.context(authority.device(node), **tls)
        if not settings["ticket"]:
            context.options |= ssl.OP_NO_TICKET
        headers = f"Node_id: {node}\r\nConnectionuse: msg\r\n"
        before.append((context, one_connection(authority, context, headers), headers))
        authority.revoke(node)
    for restarted in (False, True):
        if restarted:
            authority.restart()
        for context, session, headers in before * 2:
            # refused in TLS is refused as well
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", authority.hub), timeout=10) as tcp,
            ):
                again = context.wrap_socket(tcp, server_hostname="127.0.0.1", session=session)
                assert ask_upgrade(again, headers) in (0, 403)


def one_connection(authority: Server, context: ssl.SSLContext, headers: str) -> ssl.SSLSession | None:
    """A connection that ends cleanly, with a close frame and close_notify; its TLS session."""
    with socket.create_connection(("127.0.0.1", authority.hub), timeout=10) as tcp:
        tls = context.wrap_socket(tcp, server_hostname="127.0.0.1")
        assert ask_upgrade(tls, headers) == 101
        tls.sendall(b"\x88\x82\0\0\0\0\x03\xe8")  # a close frame, code 1000, masked with zeros
        with contextlib.suppress(OSError):
            while tls.recv(4096):
                pass
        session = tls.session
        with contextlib.suppress(OSError, ValueError):
            tls.unwrap()
    return session


def test_t35_after_a_restart_revocation_is_enforced_from_the_first_connection(authority: Server) -> None:
    revoked, good = authority.device("t35-bad"), authority.device("t35-good")
    with authority.connect(good, "t35-good"):
        pass
    authority.revoke("t35-bad")
    contexts = {name: authority.context(pair) for name, pair in (("t35-bad", revoked), ("t35-good", good))}
    authority.kill()
    seen: dict[str, list[int]] = {"t35-bad": [], "t35-good": []}
    authority.launch()
    deadline = time.monotonic() + 30
    while len([one for one in seen["t35-good"] if one == 101]) < 3 and time.monotonic() < deadline:
        for name, context in contexts.items():  # the revoked one is the very first to get through
            seen[name].append(upgrade(authority, context, f"Node_id: {name}\r\nConnectionuse: msg\r\n"))
    authority.await_serving()
    assert set(seen["t35-bad"]) <= {0, 403} and 403 in seen["t35-bad"], seen
    assert 101 in seen["t35-good"]


def test_a_server_restart_keeps_the_nodes(authority: Server) -> None:
    pair = authority.device("kept-1")
    connection = authority.connect(pair, "kept-1")
    until(lambda: authority.state("kept-1") == "online")
    before = authority.nodes()["kept-1"]["certificate"]
    authority.stop()
    assert closed(connection)[0] == 1001
    authority.start()
    shown = authority.nodes()["kept-1"]
    assert (shown["state"], shown["certificate"], shown["cause"]) == ("offline", before, "shutdown")
    with authority.connect(pair, "kept-1") as again:
        assert acknowledged(again)
    authority.kill()
    authority.start()
    assert authority.state("kept-1") == "offline"


# ----------------------------------------------------------------------------------------------------------- T-36: TLS


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
def test_t36_what_tls_refuses(authority: Server) -> None:
    pair = authority.device("t36")
    headers = "Node_id: t36\r\nConnectionuse: msg\r\n"
    assert upgrade(authority, authority.context(pair), headers) == 101
    refused: dict[str, ssl.SSLContext] = {
        "no certificate": authority.context(),
        "foreign certificate": authority.context(foreign("t36")),
        "only h2": authority.context(pair),
    }
    refused["only h2"].set_alpn_protocols(["h2"])
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        context = authority.context(pair)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        refused[version.name] = context
    for suite in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "NULL", "aNULL", "AES256-GCM-SHA384"):
        context = authority.context(pair, maximum_version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(f"{suite}:@SECLEVEL=0")
        refused[suite] = context
    for case, context in refused.items():
        assert upgrade(authority, context, headers) == 0, case
    with socket.create_connection(("127.0.0.1", authority.hub), timeout=10) as tcp:
        tcp.sendall(f"GET /x HTTP/1.1\r\n{UPGRADE}{headers}\r\n".encode())
        answer = b""
        with contextlib.suppress(OSError):
            while piece := tcp.recv(4096):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 400") and b"101" not in answer, "plaintext"
    with socket.create_connection(("127.0.0.1", authority.hub), timeout=10) as tcp:
        tcp.sendall(b"GET / HTTP/1.1\r\n\r\n")  # data before the handshake, then close


def foreign(node: str) -> Pair:
    key = new_key()
    return Pair(FakeCA("another").device(key.public_key(), node), key)


@pytest.mark.parametrize("name", [None, "unknown.example", "127.0.0.1"])
@pytest.mark.parametrize("alpn", [None, ["http/1.1"], ["h2", "http/1.1"]])
def test_t36_server_names_and_protocols_that_are_served(
    authority: Server, name: str | None, alpn: list[str] | None
) -> None:
    context = authority.context(authority.device("t36-ok"), check_hostname=False)
    if alpn is not None:
        context.set_alpn_protocols(alpn)
    assert upgrade(authority, context, "Node_id: t36-ok\r\nConnectionuse: msg\r\n", name=name) == 101


# ------------------------------------------------------------------------------------------------- the server's own names


def served_names(authority: Server, port: int) -> set[str]:
    """The subject alternative names of the certificate that a new handshake shows."""
    context = authority.context(authority.device("names-x") if port == authority.hub else None)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as tcp,
        context.wrap_socket(tcp, server_hostname="127.0.0.1") as tls,
    ):
        certificate = tls.getpeercert()
        assert certificate is not None
        return {str(value) for _, value in certificate["subjectAltName"]}


def test_new_names_are_served_without_dropping_a_connection() -> None:
    with server("--advertise", "first.example") as one:
        connection = one.connect(one.device("stays-1"), "stays-1")
        assert "first.example" in served_names(one, one.https)
        said = one.run("advertise", "add", "203.0.113.7", "second.example")
        assert said.status == 0 and "second.example" in said.out
        for port in (one.https, one.hub):
            assert {"first.example", "second.example", "203.0.113.7"} <= served_names(one, port)
        assert acknowledged(connection)
        assert one.run("advertise", "remove", "second.example").status == 0
        assert "second.example" not in served_names(one, one.hub)
        assert acknowledged(connection)
        connection.close()


def test_sighup_reads_the_names_again_without_dropping_a_connection() -> None:
    with server(configuration='advertise = ["first.example"]\n') as one:
        connection = one.connect(one.device("stays-2"), "stays-2")
        assert one.process is not None
        one.configure("this is no configuration")
        one.process.send_signal(signal.SIGHUP)
        until(lambda: "not reloaded" in one.log)
        assert "first.example" in served_names(one, one.hub)
        one.configure('advertise = ["second.example", "203.0.113.9"]\n')
        one.process.send_signal(signal.SIGHUP)
        until(lambda: "second.example" in served_names(one, one.hub), "the new name")
        assert {"second.example", "203.0.113.9"} <= served_names(one, one.https)
        assert "first.example" not in served_names(one, one.https)
        assert acknowledged(connection)
        connection.close()
        one.restart()
        assert "second.example" in served_names(one, one.hub)


def test_advertised_names_are_remembered_and_a_port_that_is_taken_is_said() -> None:
    with server("--advertise", "first.example") as one:
        one.options = ()
        one.restart()
        assert "first.example" in served_names(one, one.https)
        with socket.socket() as taken:
            port = free_port()
            taken.bind(("127.0.0.1", port))
            taken.listen()
            one.stop()
            said = one.home.run(
                "up", "--data", one.data, "--listen", "127.0.0.1", "--https-port", str(port), "--hub-port", "0"
            )
            assert said.status == 69 and f"127.0.0.1:{port}" in said.err and "hint:" in said.err
