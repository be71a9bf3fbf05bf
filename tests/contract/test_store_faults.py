"""What every store must do when it is closed, copied, or out of space: what was awaited is kept, and the rest never happened."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edgeward.errors import (
    InternalError,
    StoreUnavailable,
)
from edgeward.model import audit
from edgeward.model.authority import Reason
from edgeward.stores.postgres import open_store as open_postgres
from edgeward.stores.relational import RelationalStore
from edgeward.stores.sqlite import open_store
from tests.support.places import Place, story
from tests.support.postgres import Cluster
from tests.support.rows import (
    NOON,
    admission,
    enrolled,
    event,
    issue,
    new_issuer,
    new_record,
    new_token,
    signed,
)


def test_what_was_awaited_is_there_when_the_store_is_opened_again(place: Place) -> None:
    if not place.durable:
        pytest.skip("it is gone with its process")

    async def tell() -> None:
        store = place.open()
        await store.add_issuer(new_issuer(), None, event())
        token = new_token(node="edge-2", uses=3)
        await store.add_token(token, event())
        record = await enrolled(store, "edge-1")
        await store.put_setting("a", "b", event())
        await store.plan(new_record("edge-2"), admission())
        before = [
            await store.issuers(),
            await store.tokens(),
            await store.nodes(),
            await store.planned(),
            await store.audit(),
        ]
        await store.close()
        await store.close()
        store = place.open()
        after = [
            await store.issuers(),
            await store.tokens(),
            await store.nodes(),
            await store.planned(),
            await store.audit(),
        ]
        assert after == before
        assert await store.setting("a") == "b"
        assert await store.by_serial(record.serial) == record
        await store.close()

    asyncio.run(tell())


def test_a_copy_made_after_an_awaited_write_holds_it(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    if place.files is None:
        pytest.skip("there is no file to copy")
    files = place.files

    async def tell(store: RelationalStore) -> None:
        for n in range(3):
            record = await enrolled(store, f"edge-{n}")
            copy = tmp_path_factory.mktemp("copy") / "files"
            shutil.copytree(files, copy)
            found = open_store(copy / "store.db")
            assert await found.by_serial(record.serial) == record
            assert audit.first_bad(await found.audit()) is None
            await found.close()

    story(place, tell)


def test_close_finishes_what_is_queued_and_later_writes_are_errors(place: Place) -> None:
    async def tell() -> None:
        store = place.open()
        await store.add_issuer(new_issuer(), None, event())
        queued = [asyncio.create_task(store.plan(new_record(f"edge-{n}"), admission())) for n in range(20)]
        await asyncio.sleep(0)
        await store.close()
        assert await asyncio.gather(*queued) == [None] * 20
        with pytest.raises(InternalError):
            await store.note(event())
        with pytest.raises(StoreUnavailable):
            await store.issuers()

    asyncio.run(tell())


BULK = os.urandom(50_000).hex()
"""More than is left after the last filler, and nothing that a database could make smaller."""


async def _fill(store: RelationalStore) -> int:
    """Write in groups until there is no room; how many notes went in."""
    written = 0
    while True:
        results = await asyncio.gather(
            *(store.note(event("filler", text=os.urandom(2000).hex())) for _ in range(8)), return_exceptions=True
        )
        written += results.count(None)
        if written < len(results) * 1000 and all(isinstance(result, StoreUnavailable) for result in results):
            return written
        assert all(result is None or isinstance(result, StoreUnavailable) for result in results)


async def _full(store: RelationalStore, make_room: Callable[[], None]) -> None:
    kept = await enrolled(store, "edge-0")
    planned = new_record("edge-1")
    await store.plan(planned, admission())
    written = await _fill(store)
    records = await store.audit(0, 100_000)
    assert [r.action for r in records].count("filler") == written
    token = new_token(pattern="*", uses=5)
    for doing in (
        store.plan(new_record("edge-2", evidence=BULK), admission()),
        store.add_token(replace(token), event(text=BULK)),
        store.issue(replace(signed(planned), der=BULK.encode()), NOON),
        store.block("edge-0", NOON, Reason.UNSPECIFIED, event(text=BULK)),
    ):
        with pytest.raises(StoreUnavailable):
            await doing
    assert await store.audit(0, 100_000) == records
    assert await store.by_serial(kept.serial) == kept
    assert await store.device("edge-2") is None
    make_room()
    await issue(store, planned)
    await store.block("edge-0", NOON, Reason.UNSPECIFIED, event())
    assert audit.first_bad(await store.audit(0, 100_000)) is None


def test_with_its_space_used_up_it_refuses_whole_writes_and_goes_on_when_there_is_room(place: Place) -> None:
    if not place.sqlite:
        pytest.skip("its space is its disk's, which the test below fills")

    async def tell(store: RelationalStore) -> None:
        connection = store._writer._engine.connection  # type: ignore[attr-defined]  # the one way to take SQLite's space away
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages + 40}").fetchone()
        await _full(store, lambda: connection.execute("PRAGMA max_page_count=100000").fetchone())

    story(place, tell)


@contextlib.contextmanager
def tiny_disk(where: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of so many MiB at `where`, and a file on it that leaves room when it is removed."""
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=700", "tmpfs", str(where)]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"NOT CHECKED: a full disk; this user cannot mount one ({made.stderr.decode().strip()})")
    try:
        ballast = where / "ballast"
        ballast.write_bytes(bytes(mebibytes * 200_000))
        yield ballast
    finally:
        subprocess.run(["umount", str(where)], check=True)


def test_on_a_full_disk_it_refuses_whole_writes_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", 1) as ballast:
        store = ballast.with_name("store.db")
        story(Place(lambda: open_store(store), True), lambda store: _full(store, ballast.unlink))


def test_postgresql_with_a_full_disk_does_the_same(postgres: Cluster) -> None:
    with tiny_disk(postgres.directory / "tiny", 14) as ballast, postgres.on(ballast.parent) as url:
        story(Place(lambda: open_postgres(url), True, sqlite=False), lambda store: _full(store, ballast.unlink))


@pytest.mark.parametrize("content", [b"", b"not a database, by far" * 100, None])
def test_what_is_no_store_of_ours_is_said_so(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "store.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    if content == b"":
        asyncio.run(open_store(path).close())
        return
    with pytest.raises(StoreUnavailable, match=r"store\.db"):
        open_store(path)
