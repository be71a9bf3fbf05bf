"""`edgeward convert`: from any format to any other."""

import sys
import time
from pathlib import PurePath

import click

from edgeward.cli import key, output, reading, writing
from edgeward.errors import EdgewardError, UsageError
from edgeward.pki.formats.item import Item, Kind, opened, summary


def form_of(out: str, named: str | None) -> str:
    """The format that an option names, or else the end of the file's name. Raises `UsageError` when neither says."""
    if named is not None:
        return named
    found = output.ENDINGS.get(PurePath(out).suffix.lower())
    if found is None:
        raise UsageError(problem=f"{out} does not say in what format: add --to {'|'.join(output.FORMATS)}")
    return found


def read_all(sources: tuple[str, ...], password: str | None) -> list[Item]:
    """Everything in `sources`, containers and locks opened; a person at the terminal is asked for a password."""
    found: list[Item] = []
    for name in sources:
        items = reading.items(name, password)
        locked = any(
            part.problem and part.problem.code == "password-needed" for item in items for part in (item, *item.parts)
        )
        if locked and password is None and name != "-" and sys.stdin.isatty():
            items = reading.items(name, reading.asked(f"password of {name}"))
        try:
            for item in opened(items):
                key.check(item)
                found.append(item)
        except EdgewardError as error:
            raise reading.In(name, error) from error
    return found


def writable(items: list[Item]) -> list[Item]:
    """The items that files hold; tokens and ASN.1 of no known kind are none of them."""
    return [item for item in items if item.kind in output.LABELS or item.kind is Kind.PRIVATE_KEY]


@click.command("convert")
@click.argument("sources", nargs=-1, required=True, metavar="IN...")
@click.argument("out", metavar="OUT")
@click.option("--to", "named", type=click.Choice(output.FORMATS), help="The format of OUT, when its name does not say.")
@click.option("--password", metavar="@FILE", help="Open what is encrypted in IN with it.")
@click.option("--new-password", metavar="@FILE", help="Protect OUT with it; asked when absent.")
@click.option("--no-password", "clear", is_flag=True, help="Write private keys in the clear (PEM and DER).")
@click.option("--alias", default="1", show_default=True, help="The name of the entry in PKCS#12 and Java key stores.")
@click.option("--no-keys", is_flag=True, help="Leave private keys out.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def command(  # noqa: PLR0913, PLR0917 - one parameter for each option
    sources: tuple[str, ...], out: str, named: str | None, password: str | None, new_password: str | None, clear: bool,
    alias: str, no_keys: bool, force: bool,
) -> None:  # fmt: skip
    """Write what is in IN... to OUT in another format, chains put in order.

    The end of OUT's name says the format: .pem .crt .key (PEM), .der, .p7b (PKCS#7), .p12 .pfx (PKCS#12), .jks; or
    --to does. `pkcs12-legacy` (3DES and SHA-1) is for Windows before 10 1709 and Java before 8u301.

    \b
    Examples:
      edgeward convert ca.der ca.pem
      edgeward convert device.key device.crt ca.crt device.p12 --alias device --new-password @password.txt
      edgeward convert old.pfx new.pem --password @old.txt --no-password
      edgeward convert trust.jks trust.pem --password @changeit.txt
    """
    form = form_of(out, named)
    items = writable(read_all(sources, reading.secret(password)))
    if no_keys:
        items = [item for item in items if item.kind is not Kind.PRIVATE_KEY]
    items = output.in_order(items)
    if not items:
        raise UsageError(problem="there is nothing in the input that this can write")
    has_key = any(item.kind is Kind.PRIVATE_KEY for item in items)
    lock = None
    if has_key or form in {"pkcs12", "pkcs12-legacy", "jks"}:
        lock = output.Lock.from_options(new_password, clear=clear, option="--new-password")
    octets = output.encode(items, form, lock, alias=alias, now_ms=int(time.time() * 1000))
    writing.write(out, octets, secret=has_key, force=force)
    if out != "-":
        sys.stderr.write(f"{out}: {summary(items)}\n")
    if form == "jks":
        sys.stderr.write("warning: JKS protects keys weakly; Java reads PKCS#12 since version 8\n")
