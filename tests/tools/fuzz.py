"""Mutate real files of every format and feed them to every reader: `python -m tests.tools.fuzz --count 100000`.

Three promises are checked for each input: nothing but an `EdgewardError` comes out, it takes less than 100 ms of CPU,
and memory does not grow. Password derivation has limits of its own and is taken out by lowering them. The same seed
gives the same inputs; a failing input is written to a file and can be given again with --replay.
"""

import argparse
import contextlib
import os
import random
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeward.pki.formats import jks, pbe, pem, pkcs12
from tests.tools.readers import READERS, Reader

MAX_SECONDS = 0.1
MAX_SIZE = 64 * 1024


@dataclass
class Tally:
    """What a run found."""

    inputs: int = 0
    read: int = 0
    refused: int = 0
    failures: list[tuple[str, bytes]] = field(default_factory=list)
    slow: list[tuple[float, str, bytes]] = field(default_factory=list)
    slowest: float = 0.0
    slowest_name: str = ""
    seconds: float = 0.0
    memory_early: int = 0
    memory_late: int = 0

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{self.inputs} inputs, {self.read} read, {self.refused} refused, {len(self.failures)} unmapped, "
            f"{len(self.slow)} over {MAX_SECONDS * 1000:.0f} ms "
            f"(slowest {self.slowest * 1000:.0f} ms: {self.slowest_name}), "
            f"{self.seconds:.1f} s of CPU, memory {self.memory_early // 1024} -> {self.memory_late // 1024} MiB "
            f"(peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024})"
        )


def resident() -> int:
    """KiB of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


def lower_limits() -> None:
    """Make derivation cheap, so that what is measured is reading."""
    pbe.MAX_PBKDF2_ROUNDS = 2_100
    pbe.MAX_PKCS12_ROUNDS = 2_100
    pbe.MAX_SCRYPT_MEMORY = 2**20
    pbe.MAX_SCRYPT_WORK = 2**13
    pkcs12.MAX_SECONDS = 0.03
    pkcs12.MAX_UNASKED_SECONDS = 0.01
    jks.MAX_ROUNDS = 5_000


def _mutate_octets(data: bytearray, dice: random.Random, others: list[bytes]) -> bytearray:
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        if not data:
            return data
        at = dice.randrange(len(data))
        kind = dice.randrange(9)
        if kind == 0:
            data[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            data[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, 0x30, 0x31, 0xA0, 0x04, 0x06, dice.randrange(256)))
        elif kind == 2:
            del data[at : at + dice.choice((1, 1, 2, 4, 16, 200))]
        elif kind == 3:
            data[at:at] = dice.randbytes(dice.choice((1, 1, 2, 4, 16)))
        elif kind == 4:
            data[at:at] = data[at : at + dice.choice((2, 8, 32, 300))]
        elif kind == 5:
            del data[at:]
        elif kind == 6:
            other = dice.choice(others)
            start = dice.randrange(len(other))
            data[at : at + 16] = other[start : start + dice.choice((4, 16, 64, 400))]
        elif kind == 7:
            data[at : at + 2] = bytes((dice.choice((0x80, 0x81, 0x82, 0x84, 0x88)), 0xFF))
        else:
            data[at:at] = bytes((dice.randrange(256),)) * dice.choice((1, 16, 300, 3000))
    return data


def mutated(seed: bytes, dice: random.Random, others: list[bytes]) -> bytes:
    """One mutation of `seed`; the content of PEM is mutated inside its armour half of the time."""
    if b"-----BEGIN" in seed and dice.random() < 0.5:
        block = pem.read(seed)
        if block is not None and block.blocks[0].data and not block.blocks[0].headers:
            chosen = dice.choice(block.blocks)
            inner = bytes(_mutate_octets(bytearray(chosen.data), dice, others))
            return pem.write(chosen.label, inner)[:MAX_SIZE]
    return bytes(_mutate_octets(bytearray(seed), dice, others))[:MAX_SIZE]


def seconds_for(octets: bytes, reader: Reader) -> float:
    """CPU seconds to read an input once more."""
    began = time.process_time()
    with contextlib.suppress(Exception):  # what it raises was judged the first time
        reader.read(octets, random.Random(0))
    return time.process_time() - began


def run(
    count: int,
    seed: int,
    *,
    names: Sequence[str] = tuple(READERS),
    seconds: float = float("inf"),
    progress: Callable[[Tally], None] | None = None,
) -> Tally:
    """Feed `count` inputs to the readers `names` in turn, or as many as `seconds` of CPU allow. The same `seed` gives the same inputs."""
    lower_limits()
    # A warning with a text of its own for each input would be remembered for ever.
    warnings.simplefilter("ignore")
    dice = random.Random(seed)
    readers = [(name, READERS[name], list(READERS[name].seeds().items())) for name in names]
    others = [octets for _, _, files in readers for _, octets in files]
    tally = Tally()
    start = time.process_time()
    for number in range(count):
        if time.process_time() - start > seconds:
            break
        name, reader, files = readers[number % len(readers)]
        title, original = dice.choice(files)
        octets = mutated(original, dice, others)
        _feed(f"{name}: {title}", reader, octets, dice, tally)
        if number == count // 5:
            tally.memory_early = resident()
        if progress and number % 10_000 == 9_999:
            tally.seconds = time.process_time() - start
            tally.memory_late = resident()
            progress(tally)
    tally.seconds = time.process_time() - start
    tally.memory_late = resident()
    return tally


def _feed(name: str, reader: Reader, octets: bytes, dice: random.Random, tally: Tally) -> None:
    """Feed one input, and put down what became of it."""
    began = time.process_time()
    try:
        done = reader.read(octets, dice)
    except Exception:  # whatever it is, it should have been mapped
        tally.failures.append((f"{name}: {traceback.format_exc()}", octets))
        print(tally.failures[-1][0], file=sys.stderr, flush=True)
        done = False
    took = time.process_time() - began
    tally.inputs += 1
    tally.read += done
    tally.refused += not done
    if took > tally.slowest:
        tally.slowest, tally.slowest_name = took, name
    # not the machine's hiccup
    if took > MAX_SECONDS and min(seconds_for(octets, reader) for _ in range(3)) > MAX_SECONDS:
        tally.slow.append((took, name, octets))


def main() -> int:
    """Run from the command line; 0 when all promises held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument(
        "--reader", choices=READERS, action="append", help="feed this reader alone; may be repeated [all]"
    )
    parser.add_argument("--replay", type=Path, help="feed this one file in place of mutations")
    parser.add_argument("--out", type=Path, default=Path("fuzz-failures"))
    options = parser.parse_args()
    if options.replay:
        lower_limits()
        for name in options.reader or READERS:
            began = time.process_time()
            done = READERS[name].read(options.replay.read_bytes(), random.Random(0))
            print(f"{name}: {'read' if done else 'refused'}, {time.process_time() - began:.3f} s")
        return 0
    print(f"seed {options.seed}")
    tally = run(
        options.count,
        options.seed,
        names=options.reader or tuple(READERS),
        progress=lambda so_far: print(so_far.summary(), flush=True),
    )
    print(tally.summary())
    for number, (_, octets) in enumerate(tally.failures[:20]):
        options.out.mkdir(exist_ok=True)
        (options.out / f"failure-{number}").write_bytes(octets)
    for number, (took, name, octets) in enumerate(tally.slow[:20]):
        options.out.mkdir(exist_ok=True)
        (options.out / f"slow-{number}").write_bytes(octets)
        print(f"{name}: {took * 1000:.0f} ms", file=sys.stderr)
    return 1 if tally.failures or tally.slow else 0


if __name__ == "__main__":
    sys.exit(main())
