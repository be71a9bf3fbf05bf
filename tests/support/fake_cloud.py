"""A small real enrolment server for tests of the edge side: TLS, HTTP, a CA of its own, and any answer a test wants."""

import contextlib
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


def name(common_name: str, organization: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def general(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


class FakeCA:
    """A CA that signs whatever a test asks for."""

    def __init__(self, common_name: str = "KubeEdge", issuer: "FakeCA | None" = None, **fields) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = (issuer or self).sign(self.key.public_key(), name(common_name), ca=True, **fields)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pin(self) -> str:
        return sha256(self.der).hexdigest()

    def sign(
        self,
        key,
        subject: x509.Name,
        *,
        sans: tuple[str, ...] = (),
        usages: tuple = (),
        ca: bool = False,
        path_length: int | None = None,
        start: datetime = NOW - timedelta(minutes=5),
        end: datetime = NOW + 365 * DAY,
        extra: tuple = (),
    ) -> x509.Certificate:
        issuer = self.certificate.subject if hasattr(self, "certificate") else subject
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
        )
        if ca:
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName([general(n) for n in sans]), critical=False)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        for value, critical in extra:
            builder = builder.add_extension(value, critical=critical)
        return builder.sign(self.key, hashes.SHA256())

    def server(self, *sans: str, key=None, **fields) -> x509.Certificate:
        key = key or ec.generate_private_key(ec.SECP256R1())
        fields = {"usages": (ExtendedKeyUsageOID.SERVER_AUTH,), **fields}
        return self.sign(key.public_key(), name("KubeEdge", "KubeEdge"), sans=sans, **fields)

    def device(self, key, node: str, **fields) -> bytes:
        fields = {"usages": (ExtendedKeyUsageOID.CLIENT_AUTH,), **fields}
        subject = fields.pop("subject", name(f"system:node:{node}", "system:nodes"))
        return self.sign(key, subject, **fields).public_bytes(serialization.Encoding.DER)

    def server_context(self, directory: Path, *sans: str, chain: tuple["FakeCA", ...] = (), **fields) -> ssl.SSLContext:
        """A server's TLS context for these names; `chain` is presented after the server's own certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificates = [self.server(*sans, key=key, **fields), *(ca.certificate for ca in chain)]
        pem = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)
        pem += key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = directory / f"server-{x509.random_serial_number():x}.pem"
        file.write_bytes(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


@dataclass
class Asked:
    """A request that the server saw."""

    path: str
    headers: dict[str, str]
    body: bytes
    peer: bytes | None

    @property
    def csr(self) -> x509.CertificateSigningRequest:
        return x509.load_der_x509_csr(self.body)


Answer = tuple[int, bytes] | Callable[[http.server.BaseHTTPRequestHandler], None]


@dataclass
class FakeCloud:
    """`ca` signs, `edge_crt` decides what `/edge.crt` answers: status and body, or a function that writes to the connection."""

    ca: FakeCA
    offered_ca: bytes = b""
    edge_crt: Callable[[Asked], Answer] | None = None
    ca_crt: Answer | None = None
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    connections: int = 0

    def __post_init__(self) -> None:
        self.edge_crt = self.edge_crt or self.sign
        self.offered_ca = self.offered_ca or self.ca.der

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return f"{self.ca.pin}.0123456789abcdef.-.{'s3cr3t' * 7}"

    def sign(self, asked: Asked, **fields) -> Answer:
        """What a cloud does with a good request: the certificate that was asked for."""
        node = asked.headers["nodename"]
        return 200, self.ca.device(asked.csr.public_key(), node, **fields)


@contextlib.contextmanager
def running(cloud: FakeCloud, context: ssl.SSLContext) -> Iterator[FakeCloud]:
    """`cloud` on a free port of 127.0.0.1. Client certificates of its CA are asked for and not required."""
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=cloud.ca.der)
    gone = threading.Event()

    class Shell(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {key.lower(): value for key, value in self.headers.items()}
            asked = Asked(self.path, headers, body, self.connection.getpeercert(True))
            cloud.asked.append(asked)
            if self.path == "/ca.crt":
                self.reply(cloud.ca_crt or (200, cloud.offered_ca))
            elif self.path == "/edge.crt":
                self.reply(cloud.edge_crt(asked))
            else:
                self.reply((404, b"404: Page Not Found"))

        def reply(self, answer: Answer) -> None:
            self.gone = gone
            if callable(answer):
                self.close_connection = True
                with contextlib.suppress(OSError):
                    answer(self)
                return
            status, body = answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None: ...

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request, client_address) -> None:
            cloud.connections += 1
            request.settimeout(20)
            with contextlib.suppress(OSError), context.wrap_socket(request, server_side=True) as wrapped:
                Shell(wrapped, client_address, self)

    server = Server(("127.0.0.1", 0), Shell)
    cloud.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield cloud
    finally:
        gone.set()
        server.shutdown()
        server.server_close()
        thread.join()
