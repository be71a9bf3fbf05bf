"""Enrolment over real HTTPS: what an attacker tries, and what happens then. Every refusal is a 4xx or the end of the connection,
issues nothing and leaves one record."""

import base64
import contextlib
import gzip
import http.client
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.fake_cloud import DAY, NOW, FakeCA, name
from tests.support.server import Answer, Pair, Server, ask, bearer, read, server, until
from tests.support.world import csr, new_key, node_subject

SHORT_LIVED = """
[profiles.device]
lifetime_minutes = 1
"""


@pytest.fixture(scope="module")
def authority() -> Iterator[Server]:
    with server() as one:
        yield one


@pytest.fixture(scope="module")
def kubeedge_ca() -> FakeCA:
    return FakeCA("KubeEdge")


@pytest.fixture(scope="module")
def migrated(kubeedge_ca: FakeCA) -> Iterator[Server]:
    """An authority that signs with a KubeEdge CA whose key the test has, too; it takes KubeEdge's tokens."""
    with server() as one:
        certificate, key = one.directory / "rootCA.crt", one.directory / "rootCA.key"
        certificate.write_bytes(kubeedge_ca.certificate.public_bytes(serialization.Encoding.PEM))
        key.write_bytes(sec1(kubeedge_ca.key, serialization.Encoding.PEM))
        until_ = (NOW + DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
        said = one.run(
            "ca", "import", "--cert", certificate, "--key", key, "--accept-kubeedge-tokens", "jwt-*", "--until", until_
        )
        assert said.status == 0, said
        yield one


def sec1(key: ec.EllipticCurvePrivateKey, encoding: serialization.Encoding) -> bytes:
    return key.private_bytes(encoding, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())


def flipped(octets: bytes, at: int) -> bytes:
    return octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]


# ------------------------------------------------------------------------------------------------------- what works


def test_a_node_enrols_and_renews_with_its_certificate(authority: Server) -> None:
    first = authority.device("works-1")
    certificate = x509.load_der_x509_certificate(first.certificate)
    assert certificate.subject == name("system:node:works-1", "system:nodes")
    key = new_key()
    answer = authority.enrol("works-1", request=csr("works-1", key), pair=first)
    assert answer.status == 200
    second = x509.load_der_x509_certificate(answer.body)
    assert second.public_key() == key.public_key() and second.serial_number != certificate.serial_number
    assert authority.enrol("works-1", request=csr("works-1"), pair=first).status == 200, "until the new one connects"


def test_the_answers_of_the_other_routes(authority: Server) -> None:
    answer = authority.request("GET", "/ca.crt")
    assert (answer.status, answer.body) == (200, authority.ca)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    authority.device("there-1")
    for path in ("/node/there-1", "/node/nobody", "/node/%2e%2e"):
        assert authority.request("GET", path).status == 404
    for path in (
        "/",
        "/edge.crt/",
        "/EDGE.CRT",
        "//edge.crt",
        "/nodeupgrade",
        "/readyz",
        "/v1/status",
        "/node/",
        "/x/../ca.crt",
    ):
        assert authority.request("GET", path).status == 404, path
    for method in ("POST", "PUT", "HEAD", "DELETE", "OPTIONS"):
        for path in ("/edge.crt", "/ca.crt", "/node/x"):
            answer = authority.request(method, path)
            assert (answer.status, answer.headers.get("Allow")) == (405, "GET"), (method, path)


def test_a_lost_answer_is_given_again_for_the_same_key(authority: Server) -> None:
    token, request = authority.token("again-1"), csr("again-1", new_key())
    first = authority.enrol("again-1", token, request)
    assert first.status == 200 and authority.enrol("again-1", token, request).body == first.body
    with authority.refuses():
        assert authority.enrol("again-1", token).status == 403, "another key is another use"


# -------------------------------------------------------------------------------------------- T-01 … T-09: the request


def test_t01_a_broken_signature(authority: Server) -> None:
    token, key, other = authority.token("t01"), new_key(), new_key()
    good = csr("t01", key)
    spki, foreign = (
        k.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        for k in (key, other)
    )
    for bad in (flipped(good, -3), good.replace(spki, foreign)):
        with authority.refuses():
            answer = authority.enrol("t01", token, bad)
            assert answer.status == 400 and "signature" in answer.text, answer
    assert authority.enrol("t01", token, good).status == 200, "the token was not spent"


def test_t02_a_request_for_another_node(authority: Server) -> None:
    token = authority.token("t02-a")
    for header, subject in (("t02-a", "t02-b"), ("t02-b", "t02-a"), ("t02-b", "t02-b")):
        with authority.refuses():
            assert authority.enrol(header, token, csr(subject)).status == 403, (header, subject)


def test_t03_a_renewal_for_another_node(authority: Server) -> None:
    mine, theirs = authority.device("t03-a"), authority.device("t03-b")
    assert theirs
    for header, subject in (("t03-a", "t03-b"), ("t03-b", "t03-b"), ("t03-b", "t03-a")):
        with authority.refuses():
            assert authority.enrol(header, request=csr(subject), pair=mine).status == 403
        with authority.refuses():
            answer = authority.enrol(header, authority.token(header), csr(subject), pair=mine)
            assert answer.status == 403, "a certificate is not rescued by a token"


T04 = {
    "masters": [(NameOID.ORGANIZATION_NAME, "system:masters"), (NameOID.COMMON_NAME, "system:node:t04")],
    "masters too": [*node_subject("t04"), (NameOID.ORGANIZATION_NAME, "system:masters")],
    "two names": [*node_subject("t04"), (NameOID.COMMON_NAME, "system:node:t04-b")],
    "two names, ours last": [(NameOID.COMMON_NAME, "system:admin"), *node_subject("t04")],
    "a unit": [*node_subject("t04"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "admins")],
    "a mailbox": [*node_subject("t04"), (NameOID.EMAIL_ADDRESS, "root@example.com")],
    "no organisation": [(NameOID.COMMON_NAME, "system:node:t04")],
    "no name": [(NameOID.ORGANIZATION_NAME, "system:nodes")],
    "nothing": [],
    "legacy": [(NameOID.ORGANIZATION_NAME, "KubeEdge"), (NameOID.COMMON_NAME, "kubeedge.io")],
}


@pytest.mark.parametrize("case", T04)
def test_t04_a_subject_of_more_than_a_node(authority: Server, case: str) -> None:
    token = authority.token("t04")
    answer = authority.enrol("t04", token, csr(T04[case]))
    if answer.status == 200:  # then the subject was rebuilt from the profile
        assert x509.load_der_x509_certificate(answer.body).subject == name("system:node:t04", "system:nodes")
        authority.revoke(f"serial:{x509.load_der_x509_certificate(answer.body).serial_number:x}")
    else:
        assert answer.status in (400, 403), answer
    assert "masters" not in case or answer.status == 403


T05 = [
    "[1]",
    "[0]",
    "[3,9]",
    "[2,1]",
    "[2,2]",
    '["x"]',
    "[]",
    "{}",
    "nonsense",
    "[2.0e400]",
    "[[2]]",
    "null",
    "-1",
    "[" * 9000,
]


@pytest.mark.parametrize("value", T05, ids=lambda value: value[:12])
def test_t05_another_extended_key_usage(authority: Server, value: str) -> None:
    token = authority.token("t05")
    with authority.refuses():
        assert authority.enrol("t05", token, headers={"ExtKeyUsages": value}).status == 400


def test_t05_a_megabyte_of_extended_key_usages(authority: Server) -> None:
    before = authority.issued()
    answer = authority.enrol("t05", authority.token("t05"), headers={"ExtKeyUsages": "[2" + " " * 2**20 + "]"})
    assert answer.status in (0, 431) and authority.issued() == before


def test_t05_the_usage_that_edges_have_is_client_authentication(authority: Server) -> None:
    answer = authority.enrol("t05-ok", authority.token("t05-ok"), headers={"ExtKeyUsages": "[2]"})
    usages = x509.load_der_x509_certificate(answer.body).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(usages.value) == [ExtendedKeyUsageOID.CLIENT_AUTH]


SID = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.311.25.2"), b"\x30\x00")
T06: dict[str, tuple[x509.ExtensionType, bool]] = {
    "a CA": (x509.BasicConstraints(ca=True, path_length=None), True),
    "certificate signing": (
        x509.KeyUsage(True, False, False, False, False, True, True, False, False),
        True,
    ),
    "OCSP signing": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False),
    "code signing": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),
    "any usage": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False),
    "server": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
    "distribution points": (
        x509.CRLDistributionPoints(
            [x509.DistributionPoint([x509.UniformResourceIdentifier("http://evil.example/crl")], None, None, None)]
        ),
        False,
    ),
    "authority information": (
        x509.AuthorityInformationAccess(
            [
                x509.AccessDescription(
                    x509.oid.AuthorityInformationAccessOID.OCSP,
                    x509.UniformResourceIdentifier("http://evil.example/ocsp"),
                )
            ]
        ),
        False,
    ),
    "policies": (
        x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("2.5.29.32.0"), None)]),
        False,
    ),
    "name constraints": (x509.NameConstraints([x509.DNSName("example.com")], None), True),
    "a key identifier": (x509.SubjectKeyIdentifier(b"\x01" * 20), False),
    "a Microsoft SID": (SID, False),
}


@pytest.mark.parametrize("case", T06)
def test_t06_extensions_are_the_profiles(authority: Server, case: str) -> None:
    token = authority.token("t06")
    answer = authority.enrol("t06", token, csr("t06", extensions=[T06[case]]))
    if answer.status != 200:
        assert answer.status in (400, 403), answer
        return
    made = x509.load_der_x509_certificate(answer.body).extensions
    plain = x509.load_der_x509_certificate(authority.device("t06-plain").certificate).extensions
    assert [e.oid for e in made] == [e.oid for e in plain]
    assert made.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert list(made.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert b"evil" not in answer.body
    authority.revoke(f"serial:{x509.load_der_x509_certificate(answer.body).serial_number:x}")


UPN = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x04root")
T07: dict[str, x509.GeneralName] = {
    "mailbox": x509.RFC822Name("root@example.com"),
    "URI": x509.UniformResourceIdentifier("spiffe://edgeward/node/other"),
    "UPN": UPN,
    "directory name": x509.DirectoryName(name("system:node:other", "system:nodes")),
    "address": x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    "server's name": x509.DNSName("localhost"),
    "wildcard": x509.DNSName("*.example.com"),
    "NUL": x509.DNSName("t07\0.example.com"),
}


@pytest.mark.parametrize("case", T07)
def test_t07_names_that_were_not_granted(authority: Server, case: str) -> None:
    token = authority.token("t07")
    wanted = (x509.SubjectAlternativeName([T07[case]]), False)
    with authority.refuses():
        answer = authority.enrol("t07", token, csr("t07", extensions=[wanted]))
        assert answer.status in (400, 403), answer


T08 = [
    "*", "*.com", "a\0.b", "a\u202eb", "xn--", "xn--zz--zz.", "t08.", "a" * 64, "a." * 120 + "a", "T08", "t08 ", " t08", "t08\n",
    "tо8", "t08\t", "-t08", "t08-", "a..b", ".t08", "t_08", "t08@x", "ｔ08", "a" * 53,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Attribute's length")
@pytest.mark.parametrize("text", T08, ids=ascii)
def test_t08_names_that_only_look_like_names(authority: Server, text: str) -> None:
    """As the subject of a request, beside a token for any name."""
    token = authority.token(pattern="*")
    with authority.refuses():
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
                x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{text}", _validate=False),
            ]
        )
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(new_key(), hashes.SHA256())
        assert authority.enrol("", token, request.public_bytes(serialization.Encoding.DER)).status in (400, 403)


def test_t08_other_string_encodings_of_a_name(authority: Server) -> None:
    """BMPString and T61String of the very name: refused, or the certificate has the profile's encoding."""
    for kind in (x509.name._ASN1Type.BMPString, x509.name._ASN1Type.T61String, x509.name._ASN1Type.PrintableString):
        common = "system:node:t08x"
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
                x509.NameAttribute(NameOID.COMMON_NAME, common, _type=kind),
            ]
        )
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(new_key(), hashes.SHA256())
        answer = authority.enrol("t08x", authority.token("t08x"), request.public_bytes(serialization.Encoding.DER))
        assert answer.status in (200, 400, 403)
        if answer.status == 200:
            assert x509.load_der_x509_certificate(answer.body).subject == name(common, "system:nodes")


T09 = [
    "../../etc/x",
    "a/b",
    ".",
    "..",
    "%2e%2e",
    "CON",
    "a b",
    "x" * 10_000,
    "a'; DROP TABLE device; --",
    "a%",
    "a\\b",
    "T09",
]


@pytest.mark.parametrize("text", T09, ids=lambda text: text[:12])
def test_t09_node_names_with_path_characters(authority: Server, text: str) -> None:
    token = authority.token(pattern="*")
    with authority.refuses():
        assert authority.enrol(text, token, csr("t09")).status == 400


def test_t09_a_line_break_in_the_name(authority: Server) -> None:
    before = authority.issued()
    token = bearer(authority.token(pattern="*"))
    body = csr("t09")
    for line in (
        b"Nodename: a\nb",
        b"Nodename: a\r\n b",
        b"Nodename: a\rb",
        b"Nodename: a\0b",
        b"Nodename: t09\r\nNodename: b",
    ):
        head = b"GET /edge.crt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n%b\r\nContent-Length: %d\r\n\r\n"
        answer = raw(authority, head % (token.encode(), line, len(body)) + body)
        assert answer[9:12] in (b"400", b"403"), (line, answer)
    assert authority.issued() == before


def raw(authority: Server, octets: bytes) -> bytes:
    """What the server answers to these very octets, at least the head of it."""
    received = b""
    with (
        socket.create_connection(("127.0.0.1", authority.https), timeout=10) as tcp,
        authority.context().wrap_socket(tcp, server_hostname="127.0.0.1") as tls,
    ):
        with contextlib.suppress(OSError):
            tls.sendall(octets)
        with contextlib.suppress(OSError):
            while piece := tls.recv(65536):
                received += piece
                if b"\r\n\r\n" in received:
                    break
    return received


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


# ------------------------------------------------------------------------------------------------ T-14 … T-16: tokens


def test_t14_a_token_that_expired_a_moment_ago(authority: Server) -> None:
    token = authority.token("t14", lifetime_seconds=1)
    key_id = bearer(token)[:16]
    until(lambda: next(t for t in authority.api("GET", "/v1/tokens") if t["key_id"] == key_id)["state"] == "expired")
    with authority.refuses():
        answer = authority.enrol("t14", token)
        assert answer.status == 403 and "expired" in answer.text


def jwt(ca: FakeCA, payload: Any, header: Any = None, key: bytes | None = None) -> str:
    """A token as KubeEdge makes it."""

    def b64(octets: bytes) -> str:
        return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()

    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = f"{b64(json.dumps(header or {'alg': 'HS256', 'typ': 'JWT'}).encode())}.{b64(text)}"
    mac = hmac.HMAC(sec1(ca.key, serialization.Encoding.DER) if key is None else key, hashes.SHA256())
    mac.update(signed.encode())
    return f"{ca.pin}.{signed}.{b64(mac.finalize())}"


def seconds(**span: float) -> int:
    return int((NOW + timedelta(**span)).timestamp())


def test_a_genuine_token_of_kubeedge_works_for_a_new_name(migrated: Server, kubeedge_ca: FakeCA) -> None:
    token = jwt(kubeedge_ca, {"exp": seconds(hours=12)})
    assert migrated.enrol("jwt-1", token).status == 200
    for node in ("jwt-1", "other-1"):
        with migrated.refuses():
            assert migrated.enrol(node, token).status == 403, "a name that is there, or not in the pattern"


T14 = {
    "past": {"exp": seconds(minutes=-5)},
    "far": {"exp": seconds(days=2)},
    "endless": {"exp": 10**18},
    "beyond numbers": b'{"exp": 1e400}',
    "text": {"exp": str(seconds(hours=1))},
    "fraction": {"exp": seconds(hours=1) + 0.5},
    "truth": {"exp": True},
    "missing": {},
    "null": {"exp": None},
    "negative": {"exp": -1},
    "not yet": {"exp": seconds(hours=2), "nbf": seconds(hours=1)},
    "a list": [1],
    "twice": b'{"exp": %d, "exp": %d}' % (seconds(minutes=-5), seconds(hours=1)),
    "no JSON": b"\xff",
}


@pytest.mark.parametrize("case", T14)
def test_t14_times_of_foreign_tokens(migrated: Server, kubeedge_ca: FakeCA, case: str) -> None:
    with migrated.refuses():
        assert migrated.enrol(f"jwt-{case.replace(' ', '-').lower()}", jwt(kubeedge_ca, T14[case])).status in (401, 403)


def test_t15_forged_foreign_tokens(migrated: Server, kubeedge_ca: FakeCA) -> None:
    good = {"exp": seconds(hours=1)}
    public = kubeedge_ca.certificate.public_bytes(serialization.Encoding.PEM)
    whole = jwt(kubeedge_ca, good)
    pin, header, payload, mac = whole.split(".")
    forged = {
        "alg none": jwt(kubeedge_ca, good, {"alg": "none"}),
        "no signature": f"{pin}.{jwt(kubeedge_ca, good, {'alg': 'None'}).split('.')[1]}.{payload}.",
        "public key as secret": jwt(kubeedge_ca, good, key=public),
        "certificate as secret": jwt(kubeedge_ca, good, key=kubeedge_ca.der),
        "empty secret": jwt(kubeedge_ca, good, key=b""),
        "RS256": jwt(kubeedge_ca, good, {"alg": "RS256"}),
        "ES256": jwt(kubeedge_ca, good, {"alg": "ES256"}),
        "another CA": jwt(FakeCA("KubeEdge"), good),
        "kid": jwt(kubeedge_ca, good, {"alg": "HS256", "kid": "../../../dev/null"}, key=b""),
        "kid of SQL": jwt(kubeedge_ca, good, {"alg": "HS256", "kid": "x' UNION SELECT 'k"}, key=b"k"),
        "jwk": jwt(kubeedge_ca, good, {"alg": "HS256", "jwk": {"kty": "oct", "k": "aw"}}, key=b"k"),
        "jku": jwt(kubeedge_ca, good, {"alg": "HS256", "jku": "http://127.0.0.1:1/"}, key=b"k"),
        "padding": f"{pin}.{header}.{payload}.{mac}=",
        "loose bits": f"{pin}.{header}.{payload}.{mac[:-1]}{chr(ord(mac[-1]) + 1)}",
        "white space": f"{pin}.{header}.{payload}.{mac}\u00a0",
        "five parts": f"{whole}.x",
        "three parts": f"{pin}.{header}.{payload}",
    }  # fmt: skip
    for case, token in forged.items():
        with migrated.refuses():
            answer = migrated.enrol("jwt-forged", token)
            assert answer.status == 401, (case, answer)


def test_t15_malformed_tokens_of_our_own(authority: Server) -> None:
    a, b, c = bearer(authority.token("t15")).split(".")
    same = set()
    malformed = {
        "pin sent too": f"x.{'0' * 64}.{a}.{b}.{c}",
        "unknown id": f"x.{'0' * 16}.{b}.{c}",
        "wrong secret": f"x.{a}.{b}.{'A' * 43}",
        "no secret": f"x.{a}.{b}.",
        "other hints": f"x.{a}.-.{c}",
        "two parts": f"x.{a}.{c}",
        "upper case": f"x.{a.upper() if a.upper() != a else '0' * 16}.{b}.{c}",
        "padding": f"x.{a}.{b}.{c}=",
        "SQL": f"x.' OR 1=1 --.{b}.{c}",
        "wildcard": f"x.%.{b}.{c}",
        "long": f"x.{a}.{b}.{'A' * 8000}",
    }
    for case, token in malformed.items():
        with authority.refuses():
            answer = authority.enrol("t15", token)
            assert answer.status == 401, (case, answer)
            same.add(answer.body)
    assert len(same) == 1, "T-18: malformed, unknown and wrong get one and the same answer"
    before = authority.issued()
    assert authority.enrol("t15", "x." + "A" * 2**20).status in (0, 431)
    assert authority.issued() == before


def test_t15_no_token_at_all(authority: Server) -> None:
    for headers in (
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer a b"},
    ):
        with authority.refuses():
            assert authority.enrol("t15", headers=headers).status == 401
    sent = [
        ("Nodename", "t15"),
        ("Authorization", "Bearer x"),
        ("Authorization", f"Bearer {bearer(authority.token('t15'))}"),
    ]
    with authority.refuses():
        assert authority.request("GET", "/edge.crt", csr("t15"), sent).status == 400, "two of them"


def test_t16_tokens_of_another_authority_node_network_and_revoked_ones(authority: Server, migrated: Server) -> None:
    with authority.refuses():
        assert authority.enrol("t16", migrated.token("t16")).status == 401
    elsewhere = authority.token("t16", network="198.51.100.0/24")
    revoked = authority.token("t16")
    authority.api("POST", f"/v1/tokens/{bearer(revoked)[:16]}/revoke")
    spent = authority.token("t16-spent")
    assert authority.enrol("t16-spent", spent).status == 200
    pattern = authority.token(pattern="t16-*", uses=5)
    for node, token, words in (
        ("t16", elsewhere, "127.0.0.1"),
        ("t16", revoked, "revoked"),
        ("t16-spent", spent, "used 1 of 1"),
        ("t17-x", pattern, "not for node"),
        ("t16-spent", pattern, "already has a valid certificate"),
    ):
        with authority.refuses():
            answer = authority.enrol(node, token)
            assert answer.status == 403 and words in answer.text, (node, answer)
    assert authority.enrol("t16", authority.token("t16", network="127.0.0.0/8")).status == 200


# --------------------------------------------------------------------------- T-19, T-20: client certificates on renewal


def ends_in_tls(answer: Answer) -> bool:
    """Whether TLS refused the certificate with an alert."""
    return answer.status == 0 and b"alert" in answer.body.lower()


def test_t19_a_certificate_that_looks_like_the_victims(migrated: Server, kubeedge_ca: FakeCA) -> None:
    victim = migrated.device("t19-victim")
    certificate = x509.load_der_x509_certificate(victim.certificate)
    key = new_key()

    def double(issuer: FakeCA) -> Pair:
        builder = (
            x509.CertificateBuilder()
            .subject_name(certificate.subject)
            .issuer_name(certificate.issuer)
            .public_key(key.public_key())
            .serial_number(certificate.serial_number)
            .not_valid_before(certificate.not_valid_before_utc)
            .not_valid_after(certificate.not_valid_after_utc)
        )
        for extension in certificate.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        return Pair(builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER), key)

    forged = migrated.enrol("t19-victim", request=csr("t19-victim"), pair=double(FakeCA("KubeEdge")))
    assert ends_in_tls(forged), forged
    with migrated.refuses():
        answer = migrated.enrol("t19-victim", request=csr("t19-victim"), pair=double(kubeedge_ca))
        assert answer.status == 401 and "certificate" in answer.text, (
            "the CA's own key made it, but there is no row of it"
        )
    other = migrated.device("t19-other")
    with migrated.refuses():
        assert migrated.enrol("t19-victim", request=csr("t19-victim"), pair=other).status == 403
    assert migrated.enrol("t19-victim", request=csr("t19-victim"), pair=victim).status == 200


T20 = {
    "no organisation": [(NameOID.COMMON_NAME, "system:node:t20")],
    "no name": [(NameOID.ORGANIZATION_NAME, "system:nodes")],
    "two names": [*node_subject("t20"), (NameOID.COMMON_NAME, "system:node:t20-b")],
    "empty": [],
    "legacy": [(NameOID.ORGANIZATION_NAME, "KubeEdge"), (NameOID.COMMON_NAME, "kubeedge.io")],
    "as it should be": node_subject("t20"),
    "a unit alone": [(NameOID.ORGANIZATIONAL_UNIT_NAME, "x")],
}


@pytest.mark.parametrize("case", T20)
def test_t20_odd_subjects_in_client_certificates(migrated: Server, kubeedge_ca: FakeCA, case: str) -> None:
    """Of the trusted CA, and never issued here: refused in words, by the enrolment server and by the hub."""
    key = new_key()
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in T20[case]])
    pair = Pair(kubeedge_ca.device(key.public_key(), "t20", subject=subject), key)
    for token in (None, migrated.token("t20")):
        with migrated.refuses():
            assert migrated.enrol("t20", token, pair=pair).status == 401


def test_certificates_that_are_expired_revoked_foreign_or_not_for_clients(
    migrated: Server, kubeedge_ca: FakeCA
) -> None:
    def minted(ca: FakeCA, **fields: Any) -> Pair:
        key = new_key()
        return Pair(ca.device(key.public_key(), "t20", **fields), key)

    old = {"start": NOW - 20 * DAY, "end": NOW - 10 * DAY}
    for case, pair in {
        "expired": minted(kubeedge_ca, **old),
        "not yet": minted(kubeedge_ca, start=NOW + DAY, end=NOW + 2 * DAY),
        "for servers": minted(kubeedge_ca, usages=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        "foreign": minted(FakeCA("another")),
        "foreign and expired": minted(FakeCA("KubeEdge"), **old),
    }.items():
        before = migrated.issued()
        answer = migrated.enrol("t20", migrated.token("t20"), pair=pair)
        assert answer.status == 401 or ends_in_tls(answer), (case, answer)
        assert migrated.issued() == before


def test_a_certificate_that_was_revoked_renews_nothing(authority: Server) -> None:
    pair = authority.device("revoked-1")
    authority.revoke("revoked-1", "keyCompromise")
    with authority.refuses():
        answer = authority.enrol("revoked-1", request=csr("revoked-1"), pair=pair)
        assert answer.status == 401 and "revoked" in answer.text
    with authority.refuses():
        assert authority.enrol("revoked-1", authority.token("revoked-1")).status == 403, "the node is blocked"
    unblock = authority.token("revoked-1", unblock=True)
    with authority.refuses():
        answer = authority.enrol("revoked-1", unblock, csr("revoked-1", pair.key))
        assert answer.status == 403 and "compromised" in answer.text
    assert authority.enrol("revoked-1", unblock).status == 200


@pytest.mark.slow
def test_a_certificate_that_has_expired_renews_nothing() -> None:
    """Takes a minute: no certificate lives less."""
    with server(configuration=SHORT_LIVED) as short:
        pair = short.device("short-1")
        end = x509.load_der_x509_certificate(pair.certificate).not_valid_after_utc.timestamp()
        until(lambda: time.time() > end + 1, "the end of a certificate", 90)
        with short.refuses():
            answer = short.enrol("short-1", request=csr("short-1"), pair=pair)
            assert answer.status == 401 and "expired" in answer.text, answer


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
