"""`edgeward ca revoke` and `edgeward ca crl`: what an offline CA takes back, and the list that says so."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from cryptography import x509

from edgeward import app_offline
from edgeward.cli import offline, reading, writing
from edgeward.cli.options import json_option, print_json
from edgeward.errors import EdgewardError, NotFound, UsageError, printable
from edgeward.model.authority import CertificateRecord, Reason
from edgeward.pki import parse, pem
from edgeward.pki.formats.item import Kind, of_kind
from edgeward.services.lists import List
from edgeward.services.offline import OfflineCa

_REASONS = [reason.value for reason in Reason if reason is not Reason.CERTIFICATE_HOLD]
"""A hold is not offered, because nothing here would release it."""


class NothingToRevoke(NotFound):
    """A word that is no serial, no file and nobody's name."""

    sentence = "{name} is no certificate file, no serial and nobody who has a valid certificate of this CA"
    remedy = "edgeward audit list --ca-dir {place} shows every certificate with its serial"


@click.command("revoke")
@click.argument("what", metavar="FILE|SERIAL|NAME", nargs=-1, required=True)
@offline.ca_dir(required=True)
@click.option(
    "--reason",
    type=click.Choice(_REASONS, case_sensitive=False),
    metavar="REASON",
    default=Reason.UNSPECIFIED.value,
    show_default=True,
    help="Why (RFC 5280 section 5.3.1): "
    + ", ".join(_REASONS)
    + ". After keyCompromise the key is never certified again.",
)
@offline.options
@json_option
def revoke(what: tuple[str, ...], ca_dir: Path, reason: str, passphrase_file: Path | None, as_json: bool) -> None:
    """Revoke certificates of an offline CA: those in a file, one by its serial (hex), or all valid ones of a node, a server, an operator
    or a CA by its name.

    It is for good. Verifiers hear of it from the next list: edgeward ca crl.

    \b
    Examples:
      edgeward ca revoke edge-7.crt --ca-dir devices --reason keyCompromise
      edgeward ca revoke edge-7 --ca-dir devices --reason cessationOfOperation
      edgeward ca revoke serial:d070b22f8a7f1fb88d90642d358d64e5 --ca-dir devices
    """
    done = offline.run(_revoke(what, ca_dir, Reason(reason), passphrase_file))
    if as_json:
        print_json({"revoked": [_shown(record) for record in done]})
        return
    for record in done:
        click.echo(f"revoked certificate {record.serial} of {printable(record.identity)} ({reason})")
    if done:
        click.echo(f"next: publish it: edgeward ca crl --ca-dir {ca_dir}", err=True)
    else:
        click.echo("it was revoked before; nothing changed")


async def _revoke(
    what: tuple[str, ...], ca_dir: Path, reason: Reason, passphrase_file: Path | None
) -> list[CertificateRecord]:
    async with offline.opened(ca_dir, passphrase_file) as found:
        now = app_offline.now()
        serials = [serial for word in what for serial in await _serials(found.ca, word, ca_dir)]
        return [record for serial in serials for record in await found.ca.revoke(serial, reason, now)]


async def _serials(ca: OfflineCa, word: str, place: Path) -> list[str]:
    """The serials that a word stands for: a file comes before a serial, and a serial before a name."""
    if word.startswith("serial:"):
        return [word.removeprefix("serial:")]
    if Path(word).is_file():
        certificates = _certificates(word)
        ours = [one for one in certificates if one.issuer == ca.signing.certificate.subject]
        if not ours:
            raise UsageError(
                problem=f"{word} holds no certificate of {ca.signing.certificate.subject.rfc4514_string()}"
            )
        return [format(one.serial_number, "x") for one in ours]
    named = await ca.named(word, app_offline.now())
    if named:
        return [record.serial for record in named]
    if len(word) >= 16 and not set(word.lower().removeprefix("0x")) - set("0123456789abcdef:"):
        return [word]
    raise NothingToRevoke(name=word, place=place)


def _certificates(name: str) -> list[x509.Certificate]:
    items = reading.items(name)
    try:
        return [parse.certificate(item.data) for item in of_kind(items, Kind.CERTIFICATE, name)]
    except EdgewardError as error:
        raise reading.In(name, error) from error


def _shown(record: CertificateRecord) -> dict[str, Any]:
    return {
        "serial": record.serial,
        "identity": record.identity,
        "profile": record.profile,
        "reason": record.revocation_reason,
        "revoked_at": record.revoked_at,
        "not_after": record.not_after,
    }


@click.command("crl")
@offline.ca_dir(required=True)
@click.option("--out", metavar="FILE", help="Where to write the list; - for standard output. [DIR/ca.crl]")
@click.option(
    "--days", type=float, default=30, show_default=True, help="Until when the next list is made at the latest."
)
@click.option(
    "--url",
    "urls",
    multiple=True,
    metavar="URL",
    help="From now on, every certificate that this CA signs says that its lists are there (http); - for nowhere.",
)
@click.option("--der", is_flag=True, help="DER, as lists are published under a URL, instead of PEM.")
@offline.options
@json_option
def crl(ca_dir: Path, out: str | None, days: float, der: bool, as_json: bool, **options: Any) -> None:
    """Make the revocation list of an offline CA: every certificate of its own that is revoked. Make one before the last one ends, also
    when nothing was revoked: verifiers that look at lists refuse everybody without a fresh one.

    \b
    Examples:
      edgeward ca crl --ca-dir devices
      edgeward ca crl --ca-dir devices --days 7 --der --out /srv/www/devices.crl
      edgeward ca crl --ca-dir devices --der --out /srv/www/devices.crl --url http://pki.example.com/devices.crl
      edgeward verify edge-7.crt --ca devices/ca.crt --crl devices/ca.crl
    """
    if not 1 / 1440 <= days <= 3653:
        raise UsageError(problem="--days is between a minute (0.0007) and ten years (3653)")
    made = offline.run(_make(ca_dir, timedelta(days=days), options["passphrase_file"], options["urls"]))
    place = str(ca_dir / "ca.crl") if out is None else out
    writing.write(place, made.der if der else pem.encode("X509 CRL", made.der), secret=False, force=True)
    if as_json and place != "-":
        print_json(
            {
                "file": place,
                "number": made.number,
                "this_update": made.this_update,
                "next_update": made.next_update,
                "revoked": made.count,
            }
        )
    elif place != "-":
        click.echo(
            f"{place}: CRL number {made.number}, {made.count} revoked, the next one is due by {made.next_update:%Y-%m-%d %H:%M} UTC"
        )


async def _make(ca_dir: Path, lifetime: timedelta, passphrase_file: Path | None, urls: tuple[str, ...]) -> List:
    async with offline.opened(ca_dir, passphrase_file) as found:
        if urls:
            await found.ca.publish_lists(() if urls == ("-",) else urls, app_offline.now())
        return await found.ca.make_list(lifetime, app_offline.now())
