"""Where the passphrase of the key store comes from: a file, the environment, a systemd credential, or a generated default.

The first of these that is set is used:

1. a file that was named (`--passphrase-file`, or `EDGEWARD_PASSPHRASE_FILE`)
2. the environment variable `EDGEWARD_PASSPHRASE`
3. the systemd credential `edgeward-passphrase` (`LoadCredential=`, systemd.exec(5))
4. a generated one in a 0600 file outside the data directory, `~/.config/edgeward/passphrases/ID`: a copy of the data directory alone
   opens nothing; somebody who can read this account's files has both. `docs/explain/keys.md` says what that protects from.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path

from edgeward import files
from edgeward.errors import NotFound, PassphraseGone, UsageError
from edgeward.model.token import Secret

_MAX = 4096
_CREDENTIAL = "edgeward-passphrase"


def find(
    directory: Path, environment: Mapping[str, str], named: Path | None = None, *, generate: bool = True
) -> Secret:
    """The passphrase for the key store in `directory`, generated on first use where none is given.

    Raises `UsageError` for one that is too short, too long or no UTF-8, `NotFound` when a named file is missing or the generated one
    is gone. With `generate` False, `UsageError` where none is given.
    """
    if named is None and environment.get("EDGEWARD_PASSPHRASE_FILE"):
        named = Path(environment["EDGEWARD_PASSPHRASE_FILE"])
    if named is not None:
        # secrets are often mounted as a link to where they are today
        return _checked(files.read_private(named.resolve()), str(named))
    if environment.get("EDGEWARD_PASSPHRASE"):
        return _checked(environment["EDGEWARD_PASSPHRASE"].encode(), "EDGEWARD_PASSPHRASE")
    credentials = environment.get("CREDENTIALS_DIRECTORY")
    if credentials and (Path(credentials) / _CREDENTIAL).exists():
        return _checked(_credential(Path(credentials) / _CREDENTIAL), f"the credential {_CREDENTIAL}")
    if not generate:
        raise UsageError(
            problem="replicas open the keys in their database with one passphrase: give --passphrase-file or EDGEWARD_PASSPHRASE_FILE"
        )
    return _generated(directory, environment)


def _credential(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(problem=f"cannot read the credential {path}: {error.strerror}") from error


def _checked(octets: bytes, source: str) -> Secret:
    try:
        text = octets.decode("utf-8", "strict").rstrip("\r\n") if len(octets) <= _MAX else ""
    except UnicodeDecodeError:
        text = ""
    if len(text) < 8:
        raise UsageError(problem=f"the passphrase in {source} must have between 8 and {_MAX} characters of UTF-8")
    return Secret(text)


def _generated(directory: Path, environment: Mapping[str, str]) -> Secret:
    """The default: a random passphrase under a random name that the key directory remembers."""
    files.make_private_directory(directory)
    mark = directory / "passphrase-id"
    try:
        name = files.read_private(mark).decode("ascii", "replace").strip()
        new = False
    except NotFound:
        name = secrets.token_hex(8)
        new = True
    if not name.isalnum():
        raise UsageError(problem=f"{mark} does not hold the name of a passphrase")
    path = _home(environment) / name
    if new:
        files.make_private_directory(path.parent)
        files.write_private(path, secrets.token_urlsafe(32).encode() + b"\n")
        files.write_private(mark, name.encode() + b"\n")
    try:
        return _checked(files.read_private(path), str(path))
    except NotFound as error:
        raise PassphraseGone(path=path, directory=directory) from error


def place(directory: Path, environment: Mapping[str, str]) -> Path | None:
    """The file of the passphrase that was generated for the key store in `directory`; None where one was given. Makes none."""
    mark = directory / "passphrase-id"
    return _home(environment) / files.read_private(mark).decode("ascii", "replace").strip() if mark.exists() else None


def _home(environment: Mapping[str, str]) -> Path:
    home = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME") or Path.home()) / ".config")
    return home / "edgeward" / "passphrases"
