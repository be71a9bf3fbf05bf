"""pkilint finds nothing at WARNING or above in any certificate that the profiles produce.

Two findings are expected, and only these:

- pkilint's idea of a URI is a list of a dozen schemes, and `spiffe` (SPIFFE ID section 2) is not among them. The same certificate with
  `https` in its place must have no finding at all: RFC 5280 section 4.2.1.6 wants a fully qualified host in it, and there pkilint looks.
- pkilint wants a dot in every DNS name. `localhost` has none (RFC 6761 section 6.3), and neither has a machine's own short name.
"""

import dataclasses
import ipaddress
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pkilint import loader, validation
from pkilint.pkix import certificate, extension, name

from edgeward.pki import csr, tbs
from edgeward.pki.issue import Grant, Plan, sign
from edgeward.pki.names import server_name
from tests.pki.support import CA_KEY, NOON, PROFILES, ca, ca_plan, fixed_key, plan

KEYS: dict[str, Any] = {
    "P-256": fixed_key(0x256),
    "P-384": fixed_key(0x384, ec.SECP384R1()),
    "RSA-2048": rsa.generate_private_key(65537, 2048),
    "RSA-3072": rsa.generate_private_key(65537, 3072),
    "Ed25519": ed25519.Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\1"),
}

LINTER = certificate.create_pkix_certificate_validator_container(
    certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
    [
        certificate.create_issuer_validator_container([]),
        certificate.create_validity_validator_container(),
        certificate.create_subject_validator_container([]),
        certificate.create_extensions_validator_container([]),
        certificate.create_spki_validator_container([]),
    ],
)
"""What `lint_pkix_cert` checks."""


def findings(der: bytes) -> list[str]:
    """What pkilint has to say of a certificate, at WARNING or above."""
    document = loader.RFC5280CertificateDocumentLoader().load_der_document(der, "certificate")
    return [
        f"{found.finding.severity.name} {found.finding.code} {found.message or ''}"
        for result in LINTER.validate(document.root)
        for found in result.finding_descriptions
        if found.finding.severity <= validation.ValidationFindingSeverity.WARNING  # the gravest is the least
    ]


def assert_clean(decided: Plan, key: Any = CA_KEY) -> None:
    """Nothing is found in the certificate of this plan, but what is said above."""
    names = [e for e in decided.extensions if isinstance(e.extension.value, x509.SubjectAlternativeName)]
    uris = [str(u) for e in names for u in e.extension.value.get_values_for_type(x509.UniformResourceIdentifier)]
    short = [str(d) for e in names for d in e.extension.value.get_values_for_type(x509.DNSName) if "." not in d]
    expected = [f'ERROR pkix.invalid_uri_syntax Invalid URI syntax: "{uri}"' for uri in uris]
    expected += [f'ERROR pkix.invalid_domain_name_syntax Invalid domain name syntax: "{name}"' for name in short]
    assert findings(sign(decided, key)) == expected
    if uris:
        twins = [x509.UniformResourceIdentifier(uri.replace("spiffe://", "https://", 1)) for uri in uris]
        twin = tbs.extension(x509.SubjectAlternativeName(twins), False)
        kept = tuple(e for e in decided.extensions if e not in names)
        assert findings(sign(msgspec.structs.replace(decided, extensions=(*kept, twin)), key)) == []


def test_a_certificate_that_says_where_the_lists_of_its_issuer_are() -> None:
    _, issuer = ca()
    assert_clean(
        plan(issuer=dataclasses.replace(issuer, crl_urls=("http://pki.example.com/ca.crl", "http://192.0.2.1/c")))
    )


SERVER_NAMES = {
    "a DNS name": ("cloud.example.com",),
    "an IPv4 address": ("10.0.0.1",),
    "an IPv6 address": ("fd00::1",),
    "all kinds": ("cloud.example.com", "localhost", "10.0.0.1", "::1"),
    "an internationalised name": ("xn--bcher-kva.example",),
    "a hundred names": tuple(f"n{n}.example" for n in range(100)),
    "a long name": (".".join(["a" * 63] * 3),),
}


def test_the_linter_is_awake() -> None:
    key = fixed_key(1)
    unfit = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder(unfit, unfit, key.public_key(), 1, NOON, NOON.replace(year=2060))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=False)
    assert findings(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_ca(algorithm: str) -> None:
    assert_clean(ca_plan(key=KEYS[algorithm]), KEYS[algorithm])


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("profile", ["device", "operator"])
@pytest.mark.parametrize("identity", ["edge-1", "a.b.c", "x" * 52])
def test_a_device_and_an_operator(algorithm: str, profile: str, identity: str) -> None:
    requested = csr.asked_by_key(KEYS[algorithm].public_key())
    decided = plan(requested=requested, profile=PROFILES[profile], grant=Grant(identity=identity))
    assert_clean(decided)


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("kind", SERVER_NAMES)
def test_a_server(algorithm: str, kind: str) -> None:
    names = tuple(server_name(text) for text in SERVER_NAMES[kind])
    requested = csr.asked_by_key(KEYS[algorithm].public_key())
    decided = plan(
        requested=requested, profile=PROFILES["server"], grant=Grant(identity=SERVER_NAMES[kind][0][:64], names=names)
    )
    assert_clean(decided)


@pytest.mark.parametrize("algorithm", KEYS)
def test_under_a_ca_of_every_kind(algorithm: str) -> None:
    _, issuer = ca(key=KEYS[algorithm])
    names = (x509.IPAddress(ipaddress.ip_address("10.0.0.1")),)
    for profile, granted in (("device", ()), ("server", names)):
        decided = plan(issuer=issuer, profile=PROFILES[profile], grant=Grant(identity="edge-1", names=granted))
        assert_clean(decided, KEYS[algorithm])


def test_beyond_2050() -> None:
    late = NOON.replace(year=2049)
    assert_clean(ca_plan(late))
