"""Several real servers on one real PostgreSQL, and a real NATS that a test may stop and start again."""

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


class _Operators(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


def asked(path: Path, what: str) -> Any:
    """The answer of the process whose operators' socket this is."""
    with contextlib.closing(_Operators(path)) as connection:
        connection.request("GET", what)
        return json.loads(connection.getresponse().read())


class Workers(Server):
    """One authority in several processes."""

    def await_serving(self) -> None:
        """Wait until the first worker serves, and the others as well."""
        assert self.process is not None
        count = int(self.options[self.options.index("--workers") + 1])
        within(lambda: self._ended() or len(self.pids()) == count, "the workers to serve", 120)
        assert not self._ended(), self.log[-3000:]

    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def pids(self) -> dict[int, int]:
        """The process of each worker that serves."""
        found = {}
        for path in self.data.glob("admin*.sock"):
            with contextlib.suppress(OSError, http.client.HTTPException):
                status = asked(path, "/v1/status")
                found[status["worker"]] = status["pid"]
        return found

    def online(self, worker: int) -> set[str]:
        """The nodes whose sessions are at a worker."""
        path = self.data / (f"admin-{worker}.sock" if worker else "admin.sock")
        return {node["name"] for node in asked(path, "/v1/nodes") if node["connected"]}


@contextlib.contextmanager
def workers(postgres: Cluster, count: int, *options: str) -> Iterator[Workers]:
    """An authority with so many workers, for as long as the block runs."""
    with private_directory() as directory:
        one = Workers(directory, "--database", postgres.database(), "--workers", str(count), *options)
        try:
            one.start()
            yield one
            assert without_traceback(one.log), one.log[-5000:]
        finally:
            if one.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    one.process.terminate()
                    one.process.wait(20)
            one.kill()


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
