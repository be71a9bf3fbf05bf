"""`edgeward ca`: the authority's own certificate."""

import base64
import os
import secrets
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from edgeward import files
from edgeward.cli import ca_new, ca_revoke, ca_rotate, offline, reading
from edgeward.cli.client import Client
from edgeward.cli.kubeedge import bring
from edgeward.cli.options import Group, data_option, json_option, print_json
from edgeward.errors import AlreadyExists, Unreadable, UsageError
from edgeward.model.token import Secret
from edgeward.pki import parse, pem
from edgeward.pki.formats import pkcs8

_LIMIT = 1024 * 1024


@click.group(cls=Group)
def command() -> None:
    """Show, import and export the authority's CA; make offline CAs, revoke their certificates and make their CRLs."""


command.add_command(ca_new.new)
command.add_command(ca_revoke.revoke)
command.add_command(ca_revoke.crl)
command.add_command(ca_rotate.command)


@command.command("show")
@offline.ca_dir(required=False)
@data_option
@json_option
def show(data: Path, as_json: bool, ca_dir: Path | None) -> None:
    """Show the CA: its pin (the first part of every join token), its key and its dates. With --ca-dir that of an offline CA, for which
    nobody needs its passphrase.

    \b
    Examples:
      edgeward ca show
      edgeward ca show --ca-dir root
    """
    ca = Client(data).call("GET", "/v1/ca") if ca_dir is None else offline.shown(ca_dir)
    if as_json:
        print_json(ca)
        return
    for name in ("subject", "serial", "key", "not_before", "not_after", "origin", "pin"):
        text = f"{ca[name]:%Y-%m-%dT%H:%M:%SZ}" if isinstance(ca[name], datetime) else ca[name]
        click.echo(f"{name.replace('_', ' '):10}  {text}")


@command.command("export")
@click.option("--out", type=click.Path(path_type=Path), help="A new file (0600) instead of standard output.")
@click.option("--der", is_flag=True, help="DER instead of PEM.")
@click.option("--with-key", is_flag=True, help="The private key too, encrypted under --password (PEM only). Audited.")
@click.option("--password", metavar="@FILE|-", help="The password for the exported key.")
@data_option
def export(data: Path, der: bool, out: Path | None, with_key: bool, password: str | None) -> None:
    """Export the CA certificate, which devices need and which is no secret.

    With --with-key the private key follows, as PKCS#8 under PBKDF2 and AES-256, which openssl reads.

    \b
    Examples:
      edgeward ca export > ca.crt
      edgeward ca export --with-key --password @password.txt --out ca-with-key.pem
    """
    if with_key and (password is None or der):
        raise click.UsageError("--with-key needs --password @FILE, and PEM")
    chosen = Secret(reading.secret(password) or "") if with_key else Secret("")
    if with_key and not chosen.reveal():
        raise UsageError(problem="the password is empty")
    if out is not None and os.path.lexists(out):  # before the key is on its way, and on record
        raise AlreadyExists(what="file", name=out)
    exported = Client(data).call("POST", "/v1/ca/export", {"with_key": with_key})
    certificate = base64.b64decode(exported["certificate"])
    octets = certificate if der else pem.encode("CERTIFICATE", certificate)
    if with_key:
        sealed = pkcs8.encrypt_portable(
            base64.b64decode(exported["key"]),
            chosen.reveal().encode("utf-8", "surrogateescape"),
            salt=secrets.token_bytes(16),
            iv=secrets.token_bytes(16),
        )
        octets += pem.encode("ENCRYPTED PRIVATE KEY", sealed)
    if out is None:
        sys.stdout.buffer.write(octets)
    else:
        files.create_private(out, octets)


@command.command("import")
@click.option("--cert", required=True, type=click.Path(), help="The CA certificate, PEM or DER.")
@click.option("--key", required=True, type=click.Path(), help="Its private key: PKCS#8, SEC 1 or PKCS#1, PEM or DER.")
@click.option("--password", metavar="@FILE|-", help="The password of an encrypted key.")
@click.option(
    "--accept-kubeedge-tokens", "pattern", metavar="GLOB", help="Also take KubeEdge's own tokens, for these new names."
)
@click.option("--until", metavar="DATE", help="… until this date.")
@data_option
@json_option
def import_(
    data: Path, as_json: bool, cert: str, key: str, password: str | None, pattern: str | None, until: str | None
) -> None:
    """Bring a CA along and sign with it from now on. Before the first node has joined.

    For a KubeEdge cloud's CA with its nodes there is more to say: `edgeward kubeedge import`.

    \b
    Examples:
      edgeward ca import --cert rootCA.crt --key rootCA.key
      edgeward ca import --cert rootCA.crt --key rootCA.key --accept-kubeedge-tokens 'edge-*' --until 2027-01-31
    """
    if (pattern is None) != (until is None):
        raise click.UsageError("--accept-kubeedge-tokens and --until go together")
    body: dict[str, Any] = {
        "certificate": base64.b64encode(_certificate(reading.octets(cert, _LIMIT))).decode(),
        "key": base64.b64encode(_key(reading.octets(key, _LIMIT), password)).decode(),
    }
    if pattern is not None and until is not None:
        body["kubeedge_tokens"] = {"pattern": pattern, "until": reading.moment(until).isoformat()}
    done = bring(data, body)
    if as_json:
        print_json(done)
        return
    click.echo(f"the CA is imported; its pin is {done['pin']}")
    for deviation in done["deviations"]:
        click.echo(f"note: {deviation}")


def _certificate(octets: bytes) -> bytes:
    if b"-----BEGIN" not in octets:
        der = octets
    else:
        found = [block.der for block in pem.decode(octets) if block.label == "CERTIFICATE"]
        if len(found) != 1:
            raise Unreadable(what="CA certificate", why=f"the file has {len(found)} certificates, and one is needed")
        der = found[0]
    parse.certificate(der)
    return der


def _key(octets: bytes, password: str | None) -> bytes:
    """The key in the file as PKCS#8 DER."""
    if b"-----BEGIN" in octets:
        found = [block.der for block in pem.decode(octets) if block.label.endswith("PRIVATE KEY")]
        if len(found) != 1:
            raise Unreadable(what="private key", why=f"the file has {len(found)} PEM private keys, and one is needed")
        octets = found[0]
    if pkcs8.is_encrypted(octets):
        given = None if password is None else (reading.secret(password) or "").encode("utf-8", "surrogateescape")
        return pkcs8.encode(pkcs8.decrypt(octets, given))
    return pkcs8.encode(pkcs8.read(octets))
