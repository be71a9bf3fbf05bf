"""Standing tokens: for each pattern one token that is always current, made anew at intervals as KubeEdge's cloud does it.

A new one is made every `refresh`, and each lives for two of them: one that was just read has between one and two intervals left, and
the one before it lives until its own end. One that an operator revoked is replaced at once.

An operator has to be able to read the current token, and the store keeps digests alone. So its secret is derived and not kept: it is
HMAC-SHA256 of the key id under a key of the key store that exists for this pattern alone, sealed like the CA's. Whoever has the
database has nothing; whoever has the key store and its passphrase has the CA.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec

from edgeward import files
from edgeward.errors import EdgewardError, NotFound, UsageError, printable
from edgeward.keys.port import KeyStore
from edgeward.model.audit import Event
from edgeward.model.authority import KeyRef
from edgeward.model.token import MAX_USES, Hints, JoinToken, Network, Token, make
from edgeward.pki import names
from edgeward.pki.formats import kubernetes
from edgeward.services.tokens import Tokens, Wanted
from edgeward.stores.port import Store

_log = logging.getLogger(__name__)

_SETTING = "standing-tokens"

SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=183)
"""Bounds of `refresh`: twice the longest is the longest that a token may live."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of one. `hints` is part b of the current token, `before` the key ids of those before it that may still live."""

    pattern: str
    refresh_seconds: float
    key: str
    key_id: str
    hints: str
    made_at: Moment
    before: tuple[str, ...] = ()
    network: str | None = None
    secret_file: str | None = None

    @property
    def refresh(self) -> timedelta:
        """The interval."""
        return timedelta(seconds=self.refresh_seconds)

    @property
    def due(self) -> datetime:
        """When the next one is made."""
        return self.made_at + self.refresh


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """A standing token as an operator is shown it."""

    standing: Standing
    text: JoinToken
    token: Token


class StandingTokens:
    """Kept current by `tick`, which somebody calls every minute or so. `pin`: of the CA that signs now."""

    def __init__(self, store: Store, keys: KeyStore, tokens: Tokens, pin: Callable[[], str]) -> None:
        self._store = store
        self._keys = keys
        self._tokens = tokens
        self._pin = pin
        self._changing = asyncio.Lock()

    async def key_refs(self) -> Sequence[KeyRef]:
        """The keys that standing tokens are derived with."""
        return [KeyRef.parse(one.key) for one in await self._all()]

    async def open(self) -> None:
        """At start-up: open the keys, which takes half a second each, before nodes are served."""
        for ref in await self.key_refs():
            self._keys.signer(ref)

    async def keep(
        self,
        pattern: str,
        refresh: timedelta,
        *,
        network: Network | None,
        secret_file: str | None,
        actor: str,
        now: datetime,
    ) -> Current:
        """Keep a token for `pattern` from now on, or change how it is kept. The current one. Raises `UsageError`."""
        if not SHORTEST <= refresh <= LONGEST:
            raise UsageError(problem="a standing token is refreshed every minute to every 183 days: --refresh 12h")
        if secret_file is not None and not Path(secret_file).is_absolute():
            raise UsageError(problem=f"the path of the Secret is not absolute: {secret_file}")
        async with self._changing:
            known = {one.pattern: one for one in await self._all()}
            present = known.get(pattern)
            shown_network = None if network is None else str(network)
            if present is None:
                ref = await asyncio.to_thread(self._keys.create, "ec-p256")  # half a second in which nodes are served
                try:
                    self._keys.kubeedge_mac(ref, b"a probe: may a token be derived with this key?")
                    fresh = await self._fresh(
                        Standing(
                            pattern=pattern, refresh_seconds=refresh.total_seconds(), key=str(ref), key_id="", hints="-",
                            made_at=now, network=shown_network, secret_file=secret_file,
                        ),
                        actor, now,
                    )  # fmt: skip
                except EdgewardError:
                    self._keys.remove(ref)
                    raise
            else:
                ref = KeyRef.parse(present.key)
                changed = msgspec.structs.replace(
                    present, refresh_seconds=refresh.total_seconds(), network=shown_network, secret_file=secret_file
                )
                same_token = (changed.refresh_seconds, changed.network) == (present.refresh_seconds, present.network)
                fresh = changed if same_token else await self._fresh(changed, actor, now)
            await self._put(known | {pattern: fresh}, "standing-token.kept", fresh, actor, now)
            self._keys.confirm(ref)
            current = await self._current(fresh)
            self._write(current, strict=True)
            return current

    async def stop(self, pattern: str, *, actor: str, now: datetime) -> None:
        """Keep none for `pattern` any more: the current one and those before it are revoked, the Secret's file is removed."""
        async with self._changing:
            known = {one.pattern: one for one in await self._all()}
            if pattern not in known:
                raise NotFound(what="standing token for", name=pattern)
            gone = known.pop(pattern)
            manifest = _manifest(await self._current(gone))
            for key_id in (gone.key_id, *gone.before):
                await self._tokens.revoke(key_id, actor=actor, now=now)
            await self._put(known, "standing-token.stopped", gone, actor, now)
            self._keys.remove(KeyRef.parse(gone.key))
            if gone.secret_file is not None:
                _remove(Path(gone.secret_file), manifest)

    async def shown(self, pattern: str | None, now: datetime) -> Sequence[Current]:
        """The current tokens, of all patterns or of one. Raises `NotFound` for a pattern without one."""
        await self.tick(now)
        found = [await self._current(one) for one in await self._all() if pattern in (None, one.pattern)]
        if pattern is not None and not found:
            raise NotFound(what="standing token for", name=pattern)
        return found

    async def tick(self, now: datetime) -> None:
        """Make what is due and write the Secrets that are not as they should be. What fails is logged and tried at the next call."""
        async with self._changing:
            for one in await self._all():
                try:
                    await self._look_after(one, now)
                except EdgewardError as error:
                    _log.warning("the standing token for %s could not be kept current: %s", one.pattern, error)

    async def _look_after(self, one: Standing, now: datetime) -> None:
        token = await self._store.token(one.key_id)
        if token is None or token.revoked_at is not None or now >= one.due or now >= token.expires_at:
            one = await self._fresh(one, "edgeward", now)
            # read again: another process may have changed another one while this was made
            known = {each.pattern: each for each in await self._all()}
            if one.pattern not in known:
                await self._tokens.revoke(one.key_id, actor="edgeward", now=now)
                return
            await self._put(known | {one.pattern: one}, "standing-token.refreshed", one, "edgeward", now)
        self._write(await self._current(one), strict=False)

    # ------------------------------------------------------------------------------------------------------ one token

    async def _fresh(self, one: Standing, actor: str, now: datetime) -> Standing:
        wanted = Wanted(
            pattern=one.pattern,
            uses=MAX_USES,
            lifetime=2 * one.refresh,
            network=None if one.network is None else names.network(one.network),
        )
        text, token = await self._tokens.new(
            wanted, actor=actor, now=now, secret=lambda key_id: self._secret(one, key_id)
        )
        hints = text.bearer.reveal().split(".")[1]
        earlier = [await self._store.token(key_id) for key_id in (one.key_id, *one.before)]
        before = tuple(each.key_id for each in earlier if each is not None and now < each.expires_at)
        return msgspec.structs.replace(one, key_id=token.key_id, hints=hints, made_at=now, before=before)

    def _secret(self, one: Standing, key_id: bytes) -> bytes:
        return self._keys.kubeedge_mac(KeyRef.parse(one.key), b"edgeward standing token " + key_id)

    async def _current(self, one: Standing) -> Current:
        token = await self._store.token(one.key_id)
        if token is None:
            raise NotFound(what="token", name=one.key_id)
        key_id = bytes.fromhex(one.key_id)
        text, _ = make(self._pin(), Hints.decode(one.hints), key_id=key_id, secret=self._secret(one, key_id))
        return Current(standing=one, text=text, token=token)

    def _write(self, current: Current, *, strict: bool) -> None:
        """The Secret with the current token, if one is wanted and is not there as it should be."""
        if current.standing.secret_file is None:
            return
        path = Path(current.standing.secret_file)
        manifest = _manifest(current)
        try:
            if path.is_file() and not path.is_symlink() and path.read_bytes() == manifest:
                return
            files.write_private(path, manifest)
        except (OSError, EdgewardError) as error:
            why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
            if strict:
                raise UsageError(problem=f"cannot write the Secret {path}: {why}") from error
            _log.warning("the Secret %s could not be written: %s", path, printable(why))

    # ----------------------------------------------------------------------------------------------------------- rows

    async def _all(self) -> list[Standing]:
        text = await self._store.setting(_SETTING)
        return [] if not text else msgspec.json.decode(text, type=list[Standing])

    async def _put(self, known: dict[str, Standing], action: str, one: Standing, actor: str, now: datetime) -> None:
        facts: dict[str, str | int | list[str] | None] = {
            "pattern": one.pattern,
            "token": one.key_id,
            "refresh_seconds": round(one.refresh_seconds),
            "secret_file": one.secret_file,
        }
        event = Event(at=now, actor=actor, action=action, object=f"token:{one.key_id}", facts=facts)
        await self._store.put_setting(_SETTING, msgspec.json.encode(list(known.values())).decode(), event)


def _manifest(current: Current) -> bytes:
    return kubernetes.secret("tokensecret", {"tokendata": current.text.reveal().encode()}).encode()


def _remove(path: Path, manifest: bytes) -> None:
    """Remove the file, if it is still what was written."""
    try:
        if path.read_bytes() == manifest:
            path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        _log.warning("the Secret %s could not be removed: %s", path, error.strerror)
