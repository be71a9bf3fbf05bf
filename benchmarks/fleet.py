"""A whole fleet that connects, keeps alive, and comes back after a restart of the hub: errors, times, CPU and memory.

    python benchmarks/fleet.py --nodes 60000 --workers 5 --seconds 600 --restart
    python benchmarks/fleet.py --nodes 15000 --seconds 600 --restart --restart kill

With `--workers`, starts PostgreSQL (durable, on its default settings), NATS and `edgeward up --workers N` on loopback, else one process
on SQLite; drives it with the Go load client beside this file. Every node has a key and a certificate of its own, from the enrolment
port. `--restart`: afterwards the hub is ended by SIGTERM (`kill`: SIGKILL) and started again, and the nodes return as they do:
`--backoff agent` (1 to 30 s, doubling, with jitter) or `kubeedge` (30 s after a loss or a failure). Exit 1 when a node failed to connect,
was lost or could not send while nothing was restarted, or did not come back.

A client process has at most 14,000 nodes, because it may open 20,000 files, and so may a worker. Needs Go, and 150 KiB of memory a node.
"""

import argparse
import contextlib
import json
import math
import os
import platform
import queue
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services import Nats, Postgres, children, cpu, free_port, memory

HERE = Path(__file__).parent

UNENDING = 120.0
"""Seconds after which a hub that was asked to end is killed."""

A_CLIENT = 14_000
"""Nodes of one client process."""


def say(text: str) -> None:
    """On the progress of it all."""
    print(f"  {time.monotonic() - BEGAN:6.0f} s  {text}", file=sys.stderr, flush=True)


class Hub:
    """The server under test, over its lives."""

    def __init__(self, place: Path, options: argparse.Namespace, database: str, bus: str) -> None:
        workers = options.workers
        self.data = place / "data"
        self.https, self.port = free_port(), free_port()
        if options.config is not None:
            self.data.mkdir(mode=0o700)
            shutil.copy(options.config, self.data / "edgeward.toml")
        self._database = database
        self._log = (place / "server.log").open("ab")
        self.environment = os.environ | {"EDGEWARD_PASSPHRASE": secrets.token_urlsafe(16)}
        shared = ["--workers", str(workers), "--database", database, "--bus", bus] if workers else []
        self._command = [
            sys.executable, "-m", "edgeward", "up", "--data", str(self.data), "--listen", "127.0.0.1", "--https-port", str(self.https),
            "--hub-port", str(self.port), "--log-level", "warning", *shared,
        ]  # fmt: skip
        self._spent = 0.0
        self.start()

    def start(self) -> float:
        """Start it; the seconds until it serves."""
        began = time.monotonic()
        self.process = subprocess.Popen(self._command, env=self.environment, stdout=subprocess.PIPE, stderr=self._log)
        for line in self.process.stdout or ():
            if b"next:" in line:
                return time.monotonic() - began
        raise SystemExit("error: the server does not start; its log:\n" + self.log())

    def log(self) -> str:
        """What it logged."""
        return Path(self._log.name).read_text()[-3000:]

    def end(self, number: int) -> float:
        """End it, its workers included; the seconds that it took."""
        began, before, workers = time.monotonic(), self.cpu, children(self.process.pid)
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            for one in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, number)
        while self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.2)
            before = max(before, self._spent + cpu(self.process.pid))
            if number != signal.SIGKILL and time.monotonic() - began > UNENDING:
                say("the hub does not end, and is killed")
                return time.monotonic() - began + self.end(signal.SIGKILL)
        while any(Path(f"/proc/{one}").exists() for one in workers):
            time.sleep(0.02)
        self._spent = before
        return time.monotonic() - began

    def close(self) -> None:
        """End it for good."""
        self.end(signal.SIGTERM)
        self._log.close()

    @property
    def cpu(self) -> float:
        """CPU seconds of all its lives."""
        return self._spent + cpu(self.process.pid)

    def command(self, *arguments: str) -> str:
        """The output of an administrative command."""
        line = [sys.executable, "-m", "edgeward", *arguments, "--data", str(self.data)]
        return subprocess.run(
            line, env=self.environment, capture_output=True, check=True, text=True, timeout=300
        ).stdout

    def present(self) -> int:
        """How many nodes are online by the store."""
        statement = "SELECT count(*) FROM device WHERE online_since IS NOT NULL"
        if self._database:
            import psycopg  # noqa: PLC0415 - an extra that one process on SQLite does without

            with psycopg.connect(self._database) as connection:
                return int((connection.execute(statement).fetchone() or (0,))[0])
        with contextlib.closing(sqlite3.connect(self.data / "edgeward.db")) as database:
            return int(database.execute(statement).fetchone()[0])


class Clients:
    """The processes that play the nodes."""

    def __init__(self, program: Path, options: argparse.Namespace, hub: Hub, token: Path) -> None:
        count = math.ceil(options.nodes / A_CLIENT)
        shares = [options.nodes // count + (one < options.nodes % count) for one in range(count)]
        self._latest: list[dict[str, Any]] = [{} for _ in shares]
        self._heard: queue.Queue[tuple[int, str]] = queue.Queue()
        self._processes = []
        for number, share in enumerate(shares):
            process = subprocess.Popen(
                [program, "-https", f"https://127.0.0.1:{hub.https}", "-ws", f"127.0.0.1:{hub.port}", "-token", token,
                 "-n", str(share), "-from", str(1 + number), "-prefix", f"fleet-{number}-", "-beat", f"{options.beat}s",
                 "-backoff", options.backoff, "-c", str(max(1, options.dials // count))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            self._processes.append(process)
            threading.Thread(target=self._listen, args=(number, process), daemon=True).start()

    def _listen(self, number: int, process: "subprocess.Popen[str]") -> None:
        for line in process.stdout or ():
            facts = json.loads(line)
            if "did" in facts:
                self._heard.put((number, facts["did"]))
            else:
                self._latest[number] = facts
        self._heard.put((number, "ended"))

    def tell(self, word: str) -> None:
        """Say a word to each."""
        for process in self._processes:
            print(word, file=process.stdin, flush=True)

    def await_word(self, word: str, progress: Callable[[], str], seconds: float) -> None:
        """Wait until each has said it."""
        left, deadline = len(self._processes), time.monotonic() + seconds
        while left:
            try:
                number, did = self._heard.get(timeout=10)
            except queue.Empty:
                say(progress())
                if time.monotonic() > deadline:
                    raise SystemExit(f"error: {word} took more than {seconds:.0f} s") from None
                continue
            if did == "ended":
                raise SystemExit(f"error: client {number} ended")
            left -= did == word

    def total(self, name: str) -> int:
        """The sum of a number."""
        return sum(one.get(name, 0) for one in self._latest)

    @property
    def failed(self) -> Counter[str]:
        """What failed since the last mark, and how often."""
        found: Counter[str] = Counter()
        for one in self._latest:
            found.update(one.get("failed") or {})
        return found

    def worst(self, name: str) -> tuple[float, float, float]:
        """Median, 99 % and maximum in ms of a latency since the last mark, of the client where each is worst."""
        found = [one[name] for one in self._latest if one.get(name)]
        return (0.0, 0.0, 0.0) if not found else tuple(max(one[place] for one in found) for place in range(3))  # type: ignore[return-value]

    def mark(self) -> None:
        """Count failures and latencies from zero."""
        self.tell("mark")
        time.sleep(1.5)

    def cpu(self) -> float:
        """Their CPU seconds."""
        return sum(cpu(one.pid) for one in self._processes)

    def stop(self) -> None:
        """End them."""
        for process in self._processes:
            process.kill()
            process.wait()


class Site:
    """Everything that runs, and the meter of what each part of it spends."""

    def __init__(self, place: Path, options: argparse.Namespace, closing: contextlib.ExitStack) -> None:
        subprocess.run(["go", "build", "-o", f"{place}/", "./fleet"], cwd=HERE / "loadclient", check=True)
        self._others: dict[str, Postgres | Nats] = {}
        if options.workers:
            self._others = {"PostgreSQL": Postgres(place, 50 + 8 * options.workers), "NATS": Nats()}
            for one in self._others.values():
                closing.callback(one.stop)
        urls = [one.url for one in self._others.values()] or ["", ""]
        self.hub = Hub(place, options, *urls)
        closing.callback(self.hub.close)
        say("the hub serves")
        token = place / "token"
        token.write_text(self.hub.command("token", "new", "--pattern", "*", "--uses", "1000000"))
        self.clients = Clients(place / "fleet", options, self.hub, token)
        closing.callback(self.clients.stop)
        self.name = "workers" if options.workers else "server"

    def spent(self) -> dict[str, float]:
        """CPU seconds so far."""
        own = {self.name: self.hub.cpu}
        return own | {name: cpu(one.pid) for name, one in self._others.items()} | {"load clients": self.clients.cpu()}


class Report:
    """Lines of the table, and whether all went well."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []
        self.bad = False

    def add(self, name: str, value: str) -> None:
        """A line."""
        self.rows.append((name, value))
        say(f"{name}: {value}")

    def errors(self, name: str, number: int, kinds: Counter[str]) -> None:
        """A line that ought to say 0. Dials that a node gave up because its turn had not come are another line: it dials again."""
        late = kinds.pop("dial: timeout", 0)
        number -= late
        self.add(name, str(number))
        if late:
            self.add("    dials given up after 30 s in the queue, and made again", str(late))
        for kind, times in kinds.most_common(8):
            self.add(f"    {kind}"[:60], str(times))
        self.bad |= number > 0

    def each(self, name: str, before: dict[str, float], after: dict[str, float], number: int) -> None:
        """CPU for each of `number`, part by part."""
        for part, spent in after.items():
            self.add(f"{name}, {part}", f"{(spent - before[part]) * 1000 / max(1, number):.3f} ms")


def wait_until(
    happened: Callable[[], bool], progress: Callable[[], str], seconds: float, every: float = 0.1
) -> float | None:
    """The seconds until it happened, which is looked at `every` so often; None if it did not in time."""
    began = shown = time.monotonic()
    while not happened():
        now = time.monotonic()
        if now - began > seconds:
            return None
        if now - shown > 10:
            shown = now
            say(progress())
        time.sleep(every)
    return time.monotonic() - began


def measure(site: Site, options: argparse.Namespace, report: Report) -> None:
    """Enrol, connect, hold, restart."""
    hub, clients, nodes = site.hub, site.clients, options.nodes
    limit = max(120.0, nodes * options.patience)

    def state() -> str:
        return f"{clients.total('online')} online, {clients.total('lost')} lost so far, failed {dict(clients.failed.most_common(4))}"

    before, began = site.spent(), time.monotonic()
    clients.tell("enrol")
    clients.await_word("enrol", lambda: f"{clients.total('enrolled')} enrolled", limit)
    time.sleep(1.5)
    report.add("enrolled in", f"{time.monotonic() - began - 1.5:.1f} s")
    report.errors("    errors", nodes - clients.total("enrolled") + sum(clients.failed.values()), clients.failed)
    report.each("an enrolment", before, site.spent(), nodes)

    clients.mark()
    held, before = memory(hub.process.pid), site.spent()
    clients.tell("connect")
    took = wait_until(lambda: clients.total("online") >= nodes, state, limit)
    report.add("all connected in", "never" if took is None else f"{took:.1f} s")
    recorded = wait_until(lambda: hub.present() == nodes, state, 60, 1.0)
    after = site.spent()
    report.errors("    errors", nodes - clients.total("online") + sum(clients.failed.values()), clients.failed)
    report.add("    from dial to upgrade, p50, p99", "{:.0f}, {:.0f} ms".format(*clients.worst("dials")))
    report.each("a connection", before, after, nodes)
    report.add("online on record", "never all" if recorded is None else str(nodes))
    report.bad |= recorded is None

    hold(site, options, report, f"keepalives for {options.seconds} s", options.seconds)
    report.add("memory for each connection", f"{(memory(hub.process.pid) - held) / nodes:.1f} KiB")
    report.add("memory of the hub", f"{memory(hub.process.pid) / 1024:.0f} MiB")
    for how in options.restart:
        restart(site, options, report, how, limit)
    shown = json.loads(hub.command("nodes", "--json"))
    online = sum(one["state"] == "online" for one in shown)
    report.add("`edgeward nodes`: online", str(online))
    report.bad |= online != nodes


def hold(site: Site, options: argparse.Namespace, report: Report, name: str, seconds: float) -> None:
    """Keepalives alone for a while."""
    clients = site.clients
    clients.mark()
    before, sent, lost = site.spent(), clients.total("beats"), clients.total("lost")
    wait_until(
        lambda: False,
        lambda: (
            f"{clients.total('online')} online, {clients.total('beats') - sent} keepalives, ping p99 {clients.worst('pings')[1]:.0f} ms"
        ),
        seconds,
    )
    after, beats = site.spent(), clients.total("beats") - sent
    report.add(name, str(beats))
    report.errors(
        "    errors and lost connections",
        clients.total("lost") - lost + sum(clients.failed.values()),
        clients.failed,
    )
    report.each("a keepalive", before, after, beats)
    report.add("ping answered, p50, p99, longest", "{:.1f}, {:.1f}, {:.0f} ms".format(*clients.worst("pings")))
    missing = options.nodes - clients.total("online")
    report.bad |= missing != 0


def restart(site: Site, options: argparse.Namespace, report: Report, how: str, limit: float) -> None:
    """End the hub, start it, and see how the nodes come back."""
    hub, clients, nodes = site.hub, site.clients, options.nodes
    lost = clients.total("lost")
    began = time.monotonic()
    ended = hub.end(signal.SIGTERM if how == "term" else signal.SIGKILL)
    served = hub.start()
    report.add(f"restart ({how}): ended in, serving after", f"{ended:.1f}, {served:.1f} s")
    before = site.spent()

    def state() -> str:
        return f"{clients.total('online')} online, failed {dict(clients.failed.most_common(4))}"

    while clients.total("lost") - lost < nodes and time.monotonic() - began < limit and how == "term":
        time.sleep(0.1)
    clients.mark()  # what failed while nobody listened is no error
    took = wait_until(lambda: clients.total("online") >= nodes, state, limit)
    report.add(
        "    all back, from serving", "never" if took is None else f"{time.monotonic() - began - ended - served:.1f} s"
    )
    recorded = wait_until(lambda: hub.present() == nodes, state, 60, 1.0)
    report.errors(
        "    errors since it serves", nodes - clients.total("online") + sum(clients.failed.values()), clients.failed
    )
    report.add("    from dial to upgrade, p50, p99", "{:.0f}, {:.0f} ms".format(*clients.worst("dials")))
    report.each("    coming back", before, site.spent(), nodes)
    report.add("    online on record", str(hub.present()) if recorded is None else str(nodes))
    report.bad |= took is None or recorded is None
    hold(site, options, report, "    keepalives for 45 s afterwards", 45)


def machine() -> str:
    """What it ran on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "",
    )
    load = f"{os.getloadavg()[0]:.1f}"
    return (
        f"{platform.machine()} {model}, {os.cpu_count()} CPUs, load average {load} before it began, Python {platform.python_version()},"
        f" {datetime.now(UTC):%Y-%m-%d %H:%M}"
    )


@contextlib.contextmanager
def terminated() -> Iterator[None]:
    """Signals end it in a way that everything is cleared up."""

    def interrupt(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(one, interrupt)
    yield


def main() -> int:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=0, help="on PostgreSQL and NATS; 0: one process on SQLite")
    parser.add_argument("--seconds", type=int, default=60, help="of keepalives alone")
    parser.add_argument("--restart", nargs="?", const="term", choices=("term", "kill"), action="append", default=[])
    parser.add_argument("--beat", type=float, default=15, help="seconds between two keepalives of a node")
    parser.add_argument("--backoff", choices=("agent", "kubeedge"), default="agent")
    parser.add_argument(
        "--dials", type=int, default=128, help="first dials at a time; after a restart there is no such bound"
    )
    parser.add_argument(
        "--patience", type=float, default=0.02, help="seconds for each node, after which a part is given up"
    )
    parser.add_argument("--config", type=Path, help="an edgeward.toml for the server")
    parser.add_argument("--log", action="store_true", help="print what the server logged")
    options = parser.parse_args()
    if shutil.which("go") is None:
        raise SystemExit("error: the load client is written in Go, and there is no go on this machine")
    report, on = Report(), machine()
    with terminated(), tempfile.TemporaryDirectory(prefix="edgeward-bench-") as name, contextlib.ExitStack() as closing:
        site = Site(Path(name), options, closing)
        try:
            measure(site, options, report)
        finally:
            if options.log or report.bad:
                print(site.hub.log(), file=sys.stderr)
    what = f"{options.workers} workers, PostgreSQL, NATS" if options.workers else "one process, SQLite"
    print(
        f"\n{on}\n{options.nodes} nodes, {what}, a keepalive every {options.beat:g} s, back by {options.backoff}'s backoff\n"
    )
    for row, value in report.rows:
        print(f"{row:62}{value:>22}")
    return int(report.bad)


BEGAN = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
