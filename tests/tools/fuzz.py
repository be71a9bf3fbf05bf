"""Mutate real files of every format and feed them to every reader: `python -m tests.tools.fuzz --count 100000`.

Three promises are checked for each input: nothing but an `EdgewardError` comes out, it takes less than 100 ms of CPU,
and memory does not grow. Password derivation has limits of its own and is taken out by lowering them. The same seed
gives the same inputs; a failing input is written to a file and can be given again with --replay.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgeward.errors import EdgewardError
from edgeward.pki import requests
from edgeward.pki.formats import jks, pbe, pem, pkcs12
from edgeward.pki.formats.detect import detect
from edgeward.pki.formats.item import Item, Kind, leaves, opened
from edgeward.pki.inspect import asn1_text, describe, text
from tests.tools import seeds

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


def read_everything(data: bytes, dice: random.Random) -> bool:
    """Feed `data` to every reader. Returns whether any of it could be read."""
    try:
        items = detect(data, password=dice.choice((None, seeds.PASSWORD, "")), name=dice.choice(("x.pem", "x.der", "")))
    except EdgewardError:
        return False
    report = describe.together(items, seeds.NOW)
    json.dumps(report.as_json())
    for line in text.lines(report):
        if not line.isprintable():
            raise AssertionError(f"not printable: {line!r}")
    for item in items:
        _draw(item)
    try:
        opened(items)
    except EdgewardError:
        return False
    return True


def _draw(item: Item) -> None:
    for leaf in [item, *leaves([item])]:
        try:
            if leaf.data and leaf.kind is not Kind.KUBEEDGE_TOKEN:
                for _ in asn1_text.lines(leaf.data, leaf.kind):
                    pass
        except EdgewardError:
            continue


_TYPED = (
    "/O=Example/CN=web",
    "CN=web,O=Example",
    "dns:a.b",
    "ip:::1",
    "other:1.2;UTF8:x",
    "dirname:/CN=x",
    "rid:1.2.3",
    "a@b",
)


def type_everything(data: str) -> bool:
    """Feed `data` to what reads the text that people type."""
    done = False
    for reader in (requests.subject, requests.alternative_name):
        try:
            reader(data)
            done = True
        except EdgewardError:
            continue
    return done


def seconds_for(octets: bytes, name: str) -> float:
    """CPU seconds to read an input once more."""
    began = time.process_time()
    with contextlib.suppress(Exception):  # what it raises was judged the first time
        if name == "typed":
            type_everything(octets.decode("utf-8", "replace"))
        else:
            read_everything(octets, random.Random(0))
    return time.process_time() - began


def run(
    count: int, seed: int, *, seconds: float = float("inf"), progress: Callable[[Tally], None] | None = None
) -> Tally:
    """Feed `count` inputs, or as many as `seconds` of CPU allow. The same `seed` gives the same inputs."""
    lower_limits()
    # A warning with a text of its own for each input would be remembered for ever.
    warnings.simplefilter("ignore")
    dice = random.Random(seed)
    files = list(seeds.seeds().items())
    others = [octets for _, octets in files]
    tally = Tally()
    start = time.process_time()
    for number in range(count):
        if time.process_time() - start > seconds:
            break
        if number % 20 == 19:
            name = "typed"
            octets = bytes(_mutate_octets(bytearray(dice.choice(_TYPED).encode()), dice, others))[:3000]
        else:
            name, original = dice.choice(files)
            octets = mutated(original, dice, others)
        began = time.process_time()
        try:
            done = (
                type_everything(octets.decode("utf-8", "replace")) if name == "typed" else read_everything(octets, dice)
            )
        except Exception:
            tally.failures.append((f"{name}: {traceback.format_exc()}", octets))
            if progress:
                print(tally.failures[-1][0], file=sys.stderr, flush=True)
            done = False
        took = time.process_time() - began
        tally.inputs += 1
        tally.read += done
        tally.refused += not done
        if took > tally.slowest:
            tally.slowest, tally.slowest_name = took, name
        if (
            took > MAX_SECONDS and min(seconds_for(octets, name) for _ in range(3)) > MAX_SECONDS
        ):  # not the machine's hiccup
            tally.slow.append((took, name, octets))
        if number == count // 5:
            tally.memory_early = resident()
        if progress and number % 10_000 == 9_999:
            tally.seconds = time.process_time() - start
            tally.memory_late = resident()
            progress(tally)
    tally.seconds = time.process_time() - start
    tally.memory_late = resident()
    return tally


def main() -> int:
    """Run from the command line; 0 when all promises held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--replay", type=Path, help="feed this one file in place of mutations")
    parser.add_argument("--out", type=Path, default=Path("fuzz-failures"))
    options = parser.parse_args()
    if options.replay:
        lower_limits()
        began = time.process_time()
        print(read_everything(options.replay.read_bytes(), random.Random(0)), f"{time.process_time() - began:.3f} s")
        return 0
    print(f"seed {options.seed}")
    tally = run(options.count, options.seed, progress=lambda so_far: print(so_far.summary(), flush=True))
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
