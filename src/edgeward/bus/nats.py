"""The bus over NATS: core publish and subscribe, on one subject. What must be durable is in the database, not on the bus."""

import asyncio
from typing import Any

import nats
from nats.aio.client import Client

from edgeward.bus.envelope import Envelopes
from edgeward.bus.link import Link

ROOM = 512 * 1024
"""Octets of a part; a NATS server takes a MiB unless it is told otherwise."""

TIMEOUT = 3
"""Seconds to connect, and for the server to answer a ping."""


class NatsBus(Link):
    """`bus.port.Bus` over the servers at `url` (several with commas). `subject` is this authority's own. `credentials`: a file of NATS's
    own kind."""

    def __init__(
        self, url: str, subject: str, key: bytes, sender: str, life: int, credentials: str | None = None
    ) -> None:
        super().__init__("NATS", Envelopes(key, sender, ROOM, life))
        self._servers = [one.strip() for one in url.split(",")]
        self._subject = subject
        self._credentials = credentials
        self._client: Client | None = None
        self._lost = asyncio.Event()

    async def _connect(self) -> None:
        self._lost.clear()
        more: dict[str, Any] = {} if self._credentials is None else {"user_credentials": self._credentials}
        self._client = await nats.connect(
            servers=self._servers,
            name="edgeward",
            allow_reconnect=False,  # `Link` begins again, and says so
            connect_timeout=TIMEOUT,
            ping_interval=2,
            max_outstanding_pings=2,
            closed_cb=self._closed,
            disconnected_cb=self._closed,
            error_cb=self._failed,
            **more,
        )
        await self._client.subscribe(self._subject, cb=self._message, pending_msgs_limit=100_000)
        await self._client.flush(TIMEOUT)  # from here on the server knows that we listen

    async def _until_lost(self) -> None:
        await self._lost.wait()

    async def _say(self, octets: list[bytes]) -> None:
        if self._client is not None:
            for one in octets:
                await self._client.publish(self._subject, one)

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None and not client.is_closed:
            await client.close()

    async def _message(self, message: Any) -> None:
        self._heard(message.data)

    async def _closed(self) -> None:
        self._lost.set()

    async def _failed(self, error: Exception) -> None:
        """The library tells of errors here as well; those that matter end the connection."""
