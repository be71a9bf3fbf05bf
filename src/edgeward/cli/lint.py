"""`edgeward lint`: what is wrong with certificates, rule by rule, for people and for build servers."""

import json
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click
from cryptography import x509

from edgeward.cli import reading, rfc5280
from edgeward.errors import EdgewardError, UsageError, printable
from edgeward.pki import lint, parse
from edgeward.pki.formats.item import Item, Kind, WrongKind, leaves, summary
from edgeward.pki.inspect.names import dn
from edgeward.pki.lint import Finding
from edgeward.pki.severity import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class _Linted:
    """A certificate of a file with its findings; a file alone where `certificate` is None."""

    file: str
    place: int
    certificate: x509.Certificate | None
    findings: tuple[Finding, ...]

    @property
    def subject(self) -> str:
        return dn(self.certificate.subject) if self.certificate is not None else ""


@click.command("lint")
@click.argument("inputs", nargs=-1, metavar="FILE...")
@click.option(
    "--fail-on",
    type=click.Choice([*(one.value for one in Severity), "never"]),
    default=Severity.ERROR.value,
    show_default=True,
    help="The mildest finding that makes the exit status 1.",
)
@click.option("--ignore", multiple=True, metavar="ID", help="Leave this rule out; may be given several times.")
@click.option("--at", metavar="TIME", help="Judge as of this time and not now: 2027-01-31 or 2027-01-31T12:00:00Z.")
@click.option("--no-rfc5280", "ours_alone", is_flag=True, help="Our own rules alone, without pkilint's.")
@click.option("--password", metavar="@FILE", help="Open what is encrypted with it.")
@click.option("--rules", "list_rules", is_flag=True, help="List our own rules and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(  # noqa: PLR0913, PLR0917 - one parameter for each option
    context: click.Context, inputs: tuple[str, ...], fail_on: str, ignore: tuple[str, ...], at: str | None,
    ours_alone: bool, password: str | None, list_rules: bool, as_json: bool,
) -> None:  # fmt: skip
    """Judge the certificates in FILE... by the rules of a private PKI, of devices and of mutual TLS, and by RFC 5280.

    Give the certificates of a fleet together, with their CAs: then shared keys, serial numbers and issuers are compared. RFC 5280 to
    the letter is pkilint's work, if it is installed (pip install 'edgeward[lint]').

    \b
    Examples:
      edgeward lint server.crt ca.crt
      edgeward lint fleet/*.crt ca.crt --fail-on warning --json
      edgeward lint device.crt --ignore issuer-is-root

    \b
    Exit status: 0 nothing at or above --fail-on, 1 findings, 2 wrong usage, 65 a file cannot be read.
    """
    if list_rules:
        _print_rules(as_json)
        return
    if not inputs:
        raise UsageError(problem="give at least one file, or --rules")
    with_rfc = not ours_alone and rfc5280.installed()
    unknown = [name for name in ignore if name not in lint.IDS and not (with_rfc or "." in name)]
    if unknown:
        raise UsageError(problem=f"no rule is called {printable(unknown[0])}; see edgeward lint --rules")
    now = reading.moment(at)
    linted = [_without(each, ignore) for each in _lint(inputs, reading.secret(password), now, with_rfc=with_rfc)]
    note = "" if ours_alone or with_rfc else f"RFC 5280 to the letter was not checked: {rfc5280.INSTALL}"
    if as_json:
        _print_json(linted, rfc=with_rfc, note=note)
    else:
        _print_text(linted, note)
    findings = [finding for each in linted for finding in each.findings]
    failed = fail_on != "never" and any(finding.severity.reaches(Severity(fail_on)) for finding in findings)
    context.exit(1 if failed else 0)


def _lint(inputs: tuple[str, ...], password: str | None, now: datetime, *, with_rfc: bool) -> list[_Linted]:
    found: list[tuple[str, int, x509.Certificate, bytes]] = []
    files: list[_Linted] = []
    for name in inputs:
        items = list(leaves(reading.items(name, password)))
        files += _judge_file(name, items)
        place = 0
        for item in items:
            if item.kind is not Kind.CERTIFICATE and (item.problem is None or item.kind is Kind.ENCRYPTED_KEY):
                continue
            try:
                if item.problem is not None:
                    raise item.problem
                found.append((name, place := place + 1, parse.certificate(item.data), item.data))
            except EdgewardError as error:
                raise reading.In(name, error) from error
        if not place and (len(inputs) == 1 or not any(item.kind is Kind.PRIVATE_KEY for item in items)) and not files:
            raise WrongKind(name=name, wanted="certificate", found=summary(items))
    ours = lint.lint([certificate for _, _, certificate, _ in found], now)
    linter = rfc5280.Linter() if with_rfc else None
    linted = []
    for (name, place, certificate, der), findings in zip(found, ours, strict=True):
        theirs = linter.lint(der) if linter is not None else ()
        linted.append(_Linted(file=name, place=place, certificate=certificate, findings=(*findings, *theirs)))
    return [*files, *linted]


def _judge_file(name: str, items: list[Item]) -> list[_Linted]:
    """A private key in the clear that others may read."""
    if name == "-" or not any(item.kind is Kind.PRIVATE_KEY and not item.protection for item in items):
        return []
    mode = Path(name).stat().st_mode
    if not mode & 0o077:
        return []
    who = "everybody on this machine" if mode & 0o007 else "the file's group"
    rule = lint.KEY_READABLE
    finding = Finding(
        id=rule.id,
        severity=rule.severity,
        text=f"it holds a private key in the clear, and {who} may read it",
        paragraph=rule.paragraph,
        remedy=rule.remedy.replace("FILE", printable(name)),
    )
    return [_Linted(file=name, place=0, certificate=None, findings=(finding,))]


def _without(linted: _Linted, ignored: tuple[str, ...]) -> _Linted:
    kept = tuple(finding for finding in linted.findings if finding.id not in ignored)
    return _Linted(file=linted.file, place=linted.place, certificate=linted.certificate, findings=kept)


# --------------------------------------------------------------------------------------------------------------------- output


def _counts(linted: list[_Linted]) -> dict[str, int]:
    counted = Counter(finding.severity for each in linted for finding in each.findings)
    return {severity.value: counted[severity] for severity in Severity}


def _print_json(linted: list[_Linted], *, rfc: bool, note: str) -> None:
    written = [
        {
            "file": printable(each.file, 1000),
            "place": each.place,
            "subject": each.subject,
            "findings": [
                {
                    "id": finding.id,
                    "severity": finding.severity,
                    "text": finding.text,
                    "paragraph": finding.paragraph,
                    "remedy": finding.remedy,
                    "source": finding.source,
                    "field": finding.field,
                }
                for finding in each.findings
            ],
        }
        for each in linted
    ]
    answer = {"certificates": written, "counts": _counts(linted), "rfc5280": rfc, "notes": [note] if note else []}
    sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")


def _print_text(linted: list[_Linted], note: str) -> None:
    for each in linted:
        where = f"{printable(each.file, 1000)}{f' ({each.place})' if each.place > 1 else ''}"
        click.echo(f"{where}{f': {each.subject}' if each.subject else ''}")
        for finding in each.findings:
            mark = click.style(f"{finding.severity:<7}", fg=finding.severity.colour)
            aside = click.style(f" [{finding.id}{f'; {finding.paragraph}' if finding.paragraph else ''}]", dim=True)
            click.echo(f"  {mark} {finding.text}{aside}")
            if finding.remedy and finding.severity is not Severity.NOTE:
                click.echo(f"          hint: {finding.remedy}")
        if not each.findings:
            click.echo(f"  {click.style('good', fg='green')}")
    counts = _counts(linted)
    click.echo(", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items()))
    if note:
        click.echo(f"note: {note}", err=True)


def _print_rules(as_json: bool) -> None:
    rules = lint.rules()
    if as_json:
        listed = [
            {"id": rule.id, "severity": rule.severity or None, "paragraph": rule.paragraph, "remedy": rule.remedy}
            for rule in rules
        ]
        sys.stdout.write(json.dumps({"rules": listed}, indent=2, ensure_ascii=False) + "\n")
        return
    for rule in rules:
        click.echo(f"{rule.id:<27} {rule.severity or 'by case':<8} {rule.paragraph}")
