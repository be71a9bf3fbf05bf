"""`edgeward bundle`: one chain in order out of a heap of files."""

import sys
from importlib import import_module

import click
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from edgeward.cli import convert, output, reading, writing
from edgeward.errors import EdgewardError, UsageError, printable
from edgeward.pki import parse
from edgeward.pki.formats.detect import detect
from edgeward.pki.formats.item import Item, Kind, leaves
from edgeward.pki.inspect import chain
from edgeward.pki.inspect.certificate import issued_by

MAX_FETCHED = 10
"""Addresses that are asked for issuers: chains have three certificates, and a certificate may name several addresses."""


@click.command("bundle")
@click.argument("sources", nargs=-1, required=True, metavar="IN...")
@click.argument("out", metavar="OUT")
@click.option("--leaf", metavar="FILE", help="Build the chain of the certificate in FILE.")
@click.option("--no-root", is_flag=True, help="Leave the self-signed root out, as servers should.")
@click.option(
    "--aia", is_flag=True, help="Fetch missing issuers from the addresses that the certificates name (plain http)."
)
@click.option("--aia-private", is_flag=True, help="With --aia: also from private networks and this machine.")
@click.option("--to", "named", type=click.Choice(["pem", "pkcs7", "pkcs7-pem"]), help="The format of OUT.")
@click.option("--password", metavar="@FILE", help="Open what is encrypted with it.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def command(  # noqa: PLR0913, PLR0917 - one parameter for each option
    sources: tuple[str, ...], out: str, leaf: str | None, no_root: bool, named: str | None, password: str | None,
    force: bool, aia: bool, aia_private: bool,
) -> None:  # fmt: skip
    """Put the certificates in IN... in the order of a chain (leaf first, then each one's issuer) and write them to OUT.

    Duplicates are dropped, and so is everything that is no certificate. Says what is missing: a chain whose last
    issuer is not there is written, with a warning. With --aia what is missing is fetched, if its signature proves that it is the issuer:
    over plain http, from public addresses alone, 1 MiB and 10 s at most.

    \b
    Examples:
      edgeward bundle server.crt intermediates/*.pem root.pem fullchain.pem --no-root
      edgeward bundle *.crt chain.pem --leaf device.crt
      edgeward bundle server.crt fullchain.pem --aia --no-root
      edgeward bundle example.com:443 repaired.pem --aia
    """
    secret = reading.secret(password)
    found = [item for item in convert.read_all(sources, secret) if item.kind is Kind.CERTIFICATE]
    first: Item | None = None
    if leaf is not None:
        leaves = [item for item in convert.read_all((leaf,), secret) if item.kind is Kind.CERTIFICATE]
        if not leaves:
            raise UsageError(problem=f"there is no certificate in {leaf}")
        first = leaves[0]
    if aia or aia_private:
        found = _completed(found, first, private=aia_private)
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


def _completed(found: list[Item], first: Item | None, *, private: bool) -> list[Item]:
    """The certificates, and the issuers that were fetched for those that had none, as far up as there are addresses."""
    fetcher = import_module("edgeward.transports.fetch")
    whole = list(found)
    tried: set[str] = set()
    while len(tried) < MAX_FETCHED:
        heap = chain.family([parse.certificate(item.data) for item in (*whole, *([first] if first else []))])
        orphans = [one for one, issuer in zip(heap.certificates, heap.issuers, strict=True) if issuer == -1]
        urls = [url for orphan in orphans for url in _issuers_at(orphan) if url not in tried]
        if not urls:
            break
        tried.add(urls[0])
        try:
            items = detect(fetcher.fetch(urls[0], private=private).body, name=urls[0])
        except EdgewardError as error:
            sys.stderr.write(f"warning: {printable(str(error), 400)}\n")
            if error.hint:
                sys.stderr.write(f"hint: {error.hint}\n")
            continue
        fetched = [item for item in leaves(items) if item.kind is Kind.CERTIFICATE and item.problem is None]
        useful = [item for item in fetched if any(_issued(orphan, item) for orphan in orphans)]
        if useful:
            sys.stderr.write(f"fetched: {printable(urls[0], 400)}\n")
        else:
            sys.stderr.write(f"warning: {printable(urls[0], 400)} has no issuer of what needs one\n")
        whole += useful
    return whole


def _issued(orphan: x509.Certificate, item: Item) -> bool:
    try:
        return issued_by(orphan, parse.certificate(item.data))
    except EdgewardError:
        return False


def _issuers_at(certificate: x509.Certificate) -> list[str]:
    """Where a certificate says that its issuer's certificate is. RFC 5280 section 4.2.2.1."""
    return [
        access.access_location.value
        for extension in certificate.extensions
        if isinstance(extension.value, x509.AuthorityInformationAccess)
        for access in extension.value
        if access.access_method == AuthorityInformationAccessOID.CA_ISSUERS
        and isinstance(access.access_location, x509.UniformResourceIdentifier)
    ]
