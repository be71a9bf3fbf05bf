"""Starting foreign programs, waiting for the port they announce, and ending them."""

import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """What a program that ended left behind."""

    status: int
    out: str
    err: str


def ran(*command: object, stdin: bytes = b"", cwd: object = None) -> Done:
    """Run a program to its end, half a minute at most."""
    done = subprocess.run(
        [str(part) for part in command],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=30,
        cwd=cwd,  # type: ignore[arg-type]
    )
    return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


@contextlib.contextmanager
def announcing(*command: object, cwd: object = None, env: dict[str, str] | None = None) -> Iterator[int]:
    """The port that a program says it listens on (`… 12345` in its first line), while it runs."""
    with subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=env,  # type: ignore[call-overload]
    ) as process:
        try:
            line = process.stdout.readline().decode()
            found = re.search(r"(\d+)\s*$", line)
            assert found, f"it did not start: {line}{process.stdout.read(2000).decode() if process.poll() else ''}"
            yield int(found[1])
        finally:
            process.kill()


@contextlib.contextmanager
def listening(command: Sequence[object], port: int, stdin: bool = False) -> Iterator[int]:
    """A program that was told its port, once something listens there."""
    with subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            for _ in range(200):
                assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
