"""A short run of the fuzzer with a fixed seed: the long ones are run by hand, `python -m tests.tools.fuzz --count
N`.
"""

import warnings

import pytest

from edgeward.pki.formats import jks, pbe, pkcs12
from tests.tools import fuzz


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fuzzer lowers limits of modules; put them back for the tests that come later."""
    for module in (pbe, pkcs12, jks):
        for name, value in vars(module).items():
            if name.startswith("MAX_"):
                monkeypatch.setattr(module, name, value)


@pytest.mark.timeout(120)
def test_t46_mutated_inputs_are_read_or_refused_quickly_and_nothing_else() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tally = fuzz.run(16_000, seed=20261125, names=("files", "gateway", "path", "typed"), seconds=20)
    assert not tally.failures, tally.failures[0][0]
    assert not tally.slow, f"{tally.slow[0][1]}: {tally.slow[0][0]:.3f} s"
    assert tally.read > tally.inputs // 20
    assert tally.memory_late - tally.memory_early < 64 * 1024


@pytest.mark.timeout(120)
def test_t39_t40_mutated_frames_messages_and_packages_end_a_connection_and_nothing_else() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tally = fuzz.run(9_000, seed=20261125, names=("frames", "messages", "quic"), seconds=10)
    assert not tally.failures, tally.failures[0][0]
    assert not tally.slow, f"{tally.slow[0][1]}: {tally.slow[0][0]:.3f} s"
    assert tally.read > tally.inputs // 20
    assert tally.memory_late - tally.memory_early < 16 * 1024
