"""`edgeward csr`: make, look at and verify certificate requests."""

import re
import sys
from collections.abc import Sequence

import click

from edgeward.cli import inspect, key, output, reading, writing
from edgeward.cli.options import Group
from edgeward.errors import EdgewardError, Refusal, UsageError, printable
from edgeward.keys import generate
from edgeward.pki import names as general
from edgeward.pki import parse, requests
from edgeward.pki.formats import pem
from edgeward.pki.formats.item import Kind, of_kind
from edgeward.pki.inspect import others


@click.group("csr", cls=Group)
def command() -> None:
    """Make, look at and verify certificate requests (PKCS#10)."""


def _names(sans: Sequence[str], wish: str, *, cn_as_name: bool) -> tuple[requests.Wish, str]:
    """The wish for a subject and its names, and the name that was taken over from the common name."""
    subject = requests.subject(wish)
    names = requests.alternative_names(sans)
    taken = requests.name_from_subject(subject) if cn_as_name else None
    if taken is not None and taken not in names:
        return requests.Wish(subject=subject, names=(taken, *names)), str(taken.value)
    return requests.Wish(subject=subject, names=tuple(names)), ""


def _extension(text: str) -> tuple[str, bool, bytes]:
    match = re.fullmatch(r"(critical,)?([0-2](?:\.[0-9]+)+)=(?:DER:)?([0-9A-Fa-f:]+)", text)
    if match is None:
        raise UsageError(problem=f"--extension {printable(text)!r} is not of the form [critical,]OID=HEX")
    try:
        return match[2], bool(match[1]), bytes.fromhex(match[3].replace(":", ""))
    except ValueError as error:
        raise UsageError(problem=f"--extension {match[2]}: the value is not hexadecimal") from error


@command.command("new")
@click.argument("out", metavar="OUT")
@click.option("--key", "key_file", metavar="FILE", help="The private key that signs the request.")
@click.option("--new-key", metavar="FILE", help="Make a key and write it there.")
@click.option("--type", "kind", default=generate.DEFAULT, show_default=True, metavar="TYPE", help="Of the new key.")
@click.option(
    "--subject", default="", metavar="DN", help="CN=web,O=Example, or as openssl writes it: /O=Example/CN=web."
)
@click.option(
    "--san",
    "sans",
    multiple=True,
    metavar="NAME",
    help="dns: ip: email: uri: rid: dirname: other: upn:.",
)
@click.option("--no-cn-san", is_flag=True, help="Do not make a common name that looks like a host an alternative name.")
@click.option("--usage", "usages", multiple=True, metavar="NAME", help=", ".join(requests.KEY_USAGES))
@click.option(
    "--purpose", "purposes", multiple=True, metavar="NAME", help=", ".join(requests.PURPOSES) + ", or an OID."
)
@click.option("--ca", is_flag=True, help="Ask to be a CA.")
@click.option("--extension", "extensions", multiple=True, metavar="OID=HEX", help="Ask for any other extension.")
@click.option("--challenge-password", metavar="@FILE", help="Some CAs want one; it is sent in the clear.")
@click.option("--password", metavar="@FILE", help="Of the key, old or new: @FILE, - for standard input, env:NAME.")
@click.option("--no-password", "clear", is_flag=True, help="Write the new key in the clear.")
@click.option("--der", is_flag=True, help="Write DER in place of PEM.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def new(  # noqa: PLR0913, PLR0917 - one parameter for each option
    out: str, key_file: str | None, new_key: str | None, kind: str, subject: str, sans: tuple[str, ...],
    no_cn_san: bool, usages: tuple[str, ...], purposes: tuple[str, ...], ca: bool, extensions: tuple[str, ...],
    challenge_password: str | None, password: str | None, clear: bool, der: bool, force: bool,
) -> None:  # fmt: skip
    """Make a certificate request and write it to OUT (- for standard output).

    A common name that looks like a host name or an address is asked for as an alternative name too, because no
    program of today looks for it in the subject.

    \b
    Examples:
      edgeward csr new device.csr --new-key device.key --subject CN=edge-1 --password @password.txt
      edgeward csr new web.csr --key web.key --subject /O=Example/CN=web.example --san ip:192.0.2.1
    """
    if (key_file is None) == (new_key is None):
        raise UsageError(
            problem="give the key that signs: --key FILE for one that is there, --new-key FILE to make one"
        )
    wish, taken = _names(sans, subject, cn_as_name=not no_cn_san)
    wish = requests.Wish(
        subject=wish.subject, names=wish.names, key_usages=usages, purposes=purposes, ca=ca,
        extensions=tuple(_extension(text) for text in extensions),
        challenge_password=reading.secret(challenge_password, option="--challenge-password") or "",
    )  # fmt: skip
    if key_file is not None:
        signer = key.load(key_file, reading.secret(password))
    else:
        lock = output.Lock.from_options(password, clear=clear)
        signer = generate.new(kind)
        writing.write(str(new_key), key.encoded(signer, "pkcs8", lock, der=False), secret=True, force=force)
    octets = requests.build(wish, signer)
    writing.write(out, octets if der else pem.write("CERTIFICATE REQUEST", octets), secret=False, force=force)
    if out != "-":
        asked = ", ".join([wish.subject.rfc4514_string() or "no subject", *(general.show(name) for name in wish.names)])
        made = "" if new_key is None else f", with its new key in {new_key}"
        sys.stderr.write(f"{out}: request for {printable(asked, 600)}{made}\n")
    if taken:
        sys.stderr.write(f"the common name {printable(taken)} is asked for as an alternative name too\n")


command.add_command(inspect.command, "inspect")


class DoesNotHold(Refusal):
    """A request whose signature does not fit its own key."""

    sentence = "{name}: the signature does not fit the request's own key"
    remedy = "make the request anew with the private key: edgeward csr new OUT --key FILE"


@command.command("verify")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
def verify(inputs: tuple[str, ...]) -> None:
    """Check that requests are signed by the keys inside them: that who asks has the private key.

    Exit status: 0 all hold, 1 one does not, 65 one cannot be read.

    \b
    Example:
      edgeward csr verify device.csr
    """
    broken: list[EdgewardError] = []
    for name in inputs:
        try:
            found = of_kind(reading.items(name), Kind.REQUEST, name)
            parsed = [parse.certificate_request(item.data) for item in found]
        except reading.In:
            raise
        except EdgewardError as error:
            raise reading.In(name, error) from error
        for request in parsed:
            holds = others.signature_holds(request)
            subject = printable(request.subject.rfc4514_string())
            sys.stdout.write(f"{'holds' if holds else 'does NOT hold'}  {printable(name)}  {subject}\n")
            if not holds:
                broken.append(DoesNotHold(name=name))
    if broken:
        raise broken[0]
