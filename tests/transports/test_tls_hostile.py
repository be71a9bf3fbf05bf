"""The TLS driver against peers that are slow, rude, truncated or hostile; and how connections end."""

import asyncio
import os
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeward.errors import HandshakeFailed
from edgeward.transports import contexts
from edgeward.transports.limits import TlsLimits
from tests.support.listener import Echo, client_hello, every_loop, exchange, serve
from tests.support.tls import (
    CA,
    DEVICE,
    SERVER,
    certify,
    client_context,
    dial,
    read_all,
    run,
    until,
)

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="NEEDS openssl: apt-get install openssl")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="NEEDS curl: apt-get install curl")


@every_loop
def test_t36_plain_http_is_told_to_use_https(loop: str) -> None:
    async def main() -> None:
        async with serve() as served:

            def client() -> bytes:
                with closing(socket.create_connection(("127.0.0.1", served.port), timeout=10)) as tcp:
                    tcp.sendall(b"GET /ca.crt HTTP/1.1\r\nHost: x\r\n\r\n")
                    return read_all(tcp)

            answer = await asyncio.to_thread(client)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 400 ") and b"use https://" in body
            assert int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]) == len(body)
            assert served.failure.code == "plain-http"

    run(main(), loop)


@needs_curl
def test_curl_reads_the_hint_of_plain_http() -> None:
    async def main() -> None:
        async with serve() as served:
            command = ["curl", "-sS", f"http://127.0.0.1:{served.port}/ca.crt"]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=20)
            assert b"use https://" in done.stdout

    run(main())


@every_loop
def test_t37_the_handshake_has_one_deadline_that_octets_do_not_extend(loop: str) -> None:
    hello = client_hello()

    async def main() -> None:
        async with serve(limits=TlsLimits(handshake_seconds=0.3)) as served:
            _, silent = await asyncio.open_connection("127.0.0.1", served.port)
            reader, slow = await asyncio.open_connection("127.0.0.1", served.port)
            for octet in hello:
                slow.write(bytes([octet]))
                await asyncio.sleep(0.01)
                if reader.at_eof() or len(served.failures) == 2:
                    break
            await until(lambda: len(served.failures) == 2)
            assert {f.code for f in served.failures} == {"timeout"}
            assert served.listener.handshakes == 0
            for writer in (silent, slow):
                writer.close()

    run(main(), loop)


@every_loop
def test_t37_an_address_has_256_unfinished_handshakes_and_still_gets_in(loop: str) -> None:
    async def main() -> None:
        limits = TlsLimits(handshake_seconds=30, handshakes_per_address=256)
        async with serve(limits=limits) as served:
            idle = []
            for _ in range(300):
                idle.append(await asyncio.open_connection("127.0.0.1", served.port))
            await until(lambda: len(served.failures) == 44)
            assert served.listener.handshakes == 256
            assert {f.code for f in served.failures} == {"crowded"}
            assert await asyncio.to_thread(exchange, served.port, client_context()) == (b"hello", "TLSv1.3")
            for _, writer in idle:
                writer.transport.abort()
            await until(lambda: served.listener.handshakes == 0)

    run(main(), loop)


def test_all_addresses_together_have_a_limit() -> None:
    async def main() -> None:
        async with serve(limits=TlsLimits(handshakes=5)) as served:
            idle = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(8)]
            await until(lambda: len(served.failures) == 3)
            assert served.listener.handshakes == 5
            for _, writer in idle:
                writer.transport.abort()

    run(main())


@every_loop
def test_a_handshake_that_never_ends_its_messages_is_cut(loop: str) -> None:
    async def main() -> None:
        async with serve(limits=TlsLimits(handshake_octets=40_000)) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            # a hello of 16 MiB in many records: OpenSSL answers before our own limit does, which is as good
            writer.write(b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + b"\x00" * 16380)
            for _ in range(4):
                writer.write(b"\x16\x03\x01\x40\x00" + b"\x00" * 16384)
            await until(lambda: served.failures)
            assert served.failure.code in ("too-large", "tls")
            with pytest.raises(ConnectionError):
                while await reader.read(1000):
                    pass
                raise ConnectionError
            writer.close()

    run(main(), loop)


@every_loop
def test_truncated_handshakes_are_reported_and_raise_nothing(loop: str) -> None:
    hello = client_hello()

    async def main() -> None:
        async with serve() as served:
            for count, cut in enumerate((1, 5, 6, 50, len(hello) - 1, len(hello)), 1):
                _, writer = await asyncio.open_connection("127.0.0.1", served.port)
                writer.write(hello[:cut])
                writer.close()
                await until(lambda count=count: len(served.failures) == count)
            assert {f.code for f in served.failures} == {"closed"}
            assert served.failures[-1].server_name == "edge.example"

    run(main(), loop)


def test_a_port_that_is_only_looked_at_is_no_failure() -> None:
    async def main() -> None:
        async with serve() as served:
            for _ in range(3):
                _, writer = await asyncio.open_connection("127.0.0.1", served.port)
                writer.close()
                await writer.wait_closed()
            await asyncio.to_thread(exchange, served.port, client_context())
            assert not served.failures and served.listener.handshakes == 0

    run(main())


@every_loop
def test_a_connection_cut_in_the_middle_ends_quietly(loop: str) -> None:
    async def main() -> None:
        async with serve() as served:

            def client(reset: bool) -> None:
                connection = dial(served.port, client_context())
                connection.sendall(b"hello")
                connection.recv(5)
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

            for reset in (False, True):
                await asyncio.to_thread(client, reset)
            await until(lambda: all(a.lost for a in served.above))
            assert [len(a.lost) for a in served.above] == [1, 1]

    run(main(), loop)


def test_garbage_after_the_handshake_ends_the_connection_with_a_reason() -> None:
    async def main() -> None:
        async with serve() as served:

            def client() -> bytes:
                with dial(served.port, client_context()) as connection:
                    connection.sendall(b"hello")
                    connection.recv(5)
                    with socket.socket(fileno=os.dup(connection.fileno())) as tcp:
                        tcp.settimeout(10)
                        tcp.sendall(b"\x17\x03\x03\x00\x20" + b"z" * 32)
                        return read_all(tcp)

            answer = await asyncio.to_thread(client)
            assert answer[:1] in (b"\x15", b"\x17")  # an alert, sealed in TLS 1.3
            (above,) = served.above
            await until(lambda: above.lost)
            assert isinstance(above.lost[0], HandshakeFailed)
            assert above.received == b"hello"

    run(main())


@every_loop
def test_certificates_are_swapped_without_dropping_a_connection(loop: str) -> None:
    other = certify("other server", CA, purpose=ExtendedKeyUsageOID.SERVER_AUTH)
    current = [contexts.enrolment_context(certificate=SERVER.pem, key=SERVER.key, anchors=[CA.der])]

    async def main() -> None:
        async with serve(context=lambda: current[0]) as served:
            kept = await asyncio.to_thread(dial, served.port, client_context())
            assert kept.getpeercert(True) == SERVER.der
            current[0] = contexts.enrolment_context(certificate=other.pem, key=other.key, anchors=[CA.der])
            fresh = await asyncio.to_thread(dial, served.port, client_context())
            assert fresh.getpeercert(True) == other.der
            for connection in (kept, fresh):
                await asyncio.to_thread(connection.sendall, b"still here")
                assert await asyncio.to_thread(connection.recv, 100) == b"still here"
                connection.close()

    run(main(), loop)


def test_t34_a_session_id_of_tls_1_2_is_not_resumed_on_a_mutual_listener() -> None:
    async def main() -> None:
        async with serve(hub=True) as served:
            context = client_context(DEVICE, maximum_version=ssl.TLSVersion.TLSv1_2)

            def client() -> tuple[bool, bytes]:
                with dial(served.port, context) as first:
                    first.sendall(b"hello")
                    first.recv(5)
                    session = first.session
                    first.unwrap()  # both close_notify are out: now the session may be resumed
                assert session is not None and session.id and not session.has_ticket
                with dial(served.port, context, session=session) as second:
                    second.sendall(b"hello")
                    return bool(second.session_reused), read_all(second)

            assert await asyncio.to_thread(client) == (True, b"")  # the client resumed; it was let in no further
            assert served.failure.code == "session_reused"
            assert len(served.above) == 1

    run(main())


@needs_openssl
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_t34_there_is_no_ticket_and_no_psk_to_resume_with(version: str) -> None:
    async def main() -> None:
        async with serve(hub=True) as served:
            with DEVICE.files() as (certificate, key), tempfile.TemporaryDirectory() as directory:
                command = ["openssl", "s_client", "-connect", f"127.0.0.1:{served.port}", version]
                command += ["-cert", certificate, "-key", key]

                def client(*more: str) -> subprocess.CompletedProcess[bytes]:
                    return subprocess.run([*command, *more], input=b"Q\n", capture_output=True, timeout=20, check=False)

                first = await asyncio.to_thread(client, "-sess_out", f"{directory}/session")
                assert b"New, " in first.stdout
                if Path(f"{directory}/session").exists():  # TLS 1.2 writes one with the session ID
                    again = await asyncio.to_thread(client, "-sess_in", f"{directory}/session")
                    assert b"Reused, TLSv1.3" not in again.stdout
                    if b"Reused, " in again.stdout:
                        await until(lambda: served.failures)
                        assert served.failure.code == "session_reused"
                assert len(served.above) == 1 or not served.failures

    run(main())


@every_loop
def test_flow_control_goes_through(loop: str) -> None:
    """A peer that does not read pauses the protocol above; a protocol that pauses stops the peer."""

    class Slow(Echo):
        def data_received(self, data: bytes) -> None:
            self.received += data
            if len(self.received) == len(data):
                self.transport.pause_reading()

    async def main() -> None:
        async with serve(inner=Slow) as served:
            connection = await asyncio.to_thread(dial, served.port, client_context())
            connection.settimeout(0.2)
            sent = 0
            with pytest.raises(TimeoutError):
                while sent < 50_000_000:
                    sent += await asyncio.to_thread(connection.send, b"x" * 16000)
            (above,) = served.above
            assert not above.transport.is_reading()  # type: ignore[attr-defined]
            before = len(above.received)
            assert before <= 16384 < sent
            above.transport.resume_reading()
            await until(lambda: len(above.received) >= sent)
            above.transport.set_write_buffer_limits(high=100_000)
            above.transport.write(b"y" * 20_000_000)
            await until(lambda: above.pauses == ["pause"])
            assert above.transport.get_write_buffer_size() > 0
            connection.settimeout(10)

            def drain() -> None:
                got = 0
                while got < 20_000_000:
                    got += len(connection.recv(1_000_000))

            await asyncio.to_thread(drain)
            await until(lambda: above.pauses == ["pause", "resume"])
            connection.close()

    run(main(), loop)


@every_loop
def test_abort_sends_not_one_octet_more(loop: str) -> None:
    async def main() -> None:
        async with serve() as served:
            connection = await asyncio.to_thread(dial, served.port, client_context())
            await until(lambda: served.above)
            (above,) = served.above
            above.transport.write(b"y" * 20_000_000)
            above.transport.abort()
            above.transport.write(b"more")
            assert above.transport.is_closing()
            await until(lambda: above.lost)
            received = await asyncio.to_thread(read_all, connection)
            assert len(received) < 20_000_000
            connection.close()

    run(main(), loop)


def test_what_is_written_before_a_close_arrives() -> None:
    class Parting(Echo):
        def data_received(self, data: bytes) -> None:
            self.transport.write(b"y" * 5_000_000)
            self.transport.close()
            self.transport.close()

    async def main() -> None:
        async with serve(inner=Parting) as served:

            def client() -> int:
                with dial(served.port, client_context()) as connection:
                    connection.sendall(b"go")
                    return len(read_all(connection))

            assert await asyncio.to_thread(client) == 5_000_000
            await until(lambda: served.above[0].lost)

    run(main())


def test_a_peer_that_never_closes_its_side_is_cut() -> None:
    async def main() -> None:
        async with serve(limits=TlsLimits(linger_seconds=0.1)) as served:
            connection = await asyncio.to_thread(dial, served.port, client_context())
            await until(lambda: served.above)
            (above,) = served.above
            above.transport.close()
            await until(lambda: above.lost)
            connection.close()

    run(main())


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    start=st.sampled_from(["nothing", "hello"]),
    at=st.integers(0, 600),
    noise=st.binary(max_size=300),
    header=st.booleans(),
)
def test_garbage_never_raises_and_always_ends(start: str, at: int, noise: bytes, header: bool) -> None:
    data = noise
    if start == "hello":
        data = HELLO[:at] + noise + HELLO[at + len(noise) :]
    if header:
        data = b"\x16\x03\x01" + struct.pack(">H", len(data)) + data

    async def main() -> None:
        async with serve() as served:
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(data)
            writer.write_eof()
            await until(lambda: served.listener.handshakes == 0)
            writer.close()
            assert len(served.failures) <= 1 and not served.above

    run(main())


HELLO = client_hello()
