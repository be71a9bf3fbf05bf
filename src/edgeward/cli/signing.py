"""Signing many requests with an offline CA: check them on all cores, show what will be dropped, sign, write, report; and go on where a
run before this one stopped.

The rows decide what is done: a request whose key has a valid certificate for the same names gets that one again, also when its file is
gone. Files are written after their rows, and a file that holds something else is never overwritten unasked.
"""

import asyncio
import collections
import contextlib
import itertools
import os
import stat
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from edgeward import app_offline
from edgeward.cli import bench, offline
from edgeward.cli.bench import Brief, Problem, Source
from edgeward.cli.options import json_text
from edgeward.cli.workers import Worker
from edgeward.cli.writing import WillNotOverwrite
from edgeward.errors import EdgewardError, PolicyRefused, Unavailable, UsageError, printable
from edgeward.pki import pem
from edgeward.pki.formats import pkcs8
from edgeward.pki.profile import Profile
from edgeward.services.bulk import Decision
from edgeward.services.offline import OfflineCa, chain_below_root

TOGETHER = 256
"""Certificates whose rows share a transaction: enough to share a sync among, few enough that every core has some at any time."""

AHEAD = 3
"""Batches of one worker on their way at a time: one whose rows are being written, one being signed, one being written to files."""

LINES = 1000
"""Certificates between two lines of progress where nobody watches a bar."""

EXAMPLES = 3

_ENDINGS = {".csr", ".req", ".pem", ".der", ".p10"}


@dataclass(slots=True, kw_only=True)
class Job:
    """One request on its way. `status` ends as `signed`, `kept` (there was a certificate before) or `refused`."""

    source: Source
    decision: Decision | None = None
    occupied: bool = False
    status: str = ""
    serial: str = ""
    not_after: datetime | None = None
    error: str = ""
    hint: str = ""
    exit_status: int = 0

    def refuse(self, problem: Problem) -> None:
        """It ends here, with this problem."""
        self.status, self.error, self.hint = "refused", problem.error, problem.hint
        self.exit_status = problem.exit_status

    def done(self, status: str, serial: str, not_after: datetime) -> None:
        """It has its certificate."""
        self.status, self.serial, self.not_after = status, serial, not_after

    @property
    def row(self) -> dict[str, Any]:
        """The line of the report."""
        found: dict[str, Any] = {"request": self.source.name, "status": self.status}
        if self.decision is not None:
            found |= {"identity": self.decision.identity, "names": list(self.decision.names)}
        if self.status == "refused":
            return found | {"error": self.error, "hint": self.hint}
        return found | {
            "certificate": self.source.out,
            "serial": self.serial,
            "not_after": self.not_after,
            "dropped": [] if self.decision is None else list(self.decision.dropped),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What to sign and how. `again`: sign anew what has a certificate; `chain`: write the intermediates behind each certificate."""

    profile: Profile
    sources: Sequence[Source]
    again: bool = False
    force: bool = False
    chain: bool = False
    progress: Callable[[str, int], "contextlib.AbstractContextManager[Callable[[int], None]]"] = field(
        default=lambda _title, _total: contextlib.nullcontext(lambda _done: None)
    )

    def behind(self, ca: OfflineCa) -> bytes:
        """PEM to write behind each certificate."""
        return offline.chain_pem(chain_below_root(ca.chain)) if self.chain else b""


def sources(inputs: Sequence[str], out: Path) -> list[Source]:
    """The requests in files and directories, and a certificate in the directory `out` for each: `sub/a.csr` becomes `out/sub/a.crt`.

    Raises `UsageError` when there is none, or when two would be in each other's way.
    """
    found: list[Source] = []
    for given in inputs:
        if Path(given).is_dir():
            found += _inside(given, out)
        else:
            found.append(Source(given, str(out / Path(given).with_suffix(".crt").name)))
    if not found:
        raise UsageError(problem=f"there are no requests ({', '.join(sorted(_ENDINGS))}) in {', '.join(inputs)}")
    twice = [path for path, count in collections.Counter(source.out for source in found).items() if count > 1]
    if twice:
        raise UsageError(problem=f"two requests would be written to {twice[0]}; sign them into different directories")
    files = {source.out for source in found}
    folders = {Path(one) for one in {path.rpartition("/")[0] for path in files}}
    both = sorted(files & {str(one) for each in folders for one in (each, *each.parents)})
    if both:
        raise UsageError(
            problem=f"{both[0]} would be a certificate and a directory; sign them into different directories"
        )
    return found


def _inside(directory: str, out: Path) -> list[Source]:
    """The requests below a directory, plain files all; not what an earlier run wrote, when `out` is below it too."""
    ours, found = out.absolute(), []
    for parent, folders, names_here in os.walk(directory):
        folders[:] = sorted(one for one in folders if not one.startswith(".") and Path(parent, one).absolute() != ours)
        place = out / Path(parent).relative_to(directory)
        for name in sorted(names_here):
            stem, ending = os.path.splitext(name)  # noqa: PTH122  # a Path for each of thousands costs more than the rest
            path = f"{parent.rstrip('/')}/{name}" if parent != "." else name
            if ending.lower() in _ENDINGS and not name.startswith(".") and _is_plain(path):
                found.append(Source(path, f"{place}/{stem}.crt"))
    return found


def _is_plain(path: str) -> bool:
    """Whether it is a file, not a link to one, nor a pipe that nobody may ever write to."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:  # gone since it was listed
        return False


async def prepare(ca: OfflineCa, batch: Batch, workers: Sequence[Worker], now: datetime) -> list[Job]:
    """Decide what every request gets that the workers have read; nothing is signed and nothing recorded."""
    jobs = [Job(source=source) for source in batch.sources]
    brief = Brief(
        key=pkcs8.encode(ca.signing.key),
        chain=ca.chain,
        crl_urls=ca.signing.facts.crl_urls,
        trust_domain=ca.terms.trust_domain,
        profile=batch.profile,
        behind=batch.behind(ca),
        force=batch.force,
        at=now,
    )
    with batch.progress("checking", len(jobs)) as progress:

        async def decide(worker: Worker) -> None:
            await worker.ask("brief", brief)
            for places in _batches(range(len(worker.share))):
                for place, answer in zip(places, await worker.ask("decide", places), strict=True):
                    job = jobs[worker.share[place]]
                    if isinstance(answer, Problem):
                        job.refuse(answer)
                    else:
                        job.decision, job.occupied = answer
                progress(len(places))

        await _all(decide(worker) for worker in workers)
    _one_key_a_name(jobs, batch.profile)
    return jobs


def _one_key_a_name(jobs: Sequence[Job], profile: Profile) -> None:
    """Refuse requests with different keys that say that they are the same node: at most one of them is, and nobody here knows which."""
    if profile.name == "server":
        return
    claims: dict[str, dict[bytes, list[Job]]] = {}
    for job in jobs:
        if job.decision is not None:
            claims.setdefault(job.decision.identity, {}).setdefault(job.decision.spki_sha256, []).append(job)
    for identity, keys in claims.items():
        if len(keys) > 1:
            why = PolicyRefused((f"requests of this run with {len(keys)} different keys are all for {identity}",))
            for job in itertools.chain(*keys.values()):
                job.refuse(Problem.of(why))


async def sign(ca: OfflineCa, batch: Batch, jobs: Sequence[Job], workers: Sequence[Worker], now: datetime) -> None:
    """Sign what was prepared and write it. Raises `Unavailable` when the store, the disk or a worker fails: then all would.

    The rows of a batch are durable before its certificates are signed, and issued before its files are written. Batches overtake each
    other, so that the store, the disk and every core have work at any time.
    """
    with batch.progress("signing", sum(not job.status for job in jobs)) as progress:

        async def work(worker: Worker, batches: Iterator[Sequence[int]]) -> None:
            for places in batches:
                await _sign_batch(ca, batch, {place: jobs[worker.share[place]] for place in places}, worker, now)
                progress(len(places))

        async def share(worker: Worker) -> None:
            waiting = [place for place, number in enumerate(worker.share) if not jobs[number].status]
            batches = _batches(waiting)
            await _all(work(worker, batches) for _ in range(AHEAD))

        try:
            await _all(share(worker) for worker in workers)
        except BaseException:  # an interrupt, too: what is planned and not signed is given up
            with contextlib.suppress(Unavailable):  # then the next run does it, before anything else
                await ca.settle(now)
            raise


def _batches(places: Sequence[int]) -> Iterator[Sequence[int]]:
    return (places[start : start + TOGETHER] for start in range(0, len(places), TOGETHER))


async def _sign_batch(ca: OfflineCa, batch: Batch, jobs: dict[int, Job], worker: Worker, now: datetime) -> None:
    """The road for the jobs at these places of the worker's share: those that have a certificate keep it."""
    going: dict[int, Decision] = {}
    known = await ca.known([job.decision for job in jobs.values() if job.decision is not None])
    for place, job in jobs.items():
        if job.decision is None:
            continue
        try:
            seen = job.decision.spki_sha256 in known
            record = await ca.present(batch.profile, job.decision, now) if seen else None
        except PolicyRefused as error:
            job.refuse(Problem.of(error))
            continue
        if not batch.again and record is not None and record.der is not None:
            job.done("kept", record.serial, record.not_after)
            _write(job, pem.encode("CERTIFICATE", record.der) + batch.behind(ca), batch.force)
        elif job.occupied:
            job.refuse(Problem.of(WillNotOverwrite(name=job.source.out)))
        else:
            going[place] = job.decision
    if not going:
        return
    places = tuple(going)
    await ca.plan_many(batch.profile, list(going.values()), now)
    ders = await worker.ask("sign", places)
    await ca.issue_many(batch.profile, list(zip(going.values(), ders, strict=True)), now)
    for place, decision in going.items():
        jobs[place].done("signed", decision.serial, decision.not_after)
    for place, problem in await worker.ask("write", places):
        if problem.fatal:
            raise Unavailable(problem=problem.error)
        jobs[place].refuse(problem)


def _write(job: Job, octets: bytes, force: bool) -> None:
    try:
        bench.write_file(job.source.out, octets, force=force)
    except Unavailable:
        raise
    except EdgewardError as error:
        job.refuse(Problem.of(error))


async def _all(work: Iterator[Coroutine[Any, Any, None]]) -> None:
    """Do all of it at once; the first failure ends the rest and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


def show_dropped(jobs: Sequence[Job]) -> None:
    """Say on standard error what requests asked for and will not get, before anything is signed; the same thing once."""
    heap: dict[str, list[str]] = {}
    for job in jobs:
        if not job.status:
            for dropped in () if job.decision is None else job.decision.dropped:
                heap.setdefault(dropped, []).append(job.source.name)
    if len(jobs) > 1:
        merged: dict[str, list[str]] = {}
        for what, asking in heap.items():
            kind = "common name" if what.startswith("common name ") and len(heap) > EXAMPLES else what
            merged.setdefault(kind, []).extend(asking)
        heap = merged
    for what, asking in heap.items():
        examples = ", ".join(printable(name) for name in asking[:EXAMPLES])
        count = f"{len(asking)} request{'s' * (len(asking) > 1)}"
        where = f" ({count}: {examples}{', …' if len(asking) > EXAMPLES else ''})"
        click.echo(f"dropped: the request asks for {printable(what)}{where if len(jobs) > 1 else ''}", err=True)


def report(batch: Batch, ca: OfflineCa, jobs: Sequence[Job]) -> dict[str, Any]:
    """What a run did, for programs: what it counts, and a row for each request."""
    counts = collections.Counter(job.status for job in jobs)
    return {
        "ca": {"subject": ca.signing.certificate.subject.rfc4514_string(), "pin": ca.signing.issuer.pin},
        "profile": batch.profile.name,
        "at": app_offline.now(),
        "signed": counts["signed"],
        "kept": counts["kept"],
        "refused": counts["refused"],
        "results": [job.row for job in jobs],
    }


def report_text(done: dict[str, Any]) -> str:
    """The report for people: what was refused first, and why."""
    lines = [
        f"{done['signed']} signed, {done['kept']} had their certificate before, {done['refused']} refused",
        f"CA {done['ca']['subject']} (pin {done['ca']['pin'][:16]}…), profile {done['profile']}, {done['at']:%Y-%m-%d %H:%M:%S} UTC",
        "",
    ]
    for row in sorted(done["results"], key=lambda one: str(one["status"] != "refused")):
        if row["status"] == "refused":
            lines.append(f"refused  {printable(row['request'])}: {row['error']}")
        else:
            lines.append(
                f"{row['status']:7}  {printable(row['request'])} -> {printable(row['certificate'])}  "
                f"{printable(row['identity'])}  serial {row['serial']}  until {row['not_after']:%Y-%m-%d}"
            )
            lines += [f"         dropped: {printable(dropped)}" for dropped in row["dropped"]]
    return "\n".join(lines) + "\n"


def report_json(done: dict[str, Any]) -> bytes:
    """The report for programs, indented."""
    return json_text(done, indent=2).encode() + b"\n"


@contextlib.contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Progress on standard error: a bar for a person who watches, a line now and then for a log; nothing for a handful."""
    if total < 20:
        yield lambda _done: None
        return
    if sys.stderr.isatty():
        console = import_module("rich.console").Console(stderr=True)
        with import_module("rich.progress").Progress(console=console) as bar:
            task = bar.add_task(title, total=total)
            yield lambda done: bar.advance(task, done)
        return
    count, began = 0, time.monotonic()

    def advance(done: int) -> None:
        nonlocal count
        before, count = count, count + done
        if before // LINES != count // LINES or count == total:
            rate = count / max(time.monotonic() - began, 0.001)
            click.echo(f"{title}: {count} of {total}, {rate:.0f} a second", err=True)

    yield advance
