"""The hub over QUIC, with real datagrams: the same sessions and the same refusals as on WebSocket, and a client that moves."""

import asyncio
import dataclasses
import socket
from datetime import UTC, datetime

import pytest
from aioquic._buffer import Buffer
from aioquic.quic.packet import QuicPacketType, pull_quic_header
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate
from msgspec import Raw

from edgeward.errors import HandshakeFailed, ServerNotTrusted
from edgeward.hub.serve import SWEEP
from edgeward.model import message as messages
from edgeward.model.audit import Event
from edgeward.model.authority import Reason
from edgeward.model.device import Cause
from edgeward.model.http import Request, Response
from edgeward.transports import quic_frames
from edgeward.transports.limits import TlsLimits
from edgeward.transports.quic import PROTOCOL, REFUSED, STREAMS
from edgeward.transports.websocket import Limits
from tests.support.edges import until
from tests.support.fake_cloud import FakeCA
from tests.support.quic_site import Ear, QuicSite, quic_site, said


def run(scene, **options):
    async def whole():
        async with quic_site(**options) as site:
            return await scene(site)

    return asyncio.run(whole())


def keepalive() -> bytes:
    return messages.encode(messages.keepalive("k", datetime.now(UTC)))


def update(msg_id: str, content: str = '"x"') -> messages.Message:
    return messages.make(
        Raw(content.encode()),
        msg_id=msg_id,
        now=datetime.now(UTC),
        operation="update",
        resource="default/pod/x",
        source="edgecontroller",
        group="resource",
    )


def test_a_device_is_let_in_and_messages_go_both_ways_with_all_they_carry():
    async def scene(site: QuicSite):
        client, ear = await site.join("edge-1")
        client.send(keepalive())
        client.send(said(resourceversion="7", type="pod"))
        await until(lambda: site.delivered)
        for number in range(20):
            await site.hub.send("edge-1", update(f"d-{number}"))
        await until(lambda: len(ear.messages) == 20)
        client.ping()
        await until(lambda: ear.pongs)
        await site.hub.settle()
        return site.delivered, ear.messages, site.hub.online(), await site.store.device("edge-1")

    delivered, heard, online, device = run(scene)
    ((node, message),) = delivered
    assert (node, message.header.resourceversion, message.header.type) == ("edge-1", "7", "pod")
    assert [one.msg_id for one in heard] == [f"d-{number}" for number in range(20)], "in order"
    assert [(one.node, one.address) for one in online] == [("edge-1", "127.0.0.1")]
    assert device.online_since is not None


def test_a_message_of_five_megabytes_goes_both_ways():
    big = "x" * 5_000_000

    async def scene(site: QuicSite):
        client, ear = await site.join("edge-1")
        client.send(said().replace(b'"c"', f'"{big}"'.encode()))
        await site.hub.send("edge-1", update("d", f'"{big}"'))
        async with asyncio.timeout(60):
            while not (site.delivered and ear.messages):
                await asyncio.sleep(0.01)
        return len(memoryview(site.delivered[0][1].content)), len(memoryview(ear.messages[0].content))

    assert run(scene) == (5_000_002, 5_000_002)


@pytest.mark.parametrize(
    ("claimed", "fields", "status", "words"),
    [
        ("edge-2", {}, 403, "is for node edge-1, not for edge-2"),
        ("../x", {}, 400, "is not a node name"),
        ("edge-1", {"content": {"Project_id": ["p"]}}, 400, "node_id is missing"),
    ],
)
def test_t33_a_refusal_is_told_in_connection_close_before_any_message_and_is_audited(claimed, fields, status, words):
    async def scene(site: QuicSite):
        client, ear = await site.dial(await site.device("edge-1"), claimed, **fields)
        client.send(said())
        await until(lambda: ear.ended is not None)
        await site.hub.settle()
        actions = [record.action for record in await site.store.audit()]
        return ear.refusal, site.delivered, site.hub.online(), actions, len(site.server.waiting)

    refusal, delivered, online, actions, waiting = run(scene)
    assert refusal[0] == status
    assert words in refusal[1]
    assert (delivered, online, waiting) == ([], [], 0)
    assert any(action.startswith("connection.refused") for action in actions)


@pytest.mark.parametrize(
    ("kind", "code", "alert"), [(ServerNotTrusted, "tls", "unknown ca"), (HandshakeFailed, "quic", "bad certificate")]
)
def test_a_client_that_does_not_take_our_certificate_says_why_and_who_it_is(kind, code, alert):
    async def scene(site: QuicSite):
        def check(_chain) -> None:
            raise kind(address="hub", why="some rule is broken")

        pair = await site.device("edge-1")
        with pytest.raises(kind):
            await site.dial(pair, "edge-1", check=check)
        await until(lambda: site.failures)
        return site.failures, pair[0], len(site.server.waiting)

    (failure,), certificate, waiting = run(scene)
    assert (failure.code, failure.alert, failure.received, waiting) == (code, alert, True, 0)
    assert failure.reason == "it does not take our certificate: TLS with hub failed: some rule is broken"
    assert failure.certificate == certificate.public_bytes(Encoding.DER)


def test_a_certificate_without_a_row_and_a_revoked_one_are_refused_although_the_handshake_is_sound():
    async def scene(site: QuicSite):
        certificate, key = await site.device("edge-1")
        serial = (await site.store.valid_certificates("edge-1", "device", datetime.now(UTC)))[0].serial
        cause = Event(at=datetime.now(UTC), actor="test", action="test", object="x", facts={})
        await site.store.revoke([serial], datetime.now(UTC), Reason.KEY_COMPROMISE, cause)
        refusals = []
        stranger = site.ca.device(key.public_key(), "edge-1")
        for shown in (certificate, load_der_x509_certificate(stranger)):
            _, ear = await site.dial((shown, key), "edge-1")
            await until(lambda ear=ear: ear.ended is not None)
            refusals.append(ear.refusal)
        return refusals, site.hub.online()

    refusals, online = run(scene)
    assert [status for status, _ in refusals] == [403, 403]
    assert "revoked" in refusals[0][1] and "issued here" in refusals[1][1]
    assert online == []


def test_t34_a_revocation_closes_the_connection_at_once_and_says_so():
    async def scene(site: QuicSite):
        client, ear = await site.join("edge-1")
        site.hub.close_node("edge-1", Cause.REVOKED)
        await site.hub.settle()
        client.send(said())
        await until(lambda: ear.ended is not None)
        return ear.ended, site.delivered, site.hub.online(), (await site.store.device("edge-1")).offline_cause

    ended, delivered, online, cause = run(scene)
    assert ended == "closed by the hub"
    assert (delivered, online, cause) == ([], [], Cause.REVOKED)


def test_t41_the_newest_session_wins():
    async def scene(site: QuicSite):
        pair = await site.device("edge-1")
        _, first = await site.dial(pair, "edge-1")
        await until(lambda: first.link)
        second_client, second = await site.dial(pair, "edge-1")
        await until(lambda: second.link and first.ended is not None)
        await site.hub.send("edge-1", update("x"))
        await until(lambda: second.messages)
        await site.hub.settle()
        second_client.send(said())
        await until(lambda: site.delivered)
        return first.messages, (await site.store.device("edge-1")).online_since

    heard, online_since = run(scene)
    assert heard == [] and online_since is not None


def test_the_session_goes_on_when_the_client_moves_to_another_port_and_address():
    async def scene(site: QuicSite):
        client, ear = await site.join("edge-1")
        client.send(keepalive())
        ports = set()
        for number, local in enumerate((("127.0.0.1", 0), ("127.0.0.2", 0), ("127.0.0.1", 0))):
            before = client._transport.get_extra_info("sockname")
            await client.rebind(local)
            ports.add(client._transport.get_extra_info("sockname"))
            assert client._transport.get_extra_info("sockname") != before
            client.send(said(msg_id=f"m-{number}"))
            await until(lambda number=number: len(site.delivered) == number + 1)
            await site.hub.send("edge-1", update(f"d-{number}"))
            await until(lambda number=number: len(ear.messages) == number + 1)
            await until(lambda local=local: site.hub.online()[0].address == local[0])
        await site.hub.settle()
        return len(ports), (await site.store.device("edge-1")).connections, ear.ended

    assert run(scene) == (3, 1, None)


def test_t38_a_silent_node_is_closed_by_the_same_watchdog():
    async def scene(site: QuicSite):
        _, ear = await site.join("edge-1")
        site.clock.t += site.hub.settings.keepalive + SWEEP
        await site.hub.sweep()
        await until(lambda: ear.ended is not None)
        await site.hub.settle()
        return (await site.store.device("edge-1")).offline_cause

    assert run(scene) is Cause.SILENT


def test_t42_a_node_over_its_rate_is_not_listened_to_for_a_while_and_loses_nothing():
    async def scene(site: QuicSite):
        client, ear = await site.join("edge-1")
        for number in range(200):
            client.send(said(msg_id=f"m-{number}"))
        (peer,) = set(site.server._listening._peers.values())
        await until(lambda: peer._held is not None)
        many = len(site.delivered)
        site.clock.t += 100
        async with asyncio.timeout(60):
            while len(site.delivered) < 200:
                await asyncio.sleep(0.05)
                site.clock.t += 1
        return many, [message.msg_id for _, message in site.delivered], ear.ended

    many, ids, ended = run(scene)
    assert many <= 121
    assert ids == [f"m-{number}" for number in range(200)]
    assert ended is None


def hostile(stream: int, octets: bytes, *, end: bool = False):
    def send(client) -> None:
        client._quic.send_stream_data(stream, octets, end_stream=end)
        client.transmit()

    return send


def many_streams(client) -> None:
    for number in range(1, STREAMS + 2):
        client._quic.send_stream_data(4 * number, b"msg")
    client.transmit()


def reset(client) -> None:
    client._quic.send_stream_data(8, b"msg")
    client._quic.reset_stream(8, 1)
    client.transmit()


HOSTILE = {
    "another prefix": (hostile(8, b"str"), "does not begin with `msg`"),
    "too large a message": (hostile(8, b"msg" + quic_frames.package(b"")[:6] + b"\xff" * 4), "larger than"),
    "no package": (hostile(8, b"msgGET / HTTP/1.1\r\n\r\n"), "its header begins with"),
    "not UTF-8": (hostile(8, b"msg" + quic_frames.package(b'"\xff"')), "not UTF-8"),
    "not a message": (hostile(8, b"msg" + quic_frames.package(b"[]")), "could not be read"),
    "a bomb": (hostile(8, b"msg" + quic_frames.package(b"[" * 100_000)), "could not be read"),
    "the end of a stream": (hostile(8, b"msg", end=True), "ended a stream"),
    "many streams": (many_streams, "too many streams"),
    "a reset stream": (reset, "reset a stream"),
    "a second request": (hostile(0, quic_frames.package(said("header"))), "more than one request"),
}


@pytest.mark.parametrize(("attack", "words"), HOSTILE.values(), ids=HOSTILE)
def test_t39_t40_a_peer_that_breaks_a_rule_is_told_and_closed_and_leaves_nothing(attack, words):
    async def scene(site: QuicSite):
        client, ear = await site.join("edge-1")
        attack(client)
        await until(lambda: ear.ended is not None)
        await site.hub.settle()
        cause = (await site.store.device("edge-1")).offline_cause
        return ear.ended, site.hub.online(), site.server.unfinished, cause

    ended, online, unfinished, cause = run(scene)
    assert words in ended
    assert (online, unfinished, cause) == ([], 0, Cause.PROTOCOL)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (hostile(4, b"msg" + quic_frames.package(said())), "before the connection was accepted"),
        (hostile(0, b"\x00" * 10), "its header begins with"),
        (hostile(0, quic_frames.package(b"")[:6] + (20_000).to_bytes(4, "big")), "larger than 16384"),
    ],
)
def test_nothing_is_dispatched_before_the_peer_is_admitted(sent, words):
    async def scene(site: QuicSite):
        pair = await site.device("edge-1")
        ear = Ear()
        told = asyncio.Event()

        async def admit(_request: Request) -> Response:
            await told.wait()
            raise AssertionError("never")

        site.server.admit = admit
        client, ear = await site.dial(pair, "edge-1")
        sent(client)
        await until(lambda: ear.ended is not None)
        told.set()
        return ear.ended, site.delivered

    ended, delivered = run(scene)
    assert delivered == []
    assert words in ended


def test_t37_a_peer_that_never_says_who_it_is_is_put_out():
    async def scene(site: QuicSite):
        ear = Ear()
        pair = await site.device("edge-1")
        silent = asyncio.Event()

        async def admit(_request: Request) -> Response:
            await silent.wait()
            raise AssertionError("never")

        site.server.admit = admit
        _, ear = await site.dial(pair, "edge-1")
        await until(lambda: ear.ended is not None)
        silent.set()
        return ear.ended, len(site.server.waiting)

    ended, waiting = run(scene, handshakes=TlsLimits(handshake_seconds=0.3))
    assert "did not say who it is in time" in ended and waiting == 0


def test_t37_an_unfinished_message_has_a_deadline():
    async def scene(site: QuicSite):
        client, ear = await site.join("edge-1")
        hostile(8, b"msg" + quic_frames.package(bytes(1000))[:500])(client)
        await until(lambda: ear.ended is not None)
        return ear.ended, site.server.unfinished

    assert run(scene, limits=Limits(patience=0.2)) == ("a message that takes too long", 0)


def test_unfinished_messages_of_all_peers_together_are_bounded():
    async def scene(site: QuicSite):
        first, ear_1 = await site.join("edge-1")
        second, ear_2 = await site.join("edge-2")
        part = b"msg" + quic_frames.package(bytes(60_000))[:-1]
        hostile(8, part)(first)
        await until(lambda: site.server.unfinished > 50_000)
        hostile(8, part)(second)
        await until(lambda: ear_2.ended is not None)
        return ear_1.ended, ear_2.ended, site.server.unfinished > 50_000

    assert run(scene, limits=Limits(unfinished=100_000)) == (None, "too many unfinished messages at once", True)


def test_a_full_waiting_room_puts_out_the_one_that_waits_longest():
    async def scene(site: QuicSite):
        waiting = asyncio.Event()

        async def admit(_request: Request) -> Response:
            await waiting.wait()
            return Response(status=403, body=b"no")

        site.server.admit = admit
        dialled = [await site.dial(await site.device(f"edge-{number}"), f"edge-{number}") for number in range(3)]
        await until(lambda: dialled[0][1].ended is not None)
        still = [ear.ended for _, ear in dialled[1:]]
        waiting.set()
        await until(lambda: all(ear.ended is not None for _, ear in dialled))
        return dialled[0][1].ended, still

    first, still = run(scene, handshakes=TlsLimits(handshakes_per_address=2))
    assert "left its place to newer ones" in first and still == [None, None]


def initial(token: bytes = b"", version: int = 1, size: int = 1200) -> bytes:
    """The first datagram of a client that may be anybody: a header is all that is looked at."""
    head = b"\xc0" + version.to_bytes(4, "big") + b"\x08" + bytes(8) + b"\x08" + bytes(8) + bytes((len(token),)) + token
    rest = size - len(head) - 2
    return head + (0x4000 | rest).to_bytes(2, "big") + bytes(rest)


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (initial(), QuicPacketType.RETRY),
        (initial(version=0x1A2A3A4A), QuicPacketType.VERSION_NEGOTIATION),
        (b"\xff\x51\x30\x34\x34" + bytes(1195), QuicPacketType.VERSION_NEGOTIATION),
        (initial(size=1199), None),
        (initial(token=b"forged token of some length"), None),
        (initial(version=0), None),
        (b"\x40" + bytes(1199), None),
        (b"", None),
        (b"GET / HTTP/1.1\r\n\r\n", None),
    ],
    ids=["new", "version", "KubeEdge's Q044", "short", "forged token", "negotiation", "no connection", "empty", "http"],
)
def test_t36_an_address_that_has_not_proved_itself_leaves_nothing_and_gets_less_than_it_sent(sent, answered):
    async def scene(site: QuicSite):
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setblocking(False)
            stranger.bind(("127.0.0.1", 0))
            for _ in range(50):
                await loop.sock_sendto(stranger, sent, ("127.0.0.1", site.port))
            await loop.sock_sendto(stranger, initial(), ("127.0.0.1", site.port))  # this one is always answered
            answers = []
            while (
                not answers or _kind(answers[-1]) is not QuicPacketType.RETRY or len(answers) < (51 if answered else 1)
            ):
                answers.append(await asyncio.wait_for(loop.sock_recv(stranger, 2000), 10))
        return answers, dict(site.server._listening._peers), len(site.server.waiting)

    def _kind(datagram: bytes):
        return pull_quic_header(Buffer(data=datagram), host_cid_length=8).packet_type

    answers, peers, waiting = run(scene)
    assert (peers, waiting) == ({}, 0)
    assert all(len(answer) < 1200 for answer in answers)
    assert len(answers) == (51 if answered is not None else 1)
    if answered is not None:
        assert _kind(answers[0]) is answered


def test_a_failed_handshake_is_reported():
    async def scene(site: QuicSite):
        pair = await dataclasses.replace(site, ca=FakeCA()).device("edge-1")
        _, ear = await site.dial(pair, "edge-1")
        await until(lambda: site.failures and ear.ended is not None)
        return ear.ended, site.failures

    ended, (failure,) = run(scene)
    assert (failure.address, failure.code) == ("127.0.0.1", "quic")
    assert "not signed by a CA of this authority" in failure.reason
    assert "not signed by a CA of this authority" in ended, "the device is told, too"


def test_codes_of_the_end_are_those_that_are_documented():
    assert (PROTOCOL, REFUSED) == (2, 0x1000)
