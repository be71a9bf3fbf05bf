"""Several real servers on one real PostgreSQL, and a real NATS that a test may stop and start again."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.postgres import Cluster
from tests.support.server import Server, free_port, private_directory, without_traceback


@contextlib.contextmanager
def replicas(
    postgres: Cluster, names: str = "ab", *options: str, start: bool = True, database: str = ""
) -> Iterator[list[Server]]:
    """One server for each letter, each in a directory of its own, on one database. What they logged is free of tracebacks."""
    url = database or postgres.database()
    with contextlib.ExitStack() as stack:
        servers = []
        for _ in names:
            directory = stack.enter_context(private_directory())
            one = Server(directory, "--database", url, "--advertise", "edge.test", *options)
            stack.callback(one.kill)
            servers.append(one)
        if start:
            for one in servers:
                one.start()
        yield servers
        for one in servers:
            assert without_traceback(one.log), one.log[-5000:]


class Nats:
    """A NATS server on a port of its own."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        with (self._directory / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["nats-server", "-a", "127.0.0.1", "-p", str(self.port)], stdout=log, stderr=log
            )
        within(lambda: _open(self.port), "NATS to listen")

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def nats() -> Iterator[Nats]:
    """A NATS server for as long as the block runs."""
    if shutil.which("nats-server") is None:
        pytest.skip("NOT CHECKED over NATS: nats-server is not installed")
    with private_directory() as directory:
        one = Nats(directory)
        try:
            yield one
        finally:
            one.stop()


def within(happened: Callable[[], bool], what: str, seconds: float = 60.0) -> float:
    """Wait for something to happen; how many seconds it took."""
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < seconds, f"waited for {what} for {seconds} s"
        time.sleep(0.01)
    return time.monotonic() - began


def _open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
