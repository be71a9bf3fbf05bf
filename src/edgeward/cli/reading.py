"""What commands read: files, standard input, directories and passwords, all with limits."""

import os
import shlex
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from edgeward.cli import address
from edgeward.errors import EdgewardError, InputError, PasswordNeeded, TooLarge, Unavailable, UsageError, printable
from edgeward.pki.formats.detect import MAX_INPUT, detect
from edgeward.pki.formats.item import Item, Kind

MAX_SECRET = 64 * 1024
"""Octets of a file with a password or a token: its first line counts."""

MAX_FILES = 10_000
"""Files of one directory that are looked at."""


class In(InputError):
    """What went wrong, with the name of the input in front."""

    sentence = "{name}: {problem}"
    remedy = "{next}"

    def __init__(self, name: str, error: EdgewardError) -> None:
        fallback = _next(name, error)
        name = "standard input" if name == "-" else name
        super().__init__(
            name=name, problem=printable(str(error).removeprefix(f"{name} "), 400), next=error.hint or fallback
        )
        self.error = error
        self.exit_status = error.exit_status  # type: ignore[misc]

    @property
    def code(self) -> str:
        """The code of the error itself: the name in front changes nothing."""
        return self.error.code


class IsDirectory(UsageError):
    """A directory where a file belongs. Of an offline CA's directory, the CA's certificate was meant."""

    sentence = "{name} is a directory"
    remedy = "name what is in it: {meant}"

    def __init__(self, name: str) -> None:
        super().__init__(
            name=name,
            meant=f"{shlex.quote(str(Path(name)))}/{'ca.crt' if (Path(name) / 'edgeward.db').exists() else '*'}",
        )


class NotThere(Unavailable):
    """A file that is not there, or may not be read."""

    sentence = "{name}: {why}"
    remedy = "{near}"


def near(name: str) -> str:
    """What to do about a file `name` that is not there: the one beside it whose name is most like it, if any."""
    path = Path(name)
    try:
        beside = [one.name for one in path.parent.iterdir()] if not os.path.lexists(name) else []
    except (OSError, ValueError):
        beside = []
    like = import_module("difflib").get_close_matches(path.name, beside, 1)
    return f"did you mean {path.parent / like[0]}?" if like else ""


def _next(name: str, error: EdgewardError) -> str:
    """What to do about an input that cannot be used, where the error itself does not say. Whoever made the file has named it."""
    file = shlex.quote(printable(name, 1000))
    if name == "-":
        return "see what comes in: the command before the |, by itself" if error.code == "unreadable" else ""
    if error.code == "too-large":
        return f"nothing that is meant to be read here is that large; see how it begins: head -c 200 {file}"
    if error.code != "unreadable":
        return ""
    if error.facts["why"] == "it is empty":
        return "nothing was written to it: make it again, or name another one"
    if "PEM" in error.facts["what"]:
        return "copy it again and whole, from the -----BEGIN line to the -----END line"
    if error.facts["what"] == "file" or not Path(name).exists():
        return f"see how it begins: head -c 200 {file}"
    return f"see where it breaks: edgeward inspect --asn1 {file}"


def octets(name: str, limit: int = MAX_INPUT) -> bytes:
    """The content of the file `name`, or of standard input for `-`.

    Raises `Unavailable` for a file that is not there or may not be read, `UsageError` for a directory, `TooLarge` for
    more than `limit` octets.
    """
    if name == "-":
        data = sys.stdin.buffer.read(limit + 1)
    else:
        try:
            with Path(name).open("rb") as file:
                if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
                    raise IsDirectory(name)
                data = file.read(limit + 1)
        except IsADirectoryError as error:
            raise IsDirectory(name) from error
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise NotThere(name=name, why=why.lower(), near=near(name)) from error
    if len(data) > limit:
        raise TooLarge(what=name, limit=limit)
    return data


def server(name: str) -> address.Server | None:
    """The live server that `name` is, HOST:PORT or a URL, where no file is called so. Raises `UsageError` for a port that cannot be."""
    return None if ":" not in name or os.path.lexists(name) else address.server(name)


def greeted(name: str, server_name: str | None = None) -> Any:
    """What the live server `name` shows, as `transports.probe.Greeting`; None when `name` is none."""
    live = server(name)
    if live is None:
        return None
    # The network is needed for a live server only, and loading it takes as long as everything else.
    return import_module("edgeward.transports.probe").greet(live.host, live.port, server_name=server_name)


def items(name: str, password: str | None = None) -> list[Item]:
    """Everything in the file `name`, or the certificates that the server HOST:PORT sends, in its order. Raises `In` with the file's
    name in front of what is wrong, and as `probe.greet` does.
    """
    if greeting := greeted(name):
        return [Item(kind=Kind.CERTIFICATE, data=der, origin=name, encoding="TLS") for der in greeting.certificates]
    data = octets(name)
    try:
        return detect(data, password=password, name=name)
    except EdgewardError as error:
        raise In(name, error) from error


def files(directory: str) -> Iterator[str]:
    """The plain files below `directory` in the order of their names, hidden ones and links left out, at most
    `MAX_FILES`.
    """
    count = 0
    for parent, folders, names in os.walk(directory):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if name.startswith(".") or path.is_symlink() or not path.is_file():
                continue
            count += 1
            if count > MAX_FILES:
                return
            yield str(path)


def secret(text: str | None, *, option: str = "--password") -> str | None:
    """The secret that an option's value names: `@FILE` (its first line), `-` (standard input's first line),
    `env:NAME`, or the text itself, with a warning, because other users of the machine see it in the list of
    processes.

    None stays None. Raises `UsageError` for an unset variable, and for a file that is no text or begins like a PEM file, whose first line
    everybody knows.
    """
    if text is None:
        return None
    if text.startswith("@") or text == "-":
        data = sys.stdin.buffer.readline(MAX_SECRET) if text == "-" else octets(text[1:], MAX_SECRET)
        line = data.split(b"\n", 1)[0].removesuffix(b"\r")
        if line.startswith(b"-----BEGIN") or b"\0" in line:
            raise NotASecret(option=option, name="standard input" if text == "-" else text[1:])
        return line.decode("utf-8", "surrogateescape")
    if text.startswith("env:"):
        value = os.environ.get(text[4:])
        if value is None:
            raise UsageError(problem=f"{option}: the environment variable {text[4:]} is not set")
        return value
    sys.stderr.write(
        f"warning: {option}: a secret on the command line is seen by everybody on this machine; use @FILE or -\n"
    )
    return text


class NotASecret(UsageError):
    """A file that is something else, given where the file with a password or a token belongs."""

    sentence = "{option}: {name} holds no password or token, but something else"
    remedy = "put the password alone into a file of its own: {option} @FILE"


def moment(text: str | None) -> datetime:
    """A date or a time as aware UTC, which it is where it names no zone; now for None. Raises `UsageError`."""
    if text is None:
        return datetime.now(UTC)
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            problem=f"{printable(text)} is not a time: write it like 2027-01-31 or 2027-01-31T12:00:00Z"
        ) from error


class NewPasswordNeeded(PasswordNeeded):
    """Something secret is to be written, and nothing says under which password."""

    sentence = "the output is encrypted and no password was given"
    remedy = "put a password in a file and give it with {option} @FILE{or_clear}"


def asked(prompt: str, *, twice: bool = False, option: str = "--password", or_clear: str = "") -> str:
    """A password typed by the person at the terminal. Raises `PasswordNeeded` where there is no terminal."""
    if not sys.stdin.isatty():
        raise NewPasswordNeeded(option=option, or_clear=or_clear) if twice else PasswordNeeded(what="the input")
    getpass = import_module("getpass").getpass
    typed = str(getpass(f"{prompt}: ", stream=sys.stderr))
    if twice and getpass(f"{prompt} again: ", stream=sys.stderr) != typed:
        raise UsageError(problem="the two passwords differ")
    return typed
