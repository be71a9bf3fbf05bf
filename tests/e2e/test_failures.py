"""Those who fail at a running authority, with the programs that people use: each leaves a record that says what happened."""

import contextlib
import http.client
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import websockets.exceptions
from cryptography.hazmat.primitives import serialization

from tests.support.fake_cloud import NOW, FakeCA
from tests.support.programs import needs
from tests.support.server import Pair, Server, ask, bearer, server
from tests.support.world import new_key

ELSEWHERE = "127.0.0.9"
"""An address of this machine that no certificate has."""


@pytest.fixture(scope="module")
def authority() -> Iterator[Server]:
    with server("--listen", "0.0.0.0", "--advertise", "cloud.example.com") as one:  # a test on many addresses
        yield one


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("go") / "mutual"
    subprocess.run(["go", "build", "-o", program, "."], cwd=Path(__file__).parents[1] / "interop" / "go", check=True)
    return program


def newest(authority: Server, happens: Callable[[], object], **expected: object) -> dict[str, Any]:
    """The one record that `happens` makes or counts up."""
    before = {_key(one): one["count"] for one in authority.api("GET", "/v1/failures?limit=1000")}
    happens()
    after = authority.api("GET", "/v1/failures?limit=1000")
    changed = [one for one in after if before.get(_key(one)) != one["count"]]
    assert len(changed) == 1, changed
    assert {name: changed[0][name] for name in expected} == expected, changed
    found: dict[str, Any] = changed[0]
    return found


def _key(record: dict[str, Any]) -> tuple[object, ...]:
    return tuple(record[name] for name in ("listener", "address", "node", "dialled", "code", "alert", "alert_from"))


def openssl(authority: Server, port: int, *arguments: object) -> str:
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-brief", *map(str, arguments)],
        input=b"",
        capture_output=True,
        check=False,
        timeout=30,
    )
    return done.stderr.decode()


@pytest.fixture
def ca(authority: Server) -> Path:
    path = authority.directory / "ca.crt"
    path.write_text(authority.api("GET", "/v1/ca")["pem"])
    return path


@needs("go")
def test_a_go_client_that_dials_an_address_that_is_missing(authority: Server, go: Path, ca: Path) -> None:
    def dial() -> None:
        done = subprocess.run(
            [go, "dial", f"{ELSEWHERE}:{authority.https}", ca, "", ""], capture_output=True, check=False
        )
        assert b"x509: certificate is valid for" in done.stderr, done
        assert f", not {ELSEWHERE}".encode() in done.stderr

    newest(
        authority,
        dial,
        listener="enrolment",
        address="127.0.0.1",
        dialled=ELSEWHERE,
        dialled_known_from="local",
        code="handshake.tls",
        alert="bad certificate",
        alert_from="peer",
        node=None,
        certificate=None,
    )


def test_a_client_behind_a_nat_has_said_what_it_dials_when_it_fetched_the_ca(authority: Server, ca: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for path in ("/ca.crt", "/node/edge-7"):
        connection = http.client.HTTPSConnection("127.0.0.1", authority.https, context=context, timeout=20)
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", "121.46.27.183:10002")
        connection.endheaders()
        assert connection.getresponse().status in (200, 404)
        connection.close()

    def verified() -> None:
        strict = authority.context()
        tcp = socket.create_connection(("127.0.0.1", authority.https))
        with pytest.raises(ssl.SSLCertVerificationError), strict.wrap_socket(tcp, server_hostname="121.46.27.183"):
            pass

    newest(
        authority,
        verified,
        dialled="121.46.27.183",
        dialled_known_from="host",
        node="edge-7",
        alert="bad certificate",
        alert_from="peer",
    )


@needs("openssl")
def test_an_openssl_client_that_calls_a_name_that_is_missing(authority: Server, ca: Path) -> None:
    newest(
        authority,
        lambda: openssl(
            authority, authority.https, "-CAfile", ca, "-servername", "other.example.com", "-verify_hostname",
            "other.example.com", "-verify_return_error",
        ),
        dialled="other.example.com",
        dialled_known_from="sni",
        alert_from="peer",
    )  # fmt: skip


@needs("openssl")
def test_an_openssl_client_with_another_ca(authority: Server, tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    other.write_bytes(FakeCA("Edgeward CA").certificate.public_bytes(serialization.Encoding.PEM))
    newest(
        authority,
        lambda: openssl(authority, authority.https, "-CAfile", other, "-verify_return_error"),
        code="handshake.tls",
        alert="unknown ca",
        alert_from="peer",
    )


@needs("openssl")
def test_an_openssl_client_without_a_certificate_at_the_hub(authority: Server, ca: Path) -> None:
    newest(
        authority,
        lambda: openssl(authority, authority.hub, "-CAfile", ca),
        listener="hub",
        alert="certificate required",
        alert_from="server",
        reason="it presented no client certificate",
    )


@needs("openssl")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_foreign_certificate_is_seen_when_it_comes_again(
    authority: Server, ca: Path, tmp_path: Path, version: str
) -> None:
    key = new_key()
    foreign = FakeCA("KubeEdge").device(key.public_key(), "edge-9")
    pair = tmp_path / "pair.pem"
    pair.write_bytes(Pair(foreign, key).pem)

    def shows() -> None:
        openssl(authority, authority.hub, "-CAfile", ca, "-cert", pair, "-key", pair, version)

    shows()
    again = newest(authority, shows, listener="hub", alert="unknown ca", alert_from="server", node="edge-9")
    assert "CN=system:node:edge-9" in again["certificate"]["subject"]
    assert again["certificate"]["issuer"] == "CN=KubeEdge"
    assert len(again["certificate"]["sha256"]) == 64


def test_an_expired_certificate_at_the_hub(migrated: Server, kubeedge_ca: FakeCA, tmp_path: Path) -> None:
    key = new_key()
    ends = NOW - timedelta(days=1)
    old = kubeedge_ca.device(key.public_key(), "edge-8", start=ends - timedelta(days=2), end=ends)

    def connects() -> None:
        with pytest.raises((ssl.SSLError, OSError, websockets.exceptions.WebSocketException)):
            migrated.connect(Pair(old, key), "edge-8")

    connects()
    newest(migrated, connects, node="edge-8", alert="certificate expired", alert_from="server")


def test_a_revoked_device_at_the_hub(authority: Server) -> None:
    pair = authority.device("edge-revoked")
    authority.revoke("edge-revoked")

    def connects() -> None:
        with pytest.raises(websockets.exceptions.InvalidStatus):
            authority.connect(pair, "edge-revoked")

    one = newest(authority, connects, listener="hub", node="edge-revoked", code="certificate-refused")
    assert "revoked" in one["reason"]
    assert "CN=system:node:edge-revoked" in one["certificate"]["subject"]
    named = [found for found in authority.api("GET", "/v1/failures?node=edge-revoked") if found["node"]]
    assert [(found["node"], found["code"]) for found in named] == [("edge-revoked", "certificate-refused")]


def test_tokens_that_are_spent_unknown_or_for_another_node(authority: Server) -> None:
    token = authority.token("edge-spent")
    assert authority.enrol("edge-spent", token).status == 200
    for name, code in (("edge-spent", "token-spent"), ("edge-other", "token-not-for-node")):
        newest(
            authority,
            lambda name=name: authority.enrol(name, token),  # type: ignore[misc]
            listener="enrolment",
            node=name,
            code=code,
            dialled="127.0.0.1",
        )
    newest(authority, lambda: authority.enrol("edge-1", token[:-3] + "AAA"), node="edge-1", code="unauthenticated")
    assert bearer(token) not in str(authority.api("GET", "/v1/failures?limit=1000"))


def test_plain_http_and_requests_that_http_itself_refuses(authority: Server) -> None:
    def plain(port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        assert ask(connection, "GET", "/ca.crt").status == 400

    newest(authority, lambda: plain(authority.https), code="handshake.plain-http", listener="enrolment")
    newest(authority, lambda: plain(authority.hub), code="handshake.plain-http", listener="hub")
    newest(authority, lambda: authority.enrol("edge-1", "a.b.c.d", b"x" * 100_000), code="http.413")
    pair = authority.device("edge-https")

    def https_to_the_hub() -> None:
        with http_connection(authority, pair) as connection:
            assert ask(connection, "GET", "/").status in (400, 426)

    newest(authority, https_to_the_hub, listener="hub", code="http.426")


def http_connection(authority: Server, pair: Pair) -> Any:
    return contextlib.closing(
        http.client.HTTPSConnection("127.0.0.1", authority.hub, context=authority.context(pair), timeout=20)
    )


def test_a_hub_that_is_offered_h2_alone(authority: Server) -> None:
    context = authority.context(authority.device("edge-h2"))
    context.set_alpn_protocols(["h2"])

    def dials() -> None:
        tcp = socket.create_connection(("127.0.0.1", authority.hub))
        with pytest.raises(OSError), context.wrap_socket(tcp, server_hostname="localhost"):
            pass

    newest(authority, dials, code="handshake.protocol", alert="no application protocol", alert_from="server")


def test_records_outlive_a_restart_and_a_healthy_device_leaves_none(authority: Server) -> None:
    before = authority.api("GET", "/v1/failures?limit=1000")
    assert before
    authority.restart()
    assert authority.api("GET", "/v1/failures?limit=1000") == before
    with authority.connect(authority.device("edge-fine"), "edge-fine"):
        pass
    for one in (after := authority.api("GET", "/v1/failures?limit=1000")) + before:
        del one["finding"]  # knows by now which node is at that address
    assert after == before


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=x",
        "limit=" + "9" * 5000,
        "since=yesterday",
        "since=2026-01-01T00:00:00",
        "other=1",
        "node=a&node=b",
        "&&",
    ],
)
def test_a_query_that_makes_no_sense(authority: Server, query: str) -> None:
    with pytest.raises(Exception, match="bad request"):
        authority.api("GET", f"/v1/failures?{query}")
