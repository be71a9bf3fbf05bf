"""Options that several commands share, and how their values are read: the data directory, durations, JSON."""

import json
import os
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from edgeward.errors import UsageError

_F = TypeVar("_F", bound=Callable[..., Any])

SOCKET = "admin.sock"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def default_data() -> Path:
    """The data directory when none is named: `EDGEWARD_DATA`, else `edgeward` in the XDG data home."""
    named = os.environ.get("EDGEWARD_DATA")
    return Path(named) if named else usual_data()


def usual_data() -> Path:
    """The data directory in a terminal in which nobody has set `EDGEWARD_DATA`."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "edgeward"


def data_option(function: _F) -> _F:
    """`--data DIR`: the data directory of the authority."""
    return click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        default=default_data,
        show_default="$EDGEWARD_DATA or ~/.local/share/edgeward",
        help="Data directory of the authority.",
    )(function)


def json_option(function: _F) -> _F:
    """`--json`: output for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def json_text(value: Any, *, indent: int = -1) -> str:
    """`value` as JSON (RFC 8259) that a terminal may be shown: what is not printable is a `\\u…` escape, which means the same to a program.

    A string in it may be a device's, and U+009B begins a command to a terminal as ESC does. `indent` below 0: in one line.
    """
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:  # the name of a file that is no text (PEP 383)
        encoded = msgspec.json.encode(_as_text(msgspec.to_builtins(value)))
    text = (encoded if indent < 0 else msgspec.json.format(encoded, indent=indent)).decode()
    return _NOT_ASCII.sub(_escaped, text)


def _as_text(value: Any) -> Any:
    """`value` with `\\udc..` for each octet that is no text."""
    if isinstance(value, dict):
        return {_as_text(name): _as_text(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_as_text(one) for one in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


_NOT_ASCII = re.compile(r"[^\n\x20-\x7e]")


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isprintable() else json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"


def print_json(value: Any) -> None:
    """`value` as indented JSON on standard output."""
    click.echo(json_text(value, indent=2))


def duration(text: str) -> timedelta:
    """`24h`, `7d`, `30m`, `90s`, `2w` as a time span. Raises `UsageError`."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw])", text.strip())
    if match is None:
        raise UsageError(problem=f"{text!r} is not a duration; write 90s, 30m, 24h, 7d or 2w")
    try:
        return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    except OverflowError as error:
        raise UsageError(problem=f"{text!r} is longer than any time span here") from error


def counted(number: int, name: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def ago(moment: datetime, now: datetime) -> str:
    """How long ago `moment` was, in one unit: `12 s`, `3 min`, `5 h`, `2 d`."""
    seconds = max(0, int((now - moment).total_seconds()))
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // divisor} {unit}"
    return f"{seconds // 86400} d"


class Group(click.Group):
    """A group of commands whose list shows the first sentence of each one whole."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
            formatter.write_dl([(name, one.get_short_help_str(1000)) for name, one in found if one is not None])
