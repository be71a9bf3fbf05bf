"""WebSocket over real sockets: what a peer may send, what it gets for what it may not, and what it costs."""

import asyncio
import contextlib
import json
import resource
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

from edgeward.model import http
from edgeward.transports.websocket import Limits, Link
from edgeward.transports.websocket_client import WebSocketClient
from edgeward.transports.websocket_server import WebSocketServer
from tests.support.edges import DEADLINE, Edge, head, now, until

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "kubeedge.json").read_text())
MIB = 2**20


class Inbox:
    """A receiver that keeps what it gets."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.messages: list[bytes] = []
        self.trifles = 0
        self.resumptions = 0
        self.fault: str | None = None
        self.refusal: tuple[int, str] | None = None

    def opened(self, link: Link) -> None:
        self.link = link

    def received(self, octets: bytes | bytearray) -> None:
        self.messages.append(bytes(octets))

    def trifled(self) -> None:
        self.trifles += 1

    def resumed(self) -> None:
        self.resumptions += 1

    def refused(self, status: int, text: str) -> None:
        self.refusal = (status, text)

    def lost(self, fault: str) -> None:
        assert self.fault is None
        self.fault = fault


class Port:
    """A WebSocket server on a port of this machine."""

    def __init__(self, server: WebSocketServer, inboxes: list[Inbox], requests: list[http.Request]) -> None:
        self.server, self.inboxes, self.requests = server, inboxes, requests
        self.number = 0

    async def dial(self) -> Edge:
        return Edge(*await asyncio.open_connection("127.0.0.1", self.number, limit=2**20))

    async def connect(self) -> tuple[Edge, Inbox]:
        edge = await self.dial()
        assert (await edge.upgrade())[0] == 101
        return edge, self.inboxes[-1]


@contextlib.asynccontextmanager
async def port(answer=None, limits: Limits | None = None) -> AsyncIterator[Port]:
    inboxes: list[Inbox] = []
    requests: list[http.Request] = []

    async def admit(request: http.Request):
        requests.append(request)
        if answer is not None:
            return await answer(request)
        inboxes.append(Inbox())
        return inboxes[-1]

    one = Port(WebSocketServer(admit, now=now, limits=limits), inboxes, requests)
    listener = await asyncio.get_running_loop().create_server(one.server, "127.0.0.1", 0)
    one.number = listener.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        for inbox in inboxes:
            if inbox.link is not None and inbox.fault is None:
                inbox.link.abort()
        listener.close()


def run(scene, **options):
    async def whole():
        async with port(**options) as one:
            return await scene(one)

    return asyncio.run(whole())


# ------------------------------------------------------------------------------------------------------------ the upgrade


def test_the_recorded_request_of_a_real_edge_is_upgraded():
    async def scene(one):
        edge = await one.dial()
        status, _ = await edge.upgrade(request=VECTORS["websocket_upgrade_request"].encode())
        edge.writer.close()
        return status, one.requests[0]

    status, request = run(scene)
    assert status == 101
    assert request.header("node_id") == "edge-1"
    assert request.headers["connectionuse"] == ("msg", "msg")
    assert request.target == "/e632aba927ea4ac2b575ec1603d56f10/edge-1/events"
    assert request.address == "127.0.0.1"


def test_the_answer_agrees_to_the_key_and_to_nothing_else():
    async def scene(one):
        edge = await one.dial()
        extra = ("Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: mqtt")
        edge.writer.write(head("edge-1", *extra))
        return await edge.reader.readuntil(b"\r\n\r\n")

    lines = run(scene).decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 101 Switching Protocols"
    assert "Sec-WebSocket-Accept: /Yokq8qC9hkb2QdAu5o2kzKiv+M=" in lines
    assert "Server: edgeward" in lines  # by which our own agents know such a hub, and no version
    assert not any(word in line.lower() for line in lines for word in ("extensions", "-protocol"))


BAD_REQUESTS = {
    "not GET": (head().replace(b"GET", b"POST"), 405),
    "not HTTP/1.1": (head().replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
    "no upgrade": (head(Upgrade=None), 426),
    "no connection header": (head(Connection=None), 426),
    "no key": (head(Sec_WebSocket_Key=None, **{"Sec-WebSocket-Key": None}), 400),
    "another version": (head(**{"Sec-WebSocket-Version": "8"}), 400),
    "no host": (head(Host=None), 400),
    "two hosts": (head("edge-1", "Host: other"), 400),
    "a foreign origin": (head(Origin="https://evil.example"), 403),
    "an origin that is no URL": (head(Origin="null"), 403),
    "a body": (head("edge-1", "Content-Length: 5"), 400),
    "a chunked body": (head("edge-1", "Transfer-Encoding: chunked"), 400),
    "no HTTP": (b"\x16\x03\x01 hello\r\n\r\n", 400),
    "a header line that is none": (head("edge-1", "nonsense"), 400),
    "a head too large": (head("edge-1", *[f"X-{n}: {'a' * 1000}" for n in range(20)]), 431),
    "data before the answer": (head() + Frame(Opcode.TEXT, b"{}").serialize(mask=True), 400),
}


@pytest.mark.parametrize(("request_", "expected"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_request_that_is_no_upgrade_is_refused_in_words_and_closed(request_, expected):
    async def scene(one):
        edge = await one.dial()
        status, text = await edge.upgrade(request=request_)
        return status, text, await edge.reader.read(), one.requests

    status, text, rest, requests = run(scene)
    assert (status, rest, requests) == (expected, b"", [])
    assert text.strip()


def test_an_origin_that_is_the_host_is_welcome():
    async def scene(one):
        edge = await one.dial()
        return await edge.upgrade(request=head(Origin="https://127.0.0.1:10000"))

    assert run(scene)[0] == 101


def test_a_refusal_is_answered_before_the_upgrade():
    async def refuse(request):
        return http.text(403, "the certificate is for node a, not for b\n")

    async def scene(one):
        edge = await one.dial()
        return *await edge.upgrade(), await edge.reader.read()

    assert run(scene, answer=refuse) == (403, "the certificate is for node a, not for b\n", b"")


def test_a_bug_in_an_admission_is_a_500_with_a_number_and_no_more(caplog):
    async def broken(request):
        raise KeyError("secret")

    async def scene(one):
        edge = await one.dial()
        return await edge.upgrade()

    status, text = run(scene, answer=broken)
    assert status == 500 and text.startswith("internal error ") and "secret" not in text
    assert text.strip().rpartition(" ")[2] in caplog.text


def test_a_head_may_come_an_octet_at_a_time():
    async def scene(one):
        edge = await one.dial()
        for octet in head():
            edge.writer.write(bytes([octet]))
            await asyncio.sleep(0)
        return await edge.answer()

    assert run(scene)[0] == 101


def test_t37_a_head_that_never_ends_is_refused_in_time():
    async def scene(one):
        edge = await one.dial()
        edge.writer.write(head()[:-2])
        return await edge.answer()

    assert run(scene, limits=Limits(handshake=0.05))[0] == 408


def test_a_peer_that_leaves_during_its_admission_is_forgotten():
    async def scene(one):
        asked, decide = asyncio.Event(), asyncio.Event()
        inbox = Inbox()

        async def slow(request):
            asked.set()
            await decide.wait()
            return inbox

        one.server.admit = slow
        edge = await one.dial()
        edge.writer.write(head())
        await asked.wait()
        edge.cut()
        await asyncio.sleep(0.05)
        decide.set()
        await asyncio.sleep(0.05)
        return inbox

    inbox = run(scene)
    assert inbox.link is None and inbox.fault is None


# ------------------------------------------------------------------------------------------------------------ messages


def test_messages_go_both_ways():
    async def scene(one):
        edge, inbox = await one.connect()
        edge.send(b'{"a":1}\n')
        edge.frame(Opcode.BINARY, b"{}")
        await until(lambda: len(inbox.messages) == 2)
        inbox.link.send(b"down\n")
        frame = await edge.next_frame()
        edge.writer.close()
        await until(lambda: inbox.fault is not None)
        return inbox, frame

    inbox, frame = run(scene)
    assert inbox.messages == [b'{"a":1}\n', b"{}"]
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.TEXT, True, b"down\n")
    assert inbox.fault == ""


@pytest.mark.parametrize("key", ["tIgvfXubm+xYyhuPs2qFRA=", "tIgvfXubm+xYyhuPs2qFRA!=", "tIgvfXubm+xYyhuPs2qFRAAA", ""])
def test_a_key_that_is_not_sixteen_octets_is_refused(key):
    async def scene(one):
        edge = await one.dial()
        return (await edge.upgrade(request=head(**{"Sec-WebSocket-Key": key})))[0]

    assert run(scene) == 400


@pytest.mark.parametrize(
    "changed", [{"Connection": "keep-alive, Upgrade"}, {"Upgrade": "WebSocket"}, {"Connection": "UPGRADE"}]
)
def test_an_upgrade_may_be_asked_for_in_more_than_one_way(changed):
    async def scene(one):
        edge = await one.dial()
        edge.writer.write(head(**changed))
        return await edge.reader.readuntil(b"\r\n\r\n")

    answer = run(scene)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: " + accept_key("tIgvfXubm+xYyhuPs2qFRA==").encode() in answer
    assert answer.count(b"Server: edgeward\r\n") == 1


def test_a_frame_that_comes_alone_is_read_like_any_other_whatever_its_length():
    sizes = (0, 1, 125, 126, 127, 300, 4087, 4088, 4089, 4096, 5000)
    bodies = [bytes([97 + n % 26]) * size for n, size in enumerate(sizes)]

    async def scene(one):
        edge, inbox = await one.connect()
        for count, body in enumerate(bodies, 1):
            edge.send(body)
            await until(lambda count=count: len(inbox.messages) == count)
        for body in bodies:  # and together, so that most begin in the middle of what is read
            edge.send(body)
        await until(lambda: len(inbox.messages) == 2 * len(bodies))
        return inbox.messages, inbox.link._unread, one.server.unfinished

    assert run(scene) == (bodies * 2, 0, 0)


@pytest.mark.parametrize("limit", [200, 2000])
def test_a_frame_that_comes_alone_is_held_to_the_limit(limit):
    async def scene(one):
        edge, inbox = await one.connect()
        edge.send(b"a" * limit)
        await until(lambda: inbox.messages)
        edge.send(b"a" * (limit + 1))
        return await edge.closed(), len(inbox.messages)

    assert run(scene, limits=Limits(message=limit)) == (1009, 1)


def test_t42_a_message_may_come_an_octet_at_a_time():
    async def scene(one):
        edge, inbox = await one.connect()
        for octet in Frame(Opcode.TEXT, b'{"a":"\xc3\xa9"}').serialize(mask=True):
            edge.writer.write(bytes([octet]))
            await asyncio.sleep(0)
        await until(lambda: inbox.messages)
        return inbox.messages

    assert run(scene) == ['{"a":"é"}'.encode()]


def test_a_message_may_come_in_fragments_with_control_frames_between():
    async def scene(one):
        edge, inbox = await one.connect()
        parts = ['{"a":"é'.encode()[:-1], "é".encode()[-1:] + b"x" * 5000, b'"}']
        edge.frame(Opcode.TEXT, parts[0], fin=False)
        edge.frame(Opcode.PING, b"are you there")
        edge.frame(Opcode.CONT, parts[1], fin=False)
        edge.frame(Opcode.CONT, parts[2])
        pong = await edge.next_frame()
        await until(lambda: inbox.messages)
        return inbox.messages, b"".join(parts), pong, one.server.unfinished

    got, sent, pong, unfinished = run(scene)
    assert got == [sent]
    assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"are you there")
    assert unfinished == 0


@pytest.mark.parametrize("fragment", [4096, 32 * MIB])
def test_a_message_of_the_full_32_mib_passes(fragment):
    whole = b'"' + b"a" * (32 * MIB - 2) + b'"'

    async def scene(one):
        edge, inbox = await one.connect()
        pieces = [whole[n : n + fragment] for n in range(0, len(whole), fragment)]
        for n, piece in enumerate(pieces):
            edge.frame(Opcode.CONT if n else Opcode.TEXT, piece, fin=n == len(pieces) - 1)
            await edge.writer.drain()
        await until(lambda: inbox.messages)
        return inbox.messages[0] == whole, one.server.unfinished

    assert run(scene) == (True, 0)


def test_a_close_is_answered_and_ends_the_connection():
    async def scene(one):
        edge, inbox = await one.connect()
        edge.send(b"{}")
        edge.frame(Opcode.CLOSE, struct.pack("!H", 1000))
        edge.send(b"after the close")
        code = await edge.closed()
        await until(lambda: inbox.fault is not None)
        return code, inbox

    code, inbox = run(scene)
    assert (code, inbox.messages, inbox.fault) == (1000, [b"{}"], "")


def test_nothing_is_dispatched_after_the_receiver_closed():
    async def scene(one):
        edge, inbox = await one.connect()
        take = inbox.received
        inbox.received = lambda octets: (take(octets), inbox.link.close(1008, "enough"))
        edge.writer.write(b"".join(Frame(Opcode.TEXT, b"%d" % n).serialize(mask=True) for n in range(50)))
        code = await edge.closed()
        await until(lambda: inbox.fault is not None)
        return code, inbox.messages

    assert run(scene) == (1008, [b"0"])


def test_after_an_abort_not_one_octet_goes_out():
    async def scene(one):
        edge, inbox = await one.connect()
        inbox.link.send(b"x" * (16 * MIB))
        inbox.link.abort()
        inbox.link.send(b"late")
        received = 0
        with contextlib.suppress(ConnectionError):
            while data := await edge.reader.read(65536):
                received += len(data)
        return received

    assert run(scene) < 16 * MIB


# ------------------------------------------------------------------------------------------- frames that break the rules


def raw(first: int, length: int, body: bytes = b"", *, mask: bool = True) -> bytes:
    """A frame header as given, whatever it says."""
    bit = 0x80 if mask else 0
    if length < 126:
        start = struct.pack("!BB", first, bit | length)
    elif length < 2**16:
        start = struct.pack("!BBH", first, bit | 126, length)
    else:
        start = struct.pack("!BBQ", first, bit | 127, length)
    return start + (b"\0\0\0\0" if mask else b"") + body


ATTACKS = {
    "a length of 2^32-1": (raw(0x81, 2**32 - 1), 1009),
    "a length of 2^63": (raw(0x81, 2**63), 1009),
    "32 MiB + 1": (raw(0x81, 32 * MIB + 1), 1009),
    "fragments of 32 MiB + 1 together": (raw(0x01, 5, b"aaaaa") + raw(0x80, 32 * MIB - 4), 1009),
    "no mask": (raw(0x81, 2, b"{}", mask=False), 1002),
    "RSV1": (raw(0xC1, 2, b"{}"), 1002),
    "RSV2": (raw(0xA1, 2, b"{}"), 1002),
    "RSV3": (raw(0x91, 2, b"{}"), 1002),
    "an unknown opcode": (raw(0x83, 2, b"{}"), 1002),
    "a control frame over 125": (raw(0x89, 126, b"a" * 126), 1002),
    "a fragmented ping": (raw(0x09, 1, b"a"), 1002),
    "a continuation of nothing": (raw(0x80, 1, b"a"), 1002),
    "a message inside a message": (raw(0x01, 1, b"a") + raw(0x81, 1, b"a"), 1002),
    "a whole message inside a message": (raw(0x01, 1, b"a") + raw(0x81, 200, b"a" * 200), 1002),
    "bad UTF-8 in a longer one": (raw(0x81, 200, b"a" * 198 + b"\xc3\x28"), 1007),
    "no mask in a longer one": (raw(0x81, 200, b"a" * 200, mask=False), 1002),
    "a deflate bomb": (raw(0xC1, 20, b"\x78\xda" + b"\0" * 18), 1002),
    "bad UTF-8": (raw(0x81, 2, b"\xc3\x28"), 1007),
    "bad UTF-8 in fragments": (raw(0x01, 1, b"\xc3") + raw(0x80, 1, b"\x28"), 1007),
    "UTF-8 cut short": (raw(0x81, 1, b"\xc3"), 1007),
    "close code 1005": (raw(0x88, 2, struct.pack("!H", 1005)), 1002),
    "a close of one octet": (raw(0x88, 1, b"\x03"), 1002),
    "a close reason that is not UTF-8": (raw(0x88, 3, struct.pack("!H", 1000) + b"\xff"), 1007),
}


@pytest.mark.parametrize(("attack", "expected"), ATTACKS.values(), ids=ATTACKS.keys())
def test_t39_frames_that_break_the_rules_close_with_their_code(attack, expected):
    async def scene(one):
        edge, inbox = await one.connect()
        edge.writer.write(attack)
        code = await edge.closed()
        await until(lambda: inbox.fault is not None)
        return code, inbox, one.server.unfinished

    code, inbox, unfinished = run(scene)
    assert (code, inbox.messages, unfinished) == (expected, [], 0)
    assert inbox.fault


def test_t39_a_million_empty_continuations_end_early_and_cost_little():
    async def scene(one):
        edge, inbox = await one.connect()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        edge.frame(Opcode.TEXT, b"", fin=False)
        flood = Frame(Opcode.CONT, b"", False).serialize(mask=True) * 10_000
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                edge.writer.write(flood)
                await edge.writer.drain()
        await until(lambda: inbox.fault is not None)
        return inbox, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    inbox, grown = run(scene)
    assert inbox.fault == "a message in too many fragments"
    assert inbox.trifles > 16_000  # each counted against the node's rate as well
    assert grown < 64 * 1024  # KiB


def test_t37_a_frame_that_trickles_is_cut_off():
    async def scene(one):
        edge, inbox = await one.connect()
        edge.writer.write(raw(0x81, 1000, b"slow"))
        code = await edge.closed()
        await until(lambda: inbox.fault is not None)
        return code, inbox.fault

    assert run(scene, limits=Limits(patience=0.05)) == (1008, "a message that takes too long")


@pytest.mark.parametrize("start", [raw(0x81, 1000), raw(0x81, 1000)[:1], raw(0x01, 2, b"{}")])
def test_t37_even_when_only_its_beginning_came(start):
    async def scene(one):
        edge, inbox = await one.connect()
        edge.send(b"{}")
        edge.writer.write(start)
        return await edge.closed(), inbox.messages

    assert run(scene, limits=Limits(patience=0.05)) == (1008, [b"{}"])


def test_a_slow_message_that_moves_is_waited_for():
    async def scene(one):
        edge, inbox = await one.connect()
        whole = Frame(Opcode.TEXT, b"1" * 100_000).serialize(mask=True)
        for start in range(0, len(whole), 10_000):
            edge.writer.write(whole[start : start + 10_000])
            await asyncio.sleep(0.02)
        await until(lambda: inbox.messages)
        return len(inbox.messages[0])

    assert run(scene, limits=Limits(patience=0.05, pace=100_000)) == 100_000


def test_all_unfinished_messages_together_are_bounded():
    async def scene(one):
        started = [await one.connect() for _ in range(4)]
        for edge, _ in started:
            edge.writer.write(raw(0x81, MIB, b"a" * 300_000))
        await until(lambda: any(inbox.fault for _, inbox in started))
        await until(lambda: one.server.unfinished == 900_000 + 3 * 14)
        faults = [inbox.fault for _, inbox in started]
        for edge, _ in started:
            edge.cut()
        await until(lambda: all(inbox.fault is not None for _, inbox in started))
        return sorted(map(str, faults)), one.server.unfinished

    faults, unfinished = run(scene, limits=Limits(unfinished=MIB))
    assert faults == ["None", "None", "None", "too many unfinished messages at once"]
    assert unfinished == 0


frames = st.builds(
    lambda first, data: raw(first, len(data), data),
    st.sampled_from([bit | code for bit in (0x00, 0x80) for code in (0, 1, 2, 8, 9, 10)]),
    st.binary(max_size=120),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(frames | st.binary(max_size=60), max_size=12), st.integers(1, 50))
def test_t39_any_octets_are_read_or_refused_and_never_raise(pieces, step):
    problems: list[object] = []

    async def scene(one):
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        edge, inbox = await one.connect()
        stream = b"".join(pieces)
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(stream), step):
                edge.writer.write(stream[start : start + step])
            edge.writer.write_eof()
            await edge.closed()
        await until(lambda: inbox.fault is not None)
        return one.server.unfinished

    assert run(scene) == 0
    assert problems == []


# ------------------------------------------------------------------------------------------------- flow in both directions


def test_a_peer_that_is_held_is_not_read_and_loses_nothing():
    async def scene(one):
        edge, inbox = await one.connect()
        take = inbox.received

        def received(octets):
            take(octets)
            if len(inbox.messages) == 1:
                inbox.link.hold(0.1)

        inbox.received = received
        sent = [b"%d" % n + b"x" * 3000 for n in range(200)]
        edge.writer.write(b"".join(Frame(Opcode.TEXT, data).serialize(mask=True) for data in sent))
        await until(lambda: inbox.messages)
        held_with = len(inbox.messages)
        await until(lambda: len(inbox.messages) == len(sent))
        return inbox.messages == sent, held_with, inbox.resumptions

    same, held_with, resumptions = run(scene)
    assert same and resumptions == 1
    assert held_with < 5  # a slice at most


def test_a_peer_that_does_not_read_is_cut_off():
    async def scene(one):
        edge, inbox = await one.connect()
        edge.writer.transport.pause_reading()
        while inbox.fault is None:
            inbox.link.send(b"x" * 100_000)
            await asyncio.sleep(0)
        return inbox.fault

    assert run(scene) == "it does not read what it is sent"


def test_a_peer_that_stops_reading_has_only_so_much_time():
    async def scene(one):
        edge, inbox = await one.connect()
        edge.writer.transport.pause_reading()
        inbox.link.send(b"x" * (24 * MIB))  # one message may always be queued whole
        await until(lambda: inbox.fault is not None)
        return inbox.fault

    assert run(scene, limits=Limits(patience=0.1)) == "it does not read what it is sent"


# ------------------------------------------------------------------------------------------------------------ the client


async def call(port_number: int, **options) -> tuple[WebSocketClient, Inbox]:
    inbox = Inbox()
    _, client = await asyncio.get_running_loop().create_connection(
        lambda: WebSocketClient(f"wss://127.0.0.1:{port_number}/p/edge-1/events", inbox, **options),
        "127.0.0.1",
        port_number,
    )
    await until(lambda: inbox.link is not None or inbox.fault is not None)
    return client, inbox


def test_the_client_connects_and_exchanges_messages():
    async def scene(one):
        headers = (("ConnectionUse", "msg"), ("node_id", "edge-1"))
        client, inbox = await call(one.number, headers=headers)
        client.send(b'{"up":1}\n')
        await until(lambda: one.inboxes[0].messages)
        one.inboxes[0].link.send(b'{"down":1}\n')
        await until(lambda: inbox.messages)
        client.close(1000, "")
        await until(lambda: inbox.fault is not None and one.inboxes[0].fault is not None)
        return one.requests[0], inbox, one.inboxes[0]

    request, inbox, served = run(scene)
    assert (inbox.messages, served.messages) == ([b'{"down":1}\n'], [b'{"up":1}\n'])
    assert (inbox.fault, served.fault) == ("", "")
    assert request.header("node_id") == "edge-1" and request.header("connectionuse") == "msg"
    assert not {"origin", "sec-websocket-extensions", "sec-websocket-protocol"} & set(request.headers)


def test_the_client_is_told_why_it_was_refused():
    async def refuse(request):
        return http.text(403, "node edge-1 is blocked\n")

    async def scene(one):
        _, inbox = await call(one.number)
        return inbox

    inbox = run(scene, answer=refuse)
    assert inbox.refusal == (403, "node edge-1 is blocked\n")
    assert inbox.link is None and inbox.fault is not None


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\nno length here", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200),
        (b"SSH-2.0-OpenSSH\r\n\r\n", 0),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 0),
        (b"", None),
    ],
)
def test_the_client_survives_any_answer(answer, status):
    async def scene():
        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with listener:
            _, inbox = await call(listener.sockets[0].getsockname()[1])
            await until(lambda: inbox.fault is not None)
        return inbox

    inbox = asyncio.run(scene())
    assert (inbox.refusal and inbox.refusal[0]) == status and inbox.link is None


def test_the_client_reads_messages_that_come_with_the_answer():
    async def scene(one):
        class Eager(Inbox):
            def opened(self, link: Link) -> None:
                super().opened(link)
                link.send(b"at once\n")

        async def admit(request):
            return Eager()

        one.server.admit = admit
        _, inbox = await call(one.number)
        await until(lambda: inbox.messages)
        return inbox.messages

    assert run(scene) == [b"at once\n"]


def test_an_unanswered_client_gives_up():
    async def scene():
        listener = await asyncio.start_server(lambda r, w: asyncio.sleep(DEADLINE), "127.0.0.1", 0)
        _, inbox = await call(listener.sockets[0].getsockname()[1], limits=Limits(handshake=0.05))
        listener.close()
        return inbox.fault

    assert asyncio.run(scene()) == "it does not answer"


def test_an_open_connection_between_messages_holds_no_timer_and_no_task():
    async def scene(one):
        edge, inbox = await one.connect()
        edge.send(b"{}")
        await until(lambda: inbox.messages)
        connection = inbox.link
        return [getattr(connection, name) for name in ("_timer", "_held", "_stuck", "_admission")]

    assert run(scene) == [None] * 4
