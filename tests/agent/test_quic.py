"""The agent over QUIC: against our hub, falling back to WebSocket where UDP does not get through, and coming back to it."""

import asyncio
import contextlib
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.agent.test_run import Edge, FakeHub, until
from tests.support.fake_cloud import FakeCA
from tests.support.quic_site import QuicSite, quic_site
from tests.support.server import server
from tests.support.server import until as wait_until
from tests.transports.test_quic import update

from edgeward.agent import enrol, status
from edgeward.agent.endpoint import Endpoint
from edgeward.agent.rhythm import Backoff
from edgeward.agent.route import QUIC, REST_FIRST, REST_LONGEST, WEBSOCKET, Route
from edgeward.agent.run import Agent
from edgeward.errors import ExtraMissing
from edgeward.model.device import Cause

HUB, OTHER = Endpoint(host="a", port=10000), Endpoint(host="b", port=10000)
UDP = Endpoint(host="a", port=10001)


# ------------------------------------------------------------------------------------------------------------------- route


def highest(_low: float, high: float) -> float:
    return high


def test_quic_is_tried_first_and_websocket_after_it():
    route = Route(hubs=(HUB, OTHER), quics=(UDP,), dice=highest)
    assert route.choices(0, 0.0) == [(QUIC, UDP), (WEBSOCKET, HUB)]
    assert route.choices(1, 0.0) == [(QUIC, UDP), (WEBSOCKET, OTHER)]


def test_quic_that_failed_rests_ever_longer_and_is_tried_again():
    route, time, rests = Route(hubs=(HUB,), quics=(UDP,), dice=highest), 0.0, []
    for _ in range(8):
        route.failed(time)
        rest = route.rest(time)
        assert route.choices(0, time + rest - 1) == [(WEBSOCKET, HUB)]
        time += rest
        assert route.choices(0, time) == [(QUIC, UDP), (WEBSOCKET, HUB)]
        rests.append(rest)
    assert rests == [REST_FIRST * 2**n for n in range(6)] + [REST_LONGEST] * 2
    route.succeeded()
    route.failed(time)
    assert route.rest(time) == REST_FIRST


def test_a_transport_that_stands_alone_never_rests():
    alone = Route(hubs=(), quics=(UDP,), dice=highest)
    alone.failed(0.0)
    assert (alone.choices(3, 1.0), alone.rest(1.0)) == ([(QUIC, UDP)], None)
    assert Route(hubs=(HUB,), quics=(), dice=highest).rest(0.0) is None
    assert isinstance(alone._rest, Backoff)


# ------------------------------------------------------------------------------------------------------------------- agent


@pytest.fixture
def ca() -> FakeCA:
    return FakeCA()


def edge_of(site: QuicSite, directory, hub_port: int = 1, *, udp: int | None = None, transport: str = "auto") -> Edge:
    edge = Edge(directory, site.ca, [hub_port])
    edge.settings = replace(
        edge.settings, transport=transport, quic=(Endpoint(host="127.0.0.1", port=udp or site.port),)
    )
    return edge


async def enrolled(edge: Edge, site: QuicSite) -> Edge:
    certificate, key = await site.device("edge-1")
    with edge.files.locked(make=True):
        edge.files.write_ca(site.ca.der)
        edge.files.swap(certificate.public_bytes(enrol.serialization.Encoding.DER), key)
    return edge


def test_the_agent_connects_by_quic_keeps_alive_and_acknowledges(tmp_path):
    async def main() -> None:
        async with quic_site() as site:
            edge = await enrolled(edge_of(site, tmp_path), site)
            async with edge.agent():
                await until(site.hub.online)
                settled = await site.hub.send("edge-1", update("d-1"), wait=10)
                assert settled.answer.operation == "response"
                found = await asyncio.to_thread(status.ask, edge.files.directory)
                assert (found.transport, found.hub) == ("quic", f"quic://127.0.0.1:{site.port}")
                (live,) = site.hub.registry
                heard = live.session.heard
                site.clock.t += 5
                await until(lambda: live.session.heard > heard)
            await until(lambda: not site.hub.online())
            await site.hub.settle()
            assert (await site.store.device("edge-1")).offline_cause is Cause.CLOSED

    asyncio.run(main())


@contextlib.contextmanager
def black_hole():
    """A UDP port whose datagrams nobody answers: what a firewall that drops looks like."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
        hole.bind(("127.0.0.1", 0))
        yield hole.getsockname()[1]


def test_where_udp_is_blocked_it_falls_back_remembers_and_comes_back_when_it_is_not(ca, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "edgeward.agent")
    monkeypatch.setattr("edgeward.agent.over_quic.HANDSHAKE", 0.4)
    monkeypatch.setattr("edgeward.agent.route.REST_FIRST", 100.0)  # the tests' dice make a fiftieth of it

    async def main() -> None:
        async with quic_site() as site:
            hub = FakeHub(site.ca)
            with black_hole() as blocked:
                async with hub.up(hub.context(tmp_path, "127.0.0.1")):
                    edge = await enrolled(edge_of(site, tmp_path, hub.port, udp=blocked), site)
                    edge.world = replace(edge.world, heartbeat=5.0)  # nothing here is silent, however busy the machine
                    async with edge.agent():
                        await until(lambda: hub.keepalives)
                        assert caplog.text.count("QUIC does not get through") == 1
                        hub.connections[0].transport.abort()
                        await until(lambda: len(hub.connections) == 2)
                        assert caplog.text.count("QUIC does not get through") == 1, "it is remembered"
                        edge.agent_route().quics = (Endpoint(host="127.0.0.1", port=site.port),)
                        await until(site.hub.online)
                        await until(lambda: hub.connections[1].close_code == 1000)
                        assert "not connected" not in caplog.text.rpartition("connected to wss")[2]
                        found = await asyncio.to_thread(status.ask, edge.files.directory)
                        assert (found.state, found.transport, found.connections) == ("connected", "quic", 3)

    made = []
    real = Agent.__init__

    def remembering(self, *arguments, **named) -> None:
        real(self, *arguments, **named)
        made.append(self)

    monkeypatch.setattr(Agent, "__init__", remembering)
    monkeypatch.setattr(Edge, "agent_route", lambda _self: made[-1]._route, raising=False)
    asyncio.run(main())


def test_a_port_that_nobody_listens_on_is_noticed_at_once(ca, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "edgeward.agent")
    monkeypatch.setattr("edgeward.agent.over_quic.HANDSHAKE", 3600.0)
    with black_hole() as port:
        pass

    async def main() -> None:
        hub = FakeHub(ca)
        async with hub.up(hub.context(tmp_path, "127.0.0.1")):
            edge = Edge(tmp_path, ca, [hub.port]).enrolled()
            edge.settings = replace(edge.settings, transport="auto", quic=(Endpoint(host="127.0.0.1", port=port),))
            async with edge.agent():
                await until(lambda: hub.keepalives)
                found = await asyncio.to_thread(status.ask, edge.files.directory)
                assert (found.transport, found.last_error) == ("websocket", ""), "it is connected: nobody has to look"
        assert "Connection refused (UDP)" in caplog.text

    asyncio.run(main())


def test_a_refusal_over_quic_is_said_in_the_hubs_words_and_websocket_is_not_bothered(tmp_path, caplog):
    async def main() -> None:
        async with quic_site() as site:
            hub = FakeHub(site.ca)
            async with hub.up(hub.context(tmp_path, "127.0.0.1")):
                edge = await enrolled(edge_of(site, tmp_path, hub.port), site)
                edge.settings = replace(edge.settings, node="edge-2")
                async with edge.agent():
                    await until(
                        lambda: "answered 403: the certificate is for node edge-1, not for edge-2" in caplog.text
                    )
                assert not hub.connections

    asyncio.run(main())


@pytest.mark.parametrize("foreign", [True, False])
def test_a_hub_that_is_not_proved_hears_nothing(tmp_path, caplog, foreign):
    async def main() -> None:
        async with quic_site() as site:
            edge = await enrolled(edge_of(site, tmp_path, transport="quic"), site)
            if foreign:
                with edge.files.locked():
                    edge.files.write_ca(FakeCA().der)
            else:
                edge.settings = replace(edge.settings, quic=(Endpoint(host="localhost", port=site.port),))
            async with edge.agent():
                await until(lambda: "not signed by the pinned CA" in caplog.text or "not for localhost" in caplog.text)
            assert not site.hub.online() and not [one for one in await site.store.audit() if "refused" in one.action]

    asyncio.run(main())


def test_without_the_library_auto_means_websocket_and_quic_says_what_to_install(ca, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "aioquic", None)
    ours = ("edgeward.transports.quic", "edgeward.agent.over_quic")
    for name in [name for name in sys.modules if name.startswith((*ours, "aioquic."))]:
        package, _, last = name.rpartition(".")
        monkeypatch.delattr(sys.modules[package], last, raising=False) if sys.modules.get(package) else None
        monkeypatch.delitem(sys.modules, name)

    async def main() -> None:
        hub = FakeHub(ca)
        async with hub.up(hub.context(tmp_path, "127.0.0.1")):
            edge = Edge(tmp_path, ca, [hub.port]).enrolled()
            edge.settings = replace(edge.settings, transport="auto")
            async with edge.agent():
                await until(lambda: hub.keepalives)
            with edge.files.locked(), pytest.raises(ExtraMissing) as caught:
                Agent(edge.files, replace(edge.settings, transport="quic"), world=edge.world)
            assert caught.value.hint == "pip install 'edgeward[quic]'"
            assert caught.value.exit_status == 2

    asyncio.run(main())


def test_the_whole_of_it_with_the_programs_that_people_start(tmp_path):
    """`up --quic-port`, `join`, `agent`, `nodes`, `send --wait`, `revoke`: over QUIC, and a revoked node is cut."""
    with server("--quic-port", "0") as one:
        port = one.api("GET", "/v1/status")["quic_port"]
        token = tmp_path / "token"
        token.write_text(one.token("edge-q"))
        place = tmp_path / "edge"
        joined = one.home.run(
            "join", f"https://127.0.0.1:{one.https}", "--token", f"@{token}", "--node", "edge-q", "--dir", place,
            "--hub", f"127.0.0.1:{one.hub}", "--quic", f"127.0.0.1:{port}",
        )  # fmt: skip
        assert joined.status == 0, joined
        log = tmp_path / "agent.log"
        agent = one.home.start("agent", "--dir", place, log=log)
        try:
            wait_until(lambda: one.state("edge-q") == "online", "the node online")
            found = one.home.run("agent", "status", "--dir", place, "--json")
            assert (found.status, found.json["transport"]) == (0, "quic")
            rollup = Path(f"/proc/{agent.pid}/smaps_rollup").read_text().splitlines()
            (resident,) = [int(line.split()[1]) for line in rollup if line.startswith("Rss:")]
            assert resident < 64_000
            said = one.run(
                "send", "edge-q", "--operation", "update", "--resource", "default/pod/x", '{"a": 1}', "--wait", "10"
            )
            assert said.status == 0, said
            one.revoke("edge-q")
            wait_until(lambda: one.state("edge-q") == "revoked", "the node revoked")
            wait_until(lambda: "answered 403: " in log.read_text(), "the refusal", seconds=30)
            assert "revoked" in log.read_text()
        finally:
            agent.terminate()
            assert agent.wait(20) == 0
