"""Hostile inputs: they end in milliseconds, with a verdict, and never as valid."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeward.errors import InputError
from edgeward.pki.verify import Budget, Limits, Profile, Question, verify
from tests.pki.verify.support import NOW, Made, ca, crl, failed, judge, leaf

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")

ROOT = ca("CN=Root")


@contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < seconds


@pytest.mark.parametrize("same_subject", [True, False])
@pytest.mark.parametrize("same_key", [True, False])
def test_a_hundred_authorities_that_lead_nowhere(same_subject: bool, same_key: bool) -> None:
    shared = ec.generate_private_key(ec.SECP256R1())
    chain: list[Made] = []
    for number in range(100):
        key = shared if same_key else ec.generate_private_key(ec.SECP256R1())
        subject = "CN=Maze" if same_subject else f"CN=Maze {number}"
        bare = [x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier]
        chain.append(ca(subject, chain[-1] if chain else None, without=bare, key=key))
    end = leaf(chain[-1])
    with within(0.5):
        assert failed(judge(end, [ROOT], chain)) == {"path"}


def test_layers_that_all_sign_each_other_end_at_the_budget() -> None:
    """Ten layers of six authorities with one key a layer: 6 ** 10 paths, and no signature is dear after the first."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(10)]
    chain: list[Made] = []
    above: Made | None = None
    for layer, key in enumerate(keys):
        made = [ca(f"CN=Layer {layer}", above or ca("CN=Nowhere"), key=key) for _ in range(6)]
        chain += made
        above = made[0]
    assert above is not None
    with within(0.5):
        verdict = judge(leaf(above), [ROOT], chain)
    assert failed(verdict) == {"path"}
    assert "budget" in verdict.failures[0].words


def test_a_valid_path_is_found_among_a_hundred_impostors() -> None:
    issuing = ca("CN=Issuing", ROOT)
    impostors = [ca("CN=Issuing", ca("CN=Root")) for _ in range(100)]
    assert judge(leaf(issuing), [ROOT], [*impostors, issuing]).valid


def test_many_names_against_many_constraints_are_refused_without_comparing() -> None:
    names = [x509.DNSName(f"t{number}.test") for number in range(2048)]
    trees = x509.NameConstraints([*names, x509.DNSName("test")], [x509.DNSName(f"x{n}.test") for n in range(2048)])
    root = ca("CN=Root", None, (trees, True))
    end = leaf(root, names=names)
    with within(0.5):
        verdict = judge(end, [root])
    assert failed(verdict) == {"name-constraints"}
    assert "budget" in verdict.failures[0].words


def test_the_length_of_a_path_is_bounded() -> None:
    chain = [ca("CN=0", ROOT)]
    for number in range(1, 40):
        chain.append(ca(f"CN={number}", chain[-1]))
    assert failed(judge(leaf(chain[-1]), [ROOT], chain)) == {"path"}
    assert judge(leaf(chain[20]), [ROOT], chain).valid


def test_more_certificates_than_the_budget_are_not_read() -> None:
    issuing = ca("CN=Issuing", ROOT)
    question = Question(limits=Limits(budget=Budget(certificates=1)))
    verdict = judge(leaf(issuing), [ROOT], [ROOT, issuing], question)
    assert failed(verdict) == {"path"}
    assert verdict.rejected[0].reason == "only the first 1 were read"


def test_a_spent_budget_never_makes_a_verdict_valid() -> None:
    issuing = ca("CN=Issuing", ROOT)
    end, lists = leaf(issuing), [crl(ROOT), crl(issuing)]
    for signatures in range(4):
        question = Question(limits=Limits(budget=Budget(signatures=signatures)))
        assert not judge(end, [ROOT], [issuing], question, crl=lists).valid
    enough = Question(limits=Limits(budget=Budget(signatures=4)))
    assert judge(end, [ROOT], [issuing], enough, crl=lists).valid


ISSUING = ca("CN=Issuing", ROOT)
LEAF = leaf(ISSUING)
LISTS = [crl(ROOT), crl(ISSUING, LEAF)]


@settings(deadline=None, max_examples=200)
@given(st.randoms(use_true_random=False), st.integers(0, 3), st.integers(1, 6), st.sampled_from(Profile))
def test_changed_octets_give_a_verdict_or_are_unreadable(
    rng: random.Random, which: int, changes: int, profile: Profile
) -> None:
    parts = [LEAF.der, ISSUING.der, ROOT.der, LISTS[1]]
    octets = bytearray(parts[which])
    for _ in range(changes):
        octets[rng.randrange(len(octets))] = rng.randrange(256)
    parts[which] = bytes(octets)
    try:
        verdict = verify(
            parts[0],
            now=NOW,
            anchors=[parts[2]],
            intermediates=[parts[1]],
            question=Question(profile=profile),
            crl=[LISTS[0], parts[3]],
        )
    except InputError:
        return
    assert not verdict.valid, "the leaf is revoked, and nothing that was changed is signed"


@given(st.binary(max_size=200))
def test_octets_of_any_kind_are_refused_in_order(octets: bytes) -> None:
    with pytest.raises(InputError):
        verify(octets, now=NOW, anchors=[ROOT.der])
    verdict = verify(LEAF.der, now=NOW, anchors=[octets], intermediates=[octets], crl=[octets], ocsp_responses=[octets])
    assert not verdict.valid
    assert len(verdict.rejected) == 4
