"""Several processes behind one pair of ports: a parent that starts them, starts one again that died, and passes signals on.

The kernel spreads new connections over the workers, each of which has its own sockets on the same ports (SO_REUSEPORT). The parent makes
these sockets before it starts the first worker, and keeps them: a fleet that comes back after a restart is spread over all workers
from the first node on, whichever is ready first, and one whose worker is being started again waits for a moment instead of being refused.

To each other workers are replicas like any on other machines. Worker 0 has the operators' socket. A worker whose parent is gone ends as
well: its standard input ends.
"""

import asyncio
import contextlib
import itertools
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeward import config
from edgeward.app_directory import DataDirectory
from edgeward.errors import CannotListen, UsageError
from edgeward.transports import tcp
from edgeward.transports.reasons import explain_connecting

_log = logging.getLogger(__name__)

READY = 120.0
"""Seconds for a worker to serve for the first time."""

SHORT_LIFE = 10.0
"""Seconds. A worker that lived for less is started again later and later."""

LONGEST_WAIT = 1.0
"""Seconds of a pause for which new connections wait for their worker; in a longer one the others get them."""

LONGEST_PAUSE = 10.0
"""Seconds before a worker is started again that dies at once each time."""

GOODBYE = 60.0
"""Seconds for workers to end when they are asked to; then they are killed. Saying goodbye to 8,000 nodes takes one some two
seconds of a processor; systemd waits for 90 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """What the workers are: how many, on which ports, started with which options of `edgeward up` and which environment."""

    data: Path
    workers: int
    address: str
    https_port: int
    hub_port: int
    backlog: int
    options: Sequence[str]
    environment: Mapping[str, str]


def wanted_workers(workers: int | None, database: str | None, environment: Mapping[str, str], data: Path) -> int:
    """How many workers there are to be: the command line's word, else the configuration's. Raises `UsageError` for several without a
    database that they can share."""
    settings = config.load(data / config.FILE)
    count = workers or settings.listen.workers
    if count > 1 and not (database or environment.get("EDGEWARD_DATABASE") or settings.store.database):
        raise UsageError(
            problem="SQLite serves one process: several workers share a PostgreSQL database, --database postgresql://…"
        )
    return count


async def supervise(crew: Crew, once: Sequence[str]) -> int:
    """Run the crew until SIGTERM or SIGINT; the exit status. `once`: options for the first worker's first start alone, such as what is to
    be advertised, which a later start would undo changes with.

    Raises `CannotListen` for ports that somebody else has, `AlreadyRunning` for a directory that is in use.
    """
    directory = DataDirectory(crew.data)
    stopped = asyncio.Event()
    try:
        with _reserved(crew.address, crew.https_port) as https, _reserved(crew.address, crew.hub_port) as hub:
            workers = [_Worker(n, crew, (https, hub), directory.path, stopped) for n in range(crew.workers)]
            for one in workers:
                one.listen()
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stopped.set)
            loop.add_signal_handler(signal.SIGHUP, _pass_on, workers)
            # the first one makes what is not there yet: the schema, the CA, the certificate
            status = await workers[0].begin(once)
            if status is not None:
                return status
            tasks = [asyncio.ensure_future(one.keep()) for one in workers]
            _log.info("%d workers share ports %d and %d", crew.workers, https, hub)
            await stopped.wait()
            _log.info("stopping %d workers", len(workers))
            for one in workers:
                one.listen_no_more()
            await asyncio.gather(*tasks)
            return 0
    finally:
        directory.release()


def _pass_on(workers: "Sequence[_Worker]") -> None:
    for one in workers:
        one.send(signal.SIGHUP)


class _Worker:
    """One process, and the next one in its place."""

    def __init__(
        self, number: int, crew: Crew, ports: tuple[int, int], directory: Path, stopped: asyncio.Event
    ) -> None:
        self._number = number
        self._crew = crew
        self._ports = ports
        self._backlog = tcp.share_of(crew.backlog, crew.workers)
        self._sockets: list[list[socket.socket]] = []
        self._socket = directory / (f"admin-{number}.sock" if number else "admin.sock")
        self._stopped = stopped
        self._process: asyncio.subprocess.Process | None = None

    def listen(self) -> None:
        """Take its share of connections from now on; they wait until it is there. Raises `CannotListen`."""
        address = self._crew.address
        for port in self._ports[len(self._sockets) :]:
            try:
                self._sockets.append(tcp.shares(address, port, self._backlog))
            except OSError as error:
                raise CannotListen(address=f"{address or '*'}:{port}", why=explain_connecting(error)) from error

    def listen_no_more(self) -> None:
        """Leave connections to the other workers, or have them refused."""
        for one in itertools.chain(*self._sockets):
            one.close()
        self._sockets = []

    def send(self, number: int) -> None:
        """Pass a signal on."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def begin(self, once: Sequence[str]) -> int | None:
        """Start it and wait until it serves; its exit status if it ends before."""
        process = await self._start(once)
        ended = asyncio.ensure_future(process.wait())
        deadline = time.monotonic() + READY
        try:
            while not ended.done():
                if await self._serves() or self._stopped.is_set() or time.monotonic() > deadline:
                    return None
                await asyncio.wait([ended], timeout=0.05)
            return ended.result() or 70
        finally:
            ended.cancel()

    async def keep(self) -> None:
        """Keep a process in this place until everything is to stop, and then end it."""
        pause, stopping = 0.1, asyncio.ensure_future(self._stopped.wait())
        while not self._stopped.is_set():
            began = time.monotonic()
            end = await self._life(stopping)
            if end is None:
                break
            pause = min(pause * 2, LONGEST_PAUSE) if time.monotonic() - began < SHORT_LIFE else 0.1
            if pause > LONGEST_WAIT:
                self.listen_no_more()
            _log.error("worker %d %s; it is started again", self._number, end)
            await asyncio.wait([stopping], timeout=pause)
        stopping.cancel()

    async def _life(self, stopping: "asyncio.Future[Any]") -> str | None:
        """One process from its start to its end, and what became of it; None when it was to stop."""
        process = self._process if self._process is not None and self._process.returncode is None else None
        try:
            process = process or await self._start()
        except (CannotListen, OSError) as error:  # no memory, no room for processes: that may change
            return f"cannot be started: {error}"
        ended = asyncio.ensure_future(process.wait())
        await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return _how(ended.result())
        await self._end(ended)
        return None

    async def _start(self, once: Sequence[str] = ()) -> asyncio.subprocess.Process:
        script = Path(sys.argv[0])
        program = [str(script)] if script.name == "edgeward" else ["-m", "edgeward"]
        self.listen()
        https, hub = self._ports
        ports = ["--https-port", str(https), "--hub-port", str(hub)]
        at_https, at_hub = (tuple(one.fileno() for one in sockets) for sockets in self._sockets)
        inherited = str(tcp.Inherited(at_https, at_hub, self._backlog))
        command = [sys.executable, *program, "up", "--data", str(self._crew.data), *ports, "--inherited", inherited]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            *self._crew.options,
            *once,
            "--worker",
            str(self._number),
            stdin=asyncio.subprocess.PIPE,  # it ends when we do
            env=dict(self._crew.environment),
            pass_fds=(*at_https, *at_hub),
        )
        return self._process

    async def _serves(self) -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_unix_connection(str(self._socket))
            writer.close()
            return True
        return False

    async def _end(self, ended: "asyncio.Future[int]") -> None:
        self.send(signal.SIGTERM)
        await asyncio.wait([ended], timeout=GOODBYE)
        if not ended.done():
            _log.error("worker %d does not end; it is killed", self._number)
            self.send(signal.SIGKILL)
            await ended


def _how(status: int) -> str:
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"


@contextlib.contextmanager
def _reserved(address: str, port: int) -> Iterator[int]:
    """The port (a free one for 0), which nobody else has, kept for as long as the block runs."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe, socket.socket(family, socket.SOCK_STREAM) as held:
        try:
            # whoever has it without sharing it, or shares it under the same user, is found by a bind that does not share
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            found = probe.getsockname()[1]
            probe.close()
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((address, found))
        except OSError as error:
            raise CannotListen(address=f"{address or '*'}:{port}", why=explain_connecting(error)) from error
        yield found
