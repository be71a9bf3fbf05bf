"""Revocation lists: what is written is what was planned, for every kind of key, and openssl reads it."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from edgeward.errors import NotConforming, PolicyRefused
from edgeward.pki import crl, parse
from edgeward.pki.crl import Entry, Plan

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
ISSUER = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "CA")])

KEYS: dict[str, CertificateIssuerPrivateKeyTypes] = {
    "ec": ec.generate_private_key(ec.SECP256R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "rsa": rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "ed448": ed448.Ed448PrivateKey.generate(),
    "ml-dsa-65": mldsa.MLDSA65PrivateKey.generate(),
}


def plan(entries: tuple[Entry, ...] = (), number: int = 1, this: datetime = NOON, days: float = 7) -> Plan:
    return Plan(
        issuer=ISSUER.public_bytes(),
        key_identifier=b"\x01" * 20,
        number=number,
        this_update=this,
        next_update=this + timedelta(days=days),
        entries=entries,
    )


@pytest.mark.parametrize("kind", KEYS)
def test_a_list_says_what_was_planned(kind: str) -> None:
    key = KEYS[kind]
    entries = tuple(Entry(0xA0 << 120 | n, NOON, reason) for n, reason in enumerate(crl.REASONS))
    read = parse.crl(crl.sign(plan(entries, number=300), key))
    assert read.is_signature_valid(key.public_key())
    assert [one.serial_number for one in read] == [entry.serial for entry in entries]
    assert read.issuer == ISSUER
    assert (read.last_update_utc, read.next_update_utc) == (NOON, NOON + timedelta(days=7))
    assert {type(e.value): e.critical for e in read.extensions} == {
        x509.AuthorityKeyIdentifier: False,
        x509.CRLNumber: False,
    }
    first = read.get_revoked_certificate_by_serial_number(entries[0].serial)
    assert first is not None
    assert not list(first.extensions), "unspecified is said by saying nothing"


def test_an_empty_list_has_no_entries_at_all() -> None:
    read = parse.crl(crl.sign(plan(), KEYS["ec"]))
    assert len(read) == 0
    assert b"\x30\x00" not in read.tbs_certlist_bytes


def test_dates_from_2050_on_are_written_as_the_standard_wants_them() -> None:
    later = datetime(2050, 1, 1, tzinfo=UTC)
    octets = crl.sign(plan((Entry(5, later, "superseded"),), this=later), KEYS["ec"])
    assert octets.count(b"20500101000000Z") == 2


def test_twenty_thousand_entries_are_one_list() -> None:
    entries = tuple(Entry(1 << 120 | n, NOON, "keyCompromise") for n in range(20_000))
    assert len(parse.crl(crl.sign(plan(entries), KEYS["ec"]))) == 20_000


@pytest.mark.parametrize(("number", "days"), [(0, 7), (-1, 7), (1 << 159, 7), (1, 0), (1, -1)])
def test_a_list_that_makes_no_sense_is_not_planned(number: int, days: float) -> None:
    with pytest.raises(PolicyRefused):
        plan(number=number, days=days)


def test_what_cannot_be_said_is_not_signed() -> None:
    """A moment with a fraction of a second does not come back as it was planned."""
    with pytest.raises(NotConforming, match="entries"):
        crl.sign(plan((Entry(5, NOON + timedelta(microseconds=1), "superseded"),)), KEYS["ec"])
