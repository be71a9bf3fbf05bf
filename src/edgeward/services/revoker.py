"""Revocation: the one function that revokes, and the word to everybody who holds a session of what was revoked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from edgeward.errors import NotFound, UsageError
from edgeward.model.audit import Event
from edgeward.model.authority import CertificateRecord, Reason
from edgeward.model.token import Token
from edgeward.pki import names
from edgeward.services import operators
from edgeward.stores.port import Store

REVOCABLE = ("device", "operator")
"""Profiles that can be revoked by name or serial; the server's own certificate is replaced by re-issuing it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """What a revocation did: the certificates it revoked now, and the node it blocked, if any."""

    node: str | None
    revoked: tuple[CertificateRecord, ...]
    tokens: tuple[Token, ...] = ()
    """Of an operator who has no valid certificate any more: the join tokens that they made and that could still be used, taken back now
    or, unless that was asked for, not."""


class Revoker:
    """`revoked` is told of every certificate that is revoked, and `blocked` of every node, right after the store has it durably. Both are
    needed: a session may hang on a certificate that has expired meanwhile, which nobody revokes any more. `expecting`: whether nodes may
    come that nobody here knows yet; then a name can be blocked before its node has come. `revocable`: which certificates can be revoked by
    their serial."""

    def __init__(
        self,
        store: Store,
        revoked: Callable[[Sequence[CertificateRecord]], None],
        blocked: Callable[[str], object] = lambda _node: None,
        expecting: Callable[[], bool] = lambda: False,
        revocable: Callable[[CertificateRecord], bool] = lambda record: record.profile in REVOCABLE,
    ) -> None:
        self._store = store
        self._revoked = revoked
        self._blocked = blocked
        self._expecting = expecting
        self._revocable = revocable

    async def revoke(
        self, target: str, reason: Reason, *, tokens: bool = False, actor: str, now: datetime
    ) -> Revocation:
        """Revoke a node (and block it), one certificate (`serial:HEX`) or every certificate of an operator (`operator:NAME`), and with
        `tokens` every join token that the operator made; idempotent. Raises `NotFound`, `BadName`, `UsageError`."""
        if target.startswith("operator:"):
            return await self._operator(target.removeprefix("operator:"), reason, tokens, actor, now)
        if tokens:
            raise UsageError(problem="only an operator has made tokens: operator:NAME")
        if target.startswith("serial:"):
            return await self._certificate(target.removeprefix("serial:"), reason, actor, now)
        return await self._node(names.node_name(target), reason, actor, now)

    async def _node(self, node: str, reason: Reason, actor: str, now: datetime) -> Revocation:
        if await self._store.device(node) is None and not self._expecting():
            raise NotFound(what="node", name=node)
        event = Event(at=now, actor=actor, action="node.revoked", object=f"node:{node}", facts={"reason": reason})
        records = await self._store.block(node, now, reason, event)
        self._revoked(records)
        self._blocked(node)
        return Revocation(node=node, revoked=tuple(records))

    async def _operator(self, name: str, reason: Reason, tokens: bool, actor: str, now: datetime) -> Revocation:
        event = Event(
            at=now, actor=actor, action="operator.revoked", object=f"operator:{name}", facts={"reason": reason}
        )
        valid = await self._store.valid_certificates(operators.operator_name(name), operators.PROFILE, now)
        records = await self._store.revoke([one.serial for one in valid], now, reason, event) if valid else ()
        self._revoked(records)
        made = await self._store.tokens_made_by(f"operator:{name}", now)  # after it: now they make no more
        if not valid and not (tokens and made):
            raise NotFound(what="operator with a valid certificate", name=name)
        if tokens:
            made = [await self._take_back(token, name, actor, now) for token in made]
        return Revocation(node=None, revoked=tuple(records), tokens=tuple(made))

    async def _take_back(self, token: Token, maker: str, actor: str, now: datetime) -> Token:
        event = Event(
            at=now, actor=actor, action="token.revoked", object=f"token:{token.key_id}", facts={"maker": maker}
        )
        await self._store.revoke_token(token.key_id, now, event)
        return msgspec.structs.replace(token, revoked_at=now)

    async def _certificate(self, text: str, reason: Reason, actor: str, now: datetime) -> Revocation:
        serial = canonical_serial(text)
        record = await self._store.by_serial(serial)
        if record is None:
            raise NotFound(what="certificate with serial", name=serial)
        if not self._revocable(record):
            raise UsageError(
                problem=f"the {record.profile} certificate of the authority itself is replaced, not revoked"
            )
        event = Event(
            at=now, actor=actor, action="certificate.revoked", object=f"certificate:{serial}", facts={"reason": reason}
        )
        records = await self._store.revoke([serial], now, reason, event)
        self._revoked(records)
        name = record.identity
        left: Sequence[Token] = ()
        if record.profile == operators.PROFILE and not await self._store.valid_certificates(name, record.profile, now):
            left = await self._store.tokens_made_by(f"operator:{name}", now)
        return Revocation(node=None, revoked=tuple(records), tokens=tuple(left))


def canonical_serial(text: str) -> str:
    """A serial as the store has it: lower-case hex, no leading zeros, from any of `0x…`, `AB:CD:…`, `00ab…`. Raises `UsageError`."""
    digits = text.strip().lower().removeprefix("0x").replace(":", "").lstrip("0")
    if not digits or len(digits) > 40 or any(c not in "0123456789abcdef" for c in digits):
        raise UsageError(problem="a serial is 1 to 40 hex digits, for example serial:3fa9…")
    return digits
