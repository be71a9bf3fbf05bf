"""`edgeward cert`: certificates for requests that were made elsewhere."""

import base64
from pathlib import Path

import click

from edgeward import files
from edgeward.cli.client import Client
from edgeward.cli.options import data_option, json_option, print_json, read_input
from edgeward.errors import Unreadable
from edgeward.pki import parse, pem

_REQUEST_LABELS = ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")


@click.group()
def command() -> None:
    """Sign certificate requests that were made elsewhere."""


@command.command("sign")
@click.argument("csr", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--node", required=True, metavar="NAME", help="The node that the certificate will be for.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the certificate to this file instead of standard output."
)
@data_option
@json_option
def sign(data: Path, as_json: bool, csr: str, node: str, out: Path | None) -> None:
    """Sign a vendor's CSR (PEM or DER; - for standard input) for a node. The private key never leaves the vendor.

    The certificate says what the device profile says; what the CSR asked for beyond that is dropped and shown.

    \b
    Examples:
      edgeward cert sign device.csr --node edge-7 --out device.crt
      openssl req -new -key device.key -subj /CN=anything | edgeward cert sign - --node edge-7
    """
    der = request_der(read_input(csr, parse.MAX_REQUEST * 2))
    signed = Client(data).call("POST", "/v1/certificates", {"node": node, "csr": base64.b64encode(der).decode()})
    for dropped in signed["dropped"]:
        click.echo(f"dropped: the request asked for {dropped}", err=True)
    if out is not None:
        files.write_private(out, signed["pem"].encode())
    if as_json:
        print_json(signed)
    elif out is None:
        click.echo(signed["pem"], nl=False)
    else:
        click.echo(f"{out}: certificate {signed['serial']} for node {node}, valid until {signed['not_after']}")


def request_der(octets: bytes) -> bytes:
    """The DER of the one certificate request in `octets`, PEM or DER. Raises `Unreadable` that says what is there instead."""
    if b"-----BEGIN" not in octets:
        return octets
    blocks = pem.decode(octets)
    requests = [block for block in blocks if block.label in _REQUEST_LABELS]
    if len(requests) == 1:
        return requests[0].der
    if requests:
        raise Unreadable(what="certificate request", why=f"there are {len(requests)} of them; sign one at a time")
    if any("PRIVATE KEY" in block.label for block in blocks):
        raise Unreadable(what="certificate request", why="this is a private key: keep it to yourself, and send the CSR")
    found = ", ".join(sorted({block.label for block in blocks})) or "a broken PEM block"
    raise Unreadable(what="certificate request", why=f"this is {found}")
