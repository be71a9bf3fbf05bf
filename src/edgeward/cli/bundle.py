"""`edgeward bundle`: one chain in order out of a heap of files."""

import sys

import click

from edgeward.cli import convert, output, reading, writing
from edgeward.errors import UsageError, printable
from edgeward.pki import parse
from edgeward.pki.formats.item import Item, Kind
from edgeward.pki.inspect import chain


@click.command("bundle")
@click.argument("sources", nargs=-1, required=True, metavar="IN...")
@click.argument("out", metavar="OUT")
@click.option("--leaf", metavar="FILE", help="Build the chain of the certificate in FILE.")
@click.option("--no-root", is_flag=True, help="Leave the self-signed root out, as servers should.")
@click.option("--to", "named", type=click.Choice(["pem", "pkcs7", "pkcs7-pem"]), help="The format of OUT.")
@click.option("--password", metavar="@FILE", help="Open what is encrypted with it.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def command(
    sources: tuple[str, ...], out: str, leaf: str | None, no_root: bool, named: str | None, password: str | None,
    force: bool,
) -> None:  # fmt: skip
    """Put the certificates in IN... in the order of a chain (leaf first, then each one's issuer) and write them to OUT.

    Duplicates are dropped, and so is everything that is no certificate. Says what is missing: a chain whose last
    issuer is not there is written, with a warning.

    \b
    Examples:
      edgeward bundle server.crt intermediates/*.pem root.pem fullchain.pem --no-root
      edgeward bundle *.crt chain.pem --leaf device.crt
    """
    secret = reading.secret(password)
    found = [item for item in convert.read_all(sources, secret) if item.kind is Kind.CERTIFICATE]
    first: Item | None = None
    if leaf is not None:
        leaves = [item for item in convert.read_all((leaf,), secret) if item.kind is Kind.CERTIFICATE]
        if not leaves:
            raise UsageError(problem=f"there is no certificate in {leaf}")
        first = leaves[0]
    items = _chain(found, first)
    if not items:
        raise UsageError(problem="there is no certificate in the input")
    heap = chain.family([parse.certificate(item.data) for item in items])
    if no_root:
        items = [item for place, item in enumerate(items) if not heap.is_root(place) or len(items) == 1]
    for place, issuer in enumerate(heap.issuers):
        if issuer == -1:
            name = printable(heap.certificates[place].issuer.rfc4514_string())
            sys.stderr.write(f"warning: the issuer {name} is not in the input\n")
    form = named or ("pem" if out == "-" else convert.form_of(out, None))
    writing.write(out, output.encode(items, form, None, alias=""), secret=False, force=force)


def _chain(found: list[Item], first: Item | None) -> list[Item]:
    """All certificates in order, or the path of one of them."""
    ordered = output.in_order([*found, *([first] if first else [])])
    if first is None:
        return ordered
    heap = chain.family([parse.certificate(item.data) for item in ordered])
    place = next(place for place, item in enumerate(ordered) if item.data == first.data)
    return [ordered[step] for step in heap.path(place)]
