"""What programs print: the doctor's words for Go, OpenSSL, Node, Python and Java beside those of the programs themselves."""

import contextlib
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgeward.pki.dialled import Client, Names, accepts
from tests.doctor.forge import CLIENT, SERVER, Home, Made, make, root
from tests.doctor.servers import context, listening, tls
from tests.interop.programs import ran
from tests.support.cli import run
from tests.support.programs import needs

HERE = Path(__file__).parent
CA, OTHER, TWIN = root(), root("Other CA"), root()
OLD, OLD_TWIN = (root("KubeEdge", key_ids=False) for _ in range(2))


@dataclass(frozen=True)
class Case:
    """A server's certificate, what clients call it, and what they trust."""

    leaf: Made
    name: str = "127.0.0.1"
    anchor: Made = CA


CASES = {
    "another-address": Case(make("server", CA, names=["10.0.2.15", "localhost"])),
    "no-address": Case(make("server", CA, names=["cloud.example.com"])),
    "address-as-dns": Case(make("server", CA, names=["dns:127.0.0.1"])),
    "another-name": Case(make("server", CA, names=["cloud.example.com", "localhost"]), "other.example.com"),
    "another-name-and-addresses": Case(
        make("server", CA, names=["cloud.example.com", "10.0.2.15"]), "other.example.com"
    ),
    "common-name-alone": Case(make("cloud.example.com", CA), "cloud.example.com"),
    "another-common-name": Case(make("cloud.example.com", CA), "other.example.com"),
    "addresses-alone": Case(make("server", CA, names=["10.0.2.15"]), "cloud.example.com"),
    "unknown-ca": Case(make("server", CA, names=["127.0.0.1"]), anchor=OTHER),
    "twin": Case(make("server", CA, names=["127.0.0.1"]), anchor=TWIN),
    "twin-without-key-ids": Case(make("server", OLD, names=["127.0.0.1"], key_ids=False), anchor=OLD_TWIN),
    "self-signed": Case(make("server", names=["127.0.0.1"])),
    "expired": Case(make("server", CA, names=["127.0.0.1"], hours=(-48, -24))),
    "not-yet-valid": Case(make("server", CA, names=["127.0.0.1"], hours=(24, 48))),
    "for-clients": Case(make("server", CA, names=["127.0.0.1"], usages=[CLIENT])),
    "wildcard": Case(make("server", CA, names=["*.example.com"]), "a.b.example.com"),
    "top-wildcard": Case(make("server", CA, names=["*.lan"]), "cloud.lan"),
    "good": Case(make("server", CA, names=["127.0.0.1"], usages=[SERVER])),
}


def greets(connection: socket.socket) -> None:
    """Says hello and hangs up."""
    connection.sendall(b"hello\n")
    with contextlib.suppress(OSError):
        connection.unwrap()  # type: ignore[attr-defined]


@contextlib.contextmanager
def served(case: Case, path: Path) -> Iterator[tuple[Home, int]]:
    home = Home(path).server(case.leaf).trusts(case.anchor)
    with listening(tls(context(home), greets)) as port:
        yield home, port


def told(case: Case, home: Home, port: int) -> dict[str, str]:
    """What the doctor says that each program prints first: of the findings, the first that has words of it."""
    done = run(
        "doctor", f"127.0.0.1:{port}", "--name", case.name, "--ca", home.file("ca.crt"), "--json", "--timeout", "5"
    )
    words: dict[str, str] = {}
    for finding in json.loads(done.octets)["findings"]:
        if finding["severity"] != "note":
            for program, text in finding["said"].items():
                words.setdefault(program, text)
    return words


def compare(
    name: str, path: Path, program: str, dial: Callable[[Case, Home, int], str], clean: Callable[[str], str] = str
) -> None:
    case = CASES[name]
    with served(case, path) as (home, port):
        said, words = dial(case, home, port), told(case, home, port)
    if not said:
        assert program not in words, words
    else:
        assert clean(words[program]) in said, (words, said)


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("go-said") / "doctor"
    built = ran("go", "build", "-o", program, ".", cwd=HERE / "go")
    assert built.status == 0, built.err
    return program


@needs("go")
@pytest.mark.parametrize("name", CASES)
def test_go(name: str, go: Path, tmp_path: Path) -> None:
    def dial(case: Case, home: Home, port: int) -> str:
        done = ran(go, "dial", f"127.0.0.1:{port}", case.name, home.file("ca.crt"))
        return done.out if done.status else ""

    def without_the_second(text: str) -> str:
        """The time that Go read is a moment earlier than the doctor's."""
        return text.partition("current time ")[0]

    compare(name, tmp_path, "Go", dial, without_the_second)


@pytest.mark.parametrize("name", CASES)
def test_python(name: str, tmp_path: Path) -> None:
    def dial(case: Case, home: Home, port: int) -> str:
        trusting = ssl.create_default_context(cafile=home.file("ca.crt"))
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            try:
                with trusting.wrap_socket(connection, server_hostname=case.name):
                    return ""
            except ssl.SSLError as error:
                return str(error)

    compare(name, tmp_path, "Python", dial)


@needs("openssl")
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_openssl(name: str, tmp_path: Path) -> None:
    def dial(case: Case, home: Home, port: int) -> str:
        kind = "-verify_ip" if case.name[0].isdigit() else "-verify_hostname"
        strict = (
            "-verify_return_error",
            kind,
            case.name,
            "-CAfile",
            home.file("ca.crt"),
            "-no-CApath",
            "-no-CAstore",
            "-purpose",
            "sslserver",
        )
        done = ran("openssl", "s_client", "-connect", f"127.0.0.1:{port}", *strict)
        return done.err if "verify error" in done.err else ""

    compare(name, tmp_path, "OpenSSL", dial)


@needs("node")
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_node(name: str, tmp_path: Path) -> None:
    def dial(case: Case, home: Home, port: int) -> str:
        script = (
            "const tls=require('tls'),fs=require('fs');const [port,name,ca]=process.argv.slice(1);"
            "const o={host:'127.0.0.1',port:Number(port),ca:fs.readFileSync(ca)};if(!/^[0-9.]+$/.test(name))o.servername=name;"
            "tls.connect(o,()=>process.exit(0)).on('error',e=>{console.log(e.message);process.exit(1)})"
        )
        return ran("node", "-e", script, str(port), case.name, home.file("ca.crt")).out

    compare(name, tmp_path, "Node", dial)


@pytest.fixture(scope="session")
def java(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("java-said")
    built = ran("javac", "-d", folder, HERE.parent / "interop" / "java" / "Mutual.java")
    assert built.status == 0, built.err
    return folder


@needs("javac")
@needs("keytool")
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_java(name: str, java: Path, tmp_path: Path) -> None:
    def dial(case: Case, home: Home, port: int) -> str:
        store = home.file("trust.p12")
        made = ran(
            "keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", home.file("ca.crt"), "-keystore", store, "-storetype",
            "PKCS12", "-storepass", "changeit",
        )  # fmt: skip
        assert made.status == 0, made.err
        said = ran("java", "-XX:TieredStopAtLevel=1", "-cp", java, "Mutual", "dial", str(port), case.name, store).out
        return said if said.startswith("refused: ") else ""

    compare(name, tmp_path, "Java", dial, lambda text: text.removeprefix("javax.net.ssl.SSLHandshakeException: "))


NAMES = (
    ["a.example.com"],
    ["*.example.com"],
    ["*.com"],
    ["*"],
    ["x*.example.com"],
    ["*.*.com"],
    [""],
    ["a.example.com."],
    ["A.EXAMPLE.COM"],
)


@pytest.mark.parametrize("names", NAMES, ids=str)
@pytest.mark.parametrize(
    "name", ["a.example.com", "b.a.example.com", "example.com", "x1.example.com", "localhost", "a.com"]
)
def test_python_and_the_doctor_agree_on_every_pattern(names: list[str], name: str, tmp_path: Path) -> None:
    """OpenSSL's own comparison, which Python uses, over patterns that differ between programs."""
    leaf = make("server", CA, names=[f"dns:{one}" for one in names], usages=[SERVER])
    home = Home(tmp_path).server(leaf).trusts(CA)
    trusting = ssl.create_default_context(cafile=home.file("ca.crt"))
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(ours, theirs, server_hostname=name)
    server = context(home).wrap_bio(theirs, ours, server_side=True)
    outcome: Any = None
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                outcome = outcome or error
    assert accepts(Client.PYTHON, Names.of(leaf.certificate), name) is (outcome is None)
