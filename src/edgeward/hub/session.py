"""The session of one connected node: a table of transitions, messages and the time in, outputs out. It does no I/O.

Every message is classified into an event, and `TABLE` says what an event does in a state. What the table guarantees:

1. Once a session is closing, for whatever cause, nothing is delivered, answered or sent any more.
2. Only `keepalive` puts off the end of a silent session.
3. A message about another node's resource, or in the name of a module of the cloud, is dropped and reported; the session lives on.
4. A message that cannot be read ends it.

`docs/explain/session.md` shows the table as a picture; a test compares the two.
"""

from dataclasses import dataclass
from enum import Enum

from edgeward.errors import InputError
from edgeward.model import message as messages
from edgeward.model.device import Cause
from edgeward.model.message import Message

INTERVAL = 30.0
"""Seconds without a keepalive after which a node counts as gone: two of the 15 s at which an edge sends them."""

RATE = 60.0
"""Messages a second that a node may send for long: twice what a real edge limits itself to."""

BURST = 120.0
"""Messages that it may send at once: twice a real edge's burst."""

CLOUD_MODULES = frozenset(
    {
        "cloudhub",
        "edgecontroller",
        "devicecontroller",
        "synccontroller",
        "dynamiccontroller",
        "policycontroller",
        "cloudStream",
        "router",
        "router_eventbus",
        "router_servicebus",
    }
)
"""Sources that only the cloud may use. `taskmanager` is missing because edges have a module of that name, too."""

_CONTROL = frozenset({"ping", "pong", "config"})
_ANSWERS = frozenset({messages.RESPONSE, messages.ERROR})


class State(Enum):
    """Where a session is in its life. Members are in the order of it."""

    OPEN = "open"
    CLOSING = "closing"
    """Its end is decided, and its connection is still there."""
    CLOSED = "closed"

    __hash__ = (
        object.__hash__
    )  # members are singletons; Enum's own hash is a Python function, on the path of every message


class Event(Enum):
    """What can happen to a session."""

    KEEPALIVE = "keepalive"
    CONTROL = "control message"
    MESSAGE = "message"
    TRESPASS = "message about another node"
    IMPOSTURE = "message in the cloud's name"
    UNREADABLE = "unreadable message"
    SILENCE = "no keepalive in time"
    CLOSE_ASKED = "close asked"
    LOST = "connection lost"

    __hash__ = object.__hash__


class Action(Enum):
    """What a session does about it."""

    REFRESH = "wait for the next"
    ANSWER = "answer ack"
    DELIVER = "deliver"
    REPORT = "drop and report"
    CLOSE = "close the connection"
    END = "record the end"
    NOTHING = "ignore"

    __hash__ = object.__hash__


TABLE: dict[tuple[State, Event], tuple[State, Action]] = {
    (State.OPEN, Event.KEEPALIVE): (State.OPEN, Action.REFRESH),
    (State.OPEN, Event.CONTROL): (State.OPEN, Action.ANSWER),
    (State.OPEN, Event.MESSAGE): (State.OPEN, Action.DELIVER),
    (State.OPEN, Event.TRESPASS): (State.OPEN, Action.REPORT),
    (State.OPEN, Event.IMPOSTURE): (State.OPEN, Action.REPORT),
    (State.OPEN, Event.UNREADABLE): (State.CLOSING, Action.CLOSE),
    (State.OPEN, Event.SILENCE): (State.CLOSING, Action.CLOSE),
    (State.OPEN, Event.CLOSE_ASKED): (State.CLOSING, Action.CLOSE),
    (State.OPEN, Event.LOST): (State.CLOSED, Action.END),
    (State.CLOSING, Event.LOST): (State.CLOSED, Action.END),
    **{
        (state, event): (state, Action.NOTHING)
        for state in (State.CLOSING, State.CLOSED)
        for event in Event
        if (state, event) != (State.CLOSING, Event.LOST)
    },
}
"""(state, event) -> (next state, action). Every pair has its line."""


@dataclass(frozen=True, slots=True)
class Refresh:
    """The node is alive: the watchdog starts again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Send the response to `to` with content `"ack"`."""

    to: Message


@dataclass(frozen=True, slots=True)
class Deliver:
    """Pass `message` upward."""

    message: Message


@dataclass(frozen=True, slots=True)
class Report:
    """`message` was dropped, because of `why`."""

    message: Message
    why: str


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection because of `cause`; `why` is for the log."""

    cause: Cause
    why: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The connection is gone; the session ended because of `cause`."""

    cause: Cause


Output = Refresh | Answer | Deliver | Report | Close | Ended

_REFRESH = Refresh()


class Session:
    """One node's session. Times are seconds of any steady clock; `heard` is when the last keepalive came.

    `rate` and `burst` bound what the node may send (`owed`); a session starts with a full burst.
    """

    __slots__ = ("_allowance", "_at", "_burst", "_rate", "cause", "fingerprint", "heard", "node", "state", "stated")

    def __init__(self, node: str, fingerprint: bytes, at: float, *, rate: float = RATE, burst: float = BURST) -> None:
        self.node = node
        self.fingerprint = fingerprint
        self.state = State.OPEN
        self.cause = Cause.CLOSED
        self.heard = at
        self.stated = 0  # the time (ms since 1970) in its first keepalive, until somebody has taken note of it
        self._rate = rate
        self._burst = burst
        self._allowance = burst
        self._at = at

    def receive(self, octets: bytes | bytearray, at: float) -> Output | None:
        """A message came in, at time `at`."""
        if self.state is not State.OPEN:
            return None
        try:
            message = messages.decode(octets)
        except InputError as error:
            return self._step(Event.UNREADABLE, at, cause=Cause.PROTOCOL, why=str(error))
        return self._step(classify(self.node, message), at, message=message)

    def silence(self, at: float) -> Output | None:
        """No keepalive came in time."""
        return self._step(Event.SILENCE, at, cause=Cause.SILENT)

    def close(self, cause: Cause, at: float, why: str = "") -> Output | None:
        """Somebody wants it closed."""
        return self._step(Event.CLOSE_ASKED, at, cause=cause, why=why)

    def lost(self, at: float, cause: Cause = Cause.CLOSED) -> Output | None:
        """The connection is gone; `cause` is why, unless its end was decided before."""
        if self.state is State.OPEN:
            self.cause = cause
        return self._step(Event.LOST, at)

    def owed(self, at: float, frames: int = 1) -> float:
        """Charge `frames` to the node's allowance (none: only look). Seconds to wait before reading on, 0 while it keeps to its rate."""
        allowance = self._allowance + (at - self._at) * self._rate
        self._allowance = allowance = (allowance if allowance < self._burst else self._burst) - frames
        self._at = at
        return 0.0 if allowance >= 0.0 else -allowance / self._rate

    def _step(
        self, event: Event, at: float, *, message: Message | None = None, cause: Cause | None = None, why: str = ""
    ) -> Output | None:
        self.state, action = TABLE[self.state, event]
        match action:
            case Action.REFRESH:
                self.heard = at
                if not self.stated and message is not None:
                    self.stated = message.header.timestamp or -1
                return _REFRESH
            case Action.DELIVER if message is not None:
                return Deliver(message)
            case Action.ANSWER if message is not None:
                return Answer(message)
            case Action.REPORT if message is not None:
                return Report(message, event.value)
            case Action.CLOSE if cause is not None:
                self.cause = cause
                return Close(cause, why)
            case Action.END:
                return Ended(self.cause)
        return None


def classify(node: str, message: Message) -> Event:
    """Which event a message of `node` is. The order is that of KubeEdge's own dispatch."""
    route = message.route
    operation = route.operation
    if operation == "keepalive":
        return Event.KEEPALIVE
    if operation in _CONTROL:
        return Event.CONTROL
    first, _, rest = route.resource.partition("/")
    if first == "node":
        second, slash, _ = rest.partition("/")
        if slash and second != node:
            return Event.TRESPASS
    # an answer copies the source of what it answers, so in an answer a cloud module's name is right
    if route.source in CLOUD_MODULES and operation not in _ANSWERS:
        return Event.IMPOSTURE
    return Event.MESSAGE


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.OPEN.value}: admitted"]
    lines += [
        f"    {state.value} --> {following.value}: {event.value} / {action.value}"
        for (state, event), (following, action) in TABLE.items()
        if action is not Action.NOTHING
    ]
    return "\n".join([*lines, f"    {State.CLOSED.value} --> [*]"])
