"""Throw-away authorities, pairs and listeners for tests of the wire. Clients here are blocking and run in threads."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Result = TypeVar("Result")
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def run(main: Coroutine[Any, Any, Result], loop: str = "uvloop") -> Result:
    """Run `main` on one of the two event loops, for a minute at most."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(asyncio.wait_for(main, 60))


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @contextmanager
    def files(self) -> Iterator[tuple[str, str]]:
        """Paths of certificate and key, for programs that want files."""
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "crt").write_bytes(self.pem)
            (Path(directory) / "key").write_bytes(self.key_pem)
            yield f"{directory}/crt", f"{directory}/key"


def certify(
    name: str,
    issuer: Pair | None = None,
    *,
    ca: bool = False,
    purpose: x509.ObjectIdentifier | None = None,
    days: tuple[int, int] = (-30, 30),
    address: str = "127.0.0.1",
) -> Pair:
    """A pair with a certificate by `issuer`, or self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + days[0] * DAY)
        .not_valid_after(NOW + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if purpose == ExtendedKeyUsageOID.SERVER_AUTH:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address)), x509.DNSName("localhost")])
        builder = builder.add_extension(names, critical=False)
    return Pair(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


CA = certify("CA", ca=True)
SERVER = certify("server", CA, purpose=ExtendedKeyUsageOID.SERVER_AUTH)
DEVICE = certify("system:node:edge-1", CA, purpose=ExtendedKeyUsageOID.CLIENT_AUTH)
EXPIRED = certify("system:node:edge-2", CA, purpose=ExtendedKeyUsageOID.CLIENT_AUTH, days=(-20, -10))
FOREIGN = certify("system:node:edge-1", certify("another CA", ca=True), purpose=ExtendedKeyUsageOID.CLIENT_AUTH)
IMPOSTOR = certify("system:node:edge-1", certify("CA", ca=True), purpose=ExtendedKeyUsageOID.CLIENT_AUTH)


def client_context(pair: Pair | None = None, **settings: Any) -> ssl.SSLContext:
    """A blocking client's context that trusts `CA`; `settings` are set as attributes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=CA.der)
    if pair is not None:
        with pair.files() as (certificate, key):
            context.load_cert_chain(certificate, key)
    for name, value in settings.items():
        setattr(context, name, value)
    return context


def dial(port: int, context: ssl.SSLContext, **more: Any) -> ssl.SSLSocket:
    """A blocking TLS connection to this machine, by the address that the server's certificate names."""
    tcp = socket.create_connection(("127.0.0.1", port), timeout=10)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        return context.wrap_socket(tcp, server_hostname="127.0.0.1", **more)
    except BaseException:
        tcp.close()
        raise


def read_all(connection: socket.socket) -> bytes:
    """What the peer sends until it closes, even by a reset."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except (ConnectionResetError, ssl.SSLEOFError):
        pass
    return received
