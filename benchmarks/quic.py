"""What a connection over QUIC costs a server, and what a message does: `python benchmarks/quic.py [CONNECTIONS]` prints a table.

Server and client are two processes on this machine; the server's CPU time and memory are its own (`getrusage`, `smaps_rollup`). The hub
is the real one with a store in memory, so a handshake includes the look at the certificate's row and the admission.
"""

import asyncio
import gc
import multiprocessing
import os
import resource
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import aioquic
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.x509 import load_der_x509_certificate
from tests.support.quic_site import QuicSite, quic_site, said

MESSAGES = 2000


def cpu() -> float:
    """Seconds of CPU of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident() -> int:
    """KiB of memory of this process."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


async def serve(pipe: Any, connections: int) -> None:
    async with quic_site() as site:
        pairs = [await site.device(f"edge-{number}") for number in range(connections)]
        pipe.send((site.port, [(one.public_bytes(Encoding.DER), _plain(key)) for one, key in pairs]))
        gc.collect()
        for _ in range(3):
            before, memory = cpu(), resident()
            while not pipe.poll():
                await asyncio.sleep(0.01)
            pipe.recv()
            pipe.send((cpu() - before, resident() - memory, len(site.delivered)))


def _plain(key: Any) -> bytes:
    return bytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def _serve(pipe: Any, connections: int) -> None:
    asyncio.run(serve(pipe, connections))


async def drive(pipe: Any, connections: int) -> None:
    port, pairs = pipe.recv()
    site = QuicSite.__new__(QuicSite)
    site.port = port
    clients = []
    for number, (der, key) in enumerate(pairs):
        made, ear = await site.dial((load_der_x509_certificate(der), load_der_private_key(key, None)), f"edge-{number}")
        while ear.link is None:
            await asyncio.sleep(0.001)
        clients.append(made)
    spent, grown, _ = _ask(pipe)
    print(f"{'handshake and admission, server CPU':<44}{1000 * spent / connections:8.2f} ms")
    print(f"{'memory of a connection, server':<44}{grown / connections:8.1f} KiB")
    for number in range(MESSAGES):
        clients[number % connections].send(said(msg_id=f"m-{number}"))
        if number % 50 == 0:
            await asyncio.sleep(0.01)
    await asyncio.sleep(1)
    spent, _, delivered = _ask(pipe)
    print(f"{'message of 150 octets, server CPU':<44}{1000 * spent / max(delivered, 1):8.3f} ms  ({delivered} arrived)")
    _ask(pipe)


def _ask(pipe: Any) -> Any:
    pipe.send("now")
    return pipe.recv()


def main() -> None:
    connections = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, connections))
    server.start()
    print(f"{connections} connections, {os.cpu_count()} cores, aioquic {aioquic.__version__}")
    asyncio.run(drive(ours, connections))
    server.join()


if __name__ == "__main__":
    main()
