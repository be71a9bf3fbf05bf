"""What is durable when: a plan that need not be survives its process, and reaches the disk no later than whatever is awaited after it."""

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from edgeward.model import audit
from edgeward.model.authority import CertificateState
from edgeward.pki.profile import default_profiles
from edgeward.services.issuance import Issuance
from edgeward.stores.relational import RelationalStore
from edgeward.stores.sqlite import open_store
from edgeward.stores.writer import Engine, Unit
from tests.support.rows import NOON, admission, event, issue, new_issuer, new_record, new_token, use_of

_asked = itertools.count()


def _synchronous(engine: Engine) -> int:
    """What the open transaction's commit will do: 2 syncs the log, 1 does not. Each time another text: it is compiled into its answer."""
    return int(engine.query(f"PRAGMA synchronous -- {next(_asked)}", {})[0][0])


async def _of_units(store: RelationalStore, *durable: bool) -> list[int]:
    units = [Unit(work=_synchronous, durable=one) for one in durable]
    return list(await asyncio.gather(*(store._writer.submit(unit) for unit in units)))


def test_a_commit_is_synced_when_one_of_its_units_asks_for_it(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_store(tmp_path / "store.db")
        assert await _of_units(store, True) == [2]
        assert await _of_units(store, False, False) == [1, 1]
        assert await _of_units(store, False) == [1]
        assert await _of_units(store, False, True, False) == [2, 2, 2]
        assert await _of_units(store, False) == [1]
        assert await _of_units(store, True) == [2]
        await store.close()

    asyncio.run(story())


def test_a_plan_that_does_more_than_plan_is_durable_whatever_was_asked(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_store(tmp_path / "store.db")
        await store.add_issuer(new_issuer(), None, event())
        unconnected = new_record("edge-1")
        await store.plan(unconnected, None)
        await issue(store, unconnected)
        seen: list[str] = []
        store._writer._engine.connection.set_trace_callback(seen.append)  # type: ignore[attr-defined]  # what the disk is asked
        await store.plan(new_record("edge-2"), admission(unblock=True), durable=False)
        await store.plan(new_record("edge-1"), admission(supersedes=unconnected.serial), durable=False)
        await store.plan(new_record("edge-3"), None, event(), durable=False)
        assert not [one for one in seen if "synchronous" in one]
        await store.plan(new_record("edge-4"), admission(), durable=False)
        assert [one for one in seen if "synchronous" in one] == ["PRAGMA synchronous=NORMAL"]
        await store.close()

    asyncio.run(story())


def test_after_a_loss_of_power_nothing_issued_is_missing_and_a_mere_plan_may_be(tmp_path: Path) -> None:
    """The log up to the last durable write is what the disk must have; what is behind it is cut off."""
    files = tmp_path / "files"
    files.mkdir()
    log = files / "store.db-wal"

    def power_lost(octets: int, name: str) -> RelationalStore:
        copy = tmp_path / name
        shutil.copytree(files, copy, ignore=shutil.ignore_patterns("*-shm"))
        os.truncate(copy / log.name, octets)
        return open_store(copy / "store.db")

    async def story() -> None:
        store = open_store(files / "store.db")
        await store.add_issuer(new_issuer(), None, event())
        token = new_token(pattern="*", uses=2)
        await store.add_token(token, event())
        first, second = (new_record(f"edge-{n}", token=token.key_id) for n in (1, 2))
        await store.plan(first, admission(use=use_of(token, first), uses=2), durable=False)
        await issue(store, first)
        durable = log.stat().st_size
        await store.plan(second, admission(use=use_of(token, second), uses=2), durable=False)
        assert [one.serial for one in await store.planned()] == [second.serial]
        behind = log.stat().st_size
        assert behind > durable
        for octets in (durable, (durable + behind) // 2):
            found = power_lost(octets, f"lost-{octets}")
            assert await found.by_serial(first.serial) == await store.by_serial(first.serial)
            assert await found.by_serial(second.serial) is None
            left = await found.token(token.key_id)
            assert left is not None
            assert left.used == 1
            assert audit.first_bad(await found.audit()) is None
            await found.plan(second, admission(use=use_of(token, second), uses=2))
            await found.close()
        await issue(store, second)
        found = power_lost(log.stat().st_size, "whole")
        for record in (first, second):
            assert await found.by_serial(record.serial) == await store.by_serial(record.serial)
        await found.close()
        await store.close()

    asyncio.run(story())


_DIES = """
import asyncio, os, signal, sys
from edgeward.stores.sqlite import open_store
from tests.support.rows import admission, event, new_issuer, new_record, new_token, use_of

async def story():
    store = open_store(sys.argv[1])
    await store.add_issuer(new_issuer(), None, event())
    token = new_token(pattern="*", uses=2)
    await store.add_token(token, event())
    record = new_record(token=token.key_id)
    await store.plan(record, admission(use=use_of(token, record), uses=2), durable=False)
    print(record.serial, token.key_id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(story())
"""


def test_a_plan_survives_the_kill_of_its_process_and_becomes_abandoned(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root / "src"), str(root)])
    done = subprocess.run(
        [sys.executable, "-c", _DIES, tmp_path / "store.db"],
        env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    serial, key_id = done.stdout.split()

    async def story() -> None:
        store = open_store(tmp_path / "store.db")
        assert [(one.serial, one.state) for one in await store.planned()] == [(serial, CertificateState.PLANNED)]
        assert await Issuance(store, default_profiles(), "edgeward.internal").recover(NOON) == 1
        record, token = await store.by_serial(serial), await store.token(key_id)
        assert record is not None
        assert (record.state, record.revoked_at) == (CertificateState.ABANDONED, NOON)
        assert token is not None
        assert token.used == 0
        await store.close()

    asyncio.run(story())
