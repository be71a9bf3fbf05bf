"""Revocation lists of a CA: which one is next, what stands on it, and the record of it before it is signed.

Numbers and times only grow, also when a list was signed and lost: the number is taken, with an audit record, before the signature is made.
A certificate stays on the list until one list was made after its end (RFC 5280 section 3.3), so that nobody misses its revocation.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from edgeward.errors import Refusal
from edgeward.model.audit import Event
from edgeward.pki import crl
from edgeward.services.issuance import SigningIssuer
from edgeward.stores.port import Store

_LAST = "crl-last"
_SECOND = timedelta(seconds=1)

AHEAD = timedelta(minutes=1)
"""How far the time of a list may be ahead of the clock: two lists in one second have different times all the same."""


class ClockSetBack(Refusal):
    """A list that would have to begin in the future, because the last one did not begin in the past."""

    sentence = "the last CRL was made at {last}, and this machine's clock says {now}"
    remedy = "set the clock right: verifiers take the list with the later time"


@dataclass(frozen=True, slots=True, kw_only=True)
class List:
    """A list that was made: DER, its number, its times, and how many certificates are on it."""

    der: bytes
    number: int
    this_update: datetime
    next_update: datetime
    count: int


class _Last(msgspec.Struct, frozen=True):
    number: int
    this_update: datetime


async def make(store: Store, signing: SigningIssuer, lifetime: timedelta, *, actor: str, now: datetime) -> List:
    """The next list of this CA, to be replaced within `lifetime`. For the one process that has the store.

    Raises `ClockSetBack`, and `PolicyRefused` for a lifetime under a second, or when the CA itself has ended.
    """
    text = await store.setting(_LAST)
    last = None if text is None else msgspec.json.decode(text, type=_Last)
    this_update = now.replace(microsecond=0)
    if last is not None:
        this_update = max(this_update, last.this_update + _SECOND)
        if this_update - now > AHEAD:
            raise ClockSetBack(last=_shown(last.this_update), now=_shown(now))
    revoked = await store.revoked(
        signing.issuer.id, datetime.min.replace(tzinfo=UTC) if last is None else last.this_update
    )
    plan = crl.Plan(
        issuer=signing.facts.subject,
        key_identifier=signing.facts.key_identifier,
        number=1 if last is None else last.number + 1,
        this_update=this_update,
        next_update=min((this_update + lifetime).replace(microsecond=0), signing.facts.not_after),
        entries=[
            crl.Entry(int(one.serial, 16), one.at.replace(microsecond=0), one.reason or "unspecified")
            for one in revoked
        ],
    )
    await store.put_setting(
        _LAST,
        msgspec.json.encode(_Last(plan.number, plan.this_update)).decode(),
        Event(
            at=now,
            actor=actor,
            action="crl.issued",
            object=f"crl:{plan.number}",
            facts={
                "count": len(plan.entries),
                "this_update": _shown(this_update),
                "next_update": _shown(plan.next_update),
            },
        ),
    )
    return List(
        der=crl.sign(plan, signing.key),
        number=plan.number,
        this_update=plan.this_update,
        next_update=plan.next_update,
        count=len(plan.entries),
    )


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
