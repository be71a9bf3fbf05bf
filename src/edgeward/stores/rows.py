"""Rows: how they are read, and values to rows and back: milliseconds for times, text for enumerations and networks."""

import functools
import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec

from edgeward.model.audit import AuditRecord
from edgeward.model.authority import CertificateRecord, CertificateState, Issuer, IssuerState, KeyRef, Origin, Reason
from edgeward.model.device import Cause, Device, Node
from edgeward.model.failure import Failure, Learnt, Listener, Shown
from edgeward.model.token import Token
from edgeward.stores.port import Presented, Revoked, Standing, TokenUse

Row = tuple[Any, ...]

Parameters = dict[str, Any] | tuple[Any, ...]
"""Of a statement: by name, or in the order in which they are first in it, which costs less."""


class Reader(Protocol):
    """Reads that do not wait behind the writer and see everything committed before they began."""

    async def query(self, statement: str, row: Parameters) -> list[Row]: ...
    async def each(self, statement: str, rows: Sequence[dict[str, Any]]) -> list[list[Row]]:
        """What the same read finds for each of several rows of parameters."""
        ...

    async def close(self) -> None: ...


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@functools.lru_cache(maxsize=64)
def milliseconds(moment: datetime) -> int:
    """`moment` as the store keeps it. One moment goes into several rows."""
    return (moment - _EPOCH) // _MILLISECOND


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else milliseconds(moment)


def moment(value: int) -> datetime:
    """The inverse of `milliseconds`."""
    return _EPOCH + value * _MILLISECOND


def _moment(value: int | None) -> datetime | None:
    return None if value is None else _EPOCH + value * _MILLISECOND


def certificate(row: Row) -> CertificateRecord:
    """A row of `sql.CERTIFICATE_COLUMNS`."""
    return CertificateRecord(
        issuer_id=row[0],
        serial=row[1],
        state=CertificateState(row[2]),
        profile=row[3],
        identity=row[4],
        spki_sha256=bytes(row[5]),
        evidence=row[6],
        token=row[7],
        replaces=row[8],
        not_before=moment(row[9]),
        not_after=moment(row[10]),
        planned_at=moment(row[11]),
        der=None if row[12] is None else bytes(row[12]),
        fingerprint=None if row[13] is None else bytes(row[13]),
        issued_at=_moment(row[14]),
        connected_at=_moment(row[15]),
        revoked_at=_moment(row[16]),
        revocation_reason=None if row[17] is None else Reason(row[17]),
    )


def presented(row: Row) -> Presented:
    """A row of `sql.PRESENTED`."""
    return Presented(
        row[0],
        row[1],
        CertificateState(row[2]),
        row[3],
        row[4],
        moment(row[5]),
        moment(row[6]),
        row[7] is not None,
        _moment(row[8]),
        row[9],
        row[10] is not None,
        row[11] is not None,
        row[12],
        bool(row[13]),
    )


def planned_row(record: CertificateRecord, replica: str, *, new_name_only: bool) -> Parameters:
    """The parameters of `sql.PLAN`."""
    return (
        int(new_name_only),
        record.identity,
        record.profile,
        milliseconds(record.planned_at),
        record.issuer_id,
        record.serial,
        record.spki_sha256,
        record.evidence,
        record.token,
        record.replaces,
        milliseconds(record.not_before),
        milliseconds(record.not_after),
        replica,
    )


def certificate_row(record: CertificateRecord) -> dict[str, Any]:
    """The parameters of `sql.ADD_ISSUED` and `sql.ADOPT`."""
    return {
        "issuer_id": record.issuer_id,
        "serial": record.serial,
        "state": record.state,
        "profile": record.profile,
        "identity": record.identity,
        "spki_sha256": record.spki_sha256,
        "evidence": record.evidence,
        "token": record.token,
        "replaces": record.replaces,
        "not_before": milliseconds(record.not_before),
        "not_after": milliseconds(record.not_after),
        "planned_at": milliseconds(record.planned_at),
        "der": record.der,
        "fingerprint": record.fingerprint,
        "issued_at": _milliseconds(record.issued_at),
        "connected_at": _milliseconds(record.connected_at),
        "revoked_at": _milliseconds(record.revoked_at),
        "revocation_reason": record.revocation_reason,
    }


def revoked(row: Row) -> Revoked:
    """A row of `sql.REVOKED`."""
    return Revoked(serial=row[0], at=moment(row[1]), reason=None if row[2] is None else Reason(row[2]))


def device(row: Row) -> Device:
    """A row of `sql.DEVICE_COLUMNS`."""
    return Device(
        name=row[0],
        created_at=moment(row[1]),
        blocked_at=_moment(row[2]),
        blocked_reason=row[3],
        online_since=_moment(row[4]),
        offline_since=_moment(row[5]),
        offline_cause=None if row[6] is None else Cause(row[6]),
        last_seen=_moment(row[7]),
        address=row[8],
        connections=row[9],
        clock_skew_ms=row[10],
        refused_at=_moment(row[11]),
        refused_why=row[12],
    )


def node(row: Row) -> Node:
    """A row of `sql.NODES`: a device, then its newest certificate or nulls."""
    return Node(device=device(row[:13]), certificate=None if row[13] is None else certificate(row[13:]))


def token(row: Row) -> Token:
    """A row of `sql.TOKEN_COLUMNS`."""
    return Token(
        key_id=row[0],
        digest=bytes(row[1]),
        node=row[2],
        pattern=row[3],
        uses=row[4],
        used=row[5],
        expires_at=moment(row[6]),
        network=None if row[7] is None else ipaddress.ip_network(row[7]),
        unblock=bool(row[8]),
        created_at=moment(row[9]),
        revoked_at=_moment(row[10]),
    )


def standing(row: Row, known: Token | None) -> Standing:
    """The row of `sql.STANDING`, with the token as it was at some time."""
    return Standing(
        token=None if known is None else msgspec.structs.replace(known, used=row[4], revoked_at=_moment(row[5])),
        blocked_at=_moment(row[0]),
        blocked_reason=row[1],
        has_certificate=bool(row[2]),
        key_is_known=bool(row[3]),
    )


def token_row(value: Token) -> dict[str, Any]:
    """The parameters of `sql.ADD_TOKEN`."""
    return {
        "key_id": value.key_id,
        "digest": value.digest,
        "node": value.node,
        "pattern": value.pattern,
        "uses": value.uses,
        "used": value.used,
        "expires_at": milliseconds(value.expires_at),
        "network": None if value.network is None else str(value.network),
        "unblock": int(value.unblock),
        "created_at": milliseconds(value.created_at),
        "revoked_at": None if value.revoked_at is None else milliseconds(value.revoked_at),
    }


def token_use(row: Row) -> TokenUse:
    """A row of `sql.TOKEN_USES`."""
    return TokenUse(key_id=row[0], at=moment(row[1]), node=row[2], address=row[3], serial=row[4])


def issuer(row: Row) -> Issuer:
    """A row of `sql.ISSUERS`."""
    return Issuer(
        id=row[0],
        certificate=bytes(row[1]),
        key=KeyRef.parse(row[2]),
        state=IssuerState(row[3]),
        origin=Origin(row[4]),
        created_at=moment(row[5]),
    )


def audit_record(row: Row) -> AuditRecord:
    """A row of `sql.AUDIT_COLUMNS`."""
    return AuditRecord(
        n=row[0], at=row[1], actor=row[2], action=row[3], object=row[4], facts=row[5], hash=bytes(row[6])
    )


def failure(row: Row) -> Failure:
    """A row of `sql_failures.COLUMNS`."""
    shown = None
    if row[11] is not None:
        shown = Shown(subject=row[9], issuer=row[10], fingerprint=row[11], not_after=_moment(row[12]))
    return Failure(
        listener=Listener(row[0]),
        address=row[1],
        node=row[2],
        dialled=row[3],
        code=row[4],
        alert=row[5],
        received=bool(row[6]),
        reason=row[7],
        learnt=None if row[8] is None else Learnt(row[8]),
        shown=shown,
        first_at=moment(row[13]),
        last_at=moment(row[14]),
        count=row[15],
    )


def failure_row(value: Failure) -> dict[str, Any]:
    """The parameters of `sql_failures.ADD` but for the network."""
    shown = value.shown
    return {
        "listener": value.listener,
        "address": value.address,
        "node": value.node,
        "dialled": value.dialled,
        "code": value.code,
        "alert": value.alert,
        "received": int(value.received),
        "reason": value.reason,
        "learnt": value.learnt,
        "subject": None if shown is None else shown.subject,
        "issuer": None if shown is None else shown.issuer,
        "fingerprint": None if shown is None else shown.fingerprint,
        "not_after": None if shown is None else _milliseconds(shown.not_after),
        "first_at": milliseconds(value.first_at),
        "last_at": milliseconds(value.last_at),
        "count": value.count,
    }
