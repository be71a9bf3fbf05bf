"""Inspection: every certificate of the library's vectors in words, warnings of what bites, chains, and nothing that
a terminal obeys.
"""

import json
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import cryptography_vectors
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgeward.errors import EdgewardError
from edgeward.pki import oids, requests
from edgeward.pki.formats import pem
from edgeward.pki.formats.detect import detect
from edgeward.pki.formats.item import Item, Kind
from edgeward.pki.inspect import chain, compare, describe, text
from edgeward.pki.inspect.report import Report
from tests.tools import seeds

FOLDER = Path(cryptography_vectors.__file__).parent / "x509"
ALL = sorted(path for path in FOLDER.rglob("*") if path.suffix in {".pem", ".der", ".crt", ".cer"})


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(FOLDER)))
def test_every_vector_is_described_or_refused(path: Path) -> None:
    try:
        report = describe.together(detect(path.read_bytes()), seeds.NOW)
    except EdgewardError:
        return
    json.dumps(report.as_json())
    for line in text.lines(report):
        assert line.isprintable()
        assert (
            "trusted" not in line.lower() or "not to be trusted" in line.lower() or "trusted root" not in line.lower()
        )


def described(certificate: x509.Certificate) -> Report:
    return describe.one(Item(kind=Kind.CERTIFICATE, data=certificate.public_bytes(seeds.DER)), seeds.NOW)


def ids(report: Report) -> set[str]:
    return {warning.id for warning in report.warnings}


def made(
    subject: str = "/CN=edge-1.example",
    names: tuple[x509.GeneralName, ...] = (),
    *,
    days: int = 100,
    issuer: str = "/CN=ca",
    purposes: tuple[x509.ObjectIdentifier, ...] = (),
    usage: tuple[str, ...] = (),
    ca: bool | None = None,
    key: object = None,
    start: int = -1,
) -> x509.Certificate:
    public = key or seeds.key(9).public_key()
    builder = (
        x509.CertificateBuilder(requests.subject(issuer), requests.subject(subject), public, 5)  # type: ignore[arg-type]
        .not_valid_before(seeds.NOW + timedelta(days=start))
        .not_valid_after(seeds.NOW + timedelta(days=days))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), False)
    if usage:
        flags = {attribute: name in usage for name, attribute in requests.KEY_USAGES.items()}
        builder = builder.add_extension(x509.KeyUsage(**flags, encipher_only=False, decipher_only=False), True)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), True)
    return builder.sign(seeds.key(7), hashes.SHA256())


DNS = (x509.DNSName("edge-1.example"),)
SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)


def test_a_sound_certificate_has_no_warnings() -> None:
    certificate = made(names=DNS, purposes=SERVER, usage=("digitalSignature",), ca=False)
    assert ids(described(certificate)) <= {"no-aki"}


@pytest.mark.parametrize(
    ("certificate", "expected"),
    [
        (made(names=DNS, days=10, start=-300), "expires-soon"),
        (made(names=DNS, days=-1, start=-9), "expired"),
        (made(names=DNS, start=5), "not-yet-valid"),
        (made(), "cn-only"),
        (made("/CN=Alice Smith"), "no-san"),
        (made("/CN=other.example", DNS), "cn-not-in-san"),
        (made(names=(x509.DNSName(""),)), "empty-dns-name"),
        (made(names=(x509.DNSName("192.0.2.1"),)), "ip-in-dns-name"),
        (made(names=(x509.DNSName("a b.example"),)), "bad-dns-name"),
        (made(names=(x509.DNSName("*"),)), "odd-wildcard"),
        (made(names=(x509.DNSName("a.*.example"),)), "odd-wildcard"),
        (made(names=(x509.DNSName("edge.example."),)), "trailing-dot"),
        (made(names=DNS, usage=("digitalSignature", "keyEncipherment")), "usage-does-not-fit-key"),
        (made(names=DNS, usage=("keyAgreement",), purposes=SERVER), "usage-does-not-fit-purpose"),
        (made(names=DNS, usage=("keyCertSign",)), "signs-but-no-ca"),
        (made("/CN=ca2", usage=("digitalSignature",), ca=True), "ca-cannot-sign"),
        (made("/CN=ca2", ca=True), "ca-without-key-usage"),
        (made("/CN=ca2", ca=True, usage=("keyCertSign",)), "ca-cannot-revoke"),
        (made("/CN=x", DNS, issuer="/CN=x", key=seeds.key(7).public_key()), "self-signed-leaf"),
        (made("/CN=x.example/CN=y.example", DNS), "several-cns"),
        (made("", (), issuer="/CN=x"), "nameless"),
        (made("", DNS), "san-not-critical"),
        (made(names=DNS, purposes=SERVER, days=5000), "lives-long"),
        (made(names=DNS, key=rsa.RSAPublicNumbers(65537, (1 << 1023) + 7).public_key()), "weak-key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_will_bite_is_said(certificate: x509.Certificate, expected: str) -> None:
    assert expected in ids(described(certificate))


def test_kubeedges_own_ca_is_described() -> None:
    """The CA of wire document section 2.1: P-256, no cRLSign, valid for a century."""
    report = described(seeds.certificate("KubeEdge", ca=True))
    assert report.title == "root CA certificate"


def test_a_chain_is_drawn_and_its_order_checked() -> None:
    leaf, middle, root = (pem.write("CERTIFICATE", each.public_bytes(seeds.DER)) for each in seeds.chain())
    good = describe.together(detect(leaf + middle + root), seeds.NOW)
    assert good.tree == (
        "CN=root,O=Example (self-signed)",
        "└─ CN=middle,O=Example",
        "   └─ CN=edge-1,O=Example",
    )
    assert "mixed-up-chain" not in ids(good)
    for mixed in (root + middle + leaf, leaf + root + middle, middle + leaf):
        assert "mixed-up-chain" in ids(describe.together(detect(mixed), seeds.NOW))
    gap = describe.together(detect(leaf + root), seeds.NOW)
    assert "[CN=middle,O=Example: not here]" in gap.tree
    private = pem.write("PRIVATE KEY", seeds.seeds()["key.der"])
    assert "key-does-not-match" not in ids(describe.together(detect(leaf + private), seeds.NOW))
    assert "key-does-not-match" in ids(describe.together(detect(root + private), seeds.NOW))
    assert "duplicate" in ids(describe.together(detect(leaf + leaf), seeds.NOW))


def test_order_is_put_right() -> None:
    certificates = seeds.chain()
    heap = chain.family([certificates[2], certificates[0], certificates[1]])
    assert chain.ordered(heap) == [1, 2, 0]


@pytest.mark.timeout(5)
def test_a_heap_of_namesakes_is_not_quadratic() -> None:
    same = seeds.chain()[1]
    heap = chain.family([same] * 1000)
    assert len(heap.issuers) == 1000


def test_text_from_the_input_cannot_move_the_cursor() -> None:
    hostile = made("/CN=harmless", (x509.DNSName("x\x1b]0;y\x07"), x509.DNSName("\r\nforged: line")))
    for line in text.lines(described(hostile)):
        assert line.isprintable()
        assert "\u202e" not in line


def test_json_is_stable() -> None:
    written = described(seeds.chain()[0]).as_json()
    assert set(written) == {
        "kind", "subject", "subject_attributes", "issuer", "issuer_attributes", "self_signed", "version", "serial",
        "not_before", "not_after", "seconds_left", "public_key", "signature_algorithm", "sha256", "sha1",
        "extensions", "warnings", "notes",
    }  # fmt: skip
    assert written["not_after"] == "2027-11-23T12:00:00Z"
    assert written["subject"] == "CN=edge-1,O=Example"


def test_no_private_key_is_ever_in_a_report() -> None:
    for name in ("key.der", "legacy.p12", "store.jks", "secret.yaml", "kubeconfig.yaml"):
        report = describe.together(detect(seeds.seeds()[name], password=seeds.PASSWORD), seeds.NOW)
        said = json.dumps(report.as_json()) + "\n".join(text.lines(report)) + repr(report)
        for number in (7, 9):
            assert f"{number:064x}" not in said.lower().replace(":", "")


def test_a_token_is_explained_without_its_signature() -> None:
    report = describe.together(detect(seeds.TOKEN.encode()), seeds.NOW)
    said = "\n".join(text.lines(report)) + json.dumps(report.as_json())
    assert "03504734273499a2f5900ab8e73e6a967f9d610a2259ad90482a1e2e3fc10c18" in said
    assert "2023-11-15 22:13:20 UTC" in said
    assert "token-expired" in ids(report)
    assert "UePwYA" not in said


def test_a_challenge_password_is_not_shown() -> None:
    wish = requests.Wish(subject=requests.subject("CN=x"), challenge_password="hush-hush")
    report = describe.together(detect(requests.build(wish, seeds.key())), seeds.NOW)
    assert "hush" not in "\n".join(text.lines(report)) + json.dumps(report.as_json())


def test_a_crl_lists_what_is_revoked_and_why() -> None:
    report = describe.together(detect((FOLDER / "custom" / "crl_all_reasons.pem").read_bytes()), seeds.NOW)
    assert report.facts["revoked_count"] == 12
    assert any("key_compromise" in str(row) or "keyCompromise" in row[1] for row in report.rows)


def test_what_a_renewal_changed() -> None:
    before, after = described(made(names=DNS)), described(made(names=(*DNS, x509.DNSName("b.example")), days=200))
    changed = {difference.name: difference for difference in compare.differences(before, after)}
    assert set(changed) == {"not_after", "sha256", "sha1", "extension subjectAltName"}
    assert changed["extension subjectAltName"].after == ("dns:edge-1.example", "dns:b.example")


def test_unknown_identifiers_are_named_by_their_owner() -> None:
    assert oids.name("1.3.6.1.4.1.311.99.1") == "1.3.6.1.4.1.311.99.1 (Microsoft)"
    assert oids.name("1.3.6.1.5.5.7.1.31") == "acmeIdentifier"
    assert oids.name("9.9") == "9.9"
