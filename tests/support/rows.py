"""Values for stores: issuers, tokens, certificate rows and events that are sound and mean nothing."""

import hashlib
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from edgeward.model.audit import Event
from edgeward.model.authority import CertificateRecord, CertificateState, Issuer, IssuerState, KeyRef, Origin
from edgeward.model.device import Cause
from edgeward.model.token import Token
from edgeward.stores.port import Admission, Signed, Store, TokenUse
from edgeward.stores.timeline import Arrival, Departure

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
YEAR = timedelta(days=365)

_numbers = itertools.count(1)


def digest(text: str) -> bytes:
    """32 octets that follow from `text`."""
    return hashlib.sha256(text.encode()).digest()


def event(action: str = "test.done", at: datetime = NOON, **facts: Any) -> Event:
    """An event that says little."""
    return Event(at=at, actor="operator:test", action=action, object="test:1", facts=facts)


def new_issuer(name: str = "ca", state: IssuerState = IssuerState.ACTIVE) -> Issuer:
    """An issuer whose certificate is a text."""
    return Issuer(
        id=0,
        certificate=name.encode(),
        key=KeyRef(store="memory", name=name),
        state=state,
        origin=Origin.CREATED,
        created_at=NOON,
    )


def new_token(**changes: Any) -> Token:
    """A join token for edge-1, one use, a day."""
    key_id = format(next(_numbers), "016x")
    facts: dict[str, Any] = {
        "key_id": key_id,
        "digest": digest(key_id),
        "node": None if "pattern" in changes else "edge-1",
        "pattern": None,
        "uses": 1,
        "expires_at": NOON + timedelta(days=1),
        "created_at": NOON,
    }
    return Token(**(facts | changes))


def new_record(identity: str = "edge-1", issuer_id: int = 1, **changes: Any) -> CertificateRecord:
    """A planned row with a serial of its own."""
    serial = format(0x8000 + next(_numbers), "x")
    facts: dict[str, Any] = {
        "issuer_id": issuer_id,
        "serial": serial,
        "state": CertificateState.PLANNED,
        "profile": "device",
        "identity": identity,
        "spki_sha256": digest("key " + serial),
        "evidence": "operator:test",
        "token": None,
        "replaces": None,
        "not_before": NOON - timedelta(minutes=5),
        "not_after": NOON + YEAR,
        "planned_at": NOON,
    }
    return CertificateRecord(**(facts | changes))


def admission(at: datetime = NOON, **changes: Any) -> Admission:
    """The conditions of a plan."""
    return Admission(at=at, **changes)


def use_of(token: Token, record: CertificateRecord, at: datetime = NOON) -> TokenUse:
    """The use of a token for a certificate."""
    return TokenUse(key_id=token.key_id, at=at, node=record.identity, address="192.0.2.7", serial=record.serial)


def der_of(record: CertificateRecord) -> bytes:
    """Octets that stand for the certificate of a row."""
    return f"der of {record.serial}".encode()


def signed(record: CertificateRecord, at: datetime = NOON) -> Signed:
    """What came of signing a planned row."""
    return Signed(
        issuer_id=record.issuer_id, serial=record.serial, der=der_of(record), event=event("certificate.issued", at)
    )


async def issue(store: Store, record: CertificateRecord, at: datetime = NOON) -> CertificateRecord:
    """Take a planned row to issued."""
    await store.issue(signed(record, at), at)
    issued = await store.by_serial(record.serial)
    assert issued is not None
    return issued


async def enrolled(store: Store, identity: str = "edge-1", at: datetime = NOON, **changes: Any) -> CertificateRecord:
    """A device with an issued certificate, on an operator's word."""
    record = new_record(identity, planned_at=at, **changes)
    await store.plan(record, admission(at))
    return await issue(store, record, at)


async def arrived(store: Store, node: str, at: datetime, address: str, epoch: int = 0) -> None:
    """A session of a node begins."""
    await store.timeline.add(arrivals=[Arrival(node, at, address, epoch)])


async def departed(store: Store, node: str, at: datetime, cause: Cause) -> None:
    """It ends."""
    await store.timeline.add(departures=[Departure(node, at, cause)])
