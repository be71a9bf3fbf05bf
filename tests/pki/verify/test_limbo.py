"""x509-limbo, by the suite's own harness convention. The suite is not part of this project: EDGEWARD_LIMBO names it."""

import json
import lzma
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.tools.limbo_harness import evaluate

SUITE = os.environ.get("EDGEWARD_LIMBO", "")

DEVIATIONS: dict[str, str] = {}
"""Cases on which we differ from the suite, with the reason. There is none, and none may ever be wrongly accepted."""

pytestmark = [
    pytest.mark.skipif(not SUITE, reason="EDGEWARD_LIMBO is not set: give it the path of limbo.json or limbo.json.xz"),
    pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive"),
]


def cases() -> list[dict[str, Any]]:
    octets = Path(SUITE).read_bytes()
    text = lzma.decompress(octets) if SUITE.endswith(".xz") else octets
    found: list[dict[str, Any]] = json.loads(text)["testcases"]
    return found


def test_every_case_has_the_expected_result_and_none_takes_a_second() -> None:
    different, slow = [], []
    for case in cases():
        start = time.process_time()
        result = evaluate(case)
        if time.process_time() - start > 1:
            slow.append(case["id"])
        if result["actual_result"] != case["expected_result"] and case["id"] not in DEVIATIONS:
            different.append((case["id"], case["expected_result"], result["context"]))
    accepted = [case_id for case_id, expected, _ in different if expected == "FAILURE"]
    assert not accepted, "wrongly accepted"
    assert not different
    assert not slow
