"""What a store does with tokens: kept, spent, revoked, and what it says of one before it is honoured."""

import asyncio
import ipaddress
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from edgeward.errors import (
    AlreadyExists,
    TokenSpent,
)
from edgeward.model.audit import Event
from edgeward.model.authority import Reason
from edgeward.stores import port
from edgeward.stores.relational import RelationalStore
from tests.support.places import Place, actions, refused, story
from tests.support.rows import (
    NOON,
    YEAR,
    admission,
    digest,
    enrolled,
    event,
    new_record,
    new_token,
    use_of,
)


def test_a_token_comes_back_as_it_was(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        tokens = [
            new_token(),
            new_token(pattern="shop-*", uses=7, network=ipaddress.ip_network("2001:db8::/32")),
            new_token(
                node="edge-2",
                unblock=True,
                network=ipaddress.ip_network("10.0.0.0/8"),
                created_at=NOON + timedelta(seconds=1),
            ),
        ]
        for token in tokens:
            await store.add_token(token, event("token.created"))
            assert await store.token(token.key_id) == token
        assert await store.tokens() == tokens
        assert await store.token("f" * 16) is None
        await refused(store, AlreadyExists, store.add_token(tokens[0], event("token.created")))

    story(place, tell)


def test_a_token_is_revoked_once(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        token = new_token()
        await store.add_token(token, event("token.created"))
        assert await store.revoke_token(token.key_id, NOON, event("token.revoked"))
        assert not await store.revoke_token(token.key_id, NOON + YEAR, event("token.revoked"))
        assert not await store.revoke_token("f" * 16, NOON, event("token.revoked"))
        stored = await store.token(token.key_id)
        assert stored is not None
        assert stored.revoked_at == NOON
        assert (await actions(store)).count("token.revoked") == 1

    story(place, tell)


def test_the_tokens_that_somebody_made_and_that_still_work(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        async def made(actor: str = "operator:alice", action: str = "token.created", **changes: Any) -> str:
            token = new_token(**({"expires_at": NOON + YEAR, "pattern": "*", "uses": 2} | changes))
            created = Event(at=NOON, actor=actor, action=action, object=f"token:{token.key_id}", facts={})
            await store.add_token(token, created)
            return token.key_id

        mine = [await made(created_at=NOON + timedelta(seconds=n)) for n in range(2)]
        await made("operator:bob")
        await made("operator:alice2")
        await made(action="token.shown")
        await made(expires_at=NOON)
        await made(used=2)
        await store.revoke_token(await made(), NOON, event("token.revoked"))
        assert [token.key_id for token in await store.tokens_made_by("operator:alice", NOON)] == mine
        assert await store.tokens_made_by("operator:nobody", NOON) == []

    story(place, tell)


def test_a_hundred_racers_spend_a_use_once_each(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        for uses in (1, 7):
            token = new_token(pattern="*", uses=uses)
            await store.add_token(token, event("token.created"))
            records = [new_record(f"edge-{uses}-{n}", token=token.key_id) for n in range(100)]
            racers = (store.plan(r, admission(use=use_of(token, r), uses=uses, new_name_only=True)) for r in records)
            results = await asyncio.gather(*racers, return_exceptions=True)
            won = [r for r, result in zip(records, results, strict=True) if result is None]
            assert len(won) == uses
            assert all(
                isinstance(result, TokenSpent) and result.facts["uses"] == uses
                for result in results
                if result is not None
            )
            stored = await store.token(token.key_id)
            assert stored is not None
            assert stored.used == uses
            recorded = await store.token_uses(token.key_id)
            assert {u.serial for u in recorded} == {r.serial for r in won}
            assert set(recorded) == {use_of(token, r) for r in won}
            for record in records:
                assert (await store.by_serial(record.serial) is not None) == (record in won)
                assert (await store.device(record.identity) is not None) == (record in won)

    story(place, tell)


@pytest.mark.parametrize("wrong", ["revoked", "expired", "unknown"])
def test_a_token_that_changed_since_it_was_read_is_not_spent(place: Place, wrong: str) -> None:
    async def tell(store: RelationalStore) -> None:
        token = new_token(expires_at=NOON if wrong == "expired" else NOON + timedelta(days=1))
        if wrong != "unknown":
            await store.add_token(token, event())
        if wrong == "revoked":
            await store.revoke_token(token.key_id, NOON, event())
        record = new_record(token=token.key_id)
        await refused(store, TokenSpent, store.plan(record, admission(use=use_of(token, record), uses=1)))
        assert await store.by_serial(record.serial) is None
        assert await store.token_uses(token.key_id) == []
        assert await store.device("edge-1") is None

    story(place, tell)


def test_standing_says_everything_in_one_read(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        token = new_token()
        nothing = await store.standing(token.key_id, "edge-1", digest("k"), NOON)
        assert nothing == port.Standing(
            token=None, blocked_at=None, blocked_reason=None, has_certificate=False, key_is_known=False
        )
        await store.add_token(token, event())
        record = await enrolled(store, "edge-1", spki_sha256=digest("k"))
        await enrolled(store, "edge-2")
        standing = await store.standing(token.key_id, "edge-1", digest("k"), NOON)
        assert standing == port.Standing(
            token=token, blocked_at=None, blocked_reason=None, has_certificate=True, key_is_known=True
        )
        assert not (await store.standing(token.key_id, "edge-3", digest("k"), NOON)).has_certificate
        assert not (
            await store.standing(token.key_id, "edge-1", digest("k"), record.not_after + timedelta(seconds=1))
        ).has_certificate
        await store.block("edge-1", NOON, Reason.KEY_COMPROMISE, event())
        standing = await store.standing("f" * 16, "edge-1", digest("k"), NOON)
        assert standing == port.Standing(
            token=None, blocked_at=NOON, blocked_reason="keyCompromise", has_certificate=False, key_is_known=True
        )

    story(place, tell)


def test_standing_says_of_a_token_what_is_so_now(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        token = new_token(uses=3, unblock=True)
        await store.add_token(token, event())

        async def now() -> tuple[int, datetime | None]:
            found = (await store.standing(token.key_id, "edge-1", digest("k"), NOON)).token
            assert found == await store.token(token.key_id)
            assert found is not None
            assert found == replace(token, used=found.used, revoked_at=found.revoked_at)
            return found.used, found.revoked_at

        assert await now() == (0, None)
        records = [new_record(token=token.key_id) for _ in range(2)]
        for n, record in enumerate(records):
            await store.plan(record, admission(use=use_of(token, record), uses=3))
            assert await now() == (n + 1, None)
        await store.abandon(1, records[0].serial, NOON, event())
        assert await now() == (1, None)
        await store.revoke_token(token.key_id, NOON, event())
        assert await now() == (1, NOON)

    story(place, tell)
