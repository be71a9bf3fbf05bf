"""Several replicas: a node may be at any of them, and what happens at one holds at all; replicas, PostgreSQL and NATS come and go."""

import asyncio
import contextlib
import http.client
import json
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import websockets.exceptions
import websockets.sync.client
from cryptography import x509

from edgeward.client import Answered, Client
from edgeward.errors import EdgewardError
from edgeward.stores.postgres import open_store
from tests.support.postgres import Cluster, cluster
from tests.support.replicas import nats, replicas, within
from tests.support.server import (
    Server,
    acknowledged,
    message,
    private_directory,
    server,
)

ROOT = Path(__file__).parents[2]

Connection = websockets.sync.client.ClientConnection


def ended(connection: Connection, seconds: float = 20.0) -> float:
    """Wait until the hub closes a connection; how many seconds it took."""
    began = time.monotonic()
    with contextlib.suppress(websockets.exceptions.ConnectionClosed):
        while True:
            connection.recv(timeout=seconds)
    return time.monotonic() - began


@pytest.fixture(params=["database", "nats"], scope="module")
def pair(request: pytest.FixtureRequest, postgres: Cluster) -> Iterator[list[Server]]:
    """Two replicas, joined by the database's NOTIFY or by NATS; the tests of this file share them, each with nodes of its own."""
    with contextlib.ExitStack() as stack:
        options = [] if request.param == "database" else ["--bus", stack.enter_context(nats()).url]
        yield stack.enter_context(replicas(postgres, "ab", "--api-port", "0", *options))


# ------------------------------------------------------------------------------------------------------------- one CA


def _start_together(postgres: Cluster, rounds: int) -> None:
    with private_directory() as one, private_directory() as other:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.faults.starting", directory],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
                text=True,
            )
            for directory in (one, other)
        ]
        for _ in range(rounds):
            url = postgres.database()
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(url + "\n")
                process.stdin.flush()
            pins = [process.stdout.readline().strip() for process in processes if process.stdout is not None]
            assert len(pins[0]) == 64
            assert pins[0] == pins[1]
            asyncio.run(_has_one_ca(url))
            name = url.partition("@/")[2].partition("?")[0]
            postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
        for process in processes:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
            process.stdout.close()
            assert process.wait(30) == 0


async def _has_one_ca(url: str) -> None:
    store = open_store(url)
    issuers = await store.issuers()
    assert len(issuers) == 1
    assert [record.action for record in await store.audit()].count("ca.created") == 1
    keys = await store._reader.query("SELECT name FROM sealed_key", {})
    assert [row[0] for row in keys] == [issuers[0].key.name], "the key of the one that was second is gone"
    await store.close()


def test_t24_two_processes_on_an_empty_database_make_one_ca(postgres: Cluster) -> None:
    _start_together(postgres, 3)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # a second and a half each, where others work as well
def test_t24_two_hundred_times(postgres: Cluster) -> None:
    _start_together(postgres, 200)


# -------------------------------------------------------------------------------------------------- what holds at all


def test_t34_a_revocation_at_one_replica_cuts_the_session_at_the_other_and_refuses_its_return(
    pair: list[Server],
) -> None:
    a, b = pair
    device = a.device("revoked")
    connection = b.connect(device, "revoked")
    assert acknowledged(connection)
    within(lambda: a.state("revoked") == "online", "presence")
    a.revoke("revoked")
    assert ended(connection) < 5
    for one in pair:
        with pytest.raises(websockets.exceptions.InvalidStatus):
            one.connect(device, "revoked")
    assert a.audit_is_whole()


def _elsewhere(one: Server, operator: Path) -> Client:
    """An operator's client for one replica, through its port."""
    port = one.api("GET", "/v1/status")["api_port"]
    return Client(server=f"https://127.0.0.1:{port}", operator=operator)


def test_t34_an_operator_revoked_at_one_replica_is_cut_and_refused_at_the_other(pair: list[Server]) -> None:
    a, b = pair
    places = {name: a.directory / name for name in ("alice", "bob")}
    for name, place in places.items():
        assert a.run("operator", "new", name, "--out", place).status == 0
    alice, bob = (_elsewhere(b, place) for place in places.values())
    token = alice.new_token(pattern="site-*", uses=5, lifetime_seconds=3600)
    streams = {name: one._request("GET", "/v1/events", None) for name, one in (("alice", alice), ("bob", bob))}
    for stream in streams.values():
        assert stream.readline().startswith(b": connected")
    ended = threading.Event()

    def read() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            while streams["alice"].readline():
                pass
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    said = a.run("operator", "revoke", "alice")
    assert said.status == 0 and f"{token.key_id} for pattern site-*, used 0 of 5 times" in said.err
    for one in pair:  # the row decides: nothing has to be heard of first
        with pytest.raises(Answered) as refused:
            _elsewhere(one, places["alice"]).nodes()
        assert refused.value.code == "operator-refused"
    assert ended.wait(5), "the stream at the other replica still stands"

    # hers goes on until somebody says so, at whichever replica
    assert b.enrol("site-1", token.token).status == 200
    assert b.run("operator", "revoke", "alice", "--tokens").status == 0
    assert a.enrol("site-2", token.token).status == 403
    assert bob.nodes() is not None
    streams["bob"].close()


def test_t41_the_newest_session_of_a_node_wins_wherever_it_is(pair: list[Server]) -> None:
    a, b = pair
    device = a.device("edge-1")
    first = a.connect(device, "edge-1")
    assert acknowledged(first)
    for one in (b, a, b, a):
        second = one.connect(device, "edge-1")
        assert acknowledged(second)
        assert ended(first) < 5
        first = second
    assert acknowledged(first)
    # one that was overtaken before it was on record is not counted
    within(lambda: a.nodes()["edge-1"]["connections"] > 1 and b.state("edge-1") == "online", "it on record")
    first.close()
    within(lambda: b.state("edge-1") == "offline", "the node to be offline everywhere")


def test_t13_a_hundred_racers_at_two_replicas_get_one_certificate_from_one_token(pair: list[Server]) -> None:
    token = pair[0].token(None, pattern="*", uses=1)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: pair[n % 2].enrol(f"racer-{n}", token).status, range(100)))
    assert answers.count(200) == 1
    assert {status for status in answers if status != 200} <= {401, 403}
    assert sum(name.startswith("racer-") for name in pair[0].nodes()) == 1
    assert pair[1].audit_is_whole()


def test_what_a_node_sends_is_seen_by_whoever_watches_at_the_other_replica(pair: list[Server]) -> None:
    a, b = pair
    connection = b.connect(b.device("talking"), "talking")
    assert acknowledged(connection)
    seen: list[dict[str, object]] = []

    def watch() -> None:
        with contextlib.suppress(EdgewardError):  # the test is over
            for one in a.client.stream("/v1/messages"):
                seen.append(one)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    sent = 0

    def heard() -> bool:
        nonlocal sent
        sent += 1
        connection.send(message("update", f"default/node/{sent}", content="x"))
        time.sleep(0.05)
        return bool(seen)

    within(heard, "the first message that is passed on")
    connection.send(message("update", "default/large", content="y" * 5_000_000))
    within(lambda: len(json.dumps(seen[-1])) > 5_000_000, "five megabytes")
    assert all(one["node"] == "talking" for one in seen)


def test_names_that_are_advertised_at_one_replica_are_in_the_certificate_of_both(pair: list[Server]) -> None:
    a, b = pair

    def names(one: Server) -> set[str]:
        der = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", one.https)))
        san = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return set(san.value.get_values_for_type(x509.DNSName))

    assert names(a) == names(b) == {"edge.test", "localhost"}
    connection = b.connect(b.device("staying"), "staying")
    a.api("PUT", "/v1/advertised", {"names": ["new.test"]})
    assert names(a) == {"new.test", "localhost"}
    within(lambda: names(b) == {"new.test", "localhost"}, "the other replica to serve the new certificate", 5)
    assert acknowledged(connection)
    settings = [r["action"] for r in a.audit() if r["action"] == "server-certificate.changed"]
    assert len(settings) == 2, "one for the start and one for the change, for both replicas together"


# ------------------------------------------------------------------------------------------------------- when they break


def test_without_its_bus_a_replica_hears_of_revocations_and_moves_from_the_store(postgres: Cluster) -> None:
    with nats() as bus, replicas(postgres, "ab", "--bus", bus.url) as (a, b):
        devices = {name: a.device(name) for name in ("edge-1", "edge-2")}
        connections = {name: b.connect(device, name) for name, device in devices.items()}
        assert all(acknowledged(one) for one in connections.values())
        bus.stop()
        a.revoke("edge-1")
        assert ended(connections["edge-1"]) < 5
        newer = a.connect(devices["edge-2"], "edge-2")
        assert acknowledged(newer)
        assert ended(connections["edge-2"]) < 15
        assert acknowledged(newer)
        bus.start()
        for one in (a, b):
            within(lambda one=one: one.log.count("NATS: connected") == 2, "the bus to be back")  # type: ignore[misc]
        third = b.connect(devices["edge-2"], "edge-2")
        assert ended(newer) < 5
        assert acknowledged(third)


def test_a_replica_that_is_killed_loses_nothing_that_was_acknowledged(postgres: Cluster) -> None:
    with replicas(postgres) as (a, b):
        enrolled: list[tuple[int, bytes]] = []
        token = a.token(None, pattern="*", uses=10_000)
        stop = threading.Event()

        context = a.context()

        def enrol(first: int) -> None:
            n = first
            while not stop.is_set():
                answer = (a if n % 2 else b).enrol(f"edge-{n}", token, context=context)
                if answer.status == 200:
                    enrolled.append((n, answer.body))
                n += 4

        clients = [threading.Thread(target=enrol, args=(first,)) for first in range(4)]
        for one in clients:
            one.start()
        device = a.device("moving")
        for _ in range(2):
            connection = b.connect(device, "moving")
            assert acknowledged(connection)
            b.kill()
            ended(connection)
            moved = a.connect(device, "moving")
            assert acknowledged(moved), "it comes back at the other one"
            b.start()
            moved.close()
        stop.set()
        for one in clients:
            one.join()
        assert len(enrolled) > 20
        serials = [x509.load_der_x509_certificate(der).serial_number for _, der in enrolled]
        assert len(set(serials)) == len(serials)
        nodes = a.nodes()
        for n, der in enrolled:
            serial = format(x509.load_der_x509_certificate(der).serial_number, "x")
            assert nodes[f"edge-{n}"]["certificate"]["serial"] == serial
        assert a.audit_is_whole()
        recorded = {r["object"] for r in a.audit() if r["action"] == "certificate.issued"}
        assert {f"certificate:{serial:x}" for serial in serials} <= recorded


def test_d_postgresql_and_nats_restart_under_load_and_nobody_lifts_a_hand() -> None:
    with cluster() as mine, nats() as bus, replicas(mine, "ab", "--bus", bus.url) as (a, b):
        token = a.token(None, pattern="*", uses=10_000)
        connection = b.connect(b.device("steady"), "steady")
        statuses: list[int] = []
        stop = threading.Event()
        context = a.context()

        def enrol(first: int) -> None:
            n = first
            while not stop.is_set():
                statuses.append((a if n % 2 else b).enrol(f"edge-{n}", token, context=context).status)
                n += 2

        clients = [threading.Thread(target=enrol, args=(first,)) for first in range(2)]
        for one in clients:
            one.start()
        for number in (signal.SIGINT, signal.SIGKILL):
            before = statuses.count(200)
            within(lambda before=before: statuses.count(200) > before + 5, "enrolments to go on")  # type: ignore[misc]
            mine.stop(number)
            bus.stop()
            bus.start()
            mine.start()
        done = len(statuses)
        within(lambda: 200 in statuses[done:][-3:], "enrolments to succeed again")
        stop.set()
        for one in clients:
            one.join()
        assert set(statuses) <= {200, 503}, statuses
        assert acknowledged(connection), "sessions do not need the database"
        assert a.audit_is_whole()
        a.revoke("steady")
        assert ended(connection) < 10
        issued = {r["object"] for r in a.audit() if r["action"] == "certificate.issued"}
        assert len(issued) >= statuses.count(200)


@pytest.mark.slow
def test_d_while_postgresql_is_away_everything_is_refused_and_afterwards_all_is_well(postgres: Cluster) -> None:
    with cluster() as mine, replicas(mine, "a") as (a,):
        token = a.token("edge-1")
        connection = a.connect(a.device("steady"), "steady")
        context = a.context()
        mine.stop()
        answer = a.enrol("edge-1", token, context=context)
        assert answer.status == 503
        assert acknowledged(connection)
        mine.start()
        within(lambda: a.enrol("edge-1", token).status == 200, "the enrolment to succeed")
        assert "bus is away" in a.log
        assert a.issued() == 2
    assert postgres.execute("SELECT 1") == [(1,)]


# -------------------------------------------------------------------------------------------------- what makes no sense


def test_a_replica_says_what_it_needs(postgres: Cluster) -> None:
    url = postgres.database()
    cases = [
        (["--bus", "nats://127.0.0.1:4222"], {}, 2, "a bus joins replicas that share a database"),
        (["--database", "mysql://x/y"], {}, 2, "postgresql://"),
        (["--database", url, "--bus", "amqp://x"], {}, 2, "nats://"),
        (["--database", "@/nowhere"], {}, 2, "cannot be read"),
        (["--database", url], {"EDGEWARD_PASSPHRASE": ""}, 2, "passphrase"),
        (["--database", f"postgresql://edgeward@/nowhere?host={postgres.directory}"], {}, 69, "nowhere"),
    ]
    for options, environment, status, words in cases:
        with server(*options, start=False, **environment) as one:
            said = one.home.run("up", "--data", one.data, *options)
            assert said.status == status, (options, said.err)
            assert words in said.err, said.err
    with replicas(postgres, "ab", start=False, database=url) as (a, b):
        a.start()
        b.home.environment["EDGEWARD_PASSPHRASE"] = "another one entirely"
        said = b.home.run("up", "--data", b.data, "--database", url)
        assert said.status == 65
        assert "passphrase" in said.err or "password" in said.err


def test_an_authority_of_its_own_is_not_turned_into_a_replica_by_mistake(postgres: Cluster) -> None:
    with server() as one:
        one.stop()
        said = one.home.run("up", "--data", one.data, "--database", postgres.database())
        assert said.status == 2
        assert "edgeward.db" in said.err
