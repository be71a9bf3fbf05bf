"""Trust bundles for devices, and what a hostile one makes of being asked."""

import asyncio
from datetime import UTC, datetime

from edgeward.hub.trust import TrustDesk
from edgeward.model import bundle
from edgeward.model import message as messages
from edgeward.model.audit import Event
from edgeward.model.bundle import Held, TrustBundle
from edgeward.model.message import Message

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Site:
    """A desk with a bundle of number 2; devices confirm it as soon as they get it."""

    def __init__(self) -> None:
        self.notes: list[Event] = []
        self.confirms = True
        self.desk = TrustDesk(
            lambda: TrustBundle(sequence=2, anchors=(b"x",)), self._send, self.notes.append, lambda: NOON, lambda: "id"
        )

    async def _send(self, node: str, message: Message) -> Message | None:
        if not self.confirms:
            return None
        content = bundle.encode(Held(sequence=2))
        return messages.response_to(message, content, msg_id="r", now=NOON)

    async def asks(self, node: str, sequence: int) -> None:
        """`node` says which bundle it has, and gets what it gets."""
        asked = messages.make(
            bundle.encode(Held(sequence=sequence)), msg_id="q", now=NOON, operation="query", resource=bundle.RESOURCE,
            source="edgeward", group=bundle.GROUP,
        )  # fmt: skip
        self.desk.asked(node, asked)
        while self.desk._tasks:
            await asyncio.sleep(0)


def test_a_device_that_asks_again_and_again_fills_no_audit_log() -> None:
    async def tell() -> None:
        site = Site()
        for _ in range(50):
            await site.asks("edge-1", 0)
        assert [note.object for note in site.notes] == ["node:edge-1"]

    asyncio.run(tell())


def test_a_revoked_device_does_not_hold_up_the_next_ca() -> None:
    async def tell() -> None:
        site = Site()
        site.confirms = False
        await site.asks("edge-1", 0)
        assert site.desk.behind([]) == ["edge-1"]
        site.desk.forget("edge-1")
        assert site.desk.behind([]) == []

    asyncio.run(tell())
