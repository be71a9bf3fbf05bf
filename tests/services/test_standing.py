"""Standing tokens: always one that is current, readable by the operator, and nothing of it at rest in the clear."""

import base64
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.world import World, run, world

from edgeward.errors import (
    KeyPolicyRefused,
    NotFound,
    TokenExpired,
    TokenNotForNode,
    TokenRevoked,
    UsageError,
)
from edgeward.keys.memory import MemoryKeys
from edgeward.model.authority import KeyRef
from edgeward.pki.formats import kubernetes
from edgeward.services.standing import Current, StandingTokens

HALF_A_DAY = timedelta(hours=12)


async def keep(w: World, pattern: str = "edge-*", refresh: timedelta = HALF_A_DAY, **more: Any) -> Current:
    given: dict[str, Any] = {"network": None, "secret_file": None} | more
    return await w.standing.keep(pattern, refresh, actor="operator:test", now=w.now, **given)


async def shown(w: World) -> Current:
    (only,) = await w.standing.shown(None, w.now)
    return only


def restarted(w: World) -> StandingTokens:
    return StandingTokens(w.store, w.keys, w.tokens, lambda: w.authorities.active.pin)


def test_it_enrols_new_names_of_its_pattern_any_number_of_times() -> None:
    async def story() -> None:
        async with world() as w:
            token = (await keep(w)).text
            for node in ("edge-1", "edge-2", "edge-3"):
                assert await w.enrol(node, token)
            with pytest.raises(TokenNotForNode):
                await w.enrol("shop-1", token)
            assert (await shown(w)).token.used == 3

    run(story())


def test_it_is_refreshed_in_time_and_the_old_one_lives_until_its_own_end() -> None:
    async def story() -> None:
        async with world() as w:
            first = await keep(w)
            assert first.token.expires_at == w.now + 2 * HALF_A_DAY
            w.later(hours=11, minutes=59)
            assert (await shown(w)).text == first.text
            w.later(minutes=1)
            await w.standing.tick(w.now)
            second = await shown(w)
            assert second.text != first.text
            assert second.token.expires_at == w.now + 2 * HALF_A_DAY
            assert await w.enrol("edge-1", first.text), "the old one lives"
            w.later(hours=12)
            with pytest.raises(TokenExpired):
                await w.enrol("edge-2", first.text)
            assert await w.enrol("edge-2", second.text)

    run(story())


def test_the_same_token_is_shown_after_a_start_and_one_that_fell_due_meanwhile_is_made() -> None:
    async def story() -> None:
        async with world() as w:
            first = await keep(w)
            again = restarted(w)
            assert [one.text for one in await again.shown("edge-*", w.now)] == [first.text]
            w.later(days=30)
            await again.tick(w.now)
            (fresh,) = await again.shown(None, w.now)
            assert fresh.text != first.text
            assert await w.enrol("edge-1", fresh.text)

    run(story())


def test_one_that_was_revoked_is_replaced_at_once() -> None:
    async def story() -> None:
        async with world() as w:
            leaked = await keep(w)
            await w.tokens.revoke(leaked.token.key_id, actor="operator:test", now=w.now)
            fresh = await shown(w)
            assert fresh.text != leaked.text
            with pytest.raises(TokenRevoked):
                await w.enrol("edge-1", leaked.text)
            assert await w.enrol("edge-1", fresh.text)

    run(story())


def test_stopping_revokes_what_lives_and_forgets_the_key(tmp_path: Path) -> None:
    async def story() -> None:
        async with world() as w:
            file = tmp_path / "tokensecret.yaml"
            first = await keep(w, secret_file=str(file))
            w.later(hours=12)
            second = await shown(w)
            (ref,) = await w.standing.key_refs()
            await w.standing.stop("edge-*", actor="operator:test", now=w.now)
            for token in (first.text, second.text):
                with pytest.raises(TokenRevoked):
                    await w.enrol("edge-1", token)
            with pytest.raises(NotFound):
                w.keys.signer(ref)
            assert not file.exists()
            assert not await w.standing.shown(None, w.now)
            with pytest.raises(NotFound):
                await w.standing.stop("edge-*", actor="operator:test", now=w.now)

    run(story())


def test_nothing_in_the_store_tells_the_secret(tmp_path: Path) -> None:
    async def story() -> None:
        async with world() as w:
            current = await keep(w)
            secret = current.text.reveal().rpartition(".")[2]
            texts = [await w.store.setting("standing-tokens") or ""]
            texts += [record.facts for record in await w.store.audit(0, 1000)]
            texts += [repr(token) for token in await w.store.tokens()] + [repr(current)]
            for text in texts:
                assert secret not in text
                assert base64.urlsafe_b64decode(secret + "==").hex() not in text

    run(story())


def test_the_secret_s_file_is_the_owner_s_and_is_kept_up_to_date(tmp_path: Path) -> None:
    async def story() -> None:
        async with world() as w:
            file = tmp_path / "tokensecret.yaml"

            def inside() -> str:
                assert stat.S_IMODE(file.stat().st_mode) == 0o600
                (manifest,) = kubernetes.read(file.read_bytes())
                assert (manifest.kind, manifest.name) == ("Secret", "kubeedge/tokensecret")
                return {field.key: field.octets for field in manifest.fields}["tokendata"].decode()

            current = await keep(w, secret_file=str(file))
            assert inside() == current.text.reveal()
            w.later(hours=12)
            await w.standing.tick(w.now)
            assert inside() == (await shown(w)).text.reveal()
            untouched = file.stat().st_mtime_ns, file.stat().st_ino
            await w.standing.tick(w.now)
            assert (file.stat().st_mtime_ns, file.stat().st_ino) == untouched
            file.unlink()
            await w.standing.tick(w.now)
            assert inside() == (await shown(w)).text.reveal()
            assert [path.name for path in tmp_path.iterdir()] == [file.name], "no temporary file stays"

    run(story())


def test_a_file_that_cannot_be_written_is_said_when_it_is_asked_for_and_does_not_stop_the_refresh(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with world() as w:
            with pytest.raises(UsageError, match="cannot write"):
                await keep(w, secret_file=str(tmp_path / "nowhere" / "x.yaml"))
            before = (await shown(w)).text
            w.later(hours=12)
            await w.standing.tick(w.now)
            assert (await shown(w)).text != before
            with pytest.raises(UsageError, match="not absolute"):
                await keep(w, secret_file="x.yaml")

    run(story())


def test_changing_how_it_is_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with world() as w:
            first = await keep(w)
            assert (await keep(w, secret_file=str(tmp_path / "x"))).text == first.text, "the token is the same"
            hourly = await keep(w, refresh=timedelta(hours=1))
            assert hourly.text != first.text
            assert hourly.token.expires_at == w.now + timedelta(hours=2)
            assert await w.enrol("edge-1", first.text), "the old one lives until its own end"
            await keep(w, pattern="shop-*")
            assert len(await w.standing.shown(None, w.now)) == 2
            with pytest.raises(NotFound):
                await w.standing.shown("other-*", w.now)

    run(story())


def test_stopping_reaches_every_one_that_still_lives() -> None:
    async def story() -> None:
        async with world() as w:
            made = [(await keep(w, refresh=timedelta(days=100))).text]
            for _ in range(3):
                made.append((await keep(w, refresh=timedelta(hours=1))).text)
                w.later(hours=1)
                made.append((await shown(w)).text)
            await w.standing.stop("edge-*", actor="operator:test", now=w.now)
            for token in made:
                with pytest.raises((TokenRevoked, TokenExpired)):
                    await w.enrol("edge-1", token)

    run(story())


@pytest.mark.parametrize("refresh", [timedelta(seconds=59), timedelta(days=184), timedelta(0)])
def test_an_interval_that_makes_no_sense_leaves_nothing(refresh: timedelta) -> None:
    async def story() -> None:
        async with world() as w:
            with pytest.raises(UsageError):
                await keep(w, refresh=refresh)
            with pytest.raises(UsageError):
                await keep(w, pattern="Not A Pattern")
            assert not await w.standing.key_refs()
            assert not await w.tokens.list()

    run(story())


class Hardware(MemoryKeys):
    """Keys that only sign."""

    def kubeedge_mac(self, ref: KeyRef, message: bytes) -> bytes:
        raise KeyPolicyRefused(why="it is in hardware")


def test_keys_that_derive_nothing_refuse_when_it_is_asked_for() -> None:
    async def story() -> None:
        async with world() as w:
            standing = StandingTokens(w.store, Hardware(), w.tokens, lambda: w.authorities.active.pin)
            with pytest.raises(KeyPolicyRefused):
                await standing.keep(
                    "edge-*", HALF_A_DAY, network=None, secret_file=None, actor="operator:test", now=w.now
                )
            assert not await w.tokens.list()
            assert not await standing.key_refs()

    run(story())
