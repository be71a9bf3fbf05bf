"""A real `edgeward` for tests: the process of its command line, on ports of its own, in a directory of its own; and its clients."""

import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import websockets.sync.client
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgeward.cli.client import Client
from edgeward.errors import EdgewardError
from edgeward.model import audit
from tests.support.world import csr, new_key

SOURCE = Path(__file__).parents[2] / "src"
PASSPHRASE = "a passphrase that nobody writes down"
SERVES_WITHIN = 30.0
"""Seconds for a start on a busy machine; the figure that is promised is measured in `tests/faults/test_kill.py`."""

REQUEST_TIMEOUT = 20.0


def until(holds: Callable[[], Any], what: str = "it", seconds: float = 15.0) -> Any:
    """Wait until `holds()` is true and return what it says."""
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.01)


def free_port() -> int:
    """A free port outside the range from which the kernel takes the ports of outgoing connections."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Home:
    """A person's account: a home directory with nothing in it, and the environment that points there."""

    path: Path
    environment: dict[str, str]

    @staticmethod
    def at(path: Path, **more: str) -> "Home":
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "EDGEWARD_", "COV_"))}
        places = {
            "HOME": path,
            "XDG_DATA_HOME": path / "data",
            "XDG_CONFIG_HOME": path / "config",
            "XDG_STATE_HOME": path / "state",
            "PYTHONPATH": SOURCE,
        }
        path.mkdir(parents=True, exist_ok=True)
        return Home(path, kept | {name: str(value) for name, value in places.items()} | {"NO_COLOR": "1"} | more)

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "edgeward", *map(str, arguments)]

    def run(
        self, *arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None, seconds: float = 60, **more: Any
    ) -> "Said":
        """Run a command line to its end."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            input=stdin,
            capture_output=True,
            cwd=cwd or self.path,
            timeout=seconds,
            check=False,
            **more,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str | Path, log: Path, cwd: Path | None = None, **more: Any) -> subprocess.Popen[bytes]:
        """Start a command line; what it says goes to the end of `log`."""
        with log.open("ab") as file:
            return subprocess.Popen(
                self.command(*arguments),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=cwd or self.path,
                **more,
            )


@dataclass(frozen=True)
class Said:
    """What a command line said, and how it ended."""

    status: int
    octets: bytes
    err_octets: bytes

    @property
    def out(self) -> str:
        return self.octets.decode()

    @property
    def err(self) -> str:
        return self.err_octets.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.octets)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer. Status 0: there was none, because TLS or the connection ended first; `body` says how."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


@dataclass(frozen=True)
class Pair:
    """A client's certificate (DER) and its key."""

    certificate: bytes
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return ssl.DER_cert_to_PEM_cert(self.certificate).encode() + key


class Server:
    """One authority: its data directory, its process when it runs, and what a test may ask of it."""

    def __init__(self, directory: Path, *options: str, configuration: str = "", **environment: str) -> None:
        self.directory = directory
        self.home = Home.at(directory / "home", **({"EDGEWARD_PASSPHRASE": PASSPHRASE} | environment))
        self.data = directory / "data"
        self.log_path = directory / "server.log"
        self.options = options
        self.https = free_port()
        self.hub = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.client = Client(self.data)
        if configuration:
            self.configure(configuration)

    def configure(self, text: str) -> None:
        """Write the configuration file."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        (self.data / "edgeward.toml").write_text(text)

    # its life

    def start(self, *more: str) -> float:
        """Start it and wait until it serves; the seconds that this took."""
        began = time.monotonic()
        self.launch(*more)
        self.await_serving()
        return time.monotonic() - began

    def launch(self, *more: str) -> None:
        """Start the process and do not wait for it."""
        self.process = self.home.start(
            "up", "--data", self.data, "--listen", "127.0.0.1", "--https-port", str(self.https), "--hub-port",
            str(self.hub), *self.options, *more, log=self.log_path,
        )  # fmt: skip

    def await_serving(self) -> None:
        """Wait until every listener answers: the operators' socket is the last one that is opened."""
        deadline = time.monotonic() + SERVES_WITHIN
        while True:
            with contextlib.suppress(EdgewardError):
                if self.process is not None and self.api("GET", "/v1/status")["pid"] == self.process.pid:
                    return
            assert self.process is not None and self.process.poll() is None, f"it ended: {self.log[-3000:]}"
            assert time.monotonic() < deadline, f"it does not serve: {self.log[-3000:]}"
            time.sleep(0.01)

    def kill(self) -> None:
        """`kill -9`."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it as an operator would; its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self.process = None
        return status

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""

    # its operator

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """A call of the administrative API. Raises what it refuses with."""
        return self.client.call(method, path, body)

    def run(self, *arguments: str | Path, **more: Any) -> Said:
        """An administrative command line on this authority."""
        return self.home.run(*arguments, "--data", self.data, **more)

    def token(self, node: str | None = None, **wanted: Any) -> str:
        """A new join token, whole."""
        made: str = self.api("POST", "/v1/tokens", {"node": node, **wanted})["token"]
        return made

    def nodes(self) -> dict[str, dict[str, Any]]:
        """The nodes by name."""
        return {node["name"]: node for node in self.api("GET", "/v1/nodes")}

    def state(self, node: str) -> str:
        """`online`, `offline`, `revoked`, or `unknown` for a node that is not there."""
        return str(self.nodes().get(node, {"state": "unknown"})["state"])

    def revoke(self, target: str, reason: str = "unspecified") -> None:
        self.api("POST", "/v1/revocations", {"target": target, "reason": reason})

    def audit(self, after: int = 0) -> list[dict[str, Any]]:
        """The audit records after number `after`."""
        found: list[dict[str, Any]] = []
        while page := self.api("GET", f"/v1/audit?after={found[-1]['n'] if found else after}"):
            found += page
        return found

    def position(self) -> int:
        """The number of the newest audit record."""
        return int([{"n": 0}, *self.audit()][-1]["n"])

    def issued(self) -> int:
        """How many device certificates were ever issued."""
        return sum(_is_device_certificate(record) for record in self.audit())

    def audit_is_whole(self) -> bool:
        """Whether the audit chain verifies."""
        said = self.run("audit", "verify", "--json")
        return said.status == 0 and said.json["first_bad"] is None

    @contextlib.contextmanager
    def refuses(self, records: int = 1) -> Iterator[list[dict[str, Any]]]:
        """What happens in the block issues nothing and leaves so many records of a refusal; they are in the list afterwards.

        The hub writes its records behind the answer: they are waited for."""
        before = self.position()
        found: list[dict[str, Any]] = []
        yield found

        def refusals() -> list[dict[str, Any]]:
            after = self.audit(before)
            assert not [one for one in after if one["action"].startswith("certificate.")], after
            return [one for one in after if ".refused." in one["action"]]

        until(lambda: len(refusals()) >= records, "the record of a refusal")
        found += refusals()
        assert len(found) == records, found

    # its devices

    @property
    def ca(self) -> bytes:
        """The CA certificate, DER."""
        return ssl.PEM_cert_to_DER_cert(self.api("GET", "/v1/ca")["pem"])

    def context(self, pair: Pair | None = None, **settings: Any) -> ssl.SSLContext:
        """A client's TLS context that trusts this authority; `settings` are set as attributes."""
        return client_context(self.ca, pair, **settings)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        *,
        pair: Pair | None = None,
        context: ssl.SSLContext | None = None,
    ) -> Answer:
        """One request to the enrolment port on a connection of its own."""
        with contextlib.closing(
            http.client.HTTPSConnection(
                "127.0.0.1", self.https, context=context or self.context(pair), timeout=REQUEST_TIMEOUT
            )
        ) as connection:
            return ask(connection, method, path, body, headers)

    def enrol(
        self,
        node: str,
        token: str | None = None,
        request: bytes | None = None,
        *,
        pair: Pair | None = None,
        headers: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> Answer:
        """`GET /edge.crt` as a real edge sends it."""
        sent = {"Nodename": node} if node else {}
        if token is not None:
            sent["Authorization"] = f"Bearer {bearer(token)}"
        return self.request(
            "GET",
            "/edge.crt",
            csr(node) if request is None else request,
            sent | dict(headers or {}),
            pair=pair,
            context=context,
        )

    def device(self, node: str) -> Pair:
        """A node that has enrolled."""
        key = new_key()
        answer = self.enrol(node, self.token(node), csr(node, key))
        assert answer.status == 200, answer
        return Pair(answer.body, key)

    def connect(
        self,
        pair: Pair | None,
        node: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        context: ssl.SSLContext | None = None,
        tcp: socket.socket | None = None,
        **more: Any,
    ) -> websockets.sync.client.ClientConnection:
        """A hub connection as a real edge makes it. Raises `websockets.exceptions.InvalidStatus` when it is refused."""
        sent = [("Node_id", node), ("Project_id", "e632aba927ea4ac2b575ec1603d56f10"), ("Connectionuse", "msg")]
        return websockets.sync.client.connect(
            f"wss://127.0.0.1:{self.hub}/e632aba927ea4ac2b575ec1603d56f10/{node}/events",
            ssl=context or self.context(pair),
            sock=tcp,
            additional_headers=[*sent, *headers],
            user_agent_header="Go-http-client/1.1",
            compression=None,
            ping_interval=None,
            open_timeout=15,
            close_timeout=5,
            legacy=True,
            **more,
        )


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
) -> Answer:
    """One request on a connection that may be kept."""
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items() if isinstance(headers, Mapping) else headers:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        return read(connection)
    except (http.client.HTTPException, OSError) as error:
        return Answer(0, f"{type(error).__name__}: {error}".encode())


def read(connection: http.client.HTTPConnection) -> Answer:
    """The answer to what was sent."""
    response = connection.getresponse()
    return Answer(response.status, response.read(), dict(response.getheaders()))


def client_context(ca: bytes, pair: Pair | None = None, **settings: Any) -> ssl.SSLContext:
    """A client's TLS context that trusts `ca` (DER)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca)
    if pair is not None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(pair.pem)
            file.flush()
            context.load_cert_chain(file.name)
    for name, value in settings.items():
        setattr(context, name, value)
    return context


def bearer(token: str) -> str:
    """What of a token an edge sends."""
    return token.partition(".")[2]


def message(operation: str, resource: str = "default/pod/x", content: Any = None, **header: Any) -> str:
    """A hub message as an edge writes it."""
    return json.dumps(
        {
            "header": {"msg_id": "m-1", "timestamp": 1, **header},
            "route": {"source": "edged", "group": "meta", "operation": operation, "resource": resource},
            "content": content,
        }
    )


def receive(connection: websockets.sync.client.ClientConnection, seconds: float = 10.0) -> dict[str, Any]:
    """The next message from the hub."""
    text = connection.recv(timeout=seconds)
    decoded: dict[str, Any] = json.loads(text)
    return decoded


def acknowledged(connection: websockets.sync.client.ClientConnection) -> bool:
    """Whether the connection lives: the hub answers a ping of the protocol."""
    connection.send(message("ping", "membership", msg_id="alive?"))
    answer = receive(connection)
    return answer["header"]["parent_msg_id"] == "alive?" and answer["content"] == "ack"


def first_bad(records: Sequence[Sequence[Any]]) -> int | None:
    """The first bad one of audit records as the table has them (n, at, actor, action, object, facts, hash)."""
    names = ("n", "at", "actor", "action", "object", "facts", "hash")
    return audit.first_bad(audit.AuditRecord(**dict(zip(names, row, strict=True))) for row in records)


def _is_device_certificate(record: dict[str, Any]) -> bool:
    facts = record["facts"]
    return record["action"] == "certificate.issued" and facts["profile"] == "device"


def without_traceback(log: str) -> bool:
    """Whether nothing in the log is a bug of ours."""
    return not re.search(r"Traceback|internal error|never retrieved|was never awaited|failure [0-9a-f]{8}", log)


@contextlib.contextmanager
def private_directory(prefix: str = "ew-") -> Iterator[Path]:
    """A temporary directory with a short path: a Unix socket's may have 107 characters."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def server(*options: str, start: bool = True, configuration: str = "", **environment: str) -> Iterator[Server]:
    """An authority that runs for as long as the block does. What it logged must be free of tracebacks."""
    with private_directory() as directory:
        one = Server(directory, *options, configuration=configuration, **environment)
        try:
            if start:
                one.start()
            yield one
            assert without_traceback(one.log), one.log[-5000:]
        finally:
            one.kill()


def decode(octets: bytes) -> Any:
    """JSON."""
    return msgspec.json.decode(octets)
