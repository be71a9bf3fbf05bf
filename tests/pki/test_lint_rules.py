"""The rules of `edgeward lint`: each is broken by a certificate made for it, and kept by those that we issue."""

import re
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeward.pki import lint
from edgeward.pki.inspect import certificate_warnings
from edgeward.pki.lint import ERROR, NOTE, WARNING
from edgeward.testing import authority

pytestmark = pytest.mark.filterwarnings("ignore:Attribute's length")

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
KEY, CA_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
BIG = 1 << 120
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


def name(common: str, organization: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a common name that is too long, which is meant
        return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common, _validate=False)])


def certificate(
    common: str = "edge-1",
    *,
    organization: str = "",
    purposes: tuple[x509.ObjectIdentifier, ...] | None = (CLIENT,),
    names: tuple[x509.GeneralName, ...] = (),
    days: int = 30,
    key: Any = KEY,
    serial: int = BIG,
    ca: bool = False,
    issuer: str = "CA",
    usage: bool = True,
    more: tuple[x509.ExtensionType, ...] = (),
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common, organization))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + days * DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
    )
    if usage:
        flags = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        given = x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **flags)
        builder = builder.add_extension(given, True)
    if purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    for extension in more:
        builder = builder.add_extension(extension, False)
    return builder.sign(CA_KEY, hashes.SHA256())


def uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


CA = certificate("CA", ca=True, purposes=None, key=CA_KEY)
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
NODE = "system:node:edge-1"

BROKEN: list[tuple[str, list[x509.Certificate]]] = [
    ("mtls-no-purpose", [certificate(purposes=None)]),
    ("mtls-any-purpose", [certificate(purposes=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,))]),
    ("mtls-both-purposes", [certificate(purposes=(SERVER, CLIENT))]),
    ("device-can-serve", [certificate(NODE, organization="system:nodes", purposes=(SERVER, CLIENT))]),
    ("device-wildcard", [certificate("*.edge.example")]),
    ("device-wildcard", [certificate(names=(x509.DNSName("*.edge.example"),))]),
    ("device-node-subject", [certificate("edge-1", organization="system:nodes")]),
    (
        "device-two-identities",
        [certificate(NODE, organization="system:nodes", names=(uri("spiffe://a.b/node/edge-2"),))],
    ),
    ("device-spiffe-form", [certificate(names=(uri("spiffe://A.b/x"),))]),
    ("device-spiffe-form", [certificate(names=(uri("spiffe://a.b/x/../y"),))]),
    ("device-spiffe-form", [certificate(names=(uri("spiffe://a.b"),))]),
    ("device-spiffe-form", [certificate(names=(uri("spiffe://a.b:80/x"),))]),
    ("device-spiffe-form", [certificate(names=(uri("spiffe://a.b/x"), uri("spiffe://a.b/y")))]),
    ("device-spiffe-form", [certificate(names=(uri("spiffe://a.b/x"), uri("https://a.b/y")))]),
    ("device-cannot-be-revoked", [certificate(days=3650)]),
    ("serial-predictable", [certificate(serial=7)]),
    ("serial-twice", [certificate(), certificate("edge-2", key=OTHER_KEY)]),
    ("key-shared", [certificate(), certificate("edge-2", serial=BIG + 1)]),
    ("key-shared", [certificate(key=CA_KEY), CA]),
    ("key-weak", [certificate(key=rsa.generate_private_key(65537, 1024))]),
    ("key-weak", [certificate(key=rsa.generate_private_key(3, 2048))]),
    ("ca-path-length", [certificate("Below", ca=True, purposes=None)]),
    ("ca-no-key-identifier", [CA]),
    ("ca-unconstrained", [CA]),
    (
        "issuer-identifier",
        [
            certificate(more=(x509.AuthorityKeyIdentifier(b"1" * 20, None, None),)),
            certificate("CA", ca=True, purposes=None, key=CA_KEY, more=(x509.SubjectKeyIdentifier(b"2" * 20),)),
        ],
    ),
    ("issuer-outlived", [certificate(days=300), CA]),
    ("issuer-is-root", [certificate(), CA]),
    ("name-too-long", [certificate("e" * 65)]),
    ("no-key-usage", [certificate(usage=False)]),
    ("expired", [certificate(days=0, serial=BIG + 9)]),
    ("cn-only", [certificate("web.example", purposes=(SERVER,))]),
]


@pytest.mark.parametrize(("rule", "certificates"), BROKEN)
def test_a_broken_rule_is_found(rule: str, certificates: list[x509.Certificate]) -> None:
    found = lint.lint(certificates, NOW + timedelta(seconds=1))[0]
    mine = [finding for finding in found if finding.id == rule]
    assert mine, [finding.id for finding in found]
    for finding in mine:
        assert finding.text and finding.paragraph and finding.remedy and not finding.text.endswith(".")


def test_every_rule_has_a_certificate_that_breaks_it() -> None:
    assert lint.RULES.keys() - {rule for rule, _ in BROKEN} == {lint.KEY_READABLE.id}, "that one is of the file"


def test_what_we_issue_has_no_errors_and_no_warnings() -> None:
    ca = authority()
    below = ca.intermediate()
    pems = [ca.certificate, ca.server("web.example").certificate, ca.client("edge-1").certificate]
    made = [x509.load_pem_x509_certificate(pem) for pem in pems] + x509.load_pem_x509_certificates(
        below.client("edge-2").certificate
    )
    found = [finding for findings in lint.lint(made, NOW) for finding in findings]
    assert {finding.severity for finding in found} <= {NOTE}, found


def test_a_renewed_certificate_and_one_given_twice_share_nothing() -> None:
    one = certificate()
    renewed = certificate(serial=BIG + 1)
    ids = {finding.id for findings in lint.lint([one, renewed, one], NOW) for finding in findings}
    assert not ids & {"key-shared", "serial-twice"}


def test_the_gravest_comes_first() -> None:
    severities = [
        finding.severity for finding in lint.lint([certificate("web.example", purposes=None, serial=3), CA], NOW)[0]
    ]
    assert severities == sorted(severities, key=[ERROR, WARNING, NOTE].index)
    assert len(set(severities)) == 3


def test_every_warning_of_inspect_has_its_paragraph() -> None:
    source = Path(certificate_warnings.__file__).read_text()
    ids = set(re.findall(r'id="([a-z0-9-]+)"', source))
    assert ids <= lint.IDS
    assert all(rule.paragraph and rule.remedy for rule in lint.rules())
