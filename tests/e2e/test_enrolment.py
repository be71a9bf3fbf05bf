"""What a node asks for, over real HTTPS: what works, and requests for more than it may have. Every refusal is a 4xx or the end of the
connection, issues nothing and leaves one record."""

import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.e2e.wire import raw
from tests.support.fake_cloud import name
from tests.support.server import Server, bearer
from tests.support.world import csr, new_key, node_subject


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
