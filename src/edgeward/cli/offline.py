"""What the commands of an offline CA share: opening its directory, profiles with another lifetime, names as they are typed."""

import asyncio
import contextlib
import dataclasses
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
from cryptography import x509

from edgeward import app_offline, files
from edgeward.cli import writing
from edgeward.errors import UsageError
from edgeward.pki import keys, parse, pem, requests
from edgeward.pki.profile import Profile
from edgeward.services.offline import NoCa, OfflineCa

_F = TypeVar("_F", bound=Callable[..., Any])
_Result = TypeVar("_Result")

PROFILES = ("server", "device", "operator")


def options(function: _F) -> _F:
    """`--passphrase-file`: where the passphrase of an offline CA is."""
    return click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path),
        help="The passphrase of the CA's keys; or EDGEWARD_PASSPHRASE, or one made on first use outside the directory.",
    )(function)


def ca_dir(*, required: bool) -> Callable[[_F], _F]:
    """`--ca-dir DIR`."""
    return click.option(
        "--ca-dir",
        required=required,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The directory of an offline CA.",
    )


@contextlib.asynccontextmanager
async def opened(path: Path, passphrase_file: Path | None, *, new: bool = False) -> AsyncIterator[app_offline.Opened]:
    """The CA in a directory."""
    async with app_offline.directory(path, os.environ, new=new, passphrase_file=passphrase_file) as found:
        yield found


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Do `work` to its end."""
    return asyncio.run(work)


def lasting(profile: Profile, days: float | None) -> Profile:
    """`profile` with another lifetime, if one was asked for. Raises `UsageError` for one that makes no sense."""
    if days is None:
        return profile
    if not 1 / 1440 <= days <= 36525:
        raise UsageError(problem="--days is between a minute (0.0007) and a hundred years (36525)")
    return dataclasses.replace(profile, lifetime=timedelta(days=days))


def alternative_names(texts: Sequence[str]) -> tuple[x509.GeneralName, ...]:
    """The names that `--san` gave, once each. Raises `BadName`."""
    return tuple(dict.fromkeys(requests.alternative_names(texts)))


def chain_pem(chain: Sequence[bytes]) -> bytes:
    """Certificates (DER) as one PEM file, in the order given."""
    return b"".join(pem.encode("CERTIFICATE", der) for der in chain)


def publish(path: Path, ca: OfflineCa) -> None:
    """Write `ca.crt` and `chain.pem` into the CA's directory: copies for people of what the store has."""
    writing.write(str(path / "ca.crt"), chain_pem(ca.chain[:1]), secret=False, force=True)
    writing.write(str(path / "chain.pem"), chain_pem(ca.chain), secret=False, force=True)


def shown(path: Path) -> dict[str, Any]:
    """The CA of a directory as it is published there, for which nobody needs its passphrase. Raises `NoCa`."""
    if not (path / app_offline.STORE).exists():
        raise NoCa(name=path)
    blocks = pem.decode(files.read_plain(path / "ca.crt"))
    certificate = parse.certificate(blocks[0].der if blocks else b"")
    return {
        "pin": hashlib.sha256(blocks[0].der).hexdigest(),
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": format(certificate.serial_number, "x"),
        "key": keys.describe(parse.public_key(certificate)),
        "not_before": certificate.not_valid_before_utc,
        "not_after": certificate.not_valid_after_utc,
        "origin": "offline",
    }
