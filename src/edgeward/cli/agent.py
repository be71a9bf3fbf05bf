"""`edgeward agent`: keep this node connected to its hub, and say how it is."""

import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from edgeward.agent import status as statuses
from edgeward.agent.certificates import Certificates
from edgeward.agent.endpoint import HUB_PORT, Endpoint
from edgeward.agent.status import Certificate, Status
from edgeward.cli.join import agents_home
from edgeward.cli.options import Group, json_option, print_json
from edgeward.errors import NotJoined, UsageError, printable

_directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="Directory of the node.  [default: the only one in ~/.local/state/edgeward/agent]",
)


@click.group(cls=Group, invoke_without_command=True)
@_directory_option
@click.option("--hub", metavar="HOST:PORT", help="The hub, this time.  [default: what agent.toml says]")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.pass_context
def command(context: click.Context, directory: Path | None, hub: str | None, log_level: str) -> None:
    """Keep this node connected to its hub until SIGTERM or Ctrl-C, and its certificate fresh.

    A connection that ends is dialled again with growing waits; the certificate is renewed between 70 and 90 % of its life, with a new
    key. Runs under systemd with Type=notify and its watchdog.

    \b
    Examples:
      edgeward agent
      edgeward agent --dir /var/lib/edgeward-agent --hub 203.0.113.7:30000
      edgeward agent status --json
    """
    if context.invoked_subcommand is not None:
        context.obj = directory
        return
    files = Certificates(directory or _only_directory())
    files.settings()  # what is wrong with them is said here
    if hub is not None:
        Endpoint.parse(hub, default_port=HUB_PORT, scheme="wss")
    sys.stdout.flush()
    sys.stderr.flush()
    arguments = [sys.executable, "-m", "edgeward.agent", str(files.directory), log_level, hub or ""]
    os.execv(sys.executable, arguments)  # noqa: S606  # the same process without the command line in its memory


@command.command("status")
@_directory_option
@json_option
@click.pass_obj
def status(before: Path | None, directory: Path | None, as_json: bool) -> int:
    """Say whether the agent runs, what it is connected to, since when, and until when its certificate is valid.

    The exit status is 0 when it is connected with a certificate in its time, and 1 when somebody should look.

    \b
    Examples:
      edgeward agent status
      edgeward agent status --dir /var/lib/edgeward-agent/node --json
    """
    files = Certificates(directory or before or _only_directory())
    now = datetime.now(UTC)
    found = statuses.ask(files.directory) or _stopped(files)
    if as_json:
        print_json(found)
    else:
        _say(found, now, f" --dir {shlex.quote(str(files.directory))}" if directory or before else "")
    return 0 if found.good(now) else 1


def _stopped(files: Certificates) -> Status:
    """What the files say when no agent runs on them."""
    certificate = files.pair().certificate
    dates = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    return Status(
        node=files.settings().node,
        state="stopped",
        certificate=Certificate(serial=f"{certificate.serial_number:x}", not_before=dates[0], not_after=dates[1]),
    )


def _say(found: Status, now: datetime, where: str) -> None:
    lines = {"state": _state(found)}
    if found.hub:
        lines["hub"] = f"{found.hub} ({found.transport})"
    lines["certificate"] = found.certificate.serial
    lines["valid until"] = _moment(found.certificate.not_after) + _expired(found.certificate, now)
    if found.certificate.renewal_at is not None:
        lines["renewal"] = _moment(found.certificate.renewal_at)
    if found.last_error_at is not None:
        lines["last error"] = f"{printable(found.last_error, 500)} ({_moment(found.last_error_at)})"
        if found.last_hint and found.state != "connected":
            lines["next"] = printable(found.last_hint, 500)
    if found.state == "stopped":
        lines["next"] = f"start it: edgeward agent{where}"
    click.echo(f"node {click.style(printable(found.node), bold=True)}")
    for name, words in lines.items():
        click.echo(f"  {name:<12} {words}")


def _state(found: Status) -> str:
    if found.since is None:
        return "no agent is running on its directory"
    return f"{printable(found.state)} since {_moment(found.since)}"


def _expired(certificate: Certificate, now: datetime) -> str:
    if now >= certificate.not_after:
        return " (it has expired)"
    return " (it is not valid yet)" if now < certificate.not_before else ""


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _only_directory() -> Path:
    """The one directory that was joined. Raises `NotJoined` or `UsageError`."""
    home = agents_home()
    found = sorted(entry for entry in home.iterdir() if (entry / "agent.toml").exists()) if home.is_dir() else []
    if not found:
        raise NotJoined(directory=home)
    if len(found) > 1:
        raise UsageError(problem=f"there are several nodes here, choose one: --dir {' | '.join(map(str, found))}")
    return found[0]
