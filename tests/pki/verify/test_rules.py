"""The rules of the path, one at a time: each certificate breaks one rule and no other."""

import json
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, padding, rsa

from edgeward.errors import Unreadable, UsageError
from edgeward.pki.verify import Algorithms, KeyUse, Limits, Profile, Purpose, Question, verify
from tests.pki.verify.support import DAY, NOW, Made, ca, failed, judge, leaf, make, name, usage

ROOT = ca("CN=Root")
ISSUING = ca("CN=Issuing", ROOT)
LEAF = leaf(ISSUING)


def test_a_plain_chain_is_valid_in_every_profile_that_it_claims() -> None:
    for profile in (Profile.DEVICE, Profile.RFC5280):
        verdict = judge(LEAF, [ROOT], [ISSUING], Question(profile=profile, purpose=Purpose.SERVER))
        assert verdict.valid, verdict.failures
    assert [step.subject for step in verdict.path] == ["CN=edge.example.com", "CN=Issuing", "CN=Root"]
    assert [step.anchor for step in verdict.path] == [False, False, True]


def test_without_anchors_nothing_is_valid() -> None:
    assert failed(judge(LEAF, [], [ISSUING, ROOT])) == {"path"}


def test_a_missing_intermediate_is_named() -> None:
    verdict = judge(LEAF, [ROOT])
    assert failed(verdict) == {"path"}
    assert "CN=Issuing" in verdict.failures[0].words
    assert "--chain" in verdict.failures[0].remedy


def test_a_signature_of_another_key_is_no_edge() -> None:
    impostor = ca("CN=Root")
    verdict = judge(LEAF, [impostor], [ISSUING])
    assert failed(verdict) == {"path"}
    assert "does not verify" in verdict.failures[0].words


def test_a_flipped_bit_of_the_leaf_is_noticed() -> None:
    der = bytearray(LEAF.der)
    der[-1] ^= 1
    verdict = verify(bytes(der), now=NOW, anchors=[ROOT.der], intermediates=[ISSUING.der])
    assert failed(verdict) == {"path"}


@pytest.mark.parametrize("second", [timedelta(0), timedelta(milliseconds=999)])
def test_both_ends_of_the_validity_belong_to_it(second: timedelta) -> None:
    root = ca("CN=Root", not_before=NOW, not_after=NOW)
    assert judge(leaf(root, not_before=NOW, not_after=NOW), [root], now=NOW + second).valid


@pytest.mark.parametrize("offset", [timedelta(seconds=-1), timedelta(milliseconds=-1), timedelta(seconds=1)])
def test_a_second_outside_the_validity_is_too_much(offset: timedelta) -> None:
    root = ca("CN=Root", not_before=NOW - 9 * DAY, not_after=NOW + 9 * DAY)
    verdict = judge(leaf(root, not_before=NOW, not_after=NOW), [root], now=NOW + offset)
    assert failed(verdict) == {"validity"}


@pytest.mark.parametrize("expired", ["root", "issuing"])
def test_an_expired_authority_fails_the_path(expired: str) -> None:
    late = {"not_before": NOW - 9 * DAY, "not_after": NOW - DAY}
    root = ca("CN=Root", **(late if expired == "root" else {}))
    issuing = ca("CN=Issuing", root, **(late if expired == "issuing" else {}))
    assert failed(judge(leaf(issuing), [root], [issuing])) == {"validity"}


def test_a_naive_time_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        verify(LEAF.der, now=NOW.replace(tzinfo=None), anchors=[ROOT.der])


@pytest.mark.parametrize("der", [b"", b"\x30\x03\x02\x01\x01", b"-----BEGIN CERTIFICATE-----", LEAF.der + b"\0"])
def test_an_unreadable_leaf_raises(der: bytes) -> None:
    with pytest.raises(Unreadable):
        verify(der, now=NOW, anchors=[ROOT.der])


def test_other_unreadable_inputs_are_listed_and_not_used() -> None:
    verdict = verify(LEAF.der, now=NOW, anchors=[ROOT.der, b"junk"], intermediates=[b"junk", ISSUING.der])
    assert verdict.valid
    assert {rejected.path for rejected in verdict.rejected} == {("anchor 2",), ("certificate 1",)}


def test_an_intermediate_that_is_not_a_ca_issues_nothing() -> None:
    no = ca("CN=Issuing", ROOT, (x509.BasicConstraints(False, None), True))
    assert failed(judge(leaf(no), [ROOT], [no])) == {"basic-constraints"}
    none = ca("CN=Issuing", ROOT, without=[x509.BasicConstraints])
    assert failed(judge(leaf(none), [ROOT], [none])) == {"basic-constraints"}


def test_an_anchor_that_is_not_a_ca_issues_nothing() -> None:
    root = ca("CN=Root", without=[x509.BasicConstraints])
    assert failed(judge(leaf(root), [root])) == {"basic-constraints"}


def test_key_usage_must_let_an_authority_sign_when_it_is_there() -> None:
    mute = ca("CN=Issuing", ROOT, (usage(crl_sign=True), True))
    assert failed(judge(leaf(mute), [ROOT], [mute])) == {"key-usage"}
    silent = ca("CN=Issuing", ROOT, without=[x509.KeyUsage])
    assert judge(leaf(silent), [ROOT], [silent]).valid


def test_an_anchor_whose_key_usage_forbids_signing_issues_nothing() -> None:
    root = ca("CN=Root", None, (usage(digital_signature=True), True))
    assert failed(judge(leaf(root), [root])) == {"key-usage"}


@pytest.mark.parametrize("place", ["leaf", "issuing", "root"])
def test_an_unknown_critical_extension_fails_where_it_is_used(place: str) -> None:
    odd = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b""), True)
    root = ca("CN=Root", None, *([odd] if place == "root" else []))
    issuing = ca("CN=Issuing", root, *([odd] if place == "issuing" else []))
    end = leaf(issuing, *([odd] if place == "leaf" else []))
    assert failed(judge(end, [root], [issuing])) == {"critical-extensions"}
    unrelated = ca("CN=Elsewhere", None, odd)
    assert judge(LEAF, [ROOT, unrelated], [ISSUING, unrelated]).valid


# ------------------------------------------------------------------------------------------------------------- lengths


def chain_of(root: Made, *lengths: int | None) -> list[Made]:
    found = [root]
    for number, length in enumerate(lengths):
        found.append(ca(f"CN=CA {number}", found[-1], path_length=length))
    return found[1:]


@pytest.mark.parametrize(
    ("lengths", "fine"),
    [
        ((0,), True),
        ((1,), True),
        ((1, 2), True),
        ((1, 0), True),
        ((0, 0), False),
        ((1, 0, 0), False),
        ((2, 1, 0), True),
    ],
)
def test_path_lengths_count_the_authorities_below(lengths: tuple[int, ...], fine: bool) -> None:
    chain = chain_of(ROOT, *lengths)
    assert failed(judge(leaf(chain[-1]), [ROOT], chain)) == (set() if fine else {"path-length"})


def test_an_anchors_path_length_counts() -> None:
    root = ca("CN=Root", path_length=0)
    issuing = ca("CN=Issuing", root)
    assert judge(leaf(root), [root]).valid
    assert failed(judge(leaf(issuing), [root], [issuing])) == {"path-length"}


def test_the_leaf_does_not_count_even_when_it_is_a_ca() -> None:
    first = ca("CN=First", ROOT, path_length=0)
    assert judge(ca("CN=Second", first, path_length=0), [ROOT], [first]).valid


def test_self_issued_certificates_do_not_count() -> None:
    first = ca("CN=Same", ROOT, path_length=1)
    again = ca("CN=Same", first, path_length=1)
    last = ca("CN=Last", again, path_length=0)
    assert judge(leaf(last), [ROOT], [first, again, last]).valid
    one = Question(limits=Limits(intermediates=2))
    assert judge(leaf(last), [ROOT], [first, again, last], one).valid


def test_the_caller_may_bound_the_intermediates() -> None:
    assert judge(leaf(ROOT), [ROOT], [], Question(limits=Limits(intermediates=0))).valid
    assert failed(judge(LEAF, [ROOT], [ISSUING], Question(limits=Limits(intermediates=0)))) == {"path-length"}
    assert judge(LEAF, [ROOT], [ISSUING], Question(limits=Limits(intermediates=1))).valid


# ------------------------------------------------------------------------------------------------------------- purpose


def eku(*oids: x509.ObjectIdentifier) -> tuple[x509.ExtendedKeyUsage, bool]:
    return x509.ExtendedKeyUsage(oids), False


def test_the_purpose_must_be_in_the_leafs_extended_key_usage() -> None:
    client = leaf(ROOT, eku(x509.OID_CLIENT_AUTH))
    assert judge(client, [ROOT], [], Question(purpose=Purpose.CLIENT)).valid
    assert failed(judge(client, [ROOT], [], Question(purpose=Purpose.SERVER))) == {"purpose"}
    assert judge(client, [ROOT], [], Question(purpose=Purpose.ANY)).valid


def test_no_extended_key_usage_and_any_purpose_limit_nothing() -> None:
    for end in (
        leaf(ROOT, without=[x509.ExtendedKeyUsage]),
        leaf(ROOT, eku(x509.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)),
    ):
        assert judge(end, [ROOT], [], Question(purpose=Purpose.SERVER)).valid


def test_an_authoritys_extended_key_usage_limits_what_is_below() -> None:
    mail = ca("CN=Mail", ROOT, eku(x509.ExtendedKeyUsageOID.EMAIL_PROTECTION))
    assert failed(judge(leaf(mail), [ROOT], [mail], Question(purpose=Purpose.SERVER))) == {"purpose"}
    assert judge(leaf(mail), [ROOT], [mail]).valid


def test_key_usage_can_be_asked_of_the_leaf() -> None:
    asked = Question(limits=Limits(key_usage=frozenset((KeyUse.KEY_ENCIPHERMENT,))))
    assert failed(judge(LEAF, [ROOT], [ISSUING], asked)) == {"leaf-key-usage"}
    asked = Question(limits=Limits(key_usage=frozenset((KeyUse.DIGITAL_SIGNATURE,))))
    assert judge(LEAF, [ROOT], [ISSUING], asked).valid


# ---------------------------------------------------------------------------------------------------------- algorithms

RSA_1024 = rsa.generate_private_key(65537, 1024)
RSA_2048 = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    ("key", "digest"),
    [
        (RSA_2048, hashes.SHA256()),
        (ec.generate_private_key(ec.SECP384R1()), hashes.SHA384()),
        (ec.generate_private_key(ec.SECP521R1()), hashes.SHA512()),
        (ed25519.Ed25519PrivateKey.generate(), None),
        (ed448.Ed448PrivateKey.generate(), None),
        (mldsa.MLDSA44PrivateKey.generate(), None),
        (mldsa.MLDSA65PrivateKey.generate(), None),
        (mldsa.MLDSA87PrivateKey.generate(), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_current_algorithms_verify(key: object, digest: hashes.HashAlgorithm | None) -> None:
    root = make("CN=Root", extensions=[(x509.BasicConstraints(True, None), True)], key=key, digest=digest)
    end = make("CN=end", root, digest=digest)
    assert judge(end, [root]).valid
    broken = bytearray(end.der)
    broken[-1] ^= 1
    assert not verify(bytes(broken), now=NOW, anchors=[root.der]).valid


def test_weak_keys_and_digests_are_refused_unless_legacy_is_asked_for() -> None:
    old = Question(algorithms=Algorithms.LEGACY)
    small = make("CN=Root", extensions=[(x509.BasicConstraints(True, None), True)], key=RSA_1024)
    assert failed(judge(make("CN=end", small), [small])) >= {"path"}
    assert judge(make("CN=end", small), [small], [], old).valid


def signed_with_sha1(made: Made, key: rsa.RSAPrivateKey) -> bytes:
    """The certificate again, signed with SHA-1, which the library no longer signs certificates with."""
    sha256, sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    octets = made.certificate.tbs_certificate_bytes
    patched = octets.replace(sha256, sha1)
    signature = key.sign(patched, padding.PKCS1v15(), hashes.SHA1())
    return made.der.replace(octets, patched).replace(sha256, sha1).replace(made.certificate.signature, signature)


def test_sha1_is_refused_unless_legacy_is_asked_for() -> None:
    root = make("CN=Root", extensions=[(x509.BasicConstraints(True, None), True)], key=RSA_2048)
    der = signed_with_sha1(make("CN=end", root), RSA_2048)
    assert failed(verify(der, now=NOW, anchors=[root.der])) == {"path"}
    assert verify(der, now=NOW, anchors=[root.der], question=Question(algorithms=Algorithms.LEGACY)).valid


def test_the_leafs_own_key_must_be_strong_as_well() -> None:
    for key in (RSA_1024, dsa.generate_private_key(1024), ec.generate_private_key(ec.SECP256K1())):
        assert failed(judge(make("CN=end", ROOT, key=key), [ROOT])) == {"key"}


def test_rsa_pss_verifies() -> None:
    root = make("CN=Root", extensions=[(x509.BasicConstraints(True, None), True)], key=RSA_2048)
    builder = x509.CertificateBuilder(root.name, name("CN=end"), LEAF.key.public_key(), 7, NOW - DAY, NOW + DAY)
    from_pss = builder.sign(RSA_2048, hashes.SHA256(), rsa_padding=padding.PSS(padding.MGF1(hashes.SHA256()), 32))
    assert judge(Made(from_pss, LEAF.key), [root]).valid


# ---------------------------------------------------------------------------------------------------------------- paths


def test_an_expired_alternative_does_not_hide_a_valid_path() -> None:
    other = ca("CN=Other")
    expired = ca("CN=Root", other, key=ROOT.key, not_after=NOW - DAY)
    verdict = judge(LEAF, [ROOT, other], [expired, ISSUING])
    assert verdict.valid
    verdict = judge(LEAF, [other], [expired, ISSUING, ROOT])
    assert failed(verdict) == {"validity"}


def test_a_path_through_a_trusted_intermediate_ignores_the_root() -> None:
    assert judge(LEAF, [ISSUING], [ROOT]).valid


def test_mutual_cross_certificates_do_not_loop() -> None:
    keys = {letter: ec.generate_private_key(ec.SECP256R1()) for letter in "ABC"}
    selves = {letter: ca(f"CN={letter}", key=keys[letter]) for letter in "ABC"}
    crosses = [ca(f"CN={to}", selves[by], key=keys[to]) for to in "ABC" for by in "ABC" if to != by]
    end = leaf(selves["A"])
    assert judge(end, [selves["C"]], crosses).valid
    assert not judge(end, [ROOT], crosses).valid


def test_the_second_of_two_candidates_is_found_and_the_first_is_reported() -> None:
    constrained = ca("CN=Root 1", None, (x509.NameConstraints([x509.DNSName("other.test")], None), True))
    free = ca("CN=Root 2")
    key = ec.generate_private_key(ec.SECP256R1())
    one, two = ca("CN=Issuing", constrained, key=key), ca("CN=Issuing", free, key=key)
    verdict = judge(leaf(one), [constrained, free], [one, two])
    assert verdict.valid
    assert [step.subject for step in verdict.path][-1] == "CN=Root 2"
    assert any("CN=Root 1" in rejected.path for rejected in verdict.rejected)


def test_a_leaf_that_is_an_anchor_is_trusted_as_it_stands() -> None:
    alone = make("CN=alone")
    verdict = judge(alone, [alone])
    assert verdict.valid
    assert len(verdict.path) == 1
    assert failed(judge(make("CN=alone", not_after=NOW - DAY), [alone])) >= {"path"}


def test_the_verdict_is_json() -> None:
    verdict = judge(LEAF, [ROOT])
    assert json.loads(json.dumps(verdict.as_json()))["checks"][-1]["remedy"]
