"""Files written whole or not at all, private ones readable by their owner alone, and locks.

The rules, for private files whatever the umask is:

- A file appears under its name complete, or not at all: it is written under a temporary name (`O_CREAT|O_EXCL|O_NOFOLLOW`, 0600), synced,
  renamed, and then its directory is synced. A crash leaves the old file or the new one, and perhaps a temporary one for `sweep`.
- Nothing that somebody else put in the way is written to or through: a symbolic link, a FIFO, a device, a hard link, a stranger's
  file or directory is refused.
- A secret that its group or the world can read is not read: it is no secret any more, and its owner should know.

Every step is announced to `step`, a function that does nothing except in tests, which fail or kill the process there.
"""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeward.errors import (
    AlreadyExists,
    CannotWrite,
    EdgewardError,
    InsecureDirectory,
    InsecureFile,
    NotFound,
    StoreUnavailable,
    TooLarge,
)

LIMIT = 1024 * 1024
"""Octets that a private file may have when it is read: keys, certificates and passphrases have under 100 KiB."""

_TEMPORARY = re.compile(r"\.(?P<name>[^/]+)\.[0-9a-f]{16}\.part")

Step = Callable[[str], None]
"""Is told the name of a step just before it is taken."""


def no_step(_name: str) -> None:
    """The step announcement of production: nothing."""


def write_private(path: Path, octets: bytes, *, step: Step = no_step) -> None:
    """Make `octets` the content of the file `path`, mode 0600, replacing a plain file of ours if there is one.

    Raises `InsecureFile` when something else than a plain file of this user is there, `StoreUnavailable` when it cannot be written.
    """
    _only_a_plain_file(path)
    with _Temporary(path, octets, step) as temporary:
        step("rename")
        temporary.rename(path)
        sync_directory(path.parent, step=step)


def create_private(path: Path, octets: bytes, *, step: Step = no_step) -> None:
    """Make a new file `path` with `octets`, mode 0600. Of several processes that do it at once exactly one succeeds.

    Raises `AlreadyExists` when anything has that name, `StoreUnavailable` when it cannot be written.
    """
    with _Temporary(path, octets, step) as temporary:
        step("link")
        try:
            os.link(temporary, path, follow_symlinks=False)
        except FileExistsError as error:
            raise AlreadyExists(what="file", name=path) from error
        sync_directory(path.parent, step=step)


def write_output(
    path: Path, octets: bytes, *, mode: int, exact: bool = True, replace: bool = True, sync: bool = True
) -> None:
    """Make `octets` the content of `path`, a file that somebody asked for, in the same way: `mode` is its mode, less the umask unless
    `exact`. Without `replace` it must be new. Not `sync`: one of many, after which the whole file system is synced.

    Raises `AlreadyExists` when it is there and is not to be replaced, `StoreUnavailable` when it cannot be written.
    """
    with _Temporary(path, octets, no_step, mode=mode, exact=exact, sync=sync) as temporary:
        if replace:
            temporary.rename(path)
        else:
            try:
                os.link(temporary, path, follow_symlinks=False)  # a rename would replace what has appeared meanwhile
            except FileExistsError as error:
                raise AlreadyExists(what="file", name=path) from error
        if sync:
            sync_directory(path.parent)


UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""What the system says when there is no room, or when nothing may be written at all."""


def cannot_write(path: Path, error: OSError) -> CannotWrite:
    """What is said of `path`: a temporary file is called by the name that it was to get."""
    named = path.with_name(found["name"]) if (found := _TEMPORARY.fullmatch(path.name)) else path
    return CannotWrite(path=named, directory=named.parent, why=error.strerror or str(error))


def write_new(
    path: Path, octets: bytes, *, step: Step = no_step, mode: int = 0o600, exact: bool = True, sync: bool = True
) -> None:
    """Write and sync a file that must not exist, under its own name: for temporary files, and for directories that nobody looks into
    yet. A crash may leave a part of it. `mode`, `exact` and `sync` are as for `write_output`.

    Raises `InsecureFile` when anything has that name, `StoreUnavailable` when it cannot be written.
    """
    step("open")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise InsecureFile(path=path, why="something is in the way of a new file of that name") from error
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        if exact:
            os.fchmod(descriptor, mode)
        step("write")
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        step("fsync")
        if sync:
            os.fsync(descriptor)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        os.close(descriptor)


def make_private_directory(path: Path) -> None:
    """Make the directory `path` (and its parents) with mode 0700, whatever the umask. One that exists is left as it is.

    Raises `InsecureDirectory` when it exists and is a symbolic link or no directory, is a stranger's, or others may write to it;
    `StoreUnavailable` when it cannot be made.
    """
    try:
        if not path.parent.exists():
            make_private_directory(path.parent)
        path.mkdir(mode=0o700)
        path.chmod(0o700)
        sync_directory(path.parent)
    except FileExistsError:
        check_directory(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def check_directory(path: Path) -> None:
    """Raise `InsecureDirectory` unless `path` is a directory of this user (or root) into which nobody else may write."""
    try:
        found = path.lstat()
    except OSError as error:
        raise NotFound(what="directory", name=path) from error
    if not stat.S_ISDIR(found.st_mode):
        raise InsecureDirectory(path=path, why="it is not a directory")
    if found.st_uid not in (os.geteuid(), 0):
        raise InsecureDirectory(path=path, why="it belongs to another user")
    if found.st_mode & 0o022:
        raise InsecureDirectory(path=path, why="others may write into it")


def read_private(path: Path, *, limit: int = LIMIT) -> bytes:
    """The content of the file `path`, at most `limit` octets.

    Raises `NotFound` when it is not there, `InsecureFile` when it is not a plain file of this user (or root) or when its group or
    the world may read or write it, `TooLarge`, or `StoreUnavailable` when it cannot be read.
    """
    return _read(path, limit, forbidden=0o077)


def read_plain(path: Path, *, limit: int = LIMIT) -> bytes:
    """The content of the file `path` like `read_private`, but for what is no secret and must only not be another's: a CA
    certificate, a configuration. Others may read it; they may not write it."""
    return _read(path, limit, forbidden=0o022)


def _read(path: Path, limit: int, forbidden: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(what="file", name=path) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InsecureFile(path=path, why="it is a symbolic link") from error
        raise StoreUnavailable(why=f"cannot read {path}: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise InsecureFile(path=path, why="it is not a plain file")
        if found.st_uid not in (os.geteuid(), 0):
            raise InsecureFile(path=path, why="it belongs to another user")
        if found.st_mode & forbidden:
            raise InsecureFile(path=path, why=f"others may {'read' if forbidden & 0o044 else 'write'} it")
        octets = b""
        while len(octets) <= limit and (piece := os.read(descriptor, limit + 1 - len(octets))):
            octets += piece
    except OSError as error:
        raise StoreUnavailable(why=f"cannot read {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(octets) > limit:
        raise TooLarge(what=str(path), limit=limit)
    return octets


def sync_directory(path: Path, *, step: Step = no_step) -> None:
    """Make what happened to the names in the directory `path` survive a loss of power."""
    step("fsync directory")
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(path: Path, taken: Callable[[str], EdgewardError]) -> int:
    """Hold the file `path`, made if need be, as a lock: until the descriptor that is returned is closed, or this process ends. It has the
    process's number in it. When another one holds it, what `taken` makes of its number is raised.

    Raises also `InsecureFile` when it cannot be opened for what is in its place, `CannotWrite` when the disk says no.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno in UNWRITABLE:
            raise cannot_write(path, error) from error
        raise InsecureFile(path=path, why=error.strerror or str(error)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except BlockingIOError as error:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "?"
        os.close(descriptor)
        raise taken(holder) from error
    except OSError as error:
        os.close(descriptor)
        raise cannot_write(path, error) from error
    return descriptor


def room(path: Path) -> tuple[int, int]:
    """Octets that are free on the disk of `path`, and octets in all; zeros where nobody can say."""
    try:
        usage = os.statvfs(path)
    except OSError:
        return 0, 0
    return usage.f_bavail * usage.f_frsize, usage.f_blocks * usage.f_frsize


def sweep(directory: Path) -> None:
    """Remove the temporary files that a crash left in `directory`. For its one owner, when nobody else is writing there."""
    for entry in directory.iterdir():
        if _TEMPORARY.fullmatch(entry.name) and stat.S_ISREG(entry.lstat().st_mode):
            entry.unlink(missing_ok=True)


def _only_a_plain_file(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot_write(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise InsecureFile(path=path, why="it is not a plain file")
    if found.st_nlink != 1:
        raise InsecureFile(path=path, why="it has a second name (a hard link)")
    if found.st_uid not in (os.geteuid(), 0):
        raise InsecureFile(path=path, why="it belongs to another user")


class _Temporary:
    """A file beside `path`, written as `how` says, that is gone when the block ends, unless it was renamed."""

    def __init__(self, path: Path, octets: bytes, step: Step, **how: Any) -> None:
        self._path = path.with_name(f".{path.name}.{os.urandom(8).hex()}.part")
        self._octets = octets
        self._step = step
        self._how = how

    def __enter__(self) -> Path:
        try:
            write_new(self._path, self._octets, step=self._step, **self._how)
        except StoreUnavailable:
            self._path.unlink(missing_ok=True)
            raise
        return self._path

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(self._path, error) from error
