"""What an edge believes when it enrols: the pinned CA, the named server, a certificate that is its own; and nothing else."""

import asyncio
import contextlib
import logging

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.support.fake_cloud import DAY, NOW, FakeCA, FakeCloud, name, running

from edgeward.agent import enrol, trust
from edgeward.agent.certificates import Certificates
from edgeward.agent.endpoint import Endpoint
from edgeward.errors import (
    AuthorityMismatch,
    BadRequest,
    BadToken,
    CertificateRefused,
    EdgewardError,
    HandshakeFailed,
    ServerFailing,
    ServerRefused,
    TooLarge,
    Unreachable,
    Unreadable,
)
from edgeward.model.token import JoinToken
from edgeward.pki import csr


@pytest.fixture(scope="module")
def ca() -> FakeCA:
    return FakeCA()


@pytest.fixture
def cloud(ca, tmp_path):
    with running(FakeCloud(ca), ca.server_context(tmp_path, "127.0.0.1")) as up:
        yield up


def join(cloud: FakeCloud, node: str = "edge-1", key=None, timeout: float = 10.0):
    return asyncio.run(
        enrol.enrol(
            Endpoint(host="127.0.0.1", port=cloud.port),
            JoinToken.parse(cloud.token),
            node=node,
            key=key or enrol.new_key(),
            now=NOW,
            timeout=timeout,
        )
    )


def test_a_node_with_a_token_gets_a_certificate_for_its_own_key(cloud):
    key = enrol.new_key()
    enrolled = join(cloud, key=key)
    certificate = x509.load_der_x509_certificate(enrolled.certificate)
    assert certificate.public_key() == key.public_key()
    assert enrolled.ca == cloud.ca.der
    ca_asked, asked = cloud.asked
    assert "authorization" not in ca_asked.headers
    assert asked.headers["authorization"] == f"Bearer {cloud.token.partition('.')[2]}"
    assert asked.headers["nodename"] == "edge-1"
    assert asked.peer is None
    assert csr.requested(asked.body).subject == name("system:node:edge-1", "system:nodes")
    assert tuple(asked.csr.extensions) == ()


def test_t16_another_ca_than_the_pinned_one_gets_neither_token_nor_request(cloud):
    cloud.offered_ca = FakeCA().der
    with pytest.raises(AuthorityMismatch, match="pins") as caught:
        join(cloud)
    assert "edgeward ca show" in caught.value.hint
    assert [asked.path for asked in cloud.asked] == ["/ca.crt"]


def test_t16_the_right_ca_in_front_of_a_foreign_server_gets_no_token(ca, tmp_path):
    cloud = FakeCloud(ca)
    with (
        running(cloud, FakeCA().server_context(tmp_path, "127.0.0.1")),
        pytest.raises(HandshakeFailed, match="not signed by the pinned CA"),
    ):
        join(cloud)
    assert [asked.path for asked in cloud.asked] == ["/ca.crt"]


def test_a_server_of_another_name_gets_no_token(ca, tmp_path):
    cloud = FakeCloud(ca)
    with (
        running(cloud, ca.server_context(tmp_path, "192.0.2.1", "cloud.example", "127.0.0.2")),
        pytest.raises(
            HandshakeFailed, match=r"valid for 192\.0\.2\.1, cloud\.example, 127\.0\.0\.2, not for 127\.0\.0\.1"
        ),
    ):
        join(cloud)
    assert [asked.path for asked in cloud.asked] == ["/ca.crt"]


def other_key():
    return ec.generate_private_key(ec.SECP256R1()).public_key()


BAD_CERTIFICATES = {
    "for another key": (
        lambda cloud, asked: (200, cloud.ca.device(other_key(), "edge-1")),
        CertificateRefused,
        "another key",
    ),
    "for another node": (
        lambda cloud, asked: (200, cloud.ca.device(asked.csr.public_key(), "edge-2")),
        CertificateRefused,
        "not that of node edge-1",
    ),
    "of KubeEdge's one identity for all": (
        lambda cloud, asked: cloud.sign(asked, subject=name("kubeedge.io", "KubeEdge")),
        CertificateRefused,
        "not that of node edge-1",
    ),
    "of another CA": (
        lambda cloud, asked: (200, FakeCA().device(asked.csr.public_key(), "edge-1")),
        CertificateRefused,
        "not signed by the pinned CA",
    ),
    "expired": (lambda cloud, asked: cloud.sign(asked, start=NOW - 2 * DAY, end=NOW), CertificateRefused, "expired"),
    "of the future": (
        lambda cloud, asked: cloud.sign(asked, start=NOW + DAY),
        CertificateRefused,
        "the clock here says",
    ),
    "for servers": (
        lambda cloud, asked: cloud.sign(asked, usages=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        CertificateRefused,
        "clientAuth",
    ),
    "for nothing": (lambda cloud, asked: cloud.sign(asked, usages=()), CertificateRefused, "clientAuth"),
    "of a CA": (lambda cloud, asked: cloud.sign(asked, ca=True), CertificateRefused, "is a CA certificate"),
    "twice": (lambda cloud, asked: (200, 2 * cloud.sign(asked)[1]), Unreadable, "certificate"),
    "and the CA": (lambda cloud, asked: (200, cloud.sign(asked)[1] + cloud.ca.der), Unreadable, "certificate"),
    "empty": (lambda cloud, asked: (200, b""), Unreadable, "could not sign"),
    "garbage": (lambda cloud, asked: (200, b"<html>hello</html>"), Unreadable, "certificate"),
    "too large": (lambda cloud, asked: (200, b"x" * 100_000), TooLarge, "65536"),
}


@pytest.mark.parametrize("case", BAD_CERTIFICATES)
def test_an_answer_that_is_not_our_certificate_is_refused(cloud, case):
    answer, error, words = BAD_CERTIFICATES[case]
    cloud.edge_crt = lambda asked: answer(cloud, asked)
    with pytest.raises(error, match=words):
        join(cloud)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 429, 500, 503])
def test_the_words_of_a_refusal_are_passed_on_printable_and_short(cloud, status):
    cloud.edge_crt = lambda asked: (status, b"token validation failure\x1b[2J\n" + b"x" * 5000)
    later = status in (301, 429, 500, 503)
    with pytest.raises(ServerFailing if later else ServerRefused, match="token validation failure") as caught:
        join(cloud)
    assert caught.value.exit_status == (69 if later else 1)
    assert f"answered {status}" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_t17_a_server_that_repeats_the_token_does_not_get_it_into_the_error(cloud, caplog):
    caplog.set_level(logging.DEBUG)
    cloud.edge_crt = lambda asked: (401, asked.headers["authorization"].encode())
    with pytest.raises(ServerRefused) as caught:
        join(cloud)
    assert "s3cr3t" not in f"{caught.value} {caught.value!r} {caught.value.facts} {caplog.text}"


def test_t17_a_token_that_does_not_parse_is_not_repeated():
    with pytest.raises(BadToken) as caught:
        JoinToken.parse("s3cr3t.a.b.c")
    assert "s3cr3t" not in f"{caught.value!r}{caught.value}"


def raw(octets: bytes):
    def write(shell) -> None:
        shell.wfile.write(octets)

    return write


def drip(shell) -> None:
    """A body that never ends, one octet at a time."""
    shell.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not shell.gone.wait(0.02):
        shell.wfile.write(b"x")


def flood(shell) -> None:
    """A body that never ends, as fast as it goes."""
    shell.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        shell.wfile.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")


BAD_SERVERS = {
    "silent": (lambda shell: shell.gone.wait(20), Unreachable, "within 0.5 seconds"),
    "slow": (drip, Unreachable, "within 0.5 seconds"),
    "endless": (flood, TooLarge, "65536"),
    "endless headers": (raw(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 50_000), TooLarge, "65536"),
    "cut short": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0"), Unreachable, "complete answer"),
    "closing": (raw(b""), Unreachable, "complete answer"),
    "not HTTP": (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), BadRequest, "HTTP"),
}


@pytest.mark.parametrize("route", ["ca_crt", "edge_crt"])
@pytest.mark.parametrize("case", BAD_SERVERS)
def test_a_server_that_misbehaves_is_given_up_in_time_and_space(cloud, case, route):
    answer, error, words = BAD_SERVERS[case]
    setattr(cloud, route, answer if route == "ca_crt" else lambda asked: answer)
    with pytest.raises(error, match=words):
        join(cloud, timeout=0.5 if "0.5" in words else 10.0)


def test_a_body_without_a_length_ends_with_the_connection(cloud):
    cloud.edge_crt = lambda asked: raw(b"HTTP/1.1 200 OK\r\n\r\n" + cloud.sign(asked)[1])
    assert join(cloud).certificate


def test_nobody_there_and_no_tls_there_are_told_apart(ca):
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        join(FakeCloud(ca, port=1))

    async def plain() -> None:
        server = await asyncio.start_server(lambda r, w: w.write(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            await enrol.fetch_ca(Endpoint(host="127.0.0.1", port=port), ca.pin)

    with pytest.raises(HandshakeFailed):
        asyncio.run(plain())


def renew(cloud: FakeCloud, files: Certificates, key):
    return asyncio.run(
        enrol.renew(
            Endpoint(host="127.0.0.1", port=cloud.port),
            anchors=[cloud.ca.certificate],
            node="edge-1",
            key=key,
            pair=files.pair(),
            now=NOW,
            timeout=10.0,
        )
    )


def test_renewal_shows_the_current_certificate_and_no_token(cloud, tmp_path):
    files, old, new = Certificates(tmp_path / "edge"), enrol.new_key(), enrol.new_key()
    with files.locked(make=True):
        certificate = join(cloud, key=old).certificate
        files.swap(certificate, old)
        renewed = renew(cloud, files, new)
    assert x509.load_der_x509_certificate(renewed).public_key() == new.public_key()
    assert [asked.path for asked in cloud.asked] == ["/ca.crt", "/edge.crt", "/edge.crt"]
    assert cloud.asked[-1].peer == certificate
    assert "authorization" not in cloud.asked[-1].headers


def test_a_client_certificate_that_tls_refuses_is_said_in_words(cloud, tmp_path):
    files, key = Certificates(tmp_path / "edge"), enrol.new_key()
    with files.locked(make=True):
        files.swap(FakeCA().device(key.public_key(), "edge-1"), key)
        with pytest.raises(EdgewardError) as caught:
            renew(cloud, files, key)
    assert isinstance(caught.value, HandshakeFailed | Unreachable)


# -------------------------------------------------------------------------------------- what is believed of a server


def verify(chain, ca, host="cloud.example", now=NOW):
    return trust.verify_server([c.public_bytes(Encoding.DER) for c in chain], [ca.certificate], host, now)


def test_a_server_below_an_intermediate_that_it_presents_is_believed(ca):
    middle = FakeCA("middle", issuer=ca)
    lower = FakeCA("lower", issuer=middle)
    leaf = lower.server("cloud.example")
    assert verify([leaf, lower.certificate, middle.certificate], ca) == leaf
    assert verify([leaf, middle.certificate, lower.certificate], ca) == leaf, "in any order"
    assert verify([leaf], lower) == leaf, "the anchor need not be self-signed"
    with pytest.raises(HandshakeFailed, match="not signed by the pinned CA"):
        verify([leaf, middle.certificate], ca)


def test_a_device_cannot_play_ca(ca):
    key = ec.generate_private_key(ec.SECP256R1())
    device = x509.load_der_x509_certificate(ca.device(key.public_key(), "edge-1"))
    fake = FakeCA("x", issuer=ca)
    fake.key, fake.certificate = key, device
    with pytest.raises(HandshakeFailed, match="not signed"):
        verify([fake.server("cloud.example"), device], ca)


def test_the_path_length_of_an_intermediate_is_kept(ca):
    middle = FakeCA("middle", issuer=ca, path_length=0)
    lower = FakeCA("lower", issuer=middle)
    assert verify([middle.server("cloud.example"), middle.certificate], ca)
    with pytest.raises(HandshakeFailed, match="not signed"):
        verify([lower.server("cloud.example"), lower.certificate, middle.certificate], ca)


def test_every_broken_rule_of_a_server_is_told_at_once(ca):
    leaf = ca.server(
        "other.example",
        usages=(ExtendedKeyUsageOID.CLIENT_AUTH,),
        start=NOW - 2 * DAY,
        end=NOW - DAY,
        extra=((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),),
    )
    with pytest.raises(HandshakeFailed) as caught:
        verify([leaf], FakeCA())
    for words in ("not signed", "expired", "serverAuth", "not for cloud.example", "1.2.3.4"):
        assert words in str(caught.value.facts["why"])
    with pytest.raises(HandshakeFailed, match="no certificate"):
        verify([], ca)


def test_an_expired_ca_vouches_for_nobody():
    ca = FakeCA(start=NOW - 2 * DAY, end=NOW - DAY)
    with pytest.raises(HandshakeFailed, match="the pinned CA: it expired"):
        verify([ca.server("cloud.example")], ca)


@pytest.mark.parametrize(
    ("san", "host", "good"),
    [
        ("cloud.example", "cloud.example", True),
        ("Cloud.EXAMPLE", "cloud.example", True),
        ("cloud.example", "cloud.example.", True),
        ("*.cloud.example", "a.cloud.example", True),
        ("*.cloud.example", "a.b.cloud.example", False),
        ("*.cloud.example", "cloud.example", False),
        ("*.example", "cloud.example", False),
        ("*", "cloud", False),
        ("a*.cloud.example", "ab.cloud.example", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("fd00::1", "fd00:0:0::1", True),
        ("cloud.example", "10.0.0.1", False),
    ],
)
def test_names_are_matched_as_rfc_9525_says(ca, san, host, good):
    assert trust.matches(ca.server(san), host) is good


def test_an_ip_address_written_as_a_dns_name_and_a_common_name_do_not_count(ca):
    leaf = ca.server(extra=((x509.SubjectAlternativeName([x509.DNSName("10.0.0.1"), x509.DNSName("")]), False),))
    assert not trust.matches(leaf, "10.0.0.1")
    assert not trust.matches(ca.server(), "KubeEdge")
    with contextlib.suppress(EdgewardError):
        verify([leaf], ca)
