"""The composition root of offline CAs: a directory with a store and keys, opened for one command, without listeners."""

import contextlib
import dataclasses
import getpass
import os
import resource
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgeward import config, files
from edgeward.errors import EdgewardError, Unavailable
from edgeward.keys import passphrase
from edgeward.keys.file import FileKeys
from edgeward.pki.profile import Profile
from edgeward.services.offline import NoCa, OfflineCa
from edgeward.stores.sqlite import open_store

STORE = "edgeward.db"
KEYS = "keys"
LOCK = "lock"


class InUse(Unavailable):
    """A directory that another process works in."""

    sentence = "another edgeward is working in {path} (process {pid})"
    remedy = "wait until it has ended; a running authority signs with `edgeward cert sign --data {path}`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An offline CA that is open, and the profiles of its directory's configuration."""

    ca: OfflineCa
    profiles: Mapping[str, Profile]


def now() -> datetime:
    """The clock: aware UTC."""
    return datetime.now(UTC)


@contextlib.asynccontextmanager
async def directory(
    path: Path, environment: Mapping[str, str], *, new: bool = False, passphrase_file: Path | None = None
) -> AsyncIterator[Opened]:
    """The CA in the directory `path`, held by this process for as long as the block runs.

    `new`: the directory may be empty and its CA is yet to be made. Raises `NoCa`, `InUse`, `WrongPassword`.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the CA's key
    path = path.absolute()
    if not new and not (path / STORE).exists():
        raise NoCa(name=path)
    files.make_private_directory(path)
    with _locked(path):
        settings = config.load(path / config.FILE)
        word = passphrase.find(path / KEYS, environment, passphrase_file)
        store = open_store(path / STORE)
        try:
            ca = OfflineCa(
                store,
                FileKeys(path / KEYS, word),
                place=path,
                trust_domain=settings.authority.trust_domain,
                actor=f"operator:{_user(environment)}",
            )
            if not new:
                await ca.open(now())
            yield Opened(ca=ca, profiles=profiles(settings))
        finally:
            await store.close()


def profiles(settings: config.Config | None = None) -> dict[str, Profile]:
    """The profiles of a directory. A server's certificate says `O=Edgeward` for an authority's own server alone, unless configured."""
    settings = settings or config.Config()
    resolved = settings.resolved_profiles()
    if "server" not in settings.profiles:
        resolved["server"] = dataclasses.replace(resolved["server"], organization="")
    return resolved


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The lock of a running authority, so that the two never have the same store open."""
    descriptor = files.lock(path / LOCK, lambda pid: InUse(path=path, pid=pid))
    try:
        yield
    finally:
        os.close(descriptor)


def _user(environment: Mapping[str, str]) -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return environment.get("USER") or str(os.getuid())


def generated(directory: Path, environment: Mapping[str, str]) -> Path | None:
    """Where the passphrase is that was made for the offline CA in `directory`; None where one was given."""
    return passphrase.place(directory / KEYS, environment)


def passphrase_trouble(directory: Path, environment: Mapping[str, str]) -> str:
    """Why the passphrase of the key store in `directory` cannot be found; empty when it can, or when it is given at every start and is
    nobody's here to look for. Makes none."""
    given = {"EDGEWARD_PASSPHRASE", "EDGEWARD_PASSPHRASE_FILE", "CREDENTIALS_DIRECTORY"}
    if not (directory / "passphrase-id").exists() and not given & environment.keys():
        return ""
    try:
        passphrase.find(directory, environment)
    except EdgewardError as error:
        return str(error)
    return ""
