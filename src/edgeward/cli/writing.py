"""What commands write: whole files or none, secrets for their owner alone, nothing overwritten by accident."""

import contextlib
import os
import sys
from pathlib import Path

from edgeward.errors import AlreadyExists, Unavailable, UsageError


class WillNotOverwrite(AlreadyExists):
    """An output file that is there already."""

    sentence = "{name} exists already"
    remedy = "choose another name, or overwrite it with --force"
    exit_status = 2


def write(name: str, data: bytes, *, secret: bool, force: bool = False) -> None:
    """Write `data` to the file `name`, or to standard output for `-`.

    The file appears whole or not at all: a temporary one beside it is written, synced and renamed. A secret one has
    the mode 0600 from its first octet, any other 0644 less the umask. Raises `WillNotOverwrite` unless `force`,
    `UsageError` for something that is no plain file, `Unavailable` when the disk says no.
    """
    if name == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UsageError(problem=f"{name} is not a plain file")
    if path.exists() and not force:
        raise WillNotOverwrite(name=name)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    mode = 0o600 if secret else 0o644
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if secret:
                    os.fchmod(file.fileno(), 0o600)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if force:
                temporary.replace(path)
            else:
                # A link fails when the name has appeared meanwhile, a rename would replace it.
                os.link(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
        _sync(path.parent)
    except FileExistsError as error:
        raise WillNotOverwrite(name=name) from error
    except OSError as error:
        raise Unavailable(problem=f"{name}: {(error.strerror or str(error)).lower()}") from error


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
