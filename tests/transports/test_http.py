"""HTTP on a real socket: what is answered, in which order, how streams and connections end."""

import asyncio
import re
import shutil
import socket
import struct
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgeward.transports.http import Http, HttpLimits
from tests.support.desk import HOST, Desk, serve, serve_tls, statuses
from tests.support.listener import every_loop
from tests.support.tls import CA, DEVICE, run, until

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="NEEDS curl: apt-get install curl")


@every_loop
def test_a_request_is_answered_whole(loop: str) -> None:
    async def main() -> None:
        async with serve() as served:
            answer = await served.ask(
                b"GET /edge.crt?x=1 HTTP/1.1\r\n" + HOST + b"X-A: 1\r\nx-a: 2\r\nEmpty:\r\nContent-Length: 3\r\n\r\nabc"
            )
            head, _, body = answer.partition(b"\r\n\r\n")
            assert body == b"GET /edge.crt?x=1 3"
            lines = head.split(b"\r\n")
            assert lines[0] == b"HTTP/1.1 200 OK"
            assert b"Content-Length: 19" in lines and b"Content-Type: text/plain; charset=utf-8" in lines
            assert any(re.fullmatch(rb"Date: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", line) for line in lines)
            (request,) = served.desk.requests
            assert request.body == b"abc" and request.path == "/edge.crt" and request.address == "127.0.0.1"
            assert request.headers["x-a"] == ("1", "2") and request.headers["empty"] == ("",)
            assert request.peer_certificate is None and request.at.tzinfo is UTC

    run(main(), loop)


@every_loop
def test_octet_by_octet_is_as_good(loop: str) -> None:
    message = (
        b"GET /a HTTP/1.1\r\n"
        + HOST
        + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nTrailer: t\r\n\r\n"
    )

    async def main() -> None:
        async with serve() as served:
            answer = await served.ask(*(bytes([octet]) for octet in message))
            assert answer.endswith(b"GET /a 3")
            assert "trailer" not in served.desk.requests[0].headers

    run(main(), loop)


@every_loop
def test_pipelined_requests_are_answered_in_order(loop: str) -> None:
    async def main() -> None:
        async with serve() as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"".join(b"GET /%b HTTP/1.1\r\n" % p + HOST + b"\r\n" for p in (b"wait", b"2", b"3", b"4")))
            await until(lambda: served.desk.requests)
            assert [r.path for r in served.desk.requests] == ["/wait"]  # one in hand at a time
            served.desk.gate.set()
            received = b""
            while b"GET /4 0" not in received:
                received += await reader.read(1000)
            assert re.findall(rb"GET /(\w+) 0", received) == [b"wait", b"2", b"3", b"4"]
            writer.write(b"GET /5 HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n")
            last = await reader.read()
            assert b"Connection: close" in last and last.endswith(b"GET /5 0")
            writer.close()

    run(main(), loop)


def test_more_pipelined_requests_than_allowed_end_the_connection_after_the_last() -> None:
    async def main() -> None:
        async with serve(HttpLimits(pipeline=5)) as served:
            answer = await served.ask((b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 50, until_closed=True)
            assert 5 <= len(statuses(answer)) <= 7 and answer.count(b"Connection: close") == 1

    run(main())


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_who_keeps_the_connection(version: bytes) -> None:
    async def main() -> None:
        async with serve() as served:
            answer = await served.ask(b"GET / HTTP/1.0\r\n\r\n", until_closed=True)
            assert statuses(answer) == [200]
            answer = await served.ask(b"GET / HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n", until_closed=True)
            assert statuses(answer) == [200]
            twice = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2
            assert statuses(await served.ask(twice)) == [200, 200]

    run(main())


def test_head_and_204_have_no_body() -> None:
    async def main() -> None:
        async with serve() as served:
            answer = await served.ask(b"HEAD /abc HTTP/1.1\r\n" + HOST + b"\r\nGET /none HTTP/1.1\r\n" + HOST + b"\r\n")
            assert b"Content-Length: 11" in answer and b"HEAD /abc" not in answer
            assert statuses(answer) == [200, 204] and answer.endswith(b"\r\n\r\n")
            stream = await served.ask(b"HEAD /stream HTTP/1.1\r\n" + HOST + b"\r\n")
            assert b"chunked" in stream and stream.endswith(b"\r\n\r\n")

    run(main())


def test_expect_100_continue() -> None:
    async def main() -> None:
        async with serve() as served:
            head = b"GET / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(head % 3)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"abc")
            assert (await reader.readuntil(b"GET / 3")).startswith(b"HTTP/1.1 200 OK")
            writer.write(head % 1_048_577)  # too large: said before the body is sent
            assert statuses(await reader.read()) == [413]
            writer.close()
            answer = await served.ask(b"GET / HTTP/1.1\r\n" + HOST + b"Expect: tea\r\nContent-Length: 1\r\n\r\nx")
            assert statuses(answer) == [417]

    run(main())


def test_targets_of_other_forms() -> None:
    async def main() -> None:
        async with serve() as served:
            answer = await served.ask(
                b"GET https://other:1/a/b?c HTTP/1.1\r\n" + HOST + b"\r\nOPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n"
            )
            assert b"GET /a/b?c 0" in answer and b"OPTIONS * 0" in answer
            upgrade = (
                b"GET / HTTP/1.1\r\n"
                + HOST
                + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            )
            assert statuses(await served.ask(upgrade)) == [200]
            assert statuses(await served.ask(b"CONNECT other:1 HTTP/1.1\r\n" + HOST + b"\r\nmore")) == [200]

    run(main())


@every_loop
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_stream_comes_piece_by_piece(loop: str, version: bytes) -> None:
    async def main() -> None:
        async with serve() as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"GET /stream HTTP/%b\r\nHost: x\r\n\r\n" % version)
            await reader.readuntil(b"\r\n\r\n")
            for piece in (b"one\n", b"two\n"):
                await served.desk.pieces.put(piece)
                wanted = b"4\r\n%b\r\n" % piece if version == b"1.1" else piece
                assert await reader.readexactly(len(wanted)) == wanted
            await served.desk.pieces.put(b"")
            if version == b"1.1":
                assert await reader.readexactly(5) == b"0\r\n\r\n"
                writer.write(b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n")
                await reader.readuntil(b"GET /next 0")
            else:
                assert await reader.read() == b""
            assert served.desk.streams_closed == 1
            writer.close()

    run(main(), loop)


@every_loop
@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
def test_a_stream_ends_when_its_peer_goes(loop: str, how: str) -> None:
    async def main() -> None:
        async with serve() as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            {"close": writer.close, "reset": writer.transport.abort, "half-close": writer.write_eof}[how]()
            await until(lambda: served.desk.streams_closed)
            await until(lambda: not served.http.open)

    run(main(), loop)


def test_a_stream_that_fails_is_cut_so_that_its_end_is_not_taken_for_one(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serve() as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            await served.desk.pieces.put(b"fail")
            try:
                rest = await reader.read()
            except ConnectionResetError:
                rest = b""
            assert not rest.endswith(b"0\r\n\r\n") and "broke off" in caplog.text
            writer.close()

    run(main())


def test_a_request_in_hand_is_finished_when_its_peer_goes() -> None:
    async def main() -> None:
        async with serve() as served:
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: served.desk.requests)
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            (in_hand,) = [t for t in tasks if "answer_all" in repr(t.get_coro())]
            tcp = writer.get_extra_info("socket")
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, no mere end
            writer.transport.abort()
            await until(lambda: not served.http.open)
            assert not in_hand.done()
            served.desk.gate.set()
            await until(in_hand.done)
            assert not in_hand.cancelled()

    run(main())


def test_closing_lets_the_request_in_hand_finish() -> None:
    async def main() -> None:
        async with serve() as served:
            busy = asyncio.ensure_future(served.ask(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n", until_closed=True))
            idle = asyncio.ensure_future(served.ask(until_closed=True))
            await until(lambda: served.desk.requests and len(served.http.open) == 2)
            closed = asyncio.ensure_future(served.http.close(10))
            assert await idle == b""
            assert not closed.done()
            served.desk.gate.set()
            assert statuses(await busy) == [200]
            await closed

    run(main())


def test_the_administrative_socket_is_the_same_protocol(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk()
        http = Http(desk.respond, now=lambda: datetime.now(UTC))
        server = await asyncio.get_running_loop().create_unix_server(http, str(tmp_path / "admin"))
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "admin"))
        writer.write(b"POST /nodes HTTP/1.1\r\nHost: edgeward\r\nContent-Length: 2\r\n\r\n{}")
        await reader.readuntil(b"POST /nodes 2")
        assert desk.requests[0].address == "" and desk.requests[0].peer_certificate is None
        writer.close()
        server.close()
        await http.close(1)

    run(main())


@needs_curl
def test_curl_over_tls_with_and_without_a_certificate() -> None:
    async def main() -> None:
        async with serve_tls() as served:
            with DEVICE.files() as (certificate, key), CA.files() as (ca, _):
                base = ["curl", "-sS", "--cacert", ca, f"https://127.0.0.1:{served.port}/edge.crt"]
                body = ["-X", "GET", "--data-binary", "x" * 300]
                for more in ([], ["--cert", certificate, "--key", key], ["--tls-max", "1.2"], ["--http2"]):
                    done = await asyncio.to_thread(
                        subprocess.run, [*base, *body, *more], capture_output=True, timeout=20
                    )
                    assert done.stdout == b"GET /edge.crt 300", done.stderr
                with_certificate = [r.peer_certificate for r in served.desk.requests]
                assert with_certificate == [None, DEVICE.der, None, None]

    run(main())
