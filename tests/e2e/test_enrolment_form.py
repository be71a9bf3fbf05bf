"""Enrolment requests of every size and form, on one connection and on a hundred at once."""

import base64
import contextlib
import gzip
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.e2e.wire import raw
from tests.support.fake_cloud import FakeCA
from tests.support.server import Answer, Server, ask, bearer, read
from tests.support.world import csr, new_key

# -------------------------------------------------------------------------------------------------- T-12: sizes and form


def test_t12_a_body_of_a_mebibyte_and_one_by_its_length(authority: Server) -> None:
    """Refused before it is sent."""
    token = bearer(authority.token("t12"))
    before = authority.issued()
    head = f"GET /edge.crt HTTP/1.1\r\nHost: x\r\nNodename: t12\r\nAuthorization: Bearer {token}\r\nContent-Length: %d\r\n\r\n"
    for length in (2**20 + 1, 65_537, 2**31, 2**63):
        assert raw(authority, (head % length).encode()).startswith(b"HTTP/1.1 413"), length
    for length in (-1, 10**30):
        assert raw(authority, (head % length).encode()).startswith(b"HTTP/1.1 400"), length
    assert authority.issued() == before


def chunked(authority: Server, pieces: Iterator[bytes], limit: int) -> tuple[bytes, int]:
    """Send chunks until the server has had enough or `limit` octets are sent: its answer, and how much was sent."""
    token = bearer(authority.token("t12"))
    head = f"GET /edge.crt HTTP/1.1\r\nHost: x\r\nNodename: t12\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent, received = 0, b""
    with socket.create_connection(("127.0.0.1", authority.https), timeout=10) as tcp:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        with authority.context().wrap_socket(tcp, server_hostname="127.0.0.1") as tls:
            tls.sendall(head.encode())
            tls.settimeout(0.02)
            for piece in pieces:
                with contextlib.suppress(TimeoutError, ssl.SSLWantReadError):
                    if received := tls.recv(4096):
                        break
                if sent > limit:
                    break
                tls.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
                sent += len(piece)
    return received, sent


def test_t12_chunks_that_never_end(authority: Server) -> None:
    def forever() -> Iterator[bytes]:
        while True:
            yield b"x" * 8192

    before = authority.issued()
    answer, sent = chunked(authority, forever(), 2**20 + 1)
    assert answer.startswith(b"HTTP/1.1 413") and sent <= 256 * 1024, (answer, sent)
    assert authority.issued() == before


def test_t12_chunks_of_one_octet_with_huge_extensions(authority: Server) -> None:
    before = authority.issued()
    body = b"".join(b"1;" + b"x" * 4000 + b"\r\na\r\n" for _ in range(1000))
    head = b"GET /edge.crt HTTP/1.1\r\nHost: x\r\nNodename: t12\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert raw(authority, head + body)[9:12] in (b"413", b"400", b"")
    assert authority.issued() == before


def test_t12_both_lengths_at_once_and_a_compressed_body(authority: Server) -> None:
    token, body = authority.token("t12z"), csr("t12z")
    both = {"Transfer-Encoding": "chunked"}
    assert authority.enrol("t12z", token, body, headers=both).status in (0, 400)
    with authority.refuses():
        packed = gzip.compress(body)
        assert authority.enrol("t12z", token, packed, headers={"Content-Encoding": "gzip"}).status == 400


def test_t12_a_hundred_thousand_attributes(authority: Server) -> None:
    """The largest request that is read at all, full of attributes, is refused in a moment."""
    token = authority.token("t12a")
    attribute = bytes.fromhex("300d06092a864886f70d0109073100")
    with authority.refuses():
        began = time.monotonic()
        answer = authority.enrol("t12a", token, with_attributes(csr("t12a"), attribute * 4000))
        assert answer.status in (400, 403) and time.monotonic() - began < 2, answer
    answer = authority.enrol("t12a", token, with_attributes(csr("t12a"), attribute * 100_000))
    assert answer.status in (0, 413), answer


def with_attributes(request: bytes, attributes: bytes) -> bytes:
    """A CSR whose attributes are these; its signature does not matter any more."""

    def wrap(tag: int, content: bytes) -> bytes:
        length = len(content)
        octets = bytes([length]) if length < 128 else b"\x83" + length.to_bytes(3, "big")
        return bytes([tag]) + octets + content

    parsed = x509.load_der_x509_csr(request)
    content = (
        parsed.tbs_certrequest_bytes[3:]
        if parsed.tbs_certrequest_bytes[1] == 0x81
        else parsed.tbs_certrequest_bytes[2:]
    )
    if parsed.tbs_certrequest_bytes[1] == 0x82:
        content = parsed.tbs_certrequest_bytes[4:]
    assert content.endswith(b"\xa0\x00")
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    return wrap(
        0x30, wrap(0x30, content[:-2] + wrap(0xA0, attributes)) + algorithm + wrap(0x03, b"\0" + parsed.signature)
    )


def test_t12_ten_megabytes_of_pem_headers(authority: Server) -> None:
    token = authority.token("t12p")
    pem = (
        b"-----BEGIN CERTIFICATE REQUEST-----\n"
        + b"X-Padding: yes\n" * 700_000
        + b"\n-----END CERTIFICATE REQUEST-----\n"
    )
    assert authority.enrol("t12p", token, pem).status in (0, 413)
    with authority.refuses():
        assert authority.enrol("t12p", token, pem[:60_000]).status == 400


GARBAGE = {
    "empty": b"",
    "zeros": bytes(1000),
    "text": b"hello",
    "JSON": b'{"csr": 1}',
    "PEM": b"-----BEGIN CERTIFICATE REQUEST-----\n"
    + base64.encodebytes(csr("garbage"))
    + b"-----END CERTIFICATE REQUEST-----\n",
    "trailing octet": csr("garbage") + b"\0",
    "two requests": csr("garbage") * 2,
    "cut short": csr("garbage")[:-1],
    "endless length": b"\x30\x84\xff\xff\xff\xff" + bytes(100),
    "indefinite length": b"\x30\x80" + csr("garbage") + b"\0\0",
    "deep": b"\x30\x82\x7f\xff" * 8000,
    "a key": new_key().private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ),
    "a certificate": FakeCA("x").der,
}


@pytest.mark.parametrize("case", GARBAGE)
def test_garbage_is_refused(authority: Server, case: str) -> None:
    token = authority.token("garbage")
    with authority.refuses():
        answer = authority.enrol("garbage", token, GARBAGE[case])
        assert answer.status == 400 and answer.text.startswith("not a readable certificate request"), answer


# ---------------------------------------------------------------------------------------------- T-13: a hundred racers


@pytest.mark.parametrize("same_key", [False, True], ids=["a key each", "one key"])
def test_t13_a_hundred_racers_get_one_certificate(authority: Server, same_key: bool) -> None:
    node = f"t13-{int(same_key)}"
    token, key = authority.token(node), new_key()
    requests = [csr(node, key if same_key else None) for _ in range(100)]
    answers, records = race(authority, node, token, requests)
    won = [answer for answer in answers if answer.status == 200]
    assert len({answer.body for answer in won}) == 1 and (same_key or len(won) == 1)
    assert {answer.status for answer in answers} <= {200, 403}, {answer.status for answer in answers}
    assert len(records) == 1
    listed = next(one for one in authority.api("GET", "/v1/tokens") if one["key_id"] == bearer(token)[:16])
    assert (listed["used"], listed["state"]) == (1, "spent")


def test_t13_five_uses_are_five_and_the_node_is_listed_once(authority: Server) -> None:
    token = authority.token("t13-five", uses=5)
    answers, records = race(authority, "t13-five", token, [csr("t13-five") for _ in range(60)])
    won = [answer for answer in answers if answer.status == 200]
    assert 1 <= len(won) <= 5 and len(records) == len(won) == len({answer.body for answer in won})
    assert [node["name"] for node in authority.api("GET", "/v1/nodes")].count("t13-five") == 1


def race(authority: Server, node: str, token: str, requests: list[bytes]) -> tuple[list[Answer], list[Any]]:
    """All requests at the same time, each on a connection of its own that stands before; the answers, and what was issued."""
    before = authority.position()
    start = threading.Barrier(len(requests))
    context = authority.context()

    def run(request: bytes) -> Answer:
        connection = http.client.HTTPSConnection("127.0.0.1", authority.https, context=context, timeout=60)
        with contextlib.closing(connection):
            connection.connect()
            start.wait(60)
            return ask(
                connection,
                "GET",
                "/edge.crt",
                request,
                {"Nodename": node, "Authorization": f"Bearer {bearer(token)}"},
            )

    with ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(run, requests))
    return answers, [one for one in authority.audit(before) if one["action"] == "certificate.issued"]


# --------------------------------------------------------------------------------------------------- the connection


def test_one_connection_serves_many_requests_and_survives_a_refusal(authority: Server) -> None:
    connection = http.client.HTTPSConnection("127.0.0.1", authority.https, context=authority.context(), timeout=10)
    with contextlib.closing(connection):
        for _ in range(3):
            assert ask(connection, "GET", "/ca.crt").status == 200
            assert ask(connection, "GET", "/edge.crt", csr("keep"), {"Nodename": "keep"}).status == 401
        assert read_after(connection) == 404


def read_after(connection: http.client.HTTPSConnection) -> int:
    connection.request("GET", "/node/keep")
    return read(connection).status
