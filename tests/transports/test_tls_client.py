"""Our own TLS client, and the contexts."""

import asyncio
import socket
import ssl
import stat
import tempfile
from pathlib import Path

import pytest

from edgeward.errors import HandshakeFailed, Unreachable, Unreadable
from edgeward.transports import client_tls, contexts, dial
from edgeward.transports.limits import TlsLimits
from tests.support.listener import every_loop, serve
from tests.support.tls import (
    CA,
    DEVICE,
    FOREIGN,
    SERVER,
    run,
    until,
)


class Caller(asyncio.Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.lost: list[Exception | None] = []

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


@every_loop
def test_our_client_presents_one_certificate_and_its_verifier_decides(loop: str) -> None:
    seen: list[tuple[bytes, ...]] = []

    async def main() -> None:
        async with serve(hub=True) as served:
            context = contexts.client_context(certificate=DEVICE.pem, key=DEVICE.key)
            transport, protocol = await dial.connect(
                "127.0.0.1",
                served.port,
                context=context,
                inner=Caller,
                verify_server=lambda tls: seen.append(client_tls.presented_chain(tls)),
            )
            assert isinstance(protocol, Caller)
            transport.write(b"hello")
            await until(lambda: protocol.received == b"hello")
            assert seen == [(SERVER.der, CA.der)]
            assert client_tls.presented_chain(served.above[0].transport.get_extra_info("ssl_object")) == (DEVICE.der,)
            transport.close()
            await until(lambda: protocol.lost == [None])

            def distrust(_: ssl.SSLObject) -> None:
                raise HandshakeFailed(address="there", why="another authority")

            with pytest.raises(HandshakeFailed, match="another authority"):
                await dial.connect("127.0.0.1", served.port, context=context, inner=Caller, verify_server=distrust)

    run(main(), loop)


@every_loop
def test_our_client_hears_why_its_certificate_was_refused(loop: str) -> None:
    async def main() -> None:
        async with serve(hub=True) as served:
            context = contexts.client_context(certificate=FOREIGN.pem, key=FOREIGN.key)
            _, protocol = await dial.connect("127.0.0.1", served.port, context=context, inner=Caller)
            assert isinstance(protocol, Caller)
            await until(lambda: protocol.lost)
            assert isinstance(protocol.lost[0], HandshakeFailed) and "unknown ca" in str(protocol.lost[0])
            old = contexts.client_context(certificate=FOREIGN.pem, key=FOREIGN.key)
            old.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises(HandshakeFailed, match="unknown ca"):
                await dial.connect("127.0.0.1", served.port, context=old, inner=Caller)

    run(main(), loop)


@every_loop
def test_our_client_says_what_it_could_not_reach(loop: str) -> None:
    async def main() -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))  # bound and not listening: refused
            with pytest.raises(Unreachable, match=r"cannot reach 127\.0\.0\.1:"):
                await dial.connect(
                    "127.0.0.1", bound.getsockname()[1], context=client_tls.client_context(), inner=Caller
                )
            bound.listen()
            limits = TlsLimits(handshake_seconds=0.2)
            with pytest.raises(HandshakeFailed, match="did not finish the handshake"):
                await dial.connect(
                    "127.0.0.1",
                    bound.getsockname()[1],
                    context=client_tls.client_context(),
                    inner=Caller,
                    limits=limits,
                )
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await dial.connect(
                        "127.0.0.1", bound.getsockname()[1], context=client_tls.client_context(), inner=Caller
                    )

    run(main(), loop)


# ----------------------------------------------------------------------------------------------------------------- contexts


def test_t47_the_key_is_never_in_the_clear_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[int, bytes]] = []
    load = ssl.SSLContext.load_cert_chain

    def watch(context: ssl.SSLContext, certfile: str, **more: object) -> None:
        seen.append((stat.S_IMODE(Path(certfile).stat().st_mode), Path(certfile).read_bytes()))
        load(context, certfile, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    contexts.hub_context(certificate=SERVER.pem, key=SERVER.key, anchors=[CA.der])
    ((mode, written),) = seen
    assert mode == 0o600
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in written and b"BEGIN PRIVATE KEY" not in written
    assert list(tmp_path.iterdir()) == []


def test_a_pair_that_does_not_match_is_refused_in_words() -> None:
    with pytest.raises(Unreadable, match="key values mismatch"):
        contexts.hub_context(certificate=SERVER.pem, key=DEVICE.key, anchors=[CA.der])
    with pytest.raises(Unreadable):
        contexts.hub_context(certificate=b"not PEM", key=DEVICE.key, anchors=[CA.der])
