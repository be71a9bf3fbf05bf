"""`edgeward demo`: the whole of it in ten seconds, on this machine, leaving nothing behind."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from edgeward.app_directory import program
from edgeward.cli.client import Client
from edgeward.errors import EdgewardError, Unavailable

_NODES = ("edge-1", "edge-2", "edge-3")


@click.command()
def command() -> None:
    """Start an authority on free ports in a temporary directory, join three nodes, exchange a message, revoke one node and see it cut.

    \b
    Example:
      edgeward demo
    """
    with tempfile.TemporaryDirectory(prefix="edgeward-demo-") as name, contextlib.ExitStack() as stack:
        _play(_Stage(Path(name), stack))


class _Ended(Unavailable):
    """A process of the demo that should run has ended."""


class _Stage:
    """The processes of the demo and its directory; all end with the stack."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.client = Client(self.data)
        self._stack = stack
        self._logs: dict[int, Path] = {}
        self._environment = os.environ | {"EDGEWARD_PASSPHRASE": secrets.token_urlsafe(24), "HOME": str(directory)}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `edgeward …` in the background, its output in a file."""
        path = self.directory / f"{arguments[0]}-{secrets.token_hex(4)}.log"
        log = self._stack.enter_context(path.open("wb"))
        process = subprocess.Popen(  # noqa: S603  # our own program, arguments of our own
            [sys.executable, "-m", "edgeward", *arguments],
            env=self._environment,
            stdout=log,
            stderr=log,
        )
        self._logs[process.pid] = path
        self._stack.enter_context(_ended(process))
        return process

    def run(self, *arguments: str) -> str:
        """Run `edgeward …`; its output."""
        done = subprocess.run(  # noqa: S603  # our own program, arguments of our own
            [sys.executable, "-m", "edgeward", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Unavailable(problem=f"edgeward {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def node(self, name: str) -> dict[str, Any]:
        """What the authority says of a node."""
        return next((n for n in self.client.call("GET", "/v1/nodes") if n["name"] == name), {"state": "unknown"})

    def is_online(self, name: str) -> bool:
        """Whether a node is connected."""
        return bool(self.node(name)["state"] == "online")

    def lives(self, process: subprocess.Popen[bytes]) -> bool:
        """True while a background process runs. Raises `_Ended` with its last words when it has ended."""
        if process.poll() is not None:
            raise _Ended(problem=f"a process ended with {process.returncode}: {self.log(process).strip()[-1000:]}")
        return True

    def log(self, agent: subprocess.Popen[bytes]) -> str:
        """What a background process has said so far."""
        return self._logs[agent.pid].read_text("utf-8", "replace")


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _play(stage: _Stage) -> None:
    authority = stage.start(
        "up", "--data", str(stage.data), "--listen", "127.0.0.1", "--https-port", "0", "--hub-port", "0"
    )
    _until(lambda: stage.lives(authority) and bool(stage.client.call("GET", "/v1/status")), "the authority to serve")
    status = stage.client.call("GET", "/v1/status")
    https, hub = status["https_port"], status["hub_port"]
    _say("start an authority", f"https 127.0.0.1:{https}, hub 127.0.0.1:{hub}, data in {stage.data}")
    _say("its CA", f"pin {stage.client.call('GET', '/v1/ca')['pin']}")

    agents = {}
    for name in _NODES:
        token = stage.directory / f"{name}.token"
        token.write_text(stage.run("token", "new", "--node", name, "--data", str(stage.data)))
        place = stage.directory / name
        stage.run(
            "join", f"https://127.0.0.1:{https}", "--token", f"@{token}", "--node", name,
            "--dir", str(place), "--hub", f"127.0.0.1:{hub}",
        )  # fmt: skip
        agents[name] = stage.start("agent", "--dir", str(place))
        _say(f"join {name}", f"key and certificate in {place}")
    for name in _NODES:
        _until(partial(stage.is_online, name), f"{name} to be online")
    _table(stage)

    message = {"node": "edge-2", "operation": "update", "resource": "default/configmap/greeting", "wait": 10}
    answer = stage.client.call("POST", "/v1/messages", message | {"content": {"hello": "edge-2"}})["answer"]
    _say("send edge-2 a message", f"it answers {answer['content']!r} to {answer['route']['resource']}")

    began = time.monotonic()
    stage.client.call("POST", "/v1/revocations", {"target": "edge-2", "reason": "keyCompromise"})
    _until(lambda: not stage.node("edge-2")["connected"], "edge-2 to be cut")
    _say("revoke edge-2", f"its session was cut within {(time.monotonic() - began) * 1000:.0f} ms")
    _until(lambda: "403" in stage.log(agents["edge-2"]), "edge-2 to be refused")
    _say("edge-2 comes back", "and is refused; the others stay")
    _table(stage)
    click.echo(click.style("done; everything is cleaned up", bold=True))
    click.echo(f"\n{click.style('next:', bold=True)} the same, to keep: {program()} up")


def _until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait until `condition()` holds. Raises `Unavailable` when it does not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except _Ended:
            raise
        except EdgewardError:
            pass  # not yet
        time.sleep(0.05)
    raise Unavailable(problem=f"waited {seconds:.0f} s for {what}")


def _say(what: str, outcome: str) -> None:
    click.echo(f"{click.style('▸', fg='green')} {what:24} {click.style(outcome, dim=True)}")


def _table(stage: _Stage) -> None:
    for node in stage.client.call("GET", "/v1/nodes"):
        colour = {"online": "green", "revoked": "red"}.get(node["state"], "yellow")
        click.echo(
            f"    {node['name']:8} {click.style(node['state'], fg=colour):18} certificate {node['certificate']['serial']}"
        )
