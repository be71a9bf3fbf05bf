"""Listening TCP sockets for protocols in which the client speaks first."""

import asyncio
import contextlib
import os
import select
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

DEFERRED = 30
"""Seconds for which the kernel keeps a connection to itself until its first octets are there (tcp(7), TCP_DEFER_ACCEPT): one sleep of the
process less for each connection. A client that says nothing comes through all the same, after about that time.

It is also the time that a connection waits at a full queue before the kernel forgets it and resets it. A fleet that comes back all at
once fills every queue for a while; with one second here a tenth of it was reset (measured, 10,000 nodes at one process)."""

SERVED_BY_A_CORE = 4096
"""Connections that may wait for a processor: what it serves within some ten seconds, while their clients have patience. The others' first
packets are dropped, which costs nothing, and their clients' kernels repeat them."""


class Inherited(NamedTuple):
    """Descriptors of sockets that listen already, for enrolment and for the hub, with their backlog; as text on a command line."""

    https: tuple[int, ...] = ()
    hub: tuple[int, ...] = ()
    backlog: int = 0

    @staticmethod
    def parse(text: str) -> "Inherited":
        """The inverse of `str`; nothing for an empty text. Raises `ValueError`."""
        if not text:
            return Inherited()
        https, hub, backlog = text.split("/")
        return Inherited(tuple(map(int, https.split(","))), tuple(map(int, hub.split(","))), int(backlog))

    def __str__(self) -> str:
        return "/".join([",".join(map(str, self.https)), ",".join(map(str, self.hub)), str(self.backlog)])


NOTHING = Inherited()


def share_of(backlog: int, workers: int) -> int:
    """The backlog of each of several workers, when `backlog` is wanted: less where they are more than the processors."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(backlog, max(128, SERVED_BY_A_CORE * cores // workers))


def shares(address: str, port: int, backlog: int) -> list[socket.socket]:
    """Listening sockets on `address` (empty: every one) and `port`, one for each family of addresses. Others may listen beside them, and
    then each has its share of the connections, from the first one on. A program that is started with them takes them over with `listen`.
    Raises `OSError`."""
    made: list[socket.socket] = []
    try:
        for family in _families(address):
            one = socket.socket(family, socket.SOCK_STREAM)
            made.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address, port))
            _defer(one)
            one.listen(backlog)
            one.setblocking(False)
    except OSError:
        for one in made:
            one.close()
        raise
    return made


def _families(address: str) -> list[int]:
    if address:
        return [socket.AF_INET6 if ":" in address else socket.AF_INET]
    return [socket.AF_INET, socket.AF_INET6] if socket.has_dualstack_ipv6() else [socket.AF_INET]


def _defer(one: socket.socket) -> None:
    if hasattr(socket, "TCP_DEFER_ACCEPT"):  # Linux
        with contextlib.suppress(OSError):  # without it a connection is handed over as soon as it stands
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFERRED)


def has_left(transport: asyncio.BaseTransport) -> bool:
    """Whether the peer has closed its side, which the kernel knows before everything that came ahead of it was read (1 us). False where
    the system does not tell."""
    one = transport.get_extra_info("socket")
    number = -1 if one is None else one.fileno()
    if number < 0 or not hasattr(select, "POLLRDHUP"):
        return False
    poll = select.poll()
    poll.register(number, select.POLLRDHUP)
    return bool(poll.poll(0))


async def listen(
    factory: Callable[[], asyncio.Protocol],
    address: str,
    port: int,
    *,
    backlog: int,
    shared: bool = False,
    inherited: Sequence[int] = (),
) -> list[asyncio.Server]:
    """Listen on `address` (empty: every one) and `port` (0: a free one), which several processes may share, or on sockets that were
    `inherited` from the process that started this one. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    if inherited:
        sockets = [socket.socket(fileno=number) for number in inherited]
        return [await loop.create_server(factory, sock=one, backlog=backlog) for one in sockets]
    server = await loop.create_server(
        factory, address or None, port, backlog=backlog, reuse_address=True, reuse_port=shared
    )
    for one in server.sockets:
        _defer(one)
    return [server]
