"""`edgeward fingerprint`: the hash that a person compares."""

import hashlib
import sys

import click

from edgeward.cli import key, reading
from edgeward.errors import EdgewardError, printable
from edgeward.pki.formats.item import Item, Kind, leaves

_KINDS = {Kind.CERTIFICATE, Kind.REQUEST, Kind.CRL, Kind.PRIVATE_KEY, Kind.PUBLIC_KEY}


@click.command("fingerprint")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@click.option("--hash", "name", type=click.Choice(["sha256", "sha1", "sha512"]), default="sha256", show_default=True)
@click.option("--key", "of_key", is_flag=True, help="Of the public key (SubjectPublicKeyInfo) in place of the whole.")
@click.option("--colons", is_flag=True, help="As A1:B2:…, the way openssl writes it.")
@click.option("--password", metavar="@FILE", help="Open what is encrypted with it.")
def command(inputs: tuple[str, ...], name: str, of_key: bool, colons: bool, password: str | None) -> None:
    """Write the SHA-256 of each certificate, request or CRL in FILE..., or of its public key.

    The hash is over the DER, so it is the same for PEM and DER, and for a CA it is what a KubeEdge token begins with.
    A key has the fingerprint of its public half.

    \b
    Examples:
      edgeward fingerprint ca.crt
      edgeward fingerprint --key device.key device.crt
    """
    secret = reading.secret(password)
    for source in inputs:
        for item in leaves(reading.items(source, secret)):
            if item.problem is not None:
                raise reading.In(source, item.problem) from item.problem
            if item.kind in _KINDS:
                digest = _digest(source, item, name, of_key=of_key)
                text = digest.hex(":").upper() if colons else digest.hex()
                sys.stdout.write(f"{text}  {printable(source)}  {item.kind.words}\n")


def _digest(source: str, item: Item, name: str, *, of_key: bool) -> bytes:
    try:
        if of_key or item.kind in {Kind.PRIVATE_KEY, Kind.PUBLIC_KEY}:
            octets = key.public_octets(item)
        else:
            key.check(item)
            octets = item.data
    except EdgewardError as error:
        raise reading.In(source, error) from error
    return hashlib.new(name, octets, usedforsecurity=False).digest()
