"""What is to be said while a bus breaks."""

import asyncio

from edgeward.bus.envelope import Envelopes
from edgeward.bus.link import AT_ONCE, Link
from edgeward.bus.port import Queued


class Breaking(Link):
    """A bus that breaks at the first words and works from then on; `said` are the notices that it took."""

    def __init__(self) -> None:
        super().__init__("a bus", Envelopes(b"k" * 32, "a", 1 << 20, 1))
        self.hears = Envelopes(b"k" * 32, "b", 1 << 20, 1)
        self.said: list[str] = []
        self.all_said = asyncio.Event()
        self.broken = False

    async def _connect(self) -> None: ...

    async def _say(self, octets: list[bytes]) -> None:
        if not self.broken:
            self.broken = True
            raise ConnectionError("it broke")
        for part in octets:
            heard = self.hears.unwrap(part)
            self.said += [] if heard is None else [one.node for one in heard[1] if isinstance(one, Queued)]
        if not self._waiting:
            self.all_said.set()

    async def _until_lost(self) -> None:
        await asyncio.Event().wait()

    async def _disconnect(self) -> None: ...


def test_what_waits_when_a_bus_breaks_is_said_when_it_is_back_and_not_with_the_next_notice() -> None:
    async def story() -> list[str]:
        link = Breaking()
        for n in range(AT_ONCE + 2):
            link.publish(Queued(node=f"edge-{n}"))
        link.start(lambda _sender, _notice: None, lambda: None)
        async with asyncio.timeout(60):
            await link.all_said.wait()
        await link.close()
        return link.said

    assert asyncio.run(story()) == [f"edge-{AT_ONCE}", f"edge-{AT_ONCE + 1}"], "those under way are lost with it"
