"""`edgeward doctor`: why does this fail, and what do I type now. Which kind of patient it is, and how its diagnosis is shown.

`PATIENTS` is the table from a kind to the module that examines it; every such module has `examine(asked) -> Diagnosis`.
"""

import importlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from edgeward.cli.address import Server, server
from edgeward.cli.options import data_option, json_option, print_json
from edgeward.errors import UsageError, printable
from edgeward.model.diagnosis import Diagnosis
from edgeward.model.finding import Finding, Side
from edgeward.pki.severity import Severity

PATIENTS = {
    "authority": "edgeward.cli.doctor_authority",
    "files": "edgeward.cli.doctor_files",
    "server": "edgeward.cli.doctor_live",
    "text": "edgeward.cli.doctor_text",
}

_BARE = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+|localhost|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")

_SIDES = {Side.CLIENT: "the client's side", Side.SERVER: "the server's side", Side.NETWORK: "in between"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked on the command line. `things` are the arguments as typed; of the rest, what does not concern a patient is left."""

    things: tuple[str, ...]
    data: Path
    server: Server | None = None
    ca: tuple[str, ...] = ()
    crl: tuple[str, ...] = ()
    cert: str | None = None
    key: str | None = None
    password: str | None = None
    name: str | None = None
    node: str | None = None
    token: str | None = None
    seconds: float = 5.0
    trace: bool = False
    svg: str | None = None
    html: str | None = None
    connect: bool = False


def patient(things: tuple[str, ...]) -> str:
    """Which kind of patient the arguments name: an existing file, else HOST:PORT, else a pasted error; `-` is standard input, nothing
    the authority. Raises `UsageError` for what is neither and has no sense as an error."""
    if not things:
        return "authority"
    if things == ("-",):
        return "text"
    if all(_exists(thing) for thing in things):
        return "files"
    if len(things) == 1 and server(things[0]) is not None:
        return "server"
    if missing := [thing for thing in things if _exists(thing)]:
        other = next(thing for thing in things if thing not in missing)
        raise UsageError(problem=f"there is no file {printable(other)}")
    if len(things) == 1 and _BARE.fullmatch(things[0]):
        raise UsageError(
            problem=f"there is no file {printable(things[0])}; for a server say which port: {printable(things[0])}:10002 (enrolment)"
            f" or {printable(things[0])}:10000 (the hub)"
        )
    return "text"


def _exists(thing: str) -> bool:
    try:
        return os.path.lexists(thing)
    except (OSError, ValueError):
        return False


@click.command()
@click.argument("things", nargs=-1, metavar="[HOST:PORT | FILE... | ERROR | -]")
@click.option("--ca", multiple=True, metavar="FILE", help="The CAs that the client trusts.  [default: the system's]")
@click.option("--cert", metavar="FILE", help="The client's certificate, its intermediates after it.")
@click.option("--key", metavar="FILE", help="The client's private key. It never leaves this machine.")
@click.option("--password", metavar="@FILE", help="Opens an encrypted key: @FILE, - for standard input, env:NAME.")
@click.option("--name", metavar="NAME", help="The name that clients dial, where HOST is another.  [default: HOST]")
@click.option(
    "--token",
    metavar="@FILE|-",
    help="A join token to judge. It is sent only to the server that it pins, and not used up.",
)
@click.option("--node", metavar="NAME", help="The node that the client is.  [default: from the certificate]")
@click.option("--crl", multiple=True, metavar="FILE", help="Revocation lists to judge the server's certificate by.")
@click.option("--trace", is_flag=True, help="Show the handshake message by message.")
@click.option("--svg", metavar="FILE", help="Write the trace as a picture.")
@click.option("--html", metavar="FILE", help="Write the whole diagnosis with its trace as a page.")
@click.option("--connect", is_flag=True, help="Open a session at the hub, too; it replaces the node's live one.")
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(0.1, 120),
    default=5.0,
    show_default=True,
    help="Seconds for each connection and each answer.",
)
@data_option
@json_option
def command(things: tuple[str, ...], as_json: bool, **options: object) -> int:
    """Say why it fails, whose side that is on, and what to type now.

    HOST:PORT (or https://, wss://) is dialled as an edge would, and judged as Go, OpenSSL, Java, Node and browsers would. A FILE, several
    or a directory, is looked at where it lies. Anything else is taken for a pasted ERROR and explained; - reads a log from standard
    input. Nothing at all means the running authority of --data.

    Exit status: 0 nothing above a note, 1 findings, 2 usage, 65 a file that cannot be read, 69 no authority is running.

    \b
    Examples:
      edgeward doctor cloud.example.com:10002 --ca rootCA.crt
      edgeward doctor cloud.example.com:10000 --ca rootCA.crt --cert server.crt --key server.key
      edgeward doctor cloud.example.com:10002 --token @token --node edge-1
      edgeward doctor cloud.example.com:10000 --ca rootCA.crt --trace --html handshake.html
      edgeward doctor 'x509: certificate is valid for 10.0.2.15, not 121.46.27.183'
      journalctl -u edgecore | edgeward doctor -
      edgeward doctor /etc/kubeedge
      edgeward doctor
    """
    kind = patient(things)
    asked = Asked(things=things, server=server(things[0]) if kind == "server" else None, **options)  # type: ignore[arg-type]
    diagnosis: Diagnosis = importlib.import_module(PATIENTS[kind]).examine(asked)
    if as_json:
        print_json(diagnosis.as_json())
    else:
        for line in rendered(diagnosis):
            click.echo(line)
    return 0 if diagnosis.healthy else 1


def rendered(diagnosis: Diagnosis) -> Iterator[str]:
    """The diagnosis for people, line by line; no line is ever wrapped."""
    for section in diagnosis.sections:
        yield click.style(section.title, bold=True)
        yield from (f"  {line}" for line in section.lines)
        yield ""
    for number, finding in enumerate(diagnosis.findings):
        if number:
            yield ""
        yield from _finding(finding)
    if not diagnosis.findings:
        yield f"{click.style('✓', fg='green')} nothing is wrong with {printable(diagnosis.subject, 200)}"
        return
    yield ""
    counts = [(severity, sum(f.severity is severity for f in diagnosis.findings)) for severity in Severity]
    yield ", ".join(f"{count} {severity.value}{'s' if count > 1 else ''}" for severity, count in counts if count)


def _finding(finding: Finding) -> Iterator[str]:
    severity = finding.severity
    head = click.style(f"{severity.mark} {severity.value}", fg=severity.colour, bold=True)
    yield f"{head} {finding.id} {click.style(f'({_SIDES[finding.side]})', dim=True)}"
    yield f"  {click.style(finding.what, bold=True)}"
    yield from (f"  {line}" for line in finding.why)
    if finding.said:
        yield "  what programs print:"
        wide = max(len(program) for program, _ in finding.said)
        yield from (f"    {program:{wide}}  {message}" for program, message in finding.said)
    if finding.remedies:
        yield "  what to type:"
        wide = max(len(remedy.system) for remedy in finding.remedies)
        for remedy in finding.remedies:
            yield f"    {remedy.system:{wide}}  {click.style(printable(remedy.command, 2000), fg='green')}"
            if remedy.words:
                yield f"    {'':{wide}}  {click.style('# ' + printable(remedy.words, 1000), dim=True)}"
