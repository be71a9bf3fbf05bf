"""Audit records and the chain that binds each to all before it.

    hash_n = SHA-256( JSON array [n, at, actor, action, object, facts] ‖ hash_(n-1) )        hash_0 = 32 zero octets

`facts` is itself JSON text, members sorted by name, no white space; `at` is in milliseconds since 1970.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime

import msgspec

GENESIS = bytes(32)

_encode = msgspec.json.Encoder(order="sorted").encode


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done: by whom (`operator:NAME`, `node:NAME`, `token:ID`, `edgeward`), what, to what, with which facts."""

    at: datetime
    actor: str
    action: str
    object: str
    facts: dict[str, str | int | list[str] | None]


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An event in its place in the chain. `facts` is canonical JSON; `at` is in milliseconds since 1970."""

    n: int
    at: int
    actor: str
    action: str
    object: str
    facts: str
    hash: bytes


def record(event: Event, n: int, previous: bytes) -> AuditRecord:
    """The record of `event` as number `n` (from 1), after the record whose hash is `previous`."""
    at = round(event.at.timestamp() * 1000)
    facts = _encode(event.facts).decode()
    digest = _digest(n, at, event.actor, event.action, event.object, facts, previous)
    return AuditRecord(
        n=n, at=at, actor=event.actor, action=event.action, object=event.object, facts=facts, hash=digest
    )


def first_bad(records: Iterable[AuditRecord]) -> int | None:
    """The number of the first record that does not follow from the one before it, or None when the chain holds."""
    previous, expected = GENESIS, 1
    for one in records:
        digest = _digest(expected, one.at, one.actor, one.action, one.object, one.facts, previous)
        if one.n != expected or one.hash != digest:
            return expected
        previous, expected = one.hash, expected + 1
    return None


def _digest(n: int, at: int, actor: str, action: str, object_: str, facts: str, previous: bytes) -> bytes:
    return hashlib.sha256(_encode([n, at, actor, action, object_, facts]) + previous).digest()
