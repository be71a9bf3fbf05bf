"""The bus of a process that is alone: there is nobody to tell."""

from collections.abc import Callable

from edgeward.bus.port import Notice, Received


class AloneBus:
    """`bus.port.Bus` that goes nowhere."""

    connected = True

    def start(self, received: Received, restored: Callable[[], None]) -> None:
        """Nobody will say anything."""

    def publish(self, notice: Notice) -> None:
        """Nobody hears it."""

    async def close(self) -> None:
        """Nothing to let go of."""
