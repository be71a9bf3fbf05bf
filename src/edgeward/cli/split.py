"""`edgeward split`: each thing in a file as a file of its own."""

import re
import sys
from pathlib import Path

import click
from cryptography import x509

from edgeward.cli import convert, output, reading, writing
from edgeward.errors import Unavailable, printable
from edgeward.pki import parse
from edgeward.pki.formats.item import Item, Kind

_ENDINGS = {
    Kind.CERTIFICATE: "crt",
    Kind.REQUEST: "csr",
    Kind.CRL: "crl",
    Kind.PRIVATE_KEY: "key",
    Kind.PUBLIC_KEY: "pub",
}


@click.command("split")
@click.argument("source", metavar="IN")
@click.argument("directory", metavar="DIRECTORY")
@click.option("--password", metavar="@FILE", help="Open IN with it.")
@click.option("--new-password", metavar="@FILE", help="Encrypt private keys with it; asked when absent and needed.")
@click.option("--no-password", "clear", is_flag=True, help="Write private keys in the clear.")
@click.option("--no-keys", is_flag=True, help="Leave private keys out.")
@click.option("--der", is_flag=True, help="Write DER in place of PEM.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def command(
    source: str, directory: str, password: str | None, new_password: str | None, clear: bool, no_keys: bool, der: bool,
    force: bool,
) -> None:  # fmt: skip
    """Write each thing in IN to a file of its own in DIRECTORY, numbered in order and named for its subject.

    Files with private keys are yours alone (0600). Nothing is overwritten without --force.

    \b
    Example:
      edgeward split device.p12 device/ --password @password.txt --no-password
    """
    items = convert.writable(convert.read_all((source,), reading.secret(password)))
    if no_keys:
        items = [item for item in items if item.kind is not Kind.PRIVATE_KEY]
    lock = None
    if any(item.kind is Kind.PRIVATE_KEY for item in items):
        lock = output.Lock.from_options(new_password, clear=clear, option="--new-password")
    try:
        Path(directory).mkdir(mode=0o755, exist_ok=True)
    except OSError as error:
        raise Unavailable(problem=f"{directory}: {(error.strerror or str(error)).lower()}") from error
    for number, item in enumerate(items, 1):
        name = str(Path(directory, f"{number:02}-{_slug(item)}.{'der' if der else _ENDINGS.get(item.kind, 'pem')}"))
        octets = output.encode([item], "der" if der else "pem", lock, alias="")
        writing.write(name, octets, secret=item.kind is Kind.PRIVATE_KEY, force=force)
        sys.stdout.write(f"{printable(name)}  {item.kind.words}\n")


def _slug(item: Item) -> str:
    """A file name out of a subject or a kind: letters, digits, dots and hyphens, never a path."""
    text = item.alias
    if item.kind is Kind.CERTIFICATE:
        subject = parse.certificate(item.data).subject
        common = subject.get_attributes_for_oid(x509.OID_COMMON_NAME)
        text = str(common[0].value) if common else subject.rfc4514_string()
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text)[:60].strip("-.").lower() or item.kind.value
