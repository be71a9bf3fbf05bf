"""`edgeward key`: make, look at, convert and match private keys."""

import hashlib
import sys

import click
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from edgeward.cli import inspect, output, reading, writing
from edgeward.cli.options import Group
from edgeward.errors import EdgewardError, Refusal, UsageError, printable
from edgeward.keys import generate
from edgeward.pki import parse
from edgeward.pki.formats import pem, pkcs8
from edgeward.pki.formats.item import Item, Kind, WrongKind, leaves, of_kind, only
from edgeward.pki.inspect import publickey

_FORMS = ("pkcs8", "sec1", "pkcs1", "public")


@click.group("key", cls=Group)
def command() -> None:
    """Make, look at, convert and match private keys."""


def load(name: str, password: str | None) -> PrivateKeyTypes:
    """The one private key in the file `name`; a person at the terminal is asked for its password."""
    items = reading.items(name, password)
    if password is None and any(item.kind is Kind.ENCRYPTED_KEY for item in leaves(items)) and sys.stdin.isatty():
        items = reading.items(name, reading.asked(f"password of {name}"))
    try:
        item = only(items, Kind.PRIVATE_KEY, name)
        return pkcs8.read(item.data)
    except EdgewardError as error:
        raise reading.In(name, error) from error


def encoded(key: PrivateKeyTypes, form: str, lock: output.Lock | None, *, der: bool) -> bytes:
    """`key` as the octets of a file."""
    if form == "public":
        label, octets = "PUBLIC KEY", output.public_der(key)
    elif form == "pkcs8":
        if lock is None:
            raise UsageError(problem="a private key is written under a password, or with --no-password")
        label, octets = output.key_der(key, lock)
    else:
        if lock is not None and not lock.clear:
            raise UsageError(
                problem=f"{form.upper()} keys have no encryption worth the name: say --no-password, or use pkcs8"
            )
        label, octets = output.traditional(key, form)
    return octets if der else pem.write(label, octets)


@command.command("new")
@click.argument("out", metavar="OUT")
@click.option(
    "--type", "kind", default=generate.DEFAULT, show_default=True, metavar="TYPE", help=", ".join(generate.KINDS)
)
@click.option(
    "--password", metavar="@FILE", help="Encrypt it: @FILE, - for standard input, env:NAME; asked when absent."
)
@click.option("--no-password", "clear", is_flag=True, help="Write it in the clear, readable by its owner alone.")
@click.option("--scrypt", is_flag=True, help="Derive with scrypt (128 MiB), which openssl's command line cannot read.")
@click.option("--form", type=click.Choice(_FORMS[:3]), default="pkcs8", show_default=True, help="How it is encoded.")
@click.option("--der", is_flag=True, help="Write DER in place of PEM.")
@click.option("--public", metavar="FILE", help="Write the public half there too.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def new(  # noqa: PLR0913, PLR0917 - one parameter for each option
    out: str, kind: str, password: str | None, clear: bool, scrypt: bool, form: str, der: bool, public: str | None,
    force: bool,
) -> None:  # fmt: skip
    """Make a private key and write it to OUT (- for standard output).

    It is encrypted as PKCS#8 with PBKDF2 (600,000 rounds) and AES-256, which openssl, Java, Go and Windows read. The
    file is yours alone (0600) and never overwrites another.

    \b
    Examples:
      edgeward key new device.key --password @password.txt
      edgeward key new device.key --type rsa:3072 --no-password --public device.pub
    """
    lock = output.Lock.from_options(password, clear=clear, scrypt=scrypt)
    key = generate.new(kind)
    writing.write(out, encoded(key, form, lock, der=der), secret=True, force=force)
    if public is not None:
        writing.write(public, encoded(key, "public", None, der=der), secret=False, force=force)
    described = publickey.describe(key.public_key())
    if out != "-":
        sys.stderr.write(f"{out}: {described.words}, {'in the clear' if clear else 'encrypted'}\n")


command.add_command(inspect.command, "inspect")


@command.command("convert")
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT")
@click.option("--password", metavar="@FILE", help="Open IN with it.")
@click.option("--new-password", metavar="@FILE", help="Encrypt OUT with it; asked when absent.")
@click.option("--no-password", "clear", is_flag=True, help="Write OUT in the clear.")
@click.option("--scrypt", is_flag=True, help="Derive with scrypt (128 MiB), which openssl's command line cannot read.")
@click.option("--form", type=click.Choice(_FORMS), default="pkcs8", show_default=True, help="How OUT is encoded.")
@click.option("--der", is_flag=True, help="Write DER in place of PEM.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def convert(  # noqa: PLR0913, PLR0917 - one parameter for each option
    source: str, out: str, password: str | None, new_password: str | None, clear: bool, scrypt: bool, form: str,
    der: bool, force: bool,
) -> None:  # fmt: skip
    """Write the private key in IN to OUT: with another password, in another form, or its public half alone.

    \b
    Examples:
      edgeward key convert old.key new.key --password @old --new-password @new
      edgeward key convert device.key device.pub --form public
    """
    key = load(source, reading.secret(password))
    if form == "public":
        writing.write(out, encoded(key, form, None, der=der), secret=False, force=force)
        return
    lock = output.Lock.from_options(new_password, clear=clear, scrypt=scrypt, option="--new-password")
    writing.write(out, encoded(key, form, lock, der=der), secret=True, force=force)


class DoNotMatch(Refusal):
    """Things whose public keys differ."""

    sentence = "{different} of {count} do not belong to {first}"
    remedy = "a certificate belongs to the key that its request was made with; compare: edgeward inspect FILE..."


@command.command("match")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@click.option("--password", metavar="@FILE", help="Open encrypted keys with it.")
def match(inputs: tuple[str, ...], password: str | None) -> None:
    """Say whether a key, a request and a certificate belong together: whether they have the same public key.

    Of a file with a chain the first certificate counts. Exit status: 0 they all do, 1 one does not.

    \b
    Example:
      edgeward key match device.key device.csr device.crt
    """
    secret = reading.secret(password)
    found = [(name, *_digest(name, secret)) for name in inputs]
    if len(found) < 2:
        raise UsageError(problem="give at least two files to compare")
    first = found[0][2]
    for name, kind, digest in found:
        mark = "=" if digest == first else "✗"
        sys.stdout.write(f"{mark} {digest[:32]}  {kind:<20} {printable(name)}\n")
    different = sum(1 for _, _, digest in found if digest != first)
    if different:
        raise DoNotMatch(different=different, count=len(found), first=inputs[0])


def _digest(name: str, password: str | None) -> tuple[str, str]:
    """What the first thing with a key in `name` is, and the hash of its public key."""
    wanted = {Kind.PRIVATE_KEY, Kind.PUBLIC_KEY, Kind.CERTIFICATE, Kind.REQUEST, Kind.ENCRYPTED_KEY}
    found = [item for item in leaves(reading.items(name, password)) if item.kind in wanted]
    private = [item for item in found if item.kind in {Kind.PRIVATE_KEY, Kind.ENCRYPTED_KEY}]
    try:
        if len(private) > 1:
            raise WrongKind(name=name, wanted="single private key", found=f"{len(private)} of them")
        return (
            (found[0].kind.words, digest_of(found[0]))
            if found
            else ("", digest_of(of_kind([], Kind.CERTIFICATE, name)[0]))
        )
    except EdgewardError as error:
        raise reading.In(name, error) from error


def digest_of(item: Item) -> str:
    """SHA-256 of the public key that `item` has. Raises the item's own problem, or `UnsupportedKey`."""
    return hashlib.sha256(public_octets(item)).hexdigest()


def public_octets(item: Item) -> bytes:
    """The SubjectPublicKeyInfo that `item` has. Raises the item's own problem, or `UnsupportedKey`."""
    if item.problem is not None:
        raise item.problem
    if item.kind is Kind.PRIVATE_KEY:
        return output.public_der(pkcs8.read(item.data))
    if item.kind is Kind.PUBLIC_KEY:
        half = parse.guarded("public key", lambda: serialization.load_der_public_key(item.data))
        return parse.spki(half)
    if item.kind is Kind.CRL:
        raise UsageError(problem="a CRL has no public key")
    holder = parse.certificate(item.data) if item.kind is Kind.CERTIFICATE else parse.certificate_request(item.data)
    return parse.spki(parse.public_key(holder))


def check(item: Item) -> None:
    """Read `item` through the strict gateway. Raises `Unreadable`."""
    if item.kind is Kind.CERTIFICATE:
        parse.certificate(item.data)
    elif item.kind is Kind.REQUEST:
        parse.certificate_request(item.data)
    elif item.kind is Kind.CRL:
        parse.crl(item.data)
