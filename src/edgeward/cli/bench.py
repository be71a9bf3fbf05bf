"""One process's share of many requests: read and check them, decide, sign once their rows are durable, write files once those are.

`serve` is the loop of a process beside the one that has the store: questions come over a pipe, one at a time, and are answered in order.
It begins with what needs no CA, so that requests are read while the CA's key is opened.
"""

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from edgeward import files
from edgeward.cli.vendor import request_in
from edgeward.cli.writing import WillNotOverwrite
from edgeward.errors import EdgewardError, Unavailable
from edgeward.pki import keys, parse, pem
from edgeward.pki.csr import Requested
from edgeward.pki.formats import pkcs8
from edgeward.pki.issue import SERIAL_OCTETS, Issuing, Plan
from edgeward.pki.profile import Profile
from edgeward.services import vendor
from edgeward.services.bulk import Decision, signed
from edgeward.services.offline import Terms


class Source(NamedTuple):
    """A request to sign: its file, and where its certificate goes."""

    name: str
    out: str


class Problem(NamedTuple):
    """An error on its way to another process. `fatal`: whatever comes after it would fail as well."""

    error: str
    hint: str
    exit_status: int
    fatal: bool = False

    @staticmethod
    def of(error: EdgewardError) -> "Problem":
        """`error` in words."""
        return Problem(str(error), error.hint, error.exit_status, isinstance(error, Unavailable))


class Checked(NamedTuple):
    """What is decided for a request. `occupied`: something is where its certificate goes."""

    decision: Decision
    occupied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """By which CA and how to sign. `key` is the CA's, as PKCS#8 in the clear: it goes through a pipe from one process to its child, and
    nowhere else. `behind`: PEM that is written behind each certificate."""

    key: bytes
    chain: tuple[bytes, ...]
    crl_urls: tuple[str, ...]
    trust_domain: str
    profile: Profile
    behind: bytes
    force: bool
    at: datetime

    def __repr__(self) -> str:
        return f"Brief(key=***, profile={self.profile.name})"


class Bench:
    """A share of the requests, each known by its place in it."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._read: list[Requested | Problem | None] = []
        self._plans: dict[int, Plan] = {}
        self._ders: dict[int, bytes] = {}

    def read(self) -> None:
        """Read every request and check its signature; what is wrong with one is said when it is to be decided."""
        for source in self._sources:
            try:
                self._read.append(request_in(source.name))
            except EdgewardError as error:
                self._read.append(Problem.of(error)._replace(fatal=False))

    def brief(self, brief: Brief) -> None:
        """Say by which CA and how."""
        self._key = keys.issuer_key(pkcs8.read(brief.key))
        issuing = Issuing.of(parse.certificate(brief.chain[0]), parse.spki(self._key.public_key()))
        issuing = replace(issuing, crl_urls=brief.crl_urls)
        self._terms = Terms.of(brief.chain, issuing, brief.trust_domain)
        self._brief = brief

    def decide(self, places: Iterable[int]) -> list[Checked | Problem]:
        """What each of these requests gets, or why it gets nothing."""
        return [self._decide(place) for place in places]

    def _decide(self, place: int) -> Checked | Problem:
        brief, requested = self._brief, self._read[place]
        self._read[place] = None
        if requested is None or isinstance(requested, Problem):
            return requested or Problem("it was decided before", "", 70)
        try:
            wanted = vendor.wanted(brief.profile, requested, None, ())
            plan = self._terms.decide(wanted, requested, brief.at, os.urandom(SERIAL_OCTETS))
        except EdgewardError as error:
            return Problem.of(error)
        self._plans[place] = plan
        there = not brief.force and occupied(self._sources[place].out)
        return Checked(Decision.of(plan, wanted.every_name(brief.trust_domain)), there)

    def sign(self, places: Sequence[int]) -> list[bytes]:
        """The certificates (DER) for these, whose rows are durable."""
        for place in places:
            self._ders[place] = signed(self._plans.pop(place), self._key)
        return [self._ders[place] for place in places]

    def write(self, places: Iterable[int]) -> list[tuple[int, Problem]]:
        """Write the certificates that were signed and recorded; what could not be written. It stops at a fatal one."""
        failed: list[tuple[int, Problem]] = []
        for place in places:
            octets = pem.encode("CERTIFICATE", self._ders.pop(place)) + self._brief.behind
            try:
                write_file(self._sources[place].out, octets, force=self._brief.force)
            except EdgewardError as error:
                failed.append((place, Problem.of(error)))
                if failed[-1][1].fatal:
                    break
        return failed


def serve(pipe: Connection, others: Sequence[Connection], sources: Sequence[Source]) -> None:
    """Work on a share of the requests until the pipe is closed. An interrupt is the other end's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for other in others:
        other.close()
    bench = Bench(sources)
    ask: dict[str, Callable[[Any], Any]] = {
        "brief": bench.brief,
        "decide": bench.decide,
        "sign": bench.sign,
        "write": bench.write,
    }
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        bench.read()
        while True:
            name, argument = pipe.recv()
            try:
                pipe.send(ask[name](argument))
            except EdgewardError as error:
                pipe.send(Problem.of(error)._replace(fatal=True))


def occupied(path: str) -> bool:
    """Whether something is there. A file that a crash left empty is nothing."""
    try:
        return os.lstat(path).st_size > 0
    except OSError:
        return False


def write_file(path: str, octets: bytes, *, force: bool) -> None:
    """Write a certificate of many, without waiting for the disk at each (`os.sync` does it once for all). What a crash left of this very
    file, its beginning or nothing, is completed.

    Raises `WillNotOverwrite` for a file that holds something else, `Unavailable` when the disk says no.
    """
    try:
        try:
            _write_new(path, octets)
        except FileNotFoundError:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            _write_new(path, octets)
        except FileExistsError:
            _write_over(Path(path), octets, force)
    except OSError as error:
        raise Unavailable(problem=f"{path}: {(error.strerror or str(error)).lower()}") from error


def _write_new(path: str, octets: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        if os.write(descriptor, octets) != len(octets):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def _write_over(path: Path, octets: bytes, force: bool) -> None:
    found = path.read_bytes() if path.is_file() and not path.is_symlink() else None
    if found == octets:
        return
    if not force and (found is None or not octets.startswith(found)):
        raise WillNotOverwrite(name=path)
    files.write_output(path, octets, mode=0o644, exact=False, sync=False)
