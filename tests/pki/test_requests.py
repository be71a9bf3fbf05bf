"""Requests: what people type, in every form, and what openssl makes of the result."""

from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from edgeward.errors import BadName, EdgewardError, UsageError
from edgeward.keys import generate
from edgeward.pki import parse, requests
from edgeward.pki.inspect import others
from tests.support.programs import needs, ran
from tests.tools import seeds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CN=web,O=Example,C=DE", "CN=web,O=Example,C=DE"),
        ("/C=DE/O=Example/CN=web", "CN=web,O=Example,C=DE"),
        ("/O=Exa\\/mple/CN=web", "CN=web,O=Exa/mple"),
        ("/CN=http://a/b", "CN=http://a/b"),
        ("/CN=a+O=b", "CN=a+O=b"),
        ("cn=web, o=Example", "CN=web,O=Example"),
        ("emailAddress=a@b.example,CN=x", "1.2.840.113549.1.9.1=a@b.example,CN=x"),
        ("/2.5.4.65=nym/CN=x", "CN=x,2.5.4.65=nym"),
        ("/CN=x/O=", "CN=x"),
        ("", ""),
    ],
)
def test_subjects(text: str, expected: str) -> None:
    assert requests.subject(text).rfc4514_string() == expected


@pytest.mark.parametrize("text", ["web", "/", "/web", "=x", "/XX=a", "CN=web,", "/C=Germany", "/CN=\0" * 50, "XX=1"])
def test_subjects_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(BadName):
        requests.subject(text)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("dns:web.example", x509.DNSName, "web.example"),
        ("DNS:*.example.org", x509.DNSName, "*.example.org"),
        ("web", x509.DNSName, "web"),
        ("192.0.2.1", x509.IPAddress, "192.0.2.1"),
        ("IP:2001:db8::1", x509.IPAddress, "2001:db8::1"),
        ("2001:db8::1", x509.IPAddress, "2001:db8::1"),
        ("[2001:db8::1]", x509.IPAddress, "2001:db8::1"),
        ("a@b.example", x509.RFC822Name, "a@b.example"),
        ("spiffe://example/edge", x509.UniformResourceIdentifier, "spiffe://example/edge"),
        ("URI:urn:uuid:1", x509.UniformResourceIdentifier, "urn:uuid:1"),
    ],
)
def test_alternative_names(text: str, kind: type, value: str) -> None:
    name = requests.alternative_name(text)
    assert isinstance(name, kind)
    assert str(name.value) == value


@pytest.mark.parametrize(
    "text",
    [
        "", "dns:", "dns:a b", "dns:192.0.2.1", "ip:web", "ip:192.0.2.0/24", "dns:-a.example", "dns:a..b", "dns:*.*.a",
        "dns:bücher.de", "email:@", "uri:nothing", "rid:hello", "rid:1.99.1", "other:1.2.3", "other:1.2.3;UTF9:x",
        "dns:" + "a" * 64, "dns:a\0b", "dirname:XX=y", "dns:" + "a." * 130, "x" * 3000, "other:1.2;DER:zz",
    ],
)  # fmt: skip
def test_alternative_names_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(BadName):
        requests.alternative_name(text)


@given(st.text(max_size=60))
def test_anything_typed_is_read_or_refused(text: str) -> None:
    for reader in (requests.subject, requests.alternative_name):
        try:
            reader(text)
        except EdgewardError as error:
            assert error.exit_status == 65


@pytest.mark.parametrize(
    ("common", "expected"),
    [
        ("web.example", "web.example"),
        ("localhost", "localhost"),
        ("192.0.2.1", "192.0.2.1"),
        ("*.example.org", "*.example.org"),
        ("Alice Smith", None),
        ("edge-1", None),
        ("system:node:x", None),
    ],
)
def test_a_common_name_that_looks_like_a_host_becomes_a_name(common: str, expected: str | None) -> None:
    name = requests.name_from_subject(x509.Name([x509.NameAttribute(x509.OID_COMMON_NAME, common)]))
    assert (str(name.value) if name else None) == expected


@pytest.mark.parametrize(
    "kind", ["ec:P-256", "ec:P-384", "ec:P-521", "rsa:2048", "ed25519", "ed448", "ml-dsa-44", "ml-dsa-65"]
)
def test_every_kind_of_key_signs_a_request_that_holds(kind: str) -> None:
    der = requests.build(requests.Wish(subject=requests.subject("CN=x")), generate.new(kind))
    assert others.signature_holds(parse.certificate_request(der))


@needs("openssl")
def test_openssl_reads_everything_that_is_asked(tmp_path: Path) -> None:
    wish = requests.Wish(
        subject=requests.subject("/C=DE/O=Example/CN=web"),
        names=tuple(
            requests.alternative_name(text)
            for text in ("dns:a.example", "ip:192.0.2.1", "email:a@b.example", "uri:urn:x:1", "rid:1.2.3",
                         "dirname:CN=d", "other:1.2.3;UTF8:hello")
        ),
        key_usages=("digitalSignature", "keyCertSign"), purposes=("clientAuth", "1.2.3.4"), ca=True, path_length=0,
        extensions=(("1.2.3.4.5", True, b"\x05\x00"),), challenge_password="pw",
    )  # fmt: skip
    (tmp_path / "x").write_bytes(requests.build(wish, seeds.key()))
    text = ran("openssl", "req", "-inform", "DER", "-in", tmp_path / "x", "-noout", "-text", "-verify").decode()
    for expected in (
        "DNS:a.example", "IP Address:192.0.2.1", "email:a@b.example", "URI:urn:x:1", "Registered ID:1.2.3", "DirName:",
        "hello",
        "CA:TRUE, pathlen:0", "Certificate Sign", "TLS Web Client Authentication, 1.2.3.4", "1.2.3.4.5: critical",
        "challengePassword", "C = DE, O = Example, CN = web",
    ):  # fmt: skip
        assert expected in text


def test_a_changed_request_does_not_hold() -> None:
    der = bytearray(seeds.seeds()["request.der"])
    der[der.index(b"edge-1")] ^= 1
    assert not others.signature_holds(parse.certificate_request(bytes(der)))


def test_unknown_usages_and_purposes_are_said() -> None:
    for wrong in ({"key_usages": ("sign",)}, {"purposes": ("server",)}):
        with pytest.raises(UsageError, match="there are"):
            requests.build(requests.Wish(subject=requests.subject("CN=x"), **wrong), seeds.key())  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["rsa:1024", "rsa:2049", "rsa:x", "ec:P-192", "secp256k1", "dsa", ""])
def test_weak_and_unknown_kinds_of_key_are_not_made(kind: str) -> None:
    with pytest.raises(UsageError):
        generate.new(kind)


def test_an_address_with_nested_comments_is_refused_and_not_followed() -> None:
    """Found by the fuzzer: the library reads comments by recursion."""
    for depth in (1, 100, 3000):
        with pytest.raises(BadName):
            requests.alternative_name(f"email:{'(' * depth}a@b")
