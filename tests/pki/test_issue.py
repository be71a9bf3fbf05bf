"""The issuing road, pure: what is decided, what is refused with every reason at once, and what `conform` sees."""

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from edgeward.errors import InternalError, NotConforming, PolicyRefused, SerialCollision, Unreadable, UsageError
from edgeward.model.audit import first_bad
from edgeward.pki import conform, csr, der, parse, tbs
from edgeward.pki.issue import SERIAL_OCTETS, Grant, Plan, serial_number, sign
from edgeward.pki.profile import Profile
from edgeward.services.issuance import Issuance, Order
from tests.pki.support import CA_KEY, DOMAIN, LEAF_KEY, NOON, PROFILES, SERIAL, ca, ca_plan, fixed_key, plan
from tests.support.world import csr as new_csr
from tests.support.world import world


def load(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


# ---------------------------------------------------------------------------------------------------------------- decide


def test_the_place_of_the_issuers_lists_is_planned_and_compared() -> None:
    _, issuer = ca()
    placed = plan(issuer=dataclasses.replace(issuer, crl_urls=("http://pki.example/ca.crl",)))
    signed = sign(placed, CA_KEY)
    conform.conform(signed, placed, CA_KEY.public_key())
    for other in (plan(), plan(issuer=dataclasses.replace(issuer, crl_urls=("http://evil.example/ca.crl",)))):
        with pytest.raises(NotConforming, match="extensions"):
            conform.conform(signed, other, CA_KEY.public_key())


def _greedy() -> bytes:
    return new_csr(
        [
            (NameOID.COMMON_NAME, "system:node:edge-2"),
            (NameOID.ORGANIZATION_NAME, "system:masters"),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "admins"),
        ],
        LEAF_KEY,
        [
            (x509.SubjectAlternativeName([x509.DNSName("cloud.example"), x509.RFC822Name("root@example.com")]), False),
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (x509.KeyUsage(True, False, False, False, False, True, True, False, False), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), False),
            (x509.SubjectKeyIdentifier(b"\1" * 20), False),
        ],
    )


EVERYTHING = [
    "subject attribute OU",
    "common name system:node:edge-2 instead of system:node:edge-1",
    "organization system:masters",
    "subject alternative name cloud.example",
    "subject alternative name email:root@example.com",
    "to be a CA",
    "key usage key_cert_sign",
    "key usage crl_sign",
    f"extended key usage {ExtendedKeyUsageOID.SERVER_AUTH.dotted_string}",
    "extension 2.5.29.14",
]


def test_every_broken_rule_is_reported_at_once() -> None:
    picky = dataclasses.replace(PROFILES["device"], key_algorithms=frozenset({"rsa"}))
    _, issuer = ca(key=LEAF_KEY)
    with pytest.raises(PolicyRefused) as caught:
        plan(requested=csr.requested(_greedy()), profile=picky, issuer=issuer, now=issuer.not_after)
    assert list(caught.value.violations) == [
        "EC P-256 keys are not allowed by profile device",
        "the public key is the CA's own",
        *EVERYTHING,
        "no time is left in which the certificate and its CA are both valid",
    ]
    for violation in caught.value.violations:
        assert violation in str(caught.value)


def test_what_an_operator_vouches_for_is_issued_without_the_excess_and_the_plan_says_so() -> None:
    decided = plan(requested=csr.requested(_greedy()), grant=Grant(identity="edge-1", strict=False))
    assert list(decided.dropped) == EVERYTHING
    asked_for_nothing = plan()
    assert sign(decided, CA_KEY) == sign(asked_for_nothing, CA_KEY)
    assert msgspec.structs.replace(decided, dropped=(), extensions=()) == msgspec.structs.replace(
        asked_for_nothing, extensions=()
    )


def test_the_sentence_of_a_refusal_stays_finite() -> None:
    names = [x509.DNSName(f"{n}.example") for n in range(1000)]
    request = new_csr("edge-1", LEAF_KEY, [(x509.SubjectAlternativeName(names), False)])
    with pytest.raises(PolicyRefused) as caught:
        plan(requested=csr.requested(request))
    assert len(caught.value.violations) == 1000
    assert len(str(caught.value)) < 5000


def test_a_plan_is_the_profile_s_and_the_grant_s() -> None:
    names = (x509.DNSName("a.example"), x509.DNSName("b.example"))
    decided = plan(profile=PROFILES["server"], grant=Grant(identity="a.example", names=names))
    certificate = load(sign(decided, CA_KEY))
    assert certificate.subject.rfc4514_string() == "CN=a.example,O=Edgeward"
    assert [(type(e.value).__name__, e.critical) for e in certificate.extensions] == [
        ("BasicConstraints", True),
        ("KeyUsage", True),
        ("ExtendedKeyUsage", False),
        ("SubjectKeyIdentifier", False),
        ("AuthorityKeyIdentifier", False),
        ("SubjectAlternativeName", False),
    ]
    assert tuple(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == names


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"lifetime": timedelta(seconds=59)}, "lifetime"),
        ({"lifetime": timedelta(days=36526)}, "lifetime"),
        ({"backdate": timedelta(seconds=-1)}, "backdate"),
        ({"backdate": timedelta(days=2)}, "backdate"),
        ({"purposes": ("codeSigning",)}, "purposes"),
        ({"purposes": ()}, "purposes"),
        ({"key_algorithms": frozenset({"dsa"})}, "key algorithms"),
        ({"common_name": ""}, "common_name"),
        ({"ca": True}, "extended key usages"),
        ({"path_length": 0}, "path_length"),
        ({"common_name": "{node}"}, "may contain"),
        ({"uri": "{"}, "may contain"),
        ({"organization": "{identity.nothing}"}, "may contain"),
        ({"organization": "{identity[x]}"}, "may contain"),
        ({"organization": "{}"}, "may contain"),
    ],
)
def test_a_profile_that_contradicts_itself_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        dataclasses.replace(PROFILES["device"], **changes)


# -------------------------------------------------------------------------------------------------------------- validity


def profile_of(lifetime: timedelta, backdate: timedelta = timedelta(minutes=5)) -> Profile:
    return dataclasses.replace(PROFILES["device"], lifetime=lifetime, backdate=backdate)


def test_t25_no_certificate_outlives_its_ca() -> None:
    _, issuer = ca(lifetime=timedelta(days=10))
    decided = plan(issuer=issuer, now=NOON + timedelta(days=9))
    assert decided.not_after == issuer.not_after == NOON + timedelta(days=10)
    last = plan(issuer=issuer, now=issuer.not_after - timedelta(seconds=1))
    assert last.not_after == issuer.not_after


def test_t25_no_certificate_begins_before_its_ca() -> None:
    _, issuer = ca()
    decided = plan(issuer=issuer, now=issuer.not_before, profile=profile_of(timedelta(days=1)))
    assert decided.not_before == issuer.not_before


@pytest.mark.parametrize("beyond", [timedelta(0), timedelta(seconds=1), timedelta(days=1000), timedelta(days=-3653)])
def test_t25_a_ca_that_is_not_valid_now_issues_nothing(beyond: timedelta) -> None:
    _, issuer = ca()
    with pytest.raises(PolicyRefused, match="no time is left"):
        plan(issuer=issuer, now=issuer.not_after + beyond)


def test_t25_a_grant_may_shorten_the_life_and_not_lengthen_it() -> None:
    assert plan(grant=Grant(identity="edge-1", not_after=NOON + timedelta(hours=1))).not_after == NOON + timedelta(
        hours=1
    )
    assert plan(grant=Grant(identity="edge-1", not_after=NOON + timedelta(days=9999))).not_after == NOON + timedelta(
        days=365
    )


@pytest.mark.parametrize("left", [timedelta(0), timedelta(seconds=-1), timedelta(minutes=-4), timedelta(days=-400)])
def test_t25_a_grant_that_has_ended_gets_nothing(left: timedelta) -> None:
    with pytest.raises(PolicyRefused, match="no time is left"):
        plan(grant=Grant(identity="edge-1", not_after=NOON + left))


def test_t25_a_short_life_is_back_dated_by_a_part_of_itself_alone() -> None:
    decided = plan(profile=profile_of(timedelta(minutes=10)))
    assert (decided.not_before, decided.not_after) == (NOON - timedelta(seconds=30), NOON + timedelta(minutes=10))
    assert plan(now=NOON.replace(microsecond=999_999)).not_before == NOON - timedelta(minutes=5)


@pytest.mark.parametrize(
    ("end", "tag"),
    [
        (datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), 0x17),
        (datetime(2050, 1, 1, 0, 0, 0, tzinfo=UTC), 0x18),
        (datetime(2050, 1, 1, 0, 0, 1, tzinfo=UTC), 0x18),
    ],
)
def test_t25_utctime_until_2049_and_generalizedtime_from_2050_on(end: datetime, tag: int) -> None:
    decided = ca_plan(end - timedelta(days=3652))
    assert decided.not_after == end
    der = sign(decided, CA_KEY)
    text = end.strftime("%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ").encode()
    assert bytes([tag, len(text)]) + text in der
    conform.conform(der, decided, CA_KEY.public_key())
    assert load(der).not_valid_after_utc == end


# --------------------------------------------------------------------------------------------------------------- serials


@given(st.binary(min_size=SERIAL_OCTETS, max_size=SERIAL_OCTETS))
def test_t23_a_serial_is_positive_below_2_to_159_and_of_one_length(octets: bytes) -> None:
    serial = serial_number(octets)
    assert 0 < serial < 2**159
    assert serial.bit_length() == 128
    assert len(parse_serial(serial)) == 17
    assert serial % 2**127 == int.from_bytes(octets, "big") % 2**127


def parse_serial(serial: int) -> bytes:
    """The content octets of a serial as a certificate has them."""
    der = sign(msgspec.structs.replace(_PLAN, serial=serial), CA_KEY)
    assert load(der).serial_number == serial
    at = der.index(b"\xa0\x03\x02\x01\x02\x02") + 6
    return der[at + 1 : at + 1 + der[at]]


_PLAN = plan()


@pytest.mark.parametrize("octets", [b"", bytes(15), bytes(17)])
def test_t23_a_serial_is_made_of_exactly_its_octets(octets: bytes) -> None:
    with pytest.raises(InternalError):
        serial_number(octets)


def test_t23_a_source_that_repeats_itself_signs_nothing_twice() -> None:
    async def story() -> None:
        async with world() as w:
            repeating = Issuance(w.store, PROFILES, DOMAIN, octets=bytes)
            repeating.use(w.issuance.issuer)

            def order(node: str) -> Order:
                return Order(
                    profile="device",
                    requested=csr.requested(new_csr(node)),
                    grant=Grant(identity=node),
                    actor="operator:test",
                    evidence="operator:test",
                    at=w.now,
                )

            first = await repeating.issue(order("edge-1"))
            before = await w.store.audit()
            with pytest.raises(SerialCollision) as caught:
                await repeating.issue(order("edge-2"))
            assert caught.value.facts["serial"] == first.serial
            assert await w.store.audit() == before
            assert await w.store.planned() == []
            record = await w.store.by_serial(first.serial)
            assert record is not None
            assert (record.identity, record.der) == ("edge-1", first.der)
            assert first_bad(before) is None

    asyncio.run(story())


# --------------------------------------------------------------------------------------------------------------- conform


def test_what_was_planned_conforms() -> None:
    for key in (
        CA_KEY,
        fixed_key(7, ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ):
        conform.conform(sign(_PLAN, key), _PLAN, key.public_key())


def _extension(
    oid: type, value: x509.ExtensionType | None, critical: bool = False
) -> Callable[[Plan], tuple[tbs.Planned, ...]]:
    """The plan's extensions with that of kind `oid` replaced, or left out."""

    def change(one: Plan) -> tuple[tbs.Planned, ...]:
        kept = [
            e if not isinstance(e.extension.value, oid) else value and tbs.extension(value, critical)
            for e in one.extensions
        ]
        return tuple(e for e in kept if e)

    return change


_DIFFERENCES: dict[str, tuple[str, Callable[[Plan], Any], str]] = {
    "serial": ("serial", lambda p: p.serial + 1, "serial"),
    "subject": ("subject", lambda p: (p.subject[0], (NameOID.COMMON_NAME, "system:node:edge-2")), "subject"),
    "subject in another order": ("subject", lambda p: p.subject[::-1], "subject"),
    "no organization": ("subject", lambda p: p.subject[1:], "subject"),
    "not_before": ("not_before", lambda p: p.not_before - timedelta(seconds=1), "notBefore"),
    "not_after": ("not_after", lambda p: p.not_after + timedelta(seconds=1), "notAfter"),
    "key": ("spki", lambda _: parse.spki(fixed_key(9).public_key()), "public key"),
    "issuer": ("issuer", lambda _: tbs.name(((NameOID.COMMON_NAME, "Edgeward CA other"),)), "issuer"),
    "no names": ("extensions", _extension(x509.SubjectAlternativeName, None), "extensions"),
    "another name": (
        "extensions",
        _extension(x509.SubjectAlternativeName, x509.SubjectAlternativeName([x509.DNSName("evil.example")])),
        "extensions",
    ),
    "a CA": (
        "extensions",
        _extension(x509.BasicConstraints, x509.BasicConstraints(ca=True, path_length=None), True),
        "extensions",
    ),
    "uncritical": (
        "extensions",
        _extension(x509.BasicConstraints, x509.BasicConstraints(ca=False, path_length=None)),
        "extensions",
    ),
    "another purpose": (
        "extensions",
        _extension(x509.ExtendedKeyUsage, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])),
        "extensions",
    ),
    "an extension more": (
        "extensions",
        lambda p: (*p.extensions, tbs.extension(x509.OCSPNoCheck(), False)),
        "extensions",
    ),
    "extensions in another order": ("extensions", lambda p: p.extensions[::-1], "extensions"),
}


@pytest.fixture(params=["the first of its kind", "one of many"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the library has taken apart a certificate like this one before."""
    monkeypatch.setattr(conform, "_understood", set())
    if request.param == "one of many":
        conform.conform(sign(_PLAN, CA_KEY), _PLAN)


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("difference", _DIFFERENCES)
def test_t27_conform_sees_and_names_every_single_difference(difference: str) -> None:
    field, change, named = _DIFFERENCES[difference]
    other = msgspec.structs.replace(_PLAN, **{field: change(_PLAN)})
    der = sign(msgspec.structs.replace(other, name=tbs.name(other.subject)), CA_KEY)
    with pytest.raises(NotConforming) as caught:
        conform.conform(der, _PLAN, CA_KEY.public_key())
    assert caught.value.facts["differences"] == named


def test_t27_conform_names_all_differences_together() -> None:
    other = msgspec.structs.replace(
        _PLAN, serial=1, not_after=_PLAN.not_after + timedelta(days=1), extensions=_PLAN.extensions[:-1]
    )
    with pytest.raises(NotConforming) as caught:
        conform.conform(sign(other, fixed_key(5)), _PLAN, CA_KEY.public_key())
    assert caught.value.facts["differences"] == "serial, notAfter, extensions, signature"


@pytest.mark.usefixtures("kind")
def test_t27_conform_sees_every_changed_octet_of_what_was_signed() -> None:
    der = sign(_PLAN, CA_KEY)
    signed = load(der).tbs_certificate_bytes
    before = der.index(signed)
    for at in range(before, before + len(signed)):
        for octet in (der[at] ^ 1, der[at] ^ 0x80):
            with pytest.raises((NotConforming, Unreadable)):
                conform.conform(der[:at] + bytes((octet,)) + der[at + 1 :], _PLAN)


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("node", ["a", "edge-2", "b" * 52, "a.b.c"])
def test_t27_a_certificate_of_another_node_with_another_key_is_read_by_its_own_plan(node: str) -> None:
    decided = plan(grant=Grant(identity=node), requested=csr.asked_by_key(fixed_key(11).public_key()))
    for _ in range(2):
        conform.conform(sign(decided, CA_KEY), decided)
    with pytest.raises(NotConforming):
        conform.conform(sign(decided, CA_KEY), _PLAN)


@pytest.mark.parametrize(
    "key",
    [
        fixed_key(5),
        fixed_key(5, ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
)
def test_t27_a_signature_of_another_key_than_the_ca_s_is_seen(key: Any) -> None:
    with pytest.raises(NotConforming, match="signature"):
        conform.conform(sign(_PLAN, key), _PLAN, CA_KEY.public_key())
    with pytest.raises(NotConforming, match="signature"):
        conform.conform(sign(_PLAN, CA_KEY), _PLAN, key.public_key())


def test_t27_an_old_version_is_a_difference() -> None:
    der = sign(_PLAN, CA_KEY)
    assert der.count(b"\xa0\x03\x02\x01\x02") == 1
    with pytest.raises((NotConforming, Exception)) as caught:
        conform.conform(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x00"), _PLAN)
    assert type(caught.value).__module__ == "edgeward.errors"


def _lying_name() -> Plan:
    """A plan whose name is encoded as another one, just as long."""
    other = tuple((oid, value.replace("system:nodes", "system:admin")) for oid, value in _PLAN.subject)
    assert other != _PLAN.subject
    return msgspec.structs.replace(_PLAN, name=tbs.name(other))


def _lying_extension() -> Plan:
    """A plan one of whose extensions is encoded as what makes a CA."""
    ca_true = tbs.extension(x509.BasicConstraints(ca=True, path_length=None), True)
    others = tuple(
        ca_true._replace(value=one.value) if isinstance(one.value(), x509.BasicConstraints) else one
        for one in _PLAN.extensions
    )
    return msgspec.structs.replace(_PLAN, extensions=others)


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize(("lying", "difference"), [(_lying_name, "subject"), (_lying_extension, "extensions")])
def test_t27_octets_that_mean_something_else_than_was_planned_are_seen_each_time(
    lying: Callable[[], Plan], difference: str
) -> None:
    decided = lying()
    for _ in range(2):  # a certificate that was refused teaches nothing
        with pytest.raises(NotConforming, match=difference):
            conform.conform(sign(decided, CA_KEY), decided)


@pytest.mark.usefixtures("kind")
def test_t27_a_time_in_another_encoding_than_rfc_5280_asks_for_is_a_difference() -> None:
    utc, generalized = tbs.time(_PLAN.not_before), der.tlv(0x18, b"20" + tbs.time(_PLAN.not_before)[2:])
    validity = der.sequence(utc, tbs.time(_PLAN.not_after))
    tbs_octets = load(sign(_PLAN, CA_KEY)).tbs_certificate_bytes
    inside = tbs_octets[der.span(tbs_octets, 0)[0] :]
    assert inside.count(validity) == 1
    other = der.sequence(inside.replace(validity, der.sequence(generalized, tbs.time(_PLAN.not_after))))
    octets = tbs.certificate(other, tbs.scheme(CA_KEY), bytes(70))
    assert load(octets).not_valid_before_utc == _PLAN.not_before
    with pytest.raises(NotConforming, match="encoding"):
        conform.conform(octets, _PLAN)


def test_the_same_plan_and_key_give_the_same_octets() -> None:
    assert sign(_PLAN, CA_KEY) == sign(_PLAN, CA_KEY)
    assert sign(_PLAN, CA_KEY) != sign(msgspec.structs.replace(_PLAN, serial=SERIAL + 1), CA_KEY)
    certificate = load(sign(_PLAN, CA_KEY))
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert spki == _PLAN.spki
