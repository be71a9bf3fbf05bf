"""NIST PKITS, every sub-test with its policies: path, revocation and outcome as the suite's document says."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import cryptography_vectors
import pytest
from cryptography import x509

from edgeward.errors import Unreadable
from edgeward.pki.verify import ANY_POLICY, Algorithms, Limits, PolicyInputs, Question, Revocation, Verdict, verify
from tests.pki.verify.pkits_cases import CASES, PkitsCase

DATA = Path(cryptography_vectors.__file__).parent / "x509" / "PKITS_data"
NOW = datetime(2015, 6, 1, tzinfo=UTC)

DEVIATIONS = {
    "4.1.5": "the library does not read a DSA key whose parameters are inherited (RFC 3279 section 2.3.2)",
}

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")


@cache
def certificate(name: str) -> bytes:
    return (DATA / "certs" / f"{name}.crt").read_bytes()


@cache
def authorities() -> dict[str, list[bytes]]:
    """The CA certificates by subject, as a directory finds them; the unreadable ones are left out."""
    found: dict[str, list[bytes]] = {}
    for path in sorted((DATA / "certs").glob("*Cert.crt")):
        try:
            parsed = x509.load_der_x509_certificate(path.read_bytes())
        except ValueError:
            continue
        found.setdefault(key(parsed.subject), []).append(path.read_bytes())
    return found


@cache
def lists() -> dict[str, list[bytes]]:
    """The CRLs by issuer."""
    found: dict[str, list[bytes]] = {}
    for path in sorted((DATA / "crls").glob("*.crl")):
        parsed = x509.load_der_x509_crl(path.read_bytes())
        found.setdefault(key(parsed.issuer), []).append(path.read_bytes())
    return found


def key(name: x509.Name) -> str:
    """A coarse name, so that the directory finds what the engine then compares exactly."""
    return "|".join("".join(str(attribute.value).lower().split()) for attribute in name)


def wanted_names(parsed: x509.Certificate) -> Iterator[x509.Name]:
    """Whose certificates and CRLs a directory client would fetch for this certificate."""
    yield parsed.issuer
    try:
        points = parsed.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return
    for point in points:
        for name in point.crl_issuer or ():
            yield name.value


def material(leaf: bytes) -> tuple[list[bytes], list[bytes]]:
    """Every certificate and CRL that the names lead to, from the leaf upwards."""
    seen: set[str] = set()
    certificates: list[bytes] = []
    crls: list[bytes] = []
    waiting = [leaf]
    while waiting:
        for name in wanted_names(x509.load_der_x509_certificate(waiting.pop())):
            if key(name) in seen:
                continue
            seen.add(key(name))
            waiting += authorities().get(key(name), [])
            certificates += authorities().get(key(name), [])
            crls += lists().get(key(name), [])
    return certificates, crls


def judge(case: PkitsCase) -> Verdict:
    leaf = certificate(f"{case.leaf}EE")
    certificates, crls = material(leaf)
    policies = PolicyInputs(
        acceptable=case.acceptable or frozenset((ANY_POLICY,)),
        require_explicit=case.explicit,
        inhibit_mapping=case.no_mapping,
        inhibit_any=case.no_any,
    )
    question = Question(algorithms=Algorithms.LEGACY, revocation=Revocation.CHAIN, limits=Limits(policies=policies))
    return verify(
        leaf,
        now=NOW,
        anchors=[certificate("TrustAnchorRootCertificate")],
        intermediates=certificates,
        question=question,
        crl=crls,
    )


def parameter(case: PkitsCase) -> object:
    """The case, marked when it is a known deviation. The reader refuses the leaf before there is a verdict."""
    marks = ()
    if case.number in DEVIATIONS:
        marks = (pytest.mark.xfail(strict=True, raises=(Unreadable, ValueError), reason=DEVIATIONS[case.number]),)
    return pytest.param(case, id=case.id, marks=marks)


@pytest.mark.parametrize("case", [parameter(case) for case in CASES])
def test_pkits(case: PkitsCase) -> None:
    verdict = judge(case)
    assert verdict.valid is case.valid, [check.words for check in verdict.failures]


def test_every_end_entity_certificate_of_the_suite_is_in_a_case() -> None:
    leaves = {path.name.removesuffix("EE.crt") for path in (DATA / "certs").glob("*EE.crt")}
    assert {case.leaf for case in CASES} == leaves
