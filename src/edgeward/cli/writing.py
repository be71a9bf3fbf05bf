"""What commands write: whole files or none, secrets for their owner alone, nothing overwritten by accident."""

import sys
from pathlib import Path

from edgeward import files
from edgeward.errors import AlreadyExists, UsageError


class WillNotOverwrite(AlreadyExists):
    """An output file that is there already."""

    sentence = "{name} exists already"
    remedy = "choose another name, or overwrite it with --force"
    exit_status = 2


def write(name: str, data: bytes, *, secret: bool, force: bool = False) -> None:
    """Write `data` to the file `name`, or to standard output for `-`.

    The file appears whole or not at all. A secret one has the mode 0600 from its first octet, any other 0644 less the umask. Raises
    `WillNotOverwrite` unless `force`, `UsageError` for something that is no plain file, `StoreUnavailable` when the disk says no.
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
    mode = 0o600 if secret else 0o644
    try:
        files.write_output(path, data, mode=mode, exact=secret, replace=force)
    except AlreadyExists as error:
        raise WillNotOverwrite(name=name) from error
