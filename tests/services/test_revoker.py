"""Revocation: by name and by serial, once, and told to whoever holds the sessions."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.world import World, csr, new_key, run, world

from edgeward.errors import BadName, NotFound, PolicyRefused, UsageError
from edgeward.model.authority import Reason
from edgeward.services.operators import Operators
from edgeward.services.revoker import Revocation, canonical_serial
from edgeward.services.tokens import Wanted


async def revoke(w: World, target: str, reason: Reason = Reason.UNSPECIFIED) -> Revocation:
    return await w.revoker.revoke(target, reason, actor="operator:test", now=w.now)


async def serial_of(w: World, node: str) -> str:
    return (await w.store.valid_certificates(node, "device", w.now))[0].serial


def test_a_revoked_node_is_blocked_with_all_its_certificates() -> None:
    async def story() -> None:
        async with world() as w:
            await w.enrol("edge-1")
            await w.enrol("edge-1")
            await w.enrol("edge-2")
            done = await revoke(w, "edge-1", Reason.KEY_COMPROMISE)
            assert done.node == "edge-1"
            assert len(done.revoked) == 2
            assert w.cut == list(done.revoked)
            assert {(r.revoked_at, r.revocation_reason) for r in done.revoked} == {(w.now, Reason.KEY_COMPROMISE)}
            assert await w.store.valid_certificates("edge-1", "device", w.now) == []
            assert [n.state for n in await w.store.nodes()] == ["revoked", "offline"]
            record = (await w.store.audit())[-1]
            assert (record.action, record.object, record.facts) == (
                "node.revoked",
                "node:edge-1",
                '{"reason":"keyCompromise"}',
            )

    run(story())


def test_t29_twice_is_once() -> None:
    async def story() -> None:
        async with world() as w:
            await w.enrol("edge-1")
            await w.enrol("edge-2")
            serial = await serial_of(w, "edge-2")
            for target in ("edge-1", f"serial:{serial}"):
                assert len((await revoke(w, target)).revoked) == 1
                before, cut = await w.store.audit(), len(w.cut)
                w.later(seconds=1)
                assert (await revoke(w, target, Reason.SUPERSEDED)).revoked == ()
                assert await w.store.audit() == before
                assert len(w.cut) == cut
            again = await w.store.by_serial(serial)
            assert again is not None
            assert again.revocation_reason is Reason.UNSPECIFIED

    run(story())


def test_t29_a_compromise_that_becomes_known_later_is_recorded_and_bars_the_key() -> None:
    async def story() -> None:
        async with world() as w:
            key = new_key()
            await w.enrol("edge-1", None, csr("edge-1", key))
            serial = await serial_of(w, "edge-1")
            await revoke(w, "edge-1")
            w.later(days=1)
            assert len((await revoke(w, "edge-1", Reason.KEY_COMPROMISE)).revoked) == 1
            assert (await revoke(w, "edge-1", Reason.KEY_COMPROMISE)).revoked == ()
            record = await w.store.by_serial(serial)
            assert record is not None
            assert record.revocation_reason is Reason.KEY_COMPROMISE
            assert record.revoked_at == w.now - timedelta(days=1)
            back, _ = await w.token("edge-1", unblock=True)
            with pytest.raises(PolicyRefused):
                await w.enrol("edge-1", back, csr("edge-1", key))

    run(story())


def test_t29_racers_revoke_once() -> None:
    async def story() -> None:
        async with world() as w:
            await w.enrol("edge-1")
            done = await asyncio.gather(*(revoke(w, "edge-1") for _ in range(20)))
            assert sorted(len(one.revoked) for one in done) == [0] * 19 + [1]
            assert len(w.cut) == 1
            assert [r.action for r in await w.store.audit()].count("node.revoked") == 1

    run(story())


def test_t29_a_serial_may_be_written_in_every_usual_way() -> None:
    async def story() -> None:
        async with world() as w:
            for number, spell in enumerate(
                (
                    str,
                    str.upper,
                    lambda s: "0x" + s,
                    lambda s: "0X" + s.upper(),
                    lambda s: "00" + s,
                    lambda s: ":".join(s[i : i + 2] for i in range(0, len(s), 2)),
                    lambda s: f"  {s}\n",
                )
            ):
                node = f"edge-{number}"
                await w.enrol(node)
                done = await revoke(w, "serial:" + spell(await serial_of(w, node)))
                assert done.node is None
                assert [r.identity for r in done.revoked] == [node]
                device = await w.store.device(node)
                assert device is not None
                assert device.blocked_at is None, "one certificate is revoked, the node may enrol again"
                assert await w.enrol(node)

    run(story())


def test_t29_an_expired_certificate_can_still_be_revoked() -> None:
    async def story() -> None:
        async with world() as w:
            await w.enrol("edge-1")
            serial = await serial_of(w, "edge-1")
            w.later(days=400)
            assert len((await revoke(w, f"serial:{serial}", Reason.KEY_COMPROMISE)).revoked) == 1
            assert (await revoke(w, "edge-1")).node == "edge-1"

    run(story())


@pytest.mark.parametrize("target", ["edge-9", "serial:" + "f" * 40, "serial:1"])
def test_t29_what_is_unknown_is_not_found(target: str) -> None:
    async def story() -> None:
        async with world() as w:
            before = await w.store.audit()
            with pytest.raises(NotFound):
                await revoke(w, target)
            assert await w.store.audit() == before

    run(story())


@pytest.mark.parametrize(
    "text", ["", "0", "0x", "00:00", "g", "12 34", "-1", "0x-1", "f" * 41, "1" * 10_000, "%", "١", "0b1x", "1_0"]
)
def test_t29_what_is_no_serial_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        canonical_serial(text)


@pytest.mark.parametrize("target", ["", "Edge", "../x", "*", "a b", "SERIAL:12", "serial :12", "edge-1\n"])
def test_t09_what_is_no_node_name_is_refused(target: str) -> None:
    async def story() -> None:
        async with world() as w:
            with pytest.raises(BadName):
                await revoke(w, target)

    run(story())


@given(st.integers(1, 2**159 - 1))
def test_a_serial_has_one_canonical_form(serial: int) -> None:
    assert canonical_serial(f"{serial:x}") == canonical_serial(f"0x{serial:040X}") == f"{serial:x}"


def test_the_authority_s_own_certificates_are_not_revoked_by_serial() -> None:
    async def story() -> None:
        async with world() as w:
            served = await w.authorities.server_credential(("localhost",), w.now)
            for record in await w.store.audit():
                if record.action == "certificate.issued":
                    assert served.serial in record.object
            with pytest.raises(UsageError, match="server"):
                await revoke(w, f"serial:{served.serial}")
            assert await w.authorities.server_credential(("localhost",), w.now) == served

    run(story())


async def made_by(w: World, operator: str, **wanted: Any) -> str:
    """The key id of a token that an operator made."""
    asked = Wanted(**({"pattern": "site-*", "uses": 5} | wanted))
    _, token = await w.tokens.new(asked, actor=f"operator:{operator}", now=w.now)
    return token.key_id


async def certified(w: World, operator: str) -> None:
    await Operators(w.store, w.issuance).new(operator, csr(operator), actor="operator:socket", now=w.now)


def test_the_tokens_of_a_revoked_operator_are_named_and_taken_back_on_demand() -> None:
    async def story() -> None:
        async with world() as w:
            for name in ("alice", "bob"):
                await certified(w, name)
            mine = [await made_by(w, "alice")]
            w.later(seconds=1)
            mine.append(await made_by(w, "alice", pattern=None, node="edge-1", uses=1))
            await made_by(w, "bob")
            await made_by(w, "alice", lifetime=timedelta(seconds=1))
            w.later(minutes=1)
            gone = await made_by(w, "alice")
            await w.tokens.revoke(gone, actor="t", now=w.now)

            done = await revoke(w, "operator:alice")
            assert [token.key_id for token in done.tokens] == mine
            assert [token.revoked_at for token in done.tokens] == [None, None]
            assert len(done.revoked) == 1

            with pytest.raises(NotFound):
                await revoke(w, "operator:alice")
            done = await w.revoker.revoke(
                "operator:alice", Reason.UNSPECIFIED, tokens=True, actor="operator:bob", now=w.now
            )
            assert ([token.key_id for token in done.tokens], done.revoked) == (mine, ())
            assert all([(await w.store.token(key)).revoked_at == w.now for key in mine])  # type: ignore[union-attr]
            record = (await w.store.audit())[-1]
            assert (record.actor, record.action, record.object, record.facts) == (
                "operator:bob",
                "token.revoked",
                f"token:{mine[-1]}",
                '{"maker":"alice"}',
            )
            with pytest.raises(NotFound):
                await w.revoker.revoke("operator:alice", Reason.UNSPECIFIED, tokens=True, actor="t", now=w.now)
            left = [token for token in await w.store.tokens() if token.revoked_at is None and token.expires_at > w.now]
            assert len(left) == 1, "bob's"

    run(story())


def test_tokens_belong_to_operators_alone() -> None:
    async def story() -> None:
        async with world() as w:
            await w.enrol("edge-1")
            with pytest.raises(UsageError, match="operator:NAME"):
                await w.revoker.revoke("edge-1", Reason.UNSPECIFIED, tokens=True, actor="t", now=w.now)
            assert [n.state for n in await w.store.nodes()] == ["offline"]

    run(story())


def test_an_operator_whose_last_certificate_is_revoked_by_its_serial_has_tokens_too() -> None:
    async def story() -> None:
        async with world() as w:
            await certified(w, "alice")
            await certified(w, "alice")
            key = await made_by(w, "alice")
            first, last = [one.serial for one in await w.store.valid_certificates("alice", "operator", w.now)]
            assert (await revoke(w, f"serial:{first}")).tokens == (), "she is still an operator"
            (token,) = (await revoke(w, f"serial:{last}")).tokens
            assert (token.key_id, token.revoked_at) == (key, None)
            await w.enrol("edge-1")
            assert (await revoke(w, f"serial:{await serial_of(w, 'edge-1')}")).tokens == ()

    run(story())
