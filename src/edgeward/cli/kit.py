"""`edgeward kit`: the files that one end of mutual TLS needs, laid out as a folder, a zip or a PKCS#12; and which of them are secret."""

import base64
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from edgeward import app_offline, files
from edgeward.cli import offline, output, reading, writing
from edgeward.cli.client import Client
from edgeward.cli.options import Group, data_option
from edgeward.cli.vendor import LIMIT, request_der
from edgeward.errors import UsageError, printable
from edgeward.keys import generate
from edgeward.pki import csr, keys, names, pem, requests
from edgeward.pki.csr import Requested
from edgeward.pki.formats import pkcs8
from edgeward.pki.formats.item import Item, Kind
from edgeward.services import vendor
from edgeward.services.offline import chain_below_root

_F = TypeVar("_F", bound=Callable[..., Any])

_NOTE = "PUT-DEVICE-KEY-HERE.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a kit. `items`: what is in it, for PKCS#12."""

    name: str
    octets: bytes
    secret: bool = False
    words: str
    items: tuple[Item, ...] = ()


class NoKit(UsageError):
    """A kit in one file of a format that cannot hold it."""

    sentence = "a kit is a directory, a .zip or a .p12, not a {ending}"
    remedy = "make a .p12, which Java and Windows read, or of it: edgeward convert KIT.p12 OUT{ending}"


@click.group(cls=Group)
def command() -> None:
    """Lay out what a device or a platform needs for mutual TLS, and say which of it is secret."""


def _shared(function: _F) -> _F:
    """The options of every kit."""
    for option in (
        click.option("--force", is_flag=True, help="Overwrite what is there."),
        click.option(
            "--type", "kind", default=generate.DEFAULT, show_default=True, metavar="TYPE", help="Of the new key."
        ),
        click.option("--days", type=float, help="With --ca-dir: how long the certificate is valid."),
        click.option(
            "--out", required=True, metavar="DIR|FILE.zip|FILE.p12", help="Where the kit goes; the end says how."
        ),
        offline.options,
    ):
        function = option(function)
    return function


@command.command("device")
@offline.ca_dir(required=False)
@click.option("--node", metavar="NAME", help="The device's name; with --csr, instead of the CSR's common name.")
@click.option("--csr", "request", metavar="CSR", help="A vendor's CSR: the key stays with the vendor.")
@click.option("--san", "sans", multiple=True, metavar="NAME", help="With --ca-dir: further names, dns:… ip:… uri:…")
@click.option("--password", metavar="@FILE", help="Encrypts device.key; a PKCS#12 needs one.")
@_shared
@data_option
def device(data: Path, **options: Any) -> None:
    """Make a device's kit: ca.crt, device.crt and device.key.

    An offline CA (--ca-dir) or the running authority (--data) signs. With a vendor's --csr the kit has ca.crt, device.crt and a note
    where the vendor's own key goes.

    device.crt has the intermediate CAs behind the device's certificate, and ca.crt every CA up to the root. device.key is in the clear,
    for you alone (0600), unless you give a --password: a device must be able to read it when nobody is there.

    \b
    Examples:
      edgeward kit device --ca-dir ca --node edge-1 --out edge-1/
      edgeward kit device --ca-dir ca --node edge-1 --out edge-1.p12 --password @password.txt
      edgeward kit device --data /var/lib/edgeward --csr vendor.csr --node edge-7 --out edge-7.zip
    """
    if options["node"] is None and options["request"] is None:
        raise UsageError(problem="say for whom: --node NAME, or --csr FILE with the name in it")
    if options["ca_dir"] is None and (options["sans"] or options["days"] is not None):
        raise UsageError(problem="--san and --days need an offline CA: the authority's profile decides for --data")
    if options["request"] is not None and _form(options["out"]) == "pkcs12":
        raise UsageError(problem="a PKCS#12 holds the private key, which the vendor has: make a folder or a .zip")
    lock = _lock(options["password"], options["out"])
    vendors = options["request"] is not None
    _in_the_way(options, ["ca.crt", "device.crt", _NOTE if vendors else "device.key"])
    key, requested, octets = _requested(options)
    node = vendor.wanted(app_offline.profiles()["device"], requested, options["node"], ()).identity
    if options["ca_dir"] is None:
        signed = Client(data).call("POST", "/v1/certificates", {"node": node, "csr": base64.b64encode(octets).decode()})
        leaf, dropped = pem.decode(signed["pem"].encode())[0].der, signed["dropped"]
        chain = tuple(block.der for block in pem.decode(signed["ca_pem"].encode()))
    else:
        leaf, chain, dropped = offline.run(_sign("device", requested, options | {"identity": node}))
    for one in dropped if vendors else ():
        click.echo(f"dropped: the request asks for {printable(one)}", err=True)
    parts = [_cas(chain), _certificate("device.crt", leaf, chain)]
    if key is None:
        parts.append(Part(name=_NOTE, octets=_note(node).encode(), words="where the vendor's own key goes"))
    else:
        parts.append(_key("device.key", key, lock, "the device's private key"))
    _write(parts, options, lock, alias=node)


@command.command("backend")
@offline.ca_dir(required=True)
@click.option("--name", metavar="NAME", help="The server's name; one that looks like a host is a SAN, too.")
@click.option("--san", "sans", multiple=True, metavar="NAME", help="Names that clients dial: dns:… ip:…")
@click.option("--password", required=True, metavar="@FILE", help="Encrypts the CA's key; of a PKCS#12, everything.")
@_shared
def backend(**options: Any) -> None:
    """Make a platform's kit: the CA's key, ca.crt, server.key and server.crt.

    ca.key is PKCS#8 under --password, which openssl and Java read; that it left is in the CA's audit log. server.crt has the
    intermediate CAs behind the server's certificate. For an offline CA alone: a running authority keeps its key (`edgeward ca export`)
    and serves its own certificate.

    \b
    Example:
      edgeward kit backend --ca-dir ca --name cloud.example.com --san ip:192.0.2.1 --password @password.txt --out cloud/
    """
    if options["name"] is None and not options["sans"]:
        raise UsageError(problem="say what clients dial: --name cloud.example.com, --san ip:192.0.2.1")
    lock = output.Lock.from_options(options["password"], clear=False)
    _in_the_way(options, ["ca.key", "ca.crt", "server.key", "server.crt"])
    key = generate.new(options["kind"])
    given = csr.asked_by_key(keys.issuer_key(key).public_key())
    san_names = offline.alternative_names(options["sans"])
    if options["name"] is not None:
        taken = vendor.named_host(options["name"])
        san_names = tuple(dict.fromkeys((*([taken] if taken is not None else []), *san_names)))
    if not san_names:
        raise UsageError(problem=f"{options['name']} is no name that clients dial: add --san dns:… or --san ip:…")
    identity = options["name"] or names.show(san_names[0])[:64]
    leaf, chain, _ = offline.run(_sign("server", given, options | {"identity": identity, "names": san_names}))
    ca_key = offline.run(_ca_key(options))
    parts = [
        _key("ca.key", pkcs8.read(ca_key), lock, "the CA's private key: whoever has it and its password makes devices"),
        _cas(chain),
        _key("server.key", key, output.Lock(password=None, clear=True), "the server's private key"),
        _certificate("server.crt", leaf, chain),
    ]
    _write(parts, options, lock, alias=identity)


async def _sign(
    profile: str, requested: Requested, options: dict[str, Any]
) -> tuple[bytes, tuple[bytes, ...], tuple[str, ...]]:
    """The certificate, the CAs above it, and what the request asked for in vain."""
    async with offline.opened(options["ca_dir"], options["passphrase_file"]) as found:
        rules = offline.lasting(found.profiles[profile], options["days"])
        sans = options.get("names") or offline.alternative_names(options["sans"])
        wanted = vendor.wanted(rules, requested, options["identity"], sans)
        issued = await found.ca.sign(wanted, requested, app_offline.now())
        return issued.der, found.ca.chain, () if issued.plan is None else issued.plan.dropped


async def _ca_key(options: dict[str, Any]) -> bytes:
    async with offline.opened(options["ca_dir"], options["passphrase_file"]) as found:
        return await found.ca.export_key(app_offline.now())


def _requested(options: dict[str, Any]) -> tuple[PrivateKeyTypes | None, Requested, bytes]:
    """The key, if it is made here, and the request with its DER."""
    if options["request"] is not None:
        octets = request_der(reading.octets(options["request"], LIMIT))
        return None, csr.requested(octets), octets
    key = generate.new(options["kind"])
    name = names.node_name(options["node"])
    octets = requests.build(requests.Wish(subject=requests.subject(f"CN={name}")), key)
    return key, csr.requested(octets), octets


# ------------------------------------------------------------------------------------------------------------------ files


def _cas(chain: Sequence[bytes]) -> Part:
    words = "the CA's certificate" if len(chain) == 1 else "the CAs' certificates up to the root"
    return Part(name="ca.crt", octets=offline.chain_pem(chain), words=words, items=_certificates(chain))


def _certificate(name: str, leaf: bytes, chain: Sequence[bytes]) -> Part:
    below = chain_below_root(chain)
    words = "its certificate" + (", and the intermediate CAs" if below else "")
    return Part(name=name, octets=offline.chain_pem((leaf, *below)), words=words, items=_certificates((leaf, *below)))


def _certificates(ders: Sequence[bytes]) -> tuple[Item, ...]:
    return tuple(Item(kind=Kind.CERTIFICATE, data=der) for der in ders)


def _key(name: str, key: PrivateKeyTypes, lock: output.Lock, words: str) -> Part:
    plain = Item(kind=Kind.PRIVATE_KEY, data=pkcs8.encode(key))
    how = "in the clear" if lock.clear else "encrypted"
    return Part(
        name=name, octets=pem.encode(*output.key_der(key, lock)), secret=True, words=f"{words}, {how}", items=(plain,)
    )


def _note(node: str) -> str:
    return (
        f"The private key of {node} never left its vendor, and it is not in this kit.\n\n"
        "Put it beside device.crt on the device, as device.key, readable by its owner alone (mode 0600). It belongs there if\n\n"
        "    edgeward key match device.key device.crt\n\nsays so.\n"
    )


def _lock(password: str | None, out: str) -> output.Lock:
    if password is None and _form(out) == "pkcs12":
        raise UsageError(problem="a PKCS#12 needs a password: --password @FILE")
    given = reading.secret(password)
    if given == "":
        raise UsageError(problem="the password is empty")
    return output.Lock(password=given, clear=given is None)


def _form(out: str) -> str:
    ending = Path(out).suffix.lower()
    if ending in (".jks", ".pem", ".crt", ".key", ".der", ".p7b"):
        raise NoKit(ending=ending)
    return {".zip": "zip", ".p12": "pkcs12", ".pfx": "pkcs12"}.get(ending, "folder")


def _in_the_way(options: dict[str, Any], parts: Sequence[str]) -> None:
    """Before anything is signed: refuse to overwrite."""
    out = Path(options["out"])
    folder = _form(options["out"]) == "folder"
    if folder and out.exists() and not out.is_dir():
        raise UsageError(problem=f"{out} is no directory")
    for path in [out / name for name in parts] if folder else [out]:
        if path.exists() and not options["force"]:
            raise writing.WillNotOverwrite(name=path)


def _write(parts: Sequence[Part], options: dict[str, Any], lock: output.Lock, *, alias: str) -> None:
    out, form = options["out"], _form(options["out"])
    secret = any(part.secret for part in parts)
    if form == "folder":
        _write_folder(parts, Path(out), force=options["force"])
    elif form == "zip":
        writing.write(out, _zip(parts), secret=secret, force=options["force"])
    else:
        items = output.in_order([item for part in _leaf_first(parts) for item in part.items])
        writing.write(out, output.encode(items, "pkcs12", lock, alias=alias), secret=True, force=options["force"])
    for part in parts:
        where = str(Path(out) / part.name) if form == "folder" else f"{out}: {part.name}"
        click.echo(
            f"{'SECRET' if part.secret else 'public'}  {where}  {part.words if form != 'pkcs12' else part.words.split(',')[0]}"
        )
    if secret and form == "zip":
        click.echo(f"{out} has a secret in it: send it as you would send a password")
    if form == "pkcs12":
        click.echo(f"{out} is encrypted as a whole; its password goes another way than the file")


def _leaf_first(parts: Sequence[Part]) -> list[Part]:
    """The kit's own key before the CA's, so that it is the store's first entry."""
    return sorted(parts, key=lambda part: part.name.startswith("ca."))


def _write_folder(parts: Sequence[Part], folder: Path, *, force: bool) -> None:
    if not folder.exists():
        files.make_private_directory(folder.absolute())
    for part in parts:
        writing.write(str(folder / part.name), part.octets, secret=part.secret, force=force)


def _zip(parts: Sequence[Part]) -> bytes:
    """The kit as a zip whose files keep their modes where it is unpacked with unzip."""
    holder = io.BytesIO()
    moment = app_offline.now().timetuple()[:6]
    with zipfile.ZipFile(holder, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in parts:
            entry = zipfile.ZipInfo(part.name, moment)
            entry.external_attr = (0o100600 if part.secret else 0o100644) << 16
            entry.create_system = 3  # Unix: the modes count
            archive.writestr(entry, part.octets)
    return holder.getvalue()
