"""Join tokens: made, listed, taken back. The secret is shown once, to whoever asked for the token, and never kept."""

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec

from edgeward.errors import NotFound, UsageError
from edgeward.model.audit import Event
from edgeward.model.token import KEY_ID_OCTETS, SECRET_OCTETS, Hints, JoinToken, Network, Token, make
from edgeward.stores.port import Store, TokenUse

MAX_LIFETIME = timedelta(days=366)
"""A token is for joining, soon; one that lives longer than a year is a password."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The token somebody asks for; `model.token.Token` has the rules."""

    node: str | None = None
    pattern: str | None = None
    uses: int = 1
    lifetime: timedelta = timedelta(hours=24)
    network: Network | None = None
    unblock: bool = False


def _random(_key_id: bytes) -> bytes:
    return secrets.token_bytes(SECRET_OCTETS)


class Tokens:
    """`pin` is the SHA-256 (hex) of the CA certificate that new tokens carry, `hints` the addresses they name."""

    def __init__(self, store: Store, pin: Callable[[], str], hints: Callable[[], Hints]) -> None:
        self._store = store
        self._pin = pin
        self._hints = hints

    async def new(
        self,
        wanted: Wanted,
        *,
        actor: str,
        now: datetime,
        secret: Callable[[bytes], bytes] = _random,
        operator: str = "",
    ) -> tuple[JoinToken, Token]:
        """A new token. Raises `UsageError` for one that makes no sense. `secret` gives its 32 secret octets, for its key id. `operator`:
        the one elsewhere who asks for it. Raises `OperatorRefused` when they were revoked meanwhile."""
        if not timedelta(seconds=1) <= wanted.lifetime <= MAX_LIFETIME:
            raise UsageError(problem=f"a token lives between a second and {MAX_LIFETIME.days} days")
        key_id = secrets.token_bytes(KEY_ID_OCTETS)
        text, bearer = make(self._pin(), self._hints(), key_id=key_id, secret=secret(key_id))
        token = Token(
            key_id=bearer.key_id,
            digest=bearer.digest,
            node=wanted.node,
            pattern=wanted.pattern,
            uses=wanted.uses,
            expires_at=now + wanted.lifetime,
            network=wanted.network,
            unblock=wanted.unblock,
            created_at=now,
        )
        event = Event(
            at=now,
            actor=actor,
            action="token.created",
            object=f"token:{token.key_id}",
            facts={
                "node": token.node,
                "pattern": token.pattern,
                "uses": token.uses,
                "expires_at": token.expires_at.isoformat(),
                "network": None if token.network is None else str(token.network),
                "unblock": int(token.unblock),
            },
        )
        await self._store.add_token(token, event, operator)
        return text, token

    async def list(self) -> Sequence[Token]:
        """Every token that was ever made, oldest first."""
        return await self._store.tokens()

    async def uses(self, key_id: str) -> Sequence[TokenUse]:
        """Every use of a token, oldest first."""
        return await self._store.token_uses(key_id)

    async def revoke(self, key_id: str, *, actor: str, now: datetime) -> bool:
        """Take a token back; False when that was done before. Raises `NotFound`."""
        if await self._store.token(key_id) is None:
            raise NotFound(what="token", name=key_id)
        event = Event(at=now, actor=actor, action="token.revoked", object=f"token:{key_id}", facts={})
        return await self._store.revoke_token(key_id, now, event)
