"""The agent against a hub and an enrolment server of other makers, over real TLS: it connects, stays, comes back, renews, stops."""

import asyncio
import contextlib
import itertools
import json
import logging
import socket
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.fake_cloud import FakeCA, FakeCloud, running
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response

from edgeward.agent import enrol
from edgeward.agent.certificates import Certificates, Settings
from edgeward.agent.connection import World
from edgeward.agent.endpoint import Endpoint
from edgeward.agent.run import Agent
from edgeward.agent.systemd import Systemd
from edgeward.errors import BadRequest, NotFound, UsageError

DEADLINE = 60.0
"""Seconds that anything may take on a machine that is busy with something else."""


async def until(condition) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.005)


def impatient(low: float, high: float) -> float:
    """Dice that make every wait a hundredth, and renew late."""
    return low / 50 if (low, high) == (0.5, 1.0) else high


@dataclass
class FakeHub:
    """A hub made of another library, with what a test may ask of it."""

    ca: FakeCA
    connections: list[ServerConnection] = field(default_factory=list)
    received: list[dict] = field(default_factory=list)
    refusals: list[tuple[int, bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def peers(self) -> list[int]:
        """The serials of the certificates of all connections so far."""
        found = []
        for connection in self.connections:
            der = connection.transport.get_extra_info("ssl_object").getpeercert(True)
            found.append(x509.load_der_x509_certificate(der).serial_number)
        return found

    def context(self, directory, *names: str) -> ssl.SSLContext:
        context = self.ca.server_context(directory, *names)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.ca.der)
        context.num_tickets = 0
        return context

    @contextlib.asynccontextmanager
    async def up(self, context: ssl.SSLContext):
        async with serve(
            self._live,
            "127.0.0.1",
            self.port,
            ssl=context,
            process_request=self._request,
            ping_interval=None,
            compression=None,
            close_timeout=0.2,
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    async def _request(self, connection: ServerConnection, request):
        self.request = request
        if self.refusals:
            status, body = self.refusals.pop(0)
            response = connection.respond(status, body.decode())
            return Response(response.status_code, response.reason_phrase, response.headers, response.body)
        return None

    async def _live(self, connection: ServerConnection) -> None:
        older = list(self.connections)
        self.connections.append(connection)
        for other in older:  # newest wins
            other.transport.abort()
        with contextlib.suppress(ConnectionClosed):
            async for text in connection:
                self.received.append(json.loads(text))

    @property
    def keepalives(self) -> list[dict]:
        return [m for m in self.received if m["route"]["operation"] == "keepalive"]


@pytest.fixture(scope="module")
def ca() -> FakeCA:
    return FakeCA()


@pytest.fixture
def hub(ca) -> FakeHub:
    return FakeHub(ca)


class Edge:
    """A joined edge, and the agent that runs on it."""

    def __init__(self, directory, ca: FakeCA, hub_ports, https_port: int = 1, **world) -> None:
        self.files = Certificates(directory / "edge")
        self.ca = ca
        self.settings = Settings(
            node="edge-1",
            https=(Endpoint(host="127.0.0.1", port=https_port),),
            hub=tuple(Endpoint(host="127.0.0.1", port=port) for port in hub_ports),
            transport="websocket",
        )
        self.messages = []
        numbers = itertools.count(1)
        self.world = World(
            **{
                "now": lambda: datetime.now(UTC),
                "dice": impatient,
                "new_id": lambda: f"id-{next(numbers)}",
                "on_message": self.messages.append,
                "heartbeat": 0.05,
                **world,
            }
        )
        self.systemd = Systemd({})

    def enrolled(self, **fields) -> "Edge":
        key = enrol.new_key()
        with self.files.locked(make=True):
            self.files.write_ca(self.ca.der)
            self.files.swap(self.ca.device(key.public_key(), "edge-1", **fields), key)
        return self

    @contextlib.asynccontextmanager
    async def agent(self):
        stop = asyncio.Event()
        with self.files.locked():
            task = asyncio.create_task(
                Agent(self.files, self.settings, world=self.world, systemd=self.systemd).run(stop)
            )
            try:
                yield task
            finally:
                stop.set()
                async with asyncio.timeout(DEADLINE):
                    await task


def test_it_dials_as_a_kubeedge_edge_does_and_speaks_at_once(ca, hub, tmp_path):
    async def main() -> None:
        async with hub.up(hub.context(tmp_path, "127.0.0.1")):
            edge = Edge(tmp_path, ca, [hub.port], heartbeat=1000.0).enrolled()
            async with edge.agent():
                await until(lambda: hub.received)
                assert hub.request.path == "/e632aba927ea4ac2b575ec1603d56f10/edge-1/events"
                for name, value in (
                    ("node_id", "edge-1"),
                    ("connectionuse", "msg"),
                    ("project_id", edge.settings.project),
                ):
                    assert hub.request.headers[name] == value
                assert "Origin" not in hub.request.headers
                assert "Sec-WebSocket-Extensions" not in hub.request.headers
                (keepalive,) = hub.received
                assert keepalive["route"] == {
                    "source": "websocket",
                    "group": "resource",
                    "operation": "keepalive",
                    "resource": "node",
                }
                assert keepalive["content"] == "ping"
                session = hub.connections[0].transport.get_extra_info("ssl_object")
                assert len(session._sslobj.get_unverified_chain()) == 1, "our certificate alone, without the CA"

    asyncio.run(main())


def test_it_keeps_alive_and_acknowledges_resources(ca, hub, tmp_path):
    async def main() -> None:
        async with hub.up(hub.context(tmp_path, "127.0.0.1")):
            edge = Edge(tmp_path, ca, [hub.port]).enrolled()
            async with edge.agent():
                await until(lambda: len(hub.keepalives) >= 4)
                down = {
                    "header": {"msg_id": "m-1", "timestamp": 1},
                    "route": {
                        "source": "edgecontroller",
                        "group": "resource",
                        "operation": "update",
                        "resource": "d/pod/x",
                    },
                    "content": {"a": 1},
                }
                await hub.connections[0].send(json.dumps(down) + "\n", text=True)
                await until(lambda: any(m["header"].get("parent_msg_id") == "m-1" for m in hub.received))
                (answer,) = [m for m in hub.received if m["header"].get("parent_msg_id")]
                assert answer["route"] == down["route"] | {"operation": "response"}
                assert answer["content"] == "OK"
                assert [m.msg_id for m in edge.messages] == ["m-1"]
                for bad in ("not json", '{"header":{"msg_id":1}}', "[]"):
                    await hub.connections[0].send(bad, text=True)
                many = len(hub.keepalives)
                await until(lambda: len(hub.keepalives) > many + 2)
                assert len(hub.connections) == 1

    asyncio.run(main())


def test_a_message_that_cannot_be_done_is_answered_with_an_error(ca, hub, tmp_path):
    def fail(_message) -> None:
        raise BadRequest(why="no such pod")

    async def main() -> None:
        async with (
            hub.up(hub.context(tmp_path, "127.0.0.1")),
            Edge(tmp_path, ca, [hub.port], on_message=fail).enrolled().agent(),
        ):
            await until(lambda: hub.received)
            down = {
                "header": {"msg_id": "m-1"},
                "route": {"group": "resource", "operation": "update", "resource": "d/pod/x"},
            }
            await hub.connections[0].send(json.dumps(down), text=True)
            await until(lambda: any(m["route"]["operation"] == "error" for m in hub.received))
            (answer,) = [m for m in hub.received if m["route"]["operation"] == "error"]
            assert (answer["header"]["parent_msg_id"], answer["content"]) == ("m-1", "bad request: no such pod")

    asyncio.run(main())


def test_it_comes_back_after_a_close_a_cut_a_refusal_and_a_restart(ca, hub, tmp_path, caplog):
    caplog.set_level(logging.INFO, "edgeward.agent")

    async def main() -> None:
        context = hub.context(tmp_path, "127.0.0.1")
        async with hub.up(context):
            edge = Edge(tmp_path, ca, [hub.port]).enrolled()
            agent = edge.agent()
            await agent.__aenter__()
            await until(lambda: len(hub.connections) == 1)
            await hub.connections[0].close(1001, "restarting")
            await until(lambda: len(hub.connections) == 2)
            hub.connections[1].transport.abort()
            await until(lambda: len(hub.connections) == 3)
            hub.refusals += [(403, b"node edge-1 is blocked"), (503, b"busy")]
            hub.connections[2].transport.abort()
            await until(lambda: len(hub.connections) == 4)
            assert not hub.refusals
        await until(lambda: "cannot reach" in caplog.text)
        async with hub.up(context):
            await until(lambda: len(hub.connections) == 5)
            await agent.__aexit__(None, None, None)
        assert "answered 403: node edge-1 is blocked" in caplog.text

    asyncio.run(main())


def test_t38_a_hub_that_falls_silent_is_given_up_and_dialled_again(ca, hub, tmp_path, caplog):
    async def main() -> None:
        async with hub.up(hub.context(tmp_path, "127.0.0.1")), Edge(tmp_path, ca, [hub.port]).enrolled().agent():
            await until(lambda: len(hub.keepalives) > 2)
            hub.connections[0].transport.pause_reading()
            await until(lambda: len(hub.connections) == 2)
        assert "the hub has gone silent" in caplog.text

    asyncio.run(main())


@pytest.mark.parametrize(
    ("names", "foreign", "words"),
    [
        (("192.0.2.1",), False, "valid for 192.0.2.1, not for 127.0.0.1"),
        (("127.0.0.1",), True, "not signed by the pinned CA"),
    ],
)
def test_a_hub_that_is_not_proved_gets_no_octet_of_http(ca, tmp_path, names, foreign, words, caplog):
    octets = []

    async def main() -> None:
        context = (FakeCA() if foreign else ca).server_context(tmp_path, *names)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=ca.der)

        async def listen(reader, writer) -> None:
            with contextlib.suppress(OSError):
                octets.append(await reader.read())
            writer.close()

        server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
        async with server, Edge(tmp_path, ca, [server.sockets[0].getsockname()[1]]).enrolled().agent():
            await until(lambda: words in caplog.text)
            await until(lambda: octets)

    asyncio.run(main())
    assert set(octets) == {b""}


def test_a_hub_that_refuses_our_certificate_in_tls_is_reported_and_tried_again(ca, hub, tmp_path, caplog):
    async def main() -> None:
        other = FakeHub(FakeCA())
        context = ca.server_context(tmp_path, "127.0.0.1")
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=other.ca.der)
        async with other.up(context), Edge(tmp_path, ca, [other.port]).enrolled().agent():
            await until(lambda: caplog.text.count("not connected") > 2)
        assert not other.connections

    asyncio.run(main())


def test_of_several_hubs_the_next_is_tried_when_one_does_not_answer(ca, hub, tmp_path):
    async def main() -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            async with hub.up(hub.context(tmp_path, "127.0.0.1")):
                edge = Edge(tmp_path, ca, [closed.getsockname()[1], hub.port]).enrolled()
                async with edge.agent():
                    await until(lambda: hub.received)

    asyncio.run(main())


def test_it_renews_with_a_new_key_and_the_newest_connection_wins_without_a_gap(ca, hub, tmp_path):
    async def main(cloud: FakeCloud) -> None:
        now = datetime.now(UTC)
        async with hub.up(hub.context(tmp_path, "127.0.0.1")):
            edge = Edge(tmp_path, ca, [hub.port], cloud.port)
            edge.enrolled(
                start=now - timedelta(seconds=890), end=now + timedelta(seconds=100.5)
            )  # 90 % is over in a moment
            old = edge.files.pair()
            async with edge.agent():
                await until(lambda: len(hub.connections) == 2)
                new = edge.files.pair()
                assert new.certificate.serial_number != old.certificate.serial_number
                assert new.key.private_numbers() != old.key.private_numbers()
                assert hub.peers == [old.certificate.serial_number, new.certificate.serial_number]
                many = len(hub.keepalives)
                await until(lambda: len(hub.keepalives) > many + 2)
                assert len(hub.connections) == 2
        (asked,) = cloud.asked
        assert asked.peer == old.certificate.public_bytes(Encoding.DER)
        assert "authorization" not in asked.headers

    with running(FakeCloud(ca), ca.server_context(tmp_path, "127.0.0.1")) as cloud:
        asyncio.run(main(cloud))


def test_a_cloud_that_ends_both_connections_at_a_renewal_is_dialled_again_at_once(ca, hub, tmp_path, caplog):
    """As KubeEdge's does in one of ten, measured: the end of the older connection is looked up by the node's name."""
    caplog.set_level("INFO")

    def patient(low: float, high: float) -> float:
        """Dice for waits that no test would live to see the end of."""
        return 1000.0 if (low, high) == (0.5, 1.0) else high

    class Confused(FakeHub):
        async def _live(self, connection: ServerConnection) -> None:
            await super()._live(connection) if len(self.connections) != 1 else await self._both(connection)

        async def _both(self, connection: ServerConnection) -> None:
            self.connections.append(connection)
            for one in self.connections:
                one.transport.abort()

    hub = Confused(ca)

    async def main(cloud: FakeCloud) -> None:
        now = datetime.now(UTC)
        async with hub.up(hub.context(tmp_path, "127.0.0.1")):
            edge = Edge(tmp_path, ca, [hub.port], cloud.port, dice=patient)
            edge.enrolled(start=now - timedelta(seconds=890), end=now + timedelta(seconds=100.5))
            async with edge.agent():
                await until(lambda: len(hub.connections) == 3)
                many = len(hub.keepalives)
                await until(lambda: len(hub.keepalives) > many + 2)
                assert len(hub.connections) == 3
                assert hub.peers[1:] == [edge.files.pair().certificate.serial_number] * 2
        assert "the hub has ended the newer connection with the older one" in caplog.text

    with running(FakeCloud(ca), ca.server_context(tmp_path, "127.0.0.1")) as cloud:
        asyncio.run(main(cloud))


def test_a_renewal_that_fails_is_tried_again_and_the_old_pair_stays(ca, hub, tmp_path, caplog):
    answers = iter([(500, b"out of order"), (200, b""), (200, b"garbage")])

    async def main(cloud: FakeCloud) -> None:
        now = datetime.now(UTC)
        async with hub.up(hub.context(tmp_path, "127.0.0.1")):
            edge = Edge(tmp_path, ca, [hub.port], cloud.port)
            edge.enrolled(start=now - timedelta(seconds=100), end=now + timedelta(seconds=10))
            old = edge.files.pair().certificate.serial_number
            cloud.edge_crt = lambda asked: next(answers, None) or cloud.sign(asked)
            async with edge.agent():
                await until(lambda: edge.files.pair().certificate.serial_number != old)
                await until(lambda: len(hub.connections) == 2)
        assert len(cloud.asked) == 4
        assert caplog.text.count("was not renewed") == 3
        assert "answered 500: out of order" in caplog.text

    with running(FakeCloud(ca), ca.server_context(tmp_path, "127.0.0.1")) as cloud:
        asyncio.run(main(cloud))


def test_an_expired_certificate_is_said_with_what_to_do(ca, tmp_path, caplog):
    async def main(cloud: FakeCloud) -> None:
        cloud.edge_crt = lambda asked: (401, b"expired")
        now = datetime.now(UTC)
        edge = Edge(tmp_path, ca, [1], cloud.port).enrolled(start=now - timedelta(days=2), end=now - timedelta(days=1))
        async with edge.agent():
            await until(lambda: "it has expired, and if the server does not renew it any more: join" in caplog.text)

    with running(FakeCloud(ca), ca.server_context(tmp_path, "127.0.0.1")) as cloud:
        asyncio.run(main(cloud))


def test_systemd_is_told(ca, hub, tmp_path):
    told = []

    async def main() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(tmp_path / "notify"))
            notify.setblocking(False)

            def read() -> list[str]:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        told.extend(notify.recv(4096).decode().splitlines())
                return told

            async with hub.up(hub.context(tmp_path, "127.0.0.1")):
                edge = Edge(tmp_path, ca, [hub.port]).enrolled()
                edge.systemd = Systemd({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000"})
                async with edge.agent():
                    await until(lambda: read().count("WATCHDOG=1") > 2)
                    await until(lambda: f"STATUS=connected to wss://127.0.0.1:{hub.port}" in read())
            read()
        assert told[0] == "READY=1"
        assert "STOPPING=1" in told

    asyncio.run(main())
    Systemd({}).tell("READY=1")
    assert Systemd({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}).watchdog is None
    Systemd({"NOTIFY_SOCKET": "/nowhere"}).tell("READY=1")


def test_stopping_says_goodbye_to_the_hub(ca, hub, tmp_path):
    async def main() -> None:
        async with hub.up(hub.context(tmp_path, "127.0.0.1")):
            async with Edge(tmp_path, ca, [hub.port]).enrolled().agent():
                await until(lambda: hub.received)
            await hub.connections[0].wait_closed()
            assert (hub.connections[0].close_code, hub.connections[0].close_reason) == (1000, "the agent is stopping")

    asyncio.run(main())


def test_an_edge_that_has_not_joined_or_asks_for_an_unknown_transport_does_not_start(ca, tmp_path):
    async def main() -> None:
        edge = Edge(tmp_path, ca, [1])
        with edge.files.locked(make=True), pytest.raises(NotFound):
            Agent(edge.files, edge.settings, world=edge.world)
        edge.enrolled()
        with pytest.raises(UsageError, match="no transport"):
            Agent(
                edge.files,
                Settings(node="edge-1", https=edge.settings.https, hub=edge.settings.hub, transport="pigeon"),
                world=edge.world,
            )

    asyncio.run(main())
