"""The TLS driver against real clients, Python's ssl and openssl s_client: who gets in, and what the others hear."""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgeward.transports import contexts
from tests.support.listener import client_hello, every_loop, exchange, serve
from tests.support.tls import (
    DEVICE,
    EXPIRED,
    FOREIGN,
    IMPOSTOR,
    SERVER,
    certify,
    client_context,
    dial,
    run,
    until,
)

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="NEEDS openssl: apt-get install openssl")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="NEEDS curl: apt-get install curl")


@every_loop
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [5, 16384, 16385, 3_000_000])
def test_octets_go_both_ways_and_the_end_is_clean(loop: str, version: ssl.TLSVersion, size: int) -> None:
    async def main() -> None:
        async with serve() as served:
            sent = os.urandom(size)

            def client() -> bytes:
                with dial(served.port, client_context(maximum_version=version)) as connection:
                    connection.settimeout(20)
                    received = b""
                    for at in range(0, size, 50_000):  # small enough steps that neither side waits for the other
                        piece = sent[at : at + 50_000]
                        connection.sendall(piece)
                        while len(received) < at + len(piece):
                            received += connection.recv(65536)
                    connection.unwrap()  # reads our close_notify: the server answered with its own
                    return received

            assert await asyncio.to_thread(client) == sent
            (above,) = served.above
            await until(lambda: above.lost)
            assert above.lost == [None] and above.ends == 1 and above.received == sent
            assert not served.failures and served.listener.handshakes == 0

    run(main(), loop)


@every_loop
def test_what_a_transport_knows(loop: str) -> None:
    async def main() -> None:
        async with serve(hub=True) as served:
            context = client_context(DEVICE)
            context.set_alpn_protocols(["h2", "http/1.1"])

            def client() -> None:
                tcp = socket.create_connection(("127.0.0.1", served.port), timeout=10)
                with context.wrap_socket(tcp, server_hostname="localhost") as connection:
                    connection.sendall(b"x")
                    connection.recv(1)

            await asyncio.to_thread(client)
            info = served.above[0].transport.get_extra_info
            assert served.above[0].certificate == DEVICE.der
            assert info("tls_version") == "TLSv1.3" and info("alpn") == "http/1.1"
            assert info("cipher")[0].startswith("TLS_")
            assert info("peername")[0] == "127.0.0.1"
            assert isinstance(info("ssl_object"), ssl.SSLObject)
            assert info("nothing of that name", 5) == 5

    run(main(), loop)


@every_loop
@pytest.mark.parametrize("hub", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_t21_a_certificate_of_another_authority_gets_its_alert(loop: str, hub: bool, version: ssl.TLSVersion) -> None:
    async def main() -> None:
        async with serve(hub=hub) as served:
            with pytest.raises(ssl.SSLError, match=r"(?i)alert unknown ca"):
                await asyncio.to_thread(exchange, served.port, client_context(FOREIGN, maximum_version=version))
            await until(lambda: served.failures)
            assert served.failure.code == "tls" and served.failure.alert == "unknown ca"
            assert "does not verify" in served.failure.reason and served.failure.address == "127.0.0.1"
            assert not served.above

    run(main(), loop)


def test_t21_an_authority_that_only_has_our_name_gets_an_alert_too() -> None:
    async def main() -> None:
        async with serve(hub=True) as served:
            with pytest.raises(ssl.SSLError, match=r"(?i)alert decrypt error"):
                await asyncio.to_thread(exchange, served.port, client_context(IMPOSTOR))
            await until(lambda: served.failures)
            assert served.failure.alert == "decrypt error" and not served.above

    run(main())


def test_t21_the_alert_survives_octets_that_follow_the_refused_certificate() -> None:
    """A client that goes on sending would get a reset, and lose the alert, if the socket were simply closed."""

    async def main() -> None:
        async with serve(hub=True) as served:

            def client() -> None:
                with dial(served.port, client_context(FOREIGN)) as connection:
                    for _ in range(50):
                        connection.sendall(b"x" * 10_000)
                    connection.recv(1)

            with pytest.raises(ssl.SSLError, match=r"(?i)alert unknown ca"):
                await asyncio.to_thread(client)

    run(main())


def test_an_expired_certificate_reaches_the_enrolment_protocol_and_not_the_hub() -> None:
    async def main() -> None:
        async with serve() as served:
            await asyncio.to_thread(exchange, served.port, client_context(EXPIRED))
            assert served.above[0].certificate == EXPIRED.der
        async with serve(hub=True) as served:
            with pytest.raises(ssl.SSLError, match=r"(?i)alert certificate expired"):
                await asyncio.to_thread(exchange, served.port, client_context(EXPIRED))
            await until(lambda: served.failures)
            assert served.failure.alert == "certificate expired"

    run(main())


def test_t21_a_server_certificate_is_no_client_certificate() -> None:
    async def main() -> None:
        for hub in (False, True):
            async with serve(hub=hub) as served:
                with pytest.raises(ssl.SSLError, match=r"(?i)alert unsupported certificate"):
                    await asyncio.to_thread(exchange, served.port, client_context(SERVER))

    run(main())


def test_an_intermediate_authority_is_an_anchor() -> None:
    root = certify("root", ca=True)
    middle = certify("middle", root, ca=True)
    server = certify("server", middle, purpose=ExtendedKeyUsageOID.SERVER_AUTH)
    device = certify("system:node:a", middle, purpose=ExtendedKeyUsageOID.CLIENT_AUTH)
    context = contexts.hub_context(certificate=server.pem, key=server.key, anchors=[middle.der])

    async def main() -> None:
        async with serve(hub=True, context=lambda: context) as served:
            trusting = client_context(device)
            trusting.load_verify_locations(cadata=middle.der)
            trusting.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
            assert await asyncio.to_thread(exchange, served.port, trusting) == (b"hello", "TLSv1.3")

    run(main())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_t36_the_hub_wants_a_certificate(version: ssl.TLSVersion) -> None:
    async def main() -> None:
        async with serve(hub=True) as served:
            with pytest.raises(ssl.SSLError, match=r"(?i)alert (certificate required|handshake failure)"):
                await asyncio.to_thread(exchange, served.port, client_context(maximum_version=version))
            await until(lambda: served.failures)
            assert served.failure.reason == "it presented no client certificate"

    run(main())


@needs_openssl
@pytest.mark.parametrize(
    ("arguments", "alert"),
    [
        (["-tls1", "-cipher", "DEFAULT@SECLEVEL=0"], "protocol version"),
        (["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], "protocol version"),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"], "handshake failure"),
        (["-tls1_2", "-cipher", "AES128-GCM-SHA256"], "handshake failure"),
        (["-tls1_2", "-cipher", "aNULL@SECLEVEL=0"], "handshake failure"),
        (["-alpn", "h2"], "no application protocol"),
    ],
)
def test_t36_old_versions_weak_suites_and_foreign_protocols_get_their_alert(arguments: list[str], alert: str) -> None:
    async def main() -> None:
        async with serve() as served:
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{served.port}", *arguments]
            done = await asyncio.to_thread(subprocess.run, command, input=b"", capture_output=True, timeout=20)
            assert alert in done.stderr.decode().lower(), done.stderr
            await until(lambda: served.failures)
            assert served.failure.alert == alert

    run(main())


@needs_openssl
@pytest.mark.parametrize(
    "arguments", [[], ["-alpn", "http/1.1"], ["-alpn", "h2,http/1.1"], ["-servername", "other.example"]]
)
def test_t36_alpn_and_server_name_that_are_served(arguments: list[str]) -> None:
    async def main() -> None:
        async with serve() as served:
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{served.port}", "-brief", *arguments]
            with_input = {"input": b"hello\n", "capture_output": True, "timeout": 20}
            await asyncio.to_thread(subprocess.run, command, **with_input)  # type: ignore[call-overload]
            await until(lambda: served.above and served.above[0].received == b"hello\n")
            assert not served.failures

    run(main())


@needs_openssl
def test_t36_renegotiation_is_refused() -> None:
    async def main() -> None:
        async with serve() as served:
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{served.port}", "-tls1_2"]
            done = await asyncio.to_thread(subprocess.run, command, input=b"R\n", capture_output=True, timeout=20)
            assert b"no renegotiation" in done.stderr.lower(), done.stderr

    run(main())


@needs_openssl
def test_the_server_sends_leaf_and_authority_and_no_ticket() -> None:
    async def main() -> None:
        async with serve() as served:
            for version in ("-tls1_2", "-tls1_3"):
                command = ["openssl", "s_client", "-connect", f"127.0.0.1:{served.port}", version, "-showcerts"]
                done = await asyncio.to_thread(subprocess.run, command, input=b"", capture_output=True, timeout=20)
                assert done.stdout.count(b"BEGIN CERTIFICATE") == 2
                assert b"TLS session ticket" not in done.stdout
                assert b"Compression: NONE" in done.stdout

    run(main())


@every_loop
def test_after_a_client_that_left_no_work_is_done_for_those_that_left_before_their_turn(loop: str) -> None:
    async def main() -> None:
        async with serve(hub=True) as served:
            wrapped = []
            wrap = served.listener.wrap
            served.listener.wrap = lambda *to: wrapped.append(to) or wrap(*to)  # type: ignore[method-assign,func-returns-value]

            async def come_and_go() -> None:
                known = len(served.failures)
                address = ("127.0.0.1", served.port)
                with socket.create_connection(address, timeout=10) as client:  # the loop is not running meanwhile
                    client.sendall(client_hello())
                await until(lambda: len(served.failures) > known)

            for _ in range(3):
                await come_and_go()
            assert [(one.code, one.reason, one.server_name) for one in served.failures] == [
                ("closed", "it closed the connection during the handshake", "edge.example"),
                *[("closed", "it had closed the connection before its turn came", "edge.example")] * 2,
            ]
            assert len(wrapped) == 1
            assert served.listener.handshakes == 0

    run(main(), loop)
