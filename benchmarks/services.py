"""What a benchmark starts beside Edgeward: PostgreSQL and NATS on loopback, in a directory that goes away; what a process costs."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

WITHIN = 60.0
"""Seconds for a program to take connections."""

_TICK = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _programs() -> Path:
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    places = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if not places:
        raise SystemExit("error: there is no PostgreSQL (initdb) on this machine")
    return max(places)


class Postgres:
    """A cluster with its default settings, that is a durable one, but for as many connections as it is asked for."""

    def __init__(self, place: Path, connections: int) -> None:
        programs, self.directory = _programs(), place / "postgres"
        self.directory.mkdir()
        owner: dict[str, Any] = {"cwd": self.directory}
        if os.getuid() == 0:  # it refuses to run as root
            entry = pwd.getpwnam("postgres")
            place.chmod(0o711)
            os.chown(self.directory, entry.pw_uid, entry.pw_gid)
            owner |= {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        data = self.directory / "data"
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "edgeward", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, **owner,
        )  # fmt: skip
        settings = ("listen_addresses=", f"max_connections={connections}", "shared_buffers=512MB", "max_wal_size=4GB")
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [programs / "postgres", "-D", data, "-k", self.directory, *(f"-c{one}" for one in settings)],
                stdout=log, stderr=log, **owner,
            )  # fmt: skip
        self.pid = self._process.pid
        self.url = f"postgresql://edgeward@/postgres?host={self.directory}"
        _await(self.directory / ".s.PGSQL.5432", self._process, "PostgreSQL")

    def stop(self) -> None:
        """End it with all its sessions."""
        _end(self._process, signal.SIGQUIT)


class Nats:
    """A NATS server."""

    def __init__(self) -> None:
        if shutil.which("nats-server") is None:
            raise SystemExit("error: there is no nats-server on this machine")
        port = free_port()
        self._process = subprocess.Popen(
            ["nats-server", "-a", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.pid = self._process.pid
        self.url = f"nats://127.0.0.1:{port}"
        _await(("127.0.0.1", port), self._process, "NATS")

    def stop(self) -> None:
        """End it."""
        _end(self._process, signal.SIGTERM)


def _await(where: Path | tuple[str, int], process: "subprocess.Popen[bytes]", what: str) -> None:
    deadline = time.monotonic() + WITHIN
    while True:
        try:
            with socket.socket(socket.AF_UNIX if isinstance(where, Path) else socket.AF_INET) as probe:
                probe.connect(str(where) if isinstance(where, Path) else where)
                return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"error: {what} does not start: {error}") from error
        time.sleep(0.05)


def _end(process: "subprocess.Popen[bytes]", number: int) -> None:
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def children(pid: int) -> list[int]:
    """The processes that this one started and that live."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def cpu(pid: int) -> float:
    """CPU seconds of a process and of everything it started, what has ended included."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(one) for one in fields[11:15]) / _TICK + sum(cpu(child) for child in children(pid))


def memory(pid: int) -> float:
    """KiB that a process and everything it started hold, each page shared out among those who have it."""
    total = 0.0
    for one in (pid, *children(pid)):
        try:
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(float(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total
