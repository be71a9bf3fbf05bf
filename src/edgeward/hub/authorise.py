"""Who may open a session: the row of the presented certificate decides, and the name the peer claims is only compared with it.

1. TLS has proved that the peer holds the certificate's key; that is all it has proved.
2. The row is looked up on every connection, by the SHA-256 of the certificate, so that a revocation holds from the next connection
   on, whatever TLS remembers.
3. The identity comes from the row, never from a header or from the certificate's own text.
"""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple

from edgeward import errors
from edgeward.errors import BadRequest, CertificateRefused, EdgewardError, NodeBlocked, WrongIdentity
from edgeward.model.audit import Event
from edgeward.model.authority import CertificateRecord, CertificateState
from edgeward.model.http import Request
from edgeward.pki import names
from edgeward.stores.port import Presented, Store

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


class Claim(NamedTuple):
    """What the upgrade request says: the node's name as claimed (empty without one), and the certificate (DER) whose key TLS proved."""

    node: str
    certificate: bytes
    fingerprint: bytes


class Admitted(NamedTuple):
    """A peer that may open a session.

    `until`: the end of its certificate's time. `superseded`: the fingerprints of certificates that its arrival revoked. `first`: its
    certificate (issuer and serial), if this is the first connection with it and that is still to be recorded.
    """

    node: str
    fingerprint: bytes
    until: datetime
    superseded: tuple[bytes, ...] = ()
    first: tuple[int, str] | None = None


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

    When a certificate connects for the first time and others of its node give way to it, they are revoked as superseded in the transaction
    that records it, before anybody is answered; their fingerprints are in the result, because one may have a session.
    """
    row = await store.presented(claimed.fingerprint, now)
    if row is None and claimed.node and await adopt(claimed.certificate, claimed.node, address, now) is not None:
        row = await store.presented(claimed.fingerprint, now)
    if row is None and not claimed.node:
        raise BadRequest(why="the header node_id is missing")
    if row is None or row.profile != PROFILE:
        raise CertificateRefused(why="it is not a device certificate that was issued here")
    _in_force(row, now)
    if not row.known:
        raise CertificateRefused(why="its device is not known any more")
    if row.blocked:
        raise NodeBlocked(node=row.identity, why=f"revoked, {row.blocked_reason or 'without a reason'}")
    if not claimed.node:
        # after the certificate was looked at: whoever asks why it is refused learns that, and opens no session to do so
        raise BadRequest(why="the header node_id is missing")
    if claimed.node != row.identity:
        raise WrongIdentity(proven=row.identity, claimed=claimed.node)
    if row.succeeds:
        return Admitted(
            row.identity, claimed.fingerprint, row.not_after, superseded=await _succeed(store, claimed, now)
        )
    first = None if row.connected else (row.issuer_id, row.serial)
    return Admitted(row.identity, claimed.fingerprint, row.not_after, first=first)


async def _succeed(store: Store, claimed: Claim, now: datetime) -> tuple[bytes, ...]:
    """The first connection with a certificate to which others give way: their fingerprints."""
    record = await store.certificate(claimed.fingerprint)
    gone = None if record is None else await store.first_connection(record, now, _superseded(record, now))
    if gone is None:  # meanwhile it was revoked, or another connection was faster
        row = await store.presented(claimed.fingerprint, now)
        if row is not None:
            _in_force(row, now)
    return tuple(one.fingerprint for one in gone or () if one.fingerprint is not None)


def _in_force(row: Presented, now: datetime) -> None:
    if row.revoked_at is not None:
        raise CertificateRefused(
            why=f"it was revoked at {row.revoked_at.isoformat()} ({row.revocation_reason or 'unspecified'})"
        )
    if row.state is not CertificateState.ISSUED:
        raise CertificateRefused(why="it was never issued")
    if now < row.not_before:
        raise CertificateRefused(why=f"it is not valid before {row.not_before.isoformat()}")
    if now > row.not_after:
        raise CertificateRefused(why=f"it expired at {row.not_after.isoformat()}")


def _superseded(record: CertificateRecord, now: datetime) -> Event:
    return Event(
        at=now,
        actor=f"node:{record.identity}",
        action="certificate.revoked",
        object=f"node:{record.identity}",
        facts={"reason": "superseded", "why": "a newer certificate of the node connected", "by": record.serial},
    )
