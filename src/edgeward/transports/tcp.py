"""Listening TCP sockets for protocols in which the client speaks first."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

DEFERRED = 1
"""Seconds for which the kernel keeps a connection to itself until its first octets are there (tcp(7), TCP_DEFER_ACCEPT): one sleep of the
process less for each connection. A client that says nothing comes through all the same, after about that time."""


async def listen(
    factory: Callable[[], asyncio.Protocol], address: str, port: int, *, backlog: int, shared: bool = False
) -> asyncio.Server:
    """Listen on `address` (empty: every one) and `port` (0: a free one), which several processes may share. Raises `OSError`."""
    server = await asyncio.get_running_loop().create_server(
        factory, address or None, port, backlog=backlog, reuse_address=True, reuse_port=shared
    )
    if hasattr(socket, "TCP_DEFER_ACCEPT"):  # Linux
        for one in server.sockets:
            with contextlib.suppress(OSError):  # without it a connection is handed over as soon as it stands
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFERRED)
    return server
