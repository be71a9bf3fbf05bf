"""Trust bundles for devices, and what a hostile one makes of being asked."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from edgeward.hub.trust import AGAIN, AT_ONCE, BURST, TrustDesk
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
        self.sequence = 2
        self.now = NOON
        self.under_way = self.most = self.tried = 0
        self.sent: list[int] = []
        self.away: set[str] = set()
        self.pause = asyncio.Event()
        self.pause.set()
        self.desk = TrustDesk(
            lambda: TrustBundle(sequence=self.sequence, anchors=(b"x",)), self._send, self.notes.append,
            lambda: self.now, lambda: "id", lambda node: node not in self.away,
        )  # fmt: skip

    async def _send(self, node: str, message: Message) -> Message | None:
        self.under_way += 1
        self.tried += 1
        self.most = max(self.most, self.under_way)
        await self.pause.wait()
        self.under_way -= 1
        if not self.confirms:
            return None
        self.sent.append(bundle.held(message.content))
        content = bundle.encode(Held(sequence=self.sent[-1]))
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


@pytest.mark.parametrize("confirms", [True, False])
def test_t42_a_device_that_asks_without_end_does_not_push_out_the_receipts_of_others(confirms: bool) -> None:
    async def tell() -> None:
        site = Site()
        site.confirms = confirms
        for _ in range(1000):
            await site.asks("edge-1", 0)
        assert site.tried == BURST
        site.now += 2 * AGAIN
        for _ in range(1000):
            await site.asks("edge-1", 0)
        assert site.tried == BURST + 2
        await site.asks("edge-2", 0)
        assert site.tried == BURST + 3, "others are served"

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


def test_a_bundle_that_changes_while_one_is_under_way_is_sent_after_it() -> None:
    async def tell() -> None:
        site = Site()
        site.pause.clear()
        asking = asyncio.ensure_future(site.asks("edge-1", 0))
        while not site.under_way:
            await asyncio.sleep(0)
        site.sequence = 3
        site.desk.changed()
        site.pause.set()
        await asking
        assert site.sent == [2, 3] and site.desk.behind([]) == []

    asyncio.run(tell())


def test_a_device_that_does_not_confirm_is_not_sent_the_same_one_again_and_again() -> None:
    async def tell() -> None:
        site = Site()
        site.confirms = False
        await site.asks("edge-1", 0)
        assert site.most == 1 and site.desk.behind([]) == ["edge-1"]

    asyncio.run(tell())


def test_a_device_that_asked_while_the_clock_was_ahead_gets_the_next_bundle_all_the_same() -> None:
    async def tell() -> None:
        site = Site()
        site.now += timedelta(days=30)
        await site.asks("edge-1", 0)
        site.now, site.sequence = NOON, 3
        site.desk.changed()
        while site.desk._tasks:
            await asyncio.sleep(0)
        assert site.sent == [2, 3]
        for _ in range(20):
            await site.asks("edge-1", 0)
        assert site.sent == [2, *[3] * BURST], "and no more of them than ever"

    asyncio.run(tell())


def test_a_whole_fleet_is_told_a_part_at_a_time() -> None:
    async def tell() -> None:
        site = Site()
        nodes = [f"edge-{n}" for n in range(3 * AT_ONCE)]
        site.desk.held = dict.fromkeys(nodes, 1)
        site.pause.clear()
        site.desk.changed()
        for _ in range(10):
            await asyncio.sleep(0)
        assert site.under_way == AT_ONCE
        site.pause.set()
        while site.desk._tasks:
            await asyncio.sleep(0)
        assert site.most == AT_ONCE and len(site.sent) == len(nodes) and site.desk.behind([]) == []

    asyncio.run(tell())


def test_nobody_waits_for_a_device_that_is_away_and_it_gets_the_bundle_when_it_asks() -> None:
    async def tell() -> None:
        site = Site()
        site.desk.held = {"edge-1": 1}
        site.away = {"edge-1"}
        site.desk.changed()
        while site.desk._tasks:
            await asyncio.sleep(0)
        assert site.sent == [] and site.desk.behind([]) == ["edge-1"]
        site.away = set()
        await site.asks("edge-1", 1)
        assert site.sent == [2] and site.desk.behind([]) == []

    asyncio.run(tell())
