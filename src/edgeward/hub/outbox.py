"""What one connected node is sent, and when: a table of transitions, messages and the time in, orders out. It does no I/O.

The rules are those of KubeEdge's cloud hub, and the table keeps them:

1. At most one message that wants an acknowledgement is under way; the very same octets are sent again every `RETRY` seconds, `SENDS`
   times in all, and given up after that.
2. The next one is sent when the end of the one before it is durable, so that a crash repeats at most the last message, and what a node
   sees never goes back behind what it has acknowledged.
3. A message that was given up waits at the head, and everything behind it; only one that speaks of a version of an object is set aside, and
   the others pass, but for those about the same object.
4. Messages that want no acknowledgement have a lane of their own: they are sent once, in order, and wait for nothing but the connection.

`docs/explain/delivery.md` shows the table as a picture; a test compares the two. What is in memory is a window of the node's queue: the
store has all of it, and `Load` asks for more.
"""

from collections import deque
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

import msgspec

from edgeward.model.delivery import Outbound, State

RETRY = 5.0
"""Seconds without an answer before a message is sent again."""

SENDS = 5
"""How often it is sent before it is given up: at 0, 5, 10, 15 and 20 seconds; 5 seconds after the last it counts as given up."""

FIRST_REST = 0.005
LONGEST_REST = 1000.0
"""Seconds before a message that was given up is tried again: the first of them, doubled each time, up to the last."""

WINDOW = 64
"""Messages of one node that are kept in memory, of however many wait in the store."""

WINDOW_OCTETS = 1024 * 1024
"""Octets of them; one larger message is kept as well, else it could not be sent."""

ASIDE = 32
"""Messages that may be set aside; one more waits at the head like any other."""

BUSY_PAUSE = 1.0
"""Seconds until a connection that is behind is looked at again."""


class Slot(Enum):
    """Where the one message that may be under way is in its course."""

    FREE = "free"
    WAITING = "waiting for the answer"
    SETTLING = "writing its end"
    RESTING = "resting"
    """The head was given up and is tried again after a while."""
    CLOSED = "closed"

    __hash__ = object.__hash__  # members are singletons, and Enum's own hash is a Python function


class Happening(Enum):
    """What can happen to it."""

    NEXT = "a message is next"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "answered with an error"
    UNANSWERED = "no answer for 5 s"
    GIVEN_UP = "no answer for 25 s"
    OVERTAKEN = "no answer for 25 s, and others may pass"
    WITHDRAWN = "ended elsewhere"
    WRITTEN = "its end is durable"
    RESTED = "rest over"
    LOST = "connection lost"

    __hash__ = object.__hash__


class Doing(Enum):
    """What is done about it."""

    SEND = "send"
    RESEND = "send it again"
    SETTLE = "write `acknowledged`"
    FAIL = "write `failed`"
    REST = "rest"
    SET_ASIDE = "set it aside"
    PROCEED = "look for the next"
    RETURN = "leave it queued"
    NOTHING = "ignore"

    __hash__ = object.__hash__


TABLE: dict[tuple[Slot, Happening], tuple[Slot, Doing]] = {
    **{(slot, happening): (slot, Doing.NOTHING) for slot in Slot for happening in Happening},
    **{(slot, Happening.LOST): (Slot.CLOSED, Doing.RETURN) for slot in Slot if slot is not Slot.CLOSED},
    (Slot.FREE, Happening.NEXT): (Slot.WAITING, Doing.SEND),
    (Slot.WAITING, Happening.ACKNOWLEDGED): (Slot.SETTLING, Doing.SETTLE),
    (Slot.WAITING, Happening.REFUSED): (Slot.SETTLING, Doing.FAIL),
    (Slot.WAITING, Happening.UNANSWERED): (Slot.WAITING, Doing.RESEND),
    (Slot.WAITING, Happening.GIVEN_UP): (Slot.RESTING, Doing.REST),
    (Slot.WAITING, Happening.OVERTAKEN): (Slot.FREE, Doing.SET_ASIDE),
    (Slot.WAITING, Happening.WITHDRAWN): (Slot.FREE, Doing.PROCEED),
    (Slot.SETTLING, Happening.WRITTEN): (Slot.FREE, Doing.PROCEED),
    (Slot.RESTING, Happening.ACKNOWLEDGED): (Slot.SETTLING, Doing.SETTLE),
    (Slot.RESTING, Happening.REFUSED): (Slot.SETTLING, Doing.FAIL),
    (Slot.RESTING, Happening.RESTED): (Slot.FREE, Doing.PROCEED),
    (Slot.RESTING, Happening.WITHDRAWN): (Slot.FREE, Doing.PROCEED),
}
"""(slot, happening) -> (next, what is done). Every pair has its line."""


class Send(NamedTuple):
    """Send these octets now."""

    outbound: Outbound


class End(NamedTuple):
    """Write that a message ended, with what the node said; `first` is when it was first sent. For one of the ordered lane, say
    `written` when that is durable."""

    outbound: Outbound
    state: State
    attempts: int
    first: float
    answer: object = None


class Tried(NamedTuple):
    """Note how often a message was sent; it stays queued."""

    outbound: Outbound
    attempts: int


class Load(NamedTuple):
    """Read the front of the node's queue, and say `loaded`."""

    node: str


Order = Send | End | Tried | Load


class _Aside(NamedTuple):
    outbound: Outbound
    attempts: int
    due: float


class Outbox:
    """The messages of one node while it is connected. Times are seconds of any steady clock.

    Every method returns the orders that follow, to be carried out in their order. `busy` says that the connection is so far behind
    that nothing should be added to what it has not taken yet.
    """

    __slots__ = (
        "_aside", "_attempts", "_ending", "_first", "_gone", "_loading", "_look_due", "_more", "_octets", "_ordered", "_plain",
        "_retry", "_round", "_sends", "_slot_due", "_under_way", "node", "slot",
    )  # fmt: skip

    def __init__(self, node: str, *, retry: float = RETRY, sends: int = SENDS) -> None:
        self.node = node
        self.slot = Slot.FREE
        self._retry = retry
        self._sends = sends
        self._ordered: dict[str, Outbound] = {}
        self._plain: deque[Outbound] = deque()
        self._octets = 0
        self._aside: dict[str, _Aside] = {}
        self._gone: set[str] = set()  # superseded while under way
        self._ending: set[str] = set()  # ended, and it is not durable yet: the store still shows them
        self._under_way: Outbound | None = None
        self._attempts = 0  # of the message under way, in all
        self._round = 0  # and since it was last given up or the node connected
        self._first = 0.0
        self._slot_due = float("inf")
        self._look_due = float("inf")
        self._loading = False
        self._more = False

    @property
    def due(self) -> float:
        """When `tick` wants to be called; infinity when nothing is waited for."""
        due = min(self._slot_due, self._look_due)
        return min(due, *(one.due for one in self._aside.values())) if self._aside else due

    @property
    def under_way(self) -> Outbound | None:
        """The message whose answer is waited for."""
        return self._under_way if self.slot is Slot.WAITING else None

    @property
    def attempts(self) -> int:
        """How often the message under way was sent."""
        return self._attempts

    # ------------------------------------------------------------------------------------------------ what comes in

    def start(self) -> list[Order]:
        """The node is connected."""
        return self._load()

    def offer(self, outbound: Outbound, at: float, *, busy: bool = False) -> list[Order]:
        """A message was put into the node's queue, behind all others."""
        if self.slot is Slot.CLOSED:
            return []
        if self._loading or self._more or not self._has_room(outbound):
            self._more = True
            return self._proceed(at, busy)
        self._take(outbound)
        return self._proceed(at, busy)

    def more(self, at: float, *, busy: bool = False) -> list[Order]:
        """Somebody else put something into the node's queue."""
        self._more = True
        return self._proceed(at, busy)

    def loaded(self, found: Iterable[Outbound], complete: bool, at: float, *, busy: bool = False) -> list[Order]:
        """The front of the node's queue; `complete` when that is all of it."""
        if self.slot is Slot.CLOSED:
            return []
        self._loading = False
        if not complete:
            self._more = True
        fresh = 0
        for outbound in found:
            if not self._has(outbound.msg_id):
                self._take(outbound)
                fresh += 1
        if not fresh and not complete:
            self._more = False  # all that was read is set aside: there is nothing to gain from reading it again now
            self._look_due = at + BUSY_PAUSE
        return self._proceed(at, busy)

    def answered(self, msg_id: str, state: State, answer: object, at: float) -> list[Order]:
        """The node answered a message: `state` is `ACKNOWLEDGED` or `FAILED`."""
        current = self._under_way
        if current is not None and current.msg_id == msg_id:
            happening = Happening.ACKNOWLEDGED if state is State.ACKNOWLEDGED else Happening.REFUSED
            return self._step(happening, at, answer=answer)
        late = self._aside.get(msg_id)
        if late is not None:
            del self._aside[msg_id]
            self._ending.add(msg_id)
            orders: list[Order] = [End(late.outbound, state, late.attempts, at, answer)]
            return orders + self._proceed(at, False)
        return []

    def written(self, msg_id: str, at: float, *, busy: bool = False) -> list[Order]:
        """The end of a message is durable."""
        self._ending.discard(msg_id)
        current = self._under_way
        if self.slot is Slot.SETTLING and current is not None and current.msg_id == msg_id:
            return self._step(Happening.WRITTEN, at, busy=busy)
        return []

    def withdraw(self, msg_id: str, at: float, *, superseded: bool = False, busy: bool = False) -> list[Order]:
        """A message ended elsewhere: cancelled, expired or `superseded`. One that is under way and superseded is waited for until the
        next time that it would be sent, so that its successor does not come before its answer."""
        current = self._under_way
        if current is not None and current.msg_id == msg_id:
            if superseded and self.slot is Slot.WAITING:
                self._gone.add(msg_id)
                return []
            return self._step(Happening.WITHDRAWN, at, busy=busy)
        self._drop(msg_id)
        return self._proceed(at, busy)

    def tick(self, at: float, *, busy: bool = False) -> list[Order]:
        """Time has passed."""
        orders: list[Order] = []
        for one in [one for one in self._aside.values() if one.due <= at]:
            del self._aside[
                one.outbound.msg_id
            ]  # it goes back to the front, and is found there when the store is read again
            self._put_back(one)
        if self._look_due <= at:
            self._look_due = float("inf")
            self._more = self._more or not self._ordered
        if self._slot_due <= at:
            orders += self._slot_is_due(at, busy)
        return orders + self._proceed(at, busy)

    def lost(self) -> list[Order]:
        """The connection is gone, and with it this outbox."""
        return self._step(Happening.LOST, 0.0)

    # -------------------------------------------------------------------------------------------------- what follows

    def _slot_is_due(self, at: float, busy: bool) -> list[Order]:
        self._slot_due = float("inf")
        current = self._under_way
        if self.slot is Slot.RESTING:
            return self._step(Happening.RESTED, at, busy=busy)
        if current is None or self.slot is not Slot.WAITING:
            return []
        if current.msg_id in self._gone:
            return self._step(Happening.WITHDRAWN, at, busy=busy)
        if busy:  # the last copy is not even out
            self._slot_due = at + self._retry
            return []
        if self._round < self._sends:
            return self._step(Happening.UNANSWERED, at)
        passable = current.versioned and len(self._aside) < ASIDE
        return self._step(Happening.OVERTAKEN if passable else Happening.GIVEN_UP, at, busy=busy)

    def _step(self, happening: Happening, at: float, *, answer: object = None, busy: bool = False) -> list[Order]:
        self.slot, doing = TABLE[self.slot, happening]
        current = self._under_way
        if doing is Doing.NOTHING or current is None:
            return []
        orders: list[Order] = []
        match doing:
            case Doing.SEND | Doing.RESEND:
                self._attempts += 1
                self._round += 1
                self._slot_due = at + self._retry
                orders = [Send(current)]
            case Doing.SETTLE | Doing.FAIL:
                self._slot_due = float("inf")
                state = State.ACKNOWLEDGED if doing is Doing.SETTLE else State.FAILED
                orders = [End(current, state, self._attempts, self._first, answer)]
            case Doing.REST:
                self._slot_due = at + self._rest(self._attempts)
                orders = [Tried(current, self._attempts)]
            case Doing.SET_ASIDE:
                self._aside[current.msg_id] = _Aside(current, self._attempts, at + self._rest(self._attempts))
                self._under_way = None
                orders = [Tried(current, self._attempts), *self._proceed(at, busy)]
            case Doing.RETURN if self._attempts > current.attempts:
                orders = [Tried(current, self._attempts)]
            case Doing.PROCEED if happening is Happening.RESTED:
                orders = self._again(at, busy)
            case Doing.PROCEED:
                self._slot_due = float("inf")
                self._gone.discard(current.msg_id)
                self._under_way = None
                orders = self._proceed(at, busy)
        return orders

    def _again(self, at: float, busy: bool) -> list[Order]:
        """The head, after its rest."""
        if busy:
            self.slot = Slot.RESTING
            self._slot_due = at + BUSY_PAUSE
            return []
        self._round = 0
        return self._step(Happening.NEXT, at)

    def _proceed(self, at: float, busy: bool) -> list[Order]:
        """Send what may be sent now, and ask for more when the window is empty."""
        orders: list[Order] = []
        while self._plain and not busy and self.slot is not Slot.CLOSED:
            outbound = self._plain.popleft()
            self._octets -= len(outbound.wire)
            self._ending.add(outbound.msg_id)
            orders += (Send(outbound), End(outbound, State.SENT, 1, at))
        if self._plain:
            self._look_due = at + BUSY_PAUSE
        if self.slot is Slot.FREE:
            chosen = None if busy else self._next()
            if chosen is not None:
                del self._ordered[chosen.msg_id]
                self._octets -= len(chosen.wire)
                self._under_way, self._attempts, self._round, self._first = chosen, chosen.attempts, 0, at
                orders += self._step(Happening.NEXT, at)
            elif busy and self._ordered:
                self._look_due = at + BUSY_PAUSE
        if self._more and not self._loading and not self._ordered and self._under_way is None and not self._plain:
            orders += self._load()
        return orders

    def _next(self) -> Outbound | None:
        if not self._aside:
            return next(iter(self._ordered.values()), None)
        held = {one.outbound.uid for one in self._aside.values()}
        return next((one for one in self._ordered.values() if one.uid not in held), None)

    def _load(self) -> list[Order]:
        self._loading, self._more = True, False
        return [Load(self.node)]

    def _take(self, outbound: Outbound) -> None:
        if outbound.acknowledge:
            self._ordered[outbound.msg_id] = outbound
        else:
            self._plain.append(outbound)
        self._octets += len(outbound.wire)

    def _has(self, msg_id: str) -> bool:
        current = self._under_way
        return (
            msg_id in self._aside
            or msg_id in self._ordered
            or msg_id in self._ending
            or (current is not None and current.msg_id == msg_id)
            or any(one.msg_id == msg_id for one in self._plain)
        )

    def _has_room(self, outbound: Outbound) -> bool:
        held = len(self._ordered) + len(self._plain)
        return held == 0 or (held < WINDOW and self._octets + len(outbound.wire) <= WINDOW_OCTETS)

    def _drop(self, msg_id: str) -> None:
        self._aside.pop(msg_id, None)
        outbound = self._ordered.pop(msg_id, None)
        if outbound is None:
            outbound = next((one for one in self._plain if one.msg_id == msg_id), None)
            if outbound is not None:
                self._plain.remove(outbound)
        if outbound is not None:
            self._octets -= len(outbound.wire)

    def _put_back(self, one: _Aside) -> None:
        outbound = msgspec.structs.replace(one.outbound, attempts=one.attempts)
        self._ordered = {outbound.msg_id: outbound, **self._ordered}
        self._octets += len(outbound.wire)

    def _rest(self, attempts: int) -> float:
        rounds = max(0, attempts // self._sends - 1)
        return min(FIRST_REST * 2.0 ** min(rounds, 60), LONGEST_REST)


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", f"    [*] --> {Slot.FREE.name.lower()}: connected"]
    lines += [f"    {slot.name.lower()}: {slot.value}" for slot in Slot]
    lines += [
        f"    {slot.name.lower()} --> {following.name.lower()}: {happening.value} / {doing.value}"
        for (slot, happening), (following, doing) in TABLE.items()
        if doing is not Doing.NOTHING
    ]
    return "\n".join([*lines, f"    {Slot.CLOSED.name.lower()} --> [*]"])
