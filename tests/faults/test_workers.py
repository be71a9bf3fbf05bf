"""`edgeward up --workers N`: several processes on the same ports, on one database."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest
import websockets.exceptions
import websockets.sync.client

from edgeward.client import Client
from tests.support.postgres import Cluster
from tests.support.replicas import Workers, asked, within, workers
from tests.support.server import Pair, acknowledged, server

Connection = websockets.sync.client.ClientConnection


@pytest.fixture(scope="module")
def pair(postgres: Cluster) -> Iterator[Workers]:
    with workers(postgres, 2, "--advertise", "edge.test", "--api-port", "0", "--quic-port", "0") as one:
        yield one


def _devices(one: Workers, prefix: str, count: int) -> dict[str, Pair]:
    return {f"{prefix}-{n}": one.device(f"{prefix}-{n}") for n in range(count)}


def _spread(one: Workers, devices: dict[str, Pair]) -> dict[str, Connection]:
    """Connect them all, again and again until both workers have some."""
    while True:
        connections = {name: one.connect(pair, name) for name, pair in devices.items()}
        assert all(acknowledged(each) for each in connections.values())
        within(lambda: sum(len(one.online(n) & devices.keys()) for n in (0, 1)) == len(devices), "sessions")
        if all(one.online(n) & devices.keys() for n in (0, 1)):
            return connections
        for each in connections.values():
            each.close()


def _is_closed(connection: Connection, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    with contextlib.suppress(websockets.exceptions.ConnectionClosed):
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                connection.recv(timeout=max(0.01, deadline - time.monotonic()))
        return False
    return True


def test_t34_revoked_while_connected_is_cut_within_five_seconds_on_every_worker(pair: Workers) -> None:
    devices = _devices(pair, "cut", 6)
    connections = _spread(pair, devices)
    began = time.monotonic()
    for name in devices:
        pair.revoke(name)
    for connection in connections.values():
        assert _is_closed(connection, began + 5 - time.monotonic() + 1)
    for _ in range(2):
        for name, device in devices.items():
            with pytest.raises(websockets.exceptions.InvalidStatus):
                pair.connect(device, name)
    assert pair.audit_is_whole()


def test_a_worker_that_is_killed_is_started_again_and_its_nodes_come_back(pair: Workers) -> None:
    devices = _devices(pair, "back", 6)
    connections = _spread(pair, devices)
    at_1 = pair.online(1) & devices.keys()
    old = pair.pids()
    os.kill(old[1], signal.SIGKILL)
    for name, connection in connections.items():
        assert _is_closed(connection, 5) if name in at_1 else acknowledged(connection)
    for name in at_1:  # at once, or when their worker is back: nobody is refused
        connections[name] = pair.connect(devices[name], name)
        assert acknowledged(connections[name])
    within(lambda: pair.pids().get(1) not in (None, old[1]), "the worker to be back")
    assert pair.pids()[0] == old[0]
    within(lambda: all(pair.state(name) == "online" for name in devices), "everybody to be online on record")
    assert all(acknowledged(connection) for connection in connections.values())
    assert "worker 1 was ended by signal 9; it is started again" in pair.log


def test_names_are_advertised_once_for_all_workers_and_a_hangup_reaches_them(pair: Workers) -> None:
    pair.api("PUT", "/v1/advertised", {"names": ["other.test"]})
    assert pair.process is not None
    before = pair.log.count("reloaded; the server certificate is valid for other.test")
    pair.process.send_signal(signal.SIGHUP)
    within(
        lambda: pair.log.count("reloaded; the server certificate is valid for other.test") == before + 2,
        "both workers to have read their configuration again",
    )
    os.kill(pair.pids()[0], signal.SIGKILL)
    within(lambda: len(pair.pids()) == 2, "the first worker to be back")
    assert pair.api("GET", "/v1/advertised") == {"names": ["other.test"]}, "a start in between takes nothing back"


def test_every_worker_serves_operators_elsewhere_and_the_first_one_quic(pair: Workers) -> None:
    first, second = (asked(pair.data / name, "/v1/status") for name in ("admin.sock", "admin-1.sock"))
    assert first["api_port"] and second["api_port"]
    assert first["quic_port"] and second["quic_port"] is None
    assert pair.run("operator", "new", "alice", "--out", pair.directory / "alice").status == 0
    for status in (first, second):
        alice = Client(server=f"https://127.0.0.1:{status['api_port']}", operator=pair.directory / "alice")
        assert alice.call("GET", "/v1/status")["worker"] == status["worker"]


def test_they_end_together(postgres: Cluster) -> None:
    with workers(postgres, 2) as one:
        pids = one.pids()
        assert one.stop() == 0
        within(lambda: not any(_alive(pid) for pid in pids.values()), "the workers to end")
        one.start()
        pids = one.pids()
        one.kill()
        within(lambda: not any(_alive(pid) for pid in pids.values()), "the workers to end without their parent")


def test_several_workers_want_a_database_and_ports_of_their_own(postgres: Cluster, pair: Workers) -> None:
    with server(start=False) as one:
        said = one.home.run("up", "--data", one.data, "--workers", "2")
        assert said.status == 2
        assert "SQLite serves one process" in said.err
        said = one.home.run(
            "up", "--data", one.data, "--listen", "127.0.0.1", "--workers", "2", "--https-port", str(pair.https),
            "--hub-port", "0", "--database", postgres.database(),
        )  # fmt: skip
        assert said.status == 69
        assert "cannot listen" in said.err
    said = pair.home.run("up", "--data", pair.data, "--workers", "2", "--database", postgres.database())
    assert said.status == 69
    assert "already" in said.err or "another" in said.err


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
