"""CRLs and OCSP: RFC 5280 section 6.3 and RFC 6960. Scopes, reasons, indirect and delta CRLs in full are PKITS 4.4,
4.14, 4.15.
"""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from edgeward.pki.verify import Profile, Question, Revocation, Verdict
from tests.pki.verify.support import (
    DAY,
    NOW,
    Made,
    ca,
    crl,
    entry,
    failed,
    judge,
    leaf,
    make,
    name,
    ocsp_response,
    usage,
)

ROOT = ca("CN=Root")
ISSUING = ca("CN=Issuing", ROOT)
LEAF = leaf(ISSUING)
ROOT_CRL, CRL = crl(ROOT), crl(ISSUING)


def ask(
    crls: Sequence[bytes] = (),
    responses: Sequence[bytes] = (),
    end: Made = LEAF,
    chain: Sequence[Made] = (ISSUING,),
    question: Question | None = None,
) -> Verdict:
    return judge(end, [ROOT], chain, question, crl=crls, ocsp_responses=responses)


def test_without_evidence_revocation_is_not_looked_at_and_that_is_said() -> None:
    verdict = ask()
    assert verdict.valid
    assert [check.outcome for check in verdict.checks if check.id == "revocation"] == ["skip"]


def test_with_evidence_every_certificate_must_be_known_to_be_good() -> None:
    assert ask([ROOT_CRL, CRL]).valid
    assert failed(ask([CRL])) == {"revocation"}
    assert failed(ask([ROOT_CRL])) == {"revocation"}
    assert ask([CRL], question=Question(revocation=Revocation.LEAF)).valid
    assert ask([crl(ISSUING, LEAF)], question=Question(revocation=Revocation.NONE)).valid
    assert failed(ask(question=Question(revocation=Revocation.CHAIN))) == {"revocation"}


def test_evidence_that_cannot_be_read_is_still_evidence_that_was_wanted() -> None:
    assert failed(ask([b"junk"])) == {"revocation"}


def test_a_revoked_leaf_and_a_revoked_authority_fail() -> None:
    verdict = ask([ROOT_CRL, crl(ISSUING, LEAF)])
    assert failed(verdict) == {"revocation"}
    assert verdict.failures[0].words.startswith("it is revoked")
    verdict = ask([crl(ROOT, ISSUING), CRL])
    assert verdict.failures[0].position == 1


@pytest.mark.parametrize(
    "stale",
    [
        crl(ISSUING, this_update=NOW - 3 * DAY, next_update=NOW - timedelta(seconds=1)),
        crl(ISSUING, this_update=NOW + timedelta(seconds=1)),
        crl(make("CN=Issuing")),
        crl(ISSUING, extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\5\0"), True)]),
    ],
    ids=["expired", "not yet", "impostor", "critical"],
)
def test_a_list_that_may_not_be_used_says_nothing(stale: bytes) -> None:
    verdict = ask([ROOT_CRL, stale])
    assert failed(verdict) == {"revocation"}
    assert "nothing says" in verdict.failures[0].words


def test_the_signer_must_be_allowed_to_sign_lists() -> None:
    mute = ca("CN=Issuing", ROOT, (usage(key_cert_sign=True), True))
    assert failed(ask([ROOT_CRL, crl(mute)], end=leaf(mute), chain=[mute])) == {"revocation"}
    silent = ca("CN=Issuing", ROOT, without=[x509.KeyUsage])
    assert ask([ROOT_CRL, crl(silent)], end=leaf(silent), chain=[silent]).valid


def test_the_form_of_lists_counts_in_the_profiles_that_ask_for_form() -> None:
    bare = crl(ISSUING, number=None)
    assert ask([ROOT_CRL, bare]).valid
    assert failed(ask([ROOT_CRL, bare], question=Question(profile=Profile.RFC5280))) == {"revocation"}
    critical = crl(ISSUING, number=None, extensions=[(x509.CRLNumber(3), True)])
    assert failed(ask([ROOT_CRL, critical], question=Question(profile=Profile.RFC5280))) == {"revocation"}


def test_a_signer_of_the_same_name_under_another_anchor_is_not_believed() -> None:
    other_root = ca("CN=Other Root")
    other = ca("CN=Issuing", other_root)
    verdict = judge(LEAF, [ROOT, other_root], [ISSUING, other], crl=[ROOT_CRL, crl(other_root), crl(other)])
    assert failed(verdict) == {"revocation"}
    assert "no valid path to the anchor" in verdict.failures[0].words


def test_a_separate_signer_is_believed_until_it_is_revoked() -> None:
    signer = make(
        "CN=Issuing",
        ROOT,
        extensions=[(usage(crl_sign=True), True), (x509.SubjectKeyIdentifier(b"separate"), False)],
    )
    by_signer = crl(signer)
    assert ask([ROOT_CRL, by_signer], chain=[ISSUING, signer]).valid
    assert failed(ask([crl(ROOT, signer), by_signer], chain=[ISSUING, signer])) == {"revocation"}


# --------------------------------------------------------------------------------------------------------------- scopes


def scope(**fields: object) -> tuple[x509.IssuingDistributionPoint, bool]:
    standard: dict[str, object] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**(standard | fields)), True  # type: ignore[arg-type]


def point(url: str | None, issuer: str | None = None) -> tuple[x509.CRLDistributionPoints, bool]:
    full = [x509.UniformResourceIdentifier(url)] if url else None
    made_by = [x509.DirectoryName(name(issuer))] if issuer else None
    return x509.CRLDistributionPoints([x509.DistributionPoint(full, None, None, made_by)]), False


def test_a_signer_of_lists_cannot_clear_itself() -> None:
    """The signer's own list covers the signer; the issuer's list, at another place, revokes it."""
    ours, theirs = "http://crl.test/leaf", "http://crl.test/signer"
    both = [x509.UniformResourceIdentifier(ours), x509.UniformResourceIdentifier(theirs)]
    own_id = (x509.SubjectKeyIdentifier(b"own"), False)
    signer = make("CN=Issuing", ISSUING, extensions=[(usage(crl_sign=True), True), own_id, point(theirs)])
    end = leaf(ISSUING, point(ours))
    cleared = crl(signer, extensions=[scope(full_name=both)])
    revoked = crl(ISSUING, signer, extensions=[scope(full_name=both[1:])])
    assert ask([ROOT_CRL, cleared], end=end, chain=[ISSUING, signer]).valid
    for lists in ([ROOT_CRL, cleared, revoked], [ROOT_CRL, revoked, cleared]):
        assert failed(ask(lists, end=end, chain=[ISSUING, signer])) == {"revocation"}


def test_kinds_of_certificate_limit_a_list() -> None:
    users, authorities = scope(only_contains_user_certs=True), scope(only_contains_ca_certs=True)
    assert ask([crl(ROOT, extensions=[authorities]), crl(ISSUING, extensions=[users])]).valid
    assert failed(ask([crl(ROOT, extensions=[users]), CRL])) == {"revocation"}
    assert failed(ask([ROOT_CRL, crl(ISSUING, extensions=[authorities])])) == {"revocation"}


def test_a_distribution_points_name_must_match() -> None:
    here, there = "http://crl.test/here", "http://crl.test/there"
    end = leaf(ISSUING, point(here))
    at = crl(ISSUING, extensions=[scope(full_name=[x509.UniformResourceIdentifier(here)])])
    elsewhere = crl(ISSUING, extensions=[scope(full_name=[x509.UniformResourceIdentifier(there)])])
    assert ask([ROOT_CRL, at], end=end).valid
    assert failed(ask([ROOT_CRL, elsewhere], end=end)) == {"revocation"}
    assert failed(ask([ROOT_CRL, at])) == {"revocation"}


def test_some_reasons_need_the_others_as_well() -> None:
    reasons = frozenset(x509.ReasonFlags) - {x509.ReasonFlags.unspecified, x509.ReasonFlags.remove_from_crl}
    some = frozenset((x509.ReasonFlags.key_compromise,))
    one = crl(ISSUING, extensions=[scope(only_some_reasons=some)])
    rest = crl(ISSUING, extensions=[scope(only_some_reasons=reasons - some)])
    assert failed(ask([ROOT_CRL, one])) == {"revocation"}
    assert ask([ROOT_CRL, one, rest]).valid
    revoked = crl(ISSUING, LEAF, extensions=[scope(only_some_reasons=reasons - some)])
    assert failed(ask([ROOT_CRL, one, revoked])) == {"revocation"}


def test_an_indirect_list_speaks_of_the_issuer_that_its_entries_name() -> None:
    end = leaf(ISSUING, point("http://crl.test/", "CN=Lists"))
    signer = ca("CN=Lists", ROOT)
    indirect = scope(indirect_crl=True, full_name=[x509.UniformResourceIdentifier("http://crl.test/")])
    theirs = x509.CertificateIssuer([x509.DirectoryName(name("CN=issuing"))]), True
    serial = end.certificate.serial_number
    for entries, valid in (
        ((entry(serial),), True),
        ((entry(serial, theirs),), False),
        ((entry(1, theirs), entry(serial)), False),
    ):
        verdict = ask([ROOT_CRL, crl(signer, *entries, extensions=[indirect])], end=end, chain=[ISSUING, signer])
        assert verdict.valid is valid


def test_a_delta_adds_and_removes() -> None:
    def delta(*entries: x509.RevokedCertificate, base: int = 1) -> bytes:
        return crl(ISSUING, *entries, number=5, extensions=[(x509.DeltaCRLIndicator(base), True)])

    serial = LEAF.certificate.serial_number
    removed = x509.CRLReason(x509.ReasonFlags.remove_from_crl), False
    hold = x509.CRLReason(x509.ReasonFlags.certificate_hold), False
    assert ask([ROOT_CRL, CRL, delta()]).valid
    assert failed(ask([ROOT_CRL, CRL, delta(entry(serial))])) == {"revocation"}
    assert ask([ROOT_CRL, crl(ISSUING, entry(serial, hold)), delta(entry(serial, removed))]).valid
    assert failed(ask([ROOT_CRL, delta()])) == {"revocation"}
    assert ask([ROOT_CRL, CRL, delta(entry(serial), base=3)]).valid, "the base is too old for this delta"


# ----------------------------------------------------------------------------------------------------------------- OCSP

OCSP_SIGNING = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.OCSP_SIGNING]), False
NO_CHECK = x509.OCSPNoCheck(), False
LEAF_ONLY = Question(revocation=Revocation.LEAF)


def test_the_issuer_answers_for_its_own_certificates() -> None:
    assert ask([ROOT_CRL], [ocsp_response(LEAF, ISSUING, ISSUING)]).valid
    revoked = ocsp_response(LEAF, ISSUING, ISSUING, status=ocsp.OCSPCertStatus.REVOKED)
    assert failed(ask([ROOT_CRL], [revoked])) == {"revocation"}
    unknown = ocsp_response(LEAF, ISSUING, ISSUING, status=ocsp.OCSPCertStatus.UNKNOWN)
    assert failed(ask([ROOT_CRL], [unknown])) == {"revocation"}


def test_revoked_anywhere_is_revoked() -> None:
    good = ocsp_response(LEAF, ISSUING, ISSUING)
    assert failed(ask([ROOT_CRL, crl(ISSUING, LEAF)], [good])) == {"revocation"}
    revoked = ocsp_response(LEAF, ISSUING, ISSUING, status=ocsp.OCSPCertStatus.REVOKED)
    assert failed(ask([ROOT_CRL, CRL], [revoked])) == {"revocation"}


@pytest.mark.parametrize(
    ("extensions", "issuer", "fine"),
    [
        ([OCSP_SIGNING, NO_CHECK], ISSUING, True),
        ([OCSP_SIGNING], ISSUING, False),
        ([NO_CHECK], ISSUING, False),
        ([OCSP_SIGNING, NO_CHECK], ROOT, False),
    ],
    ids=["appointed", "status unknown", "no usage", "by another"],
)
def test_a_delegated_responder_must_be_appointed(extensions: list, issuer: Made, fine: bool) -> None:  # type: ignore[type-arg]
    responder = make("CN=Responder", issuer, extensions=extensions)
    verdict = ask([], [ocsp_response(LEAF, ISSUING, responder)], question=LEAF_ONLY)
    assert failed(verdict) == (set() if fine else {"revocation"})


def test_a_responder_without_no_check_is_looked_up_in_the_lists() -> None:
    responder = make("CN=Responder", ISSUING, extensions=[OCSP_SIGNING])
    response = ocsp_response(LEAF, ISSUING, responder)
    assert ask([CRL], [response], question=LEAF_ONLY).valid


@pytest.mark.parametrize(
    ("this_update", "next_update", "fine"),
    [
        (NOW - DAY, NOW + DAY, True),
        (NOW - 3 * DAY, NOW - DAY, False),
        (NOW + DAY, NOW + 2 * DAY, False),
        (NOW - timedelta(hours=1), None, True),
        (NOW - 2 * DAY, None, False),
    ],
)
def test_a_response_has_its_time(this_update: object, next_update: object, fine: bool) -> None:
    response = ocsp_response(LEAF, ISSUING, ISSUING, this_update=this_update, next_update=next_update)  # type: ignore[arg-type]
    assert ask([], [response], question=LEAF_ONLY).valid is fine


def test_a_response_about_another_certificate_says_nothing() -> None:
    assert failed(ask([], [ocsp_response(leaf(ISSUING), ISSUING, ISSUING)], question=LEAF_ONLY)) == {"revocation"}


def test_a_forged_response_says_nothing() -> None:
    forged = bytearray(ocsp_response(LEAF, ISSUING, ISSUING))
    forged[-1] ^= 1
    assert failed(ask([], [bytes(forged)], question=LEAF_ONLY)) == {"revocation"}
    failure = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    assert failed(ask([], [failure.public_bytes(Encoding.DER)], question=LEAF_ONLY)) == {"revocation"}
