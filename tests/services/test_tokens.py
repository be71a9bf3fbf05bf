"""Join tokens as an operator meets them: made, listed, used, taken back."""

from datetime import timedelta
from typing import Any

import pytest
from tests.support.world import NOON, run, world

from edgeward.errors import BadName, EdgewardError, NotFound, TokenRevoked, UsageError
from edgeward.model.token import MAX_USES, Hints, JoinToken
from edgeward.services.tokens import MAX_LIFETIME


def test_t17_a_new_token_carries_pin_and_hints_and_its_secret_is_kept_nowhere() -> None:
    async def story() -> None:
        async with world() as w:
            text, made = await w.token("edge-1", uses=3, network="10.0.0.0/8", lifetime=timedelta(hours=2))
            assert text.pin == w.authorities.active.pin
            assert text.hints == Hints(https=("10.0.0.1:10002",))
            assert JoinToken.parse(text.reveal()) == text
            assert (made.node, made.uses, made.used, made.expires_at) == ("edge-1", 3, 0, NOON + timedelta(hours=2))
            assert list(await w.tokens.list()) == [made]
            secret = text.reveal().rpartition(".")[2]
            dump = "\n".join(w.store._writer._engine.connection.iterdump())  # type: ignore[attr-defined]  # every row there is
            assert secret not in dump
            assert secret.encode().hex() not in dump.lower()
            assert made.digest.hex() in dump.lower()
            record = (await w.store.audit())[-1]
            assert (record.action, record.object, record.actor) == (
                "token.created",
                f"token:{made.key_id}",
                "operator:test",
            )
            again, _ = await w.token("edge-1")
            assert again.reveal() != text.reveal()

    run(story())


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ({"node": "edge-1", "lifetime": timedelta(0)}, UsageError),
        ({"node": "edge-1", "lifetime": timedelta(seconds=-1)}, UsageError),
        ({"node": "edge-1", "lifetime": MAX_LIFETIME + timedelta(seconds=1)}, UsageError),
        ({"node": "edge-1", "uses": 0}, UsageError),
        ({"node": "edge-1", "uses": MAX_USES + 1}, UsageError),
        ({"node": "Edge_1"}, BadName),
        ({"node": "edge-1", "pattern": "*"}, UsageError),
        ({}, UsageError),
        ({"pattern": "A*"}, UsageError),
        ({"pattern": "*", "unblock": True}, UsageError),
    ],
)
def test_a_token_that_makes_no_sense_is_refused_and_not_recorded(
    wanted: dict[str, Any], kind: type[EdgewardError]
) -> None:
    async def story() -> None:
        async with world() as w:
            before = await w.store.audit()
            with pytest.raises(kind):
                await w.token(**wanted)
            assert await w.store.audit() == before
            assert await w.tokens.list() == []

    run(story())


def test_every_use_is_on_record() -> None:
    async def story() -> None:
        async with world() as w:
            token, made = await w.token(None, pattern="edge-*", uses=5)
            for n in range(3):
                w.later(seconds=1)
                await w.enrol(f"edge-{n}", token, address=f"192.0.2.{n}")
            uses = await w.tokens.uses(made.key_id)
            assert [(u.node, u.address, u.at) for u in uses] == [
                (f"edge-{n}", f"192.0.2.{n}", NOON + timedelta(seconds=n + 1)) for n in range(3)
            ]
            for use in uses:
                record = await w.store.by_serial(use.serial)
                assert record is not None
                assert (record.identity, record.token) == (use.node, made.key_id)
            assert (await w.tokens.list())[0].used == 3

    run(story())


def test_taken_back_once_and_for_all() -> None:
    async def story() -> None:
        async with world() as w:
            token, made = await w.token("edge-1")
            assert await w.tokens.revoke(made.key_id, actor="operator:test", now=w.now)
            before = await w.store.audit()
            assert not await w.tokens.revoke(made.key_id, actor="operator:test", now=w.now + timedelta(days=1))
            assert await w.store.audit() == before
            with pytest.raises(TokenRevoked):
                await w.enrol("edge-1", token)
            for nobody in ("0" * 16, "", "'; DROP TABLE token; --", "%"):
                with pytest.raises(NotFound):
                    await w.tokens.revoke(nobody, actor="operator:test", now=w.now)

    run(story())
