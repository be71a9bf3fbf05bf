"""Any bytes: what they are is found out, what bites is said, and what cannot be read is refused in one sentence."""

import base64
import json

import pytest

from edgeward.errors import EdgewardError, PasswordNeeded, TooLarge, Unreadable, WrongPassword
from edgeward.pki import asn1, der
from edgeward.pki.formats import pem, pkcs8
from edgeward.pki.formats.detect import detect
from edgeward.pki.formats.item import Kind, WrongKind, leaves, of_kind, only, opened
from tests.tools import seeds

DER = seeds.seeds()["certificate.der"]
PEM = pem.write("CERTIFICATE", DER)
KEY = seeds.seeds()["key.der"]

KINDS = {
    "certificate.der": Kind.CERTIFICATE,
    "request.der": Kind.REQUEST,
    "key.der": Kind.PRIVATE_KEY,
    "ed25519.der": Kind.PRIVATE_KEY,
    "bundle.p7b": Kind.PKCS7,
    "legacy.p12": Kind.PKCS12,
    "store.jks": Kind.JKS,
    "ocsp-request.der": Kind.OCSP_REQUEST,
    "ocsp-answer.der": Kind.OCSP_RESPONSE,
    "secret.yaml": Kind.KUBERNETES_SECRET,
    "secret.json": Kind.KUBERNETES_SECRET,
    "kubeconfig.yaml": Kind.KUBECONFIG,
    "token.txt": Kind.KUBEEDGE_TOKEN,
    "x509/custom/crl_all_reasons.pem": Kind.CRL,
    "asymmetric/public/PKCS1/rsa.pub.pem": Kind.PUBLIC_KEY,
    "asymmetric/PEM_Serialization/rsa_private_key.pem": Kind.ENCRYPTED_KEY,
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_recognised(name: str) -> None:
    (item,) = detect(seeds.seeds()[name])
    assert item.kind is KINDS[name]


def test_a_password_opens_what_is_locked() -> None:
    encrypted = seeds.seeds()["encrypted-key.der"]
    assert isinstance(detect(encrypted)[0].problem, PasswordNeeded)
    assert isinstance(detect(encrypted, password="wrong")[0].problem, WrongPassword)
    (item,) = detect(encrypted, password="password")
    assert item.kind is Kind.PRIVATE_KEY
    assert pkcs8.read(item.data)
    old = seeds.seeds()["asymmetric/PEM_Serialization/rsa_private_key.pem"]
    assert detect(old, password="123456")[0].kind is Kind.PRIVATE_KEY
    assert isinstance(detect(old, password="1234567")[0].problem, WrongPassword)


@pytest.mark.parametrize(
    ("dress", "note"),
    [
        (lambda text: text.replace(b"\n", b"\r\n"), "CRLF"),
        (lambda text: b"\xef\xbb\xbf" + text, "BOM"),
        (lambda text: text.decode().encode("utf-16"), "UTF-16"),
        (lambda text: b"Subject: hello\n\n" + text + b"-- \nregards\n", "around the PEM blocks"),
        (lambda text: text.replace(b"\n", b"\n  "), ""),
        (lambda text: text.replace(b"\n", b" "), ""),
        (lambda text: text.rstrip(), ""),
    ],
    ids=["CRLF", "BOM", "UTF-16", "junk", "indented", "one line", "no last line end"],
)
def test_t44_pem_in_any_dress(dress, note: str) -> None:  # type: ignore[no-untyped-def]
    (item,) = detect(dress(PEM))
    assert item.data == DER
    assert note in " ".join(item.notes)


def test_t44_names_that_lie_are_noted() -> None:
    assert "PEM text under a DER name" in detect(PEM, name="ca.der")[0].notes[0]
    assert "DER under a PEM name" in detect(DER, name="ca.pem")[0].notes[0]
    assert "labelled CERTIFICATE, but it is a private key" in detect(pem.write("CERTIFICATE", KEY))[0].notes[0]
    assert "without its BEGIN" in detect(base64.b64encode(DER))[0].notes[0]
    assert "trailing data: 3 octets" in detect(DER + b"abc")[0].notes[0]


def test_t44_a_thousand_certificates() -> None:
    items = detect(PEM * 1000)
    assert len(items) == 1000
    assert all(item.kind is Kind.CERTIFICATE for item in items)


def test_t44_a_key_where_a_certificate_belongs_is_refused_and_not_echoed() -> None:
    with pytest.raises(WrongKind) as caught:
        only(detect(pem.write("PRIVATE KEY", KEY)), Kind.CERTIFICATE, "ca.crt")
    assert "holds no certificate, but 1 private key" in str(caught.value)
    assert base64.b64encode(KEY)[40:80].decode() not in str(caught.value) + repr(caught.value)
    assert KEY.hex()[40:80] not in repr(detect(KEY))


def test_t44_two_private_keys_are_not_one() -> None:
    with pytest.raises(WrongKind, match="2 of them"):
        only(detect(pem.write("PRIVATE KEY", KEY) * 2), Kind.PRIVATE_KEY, "x")


def test_one_bad_block_does_not_hide_the_others() -> None:
    items = detect(PEM + b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n" + PEM)
    assert [item.kind for item in items] == [Kind.CERTIFICATE, Kind.BROKEN, Kind.CERTIFICATE]
    with pytest.raises(Unreadable, match="is not base64"):
        opened(items)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b" \n\t\n", "it is empty"),
        (b"hello\n", "text without a PEM block"),
        (bytes(range(256)), "format not known here"),
        (b"PK\x03\x04rest", "ZIP"),
        (b"ssh-rsa AAAA me", "OpenSSH"),
        (b"<html>", "HTML"),
        (DER[:-10], "10 octets are missing"),
    ],
)
def test_what_is_nothing_of_ours_is_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        detect(data)


def test_a_truncated_pem_says_so() -> None:
    with pytest.raises(Unreadable, match="no END line"):
        opened(detect(PEM[:-40]))


def test_ten_megabytes_of_headers_are_refused() -> None:
    headers = b"".join(b"X-%d: y\n" % number for number in range(800_000))
    text = b"-----BEGIN CERTIFICATE-----\n" + headers + b"\n" + PEM.split(b"\n", 1)[1]
    with pytest.raises(TooLarge, match="the header of the PEM block"):
        opened(detect(text))


@pytest.mark.parametrize("name", ["certificate.der", "request.der", "key.der"])
def test_ber_where_der_belongs_is_refused(name: str) -> None:
    node = asn1.exactly(seeds.seeds()[name], "x")
    ber = b"\x30\x80" + b"".join(child.encoded for child in node.children) + b"\0\0"
    with pytest.raises(Unreadable, match="BER, not DER: indefinite length at offset 0"):
        opened(detect(ber))


def test_kubeedge_secrets_are_explained_and_opened() -> None:
    (secret,) = detect(seeds.secret_yaml())
    assert secret.label == "kubeedge/casecret"
    assert [part.kind for part in secret.parts] == [Kind.CERTIFICATE, Kind.PRIVATE_KEY]
    assert "whoever has it can make any node" in " ".join(secret.parts[1].notes)
    (config,) = detect(seeds.kubeconfig())
    assert [item.kind for item in leaves([config])] == [Kind.CERTIFICATE, Kind.CERTIFICATE, Kind.PRIVATE_KEY]
    listed = json.dumps(
        {"kind": "SecretList", "apiVersion": "v1", "items": [json.loads(seeds.seeds()["secret.json"])] * 2}
    )
    assert [item.kind for item in leaves(detect(listed.encode()))] == [Kind.KUBEEDGE_TOKEN] * 2


def test_a_pem_inside_a_literal_block_of_yaml_is_found() -> None:
    body = "\n".join("    " + line for line in PEM.decode().splitlines())
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: kube-root-ca.crt\n"
    text = f"{head}data:\n  ca.crt: |\n{body}\n  other: plain # c\n"
    (found,) = detect(text.encode())
    assert of_kind([found], Kind.CERTIFICATE, "x")[0].data == DER
    assert any("key other" in note for note in found.notes)


def test_containers_within_containers_end_somewhere() -> None:
    text = seeds.secret_yaml()
    for _ in range(8):
        text = b"kind: Secret\napiVersion: v1\nmetadata:\n  name: x\ndata:\n  a: " + base64.b64encode(text) + b"\n"
    try:
        assert not opened(detect(text)) or True
    except EdgewardError as error:
        assert error.exit_status == 65


def test_several_ders_in_a_row_are_all_found() -> None:
    assert [item.kind for item in detect(DER + KEY + der.oid("1.2.840.10045.3.1.7"))] == [
        Kind.CERTIFICATE,
        Kind.PRIVATE_KEY,
        Kind.EC_PARAMETERS,
    ]


@pytest.mark.parametrize("iv", [b"", b"AB", b"zz" * 16, b"AB" * 7, b"AB" * 40])
def test_a_short_iv_in_an_old_encrypted_key_does_not_reach_the_library(
    iv: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """cryptography 50.0.2 panics (`assertion failed: iv_len <= iv.len()`) and prints a backtrace of its core."""
    old = seeds.seeds()["asymmetric/PEM_Serialization/rsa_private_key.pem"]
    head, _, rest = old.partition(b"DEK-Info: ")
    cipher, _, body = rest.partition(b"\n")
    broken = head + b"DEK-Info: " + cipher.split(b",")[0] + b"," + iv + b"\n" + body
    assert isinstance(detect(broken, password="123456")[0].problem, Unreadable)
    assert "panicked" not in capfd.readouterr().err


def test_a_scheme_without_parameters_is_malformed() -> None:
    scheme = der.algorithm("1.2.840.113549.1.5.13", der.sequence())
    item = detect(der.sequence(scheme, der.octet_string(bytes(32))), password="x")[0]
    assert isinstance(item.problem, Unreadable)


def test_a_revocation_list_of_fifty_thousand_is_recognised_at_a_glance() -> None:
    entry = der.sequence(der.integer(2**60), der.tlv(0x17, b"261123120000Z"))
    algorithm = der.algorithm("1.2.840.10045.4.3.2")
    inner = der.sequence(
        der.integer(1), algorithm, der.sequence(), der.tlv(0x17, b"261123120000Z"), der.sequence(*([entry] * 50_000))
    )
    (item,) = detect(der.sequence(inner, algorithm, der.bit_string(bytes(64))))
    assert item.kind is Kind.CRL


def test_a_kind_that_is_no_text_is_no_kubernetes_object() -> None:
    for text in (
        b"apiVersion: v1\nkind:\n  a: b\n",
        b'{"apiVersion": "v1", "kind": [1]}',
        b'{"apiVersion": 1, "kind": null}',
    ):
        with pytest.raises(Unreadable, match="no Secret"):
            detect(text)
