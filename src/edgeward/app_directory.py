"""What a running authority holds of its machine: the data directory, its process, and the names by which the machine is reached."""

import contextlib
import gc
import os
import resource
import shutil
import socket
import sys
from pathlib import Path

import ifaddr

from edgeward import files
from edgeward.errors import AlreadyRunning, BadName, UsageError
from edgeward.pki import names

STORE = "edgeward.db"
KEYS = "keys"
SOCKET = "admin.sock"
LOCK = "lock"

MAX_SOCKET_PATH = 100
"""Characters of a Unix socket's path; the kernel takes 107 (unix(7))."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class DataDirectory:
    """The data directory, held by one process at a time, or by one for each `worker`. Raises `AlreadyRunning` when another one holds it."""

    def __init__(self, path: Path, worker: int | None = None) -> None:
        self.path = path.absolute()
        self.socket = self.path / (f"admin-{worker}.sock" if worker else SOCKET)
        lock = self.path / (LOCK if worker is None else f"{LOCK}-{worker}")
        if len(str(self.path / SOCKET)) > MAX_SOCKET_PATH:
            raise UsageError(problem=f"the path of the data directory is too long for a Unix socket: {self.path}")
        files.make_private_directory(self.path)
        self._lock = files.lock(lock, lambda pid: AlreadyRunning(path=self.path, pid=pid))

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._lock)


def local_names() -> tuple[str, ...]:
    """localhost and this machine's own names and addresses, without link-local ones."""
    found = list(LOOPBACK)
    with contextlib.suppress(BadName):
        found.append(names.show(names.server_name(socket.gethostname())))
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            address = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            if not address.startswith(("fe80:", "169.254.")):
                found.append(names.show(names.server_name(address)))
    return tuple(dict.fromkeys(found))[:100]


def dial_without_names(listen: str) -> tuple[str, ...]:
    """What to dial where nothing is advertised: the address listened on, else localhost."""
    return (listen,) if listen and listen not in ("0.0.0.0", "::") else ("localhost",)  # noqa: S104  # compared, not bound


def prepare_process() -> None:
    """What a long-lived server with keys in memory wants of the kernel and of the interpreter."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the CA's key
    gc.enable()  # the command line switched it off for the sake of short commands
    gc.set_threshold(100_000, 50, 100)  # connections are long-lived; looking at them again and again finds nothing


def program() -> str:
    """How this program is called from a shell: by its name where that finds it, else by its path."""
    path = Path(sys.argv[0])
    if path.name != "edgeward":
        return "python3 -m edgeward"
    found = shutil.which("edgeward")
    if found is not None and Path(found).resolve() == path.resolve():
        return "edgeward"
    with contextlib.suppress(ValueError):
        return str(path.absolute().relative_to(Path.cwd()))
    return str(path.absolute())
