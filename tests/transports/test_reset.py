"""A peer that is gone in the moment in which we close: our last words bring a reset, and nobody hears of an error."""

import asyncio
import socket
import threading

from edgeward.transports import client_tls, dial
from tests.support.fake_cloud import FakeCA


class Lost(asyncio.Protocol):
    """Waits for its end."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


def test_a_close_that_meets_a_reset_raises_nothing(tmp_path):
    context = FakeCA().server_context(tmp_path, "127.0.0.1")
    context.num_tickets = 0
    leave, is_gone = threading.Event(), threading.Event()

    def serve(listener: socket.socket) -> None:
        with listener, context.wrap_socket(listener.accept()[0], server_side=True):
            leave.wait(10)
        is_gone.set()

    async def main() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        protocol = Lost()
        connection, _ = await dial.connect(
            "127.0.0.1",
            listener.getsockname()[1],
            context=client_tls.client_context(),
            inner=lambda: protocol,
        )
        leave.set()
        assert is_gone.wait(10), "the loop is held, so it cannot have noticed"
        connection.close()
        async with asyncio.timeout(10):
            await protocol.lost.wait()
        thread.join()

    asyncio.run(main())
