"""The stores that take part in the contract, and how a story is told to one of them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgeward.errors import EdgewardError
from edgeward.model import audit
from edgeward.stores import port
from edgeward.stores.relational import RelationalStore
from edgeward.stores.sqlite import open_store
from tests.support.rows import event, new_issuer


@dataclass(frozen=True)
class Place:
    """Where a store is kept: how to open it, and whether what was written outlives its being closed."""

    open: Callable[[], RelationalStore]
    durable: bool
    files: Path | None = None
    sqlite: bool = True


PLACES: dict[str, Callable[[Path], Place]] = {
    "sqlite-file": lambda tmp: Place(lambda: open_store(tmp / "store.db"), True, tmp),
    "sqlite-memory": lambda tmp: Place(lambda: open_store(":memory:"), False),
}


def story(place: Place, tell: Callable[[RelationalStore], Awaitable[None]]) -> None:
    """Tell a story to a fresh store that has an active issuer; whatever was done and refused, its audit chain is whole in the end."""

    async def whole() -> None:
        store = place.open()
        try:
            await store.add_issuer(new_issuer(), None, event("ca.created"))
            await tell(store)
            assert audit.first_bad(await store.audit(0, 100_000)) is None
        finally:
            await store.close()

    asyncio.run(whole())


async def actions(store: port.Store) -> list[str]:
    return [record.action for record in await store.audit(0, 100_000)]


async def refused(store: port.Store, kind: type[EdgewardError], doing: Awaitable[Any]) -> EdgewardError:
    """The refusal of a write, which leaves no audit record behind."""
    before = await actions(store)
    with pytest.raises(kind) as caught:
        await doing
    assert await actions(store) == before
    return caught.value
