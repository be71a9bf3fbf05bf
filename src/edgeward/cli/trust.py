"""`edgeward trust`: make this machine's programs believe a CA, or stop them."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from cryptography import x509

from edgeward.cli import reading, truststores
from edgeward.cli.options import Group
from edgeward.cli.truststores import Step, Store
from edgeward.errors import Refusal, Unavailable
from edgeward.pki import parse
from edgeward.pki.formats.item import Kind, only
from edgeward.pki.inspect.names import dn

_F = TypeVar("_F", bound=Callable[..., Any])


class NotAnAuthority(Refusal):
    """A certificate that would do no good in a trust store, or harm."""

    sentence = "{name} does not belong into a trust store: {why}"
    remedy = "give the CA's certificate; see what this one is: edgeward inspect {name}"


class NeedsRoot(Refusal):
    """A store that only root may change."""

    sentence = "only root may change {place}"
    remedy = "run it with sudo, or see the commands: edgeward trust {verb} --dry-run {name}"


class NoStore(Unavailable):
    """No trust store of the kinds asked for."""

    sentence = "there is no trust store of the kinds asked for here ({kinds})"
    remedy = "certutil (libnss3-tools) is needed for browsers, keytool for Java; or name one with --nss or --java"


@click.group("trust", cls=Group)
def command() -> None:
    """Make the programs of this machine believe a CA, or stop them: the system's store, NSS (browsers) and Java."""


def _stores(function: _F) -> _F:
    """The options that choose the stores."""
    path = click.Path(path_type=Path)
    options = (
        click.option("--store", "kinds", multiple=True, type=click.Choice(truststores.KINDS),
                     help="Only this kind of store; may be given several times [all that are here]."),
        click.option("--nss", multiple=True, type=path, metavar="DIR", help="An NSS database in place of the usual ones."),
        click.option("--java", multiple=True, type=path, metavar="FILE", help="A Java trust store in place of the usual one."),
        click.option("--java-password", metavar="@FILE", help="Its password, where that is not `changeit`."),
        click.option("--root", type=path, default=Path("/"), metavar="DIR",
                     help="The file system whose system store is meant, for building images [/]."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def _chosen(options: dict[str, Any]) -> list[Store]:
    nss, java = options["nss"], options["java"]
    password = reading.secret(options["java_password"], option="--java-password") or "changeit"
    found = truststores.found(options["root"], nss, java, password)
    kinds = options["kinds"] or _meant(nss, java, options["root"])
    stores = [store for kind in kinds for store in found[kind]]
    if not stores:
        raise NoStore(kinds=", ".join(kinds))
    return stores


def _meant(nss: Sequence[Path], java: Sequence[Path], root: Path) -> tuple[str, ...]:
    """Whoever names a place means that place alone."""
    named = (
        *(("system",) if root != Path("/") else ()), *(("nss",) if nss else ()), *(("java",) if java else ()),
    )  # fmt: skip
    return named or truststores.KINDS


def _authority(name: str, *, force: bool) -> tuple[bytes, x509.Certificate]:
    """The one CA certificate in a file."""
    der = only(reading.items(name), Kind.CERTIFICATE, name).data
    certificate = parse.certificate(der)
    basic = [e.value for e in certificate.extensions if isinstance(e.value, x509.BasicConstraints)]
    if not force:
        if not basic or not basic[0].ca:
            raise NotAnAuthority(name=name, why="it is no CA")
        if certificate.not_valid_after_utc < datetime.now(UTC):
            raise NotAnAuthority(name=name, why="it has expired")
    return der, certificate


@command.command("install")
@click.argument("certificate", metavar="CERT")
@_stores
@click.option("--dry-run", is_flag=True, help="Print the commands and do nothing.")
def install(certificate: str, dry_run: bool, **options: Any) -> None:
    """Install the CA certificate in CERT (any format) where it is not yet.

    The system's store needs root. Whoever can use the CA's key can then play any site for this machine: install a root of your own alone,
    and constrain it (`edgeward lint CERT` says how).

    \b
    Examples:
      edgeward trust install rootCA.crt --dry-run
      edgeward trust install rootCA.crt --store nss
      sudo edgeward trust install rootCA.crt
    """
    der, parsed = _authority(certificate, force=False)
    _all("install", certificate, parsed, _chosen(options), dry_run=dry_run, der=der)


@command.command("remove")
@click.argument("certificate", metavar="CERT")
@_stores
@click.option("--dry-run", is_flag=True, help="Print the commands and do nothing.")
def remove(certificate: str, dry_run: bool, **options: Any) -> None:
    """Remove the CA certificate in CERT from every store where `edgeward trust install` put it.

    \b
    Examples:
      edgeward trust remove rootCA.crt --dry-run
      sudo edgeward trust remove rootCA.crt
    """
    der, parsed = _authority(certificate, force=True)
    _all("remove", certificate, parsed, _chosen(options), dry_run=dry_run, der=der)


def _all(verb: str, name: str, parsed: x509.Certificate, stores: list[Store], *, dry_run: bool, der: bytes) -> None:
    """Do it in every store; one that fails does not keep the others from it."""
    failures: list[Unavailable | Refusal] = []
    for store in stores:
        try:
            if store.has(der) == (verb == "install"):
                _say(f"{store.kind} ({store.place}): {'is there already' if verb == 'install' else 'is not there'}")
                continue
            steps = store.install(der) if verb == "install" else store.remove(der)
            if dry_run:
                sys.stdout.write("".join(f"{step.words(name)}\n" for step in steps))
                continue
            _take(store, steps, verb, name)
            _say(
                f"{store.kind} ({store.place}): {dn(parsed.subject)} {'installed' if verb == 'install' else 'removed'}"
            )
        except (Unavailable, Refusal) as error:
            failures.append(error)
    for failure in failures[:-1]:
        sys.stderr.write(f"error: {failure}\nhint: {failure.hint}\n")
    if failures:
        raise failures[-1]


def _take(store: Store, steps: list[Step], verb: str, name: str) -> None:
    if store.needs_root and os.geteuid() != 0:
        raise NeedsRoot(place=store.place, verb=verb, name=name)
    for step in steps:
        try:
            truststores.perform(step)
        except truststores.StepFailed:
            # Or the next try would find the file and believe that all was done.
            for made in steps:
                if made.path is not None and made.content is not None:
                    truststores.perform(Step(path=made.path))
            raise


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@command.command("list")
@_stores
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool, **options: Any) -> None:
    """List the trust stores of this machine and what `edgeward trust install` put into them.

    The names end in the first 16 digits of the certificate's SHA-256 (`edgeward fingerprint CERT`).

    \b
    Example:
      edgeward trust list
    """
    stores = _chosen(options)
    listed = [{"kind": store.kind, "place": store.place, "installed": store.installed()} for store in stores]
    if as_json:
        sys.stdout.write(json.dumps({"stores": listed}, indent=2) + "\n")
        return
    for store, entry in zip(stores, listed, strict=True):
        sys.stdout.write(f"{store.kind:<7} {store.place}\n")
        sys.stdout.write("".join(f"          {name}\n" for name in entry["installed"]) or "          nothing of ours\n")
