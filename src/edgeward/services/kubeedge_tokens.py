"""KubeEdge's own join tokens, honoured until a date after its CA was imported: for new names that match a pattern, never for old ones."""

import fnmatch
import hmac
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from edgeward.errors import TokenExpired, TokenNotForNode, UsageError
from edgeward.model.audit import Event
from edgeward.model.jwt import KubeEdgeJwt
from edgeward.model.token import Secret
from edgeward.stores.port import Store

_SETTING = "kubeedge-tokens"

MAX_AHEAD = timedelta(days=1)
"""How far ahead the end of such a token may lie: KubeEdge makes them for 24 hours."""


class Acceptance(msgspec.Struct, frozen=True, kw_only=True):
    """For which names, and until when, KubeEdge's tokens are honoured."""

    pattern: str
    until: Annotated[datetime, msgspec.Meta(tz=True)]


class KubeEdgeTokens:
    """`mac` computes HMAC-SHA256 under the active CA's key, as the key store allows."""

    def __init__(self, store: Store, mac: Callable[[bytes], bytes]) -> None:
        self._store = store
        self._mac = mac
        self._acceptance: Acceptance | None = None

    @property
    def acceptance(self) -> Acceptance | None:
        """For which names, and until when, they are honoured; it may be past."""
        return self._acceptance

    async def load(self) -> None:
        """Read from the store what was accepted before."""
        text = await self._store.setting(_SETTING)
        self._acceptance = None if not text else msgspec.json.decode(text, type=Acceptance)

    async def accept(self, acceptance: Acceptance, *, actor: str, now: datetime) -> None:
        """Honour KubeEdge's tokens from now on. Raises `UsageError` for a date that is past, `KeyPolicyRefused` for a hardware key."""
        judge(acceptance, now)
        if acceptance == self._acceptance:
            return
        self._mac(b"a probe: may this key be used so?")
        facts: dict[str, str | int | list[str] | None] = {
            "pattern": acceptance.pattern,
            "until": acceptance.until.isoformat(),
        }
        event = Event(at=now, actor=actor, action="kubeedge-tokens.accepted", object="authority", facts=facts)
        await self._store.put_setting(_SETTING, msgspec.json.encode(acceptance).decode(), event)
        self._acceptance = acceptance

    def check(self, bearer: Secret, node: str, now: datetime) -> bool:
        """Whether `bearer` is a genuine token of KubeEdge's and good for `node`. Raises `TokenExpired` or `TokenNotForNode` for a
        genuine one that is not good; anything else is simply not one."""
        if self._acceptance is None or now >= self._acceptance.until:
            return False
        token = KubeEdgeJwt.parse(bearer.reveal())
        if token is None or not hmac.compare_digest(token.mac, self._mac(token.signed)):
            return False
        if token.expires_at > now + MAX_AHEAD or (token.not_before is not None and token.not_before > now):
            return False
        if token.expires_at <= now:
            raise TokenExpired(expired_at=token.expires_at.isoformat())
        if not fnmatch.fnmatchcase(node, self._acceptance.pattern):
            raise TokenNotForNode(node=node)
        return True


def judge(acceptance: Acceptance, now: datetime) -> None:
    """Raise `UsageError` for a date that is past."""
    if acceptance.until <= now:
        raise UsageError(problem=f"--until {acceptance.until.isoformat()} is in the past")
