"""`edgeward doctor FILES…`: what lies on a disk. This reads, `services.doctor` judges; nothing is written, nothing is sent anywhere."""

import fcntl
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from edgeward import app_offline
from edgeward.agent.certificates import Certificates
from edgeward.cli import reading
from edgeward.cli.doctor import Asked
from edgeward.errors import EdgewardError, Unavailable, Unreadable, printable
from edgeward.model.diagnosis import Diagnosis, Section
from edgeward.model.finding import Finding
from edgeward.pki import parse
from edgeward.pki.formats import kubernetes
from edgeward.pki.formats.detect import detect
from edgeward.pki.formats.item import Kind
from edgeward.services.doctor import on_disk, places
from edgeward.services.doctor.on_disk import Seen, found
from edgeward.stores import checkup

DATABASE = "edgeward.db"
KEYS = "keys"
LOCK = "lock"

MAX_FILE = 8 * 1024 * 1024
"""Octets of a file that is looked at: a bundle of all public roots has 0.3 million."""


def examine(asked: Asked) -> Diagnosis:
    """The diagnosis of files and directories. What is no X.509 thing in a directory is passed over; a file that was named is judged."""
    now = datetime.now(UTC)
    password = reading.secret(asked.password)
    findings: list[Finding] = []
    named: list[Seen] = []
    lines: list[str] = []
    for thing in asked.things:
        path = Path(thing)
        if path.is_dir():
            findings += _directory(path, password, now, lines)
        else:
            seen = _file(path, password)
            named.append(seen)
            lines.append(_line(seen))
            findings += on_disk.judge(seen, now)
            findings += _secrets(path, seen, now)
    findings += on_disk.judge_together(named, now)
    subject = asked.things[0] if len(asked.things) == 1 else f"{len(asked.things)} files"
    return Diagnosis(
        subject=subject,
        findings=tuple(on_disk.first(findings)),
        sections=(Section(title="what is there", lines=tuple(lines)),) if lines else (),
        facts={"files": lines},
    )


def _line(seen: Seen) -> str:
    """One file in words."""
    if seen.problem is not None:
        return f"{seen.path}: {seen.problem}"
    counts: dict[str, int] = {}
    for item in seen.parts:
        counts[item.kind.words] = counts.get(item.kind.words, 0) + 1
    return f"{seen.path}: " + ", ".join(f"{count} {words}{'s' if count > 1 else ''}" for words, count in counts.items())


def _file(path: Path, password: str | None) -> Seen:
    """A file as it is seen. Devices, pipes and other things that are no files are not opened."""
    mine = (os.geteuid(), 0)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return Seen(
                path=str(path), octets=1, mine=mine, problem=Unreadable(what="file", why="it is not a plain file")
            )
        octets = reading.octets(str(path), MAX_FILE)
    except EdgewardError as error:
        return Seen(path=str(path), octets=1, mine=mine, problem=error)
    except (OSError, ValueError) as error:
        return Seen(
            path=str(path),
            octets=1,
            mine=mine,
            problem=Unavailable(problem=getattr(error, "strerror", None) or str(error)),
        )
    common = {"path": str(path), "octets": len(octets), "mode": status.st_mode, "owner": status.st_uid, "mine": mine}
    try:
        return Seen(items=tuple(detect(octets, password=password, name=path.name)), **common)  # type: ignore[arg-type]
    except EdgewardError as error:
        return Seen(problem=error, **common)  # type: ignore[arg-type]


def _secrets(path: Path, seen: Seen, now: datetime) -> Iterator[Finding]:
    """What is wrong with the Secrets in a file, if it is one of Secrets."""
    if any(item.kind is Kind.KUBERNETES_SECRET for item in seen.items):
        yield from places.judge_secrets(kubernetes.read(reading.octets(str(path), MAX_FILE)), str(path), now)
    for item in seen.parts:
        if item.kind is Kind.KUBEEDGE_TOKEN and not any(one.kind is Kind.KUBERNETES_SECRET for one in seen.items):
            yield from places.judge_token(item.data.decode("ascii", "replace"), None, now, where=str(path))


# ------------------------------------------------------------------------------------------------------- directories


def _directory(path: Path, password: str | None, now: datetime, lines: list[str]) -> Iterator[Finding]:
    """A directory: one of a known kind, else the files in it."""
    if (path / DATABASE).exists():
        lines.append(f"{path}: a data directory of Edgeward")
        yield from _data(path, now)
    elif (path / "agent.toml").exists():
        lines.append(f"{path}: the directory of an Edgeward agent")
        yield from _edge(path, password, now, lines)
    elif (
        (path / "config" / "edgecore.yaml").exists()
        or (path / "ca" / "rootCA.crt").exists()
        or (path / "edgecore.yaml").exists()
    ):
        lines.append(f"{path}: the directory of a KubeEdge node")
        yield from _edge(path, password, now, lines)
    else:
        yield from _heap(path, password, now, lines)


def _modes(path: Path) -> Iterator[Finding]:
    try:
        status = path.stat()
    except OSError:
        return
    yield from on_disk.judge_directory(str(path), status.st_mode, status.st_uid, (os.geteuid(), 0))


def _heap(path: Path, password: str | None, now: datetime, lines: list[str]) -> Iterator[Finding]:
    """Files that nothing is known of but that they lie together."""
    several = []
    for name in reading.files(str(path)):
        seen = _file(Path(name), password)
        if seen.problem is not None and not name.lower().endswith(
            (".pem", ".crt", ".cer", ".key", ".der", ".p12", ".csr")
        ):
            continue  # a README is no broken certificate
        if seen.problem is None and not seen.parts:
            continue
        several.append(seen)
        lines.append(_line(seen))
        yield from on_disk.judge(seen, now)
        yield from _secrets(Path(name), seen, now)
    if not several:
        yield found("nothing-to-judge", file=str(path), detail="no key, certificate or Secret is in it")
    yield from _modes(path)
    yield from on_disk.judge_together(several, now)


def _edge(path: Path, password: str | None, now: datetime, lines: list[str]) -> Iterator[Finding]:
    """The directory of an edge, KubeEdge's or ours: they have the same files."""
    seen: dict[str, Seen | None] = {}
    for role, place in (("ca", "ca/rootCA.crt"), ("certificate", "certs/server.crt"), ("key", "certs/server.key")):
        file = path / place
        seen[role] = _file(file, password) if file.exists() else None
        one = seen[role]
        if one is not None:
            lines.append(_line(one))
            yield from on_disk.judge(one, now)
            yield from _modes(file.parent)
    config, node, token, unread = _configuration(path)
    if unread is not None:
        yield unread
    edge = places.Edge(directory=str(path), config=config, node=node, token=token, **seen)
    yield from places.judge_edge(edge, now)


def _configuration(path: Path) -> tuple[str, str, str, Finding | None]:
    """The configuration's path, the node's name and the token in it, and why it cannot be read."""
    if (path / "agent.toml").exists():
        config = str(path / "agent.toml")
        try:
            return config, Certificates(path).settings().node, "", None
        except EdgewardError as error:
            return config, "", "", found("file-unreadable", file=config, detail=str(error))
    for place in ("config/edgecore.yaml", "edgecore.yaml"):
        if (path / place).exists():
            config = str(path / place)
            try:
                said = places.edgecore(reading.octets(config, MAX_FILE).decode("utf-8", "replace"))
                return config, said["node"], said["token"] or _bootstrap(path), None
            except EdgewardError as error:
                return config, "", "", found("file-unreadable", file=config, detail=str(error))
    return "", "", "", None


def _bootstrap(path: Path) -> str:
    """The token that keadm leaves for the first start, which counts before the configuration's."""
    try:
        return reading.octets(str(path / "bootstrap-edgecore.conf"), 65536).decode("utf-8", "replace").strip()
    except EdgewardError:
        return ""


# --------------------------------------------------------------------------------------------------- a data directory


def _data(path: Path, now: datetime) -> Iterator[Finding]:
    """A data directory of ours."""
    pid = _holder(path / LOCK)
    if pid:
        yield found("data-running", directory=str(path), detail=pid)
    yield from private(path)
    if not (path / KEYS).is_dir():
        yield found("data-incomplete", directory=str(path), detail=f"the directory {KEYS} with the sealed keys")
    else:
        yield from _passphrase(path)
    looked = checkup.check(path / DATABASE)
    if looked.damage:
        yield found("data-damaged", file=str(path / DATABASE), detail=looked.damage)
        return
    if looked.first_bad is not None:
        yield found("data-audit", directory=str(path), detail=str(looked.first_bad))
    if looked.planned and not pid:
        yield found("data-planned", directory=str(path), count=str(looked.planned))
    for der in looked.issuers:
        yield from on_disk.judge_certificate(parse.certificate(der), str(path / DATABASE), now)


def _holder(lock: Path) -> str:
    """The process that holds a data directory, empty when none does."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return printable(os.read(descriptor, 32).decode("ascii", "replace").strip()) or "?"
    finally:
        os.close(descriptor)
    return ""


def private(path: Path) -> Iterator[Finding]:
    """Whatever others may read or change in a data directory."""
    for parent, folders, files in os.walk(path):
        folders[:] = folders[:1000]
        yield from _modes(Path(parent))
        for name in files[:10_000]:
            one = Path(parent, name)
            try:
                status = one.lstat()
            except OSError:
                continue
            mode = stat.S_IMODE(status.st_mode)
            secret = Path(parent).name == KEYS or name.startswith(DATABASE)
            if stat.S_ISREG(status.st_mode) and secret and mode & 0o077:
                yield found("key-mode", file=str(one), mode=f"{mode:04o}", verb="change" if mode & 0o022 else "read")


def _passphrase(path: Path) -> Iterator[Finding]:
    """Whether the passphrase can be found, without making one."""
    trouble = app_offline.passphrase_trouble(path / KEYS, os.environ)
    if trouble:
        yield found("data-passphrase", directory=str(path), detail=trouble)
