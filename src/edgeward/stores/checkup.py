"""A look into the database of a data directory that no server is running on: read only, nothing is changed, migrated or locked."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from edgeward.errors import StoreUnavailable
from edgeward.model import audit
from edgeward.stores import sql
from edgeward.stores.rows import audit_record

ROWS = 10_000_000
"""Audit records that are verified at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """What the database says of itself. `damage`: SQLite's own words, empty when it is whole. `issuers`: DER of the CA certificates.
    `first_bad`: the number of the first audit record that does not follow from the one before it."""

    damage: str
    planned: int = 0
    issuers: tuple[bytes, ...] = ()
    records: int = 0
    first_bad: int | None = None


def check(path: Path) -> Checkup:
    """Look at the SQLite database `path`. Raises `StoreUnavailable` when it cannot be opened at all."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise StoreUnavailable(why=f"{path}: {error}") from error
    try:
        connection.execute("PRAGMA query_only=ON")
        return _looked(connection)
    except sqlite3.Error as error:
        return Checkup(damage=str(error))
    finally:
        connection.close()


def _looked(connection: sqlite3.Connection) -> Checkup:
    said = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
    if said != ["ok"]:
        return Checkup(damage="; ".join(said)[:500])
    (planned,) = connection.execute("SELECT COUNT(*) FROM certificate WHERE state = 'planned'").fetchone()
    issuers = tuple(bytes(row[0]) for row in connection.execute("SELECT certificate FROM issuer ORDER BY id"))
    (records,) = connection.execute("SELECT COUNT(*) FROM audit").fetchone()
    found = connection.execute(sql.AUDIT, {"after": 0, "limit": ROWS})
    first_bad = audit.first_bad(audit_record(row) for row in found)
    return Checkup(damage="", planned=planned, issuers=issuers, records=records, first_bad=first_bad)
