"""T-46 for the strict gateway: a hundred thousand mutated inputs are read or refused, quickly, and nothing else happens."""

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from edgeward.errors import EdgewardError, InputError
from edgeward.pki import csr, keys, parse
from tests.support.world import csr as request

INPUTS = 100_000
SLOWEST = 0.1
"""Seconds of CPU for one input."""


def _certificate(der: bytes) -> None:
    keys.weaknesses(parse.public_key(parse.certificate(der)))


READERS: tuple[Callable[[bytes], Any], ...] = (_certificate, csr.requested, parse.certificate_request)


def mutations(seeds: list[bytes], count: int, dice: random.Random) -> Iterator[bytes]:
    """Seeds with flipped bits, changed, doubled, cut and spliced parts."""
    for _ in range(count):
        octets = bytearray(dice.choice(seeds))
        for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
            at = dice.randrange(len(octets))
            match dice.randrange(6):
                case 0:
                    octets[at] ^= 1 << dice.randrange(8)
                case 1:
                    octets[at] = dice.choice((0x00, 0x30, 0x80, 0x84, 0xA0, 0xFF, 0x05, 0x0C, 0x1E, 0x14))
                case 2:
                    del octets[at : at + dice.randrange(1, 9)]
                case 3:
                    octets[at:at] = octets[at : at + dice.randrange(1, 33)]
                case 4:
                    other = dice.choice(seeds)
                    start = dice.randrange(len(other))
                    octets[at : at + 16] = other[start : start + 16]
                case _:
                    del octets[at:]
            if not octets:
                octets = bytearray(b"\x30")
        yield bytes(octets)


@pytest.mark.timeout(300)
def test_t46_mutated_certificates_and_requests_are_read_or_refused_quickly_and_nothing_else(
    kubeedge: dict[str, Any],
) -> None:
    seeds = [kubeedge["ca"]["certificate_der"], kubeedge["edge_csr_der"], request("edge-1")]
    seeds += [one["leaf_der"] for one in kubeedge["edge_certificates"]]
    dice = random.Random(46)
    slowest, refused = 0.0, 0
    for number, octets in enumerate(mutations(seeds, INPUTS, dice)):
        began = time.thread_time()
        try:
            READERS[number % len(READERS)](octets)
        except InputError:
            refused += 1
        except EdgewardError as error:
            pytest.fail(
                f"input {number} ({octets.hex()}) is refused as {type(error).__name__}, which is no fault of an input"
            )
        slowest = max(slowest, time.thread_time() - began)
    assert refused > INPUTS * 0.8
    assert slowest < SLOWEST
