"""Certificates of KubeEdge's making, by the rules under which one is taken over."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeward.errors import Unreadable
from edgeward.pki import kubeedge
from tests.support.kubeedge_cloud import LEGACY, Cloud, edge
from tests.support.world import NOON, new_key

CLOUD = Cloud.new(now=NOON - timedelta(days=1))
LATER = NOON + timedelta(hours=1)


def judged(
    subject: Any = None, key: Any = None, at: datetime = LATER, cloud: Cloud = CLOUD, **changes: Any
) -> set[str]:
    der = cloud.issue(subject or edge("edge-1"), key or new_key(), now=NOON, **changes)
    return {id_ for id_, _ in kubeedge.judge(der, CLOUD.certificate, at).problems}


@pytest.fixture
def vectors(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("kubeedge")  # the module under test has that name here


def test_what_a_real_cloud_issued_is_good(vectors: dict[str, Any]) -> None:
    for one in vectors["edge_certificates"]:
        leaf, ca = x509.load_der_x509_certificate(one["leaf_der"]), x509.load_der_x509_certificate(one["ca_der"])
        found = kubeedge.judge(one["leaf_der"], ca, leaf.not_valid_before_utc)
        assert (found.node, found.problems, found.legacy) == (one["node"], (), False)


def test_a_certificate_as_cloudcore_makes_it_is_good() -> None:
    assert judged() == set()
    assert judged(key=rsa.generate_private_key(65537, 2048)) == set()
    assert judged(extra=((x509.SubjectAlternativeName([x509.DNSName("edge-1")]), False),)) == set()


ORGANIZATION, COMMON_NAME = NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cloud": Cloud.new(now=NOON)}, "foreign"),
        ({"subject": [(ORGANIZATION, "system:masters"), (COMMON_NAME, "system:node:edge-1")]}, "subject"),
        ({"subject": [*edge("edge-1"), (COMMON_NAME, "system:node:edge-2")]}, "subject"),
        ({"subject": [*edge("edge-1"), (ORGANIZATION, "system:masters")]}, "subject"),
        ({"subject": [*edge("edge-1"), (NameOID.LOCALITY_NAME, "Hangzhou")]}, "subject"),
        ({"subject": edge("Edge_1")}, "subject"),
        ({"subject": edge("../x")}, "subject"),
        ({"subject": [(COMMON_NAME, "system:node:edge-1")]}, "subject"),
        ({"subject": LEGACY}, "legacy-identity"),
        ({"usages": ()}, "purpose"),
        ({"usages": (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)}, "purpose"),
        ({"usages": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)}, "purpose"),
        ({"extra": ((x509.BasicConstraints(ca=True, path_length=None), True),)}, "ca"),
        ({"at": NOON - timedelta(seconds=1)}, "not-yet-valid"),
        ({"at": NOON + timedelta(days=365, seconds=1)}, "expired"),
        ({"key": ec.generate_private_key(ec.SECP256K1())}, "weak-key"),
        ({"key": CLOUD.key}, "ca-key"),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_each_rule_refuses_alone(changes: dict[str, Any], problem: str) -> None:
    assert judged(**changes) == {problem}


def test_every_broken_rule_is_named() -> None:
    assert judged(subject=LEGACY, usages=(), at=NOON + timedelta(days=400)) == {"legacy-identity", "purpose", "expired"}


@pytest.mark.parametrize("organization", ["kubeEdge", "KubeEdge"])
def test_the_identity_of_old_edges_names_nobody(organization: str) -> None:
    der = CLOUD.issue([(ORGANIZATION, organization), (COMMON_NAME, "kubeedge.io")], new_key(), now=NOON)
    found = kubeedge.judge(der, CLOUD.certificate, LATER)
    assert (found.legacy, found.node) == (True, None)


def test_garbage_is_unreadable() -> None:
    for octets in (b"", b"x", CLOUD.der[:-1], CLOUD.der + b"\0"):
        with pytest.raises(Unreadable):
            kubeedge.judge(octets, CLOUD.certificate, NOON)
