"""A planned row, its signature and its issued row in one transaction: what is there when, and what stays when it goes wrong."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from edgeward.errors import Conflict, NodeBlocked, NodeHasCertificate, NotConforming, SerialCollision, TokenSpent
from edgeward.model import audit
from edgeward.model.authority import CertificateRecord, CertificateState, Reason
from edgeward.stores.port import Signed, Unsigned
from edgeward.stores.relational import RelationalStore
from tests.support.places import Place, actions, refused, story
from tests.support.rows import NOON, admission, der_of, digest, event, new_record, new_token, signed, use_of


class Pen:
    """Signs records and remembers which."""

    def __init__(self) -> None:
        self.signed: list[str] = []

    def __call__(self, record: CertificateRecord) -> Callable[[], Signed]:
        def sign() -> Signed:
            self.signed.append(record.serial)
            return signed(record)

        return sign


async def _used(store: RelationalStore, key_id: str) -> int:
    token = await store.token(key_id)
    assert token is not None
    return token.used


def test_a_certificate_is_issued_with_everything_that_belongs_to_it(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        token = new_token(pattern="*", uses=2)
        await store.add_token(token, event())
        record = new_record(token=token.key_id)
        pen = Pen()
        await store.certify(record, admission(use=use_of(token, record), uses=2), event("also"), pen(record))
        found = await store.by_serial(record.serial)
        assert found is not None
        assert (found.state, found.der, found.fingerprint) == (
            CertificateState.ISSUED,
            der_of(record),
            digest(der_of(record).decode()),
        )
        assert found.issued_at == NOON
        assert await store.certificate(digest(der_of(record).decode())) == found
        assert await _used(store, token.key_id) == 1
        assert [use.serial for use in await store.token_uses(token.key_id)] == [record.serial]
        assert await store.device("edge-1") is not None
        assert (await actions(store))[-2:] == ["also", "certificate.issued"]
        assert pen.signed == [record.serial]

    story(place, tell)


def test_nothing_is_signed_for_what_is_refused(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        pen = Pen()
        first, second, third, blocked = (new_record(name) for name in ("edge-1", "edge-1", "edge-3", "blocked"))
        await store.certify(first, admission(), None, pen(first))
        await store.block("blocked", NOON, Reason.UNSPECIFIED, event())
        token = new_token(node="edge-3", uses=1, used=1)
        await store.add_token(token, event())
        before = await store.audit()
        taken = new_record(serial=first.serial)
        await refused(
            store, NodeHasCertificate, store.certify(second, admission(new_name_only=True), event(), pen(second))
        )
        await refused(store, SerialCollision, store.certify(taken, admission(), None, pen(taken)))
        await refused(store, NodeBlocked, store.certify(blocked, admission(), None, pen(blocked)))
        await refused(
            store, TokenSpent, store.certify(third, admission(use=use_of(token, third), uses=1), None, pen(third))
        )
        assert pen.signed == [first.serial]
        assert await store.audit() == before
        assert await store.by_serial(second.serial) is None

    story(place, tell)


def test_what_cannot_be_signed_is_abandoned_and_its_token_not_used(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        token = new_token(uses=1)
        await store.add_token(token, event())
        record = new_record(token=token.key_id)
        failed = Unsigned(event=event("certificate.abandoned"), error=NotConforming(differences="subject"))
        with pytest.raises(NotConforming):
            await store.certify(record, admission(use=use_of(token, record), uses=1), None, lambda: failed)
        found = await store.by_serial(record.serial)
        assert found is not None
        assert (found.state, found.revoked_at, found.der) == (CertificateState.ABANDONED, NOON, None)
        assert await _used(store, token.key_id) == 0
        assert len(await store.token_uses(token.key_id)) == 1, "what was tried stays on record"
        assert (await actions(store))[-1] == "certificate.abandoned"
        assert await store.planned() == []
        again = new_record(token=token.key_id)
        await store.certify(again, admission(use=use_of(token, again), uses=1), None, Pen()(again))

    story(place, tell)


def test_code_that_breaks_while_it_signs_leaves_nothing(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        def breaks() -> Signed:
            raise ZeroDivisionError

        before = await store.audit()
        record, other = new_record("edge-1"), new_record("edge-2")
        results = await asyncio.gather(
            store.certify(record, admission(), event(), breaks),
            store.certify(other, admission(), None, Pen()(other)),
            return_exceptions=True,
        )
        assert [type(one) for one in results] == [ZeroDivisionError, type(None)]
        assert await store.by_serial(record.serial) is None
        assert [one.action for one in await store.audit(len(before))] == ["certificate.issued"]

    story(place, tell)


def test_many_at_once_stand_or_fall_alone(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        token = new_token(pattern="*", uses=10)
        await store.add_token(token, event())
        racers = [new_record(f"edge-{n}", token=token.key_id) for n in range(30)]
        unsigned = Unsigned(event=event("certificate.abandoned"), error=NotConforming(differences="subject"))
        pen = Pen()
        results = await asyncio.gather(
            *(
                store.certify(
                    r, admission(use=use_of(token, r), uses=10), None, (lambda: unsigned) if n == 3 else pen(r)
                )
                for n, r in enumerate(racers)
            ),
            return_exceptions=True,
        )
        kinds = [type(one) for one in results]
        assert kinds.count(NotConforming) == 1
        assert kinds[3] is NotConforming
        won = [r.serial for r, result in zip(racers, results, strict=True) if result is None]
        for serial in won:
            found = await store.by_serial(serial)
            assert found is not None
            assert found.state is CertificateState.ISSUED
        assert len(won) == await _used(store, token.key_id) == 10
        assert kinds.count(TokenSpent) == 19
        assert (await actions(store)).count("certificate.issued") == 10
        assert set(won) <= set(pen.signed)
        assert audit.first_bad(await store.audit()) is None
        await refused(store, Conflict, store.issue(signed(racers[0]), NOON))

    story(place, tell)


@pytest.mark.parametrize("seed", range(4))
def test_writes_that_come_together_end_as_if_they_had_come_one_by_one(place: Place, seed: int) -> None:
    """Uses of several tokens, good and refused ones, with revocations of tokens and nodes between them, beside a model of the rules."""
    dice = random.Random(seed)

    async def tell(store: RelationalStore) -> None:
        tokens = [new_token(pattern="*", uses=uses) for uses in (1, 3, 8, 20)]
        for token in tokens:
            await store.add_token(token, event())
        used = dict.fromkeys(tokens, 0)
        revoked, blocked, named = set(), set(), set()
        writes: list[Coroutine[Any, Any, Any]] = []
        expected: list[type[Exception] | None] = []
        for _ in range(60):
            token, node, new = dice.choice(tokens), f"edge-{dice.randrange(30)}", dice.random() < 0.6
            match dice.randrange(25):
                case 0:
                    writes.append(store.revoke_token(token.key_id, NOON, event()))
                    revoked.add(token)
                    expected.append(None)
                case 1:
                    writes.append(store.block(node, NOON, Reason.UNSPECIFIED, event()))
                    blocked.add(node)
                    expected.append(None)
                case _:
                    record = new_record(node, token=token.key_id)
                    conditions = admission(use=use_of(token, record), uses=token.uses, new_name_only=new)
                    writes.append(store.certify(record, conditions, None, partial(signed, record)))
                    if token in revoked or used[token] == token.uses:
                        expected.append(TokenSpent)
                    elif node in blocked:
                        expected.append(NodeBlocked)
                    elif new and node in named:
                        expected.append(NodeHasCertificate)
                    else:
                        expected.append(None)
                        used[token] += 1
                        named.add(node)
        results: list[Any] = []
        while writes:  # some transactions have something to refuse, some have not
            size = dice.randrange(1, 12)
            results += await asyncio.gather(*writes[:size], return_exceptions=True)
            del writes[:size]
        assert [type(one) if isinstance(one, Exception) else None for one in results] == expected
        for token in tokens:
            assert await _used(store, token.key_id) == len(await store.token_uses(token.key_id)) == used[token]
        assert (await actions(store)).count("certificate.issued") == sum(used.values())
        assert audit.first_bad(await store.audit()) is None

    story(place, tell)


def test_a_use_after_the_end_of_its_token_does_not_hide_behind_an_earlier_one(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        token = new_token(pattern="*", uses=5)
        await store.add_token(token, event())
        late, early = new_record("edge-1", token=token.key_id), new_record("edge-2", token=token.key_id)
        results = await asyncio.gather(
            *(
                store.certify(r, admission(at=at, use=use_of(token, r), uses=5), None, partial(signed, r))
                for r, at in ((late, token.expires_at), (early, NOON))
            ),
            return_exceptions=True,
        )
        assert [type(one) for one in results] == [TokenSpent, type(None)]
        assert await _used(store, token.key_id) == 1

    story(place, tell)
