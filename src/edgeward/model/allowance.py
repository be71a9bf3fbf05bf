"""How much may be written about what strangers cause: a bucket that fills steadily, so that a flood cannot fill a disk."""


class Allowance:
    """`burst` records at once and `rate` a second for long. Those left out are counted, and the next one taken is told how many."""

    __slots__ = ("_at", "_burst", "_left", "_omitted", "_rate")

    def __init__(self, *, burst: float, rate: float) -> None:
        self._burst = self._left = burst
        self._rate = rate
        self._at = float("-inf")
        self._omitted = 0

    def take(self, at: float) -> int | None:
        """How many were left out before this one, at `at` in seconds of one clock; None when this one is to be left out, too."""
        if at > self._at:
            self._left = min(self._burst, self._left + (at - self._at) * self._rate)
        self._at = at
        if self._left < 1.0:
            self._omitted += 1
            return None
        self._left -= 1.0
        omitted, self._omitted = self._omitted, 0
        return omitted
