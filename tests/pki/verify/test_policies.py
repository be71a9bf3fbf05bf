"""Certificate policies: RFC 9618. The full table is PKITS sections 4.8 to 4.12; here are the corners beyond it."""

import time

import pytest
from cryptography import x509

from edgeward.errors import UsageError
from edgeward.pki.verify import ANY_POLICY, Limits, PolicyInputs, Question
from tests.pki.verify.support import Extension, Made, ca, failed, judge, leaf

P = [f"1.3.6.1.4.1.99999.7.{number}" for number in range(10)]
ROOT = ca("CN=Root")


def policies(*oids: str) -> Extension:
    return x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(oid), None) for oid in oids]), False


def mappings(*pairs: tuple[str, str]) -> Extension:
    def tlv(tag: int, content: bytes) -> bytes:
        size = len(content)
        length = (
            bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big") if size > 255 else bytes([0x81, size])
        )
        return bytes([tag]) + length + content

    def oid(dotted: str) -> bytes:
        arcs = [int(arc) for arc in dotted.split(".")]
        octets = b""
        for arc in (arcs[0] * 40 + arcs[1], *arcs[2:]):
            parts = [arc & 0x7F]
            while arc := arc >> 7:
                parts.append(arc & 0x7F | 0x80)
            octets += bytes(reversed(parts))
        return tlv(6, octets)

    content = b"".join(tlv(0x30, oid(one) + oid(other)) for one, other in pairs)
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.33"), tlv(0x30, content)), True


def explicit(*acceptable: str) -> Question:
    inputs = PolicyInputs(acceptable=frozenset(acceptable or (ANY_POLICY,)), require_explicit=True)
    return Question(limits=Limits(policies=inputs))


def test_the_policies_of_the_path_are_reported_in_the_anchors_domain() -> None:
    issuing = ca("CN=Issuing", ROOT, policies(P[0], P[1]), mappings((P[0], P[5])))
    verdict = judge(leaf(issuing, policies(P[5])), [ROOT], [issuing], explicit())
    assert verdict.valid
    assert verdict.policies == (P[0],)
    assert judge(leaf(issuing, policies(P[5])), [ROOT], [issuing], explicit(P[0])).valid
    assert failed(judge(leaf(issuing, policies(P[5])), [ROOT], [issuing], explicit(P[5]))) == {"policies"}


def test_a_leaf_without_policies_has_none() -> None:
    issuing = ca("CN=Issuing", ROOT, policies(ANY_POLICY))
    assert judge(leaf(issuing), [ROOT], [issuing]).valid
    assert failed(judge(leaf(issuing), [ROOT], [issuing], explicit())) == {"policies"}


def test_any_policy_all_the_way_admits_what_is_acceptable() -> None:
    issuing = ca("CN=Issuing", ROOT, policies(ANY_POLICY))
    verdict = judge(leaf(issuing, policies(ANY_POLICY)), [ROOT], [issuing], explicit(P[3]))
    assert verdict.valid
    assert verdict.policies == (P[3],)


def test_no_acceptable_policy_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        PolicyInputs(acceptable=frozenset())


def test_a_malformed_mapping_makes_the_certificate_unreadable() -> None:
    value = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.33"), b"\x30\x02\x30\x00")
    issuing = ca("CN=Issuing", ROOT, policies(P[0]), (value, True))
    verdict = judge(leaf(issuing), [ROOT], [issuing])
    assert failed(verdict) == {"path"}
    assert "policyMappings" in verdict.rejected[0].reason


def test_mappings_that_multiply_stay_small() -> None:
    """Each level maps every policy to every policy: a tree would have 6 ** 20 leaves, the graph has 6 nodes a level."""
    every = P[:6]
    chain: list[Made] = []
    for level in range(20):
        above = chain[-1] if chain else ROOT
        cross = mappings(*((one, other) for one in every for other in every))
        chain.append(ca(f"CN=Level {level}", above, policies(*every), cross))
    end = leaf(chain[-1], policies(*every))
    start = time.process_time()
    verdict = judge(end, [ROOT], chain, explicit())
    assert verdict.valid
    assert time.process_time() - start < 0.5
