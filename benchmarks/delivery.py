"""Messages to many nodes with acknowledgement: what is lost, what is out of order, how long it takes, what it costs.

    python benchmarks/delivery.py [--nodes 1000] [--rate 200] [--seconds 20] [--churn 5] [--kills 3] [--size 256]

Starts a server on loopback with a fresh data directory and drives it with the Go load client beside this file, which plays both the nodes
and the senders. `--churn`: that many percent of the nodes are away, on average, and come back. `--kills`: the server is killed with -9 so
often while messages flow, and started again. CPU is that of the server process, above what keepalives alone cost. Exit 1 when anything is
lost or out of order.
"""

import argparse
import json
import os
import platform
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """The server under test, over its lives."""

    def __init__(self, place: Path) -> None:
        self.data = place / "data"
        self.https, self.hub = free_port(), free_port()
        self._log = (place / "server.log").open("ab")
        self._environment = os.environ | {"EDGEWARD_PASSPHRASE": secrets.token_urlsafe(16)}
        self._spent = 0.0
        self.start()

    def start(self) -> float:
        """Start it; the seconds until it serves."""
        began = time.monotonic()
        ports = ["--https-port", str(self.https), "--hub-port", str(self.hub)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgeward", "up", "--data", self.data, "--listen", "127.0.0.1", *ports, "--log-level", "warning"],
            env=self._environment, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip
        for line in self.process.stdout or ():
            if b"next:" in line:
                return time.monotonic() - began
        raise SystemExit("error: the server does not start")

    def command(self, *arguments: str) -> str:
        """The output of an administrative command."""
        line = [sys.executable, "-m", "edgeward", *arguments, "--data", str(self.data)]
        return subprocess.run(line, env=self._environment, capture_output=True, check=True, text=True).stdout

    @property
    def cpu(self) -> float:
        """CPU seconds of all its lives."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return self._spent + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def memory(self) -> float:
        """MiB."""
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0

    def kill(self) -> None:
        """`kill -9`."""
        self._spent = self.cpu
        self.process.kill()
        self.process.wait()


def main() -> int:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--churn", type=float, default=0)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--senders", type=int, default=32)
    options = parser.parse_args()
    if shutil.which("go") is None:
        raise SystemExit("error: the load client is written in Go, and there is no go on this machine")
    with tempfile.TemporaryDirectory(prefix="edgeward-bench-") as name:
        return measure(Path(name), options)


def measure(place: Path, options: argparse.Namespace) -> int:
    """Build, start, drive, kill, print."""
    subprocess.run(["go", "build", "-o", f"{place}/", "./deliver"], cwd=HERE / "loadclient", check=True)
    server = Server(place)
    token = place / "token"
    token.write_text(server.command("token", "new", "--pattern", "*", "--uses", "1000000"))
    flags = {
        "n": options.nodes,
        "rate": options.rate,
        "d": f"{options.seconds}s",
        "size": options.size,
        "churn": options.churn,
        "senders": options.senders,
    }
    client = subprocess.Popen(
        [f"{place}/deliver", "-https", f"https://127.0.0.1:{server.https}", "-ws", f"127.0.0.1:{server.hub}",
         "-socket", f"{server.data}/admin.sock", "-token", str(token),
         *(part for flag, value in flags.items() for part in (f"-{flag}", str(value)))],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    said, marks, restarts = {}, {}, []
    try:
        for line in client.stdout or ():
            word, _, facts = line.strip().partition(" ")
            said[word], marks[word] = facts, (time.monotonic(), server.cpu)
            print("   ", line.strip(), file=sys.stderr)
            if word == "begin":
                for _ in range(options.kills):
                    time.sleep(options.seconds / (options.kills + 1))
                    server.kill()
                    restarts.append(server.start())
        status = client.wait()
        memory = server.memory
        left = json.loads(server.command("message", "queues", "--json"))
    finally:
        client.kill()
        server.process.terminate()
        server.process.wait(30)
    facts = dict(pair.split("=") for pair in said["done"].split())
    idle = (marks["begin"][1] - marks["connected"][1]) / (marks["begin"][0] - marks["connected"][0])
    busy = marks["sent"][1] - marks["begin"][1] - idle * (marks["sent"][0] - marks["begin"][0])
    print(
        f"\n{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}\n"
        f"{options.nodes} nodes, {options.rate:g} messages/s for {options.seconds} s, {options.churn:g} % away, {options.kills} kills\n"
    )
    rows = [(name.replace("_", " "), value) for name, value in facts.items()]
    rows.append(("still queued at the end", str(sum(one["messages"] for one in left))))
    rows.append(("server memory", f"{memory:.0f} MiB"))
    if restarts:
        rows.append(("serving again after", ", ".join(f"{seconds:.1f} s" for seconds in restarts)))
    else:
        rows.append(("server CPU for each message", f"{busy * 1000 / max(1, int(facts['taken'])):.3f} ms"))
    for name, value in rows:
        print(f"{name:32}{value:>16}")
    return 1 if status or left else 0


if __name__ == "__main__":
    sys.exit(main())
