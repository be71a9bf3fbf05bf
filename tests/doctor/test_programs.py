"""The gallery with servers of others: OpenSSL's s_server, nginx, Go's net/http, Node, and a KubeEdge cloud where there is one.

What differs between them is how they refuse: the alert, when it comes, whether it comes at all, and HTTP answers in its place.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doctor import servers
from tests.doctor.forge import CLIENT, SERVER, Home, make, root
from tests.doctor.test_gallery import DEVICE, OTHER, TWIN, found
from tests.interop.programs import announcing, free_port, listening, ran
from tests.support.cli import run
from tests.support.programs import needs

HERE = Path(__file__).parent
CA = root()
LOCAL = ("localhost", "127.0.0.1")
GOOD = make("server", CA, names=LOCAL, usages=[SERVER])
RSA = make("server", CA, names=LOCAL, usages=[SERVER], kind="rsa2048")
NODE = make("system:node:edge-1", CA, organization="system:nodes", usages=[CLIENT])
OLD = make("system:node:edge-1", CA, usages=[CLIENT], hours=(-48, -24))
WRONG_USE = make("system:node:edge-1", CA, usages=[SERVER])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path).server(GOOD).trusts(CA).client(NODE)


def ask(
    home: Home, port: int, *more: str, host: str = "127.0.0.1", pair: bool = False
) -> tuple[int, list[dict[str, Any]]]:
    shown = ("--cert", home.file("client.crt"), "--key", home.file("client.key")) if pair else ()
    done = run("doctor", f"{host}:{port}", "--ca", home.file("ca.crt"), "--json", "--timeout", "5", *shown, *more)
    assert done.status in (0, 1), done.err
    return done.status, json.loads(done.octets)["findings"]


def cause(home: Home, port: int, *more: str, **how: Any) -> str:
    status, findings = ask(home, port, *more, **how)
    names = found({"findings": findings})
    assert bool(status) == bool(names)
    return names[0] if names else ""


PAIRS = {
    "client-unknown-authority": make("system:node:edge-1", OTHER, usages=[CLIENT]),
    "client-unknown-authority (twin)": make("system:node:edge-1", TWIN, usages=[CLIENT]),
    "client-expired": OLD,
    "client-eku": WRONG_USE,
}
"""What a client shows that it should not, and the finding."""


def about_clients(home: Home, port: int) -> None:
    """The questions that every server with mutual TLS is put."""
    assert cause(home, port) == "client-certificate-missing"
    assert cause(home, port, pair=True) == ""
    for id_, pair in PAIRS.items():
        home.client(pair)
        assert cause(home, port, pair=True) == id_.partition(" ")[0], id_
    home.client(NODE)


# --------------------------------------------------------------------------------------------------------------------- OpenSSL


@contextlib.contextmanager
def s_server(home: Home, *options: str) -> Iterator[int]:
    port = free_port()
    files = ("-cert", home.file("server.crt"), "-cert_chain", home.file("server.crt"), "-key", home.file("server.key"))
    with listening(("openssl", "s_server", "-accept", str(port), *files, "-www", *options), port):
        yield port


@needs("openssl")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_and_client_certificates(home: Home, version: str) -> None:
    with s_server(home, "-CAfile", home.file("ca.crt"), "-Verify", "3", "-verify_return_error", version) as port:
        about_clients(home, port)


@needs("openssl")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ""),
        (("-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"), "tls-too-old"),
        (("-tls1_2", "-cipher", "AES256-SHA"), "no-common-suite"),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), "no-common-suite"),
        (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), ""),
        (("-alpn", "h2"), "alpn-refused"),
        (("-alpn", "http/1.1"), ""),
    ],
)
def test_openssl_versions_suites_and_protocols(tmp_path: Path, options: tuple[str, ...], expected: str) -> None:
    home = Home(tmp_path).server(RSA).trusts(CA)
    with s_server(home, *options) as port:
        got = cause(home, port)
    # s_server -alpn h2 lets a client without ALPN in, as an edge is: it refuses those that name http/1.1
    assert got == expected


@needs("openssl")
def test_openssl_shows_a_certificate_by_name(home: Home) -> None:
    other = make("cloud", CA, names=["cloud.example.com"])
    (home.path / "other.crt").write_bytes(other.pem)
    (home.path / "other.key").write_bytes(other.key_pem)
    options = ("-servername", "cloud.example.com", "-cert2", home.file("other.crt"), "-key2", home.file("other.key"))
    with s_server(home, *options) as port:
        status, findings = ask(home, port, "--name", "cloud.example.com")
        assert status == 0
        assert [one["id"] for one in findings] == ["sni-matters"]
        assert cause(home, port, "--name", "elsewhere.example.com") == "name-mismatch"


# ----------------------------------------------------------------------------------------------------------------------- nginx


@contextlib.contextmanager
def nginx(home: Home, *blocks: str) -> Iterator[int]:
    port = free_port()
    pair = f"ssl_certificate {home.file('server.crt')}; ssl_certificate_key {home.file('server.key')};"
    servers_ = "".join(
        "server {" + block.replace("LISTEN", f"listen 127.0.0.1:{port}").replace("PAIR", pair) + "}" for block in blocks
    )
    places = "".join(f"{kind}_temp_path {home.path};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (home.path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {home.path}/pid; error_log {home.path}/error.log; events {{}}"
        f" http {{ access_log off; {places} {servers_} }}"
    )
    program = shutil.which("nginx") or "nginx"
    command = (program, "-p", str(home.path), "-c", home.file("nginx.conf"), "-e", home.file("error.log"))
    with listening(command, port):
        yield port


@needs("nginx")
def test_nginx_answers_client_certificates_in_http(home: Home) -> None:
    with nginx(home, f"LISTEN ssl; PAIR ssl_client_certificate {home.file('ca.crt')}; ssl_verify_client on;") as port:
        assert cause(home, port) == "client-certificate-missing"
        assert cause(home, port, pair=True) == ""
        for id_ in ("client-unknown-authority", "client-expired", "client-eku"):
            home.client(PAIRS[id_])
            assert cause(home, port, pair=True) == id_


@needs("nginx")
def test_nginx_and_names(home: Home) -> None:
    with nginx(
        home, "LISTEN ssl default_server; ssl_reject_handshake on;", "LISTEN ssl; PAIR server_name localhost;"
    ) as port:
        assert cause(home, port, host="localhost") == ""
        assert cause(home, port, "--name", "other.example.com") == "name-unknown-to-server"


@needs("nginx")
def test_nginx_in_the_clear_and_with_old_versions(home: Home) -> None:
    with nginx(home, "LISTEN;") as port:
        assert cause(home, port) == "plain-http"
    with nginx(home, "LISTEN ssl; PAIR ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;") as port:
        assert cause(home, port) == "tls-too-old"


@needs("nginx")
def test_nginx_before_an_enrolment_server_is_a_proxy_that_terminates_tls(home: Home) -> None:
    inside = Home(home.path / "inside")
    inside.path.mkdir()
    inside.server(GOOD)
    home.server(make("front", root("Front CA"), names=LOCAL))
    with (
        servers.listening(servers.tls(servers.context(inside), servers.http(ca=CA.der))) as behind,
        nginx(home, f"LISTEN ssl; PAIR location / {{ proxy_pass https://127.0.0.1:{behind}; }}") as port,
    ):
        assert cause(home, behind) == ""
        assert cause(home, port) == "tls-intercepted"


# -------------------------------------------------------------------------------------------------------------------------- Go


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("go") / "doctor"
    built = ran("go", "build", "-o", program, ".", cwd=HERE / "go")
    assert built.status == 0, built.err
    return program


@needs("go")
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_go_and_client_certificates(go: Path, home: Home, version: str) -> None:
    own = (
        go,
        "serve",
        home.file("server.crt"),
        home.file("server.key"),
        "-ca",
        home.file("ca.crt"),
        "-min",
        version,
        "-max",
        version,
    )
    with announcing(*own) as port:
        about_clients(home, port)


@needs("go")
def test_go_as_a_hub(go: Path, home: Home) -> None:
    """A hub that chooses h2 when it is offered: net/http does, unless it is told not to."""
    own = (go, "serve", home.file("server.crt"), home.file("server.key"), "-ca", home.file("ca.crt"), "-hub")
    with announcing(*own, "-alpn", "h2,http/1.1") as port:
        assert cause(home, port, pair=True) == "alpn-h2"
    with announcing(*own) as port:
        assert cause(home, port, pair=True) == ""
        assert cause(home, port, "--token", "x", pair=True) == "token-form"


@needs("go")
@pytest.mark.parametrize("protocols", ["h2", "h2,http/1.1"])
def test_go_with_http2_still_serves_an_edge(go: Path, home: Home, protocols: str) -> None:
    """Even with h2 alone: Go takes a client that names http/1.1, or nothing, for one of HTTP/1.1."""
    with announcing(go, "serve", home.file("server.crt"), home.file("server.key"), "-alpn", protocols) as port:
        assert cause(home, port) == ""


@needs("go")
def test_go_versions_and_no_tls(go: Path, home: Home) -> None:
    own = (go, "serve", home.file("server.crt"), home.file("server.key"))
    with announcing(*own, "-min", "1.3") as port:
        assert cause(home, port) == ""
    with announcing(*own, "-min", "1.0", "-max", "1.1") as port:
        assert cause(home, port) == "tls-too-old"
    with announcing(*own, "-plain") as port:
        assert cause(home, port) == "plain-http"


@needs("go")
def test_go_with_an_rsa_key_and_the_suites_of_a_hub(go: Path, home: Home) -> None:
    home.server(make("server", CA, names=["10.0.2.15"], kind="rsa2048"))
    with announcing(go, "serve", home.file("server.crt"), home.file("server.key")) as port:
        assert cause(home, port) == "address-mismatch"


# ------------------------------------------------------------------------------------------------------------------------ Node


@needs("node")
def test_node_and_client_certificates(home: Home) -> None:
    program = HERE.parent / "interop" / "node" / "server.js"
    with announcing("node", program, home.file("ca.crt"), home.file("server.crt"), home.file("server.key")) as port:
        about_clients(home, port)


# -------------------------------------------------------------------------------------------------------------------- KubeEdge

CLOUD = os.environ.get("EDGEWARD_CLOUDCORE_HTTPS", ""), os.environ.get("EDGEWARD_CLOUDCORE_HUB", "")


@pytest.mark.skipif(
    not all(CLOUD),
    reason="EDGEWARD_CLOUDCORE_HTTPS and EDGEWARD_CLOUDCORE_HUB name no ports of a running KubeEdge cloud",
)
def test_a_kubeedge_cloud(tmp_path: Path) -> None:
    """The ports of a cloud that somebody has started, and its token: EDGEWARD_CLOUDCORE_TOKEN is a file."""
    https, hub = map(int, CLOUD)
    home, token = Home(tmp_path), os.environ["EDGEWARD_CLOUDCORE_TOKEN"]
    joined = run(
        "join",
        f"https://127.0.0.1:{https}",
        "--hub",
        f"127.0.0.1:{hub}",
        "--token",
        f"@{token}",
        "--node",
        "edge-doctor",
        "--dir",
        tmp_path / "n",
    )
    assert joined.status == 0, joined.err
    for name, of in (
        ("ca.crt", "ca/rootCA.crt"),
        ("client.crt", "certs/server.crt"),
        ("client.key", "certs/server.key"),
    ):
        (home.path / name).write_bytes((tmp_path / "n" / of).read_bytes())
    assert cause(home, https) == ""
    assert cause(home, https, "--token", f"@{token}", "--node", "edge-doctor") == ""
    assert cause(home, hub, pair=True) == ""
    assert cause(home, hub) == "client-certificate-missing"
    assert cause(home, hub, "--token", f"@{token}") == "hub-is-not-enrolment"
    assert cause(home, https, "--name", "121.46.27.183") == "address-mismatch"
    (tmp_path / "cut").write_text(Path(token).read_text().strip()[:-5])
    assert cause(home, https, "--token", f"@{tmp_path / 'cut'}") == "token-form"
    home.client(DEVICE)
    assert cause(home, hub, pair=True) == "client-unknown-authority"
