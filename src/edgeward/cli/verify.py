"""`edgeward verify`: is this certificate valid, for whom, and if not, which rule says so."""

import json
import warnings
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from importlib import import_module
from typing import Any

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning

from edgeward.cli import output, reading
from edgeward.errors import EdgewardError, PasswordNeeded, Unavailable, Unreadable
from edgeward.pki.formats.detect import detect
from edgeward.pki.formats.item import Kind, WrongKind, opened, summary
from edgeward.pki.parse import guarded
from edgeward.pki.verify import (
    ANY_POLICY,
    Algorithms,
    Check,
    Limits,
    NameKind,
    Outcome,
    PeerName,
    PolicyInputs,
    Profile,
    Purpose,
    Question,
    Rejected,
    Revocation,
    Step,
    Verdict,
    facts,
    verify,
)
from edgeward.pki.verify.syntax import is_address

MAX_FILE = 64 * 1024 * 1024
"""Octets read from one file: the largest CRL that the gateway takes."""

_UNORDERED = frozenset({Kind.PKCS7, Kind.PKCS12, Kind.JKS, Kind.JCEKS})

_MARKS = {Outcome.PASS: ("✓", "green"), Outcome.FAIL: ("✗", "red"), Outcome.SKIP: ("·", "yellow")}
_MOST_REJECTED = 8  # lines of rejected paths shown to a person; --json has them all


def read_certificates(octets: bytes) -> list[bytes]:
    """The DER of every certificate in `octets`: PEM (one or many) or one in DER, which need not be readable: `verify` says why."""
    if b"-----BEGIN" not in octets:
        return [octets]
    if b"-----BEGIN CERTIFICATE-----" not in octets:
        raise Unreadable(what="certificate", why="the file has no PEM block CERTIFICATE")
    found = guarded("PEM certificate", lambda: x509.load_pem_x509_certificates(octets))
    return [certificate.public_bytes(Encoding.DER) for certificate in found]


def certificates(name: str, password: str | None, *, strict: bool, server_name: str | None = None) -> list[bytes]:
    """The certificates (DER) in a file of any kind, or those that a live server sends when it is asked for `server_name`. What comes out
    of a key store or a PKCS#7 bundle, which have no order that means anything, is put in the order of a chain, the leaf first.

    Raises `In` for a file that is locked or holds something else and, if `strict`, for one that cannot be read; otherwise `verify` says
    why it is not used.
    """
    if greeting := reading.greeted(name, server_name):
        return list(greeting.certificates)
    octets = reading.octets(name, MAX_FILE)
    try:
        items = detect(octets, password=password, name=name)
        found = opened(items)
    except PasswordNeeded as error:
        raise reading.In(name, error) from error
    except EdgewardError as error:
        if strict or error.code == "wrong-password":
            raise reading.In(name, error) from error
        return read_certificates(octets)
    held = [item for item in found if item.kind is Kind.CERTIFICATE]
    if not held:
        raise reading.In(name, WrongKind(name=name, wanted=Kind.CERTIFICATE.words, found=summary(found)))
    if any(item.kind in _UNORDERED for item in items):
        held = [item for item in output.in_order(held) if item.kind is Kind.CERTIFICATE]
    return [item.data for item in held]


def system_roots() -> list[bytes]:
    """The roots that this machine trusts, as OpenSSL finds them. Raises `Unavailable` when it finds none."""
    context = import_module("ssl").create_default_context()
    found: list[bytes] = context.get_ca_certs(binary_form=True)
    if not found:
        raise Unavailable(problem="this machine has no list of trusted roots where OpenSSL looks for one")
    return found


def read_crls(octets: bytes) -> list[bytes]:
    """The DER of every CRL in `octets`: PEM (one or many) or one in DER."""
    if b"-----BEGIN" not in octets:
        return [octets]
    end = b"-----END X509 CRL-----"
    blocks = [block + end for block in octets.split(end)[:-1]]
    if not blocks:
        raise Unreadable(what="CRL", why="the file has no PEM block X509 CRL")
    parsed = [guarded("PEM CRL", lambda block=block: x509.load_pem_x509_crl(block)) for block in blocks]  # type: ignore[misc]
    return [crl.public_bytes(Encoding.DER) for crl in parsed]


def _all(names: Iterable[str], password: str | None) -> list[bytes]:
    return [
        der
        for name in names
        for der in (system_roots() if name == "system" else certificates(name, password, strict=False))
    ]


def _names(leaf: str, options: dict[str, Any]) -> list[PeerName]:
    """Whose certificate it must be: who was named, or else the live server that is dialled, unless it is to be for anything."""
    names = [
        *(PeerName(NameKind.DNS, name) for name in options["name"]),
        *(PeerName(NameKind.IP, address) for address in options["ip"]),
        *(PeerName(NameKind.EMAIL, address) for address in options["email"]),
    ]
    if not names and options["purpose"] is None and (live := reading.server(leaf)) is not None:
        return [PeerName(NameKind.IP if is_address(live.host) else NameKind.DNS, live.host)]
    return names


def _question(leaf: str, options: dict[str, Any]) -> Question:
    names = _names(leaf, options)
    to_server = any(name.kind is not NameKind.EMAIL for name in names)
    purpose = options["purpose"] or (Purpose.SERVER if to_server else Purpose.ANY)
    policies = PolicyInputs(
        acceptable=frozenset(options["policy"]) or frozenset((ANY_POLICY,)),
        require_explicit=options["require_policy"],
        inhibit_mapping=options["no_policy_mapping"],
        inhibit_any=options["no_any_policy"],
    )
    return Question(
        purpose=Purpose(purpose),
        names=tuple(names),
        profile=Profile(options["profile"]),
        algorithms=Algorithms(options["algorithms"]) if options["algorithms"] else None,
        revocation=Revocation(options["revocation"]) if options["revocation"] else None,
        limits=Limits(intermediates=options["max_intermediates"], policies=policies),
        strict_wildcards=options["strict_wildcards"],
    )


def _judge(leaf: str, question: Question, now: datetime, options: dict[str, Any]) -> Verdict:
    password = reading.secret(options["password"])
    first, *rest = certificates(leaf, password, strict=True, server_name=next(iter(options["name"]), None))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        try:
            facts.read(first)
        except EdgewardError as error:  # the one thing that `verify` raises for, with the name of the file in front
            raise reading.In(leaf, error) from error
        return verify(
            first,
            now=now,
            anchors=_all(options["ca"], password),
            intermediates=[*rest, *_all(options["chain"], password)],
            question=question,
            crl=[der for path in options["crl"] for der in read_crls(reading.octets(path, MAX_FILE))],
            ocsp_responses=[reading.octets(path, MAX_FILE) for path in options["ocsp"]],
        )


# ------------------------------------------------------------------------------------------------------------- output


def _tree(path: tuple[Step, ...]) -> Iterable[str]:
    """The path as a tree, the anchor at its root."""
    for depth, step in enumerate(reversed(path)):
        branch = "   " * (depth - 1) + "└─ " if depth else ""
        mark = click.style(" (trusted)", fg="green") if step.anchor else ""
        yield f"  {branch}{step.subject}{mark}, until {step.not_after[:10]}"


def _line(check: Check) -> Iterable[str]:
    mark, colour = _MARKS[check.outcome]
    where = f"{check.certificate}: " if check.certificate else ""
    aside = click.style(f" [{check.id}; {check.paragraph}]", dim=True)
    yield f"  {click.style(mark, fg=colour)} {where}{check.words}{aside}"
    if check.outcome is Outcome.FAIL and check.remedy:
        yield f"      hint: {check.remedy}"


def _rejected(rejected: tuple[Rejected, ...]) -> Iterable[str]:
    for one in rejected[:_MOST_REJECTED]:
        yield f"  {' ← '.join(one.path)}: {one.reason}"
    if len(rejected) > _MOST_REJECTED:
        yield f"  and {len(rejected) - _MOST_REJECTED} more (see --json)"


_ASKED = {"name", "revocation"}
"""Checks that are there because somebody asked for them: what they found is said, also when it is good."""


def render(verdict: Verdict, question: Question, now: datetime, *, every: bool = False) -> str:
    """The verdict for a person: the answer, the path as a tree, what was wrong, left out or asked for (`every`: each check), and what was
    rejected."""
    answer = click.style("valid", fg="green") if verdict.valid else click.style("not valid", fg="red")
    about = "for any purpose" if question.purpose is Purpose.ANY else f"for {question.purpose.value} authentication"
    lines = [f"{answer} {about} at {now:%Y-%m-%d %H:%M:%S} UTC (profile {question.profile.value})", ""]
    lines += [*_tree(verdict.path), ""]
    for check in verdict.failures:
        lines += _line(check)
    for check in verdict.checks:
        passed = check.outcome is Outcome.PASS
        if every or (check.id in _ASKED if passed else check.outcome is not Outcome.FAIL):
            lines += [] if check.outcome is Outcome.FAIL else _line(check)
    rest = [check for check in verdict.checks if check.outcome is Outcome.PASS and check.id not in _ASKED]
    if rest and not every:
        lines.append(f"  {click.style('✓', fg='green')} {_counted(rest)} (each one: --all)")
    if verdict.rejected:
        lines += ["", "not used:", *_rejected(verdict.rejected)]
    return "\n".join(lines)


def _counted(checks: Sequence[Check]) -> str:
    """What was checked, in a line: signatures, validity, …"""
    kinds = dict.fromkeys("form" if check.id.startswith("form-") else check.id.replace("-", " ") for check in checks)
    return f"{len(checks)} checks passed: {', '.join(kinds)}"


def _as_json(verdict: Verdict, question: Question, now: datetime) -> str:
    answer = {
        "valid": verdict.valid,
        "at": now.isoformat(),
        "purpose": question.purpose.value,
        "profile": question.profile.value,
        "verdict": verdict.as_json(),
    }
    return json.dumps(answer, indent=2, ensure_ascii=False)


_EPILOG = """\b
Examples:
  edgeward verify edge.crt --ca rootCA.crt
  edgeward verify server.crt --chain issuing.crt --ca root.crt --name hub.example.com
  edgeward verify edge.crt --ca rootCA.crt --crl ca.crl --purpose client
  edgeward verify site.pem --ca roots.pem --name example.com --profile webpki --json
  edgeward verify hub.example.com:10000 --ca rootCA.crt
  edgeward verify 203.0.113.7:443 --ca system --name example.com
  edgeward verify device.p12 --password @password.txt --ca ca.crt --purpose client
  edgeward verify old.crt --ca root.crt --at 2024-05-01 --algorithms legacy

\b
Exit status: 0 valid, 1 not valid, 2 wrong usage, 65 the certificate cannot be read.
"""

_FILE: dict[str, Any] = {"multiple": True, "metavar": "FILE"}


def _values(choices: type[StrEnum]) -> list[str]:
    return [choice.value for choice in choices]


@click.command("verify", epilog=_EPILOG)
@click.argument("leaf", metavar="LEAF")
@click.option(
    "--chain", **_FILE, help="Intermediate certificates, in any order; those after LEAF in its file count too."
)
@click.option("--ca", **_FILE, help="Trusted CA certificates; `system`: the roots that this machine trusts.")
@click.option("--password", metavar="@FILE", help="Open what is encrypted: @FILE, - for standard input, env:NAME.")
@click.option("--crl", **_FILE, help="Revocation lists: complete, delta and indirect ones.")
@click.option("--ocsp", **_FILE, help="OCSP responses in DER.")
@click.option(
    "--name", multiple=True, metavar="HOST", help="The certificate must be for this host name.  [HOST with HOST:PORT]"
)
@click.option("--ip", multiple=True, metavar="ADDRESS", help="The certificate must be for this address.")
@click.option("--email", multiple=True, metavar="ADDRESS", help="The certificate must be for this mailbox.")
@click.option(
    "--purpose",
    type=click.Choice(_values(Purpose)),
    help="What it is to be used for [server with --name, --ip or HOST:PORT, else any].",
)
@click.option("--at", metavar="TIME", help="Judge as of this time and not now: 2027-01-31 or 2027-01-31T12:00:00Z.")
@click.option(
    "--profile",
    type=click.Choice(_values(Profile)),
    default=Profile.DEVICE.value,
    show_default=True,
    help="device: the rules of the path; rfc5280: the form of certificates too; webpki: the Web PKI's as well.",
)
@click.option(
    "--algorithms", type=click.Choice(_values(Algorithms)), help="How strong keys and signatures must be [by profile]."
)
@click.option(
    "--revocation",
    type=click.Choice(_values(Revocation)),
    help="Whose status must be known to be good [chain with --crl or --ocsp, else none].",
)
@click.option("--policy", multiple=True, metavar="OID", help="A certificate policy that is acceptable [any].")
@click.option("--require-policy", is_flag=True, help="The path must be valid for an acceptable policy.")
@click.option("--no-policy-mapping", is_flag=True, help="Policies may not be mapped to others.")
@click.option("--no-any-policy", is_flag=True, help="anyPolicy in a certificate stands for nothing.")
@click.option("--max-intermediates", type=click.IntRange(min=0), metavar="N", help="The most intermediate CAs.")
@click.option("--strict-wildcards", is_flag=True, help="With webpki: no wildcards for all customers of a hoster.")
@click.option("--all", "every", is_flag=True, help="Show every check, also those that passed.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
@click.pass_context
def command(context: click.Context, /, leaf: str, as_json: bool, every: bool, at: str | None, **options: Any) -> None:
    """Check the certificate in LEAF and say which rule it breaks: a file in PEM, DER, PKCS#7, PKCS#12 or JKS, `-` for standard input, or
    HOST:PORT for what a live server sends: then it must be for HOST, unless --name, --ip, --email or --purpose say otherwise.

    Files may hold any number of certificates; those beside the first one in LEAF count as --chain. Nothing is fetched: what is not given
    is not known.
    """
    try:
        now = reading.moment(at)
        question = _question(leaf, options)
        verdict = _judge(leaf, question, now, options)
    except EdgewardError as error:
        click.echo(f"error: {error}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        context.exit(error.exit_status)
    click.echo(_as_json(verdict, question, now) if as_json else render(verdict, question, now, every=every))
    context.exit(0 if verdict.valid else 1)
