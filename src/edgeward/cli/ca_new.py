"""`edgeward ca new`: an offline CA in a directory of its own, a root or an intermediate."""

import contextlib
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from cryptography import x509

from edgeward import app_offline
from edgeward.cli import offline
from edgeward.cli.options import json_option, print_json
from edgeward.errors import UsageError, printable
from edgeward.pki import crl, parse, requests
from edgeward.pki.profile import Profile

_INTERMEDIATE_LIFETIME = timedelta(days=1826)
"""Five years: half of a root's ten."""


@click.command("new")
@offline.ca_dir(required=True)
@click.option("--name", required=True, metavar="CN", help="The CA's common name.")
@click.option(
    "--intermediate-of",
    "above",
    type=click.Path(path_type=Path),
    metavar="DIR2",
    help="Have it signed by the offline CA in DIR2; without this it is a root.",
)
@click.option(
    "--path-length",
    type=click.IntRange(0, 32),
    help="How many CAs may follow below it: any number below a root and none below an intermediate, unless you say.",
)
@click.option(
    "--permit", multiple=True, metavar="NAME", help="Names that may be below it: dns:example.org, ip:10.0.0.0/8, …"
)
@click.option(
    "--exclude", multiple=True, metavar="NAME", help="Names that may not; kinds dns: ip: email: uri: dirname:."
)
@click.option(
    "--key-algorithm",
    type=click.Choice(["ec-p256", "ec-p384", "rsa"]),
    default="ec-p256",
    show_default=True,
    help="Of its key (RSA has 3072 bits).",
)
@click.option(
    "--crl-url",
    "crl_urls",
    multiple=True,
    metavar="URL",
    help="Where you will publish its revocation lists (http); every certificate that it signs will say so.",
)
@click.option("--days", type=float, help="How long it lives: 3652 days for a root, 1826 for an intermediate.")
@offline.options
@click.option(
    "--parent-passphrase-file", type=click.Path(path_type=Path), help="The passphrase of DIR2, where it differs."
)
@json_option
def new(as_json: bool, **options: Any) -> None:
    """Make an offline CA: a root, or an intermediate below the CA of another directory.

    DIR gets the key (encrypted), the store of everything it signs with its audit log, and for you to hand out: ca.crt, and chain.pem
    with the CAs above it, the root last.

    \b
    Examples:
      edgeward ca new --ca-dir root --name 'Example Root CA'
      edgeward ca new --ca-dir devices --name 'Example Devices CA' --intermediate-of root
      edgeward ca new --ca-dir plant --name 'Plant CA' --intermediate-of root --crl-url http://pki.example.com/plant.crl
      edgeward ca new --ca-dir site --name 'Site CA' --intermediate-of root --permit dns:site.example --permit ip:10.1.0.0/16
    """
    made = offline.run(_new(**options))
    if as_json:
        print_json(made)
        return
    click.echo(
        f"{made['directory']}: {made['kind']} {printable(made['subject'])}, valid until {made['not_after']:%Y-%m-%d}"
    )
    click.echo(f"pin {made['pin']}")
    click.echo(
        f"hand out: {made['directory']}/ca.crt, and {made['directory']}/chain.pem where the whole chain is needed"
    )
    if (generated := app_offline.generated(Path(made["directory"]), os.environ)) is not None:
        click.echo(f"keep, apart from a copy of {made['directory']}: the passphrase of its key, {generated}")


async def _new(  # noqa: PLR0913 - one parameter for each option
    *, ca_dir: Path, name: str, above: Path | None, path_length: int | None, permit: tuple[str, ...],
    exclude: tuple[str, ...], crl_urls: tuple[str, ...], key_algorithm: str, days: float | None, passphrase_file: Path | None,
    parent_passphrase_file: Path | None,
) -> dict[str, Any]:  # fmt: skip
    if not 1 <= len(name) <= 64 or not name.isprintable() or not name.strip():
        raise UsageError(problem="a CA's name has 1 to 64 printable characters")
    if above is not None and above.absolute() == ca_dir.absolute():
        raise UsageError(problem="a CA cannot be its own intermediate: --intermediate-of names another directory")
    crl_urls = tuple(crl.location(url) for url in crl_urls)
    permitted = tuple(requests.constraint(text) for text in permit)
    excluded = tuple(requests.constraint(text) for text in exclude)
    async with contextlib.AsyncExitStack() as stack:
        parent = None
        if above is not None:
            parent_word = parent_passphrase_file or passphrase_file
            parent = (await stack.enter_async_context(offline.opened(above, parent_word))).ca
        found = await stack.enter_async_context(offline.opened(ca_dir, passphrase_file, new=True))
        rules = offline.lasting(found.profiles["ca"], days)
        if parent is None:
            profile = _profile("ca", rules.lifetime, path_length, permitted, excluded)
        else:
            lifetime = _INTERMEDIATE_LIFETIME if days is None else rules.lifetime
            profile = _profile("intermediate", lifetime, path_length or 0, permitted, excluded)
        await found.ca.create(profile, name, key_algorithm, app_offline.now(), parent, crl_urls)
        offline.publish(ca_dir, found.ca)
        issuer = found.ca.signing.issuer
    certificate = parse.certificate(issuer.certificate)
    return {
        "directory": str(ca_dir),
        "kind": "root CA" if above is None else "intermediate CA",
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": format(certificate.serial_number, "x"),
        "pin": issuer.pin,
        "not_after": certificate.not_valid_after_utc,
    }


def _profile(
    name: str,
    lifetime: timedelta,
    path_length: int | None,
    permitted: tuple[x509.GeneralName, ...],
    excluded: tuple[x509.GeneralName, ...],
) -> Profile:
    return Profile(
        name=name,
        common_name="{identity}",
        lifetime=lifetime,
        ca=True,
        path_length=path_length,
        permitted=permitted,
        excluded=excluded,
    )
