"""What an agent says of itself while it runs: one JSON object to whoever connects to the socket in its directory.

It is asked and not written down, so that it costs a device's flash nothing, is never stale and works on a disk that is full. The socket
is 0600 in a directory of 0700: whoever may read it may read the key beside it as well.
"""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from edgeward.errors import Unreadable

SOCKET = "agent.sock"

_LIMIT = 64 * 1024
"""Octets of an answer: a real one has under 2 KiB."""

_PATIENCE = 5.0
"""Seconds for an answer: an agent whose loop does not turn is not running."""


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """The current certificate: serial in lower-case hex, its dates, and when it is to be renewed (None: nobody is there to do it)."""

    serial: str
    not_before: datetime
    not_after: datetime
    renewal_at: datetime | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The state of an agent. Members are added, never renamed."""

    node: str
    state: str
    """`connected`, `connecting` or, when no agent runs on the directory, `stopped`."""
    certificate: Certificate
    since: datetime | None = None
    """When this state began."""
    hub: str = ""
    """Where it is connected to, or what it dials."""
    transport: str = ""
    connections: int = 0
    """How many there have been since the start."""
    trust: int = 0
    """The sequence number of the trust bundle in use; 0 is the CA that the join brought."""
    last_error: str = ""
    last_error_at: datetime | None = None
    last_hint: str = ""
    """What may be done about it."""
    pid: int = 0
    started: datetime | None = None
    version: str = ""

    def good(self, now: datetime) -> bool:
        """Whether there is nothing to look into: connected, with a certificate in its time."""
        return self.state == "connected" and self.certificate.not_before <= now < self.certificate.not_after


@contextlib.contextmanager
def _short_path(directory: Path) -> Iterator[str]:
    """A name for the socket that a `sockaddr_un` can hold, however long the directory's own is: 107 octets (unix(7))."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}" if len(os.fsencode(directory)) > 90 else str(directory / SOCKET)
    finally:
        os.close(descriptor)


@contextlib.asynccontextmanager
async def answering(directory: Path, status: Callable[[], Status]) -> AsyncIterator[None]:
    """Answer questions in `directory`, which the caller has locked, for as long as the block lasts. Raises `OSError` when it cannot."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(msgspec.json.encode(status()) + b"\n")
            writer.close()
            await writer.wait_closed()

    place = directory / SOCKET
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(place.lstat().st_mode):
            place.unlink()  # of an agent that was killed: we hold its lock
    with _short_path(directory) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.setblocking(False)
        os.fchmod(listener.fileno(), 0o600)  # the mode of the socket's name follows from it
        listener.bind(path)
        server = await asyncio.start_unix_server(answer, sock=listener)
        async with server:
            try:
                yield
            finally:
                place.unlink(missing_ok=True)


def ask(directory: Path) -> Status | None:
    """The status of the agent that runs on `directory`, None when there is none. Raises `Unreadable` for an answer of something else."""
    octets = b""
    try:
        with _short_path(directory) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(_PATIENCE)
            asking.connect(path)
            while len(octets) <= _LIMIT and (piece := asking.recv(_LIMIT)):
                octets += piece
    except OSError:
        return None
    try:
        return msgspec.json.decode(octets, type=Status)
    except msgspec.MsgspecError as error:
        raise Unreadable(what="status", why=str(error)) from error
