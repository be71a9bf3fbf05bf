"""What survives: an issued certificate everything, a plan its process, and a transaction that was cut short nothing of itself."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from edgeward.model import audit
from edgeward.model.authority import CertificateRecord, CertificateState
from edgeward.pki.profile import default_profiles
from edgeward.services.issuance import Issuance
from edgeward.stores.relational import RelationalStore
from edgeward.stores.sqlite import open_store
from tests.support.rows import NOON, admission, event, new_issuer, new_record, new_token, signed, use_of


def test_after_a_loss_of_power_nothing_issued_is_missing_and_nothing_is_there_by_half(tmp_path: Path) -> None:
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

        async def certify(where: RelationalStore, record: CertificateRecord) -> None:
            await where.certify(record, admission(use=use_of(token, record), uses=2), None, lambda: signed(record))

        await certify(store, first)
        durable = log.stat().st_size
        await certify(store, second)
        behind = log.stat().st_size
        assert behind > durable
        for octets in (durable, (durable + behind) // 2, behind - 1):
            found = power_lost(octets, f"lost-{octets}")
            assert await found.by_serial(first.serial) == await store.by_serial(first.serial)
            assert await found.by_serial(second.serial) is None
            left = await found.token(token.key_id)
            assert left is not None
            assert left.used == 1
            assert audit.first_bad(await found.audit()) is None
            await certify(found, second)
            await found.close()
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
    await store.plan(record, admission(use=use_of(token, record), uses=2))
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
