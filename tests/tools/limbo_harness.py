"""The x509-limbo convention: a suite as JSON on stdin, the results of `verify` as JSON on stdout.

    python tests/tools/limbo_harness.py < limbo.json > results.json

The switches of `verify` follow from a case's namespace, features and fields; its id and its expected result are never
looked at.
"""

import base64
import json
import sys
import warnings
from datetime import UTC, datetime
from typing import Any

from cryptography.utils import CryptographyDeprecationWarning

from edgeward.errors import InputError
from edgeward.pki.verify import (
    KeyUse,
    Limits,
    NameKind,
    PeerName,
    Profile,
    Purpose,
    Question,
    Verdict,
    verify,
)

PROFILES = {
    "bettertls": Profile.DEVICE,  # paths and constraints; its certificates claim no profile
    "online": Profile.WEBPKI,
    "webpki": Profile.WEBPKI,
}
"""By the first part of a case's namespace; every other namespace tests RFC 5280."""

KINDS = {"DNS": NameKind.DNS, "IP": NameKind.IP, "RFC822": NameKind.EMAIL}
PURPOSES = {"serverAuth": Purpose.SERVER, "clientAuth": Purpose.CLIENT, "anyExtendedKeyUsage": Purpose.ANY}


def der(pem: str) -> bytes:
    """The octets in a PEM block, unread: whether they are a certificate is for `verify` to say."""
    return base64.b64decode("".join(pem.split("-----")[2].split()))


def purpose(case: dict[str, Any]) -> Purpose | None:
    """The purpose that the case asks for; None for one that `verify` does not know."""
    asked = case["extended_key_usage"]
    if not asked:
        return Purpose.SERVER if case["validation_kind"] == "SERVER" else Purpose.CLIENT
    return PURPOSES.get(asked[0]) if len(asked) == 1 else None


def question(case: dict[str, Any], wanted: Purpose) -> Question:
    """The switches for a case."""
    peers = [case["expected_peer_name"], *case["expected_peer_names"]]
    return Question(
        purpose=wanted,
        names=tuple(PeerName(KINDS[peer["kind"]], peer["value"]) for peer in peers if peer),
        profile=PROFILES.get(case["id"].partition("::")[0], Profile.RFC5280),
        strict_wildcards="pedantic-public-suffix-wildcard" in case["features"],
        limits=Limits(
            intermediates=case.get("max_chain_depth"),
            key_usage=frozenset(KeyUse(use) for use in case["key_usage"] if use in set(KeyUse)),
        ),
    )


def judge(case: dict[str, Any], wanted: Purpose) -> Verdict:
    """`verify` for a case."""
    at = case["validation_time"]
    return verify(
        der(case["peer_certificate"]),
        now=datetime.fromisoformat(at) if at else datetime.now(UTC),
        anchors=[der(pem) for pem in case["trusted_certs"]],
        intermediates=[der(pem) for pem in case["untrusted_intermediates"]],
        question=question(case, wanted),
        crl=[der(pem) for pem in case.get("crls", ())],
    )


def evaluate(case: dict[str, Any]) -> dict[str, Any]:
    """The result of one case in the suite's own form."""

    def result(actual: str, context: str) -> dict[str, Any]:
        return {"id": case["id"], "actual_result": actual, "context": context}

    wanted = purpose(case)
    if wanted is None:
        return result("SKIPPED", f"no purpose is {case['extended_key_usage']}")
    if case["signature_algorithms"]:
        return result("SKIPPED", "a list of signature algorithms cannot be asked for")
    try:
        verdict = judge(case, wanted)
    except InputError as error:
        return result("FAILURE", str(error))
    if verdict.valid:
        return result("SUCCESS", "valid")
    return result("FAILURE", "; ".join(f"{check.id}: {check.words}" for check in verdict.failures))


def main() -> None:
    """Read the suite, judge every case, print the results."""
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)
    suite = json.load(sys.stdin)
    results = [evaluate(case) for case in suite["testcases"]]
    json.dump({"version": 1, "harness": "edgeward", "results": results}, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
