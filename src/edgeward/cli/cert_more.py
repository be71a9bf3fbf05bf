"""`edgeward cert self-signed` and `cert cross-sign`: a throw-away certificate with its key, and a certificate for another CA."""

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from cryptography import x509

from edgeward import app_offline
from edgeward.cli import offline, output, reading, writing
from edgeward.cli.options import json_option, print_json
from edgeward.errors import EdgewardError, UsageError, printable
from edgeward.keys import generate
from edgeward.pki import csr, keys, parse, pem, requests
from edgeward.pki.formats.item import Kind, only
from edgeward.pki.issue import Grant
from edgeward.pki.profile import Profile
from edgeward.services.issuance import self_sign

_THROW_AWAY = Profile(
    name="self-signed",
    common_name="{identity}",
    purposes=("serverAuth", "clientAuth"),
    key_algorithms=keys.ALGORITHMS,
    lifetime=timedelta(days=30),
)
"""For a test or a laptop: both purposes, and gone in a month."""


@click.command("self-signed")
@click.option("--name", required=True, metavar="CN", help="The common name; one that looks like a host is a SAN, too.")
@click.option("--san", "sans", multiple=True, metavar="NAME", help="dns:… ip:… uri:… email:…")
@click.option("--out-dir", required=True, type=click.Path(path_type=Path), help="Gets NAME.crt and NAME.key.")
@click.option("--type", "kind", default=generate.DEFAULT, show_default=True, metavar="TYPE", help="Of the key.")
@click.option("--days", type=float, help="How long it is valid: 30 days, unless you say.")
@click.option(
    "--password", metavar="@FILE", help="Encrypt the key; without this it is in the clear, yours alone (0600)."
)
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def self_signed(
    name: str, sans: tuple[str, ...], out_dir: Path, kind: str, days: float | None, password: str | None, force: bool
) -> None:
    """Make a throw-away certificate for a server or a client, signed with its own key.

    No CA stands for it: whoever connects must be given this very certificate to trust, nobody can revoke it, and no record is kept.
    For anything that lives longer make a CA: edgeward ca new.

    \b
    Example:
      edgeward cert self-signed --name localhost --san ip:127.0.0.1 --out-dir .
    """
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise UsageError(problem="a common name has 1 to 64 printable characters")
    stem = "".join(c if c.isalnum() or c in "-._" else "_" for c in name).lstrip(".") or "self-signed"
    certificate, private = out_dir / f"{stem}.crt", out_dir / f"{stem}.key"
    names = offline.alternative_names(sans)
    taken = requests.name_from_subject(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
    if taken is not None:
        names = tuple(dict.fromkeys((taken, *names)))
    lock = output.Lock.from_options(password, clear=password is None)
    for path in (certificate, private):
        if path.exists() and not force:
            raise writing.WillNotOverwrite(name=path)
    key = keys.issuer_key(generate.new(kind))
    der, plan = self_sign(
        offline.lasting(_THROW_AWAY, days),
        csr.asked_by_key(key.public_key()),
        Grant(identity=name, names=names),
        key,
        trust_domain="",
        now=app_offline.now(),
    )
    out_dir.mkdir(parents=True, exist_ok=True)
    writing.write(str(private), pem.encode(*output.key_der(key, lock)), secret=True, force=force)
    writing.write(str(certificate), pem.encode("CERTIFICATE", der), secret=False, force=force)
    click.echo(f"{certificate}: for {printable(name)}, valid until {plan.not_after:%Y-%m-%d}; trust exactly this file")
    click.echo(f"{private}: SECRET, {'in the clear' if lock.clear else 'encrypted'}")


@click.command("cross-sign")
@click.argument("other", metavar="OTHER_CA.crt", type=click.Path(allow_dash=True))
@offline.ca_dir(required=True)
@click.option(
    "--permit", multiple=True, metavar="NAME", help="Names that may be below it: dns:example.org, ip:10.0.0.0/8, …"
)
@click.option("--exclude", multiple=True, metavar="NAME", help="Names that may not be.")
@click.option(
    "--path-length", type=click.IntRange(0, 32), help="At most so many CAs below it; never more than it says itself."
)
@click.option(
    "--days", type=float, help="How long it is valid: 1826 days, and never longer than the other certificate."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the certificate to this file instead of standard output."
)
@click.option("--force", is_flag=True, help="Overwrite what is there.")
@offline.options
@json_option
def cross_sign(other: str, as_json: bool, **options: Any) -> None:
    """Sign another CA's certificate, so that whoever trusts this CA trusts what is below the other one, too.

    The new certificate has the other CA's own name, key and key identifier, and its name constraints; hand it out beside the
    certificates below that CA. What the other CA may do under this one is limited by --permit, --exclude and --path-length.

    \b
    Example:
      edgeward cert cross-sign partner.crt --ca-dir root --permit dns:partner.example --out partner-by-us.crt
    """
    try:
        der = only(reading.items(other), Kind.CERTIFICATE, other).data
    except reading.In:
        raise
    except EdgewardError as error:
        raise reading.In(other, error) from error
    out = options["out"]
    if out is not None and out.exists() and not options["force"]:
        raise writing.WillNotOverwrite(name=out)
    signed = offline.run(_cross_sign(der, options))
    if out is not None:
        writing.write(str(out), signed["pem"].encode(), secret=False, force=options["force"])
    if as_json:
        print_json(signed)
    elif out is None:
        click.echo(signed["pem"], nl=False)
    else:
        click.echo(
            f"{out}: {printable(signed['subject'])} by {printable(signed['issuer'])}, valid until {signed['not_after']:%Y-%m-%d}"
        )


async def _cross_sign(der: bytes, options: dict[str, Any]) -> dict[str, Any]:
    rules = Profile(
        name="cross",
        common_name="{identity}",
        key_algorithms=keys.ALGORITHMS,
        lifetime=timedelta(days=1826),
        ca=True,
        permitted=tuple(requests.constraint(text) for text in options["permit"]),
        excluded=tuple(requests.constraint(text) for text in options["exclude"]),
    )
    rules = offline.lasting(rules, options["days"])
    wished = options["path_length"]

    def limited(room: int | None) -> Profile:
        lengths = [n for n in (room, wished) if n is not None]
        return dataclasses.replace(rules, path_length=min(lengths) if lengths else None)

    async with offline.opened(options["ca_dir"], options["passphrase_file"]) as found:
        issued = await found.ca.cross_sign(der, limited, app_offline.now())
    certificate = parse.certificate(issued.der)
    return {
        "serial": issued.serial,
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "not_after": certificate.not_valid_after_utc,
        "pem": pem.encode("CERTIFICATE", issued.der).decode(),
    }
