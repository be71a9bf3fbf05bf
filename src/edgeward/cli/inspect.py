"""`edgeward inspect`: say what anything is."""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import click

from edgeward.cli import reading
from edgeward.errors import EdgewardError, InputError, PasswordNeeded, printable
from edgeward.pki.formats.item import Item, Kind, leaves, summary
from edgeward.pki.inspect import describe, text
from edgeward.pki.inspect.report import Report


@click.command("inspect")
@click.argument("inputs", nargs=-1, required=True, metavar="ANYTHING...")
@click.option("--asn1", is_flag=True, help="Draw the DER as a tree with offsets, tags, lengths and what each field is.")
@click.option(
    "--json", "as_json", is_flag=True, help="Write JSON for programs; its fields are added to, never renamed."
)
@click.option("--password", metavar="@FILE", help="Open what is encrypted: @FILE, - for standard input, env:NAME.")
@click.option("--name", "server_name", metavar="NAME", help="For HOST:PORT: the name to ask for and to compare with.")
def command(inputs: tuple[str, ...], asn1: bool, as_json: bool, password: str | None, server_name: str | None) -> None:
    """Say what ANYTHING is: a file, a directory, - for standard input, or HOST:PORT for a live server.

    Certificates, chains, requests, keys (never printed), revocation lists, OCSP, PKCS#7, PKCS#12, Java key stores,
    Kubernetes Secrets and kubeconfig files, KubeEdge tokens: PEM, DER or BER. It finds out by itself what it was
    given, explains every field, and warns of what will bite. It never says that anything is trusted: ask `edgeward
    verify` for that.

    Exit status: 0 everything was read, 65 something was not, 69 a file or a server was not there.

    \b
    Examples:
      edgeward inspect server.crt
      edgeward inspect device.p12 --password @password.txt
      edgeward inspect --asn1 ca.der
      edgeward inspect cloud.example:10002
      kubectl get secret -n kubeedge casecret -o yaml | edgeward inspect -
    """
    secret = reading.secret(password)
    now = datetime.now(UTC)
    failures: list[EdgewardError] = []
    reports: list[tuple[str, Report]] = []
    heap: list[Item] = []
    for name, target in _targets(inputs):
        try:
            if asn1:
                _draw(name, reading.items(name, secret), several=len(inputs) > 1)
                continue
            report, items = _look(name, secret, now, server_name)
            if not report.parts and not as_json:
                for failure in _failures(name, report):
                    raise failure
        except EdgewardError as error:
            if target == "inside":
                continue
            failures.append(error)
            if as_json:
                reports.append((name, Report(kind="unreadable", title="unreadable", problem=error)))
            continue
        reports.append((name, report))
        heap += items
        failures += _failures(name, report)
    if not asn1:
        _write(reports, as_json=as_json, several=len(reports) > 1 or len(inputs) > 1)
        if len(reports) > 1 and not as_json:
            _write_heap(heap, now)
    _finish(failures)


def _targets(inputs: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Every input, directories taken apart; files inside them that hold nothing of ours are passed over."""
    for name in inputs:
        if name != "-" and Path(name).is_dir():
            for inside in reading.files(name):
                yield inside, "inside"
        else:
            yield name, "given"


def _look(name: str, secret: str | None, now: datetime, server_name: str | None) -> tuple[Report, list[Item]]:
    greeting = reading.greeted(name, server_name)
    if greeting is not None:
        host = server_name or greeting.host
        describer = import_module("edgeward.pki.inspect.server")
        return describer.report(
            greeting.address, host, greeting.certificates, greeting.version, greeting.cipher, now
        ), []
    items = reading.items(name, secret)
    return describe.together(items, now), items


def _failures(name: str, report: Report) -> Sequence[EdgewardError]:
    """The problems that make the exit status 65. Something locked is none: that it is locked is what there is to
    say.
    """
    problems = {
        str(part.problem): part.problem
        for part in report.walk()
        if part.problem is not None and not isinstance(part.problem, PasswordNeeded)
    }
    return [reading.In(name, problem) for problem in problems.values()][:10]


def _write(reports: list[tuple[str, Report]], *, as_json: bool, several: bool) -> None:
    if as_json:
        json = import_module("json")
        written = [{"input": printable(name, 1000), **report.as_json()} for name, report in reports]
        sys.stdout.write(json.dumps({"inputs": written}, indent=2, ensure_ascii=False) + "\n")
        return
    lines: list[str] = []
    for place, (name, report) in enumerate(reports):
        if several:
            lines += [*([""] if place else []), f"── {printable(name, 1000)}"]
        lines += text.lines(report)
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _write_heap(items: list[Item], now: datetime) -> None:
    """How the certificates of several files belong together."""
    found = [item for item in leaves(items) if item.kind is Kind.CERTIFICATE and item.problem is None]
    certificates = list({item.data: item for item in found}.values())
    if len(certificates) < 2:
        return
    report = describe.together(certificates, now)._replace(parts=(), warnings=(), title="together")
    sys.stdout.write("".join(f"{line}\n" for line in ["", *text.lines(report)]))


def _draw(name: str, items: list[Item], *, several: bool) -> None:
    drawing = import_module("edgeward.pki.inspect.asn1_text")
    if several:
        sys.stdout.write(f"── {printable(name, 1000)}\n")
    # A container that is no ASN.1 itself is drawn by its parts.
    drawn = [
        item
        for top in items
        for item in (leaves([top]) if top.kind in {Kind.JKS, Kind.JCEKS} or not top.data else [top])
    ]
    drawn = [item for item in drawn if item.data and item.kind is not Kind.KUBEEDGE_TOKEN]
    if not drawn:
        raise InputError(problem=f"{printable(name)} holds no ASN.1, but {summary(leaves(items))}")
    for item in drawn:
        sys.stdout.write(f"{item.kind.words}{f' ({item.origin})' if item.origin else ''}\n")
        for line in drawing.lines(item.data, item.kind):
            sys.stdout.write(f"{line}\n")


def _finish(failures: list[EdgewardError]) -> None:
    """Raise the one failure, or say all of them and raise their sum."""
    if len(failures) == 1:
        raise failures[0]
    for failure in failures:
        sys.stderr.write(f"error: {printable(str(failure), 600)}\n")
    if failures:
        raise SomeUnread(count=len(failures))


class SomeUnread(InputError):
    """Several inputs or parts of them could not be read; each was said already."""

    sentence = "{count} things could not be read"
    remedy = "look at one of them alone: edgeward inspect --asn1 FILE"
