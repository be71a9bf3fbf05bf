"""Who may open a session: the row of the presented certificate decides, and the name the peer claims is only compared with it.

1. TLS has proved that the peer holds the certificate's key; that is all it has proved.
2. The row is looked up on every connection, by the SHA-256 of the certificate, so that a revocation holds from the next connection
   on, whatever TLS remembers.
3. The identity comes from the row, never from a header or from the certificate's own text.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from edgeward import errors
from edgeward.errors import BadRequest, CertificateRefused, EdgewardError, NodeBlocked, WrongIdentity
from edgeward.model.audit import Event
from edgeward.model.authority import CertificateRecord, CertificateState
from edgeward.model.http import Request
from edgeward.pki import names
from edgeward.stores.port import Store

PROFILE = "device"
"""The profile whose certificates open sessions."""

USE = "msg"
"""What `ConnectionUse` must be: the other use, `str`, is a stream that no hub ever read."""

Adopt = Callable[[bytes, str, str, datetime], Awaitable[CertificateRecord | None]]
"""Asked about a certificate (DER) without a row, shown by a peer that claims a name, from an address, at a time: its new row, None when
it is nobody's we know, or the refusal."""

STATUS: dict[type[EdgewardError], int] = {
    errors.EdgewardError: 500,
    errors.UsageError: 400,
    errors.InputError: 400,
    errors.TooLarge: 413,
    errors.Refusal: 403,
    errors.Unauthenticated: 401,
    errors.NotFound: 404,
    errors.Unavailable: 503,
    errors.InternalError: 500,
}
"""The status of the answer before the upgrade. A class without a line has that of its nearest parent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the upgrade request says: the node's name as claimed (empty without one), and the certificate (DER) whose key TLS proved."""

    node: str
    certificate: bytes
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A peer that may open a session, and the fingerprints of certificates that its arrival revoked as superseded."""

    node: str
    serial: str
    fingerprint: bytes
    superseded: tuple[bytes, ...] = ()


def status(error: EdgewardError) -> int:
    """The HTTP status that tells a peer of `error`."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def claim(request: Request) -> Claim:
    """What an upgrade request claims. Raises `BadRequest` or `BadName` (the peer's fault), or `CertificateRefused` without one.

    Of a repeated header the first value counts: a real edge adds one more `ConnectionUse` each time it dials again.
    """
    if request.peer_certificate is None:
        raise CertificateRefused(why="none was presented")
    if request.header("connectionuse") != USE:
        raise BadRequest(why=f"the header ConnectionUse must be `{USE}`")
    claimed = request.header("node_id")
    return Claim(
        node=names.node_name(claimed) if claimed else "",
        certificate=request.peer_certificate,
        fingerprint=hashlib.sha256(request.peer_certificate).digest(),
    )


async def nobody_s(_der: bytes, _claimed: str, _address: str, _now: datetime) -> CertificateRecord | None:
    """Adopts nothing."""
    return None


async def admit(store: Store, claimed: Claim, now: datetime, *, address: str = "", adopt: Adopt = nobody_s) -> Admitted:
    """Decide about a claim. Raises `CertificateRefused`, `NodeBlocked`, `BadRequest` or `WrongIdentity`: all the peer's fault.

    When a certificate connects for the first time, older ones of its node are revoked as superseded in the same transaction; their
    fingerprints are in the result, because one may have a session.
    """
    record = await store.certificate(claimed.fingerprint)
    if record is None and claimed.node:
        record = await adopt(claimed.certificate, claimed.node, address, now)
    if record is None and not claimed.node:
        raise BadRequest(why="the header node_id is missing")
    if record is None or record.profile != PROFILE:
        raise CertificateRefused(why="it is not a device certificate that was issued here")
    _in_force(record, now)
    device = await store.device(record.identity)
    if device is None:
        raise CertificateRefused(why="its device is not known any more")
    if device.blocked_at is not None:
        raise NodeBlocked(node=device.name, why=f"revoked, {device.blocked_reason or 'without a reason'}")
    if not claimed.node:
        # after the certificate was looked at: whoever asks why it is refused learns that, and opens no session to do so
        raise BadRequest(why="the header node_id is missing")
    if claimed.node != record.identity:
        raise WrongIdentity(proven=record.identity, claimed=claimed.node)
    superseded: tuple[bytes, ...] = ()
    if record.connected_at is None:
        gone = await store.first_connection(record, now, _superseded(record, now))
        if gone is None:  # meanwhile it was revoked, or another connection was faster
            _in_force(await store.certificate(claimed.fingerprint) or record, now)
        superseded = tuple(one.fingerprint for one in gone or () if one.fingerprint is not None)
    return Admitted(node=record.identity, serial=record.serial, fingerprint=claimed.fingerprint, superseded=superseded)


def _in_force(record: CertificateRecord, now: datetime) -> None:
    if record.revoked_at is not None:
        raise CertificateRefused(
            why=f"it was revoked at {record.revoked_at.isoformat()} ({record.revocation_reason or 'unspecified'})"
        )
    if record.state is not CertificateState.ISSUED:
        raise CertificateRefused(why="it was never issued")
    if now < record.not_before:
        raise CertificateRefused(why=f"it is not valid before {record.not_before.isoformat()}")
    if now > record.not_after:
        raise CertificateRefused(why=f"it expired at {record.not_after.isoformat()}")


def _superseded(record: CertificateRecord, now: datetime) -> Event:
    return Event(
        at=now,
        actor=f"node:{record.identity}",
        action="certificate.revoked",
        object=f"node:{record.identity}",
        facts={"reason": "superseded", "why": "a newer certificate of the node connected", "by": record.serial},
    )
