"""How often a node may renew itself, whatever the clock does meanwhile."""

import pytest
from tests.support.world import run, world

from edgeward.errors import Busy


def test_a_node_renews_ten_times_at_once_and_then_every_half_minute() -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-1")
            der = await w.enrol("edge-1", token)
            other = await w.enrol("edge-2", (await w.token("edge-2"))[0])
            for _ in range(10):
                await w.enrol("edge-1", der)
            with pytest.raises(Busy, match="edge-1"):
                await w.enrol("edge-1", der)
            await w.enrol("edge-2", other)
            w.later(seconds=30)
            await w.enrol("edge-1", der)
            with pytest.raises(Busy):
                await w.enrol("edge-1", der)

    run(story())


def test_a_clock_that_was_ahead_for_a_while_keeps_no_node_from_renewing() -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-1")
            der = await w.enrol("edge-1", token)
            w.later(days=30)
            await w.enrol("edge-1", der)
            w.later(days=-30)
            for _ in range(10):
                await w.enrol("edge-1", der)
            with pytest.raises(Busy):
                await w.enrol("edge-1", der)

    run(story())
