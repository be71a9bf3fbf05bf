"""The bus that needs nothing more than the replicas' database: PostgreSQL's NOTIFY. A notice of more than 5,000 octets goes in parts."""

import asyncio
import base64
import contextlib

import psycopg

from edgeward.bus.envelope import Envelopes
from edgeward.bus.link import Link

CHANNEL = "edgeward"
ROOM = 5000
"""Octets of a part: in base64 it must stay under the 8,000 that NOTIFY takes."""


class PostgresBus(Link):
    """`bus.port.Bus` over two connections to `address`: one listens, one notifies."""

    def __init__(self, address: str, key: bytes, sender: str, life: int) -> None:
        super().__init__("the database's bus", Envelopes(key, sender, ROOM, life))
        self._address = address
        self._listening: psycopg.AsyncConnection[tuple[object, ...]] | None = None
        self._notifying: psycopg.AsyncConnection[tuple[object, ...]] | None = None

    async def _connect(self) -> None:
        self._notifying = await psycopg.AsyncConnection.connect(self._address, autocommit=True)
        self._listening = await psycopg.AsyncConnection.connect(self._address, autocommit=True)
        await self._listening.execute(f"LISTEN {CHANNEL}")

    async def _until_lost(self) -> None:
        if self._listening is not None:
            async for notify in self._listening.notifies():
                with contextlib.suppress(ValueError):  # somebody else's
                    self._heard(base64.b64decode(notify.payload, validate=True))

    async def _say(self, octets: list[bytes]) -> None:
        if self._notifying is not None:
            rows = [(CHANNEL, base64.b64encode(one).decode()) for one in octets]
            await self._notifying.cursor().executemany("SELECT pg_notify(%s, %s)", rows)

    async def _disconnect(self) -> None:
        both, self._listening, self._notifying = (self._listening, self._notifying), None, None
        await asyncio.gather(*(one.close() for one in both if one is not None))
