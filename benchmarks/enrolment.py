"""What an enrolment costs without a network: HTTP octets in, answer out, in one process, with the store on a disk.

    python benchmarks/enrolment.py [--enrolments 2000] [--at-once 8] [--profile]

Prints the CPU of one enrolment beside what the library alone needs for its arithmetic. `--at-once 64` keeps the processor's caches warm and
shares each sync among many; the difference to `--at-once 8` is what waiting for the disk costs in CPU. `--profile` prints calls by number.
"""

import argparse
import asyncio
import cProfile
import gc
import pstats
import resource
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from server import library_seconds

from edgeward import app
from edgeward.services import tokens
from edgeward.transports.http import Http


def requests(number: int, bearer: str) -> list[bytes]:
    """So many requests, each of a new node with a new key, as Go's client writes them."""
    made = []
    for n in range(number):
        names = [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, f"system:node:edge-{n}"),
        ]
        builder = x509.CertificateSigningRequestBuilder(x509.Name(names))
        csr = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)
        head = (
            f"GET /edge.crt HTTP/1.1\r\nHost: 127.0.0.1:10002\r\nUser-Agent: Go-http-client/1.1\r\n"
            f"Content-Length: {len(csr)}\r\nAuthorization: Bearer {bearer}\r\nNodename: edge-{n}\r\n\r\n"
        )
        made.append(head.encode() + csr)
    return made


class Peer(asyncio.Transport):
    """One kept connection: sends the next request when the answer to the last one is here."""

    def __init__(self, http: Http, left: Iterator[bytes], over: asyncio.Event) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self._left = left
        self._over = over
        self._connection = http()
        self._connection.connection_made(self)

    def ask(self) -> None:
        """Send the next request, if there is one."""
        octets = next(self._left, None)
        if octets is None:
            self._over.set()
        else:
            self._connection.data_received(octets)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """An answer."""
        if not bytes(data).startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"error: an enrolment was refused: {bytes(data)!r}")
        asyncio.get_running_loop().call_soon(self.ask)

    def close(self) -> None:
        """The server closes."""
        self._connection.connection_lost(None)


async def measure(place: Path, number: int, at_once: int, profile: cProfile.Profile | None) -> tuple[float, float]:
    """CPU seconds of one enrolment, in the process and in the kernel."""
    wanted = app.Wanted(data=place, listen="127.0.0.1", https_port=0, hub_port=0)
    async with app.running(wanted, {"EDGEWARD_PASSPHRASE": secrets.token_urlsafe(16)}) as server:
        services, http = server._services, server._enrolment
        token, _ = await services.tokens.new(
            tokens.Wanted(pattern="*", uses=number), actor="operator:bench", now=app.now()
        )
        left = iter(requests(number, token.bearer.reveal()))
        over = [asyncio.Event() for _ in range(at_once)]
        peers = [Peer(http, left, event) for event in over]
        gc.collect()
        gc.freeze()
        if profile is not None:
            profile.enable()
        before = resource.getrusage(resource.RUSAGE_SELF)
        for peer in peers:
            peer.ask()
        for event in over:
            await event.wait()
        after = resource.getrusage(resource.RUSAGE_SELF)
        if profile is not None:
            profile.disable()
        return (after.ru_utime - before.ru_utime) / number, (after.ru_stime - before.ru_stime) / number


def main() -> None:
    """Run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--enrolments", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    profile = cProfile.Profile() if options.profile else None
    with tempfile.TemporaryDirectory(prefix="edgeward-bench-") as name:
        loop = app.new_loop()
        user, kernel = loop.run_until_complete(
            measure(Path(name) / "data", options.enrolments, options.at_once, profile)
        )
    print(f"library alone: {library_seconds() * 1000:.3f} ms")
    print(f"an enrolment, {options.at_once} at once: {user * 1000:.3f} ms and {kernel * 1000:.3f} ms in the kernel")
    if profile is not None:
        pstats.Stats(profile).sort_stats("ncalls").print_stats(60)


if __name__ == "__main__":
    main()
