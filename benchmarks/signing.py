"""Signing a directory of vendors' CSRs: `edgeward cert sign DIR --ca-dir CA` against a loop over the library, on this machine.

    python benchmarks/signing.py [COUNT]

Both read PEM files, check each request's signature, sign a certificate with the same extensions and write a PEM file. Ours does more: it
applies the profile, writes two durable rows and an audit record for each certificate, and reads each back before it leaves. CPU seconds
include those of the worker processes, and ours those of starting the program.
"""

import multiprocessing
import os
import resource
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

SOURCE = Path(__file__).parents[1] / "src"


def requests(place: Path, count: int) -> None:
    place.mkdir()
    for number in range(count):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"edge-{number}")])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        (place / f"edge-{number}.csr").write_bytes(csr.public_bytes(Encoding.PEM))


def library(place: Path, out: Path, share: int = 0, shares: int = 1) -> None:
    """What a script over the library does for each request; `shares` of them share the requests."""
    key, issuer = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca")]),
    )
    out.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    for path in sorted(place.iterdir())[share::shares]:
        csr = x509.load_pem_x509_csr(path.read_bytes())
        if not csr.is_signature_valid:
            raise SystemExit(f"{path}: bad signature")
        public = csr.public_key()
        builder = x509.CertificateBuilder(
            issuer, csr.subject, public, x509.random_serial_number(), now, now + timedelta(days=365)
        )
        for value, critical in (
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (usage, True),
            (x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH]), False),
            (x509.SubjectKeyIdentifier.from_public_key(public), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False),
            (
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://edgeward/node/{path.stem}")]),
                False,
            ),
        ):
            builder = builder.add_extension(value, critical)
        (out / f"{path.stem}.crt").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))


def library_on_all_cores(place: Path, out: Path) -> None:
    """The same script, written for all cores."""
    cores = os.cpu_count() or 1
    context = multiprocessing.get_context("fork")
    working = [context.Process(target=library, args=(place, out, share, cores)) for share in range(cores)]
    for one in working:
        one.start()
    for one in working:
        one.join()


def spent() -> float:
    """CPU seconds of this process and of those it has waited for."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "EDGEWARD_PASSPHRASE": "benchmark passphrase"}
    with tempfile.TemporaryDirectory(prefix="edgeward-bench-") as name:
        place = Path(name)
        requests(place / "in", count)

        def edgeward(*arguments: str) -> None:
            subprocess.run(
                [sys.executable, "-m", "edgeward", *arguments],
                cwd=place,
                env=environment,
                check=True,
                capture_output=True,
            )

        edgeward("ca", "new", "--ca-dir", "ca", "--name", "Benchmark CA")
        print(f"{count} requests, {os.cpu_count()} cores")
        for title, work in (
            ("library loop, one core", lambda: library(place / "in", place / "out-library")),
            ("library loop, all cores", lambda: library_on_all_cores(place / "in", place / "out-all")),
            ("edgeward cert sign", lambda: edgeward("cert", "sign", "in", "--ca-dir", "ca", "--out", "out")),
        ):
            began, before = time.monotonic(), spent()
            work()
            wall, cpu = time.monotonic() - began, spent() - before
            print(f"{title:24} {wall:6.1f} s  {count / wall:6.0f} a second  {cpu / count * 1e6:6.0f} µs of CPU each")


if __name__ == "__main__":
    main()
