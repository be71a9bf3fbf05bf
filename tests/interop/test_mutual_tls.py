"""Mutual TLS between our contexts and files and foreign programs, as servers and as clients.

The same four questions are put to each: a client of the CA is greeted by name; a client without a certificate and one of another CA
are refused; a server with another name or of another CA is refused.
"""

import shutil
import socket
import ssl
from pathlib import Path

import pytest

from edgeward import tls
from edgeward.testing import authority
from tests.interop.programs import Done, announcing, free_port, listening, ran
from tests.programs.wire import greeting, refused, serving
from tests.support.programs import needs

HERE = Path(__file__).parent
CA = authority()
SERVER = CA.server("localhost")
CLIENT = CA.client("edge-1")
MISNAMED = CA.wrong_name()
OTHER = CA.other()
OTHER_SERVER, OTHER_CLIENT = OTHER.server("localhost"), OTHER.client("edge-1")
NONE = ("", "")
PAIR = (CLIENT.certificate_path, CLIENT.key_path)
OTHER_PAIR = (OTHER_CLIENT.certificate_path, OTHER_CLIENT.key_path)
GREETING = "hello edge-1\n"


def against_a_server(port: int, name: str = "localhost") -> None:
    """What our clients find at a foreign server that greets clients by name."""
    assert greeting(port, CLIENT.client_context(), name)[0] == GREETING
    refused(port, tls.client_context(CA.certificate), name)
    refused(port, OTHER_CLIENT.client_context(ca=CA.certificate), name)
    assert "certificate verify failed" in refused(port, CLIENT.client_context(ca=OTHER.certificate), name)
    assert "mismatch" in refused(port, CLIENT.client_context(), "other.example")


# ------------------------------------------------------------------------------------------------------------------------- Go


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("go") / "mutual"
    built = ran("go", "build", "-o", program, ".", cwd=HERE / "go")
    assert built.status == 0, built.err
    return program


@needs("go")
def test_go_client(go: Path) -> None:
    def dial(port: int, ca: str = CA.path, pair: tuple[str, str] = PAIR) -> Done:
        return ran(go, "dial", f"localhost:{port}", ca, *pair)

    with serving(SERVER.server_context()) as server:
        assert dial(server.port).out == GREETING
        assert "unknown authority" in dial(server.port, ca=OTHER.path).err
        assert "certificate required" in dial(server.port, pair=NONE).err
        assert dial(server.port, pair=OTHER_PAIR).status == 1
    with serving(MISNAMED.server_context()) as server:
        assert "certificate is valid for nobody.invalid, not localhost" in dial(server.port).err


@needs("go")
def test_go_server(go: Path) -> None:
    with announcing(go, "serve", CA.path, SERVER.certificate_path, SERVER.key_path) as port:
        against_a_server(port)


# ------------------------------------------------------------------------------------------------------------------------ Node


@needs("node")
def test_node_client() -> None:
    def dial(port: int, ca: str = CA.path, pair: tuple[str, ...] = PAIR, name: str = "localhost") -> Done:
        return ran("node", HERE / "node" / "client.js", port, name, ca, *pair)

    with serving(SERVER.server_context()) as server:
        assert dial(server.port).out == GREETING
        assert "unable to" in dial(server.port, ca=OTHER.path).err or dial(server.port, ca=OTHER.path).status == 1
        assert dial(server.port, pair=()).status == 1
        assert dial(server.port, pair=OTHER_PAIR).status == 1
        assert "not in the cert's altnames" in dial(server.port, name="other.example").err.replace("is not", "not")


@needs("node")
def test_node_server() -> None:
    with announcing("node", HERE / "node" / "server.js", CA.path, SERVER.certificate_path, SERVER.key_path) as port:
        against_a_server(port)


# ------------------------------------------------------------------------------------------------------------------------ curl


@needs("curl")
def test_curl_with_the_mutual_server() -> None:
    """curl speaks HTTP, and the server greets without listening: HTTP/0.9 is what that is."""

    def dial(port: int, ca: str = CA.path, pair: tuple[str, str] = PAIR, name: str = "localhost") -> Done:
        own = ("--cert", pair[0], "--key", pair[1]) if pair[0] else ()
        where = (f"https://{name}:{port}/", "--resolve", f"{name}:{port}:127.0.0.1", "--noproxy", "*")
        return ran("curl", "-sS", "-m", 10, "--http0.9", "--cacert", ca, *own, *where)

    with serving(SERVER.server_context()) as server:
        assert dial(server.port).out == GREETING
        assert dial(server.port, ca=OTHER.path).status == 60
        assert dial(server.port, name="other.example").status == 60
        # In TLS 1.3 curl sends its request before it learns; which error it reports then is a matter of luck.
        assert dial(server.port, pair=NONE).status in {52, 55, 56}
        assert dial(server.port, pair=OTHER_PAIR).status in {52, 55, 56}


# --------------------------------------------------------------------------------------------------------------------- openssl


@needs("openssl")
def test_openssl_client() -> None:
    def dial(port: int, ca: str = CA.path, pair: tuple[str, str] = PAIR, name: str = "localhost") -> Done:
        own = ("-cert", pair[0], "-key", pair[1]) if pair[0] else ()
        strict = (
            "-verify_return_error",
            "-verify_hostname",
            name,
            "-quiet",
            "-CAfile",
            ca,
            "-no-CApath",
            "-no-CAstore",
        )
        return ran("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name, *strict, *own)

    with serving(SERVER.server_context()) as server:
        assert dial(server.port).out == GREETING
        assert "verify error" in dial(server.port, ca=OTHER.path).err
        assert "hostname mismatch" in dial(server.port, name="other.example").err.lower()
        assert GREETING not in dial(server.port, pair=NONE).out
        assert GREETING not in dial(server.port, pair=OTHER_PAIR).out


@needs("openssl")
def test_openssl_server() -> None:
    command = (
        "openssl", "s_server", "-accept", port := free_port(), "-cert", SERVER.certificate_path, "-key", SERVER.key_path,
        "-CAfile", CA.path, "-Verify", 2, "-verify_return_error", "-www",
    )  # fmt: skip
    with listening(command, port):
        assert "Client certificate" in fetched(port, CLIENT.client_context())
        refused(port, tls.client_context(CA.certificate))
        refused(port, OTHER_CLIENT.client_context(ca=CA.certificate))
        refused(port, CLIENT.client_context(), "other.example")


def fetched(port: int, context: ssl.SSLContext) -> str:
    """What an HTTP server answers."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as tcp,
        context.wrap_socket(tcp, server_hostname="localhost") as connection,
    ):
        connection.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer.decode(errors="replace")


# ---------------------------------------------------------------------------------------------------------------------- GnuTLS


@needs("gnutls-cli")
def test_gnutls_client() -> None:
    def dial(port: int, ca: str = CA.path, pair: tuple[str, str] = PAIR, name: str = "localhost") -> Done:
        own = ("--x509certfile", pair[0], "--x509keyfile", pair[1]) if pair[0] else ()
        return ran(
            "gnutls-cli",
            "--logfile=/dev/stderr",
            "--x509cafile",
            ca,
            *own,
            "--verify-hostname",
            name,
            "-p",
            port,
            "127.0.0.1",
        )

    with serving(SERVER.server_context()) as server:
        assert GREETING in dial(server.port).out
        assert "NOT trusted" in (wrong := dial(server.port, ca=OTHER.path)).err + wrong.out
        assert "does not match" in (wrong := dial(server.port, name="other.example")).err + wrong.out
        assert GREETING not in dial(server.port, pair=NONE).out
        assert GREETING not in dial(server.port, pair=OTHER_PAIR).out


@needs("gnutls-serv")
def test_gnutls_server() -> None:
    command = (
        "gnutls-serv", "--http", "-p", port := free_port(), "--x509certfile", SERVER.certificate_path,
        "--x509keyfile", SERVER.key_path, "--x509cafile", CA.path, "--require-client-cert", "--verify-client-cert",
    )  # fmt: skip
    with listening(command, port):
        assert "edge-1" in fetched(port, CLIENT.client_context())
        refused(port, tls.client_context(CA.certificate))
        refused(port, OTHER_CLIENT.client_context(ca=CA.certificate))
        refused(port, CLIENT.client_context(), "other.example")


# ------------------------------------------------------------------------------------------------------------------------ Java


@pytest.fixture(scope="session")
def java(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program and its stores, made by keytool and openssl out of our PEM files."""
    folder = tmp_path_factory.mktemp("java")
    built = ran("javac", "-d", folder, HERE / "java" / "Mutual.java")
    assert built.status == 0, built.err
    for name, identity in (("client", CLIENT), ("other", OTHER_CLIENT), ("server", SERVER)):
        files = ("-in", identity.certificate_path, "-inkey", identity.key_path, "-out", folder / f"{name}.p12")
        made = ran("openssl", "pkcs12", "-export", "-passout", "pass:changeit", *files)
        assert made.status == 0, made.err
    imported = ran(
        "keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", CA.path, "-keystore", folder / "trust.p12",
        "-storetype", "PKCS12", "-storepass", "changeit",
    )  # fmt: skip
    assert imported.status == 0, imported.err + imported.out
    return folder


@needs("javac")
@needs("openssl")
def test_java_client(java: Path) -> None:
    def dial(port: int, names: str, *identity: str) -> Done:
        stores = [java / name for name in ("trust.p12", *identity)]
        return ran("java", "-XX:TieredStopAtLevel=1", "-cp", java, "Mutual", "dial", port, names, *stores)

    with serving(SERVER.server_context()) as server:
        said = dial(server.port, "localhost,other.example,localhost", "client.p12").out.splitlines()
        assert [said[0], said[2]] == ["hello edge-1"] * 2  # the second time with a session to resume at hand
        assert "No subject alternative DNS name matching other.example" in said[1]
        assert "hello" not in dial(server.port, "localhost").out
        assert "hello" not in dial(server.port, "localhost", "other.p12").out
    with serving(OTHER_SERVER.server_context()) as server:
        assert "refused: PKIX path" in dial(server.port, "localhost", "client.p12").out


@needs("javac")
@needs("openssl")
def test_java_server(java: Path) -> None:
    program = ("java", "-XX:TieredStopAtLevel=1", "-cp", java, "Mutual")
    with announcing(*program, "serve", java / "trust.p12", java / "server.p12") as port:
        against_a_server(port)


# ----------------------------------------------------------------------------------------------------------------------- nginx


@needs("nginx")
def test_nginx_server(tmp_path: Path) -> None:
    nginx = shutil.which("nginx")
    assert nginx is not None
    (tmp_path / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path {tmp_path}; proxy_temp_path {tmp_path}; fastcgi_temp_path {tmp_path};
            uwsgi_temp_path {tmp_path}; scgi_temp_path {tmp_path};
            server {{
                listen 127.0.0.1:{(port := free_port())} ssl;
                ssl_certificate {SERVER.certificate_path}; ssl_certificate_key {SERVER.key_path};
                ssl_client_certificate {CA.path}; ssl_verify_client on;
                location / {{ return 200 "hello $ssl_client_s_dn\\n"; }}
            }}
        }}
    """)
    with listening((nginx, "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-e", tmp_path / "error.log"), port):
        assert "hello CN=edge-1" in fetched(port, CLIENT.client_context())
        assert "No required SSL certificate was sent" in fetched(port, tls.client_context(CA.certificate))
        assert "The SSL certificate error" in fetched(port, OTHER_CLIENT.client_context(ca=CA.certificate))
        assert "mismatch" in refused(port, CLIENT.client_context(), "other.example")
        assert "verify failed" in refused(port, CLIENT.client_context(ca=OTHER.certificate))
