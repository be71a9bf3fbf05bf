"""What several replicas have in common: one database with the rows and the sealed keys, and a bus. Built by address, where one is given."""

import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from edgeward import config, extras, files
from edgeward.bus.alone import AloneBus
from edgeward.bus.port import Bus
from edgeward.errors import NotFound, StoreUnavailable, UsageError
from edgeward.keys import passphrase
from edgeward.keys.database import DatabaseKeys
from edgeward.keys.port import KeyStore
from edgeward.model.audit import Event
from edgeward.model.authority import Issuer
from edgeward.stores.relational import RelationalStore

REPLICA = "replica"
"""The file that remembers this replica's name: a directory that has it is not an authority by itself."""

_BUS_KEY = "bus-key"

_DATABASES = ("postgresql", "postgres")
_BUSES = ("nats", "tls", "ws", "wss")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Where what is shared lies. `replica` is this process's own name among the others."""

    database: str
    bus: str
    bus_credentials: str
    replica: str

    @property
    def shown(self) -> dict[str, str]:
        """The addresses without their secrets."""
        return {"replica": self.replica, "database": _without_secrets(self.database), "bus": _without_secrets(self.bus)}


def sharing(
    database: str | None,
    bus: str | None,
    settings: config.Config,
    environment: Mapping[str, str],
    directory: Path,
    worker: int,
) -> Sharing | None:
    """What is shared, from the command line, else the environment (`EDGEWARD_DATABASE`, `EDGEWARD_BUS`), else the configuration; None
    for an authority that is alone. `@FILE` stands for the first line of a file. Raises `UsageError`."""
    where = _address("database", database or environment.get("EDGEWARD_DATABASE") or settings.store.database)
    by = _address("bus", bus or environment.get("EDGEWARD_BUS") or settings.bus.url)
    if not where:
        if by:
            raise UsageError(problem="a bus joins replicas that share a database: give --database as well")
        if (directory / REPLICA).exists():
            raise UsageError(
                problem=f"{directory} belongs to a replica, whose authority is in a database: give --database or EDGEWARD_DATABASE"
            )
        return None
    _known("database", where, _DATABASES)
    for one in by.split(",") if by else ():
        _known("bus", one, _BUSES)
    if (directory / "edgeward.db").exists():
        raise UsageError(
            problem=f"{directory} holds an authority of its own (edgeward.db); a replica needs another directory"
        )
    return Sharing(
        database=where, bus=by, bus_credentials=settings.bus.credentials, replica=f"{_replica(directory)}/{worker}"
    )


def open_shared(
    shared: Sharing, directory: Path, environment: Mapping[str, str], passphrase_file: Path | None
) -> tuple[RelationalStore, KeyStore]:
    """The store and its keys. Raises `StoreUnavailable`, and `UsageError` where no passphrase is given: one that is
    generated here would be no other replica's."""
    word = passphrase.find(directory / "keys", environment, passphrase_file, generate=False)
    postgres = extras.load("edgeward.stores.postgres")
    store: RelationalStore = postgres.open_store(shared.database, shared.replica)
    return store, DatabaseKeys(postgres.SealedKeys(shared.database, shared.replica), word)


async def open_bus(shared: Sharing | None, store: RelationalStore, issuer: Issuer, now: datetime) -> Bus:
    """The bus to the other replicas of this authority."""
    if shared is None:
        return AloneBus()
    key, life = await _bus_key(store, now), await store.replicas.live()
    if shared.bus:
        nats = extras.load("edgeward.bus.nats")
        by_nats: Bus = nats.NatsBus(
            shared.bus, f"edgeward.{issuer.pin[:16]}", key, shared.replica, life, shared.bus_credentials or None
        )
        return by_nats
    by_database: Bus = extras.load("edgeward.bus.postgres").PostgresBus(shared.database, key, shared.replica, life)
    return by_database


async def _bus_key(store: RelationalStore, now: datetime) -> bytes:
    """The key of the notices' MAC, which the first replica makes."""
    made = secrets.token_hex(32)
    event = Event(at=now, actor="edgeward", action="bus-key.made", object="authority", facts={})
    known = await store.setting(_BUS_KEY)
    if known is None and not await store.swap_setting(_BUS_KEY, made, None, event):
        known = await store.setting(_BUS_KEY)
    return bytes.fromhex(known or made)


def _address(what: str, text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text().splitlines()[0].strip()
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise UsageError(problem=f"the address of the {what} cannot be read from {text[1:]}: {error}") from error


def _known(what: str, address: str, schemes: tuple[str, ...]) -> None:
    if address.partition("://")[0] not in schemes:
        raise UsageError(problem=f"the address of the {what} begins with {' or '.join(f'{one}://' for one in schemes)}")
    try:
        urlsplit(address)
    except ValueError:  # it is not quoted: what cannot be parsed may have a password anywhere
        raise UsageError(
            problem=f"the address of the {what} is no URL: write what is not a letter or digit in a password as %XX"
        ) from None


def has_password(address: str | None) -> bool:
    """Whether an address has a secret in it, in either of the places where a URL may have one, or cannot be read."""
    try:
        return address is not None and any(
            urlsplit(one).password or "password" in parse_qs(urlsplit(one).query) for one in address.split(",")
        )
    except ValueError:
        return True


def _without_secrets(address: str) -> str:
    """Scheme, host and path of each address."""
    shown = []
    for one in address.split(","):
        parts = urlsplit(one)
        shown.append(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if one else "")
    return ",".join(shown)


def _replica(directory: Path) -> str:
    """The name of the replica in this directory, made on its first start: the host's, and a part that no copy of the host has."""
    path = directory / REPLICA
    try:
        name = files.read_private(path).decode("ascii", "replace").strip()
    except NotFound:
        name = f"{socket.gethostname().partition('.')[0][:40]}-{secrets.token_hex(4)}"
        files.write_private(path, name.encode() + b"\n")
    if not name or not name.isprintable() or len(name) > 60:
        raise StoreUnavailable(why=f"{path} does not hold the name of a replica")
    return name
