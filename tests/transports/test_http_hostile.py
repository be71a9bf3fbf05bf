"""HTTP on a real socket against peers that are ambiguous, greedy, slow or not speaking HTTP at all."""

import asyncio
import contextlib
import logging
import re
import socket
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeward.model.http import Response, text
from edgeward.transports.http import HttpLimits
from edgeward.transports.limits import LARGE, RateLimit
from tests.support.desk import HOST, serve, serve_tls, statuses
from tests.support.listener import every_loop
from tests.support.tls import client_context, dial, read_all, run, until

SMUGGLED = {
    "length and coding": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "two equal lengths": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "a list of lengths": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\na",
    "a signed length": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
    "a hexadecimal length": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\na",
    "an endless length": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 100 + b"\r\n\r\na",
    "two codings": b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a coding nearly": b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a coding in 1.0": b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length : 1\r\n\r\na",
    "a folded line": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "a folded length": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n 1\r\n\r\na",
    "bare LF": b"GET / HTTP/1.1\nHost: x\n\n",
    "bare LF after a header": b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    "bare CR in a header": b"GET / HTTP/1.1\r\nHost: x\r\nX: y\rZ: w\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "chunk size with a sign": b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n",
    "chunk size too long": b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\na",
    "chunk longer than said": b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    "chunk with bare LF": b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "not HTTP": b"\x00\x01\x02\x03\r\n\r\n",
    "an invented method": b"GRAB / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target that is no path": b"GET edge.crt HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", sorted(SMUGGLED))
def test_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection(name: str) -> None:
    async def main() -> None:
        async with serve() as served:
            behind = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
            answer = await served.ask(SMUGGLED[name] + behind, until_closed=True)
            (status,) = statuses(answer)
            assert status in (400, 413, 501, 505), answer
            assert b"Connection: close" in answer
            assert not served.desk.requests

    run(main())


def test_empty_lines_for_ever_are_no_request() -> None:
    async def main() -> None:
        async with serve() as served:
            assert statuses(await served.ask(*[b"\r\n" * 2000] * 10, until_closed=True)) == [400]

    run(main())


@pytest.mark.parametrize("coding", ["length", "chunked"])
@pytest.mark.parametrize("welcome", [True, False])
def test_t12_a_large_body_is_read_only_from_whom_it_is_taken(coding: str, welcome: bool) -> None:
    size, asked = 8_000_000, []

    async def main() -> None:
        answered = asyncio.Event()

        async def admit(certificate: bytes | None) -> Response | None:
            asked.append(certificate)
            await answered.wait()
            return None if welcome else text(403, "nothing large from you\n")

        async with serve(HttpLimits(body_octets=2 * size), admit=admit) as served:
            head = b"POST /x HTTP/1.1\r\nHost: x\r\n"
            if coding == "length":
                pieces = [head + b"Content-Length: %d\r\n\r\n" % size, b"x" * size]
            else:
                chunk = b"%x\r\n%b\r\n" % (size // 100, b"x" * (size // 100))
                pieces = [head + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 100, b"0\r\n\r\n"]
            asking = asyncio.ensure_future(served.ask(*pieces))
            await until(lambda: bool(asked))
            (connection,) = served.http.open
            for _ in range(20):  # whatever the kernel has for it
                await asyncio.sleep(0)
            assert LARGE < len(connection._body) < 20 * LARGE
            answered.set()
            if welcome:
                assert (await asking).endswith(f"POST /x {size}".encode())
            else:
                with contextlib.suppress(ConnectionError):  # much was on its way and went nowhere
                    assert statuses(await asking) == [403]
                assert not served.desk.requests
            assert len(asked) == 1

    run(main())


def test_a_refusal_waits_for_the_answers_before_it() -> None:
    async def main() -> None:
        async with serve() as served:
            answer = await served.ask(
                b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED["two lengths"], until_closed=True
            )
            assert statuses(answer) == [200, 400] and answer.index(b"GET /1 0") < answer.index(b" 400 ")

    run(main())


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nExtKeyUsages: " + b"1" * 1_048_576 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nExtKeyUsages: " + b"1" * 17_000,
        b"GET / HTTP/1.1\r\n" + b"Host: x\r\n" + b"A: b\r\n" * 500 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % i for i in range(101)) + b"\r\n",
        b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 17_000,
    ],
)
def test_t05_headers_have_a_limit(head: bytes) -> None:
    async def main() -> None:
        async with serve() as served:
            pieces = [head[i : i + 5000] for i in range(0, min(len(head), 100_000), 5000)]
            assert statuses(await served.ask(*pieces, until_closed=True)) == [431]
            assert not served.desk.requests

    run(main())


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("before", [1, 2])
def test_t05_headers_that_begin_in_the_piece_of_other_requests_have_the_same_limit(before: int, pieces: int) -> None:
    async def main() -> None:
        async with serve() as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            first = b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n" * before
            second = b"GET /2 HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 16_384 + b"\r\n\r\n"
            writer.write(first + second[:-200] if pieces == 2 else first + second)
            for _ in range(before):
                assert (await reader.readuntil(b"GET /1 0")).startswith(b"HTTP/1.1 200 ")
            if pieces == 2:
                writer.write(second[-200:])
            assert statuses(await asyncio.wait_for(reader.read(), 10)) == [431]
            assert len(served.desk.requests) == before
            writer.close()

    run(main())


CHUNK = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
MIB = 1_048_576


def send_and_read(port: int, head: bytes, body: bytes) -> bytes:
    """A blocking client that writes all before it reads, as many do."""
    with closing(dial(port, client_context())) as connection:
        connection.sendall(head)
        with contextlib.suppress(OSError):
            for at in range(0, len(body), 4096):
                connection.sendall(body[at : at + 4096])
        return read_all(connection)


@pytest.mark.parametrize("form", ["length", "chunked", "gzip"])
def test_t12_a_body_of_1_mib_and_1_is_refused_and_the_refusal_arrives(form: str) -> None:
    """Over TLS, where the answer is not lost in a reset even though the client goes on sending its body."""
    head = b"GET /edge.crt HTTP/1.1\r\nHost: x\r\n"
    if form == "chunked":
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        body = CHUNK * (MIB // 0x1000) + b"1\r\nx\r\n0\r\n\r\n"
    else:
        head += b"Content-Encoding: gzip\r\n" if form == "gzip" else b""
        head += b"Content-Length: %d\r\n\r\n" % (MIB + 1)
        body = b"x" * (MIB + 1)

    async def main() -> None:
        async with serve_tls() as served:
            answer = await asyncio.to_thread(send_and_read, served.port, head, body)
            assert statuses(answer) == [413] and b"larger than 65536 bytes" in answer
            assert not served.desk.requests

    run(main())


def test_t12_a_body_that_never_ends_is_refused_within_the_limit() -> None:
    async def main() -> None:
        async with serve() as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(17):  # 68 KiB
                writer.write(CHUNK)
            assert statuses(await reader.readuntil(b"\r\n\r\n")) == [413]
            writer.transport.abort()

    run(main())


@pytest.mark.parametrize("padding", [b"1;" + b"x" * 60_000, b"0" * 15 + b"1;a=b"])
def test_t12_chunks_of_padding_have_a_limit_too(padding: bytes) -> None:
    async def main() -> None:
        async with serve(HttpLimits(body_octets=5000)) as served:
            chunk = padding + b"\r\nx\r\n"
            head = b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            answer = await served.ask(head, *[chunk * 100] * 40, until_closed=True)
            assert statuses(answer) in ([413], [400])

    run(main())


def test_the_largest_body_is_taken() -> None:
    async def main() -> None:
        async with serve() as served:
            answer = await served.ask(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n" + b"x" * 65536)
            assert answer.endswith(b"GET / 65536")

    run(main())


@every_loop
def test_t37_one_octet_at_a_time_meets_the_deadlines(loop: str) -> None:
    async def main() -> None:
        async with serve(HttpLimits(head_seconds=0.2, body_seconds=0.2, idle_seconds=0.2)) as served:

            async def slowly(start: bytes) -> bytes:
                reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
                writer.write(start)
                answer = asyncio.ensure_future(reader.read())
                while not answer.done():
                    writer.write(b"x")
                    await asyncio.sleep(0.05)
                writer.transport.abort()
                return answer.result()

            in_head, in_body, silent, kept = await asyncio.gather(
                slowly(b"GET / HTTP/1.1\r\nX: "),
                slowly(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"),
                served.ask(until_closed=True),
                served.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", until_closed=True),
            )
            assert statuses(in_head) == [408] and statuses(in_body) == [408]
            assert silent == b"" and statuses(kept) == [200]

    run(main(), loop)


def test_a_long_answer_has_no_deadline() -> None:
    async def main() -> None:
        async with serve(HttpLimits(head_seconds=0.1, body_seconds=0.1, idle_seconds=0.1)) as served:
            answer = asyncio.ensure_future(served.ask(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"))
            await asyncio.sleep(0.4)
            served.desk.gate.set()
            assert statuses(await answer) == [200]

    run(main())


def test_t37_a_peer_that_does_not_read_is_cut() -> None:
    async def main() -> None:
        async with serve(HttpLimits(write_seconds=0.3)) as served:
            with closing(socket.create_connection(("127.0.0.1", served.port))) as tcp:
                tcp.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
                await until(lambda: served.desk.requests)
                await until(lambda: not served.http.open)

    run(main())


def test_t37_an_address_has_256_silent_connections_and_still_gets_in() -> None:
    async def main() -> None:
        async with serve() as served:
            idle = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(300)]
            await until(lambda: len(served.http.silent) == 256 and len(served.http.open) == 256)
            assert statuses(await served.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")) == [200]
            for _, writer in idle:
                writer.transport.abort()

    run(main())


def test_one_connection_too_many_makes_the_oldest_leave() -> None:
    async def main() -> None:
        async with serve(HttpLimits(connections=2)) as served:
            idle = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(2)]
            await until(lambda: len(served.http.open) == 2)
            assert statuses(await served.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")) == [200]
            assert await asyncio.wait_for(idle[0][0].read(), 5) == b""
            for _, writer in idle:
                writer.transport.abort()

    run(main())


def test_one_address_cannot_hold_all_places_by_keeping_connections_alive() -> None:
    async def main() -> None:
        async with serve(HttpLimits(connections=100, connections_per_address=3)) as served:
            kept = []
            for _ in range(10):
                reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).startswith(b"HTTP/1.1 200")
                kept.append(writer)
            await until(lambda: len(served.http.open) <= 3)
            for writer in kept:
                writer.transport.abort()

    run(main())


def test_t42_too_many_requests_get_429_and_the_address_comes_back() -> None:
    clock = [0.0]

    async def main() -> None:
        async with serve(rate=RateLimit(clock=lambda: clock[0], rate=2.0, burst=3)) as served:
            request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
            answer = await served.ask(request * 5)
            assert statuses(answer) == [200, 200, 200, 429, 429] and b"Retry-After: 1\r\n" in answer
            clock[0] += 0.5
            assert statuses(await served.ask(request * 2)) == [200, 429]

    run(main())


def test_too_many_requests_in_hand_get_503() -> None:
    async def main() -> None:
        async with serve(HttpLimits(requests=1)) as served:
            first = asyncio.ensure_future(served.ask(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"))
            await until(lambda: served.desk.requests)
            assert statuses(await served.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")) == [503]
            served.desk.gate.set()
            assert statuses(await first) == [200]

    run(main())


@pytest.mark.parametrize("path", [b"/fail", b"/split"])
def test_a_bug_of_ours_is_a_number_outside_and_a_trace_inside(path: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serve() as served:
            answer = await served.ask(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            assert statuses(answer) == [500, 200]
            assert b"reason" not in answer and b"Set-Cookie" not in answer
            number = re.search(rb"internal error (\w{8}):", answer)
            assert number is not None and number[1].decode() in caplog.text and "Traceback" in caplog.text

    with caplog.at_level(logging.ERROR):
        run(main())


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"GET / HTTP/1.1\r\n", HOST, b"\r\n", b"\r\n\r\n", b"Content-Length: 5\r\n", b"hello"]),
        st.sampled_from(
            [b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"Expect: 100-continue\r\n"]
        ),
        st.sampled_from(
            [b"Connection: close\r\n", b"Upgrade: x\r\nConnection: upgrade\r\n", b"GET /fail HTTP/1.1\r\n"]
        ),
        st.sampled_from([b"GET /stream HTTP/1.0\r\n", b"HEAD /none HTTP/1.1\r\n", b"POST /large HTTP/1.1\r\n"]),
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(pieces=PIECES)
def test_no_stream_of_octets_breaks_it(pieces: list[bytes]) -> None:
    logging.getLogger("edgeward.transports.http").disabled = True

    async def main() -> None:
        async with serve() as served:
            await served.desk.pieces.put(b"")
            try:
                answer = await served.ask(*pieces)
            except ConnectionResetError:
                return
            asked = sum(r.path == "/fail" for r in served.desk.requests)
            assert statuses(answer).count(500) <= asked

    try:
        run(main())
    finally:
        logging.getLogger("edgeward.transports.http").disabled = False
