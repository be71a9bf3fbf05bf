"""When an edge does what: dial again, renew, send a sign of life, give a connection up. Pure: time and dice are arguments.

Moments are seconds of a monotonic clock, except where a certificate's own dates are meant.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

Dice = Callable[[float, float], float]
"""A uniform choice between two bounds, such as `random.uniform`."""

HEARTBEAT = 15.0
"""Seconds between two signs of life. A hub gives a node up after 30 (kubeedge-wire 4.2), so one may be lost."""

RENEW_FROM, RENEW_UNTIL = 0.7, 0.9
"""The part of a certificate's life in which it is renewed. KubeEdge's own figures: a fleet enrolled in one night does not return in one."""

SETTLED = 30.0
"""Seconds after which a connection counts as good. A hub that refuses silently closes, or falls silent, within its keepalive interval."""


EXPIRED = 600.0
"""Seconds that attempts to renew an expired certificate are apart at most: a server may give some grace, by a decision of its operator."""


@dataclass(slots=True, kw_only=True)
class Backoff:
    """Waits between attempts: from `first` seconds doubling to `cap`, each shortened by up to half, so that a fleet spreads out."""

    dice: Dice
    first: float = 1.0
    cap: float = 30.0
    _failures: int = 0

    def wait(self) -> float:
        """Seconds until the next attempt, after one more failure."""
        longest = min(self.cap, self.first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return longest * self.dice(0.5, 1.0)

    def reset(self) -> None:
        """An attempt was good: the next failure is the first."""
        self._failures = 0


@dataclass(slots=True, kw_only=True)
class Renewal:
    """When the current certificate is renewed, and when again if that fails.

    The moment in the certificate's life is one of the calendar, and is compared with the calendar each time it is asked for; the pause
    after a failure is one of the monotonic clock. So a clock that jumps neither loses a renewal nor makes a pause longer.
    """

    dice: Dice
    at: datetime = field(init=False)
    """The moment that was chosen in the certificate's life, aware UTC."""
    not_after: datetime = field(init=False)
    _backoff: Backoff = field(init=False)
    _cap: float = field(init=False)
    _again: float = field(init=False)

    def begin(self, not_before: datetime, not_after: datetime) -> None:
        """A certificate with these dates is current: choose the moment, anew each time.

        The longest wait between failed attempts is a hundredth of the lifetime, and between 2 seconds and an hour.
        """
        life = not_after - not_before
        self.at = not_before + life * self.dice(RENEW_FROM, RENEW_UNTIL)
        self.not_after = not_after
        self._cap = min(3600.0, max(2.0, life.total_seconds() / 100))
        self._backoff = Backoff(dice=self.dice)
        self._again = float("-inf")

    def failed(self, now: datetime, time: float) -> float:
        """An attempt failed: the seconds until the next. Once the certificate has expired there is no hurry any more: a person must act
        first, or the server's grace decides."""
        self._backoff.cap = self._cap if now < self.not_after else EXPIRED
        wait = self._backoff.wait()
        self._again = time + wait
        return wait

    def seconds_left(self, now: datetime, time: float) -> float:
        """Until the next attempt, seen from `now` (the calendar) and `time` (monotonic); 0 when it is due."""
        return max(0.0, (self.at - now).total_seconds(), self._again - time)


@dataclass(slots=True, kw_only=True)
class Pulse:
    """Whether a connection lives: at each beat a sign of life goes out, and since the beat before something must have come in."""

    opened_at: float
    every: float = HEARTBEAT
    next_beat: float = field(init=False)
    _last_beat: float | None = None
    _heard_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.next_beat = self._heard_at = self.opened_at

    def heard(self, now: float) -> None:
        """Something came from the hub, a pong for one."""
        self._heard_at = now

    def beat(self, now: float) -> bool:
        """It is time (`next_beat`): True when a sign of life is to be sent, False when the hub has been silent since the last."""
        if self._last_beat is not None and self._heard_at <= self._last_beat:
            return False
        self._last_beat, self.next_beat = now, now + self.every
        return True

    def settled(self, now: float) -> bool:
        """Whether the connection has lasted long enough to count as good."""
        return now - self.opened_at >= SETTLED
