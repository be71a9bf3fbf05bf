"""What one server process spends: CPU for each enrolment, connection and keepalive, and memory for each connection.

    python benchmarks/server.py [--nodes 3000] [--seconds 5] [--steady 60]

Starts a server on loopback with a fresh data directory, drives it with the Go load client beside this file, and prints one table with the
machine. Times are CPU of the server process, measured from outside; the last column sets them in relation to what the library alone needs
to parse and check a CSR and to sign a certificate, measured in the same run, because these machines differ and change their speed.
"""

import argparse
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

HERE = Path(__file__).parent


def library_seconds(rounds: int = 400) -> float:
    """CPU seconds that the library needs to parse a CSR, check its signature and sign a certificate for it: the median of 9 batches."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "system:node:edge-1")])
    der = x509.CertificateSigningRequestBuilder(name).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    now = datetime.now(UTC)
    batches = []
    for _ in range(9):
        began = time.thread_time()
        for serial in range(1, rounds // 9 + 1):
            csr = x509.load_der_x509_csr(der)
            if not csr.is_signature_valid:
                raise SystemExit("the library does not verify its own signature")
            x509.CertificateBuilder(name, csr.subject, csr.public_key(), serial, now, now + timedelta(days=1)).sign(
                key, hashes.SHA256()
            )
        batches.append((time.thread_time() - began) / (rounds // 9))
    return sorted(batches)[4]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def build_client(into: Path) -> None:
    """Build the load client; it needs Go."""
    if shutil.which("go") is None:
        raise SystemExit("error: the load client is written in Go, and there is no go on this machine")
    subprocess.run(["go", "build", "-o", f"{into}/", "./enrol", "./hub"], cwd=HERE / "loadclient", check=True)


def figure(text: str, name: str) -> float:
    """The number behind `name=` in the client's output."""
    found = re.search(rf"{name}=([0-9.]+)", text)
    if found is None:
        raise SystemExit(f"error: the client said no {name}: {text}")
    return float(found[1])


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=3000)
    parser.add_argument("--seconds", type=int, default=5, help="of each run of enrolments")
    parser.add_argument(
        "--steady", type=int, default=60, help="seconds of keepalives after those right after connecting"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeward-bench-") as name:
        measure(Path(name), options.nodes, options.seconds, options.steady)


def measure(place: Path, nodes: int, seconds: int, steady: int) -> None:
    """Build, start, drive, print."""
    build_client(place)
    https, hub = free_port(), free_port()
    data = place / "data"
    environment = os.environ | {"EDGEWARD_PASSPHRASE": secrets.token_urlsafe(16)}
    edgeward = [sys.executable, "-m", "edgeward"]
    listen = ["--listen", "127.0.0.1", "--https-port", str(https), "--hub-port", str(hub), "--log-level", "warning"]
    server = subprocess.Popen([*edgeward, "up", "--data", str(data), *listen], env=environment, stdout=subprocess.PIPE)
    try:
        for line in server.stdout or ():
            if b"next:" in line:
                break
        token = place / "token"
        made = subprocess.run(
            [*edgeward, "token", "new", "--pattern", "*", "--uses", "1000000", "--data", str(data)],
            env=environment, capture_output=True, check=True,
        )  # fmt: skip
        token.write_bytes(made.stdout)
        common = ["-token", str(token), "-pids", str(server.pid)]
        url = f"https://127.0.0.1:{https}"
        before = library_seconds()

        def client(*arguments: str) -> str:
            out = subprocess.run(list(arguments), capture_output=True, text=True, check=True).stdout
            print("   ", out.strip().replace("\n", "\n    "), file=sys.stderr)
            return out

        new = client(f"{place}/enrol", "-url", url, *common, "-c", "8", "-d", f"{seconds}s", "-n", "8000")
        kept = client(
            f"{place}/enrol", "-url", url, *common, "-c", "8", "-d", f"{seconds}s", "-n", "20000", "-keepalive"
        )
        held = client(
            f"{place}/hub",
            "-https",
            url,
            "-ws",
            f"127.0.0.1:{hub}",
            *common,
            "-n",
            str(nodes),
            "-beat",
            "2s",
            "-hold",
            "8s",
            "-steady",
            f"{steady}s",
        )
        library = (before + library_seconds()) / 2 * 1000
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    print(
        f"\n{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"
    )
    print(f"library alone: parse and check a CSR, sign a certificate: {library:.3f} ms\n")
    print(f"{'':42}{'CPU ms':>9}{'x library':>11}")
    rows = (
        ("enrolment on a new connection", figure(new, "server_cpu")),
        ("enrolment on a kept connection", figure(kept, "server_cpu")),
        ("hub connection (mutual TLS, row looked up)", figure(held.split("connected")[1], "server_cpu")),
        ("keepalive, soon after connecting", figure(held.split("keepalives")[1], "server_cpu")),
        ("keepalive, steady state", figure(held.split("\nsteady")[1], "server_cpu")),
    )
    for label, milliseconds in rows:
        print(f"{label:42}{milliseconds:9.3f}{milliseconds / library:11.2f}")
    print(f"{'memory for each hub connection':42}{figure(held.split('connected')[1], 'mem'):9.1f} KiB")


if __name__ == "__main__":
    main()
