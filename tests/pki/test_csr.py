"""A certificate request as facts: whose key it is, in which octets, and whether its subject is the expected one."""

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from edgeward.errors import BadProof, Unreadable
from edgeward.pki import csr, der, names, parse, tbs
from tests.pki.support import fixed_key
from tests.support.world import csr as new_csr

P256 = fixed_key(21)
KEYS = {
    "P-256": P256,
    "P-384": fixed_key(21, ec.SECP384R1()),
    "RSA": rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("length", [1, 10, 200, 5000])
def test_the_key_is_the_one_of_the_request_in_the_library_s_octets(kind: str, length: int) -> None:
    key: Any = KEYS[kind]
    subject = [(NameOID.ORGANIZATIONAL_UNIT_NAME, "x" * min(length, 64))] * max(1, length // 64)
    found = csr.requested(new_csr(subject, key))
    assert found.spki == key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert found.public_key == key.public_key()


def _signed(subject: bytes, spki: bytes, key: Any = P256) -> bytes:
    """A request of parts that are encoded already."""
    wish = der.sequence(der.integer(0), subject, spki, der.implicit(0, b"", constructed=True))
    return der.sequence(
        wish, der.algorithm("1.2.840.10045.4.3.2"), der.bit_string(key.sign(wish, ec.ECDSA(hashes.SHA256())))
    )


def test_a_compressed_point_is_certified_as_the_uncompressed_one() -> None:
    point = P256.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    curve = der.sequence(der.oid("1.2.840.10045.2.1"), der.oid("1.2.840.10045.3.1.7"))
    request = _signed(tbs.name(names.node_subject("edge-1")), der.sequence(curve, der.bit_string(point)))
    assert csr.requested(request).spki == parse.spki(P256.public_key())


def test_a_hybrid_point_is_certified_as_the_uncompressed_one() -> None:
    point = P256.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    hybrid = bytes((6 + (point[-1] & 1),)) + point[1:]  # X9.62 section 4.3.6: as long as the uncompressed one
    curve = der.sequence(der.oid("1.2.840.10045.2.1"), der.oid("1.2.840.10045.3.1.7"))
    request = _signed(tbs.name(names.node_subject("edge-1")), der.sequence(curve, der.bit_string(hybrid)))
    assert csr.requested(request).spki == parse.spki(P256.public_key())


@pytest.mark.parametrize("kind", [der.UTF8_STRING, der.PRINTABLE_STRING], ids=["OpenSSL's way", "Go's way"])
def test_the_expected_subject_is_known_by_its_octets_in_both_spellings(kind: int) -> None:
    subject = names.node_subject("edge-1")
    request = _signed(tbs.name(subject, kind), parse.spki(P256.public_key()))
    assert csr.read(request, subject).claimed.known == subject
    for other in ("edge-2", "edge-11", "edge-", "e"):
        found = csr.prove(csr.read(request, names.node_subject(other)))
        assert found.known is None
        assert names.node_of(found.subject or x509.Name([])) == "edge-1"


def test_the_expected_subject_with_something_behind_it_is_another() -> None:
    subject = names.node_subject("edge-1")
    more = (*subject, (NameOID.ORGANIZATION_NAME, "system:masters"))
    found = csr.read(_signed(tbs.name(more), parse.spki(P256.public_key())), subject).claimed
    assert found.known is None
    assert found.subject is not None
    assert names.organizations(found.subject) == ("system:nodes", "system:masters")


def test_a_subject_that_cannot_be_read_is_refused_and_not_passed_over() -> None:
    broken = tbs.name(names.node_subject("edge-1")).replace(b"system:nodes", b"system:\xff\xff\xff\xff\xff")
    with pytest.raises(Unreadable):
        csr.read(_signed(broken, parse.spki(P256.public_key())), names.node_subject("edge-1"))


def test_a_request_signed_by_another_key_is_no_proof() -> None:
    request = _signed(tbs.name(names.node_subject("edge-1")), parse.spki(P256.public_key()), fixed_key(22))
    with pytest.raises(BadProof):
        csr.requested(request)
