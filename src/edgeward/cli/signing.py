"""Signing many requests with an offline CA: check them on all cores, show what will be dropped, sign, write, report; and go on where a
run before this one stopped.

The rows decide what is done: a request whose key has a valid certificate for the same names gets that one again, also when its file is
gone. Files are written after their rows, and a file that holds something else is never overwritten unasked.
"""

import asyncio
import collections
import contextlib
import errno
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import msgspec
from cryptography import x509

from edgeward import app_offline
from edgeward.cli import offline
from edgeward.cli.vendor import Checked, check
from edgeward.cli.writing import WillNotOverwrite
from edgeward.errors import EdgewardError, PolicyRefused, Unavailable, UsageError, printable
from edgeward.pki import csr, names, pem
from edgeward.pki.csr import Requested
from edgeward.pki.profile import Profile
from edgeward.services import vendor
from edgeward.services.offline import OfflineCa, Wanted, chain_below_root

MANY = 256
"""Requests from which on the checks are worth processes of their own, which take a third of a second to start."""

TOGETHER = 1024
"""Certificates on their way at a time: two of the store's transactions, one being written and one being filled."""

WRITTEN = 256
"""Certificates that are handed to the thread that writes files at a time."""

LINES = 1000
"""Certificates between two lines of progress where nobody watches a bar."""

EXAMPLES = 3

_ENDINGS = {".csr", ".req", ".pem", ".der", ".p10"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A request to sign: its file, and where its certificate goes."""

    name: str
    out: Path


@dataclass(slots=True, kw_only=True)
class Job:
    """One request on its way. `status` ends as `signed`, `kept` (there was a certificate before) or `refused`."""

    source: Source
    requested: Requested | None = None
    wanted: Wanted | None = None
    dropped: tuple[str, ...] = ()
    status: str = ""
    serial: str = ""
    not_after: datetime | None = None
    der: bytes = b""
    error: str = ""
    hint: str = ""
    exit_status: int = 0

    def refuse(self, error: EdgewardError) -> None:
        """It ends here, with this error."""
        self.status, self.error, self.hint, self.exit_status = "refused", str(error), error.hint, error.exit_status

    @property
    def row(self) -> dict[str, Any]:
        """The line of the report."""
        found: dict[str, Any] = {"request": self.source.name, "status": self.status}
        if self.wanted is not None:
            found |= {"identity": self.wanted.identity, "names": [names.show(name) for name in self.wanted.names]}
        if self.status == "refused":
            return found | {"error": self.error, "hint": self.hint}
        return found | {
            "certificate": str(self.source.out),
            "serial": self.serial,
            "not_after": self.not_after,
            "dropped": list(self.dropped),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What to sign and how. `again`: sign anew what has a certificate; `chain`: write the intermediates behind each certificate."""

    profile: Profile
    sources: Sequence[Source]
    identity: str | None = None
    sans: tuple[x509.GeneralName, ...] = ()
    again: bool = False
    force: bool = False
    chain: bool = False
    progress: Callable[[str, int], "contextlib.AbstractContextManager[Callable[[int], None]]"] = field(
        default=lambda _title, _total: contextlib.nullcontext(lambda _done: None)
    )


def sources(inputs: Sequence[str], out: Path) -> list[Source]:
    """The requests in files and directories, and a certificate in the directory `out` for each: `sub/a.csr` becomes `out/sub/a.crt`.

    Raises `UsageError` when there is none, or when two would be written to one file.
    """
    found: list[Source] = []
    for given in inputs:
        if Path(given).is_dir():
            found += _inside(given, out)
        else:
            found.append(Source(name=given, out=out / Path(given).with_suffix(".crt").name))
    if not found:
        raise UsageError(problem=f"there are no requests ({', '.join(sorted(_ENDINGS))}) in {', '.join(inputs)}")
    twice = [path for path, count in collections.Counter(source.out for source in found).items() if count > 1]
    if twice:
        raise UsageError(problem=f"two requests would be written to {twice[0]}; sign them into different directories")
    return found


def _inside(directory: str, out: Path) -> list[Source]:
    """The requests below a directory; not what an earlier run wrote, when `out` is below it too."""
    ours, found = out.absolute(), []
    for parent, folders, names_here in os.walk(directory):
        folders[:] = sorted(one for one in folders if not one.startswith(".") and Path(parent, one).absolute() != ours)
        place = out / Path(parent).relative_to(directory)
        for name in sorted(names_here):
            stem, ending = os.path.splitext(name)  # noqa: PTH122  # a Path for each of thousands costs more than the rest
            path = f"{parent.rstrip('/')}/{name}" if parent != "." else name
            if ending.lower() in _ENDINGS and not name.startswith(".") and not os.path.islink(path):  # noqa: PTH114  # the same
                found.append(Source(name=path, out=place / f"{stem}.crt"))
    return found


def check_all(found: Sequence[Source], progress: Callable[[int], None]) -> Iterator[Checked]:
    """The requests of `found`, checked in order; on all cores when there are many."""
    paths = [source.name for source in found]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if len(paths) < MANY or cores < 2:
        for name in paths:
            progress(1)
            yield check(name)
        return
    context = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")
    with ProcessPoolExecutor(cores, mp_context=context) as pool:
        for checked in pool.map(check, paths, chunksize=64):
            progress(1)
            yield checked


def prepare(ca: OfflineCa, batch: Batch, now: datetime) -> list[Job]:
    """Check every request and decide what each would get; nothing is signed and nothing recorded."""
    jobs: list[Job] = []
    with batch.progress("checking", len(batch.sources)) as progress:
        for source, checked in zip(batch.sources, check_all(batch.sources, progress), strict=True):
            job = Job(source=source, error=checked.error, hint=checked.hint, exit_status=checked.status)
            jobs.append(job)
            if checked.error:
                job.status = "refused"
                continue
            try:
                decide(job, ca, batch, csr.proven(checked.der), now)
            except EdgewardError as error:
                job.refuse(error)
    _one_key_a_name(jobs)
    return jobs


def decide(job: Job, ca: OfflineCa, batch: Batch, requested: Requested, now: datetime) -> None:
    """Put down what a request is to get. Raises why it gets nothing."""
    job.requested = requested
    job.wanted = vendor.wanted(batch.profile, requested, batch.identity, batch.sans)
    job.dropped = ca.preview(job.wanted, requested, now).dropped


def _one_key_a_name(jobs: Sequence[Job]) -> None:
    """Refuse requests with different keys that say that they are the same node: at most one of them is, and nobody here knows which."""
    claims: dict[str, dict[bytes, list[Job]]] = {}
    for job in jobs:
        if job.wanted is not None and job.requested is not None and job.wanted.profile.name != "server":
            claims.setdefault(job.wanted.identity, {}).setdefault(job.requested.spki, []).append(job)
    for identity, keys in claims.items():
        for job in [job for asking in keys.values() for job in asking] if len(keys) > 1 else []:
            job.refuse(PolicyRefused((f"requests of this run with {len(keys)} different keys are all for {identity}",)))


async def sign(
    ca: OfflineCa,
    batch: Batch,
    jobs: Sequence[Job],
    write: Callable[[Job, bytes], None],
    now: datetime,
    refused: Callable[[EdgewardError], object] = lambda _error: None,
) -> None:
    """Sign what was prepared and write it: `write` is called, in a thread, with each certificate's PEM, its row being durable, and
    `refused` with the error of each that is refused. Raises `Unavailable` when the store or the disk fails: then all would.

    Up to `TOGETHER` are on their way at a time, so that their rows share transactions and one is signed while others are synced.
    """
    waiting = [job for job in jobs if not job.status]
    with batch.progress("signing", len(waiting)) as progress, ThreadPoolExecutor(1) as disk:
        behind = offline.chain_pem(chain_below_root(ca.chain)) if batch.chain else b""
        outbox = _Outbox(write, refused, progress, disk, behind)
        queue = iter(waiting)

        async def work() -> None:
            for job in queue:
                try:
                    await _sign_one(ca, batch, job, now)
                except Unavailable:
                    raise
                except EdgewardError as error:
                    job.refuse(error)
                    refused(error)
                outbox.add(job)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(TOGETHER, len(waiting))):
                    group.create_task(work())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        await outbox.close()


class _Outbox:
    """What was signed and is to be written, some at a time, by the one thread of `disk`."""

    def __init__(
        self,
        write: Callable[[Job, bytes], None],
        refused: Callable[[EdgewardError], object],
        progress: Callable[[int], None],
        disk: ThreadPoolExecutor,
        behind: bytes,
    ) -> None:
        self._write = write
        self._refused = refused
        self._progress = progress
        self._disk = disk
        self._behind = behind
        self._ready: list[Job] = []
        self._writing: list[asyncio.Future[None]] = []

    def add(self, job: Job) -> None:
        """This one is done."""
        self._ready.append(job)
        if len(self._ready) >= WRITTEN:
            self._flush()

    async def close(self) -> None:
        """Write the rest. Raises the `Unavailable` of any write."""
        self._flush()
        await asyncio.gather(*self._writing)

    def _flush(self) -> None:
        some, self._ready = self._ready, []
        self._writing.append(asyncio.get_running_loop().run_in_executor(self._disk, self._put, some))
        self._progress(len(some))

    def _put(self, some: list[Job]) -> None:
        for job in some:
            if job.status == "refused":
                continue
            try:
                self._write(job, pem.encode("CERTIFICATE", job.der) + self._behind)
            except Unavailable:
                raise
            except EdgewardError as error:
                job.refuse(error)
                self._refused(error)


async def _sign_one(ca: OfflineCa, batch: Batch, job: Job, now: datetime) -> None:
    wanted, requested = job.wanted, job.requested
    if wanted is None or requested is None:
        return
    record = None if batch.again else await ca.present(wanted, requested.spki, now)
    if record is not None and record.der is not None:
        job.status, job.serial, job.der, job.not_after = "kept", record.serial, record.der, record.not_after
        return
    if not batch.force and str(job.source.out) != "-" and _size(str(job.source.out)):
        raise WillNotOverwrite(name=job.source.out)
    issued = await ca.sign(wanted, requested, now)
    job.status, job.serial, job.der = "signed", issued.serial, issued.der
    job.not_after = None if issued.plan is None else issued.plan.not_after


def _size(path: str) -> int:
    """The octets of a file; 0 when it is not there or was left empty by a crash."""
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def write_file(job: Job, octets: bytes, *, force: bool) -> None:
    """Write a certificate of many: whole or not at all, without waiting for the disk at each (`settle` does it once)."""
    path = str(job.source.out)
    parent, _, name = path.rpartition("/")
    temporary = f"{parent or '.'}/.{name}.{os.getpid()}.tmp"
    try:
        if _size(path):
            if not job.source.out.is_symlink() and job.source.out.read_bytes() == octets:
                return
            if not force:
                raise WillNotOverwrite(name=path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(temporary, flags, 0o644)
        except FileNotFoundError:
            job.source.out.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(temporary, flags, 0o644)
        try:
            if os.write(descriptor, octets) != len(octets):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
        os.replace(temporary, path)  # noqa: PTH105  # a Path for each of thousands costs more than the call
    except OSError as error:
        raise Unavailable(problem=f"{path}: {(error.strerror or str(error)).lower()}") from error


def settle() -> None:
    """Have the disk keep what was written."""
    os.sync()


def show_dropped(jobs: Sequence[Job]) -> None:
    """Say on standard error what requests asked for and will not get, before anything is signed; the same thing once."""
    heap: dict[str, list[str]] = {}
    for job in jobs:
        if not job.status:
            for dropped in job.dropped:
                heap.setdefault(dropped, []).append(job.source.name)
    if len(jobs) > 1:
        merged: dict[str, list[str]] = {}
        for what, asking in heap.items():
            kind = "common name" if what.startswith("common name ") and len(heap) > EXAMPLES else what
            merged.setdefault(kind, []).extend(asking)
        heap = merged
    for what, asking in heap.items():
        where = f" ({len(asking)} requests: {', '.join(asking[:EXAMPLES])}{', …' if len(asking) > EXAMPLES else ''})"
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
    return msgspec.json.format(msgspec.json.encode(done), indent=2) + b"\n"


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
