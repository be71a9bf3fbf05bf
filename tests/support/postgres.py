"""A real PostgreSQL for tests: one cluster in a temporary directory, reached by a Unix socket; a database for each test that asks."""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from edgeward.stores.postgres import open_store

WITHIN = 60.0
"""Seconds for the cluster to take connections."""

_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")


def programs() -> Path | None:
    """The directory of `initdb` and `postgres`: Debian keeps them out of the path."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    places = [path for pattern in _PLACES for path in Path("/").glob(pattern.lstrip("/")) if (path / "initdb").exists()]
    return max(places, default=None)


class Cluster:
    """A PostgreSQL that a test may stop, kill and start again. `fsync` is off: what these tests kill is the process, not the machine."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self.directory = Path(tempfile.mkdtemp(prefix="ew-pg-"))
        self._owner: dict[str, Any] = {}
        if os.getuid() == 0:  # it refuses to run as root
            entry = pwd.getpwnam("postgres")
            os.chown(self.directory, entry.pw_uid, entry.pw_gid)
            self._owner = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._migrated = ""
        subprocess.run(
            [programs / "initdb", "-D", self.data, "-U", "edgeward", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.directory,
            **self._owner,
        )
        self.start()

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        settings = (
            "fsync=off",
            "full_page_writes=off",
            "listen_addresses=",
            "max_connections=300",
            "shared_buffers=64MB",
        )
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, "-k", self.directory, *(f"-c{one}" for one in settings)],
                stdout=log,
                stderr=log,
                cwd=self.directory,
                **self._owner,
            )
        deadline = time.monotonic() + WITHIN
        while True:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url("postgres")):
                return
            assert self._process.poll() is None, (self.directory / "log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it: SIGINT cuts its sessions and shuts down in order, SIGQUIT and SIGKILL leave it to recover."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(60)
        self._process = None
        if number == signal.SIGKILL:  # its children notice by themselves
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def close(self) -> None:
        """End it for good."""
        if self._process is not None:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def url(self, database: str) -> str:
        """The address of a database."""
        return f"postgresql://edgeward@/{database}?host={self.directory}"

    def database(self, *, migrated: bool = False) -> str:
        """The address of a new database: empty, or with the present schema."""
        if migrated and not self._migrated:
            template = self.database()
            store = open_store(template)
            del store
            self._migrated = psycopg.conninfo.conninfo_to_dict(template)["dbname"]
        name = f"test_{next(self._numbers)}"
        template = f" TEMPLATE {self._migrated}" if migrated else ""
        self.execute(f"CREATE DATABASE {name}{template}")
        return self.url(name)

    @contextlib.contextmanager
    def on(self, disk: Path) -> Iterator[str]:
        """The address of a new database whose tables lie on a disk of their own."""
        if self._owner:
            os.chown(disk, self._owner["user"], self._owner["group"])
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE TABLESPACE {name} LOCATION '{disk}'")
        self.execute(f"CREATE DATABASE {name} TABLESPACE {name}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")
            self.execute(f"DROP TABLESPACE {name}")

    def execute(self, statement: str, *row: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as the superuser."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement, row)
            return cursor.fetchall() if cursor.description is not None else []

    def cut(self, database_url: str, where: str = "true") -> int:
        """`pg_terminate_backend` for the sessions of a database; how many."""
        name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
        return len(
            self.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND ({where})", name
            )
        )


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster of one's own, for tests that stop it."""
    found = programs()
    if found is None:
        pytest.skip("NOT CHECKED against PostgreSQL: initdb is not installed")
    one = Cluster(found)
    try:
        yield one
    finally:
        one.close()
