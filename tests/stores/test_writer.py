"""Group commit: one sync for many writes, each of which stands or falls alone."""

import asyncio
from collections.abc import Awaitable

import pytest

from edgeward.errors import CertificateRefused, EdgewardError, InternalError
from edgeward.model import audit
from edgeward.model.authority import Reason
from edgeward.stores import sql
from edgeward.stores import writer as writer_module
from edgeward.stores.relational import RelationalStore
from edgeward.stores.sqlite import open_store
from edgeward.stores.writer import COMPANY, MAX_SEQUELS, Engine, Step, Unit, Writer
from tests.support.rows import NOON, admission, arrived, enrolled, event, new_issuer, new_record, signed


async def _statements(store: RelationalStore) -> list[str]:
    """What the writer's connection executes from now on."""
    seen: list[str] = []
    store._writer._engine.connection.set_trace_callback(seen.append)  # type: ignore[attr-defined]  # counts what the disk is asked
    return seen


def test_concurrent_writes_share_a_commit() -> None:
    async def story() -> None:
        store = open_store(":memory:")
        await store.add_issuer(new_issuer(), None, event())
        seen = await _statements(store)
        await asyncio.gather(*(store.plan(new_record(f"edge-{n}"), admission()) for n in range(100)))
        assert seen.count("COMMIT") <= 2
        del seen[:]
        await asyncio.gather(
            *(store.plan(new_record(f"edge-{n}", serial="beef"), admission()) for n in range(5)), return_exceptions=True
        )
        assert seen.count("COMMIT") == 1
        assert seen.count("SAVEPOINT unit") == 5
        await store.close()

    asyncio.run(story())


@pytest.mark.parametrize(("clients", "commits"), [(1, 2), (COMPANY, 1), (7, 1)])
def test_in_company_a_write_waits_for_others_and_alone_it_does_not(
    clients: int, commits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "GATHER", 0.2)  # much longer than a few turns of the loop

    async def story() -> None:
        store = open_store(":memory:")
        seen = await _statements(store)
        await asyncio.gather(*(store.note(event()) for _ in range(clients)))
        assert seen.count("COMMIT") == 1
        del seen[:]
        first = asyncio.create_task(store.note(event()))
        for _ in range(5):
            await asyncio.sleep(0)
        await asyncio.gather(first, store.note(event()))
        assert seen.count("COMMIT") == commits
        await store.close()

    asyncio.run(story())


def test_a_write_waits_no_longer_than_until_as_many_are_here_as_the_last_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "GATHER", 3600.0)

    async def story() -> None:
        store = open_store(":memory:")
        await asyncio.gather(*(store.note(event()) for _ in range(4)))
        seen = await _statements(store)
        waiting = [asyncio.create_task(store.note(event())) for _ in range(3)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert "COMMIT" not in seen
        async with asyncio.timeout(60):
            await asyncio.gather(*waiting, store.note(event()))
        assert seen.count("COMMIT") == 1
        await store.close()

    asyncio.run(story())


def test_after_company_a_lone_client_soon_waits_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "GATHER", 0.0001)

    async def story() -> None:
        store = open_store(":memory:")
        await asyncio.gather(*(store.note(event()) for _ in range(100)))
        for _ in range(70):
            await store.note(event())
        assert store._writer._company < COMPANY
        await store.close()

    asyncio.run(story())


def test_when_every_write_is_refused_nothing_is_committed() -> None:
    async def story() -> None:
        store = open_store(":memory:")
        await store.add_issuer(new_issuer(), None, event())
        await enrolled(store, serial="beef")
        seen = await _statements(store)
        refused = await asyncio.gather(
            *(store.plan(new_record(serial="beef"), None) for _ in range(5)), return_exceptions=True
        )
        assert all(isinstance(one, EdgewardError) for one in refused)
        assert seen.count("COMMIT") == 0
        assert not store._writer._engine.connection.in_transaction  # type: ignore[attr-defined]
        await store.close()

    asyncio.run(story())


def test_a_unit_that_fails_in_a_way_nobody_thought_of_takes_no_other_with_it() -> None:
    async def story() -> None:
        store = open_store(":memory:")
        writer: Writer = store._writer

        def broken(_engine: Engine) -> None:
            raise ZeroDivisionError

        def note(n: int) -> Unit:
            return Unit(events=(event(f"note-{n}"),))

        def too_large() -> Unit:
            return Unit(steps=(Step(sql.REVOKE_TOKEN, {"key_id": "x", "at": 2**80}),), events=(event("never"),))

        for bad, kind in ((Unit(work=broken), ZeroDivisionError), (too_large(), OverflowError)):
            before = len(await store.audit())
            results = await asyncio.gather(
                *(writer.submit(unit) for unit in (note(1), note(2), bad, note(3))), return_exceptions=True
            )
            assert [type(result) for result in results] == [type(None), type(None), kind, type(None)]
            assert [r.action for r in await store.audit(before)] == ["note-1", "note-2", "note-3"]
        assert audit.first_bad(await store.audit()) is None
        await store.close()

    asyncio.run(story())


def test_a_duplicate_that_no_rule_speaks_of_is_our_bug() -> None:
    async def story() -> None:
        store = open_store(":memory:")
        row = {"key_id": "nobody", "at": 0, "node": "n", "address": "", "serial": ""}
        with pytest.raises(InternalError):
            await store._writer.submit(Unit(steps=(Step(sql.RECORD_USE, row),)))
        await store.note(event())
        await store.close()

    asyncio.run(story())


def test_only_so_many_signatures_share_a_transaction() -> None:
    """The event loop is not held up by more of them than that."""

    async def story() -> None:
        store = open_store(":memory:")
        await store.add_issuer(new_issuer(), None, event())
        seen = await _statements(store)
        records = [new_record(f"edge-{n}") for n in range(2 * MAX_SEQUELS)]
        await asyncio.gather(*(store.certify(r, admission(), None, lambda r=r: signed(r)) for r in records))
        between = " ".join("C" if one == "COMMIT" else "p" if "INTO certificate" in one else "" for one in seen).split()
        assert between == ["p"] * MAX_SEQUELS + ["C"] + ["p"] * MAX_SEQUELS + ["C"]
        await store.close()

    asyncio.run(story())


def test_writes_with_code_of_their_own_divide_nobody_into_one_by_one_and_keep_their_place() -> None:
    async def story() -> None:
        store = open_store(":memory:")
        await store.add_issuer(new_issuer(), None, event())
        renewed = [await enrolled(store, f"edge-{n}") for n in range(2)]
        seen = await _statements(store)

        def renewal(n: int) -> Awaitable[None]:
            record = new_record(f"edge-{n}")
            return store.certify(
                record, admission(renews=renewed[n].serial), event(f"renewed-{n}"), lambda: signed(record)
            )

        first = [renewal(0), arrived(store, "edge-0", NOON, "192.0.2.7"), renewal(1), renewal(0)]
        assert await asyncio.gather(*first) == [None] * 4
        assert (seen.count("COMMIT"), seen.count("SAVEPOINT unit")) == (1, 0)
        told = [one.action for one in await store.audit()][-6:]
        assert [one for one in told if one.startswith("renewed")] == ["renewed-0", "renewed-1", "renewed-0"]

        # whoever asks for a renewal after its revocation is refused, also when both are in one transaction
        revoking = store.revoke([renewed[1].serial], NOON, Reason.UNSPECIFIED, event("revoked"))
        before, revoked, after, other = await asyncio.gather(
            renewal(1), revoking, renewal(1), renewal(0), return_exceptions=True
        )
        assert (before, other) == (None, None)
        assert isinstance(revoked, list) and [one.serial for one in revoked] == [renewed[1].serial]
        assert isinstance(after, CertificateRefused)
        assert (seen.count("COMMIT"), seen.count("SAVEPOINT unit")) == (2, 4)
        assert audit.first_bad(await store.audit()) is None
        await store.close()

    asyncio.run(story())
