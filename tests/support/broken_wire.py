"""A wire to PostgreSQL that breaks at the worst moment: a Unix socket that passes octets on until a commit goes by."""

import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

Moment = Literal["before", "after"]
"""The commit is lost on its way to the database, or its answer on the way back."""

_NAME = ".s.PGSQL.5432"


class Wire:
    """Between a client and the database in the directory `to`. `breaks` arms it for the next commit."""

    def __init__(self, to: Path) -> None:
        self._to = to
        self.directory = Path(tempfile.mkdtemp(prefix="ew-wire-"))
        self._armed: Moment | None = None
        self.broken = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.directory / _NAME))
        self._listener.listen(32)
        threading.Thread(target=self._serve, daemon=True).start()

    def breaks(self, moment: Moment) -> None:
        """Break the connection that commits next."""
        self._armed = moment

    def close(self) -> None:
        self._listener.close()
        (self.directory / _NAME).unlink()
        self.directory.rmdir()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(str(self._to / _NAME))
                except OSError:
                    client.close()
                    continue
                threading.Thread(target=self._upward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._downward, args=(client, server), daemon=True).start()

    def _upward(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while octets := client.recv(65536):
                moment = self._armed if b"COMMIT\0" in octets else None
                if moment is not None:
                    self._armed = None
                    self.broken += 1
                if moment == "before":
                    break
                if moment == "after":
                    client.shutdown(socket.SHUT_RDWR)
                server.sendall(octets)
        self._cut(client, server)

    def _downward(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while octets := server.recv(65536):
                client.sendall(octets)
        self._cut(client, server)

    @staticmethod
    def _cut(*ends: socket.socket) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def wire(to: Path) -> Iterator[Wire]:
    """A wire for as long as the block runs."""
    one = Wire(to)
    try:
        yield one
    finally:
        one.close()
