"""A listening socket hands a connection over when its client has spoken, and one that says nothing after a while all the same."""

import asyncio
import socket
import sys

import pytest

from edgeward.transports import tcp


class _Seen(asyncio.Protocol):
    def __init__(self, made: asyncio.Event, heard: asyncio.Event) -> None:
        self._made, self._heard = made, heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._made.set()

    def data_received(self, data: bytes) -> None:
        self._heard.set()


@pytest.mark.parametrize("words", [b"hello", b""])
def test_a_connection_comes_through_with_and_without_words(words: bytes) -> None:
    async def story() -> None:
        made, heard = asyncio.Event(), asyncio.Event()
        (server,) = await tcp.listen(lambda: _Seen(made, heard), "127.0.0.1", 0, backlog=16)
        async with server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
            writer.write(words)
            async with asyncio.timeout(60):
                await (heard if words else made).wait()
            writer.close()

    asyncio.run(story())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the option is Linux's")
def test_the_kernel_waits_for_the_first_words() -> None:
    async def story() -> int:
        (server,) = await tcp.listen(asyncio.Protocol, "127.0.0.1", 0, backlog=16)
        async with server:
            return server.sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT)

    assert asyncio.run(story()) > 0


def test_a_port_that_is_taken_is_an_error() -> None:
    async def story() -> None:
        (server,) = await tcp.listen(asyncio.Protocol, "127.0.0.1", 0, backlog=16)
        async with server:
            with pytest.raises(OSError, match="in use"):
                await tcp.listen(asyncio.Protocol, "127.0.0.1", server.sockets[0].getsockname()[1], backlog=16)

    asyncio.run(story())


def test_a_connection_waits_for_the_process_that_takes_a_socket_over() -> None:
    async def story() -> None:
        (mine,) = tcp.shares("127.0.0.1", 0, 16)
        port = mine.getsockname()[1]
        (beside,) = tcp.shares("127.0.0.1", port, 16)
        beside.close()
        with mine, socket.create_connection(("127.0.0.1", port), 10) as client:
            client.sendall(b"hello")
            made, heard = asyncio.Event(), asyncio.Event()
            inherited = socket.dup(mine.fileno())
            (server,) = await tcp.listen(
                lambda: _Seen(made, heard), "127.0.0.1", port, backlog=16, inherited=[inherited]
            )
            async with server, asyncio.timeout(60):
                await heard.wait()

    asyncio.run(story())


def test_every_address_is_every_family() -> None:
    made = tcp.shares("", 0, 16)
    try:
        assert [one.family for one in made] == (
            [socket.AF_INET, socket.AF_INET6] if socket.has_dualstack_ipv6() else [socket.AF_INET]
        )
    finally:
        for one in made:
            one.close()
