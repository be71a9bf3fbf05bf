"""What every store must do about the history of nodes: `stores.timeline.Timeline`, said precisely."""

from datetime import timedelta

from edgeward.model.device import Moment
from edgeward.stores.relational import RelationalStore
from edgeward.stores.timeline import KEPT, Arrival
from tests.support.places import Place, story
from tests.support.rows import NOON, enrolled


def moment(n: int, event: str = "online", node: str = "edge-1") -> Moment:
    return Moment(node=node, at=NOON + timedelta(seconds=n), event=event, why=f"w{n}", address="192.0.2.1")


def test_moments_come_back_the_newest_first_each_with_its_node(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        for node in ("edge-1", "edge-2"):
            await enrolled(store, node)
        await store.timeline.add([moment(1), moment(2, node="edge-2"), moment(3, "offline")])
        await store.timeline.add([moment(4)])
        assert await store.timeline.of("edge-1") == [moment(4), moment(3, "offline"), moment(1)]
        assert await store.timeline.of("edge-1", 1) == [moment(4)]
        assert await store.timeline.of("edge-2") == [moment(2, node="edge-2")]
        assert await store.timeline.of("edge-3") == []

    story(place, tell)


def test_a_node_that_flaps_keeps_its_newest_moments_and_takes_nobody_s_else(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        for node in ("edge-1", "edge-2"):
            await enrolled(store, node)
        await store.timeline.add([moment(0, node="edge-2")])
        for start in range(0, KEPT + 100, 50):
            await store.timeline.add([moment(n) for n in range(start, start + 50)])
        kept = await store.timeline.of("edge-1", 10_000)
        assert [one.why for one in kept] == [f"w{n}" for n in reversed(range(100, KEPT + 100))]
        assert len(await store.timeline.of("edge-2")) == 1

    story(place, tell)


def test_unknown_names_leave_nothing_and_the_device_shows_the_last_refusal_and_its_clock(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        await enrolled(store, "edge-1")
        await store.timeline.add([moment(1, "refused", "edge-9"), moment(2, "refused")], [("edge-1", -1500), ("x", 1)])
        assert await store.timeline.of("edge-9") == []
        device = await store.device("edge-1")
        assert device is not None
        assert (device.clock_skew_ms, device.refused_at, device.refused_why) == (-1500, moment(2).at, "w2")
        assert (await store.nodes())[0].device == device

    story(place, tell)


def test_a_node_that_has_connected_without_end_fails_no_write(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        for node in ("edge-1", "edge-2"):
            await enrolled(store, node)
        for _ in range(2):
            await store.timeline.add(
                arrivals=[
                    Arrival("edge-1", NOON, "192.0.2.1", times=2_000_000_000),
                    Arrival("edge-2", NOON, "192.0.2.2"),
                ]
            )
        counted = {node.device.name: node.device.connections for node in await store.nodes()}
        assert counted == {"edge-1": 2_000_000_000, "edge-2": 2}

    story(place, tell)
