"""A CA is replaced while devices are out there: the bundle is delivered, stored, confirmed, and no device is locked out."""

import asyncio
import contextlib
import os
import signal

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.agent.test_run import Edge, FakeHub, until
from tests.support.fake_cloud import FakeCA
from tests.support.server import server
from tests.support.server import until as wait_until

from edgeward.agent.certificates import Certificates
from edgeward.errors import Unreadable
from edgeward.model import bundle as bundles
from edgeward.model.bundle import MAX_ANCHORS, TrustBundle


def update(bundle: TrustBundle | dict, msg_id: str = "t-1") -> str:
    content = msgspec.to_builtins(bundle) if isinstance(bundle, TrustBundle) else bundle
    route = {"source": "edgeward", "group": "resource", "operation": "update", "resource": bundles.RESOURCE}
    return msgspec.json.encode(
        {"header": {"msg_id": msg_id, "timestamp": 1}, "route": route, "content": content}
    ).decode()


def answer(hub: FakeHub, msg_id: str = "t-1") -> dict | None:
    return next((m for m in hub.received if m["header"].get("parent_msg_id") == msg_id), None)


@pytest.fixture
def ca() -> FakeCA:
    return FakeCA()


@pytest.fixture
def hub(ca) -> FakeHub:
    return FakeHub(ca)


@contextlib.asynccontextmanager
async def connected(ca, hub, tmp_path):
    async with hub.up(hub.context(tmp_path, "127.0.0.1")):
        edge = Edge(tmp_path, ca, [hub.port]).enrolled()
        async with edge.agent():
            await until(lambda: hub.keepalives)
            yield edge


def test_a_bundle_is_stored_confirmed_with_its_number_and_in_use_after_a_restart(ca, hub, tmp_path):
    following = FakeCA()
    bundle = TrustBundle(sequence=4, anchors=(ca.der, following.der))

    async def main() -> None:
        async with connected(ca, hub, tmp_path) as edge:
            await hub.connections[0].send(update(bundle), text=True)
            await until(lambda: answer(hub))
            assert (answer(hub)["route"]["operation"], answer(hub)["content"]) == ("response", {"sequence": 4})
            assert edge.files.bundle() == bundle
            assert edge.messages == [], "it is the agent's own"
        hub.ca = following
        context = following.server_context(tmp_path, "127.0.0.1")
        context.load_verify_locations(cadata=ca.der)
        many = len(hub.connections)
        async with hub.up(context), edge.agent():
            await until(lambda: len(hub.connections) == many + 1)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda ca: TrustBundle(sequence=5, anchors=(FakeCA().der,)), "the hub itself is not trusted"),
        (lambda ca: TrustBundle(sequence=5, anchors=(ca.server("x").public_bytes(Encoding.DER), ca.der)), "not a CA's"),
        (lambda ca: TrustBundle(sequence=3, anchors=(ca.der, FakeCA().der)), "is not newer than 3"),
        (lambda ca: TrustBundle(sequence=2, anchors=(ca.der,)), "is not newer than 3"),
        (lambda ca: {"sequence": 5, "anchors": []}, "0 anchors"),
        (lambda ca: {"sequence": -1, "anchors": ["AAAA"]}, "not a readable trust bundle"),
        (lambda ca: {"sequence": 5, "anchors": ["AAAA"]}, "not a readable certificate"),
        (lambda ca: {"sequence": 5, "anchors": "AAAA"}, "not a readable trust bundle"),
        (lambda ca: {"sequence": 5, "anchors": ["AAAA"] * (MAX_ANCHORS + 1)}, "9 anchors"),
        (lambda ca: None, "not a readable trust bundle"),
    ],
)
def test_a_bundle_that_is_old_wrong_or_would_lock_the_device_out_changes_nothing(ca, hub, tmp_path, make, words):
    good = TrustBundle(sequence=3, anchors=(ca.der,))

    async def main() -> None:
        async with connected(ca, hub, tmp_path) as edge:
            await hub.connections[0].send(update(good, "good"), text=True)
            await until(lambda: answer(hub, "good"))
            await hub.connections[0].send(update(make(ca)), text=True)
            await until(lambda: answer(hub))
            assert answer(hub)["route"]["operation"] == "error"
            assert words in answer(hub)["content"]
            assert edge.files.bundle() == good

    asyncio.run(main())


def test_a_kubeedge_cloud_is_not_asked_for_a_bundle(ca, hub, tmp_path):
    async def main() -> None:
        async with connected(ca, hub, tmp_path):
            await until(lambda: len(hub.keepalives) > 3)
            assert not [m for m in hub.received if m["route"]["resource"] == bundles.RESOURCE]

    asyncio.run(main())


def test_t48_a_bundle_killed_before_any_of_its_steps_is_the_old_one_or_the_new_one(ca, tmp_path):
    old, new = (TrustBundle(sequence=n, anchors=(ca.der, FakeCA().der)[:n]) for n in (1, 2))
    steps: list[str] = []
    counting = Certificates(tmp_path / "counting", step=steps.append)
    with counting.locked(make=True):
        counting.write_ca(ca.der)
        counting.write_bundle(old)
        before = len(steps)
        counting.write_bundle(new)
    for number in range(len(steps) - before):
        directory = tmp_path / str(number)
        files = Certificates(directory)
        with files.locked(make=True):
            files.write_ca(ca.der)
            files.write_bundle(old)
        pid = os.fork()
        if pid == 0:
            left = iter(range(number + 1))

            def step(_name: str, left=left, number=number) -> None:
                if next(left) == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            with contextlib.suppress(StopIteration):
                Certificates(directory, step=step).write_bundle(new)
            os._exit(0)
        os.waitpid(pid, 0)
        assert files.bundle() in (old, new)
        with files.locked():
            files.write_bundle(new)
        assert files.bundle() == new


def test_a_bundle_file_that_is_broken_is_said(ca, tmp_path):
    files = Certificates(tmp_path / "edge")
    with files.locked(make=True):
        files.write_ca(ca.der)
        assert files.bundle() == TrustBundle(sequence=0, anchors=(ca.der,))
        files.write_bundle(TrustBundle(sequence=1, anchors=(ca.der,)))
        for text in (b"", b"# Edgeward trust bundle, number x\n", b"# Edgeward trust bundle, number 1\nnothing"):
            (files.directory / "ca" / "bundle.crt").write_bytes(text)
            with pytest.raises(Unreadable):
                files.bundle()
        files.write_ca(ca.der)
        assert files.bundle().sequence == 0, "a new join begins anew"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("quic", [False, True])
def test_the_ca_is_replaced_and_no_device_is_offline_for_it(tmp_path, quic):
    """`ca rotate`, the confirmation, `ca rotate --activate`, a renewal under the new CA; also a device that was away meanwhile."""
    more = ("--quic-port", "0") if quic else ()
    with server(*more, configuration="[profiles.device]\nlifetime_minutes = 1\nbackdate_minutes = 0\n") as one:
        to = ["--hub", f"127.0.0.1:{one.hub}"]
        if quic:
            to += ["--quic", f"127.0.0.1:{one.api('GET', '/v1/status')['quic_port']}"]
        place, log = tmp_path / "edge", tmp_path / "agent.log"
        (tmp_path / "token").write_text(one.token("edge-1"))
        joined = one.home.run(
            "join", f"https://127.0.0.1:{one.https}", "--token", f"@{tmp_path / 'token'}", "--node", "edge-1", "--dir",
            place, *to,
        )  # fmt: skip
        assert joined.status == 0, joined
        agent = one.home.start("agent", "--dir", place, log=log)
        try:
            wait_until(lambda: one.state("edge-1") == "online", "the node online")
            old = one.ca
            wait_until(lambda: one.run("ca", "rotate", "--status", "--json").json["confirmed"] == 1, "the first bundle")
            prepared = one.run("ca", "rotate", "--name", "The Next", "--json")
            assert (prepared.status, prepared.json["state"], prepared.json["anchors"]) == (0, "prepared", 2)
            wait_until(lambda: one.run("ca", "rotate", "--status", "--json").json["behind"] == [], "the confirmation")
            assert Certificates(place).bundle().sequence == 2
            assert one.ca == old
            assert one.run("ca", "rotate").status == 1, "one is prepared"
            activated = one.run("ca", "rotate", "--activate", "--json")
            assert (activated.status, activated.json["state"]) == (0, "active")
            assert one.ca != old
            assert one.run("ca", "rotate", "--activate").status == 1
            serial = one.nodes()["edge-1"]["certificate"]["serial"]
            wait_until(
                lambda: one.nodes()["edge-1"]["certificate"]["serial"] != serial, "a renewal under the new CA", 120
            )
            wait_until(lambda: log.read_text().count("connected to") >= 2, "the new connection", 30)
            assert one.state("edge-1") == "online"
            assert "not connected" not in log.read_text()
            assert "was not renewed" not in log.read_text()
            moments = one.api("GET", "/v1/nodes/edge-1/timeline")
            assert not [m for m in moments if m["event"] == "offline"], moments
            confirmed = [record["facts"]["sequence"] for record in one.audit() if record["action"] == "trust.confirmed"]
            assert confirmed == [1, 2]
        finally:
            agent.terminate()
            assert agent.wait(20) == 0
