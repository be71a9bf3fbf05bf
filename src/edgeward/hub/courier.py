"""Carries messages to nodes: into the durable queue, out of it to whoever is connected, and their ends back into it.

What it promises: a message is durable before its sender is answered, and its end is durable before anybody is told of it. After a crash,
whatever was acknowledged has been delivered, and whatever was not is still queued, in order.

Writes are gathered: while one transaction is on its way to the disk the next one fills. When and what is sent is decided by
`hub.outbox`, one for each connected node. `Elsewhere` is for hubs that share one queue: it is told what others must know.
"""

import asyncio
import contextlib
import heapq
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import msgspec

from edgeward.errors import Busy, EdgewardError, TooLarge, printable
from edgeward.hub.outbox import RETRY, SENDS, WINDOW, WINDOW_OCTETS, End, Load, Order, Outbox, Send, Tried
from edgeward.model import message as messages
from edgeward.model.delivery import DELETE, Bounds, Outbound, Outcome, Receipt, State
from edgeward.model.message import Message
from edgeward.stores.queue import Put, Queue

_log = logging.getLogger(__name__)

GATHER = 0.005
"""Seconds between two transactions under load: messages of this span share one. A message that comes alone is written at once."""

BATCH = 512
BATCH_OCTETS = 16 * 1024 * 1024
"""What one transaction takes at most, so that nobody waits behind a mountain."""

LOADERS = 8
"""Queues that are read at one time, where the store is across a network."""

READ = 2 * WINDOW
"""Messages that are read of a queue at a time: some of them may be set aside."""

BUSY = 512 * 1024
"""Octets that a connection has not taken yet, beyond which nothing more is added."""

ANSWER = 16 * 1024
"""Octets of an answer that are kept with the receipt."""

PAUSE = 1.0
"""Seconds before the store is tried again when it was away."""

TIDY = 10.0
"""Seconds between two looks for messages whose time is up and receipts that nobody will ask for any more."""


_BOUNDS = Bounds(messages=1000, octets=64 * 1024 * 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator may set: `[delivery]`."""

    bounds: Bounds = _BOUNDS
    """Of one node's queue."""
    lifetime: timedelta = timedelta(days=1)
    """For how long a message is tried, unless its sender says less."""
    retry: float = RETRY
    sends: int = SENDS
    receipts_for: timedelta = timedelta(days=1)
    """For how long it is known what became of a message, and its id recognised."""
    receipts: int = 200_000
    """How many receipts are kept at most."""
    largest: int = 32 * 1024 * 1024
    """Octets of one message; an edge takes no more."""


class Settlement(NamedTuple):
    """How a message ended; `answer` is what the node said, for as long as it is in memory."""

    node: str
    msg_id: str
    state: State
    answer: Message | None = None


class Elsewhere(Protocol):
    """The other hubs on the same queue. Nothing here may block; what is lost is found later, when the queue is read again."""

    def queued(self, node: str) -> None:
        """There is a message for a node that is not connected here: whoever has it should call `Courier.arrived`."""
        ...

    def settled(self, settlement: Settlement) -> None:
        """A message ended here: others should call `Courier.heard_of` for those who wait there."""
        ...

    def withdrawn(self, node: str, msg_id: str, superseded: bool) -> None:
        """A message was taken out of the queue here: whoever has the node should call `Courier.withdraw`."""
        ...


class Link(Protocol):
    """A connection, as messages need it."""

    def send(self, octets: bytes) -> None: ...
    def unsent(self) -> int:
        """Octets that the peer has not taken yet."""
        ...


class _Line:
    """A connected node: its outbox, its connection, and the moment for which the clock is set."""

    __slots__ = ("armed", "link", "outbox")

    def __init__(self, outbox: Outbox, link: Link) -> None:
        self.outbox = outbox
        self.link = link
        self.armed = float("inf")

    @property
    def busy(self) -> bool:
        return self.link.unsent() > BUSY


class _Waiter(NamedTuple):
    node: str
    future: "asyncio.Future[Settlement]"


class Courier:
    """Messages to nodes. All methods are for the event loop; those that are not asynchronous take microseconds."""

    def __init__(
        self,
        queue: Queue,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        settings: Settings | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.elsewhere = elsewhere
        self.observe: Callable[[Settlement], None] = lambda _settlement: None
        """Told of every end."""
        self._queue = queue
        self._now = now
        self._clock = clock
        self._links: dict[str, Link] = {}
        self._lines: dict[str, _Line] = {}  # of those nodes that were ever sent anything
        self._puts: deque[tuple[Outbound, asyncio.Future[Put]]] = deque()
        self._ends: list[End] = []
        self._tried: dict[str, Tried] = {}  # by message: what the store does not know yet
        self._writing: asyncio.Task[None] | None = None
        self._written = 0.0
        self._asked: dict[str, None] = {}
        self._asking: asyncio.Task[None] | None = None
        self._loads: deque[_Line] = deque()
        self._loaders: set[asyncio.Task[None]] = set()
        self._waiting: dict[str, list[_Waiter]] = {}
        self._dues: list[tuple[float, int, _Line]] = []
        self._numbers = itertools.count()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = float("inf")
        self._tidied = clock()
        self._stopped = False
        self._waits_for: set[str] | None = None
        """The nodes for which something may wait; the queue of any other need not be read. None: not known."""

    async def start(self) -> None:
        """Before the first node connects: learn for whom something waits. Where others write to the queue as well, it is
        asked about the nodes that connect."""
        self._waits_for = {depth.node for depth in await self._queue.depths()}

    # ------------------------------------------------------------------------------------------------------- senders

    async def post(self, outbound: Outbound) -> Put:
        """Put a message into its node's queue, durably, and send it when its turn comes. Raises what refuses it."""
        if self._stopped:
            raise Busy(what="the hub is shutting down")
        if len(outbound.wire) > self.settings.largest:
            raise TooLarge(what="the message", limit=self.settings.largest)
        self._something_for(outbound.node)
        future: asyncio.Future[Put] = asyncio.get_running_loop().create_future()
        self._puts.append((outbound, future))
        self._wake()
        return await future

    @contextlib.contextmanager
    def expecting(self, node: str, msg_id: str) -> "Iterator[asyncio.Future[Settlement]]":
        """The end of a message, from now on for as long as the block lasts. Enter before the message is posted."""
        waiter = _Waiter(node, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(msg_id, []).append(waiter)
        try:
            yield waiter.future
        finally:
            left = self._waiting.get(msg_id, [])
            if waiter in left:
                left.remove(waiter)
            if not left:
                self._waiting.pop(msg_id, None)

    async def send(self, outbound: Outbound, wait: float | None = None) -> Settlement:
        """Post a message and wait for its end for so many seconds, or not at all; its state then. Raises what refuses it."""
        if wait is None:
            return Settlement(outbound.node, outbound.msg_id, (await self.post(outbound)).state)
        with self.expecting(outbound.node, outbound.msg_id) as ending:
            put = await self.post(outbound)
            if not put.state.final:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        return await ending
        found = await self.receipt(outbound.msg_id)
        return Settlement(outbound.node, outbound.msg_id, put.state if found is None else found.state)

    async def receipt(self, msg_id: str) -> Receipt | None:
        """What is known of a message, with what this hub knows of one that is under way."""
        found = await self._queue.receipt(msg_id)
        return None if found is None else self._as_seen_here(found)

    async def receipts(self, node: str | None, *, live: bool, before: int, limit: int) -> list[Receipt]:
        """Receipts, newest first, with what this hub knows of those under way."""
        found = await self._queue.receipts(node, live=live, before=before, limit=limit)
        return [self._as_seen_here(one) for one in found]

    async def cancel(self, msg_id: str) -> bool:
        """Take a message back; False when it has ended or never was. One that is under way may arrive all the same."""
        found = await self._queue.receipt(msg_id)
        if found is None or not await self._queue.cancel(msg_id, self._now()):
            return False
        self._out_of_queue(found.node, msg_id, State.CANCELLED)
        return True

    # --------------------------------------------------------------------------------------------------------- nodes

    def opened(self, node: str, link: Link) -> None:
        """A node has connected; an older connection of it has ended."""
        self.closed(node)
        self._links[node] = link
        if self._waits_for is None or node in self._waits_for:
            self._begin(node)
        elif self.elsewhere is not None:
            self._asked[node] = None
            if self._asking is None:
                self._asking = asyncio.get_running_loop().create_task(self._ask())

    def _begin(self, node: str) -> None:
        line = self._line(node)
        if line is not None:
            self._carry_out(line, line.outbox.start())

    async def _ask(self) -> None:
        """Begin with the nodes, of those that have just connected, for which something was put into the queue elsewhere: a read for all of
        them. What is put there from now on is told (`arrived`)."""
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                try:
                    found: Iterable[str] = await self._queue.waiting(list(asked))
                except EdgewardError as error:
                    _log.warning("whether something waits for %d nodes was not read: %s", len(asked), printable(error))
                    found = asked  # each is asked about again when its queue is read
                for node in found:
                    if node in self._links and node not in self._lines:
                        self._begin(node)
        finally:
            self._asking = None

    def _line(self, node: str) -> "_Line | None":
        """What a node that is connected is sent, for somebody who has something for it."""
        line, link = self._lines.get(node), self._links.get(node)
        if line is None and link is not None:
            outbox = Outbox(node, retry=self.settings.retry, sends=self.settings.sends)
            line = self._lines[node] = _Line(outbox, link)
        return line

    def closed(self, node: str) -> None:
        """The connection of a node has ended."""
        self._links.pop(node, None)
        line = self._lines.pop(node, None)
        if line is not None:
            self._carry_out(line, line.outbox.lost())

    def answered(self, node: str, message: Message) -> None:
        """A node sent what may be the answer to a message under way."""
        line = self._lines.get(node)
        if line is None:
            return
        operation = message.route.operation
        if operation == messages.RESPONSE:
            state = State.ACKNOWLEDGED
        elif operation == messages.ERROR:
            state = State.FAILED
        else:
            return
        self._carry_out(line, line.outbox.answered(message.header.parent_msg_id, state, message, self._clock()))

    def refused(self, node: str) -> None:
        """A node was revoked, and with it what waited for it."""
        for msg_id, waiters in list(self._waiting.items()):
            if any(waiter.node == node for waiter in waiters):
                self._tell(Settlement(node, msg_id, State.REFUSED))

    # --------------------------------------------------------------------------------------------- what others tell

    def arrived(self, node: str) -> None:
        """Another hub has put something into the queue of a node that may be here."""
        line = self._line(node)
        if line is not None:
            self._carry_out(line, line.outbox.more(self._clock(), busy=line.busy))

    def heard_of(self, settlement: Settlement) -> None:
        """A message ended at another hub."""
        self._tell(settlement, here=False)

    def withdraw(self, node: str, msg_id: str, *, superseded: bool = False) -> None:
        """A message was taken out of the queue elsewhere."""
        line = self._lines.get(node)
        if line is not None:
            orders = line.outbox.withdraw(msg_id, self._clock(), superseded=superseded, busy=line.busy)
            self._carry_out(line, orders)

    # --------------------------------------------------------------------------------------------------------- time

    def tick(self) -> None:
        """Do what is due."""
        at = self._clock()
        while self._dues and self._dues[0][0] <= at:
            line = heapq.heappop(self._dues)[2]
            line.armed = float("inf")
            if self._lines.get(line.outbox.node) is line:
                orders = line.outbox.tick(at, busy=line.busy) if line.outbox.due <= at else []
                self._carry_out(line, orders)
        self._set_alarm()

    async def tidy(self, *, at_once: bool = False) -> None:
        """Let messages expire and drop old receipts, when it is time for it. A store that is away is tried again next time."""
        at = self._clock()
        if at - self._tidied < TIDY and not at_once:
            return
        self._tidied = at
        now = self._now()
        try:
            while ended := await self._queue.expire(now):
                for node, _, msg_id in ended:
                    self._out_of_queue(node, msg_id, State.EXPIRED)
            await self._queue.forget(now - self.settings.receipts_for, self.settings.receipts)
        except EdgewardError as error:
            _log.warning("the queue was not tidied: %s", printable(error))

    async def drain(self) -> None:
        """Wait until everything that was asked for so far is written."""
        while busy := {*self._loaders, *(one for one in (self._writing, self._asking) if one is not None)}:
            await asyncio.wait(busy)

    async def stop(self) -> None:
        """Take no more messages; returns when everything is written."""
        self._stopped = True
        await self.drain()
        if self._alarm is not None:
            self._alarm.cancel()

    # --------------------------------------------------------------------------------------------------- carrying out

    def _carry_out(self, line: _Line, orders: Sequence[Order]) -> None:
        for order in orders:
            match order:
                case Send(outbound):
                    line.link.send(outbound.wire)
                case End():
                    self._ends.append(order)
                    self._wake()
                case Tried():
                    self._tried[order.outbound.msg_id] = order
                    self._wake()
                case Load():
                    self._load(line)
        due = line.outbox.due
        if due < line.armed:
            line.armed = due
            heapq.heappush(self._dues, (due, next(self._numbers), line))
            if due < self._alarm_at:
                self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm, self._alarm_at = None, float("inf")
        if self._dues and not self._stopped:
            self._alarm_at = self._dues[0][0]
            self._alarm = asyncio.get_running_loop().call_later(max(0.01, self._alarm_at - self._clock()), self.tick)

    def _load(self, line: _Line) -> None:
        self._loads.append(line)
        if len(self._loaders) < LOADERS:
            task = asyncio.get_running_loop().create_task(self._load_all())
            self._loaders.add(task)
            task.add_done_callback(self._loaders.discard)

    async def _load_all(self) -> None:
        while self._loads:
            line = self._loads.popleft()
            node = line.outbox.node
            if self._lines.get(node) is not line:
                continue
            try:
                found = await self._queue.pending(node, READ, WINDOW_OCTETS)
            except EdgewardError as error:
                _log.warning("the queue of %s was not read: %s", node, printable(error))
                if not self._stopped:
                    asyncio.get_running_loop().call_later(PAUSE, self._load, line)
                continue
            if self._lines.get(node) is line:
                complete = len(found) < READ and sum(len(one.wire) for one in found) <= WINDOW_OCTETS
                if self._tried:
                    found = [_attempted(self._tried.get(one.msg_id, Tried(one, one.attempts))) for one in found]
                if not found and not self._puts and self._writing is None and self._waits_for is not None:
                    self._waits_for.discard(node)
                orders = line.outbox.loaded(found, complete, self._clock(), busy=line.busy)
                self._carry_out(line, orders)

    # -------------------------------------------------------------------------------------------------------- writing

    def _wake(self) -> None:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        """Transactions until nothing waits."""
        time = asyncio.get_running_loop().time
        while self._puts or self._ends or self._tried:
            early = self._written + GATHER - time()
            if early > 0:
                await asyncio.sleep(early)
            puts = self._next_puts()
            ends, self._ends = self._ends, []
            await asyncio.gather(self._write_puts(puts), self._write_ends(ends), self._write_tried(dict(self._tried)))
            self._written = time()
        self._writing = None

    def _next_puts(self) -> list[tuple[Outbound, "asyncio.Future[Put]"]]:
        chosen: list[tuple[Outbound, asyncio.Future[Put]]] = []
        room = BATCH_OCTETS
        while self._puts and len(chosen) < BATCH and (room > 0 or not chosen):
            chosen.append(self._puts.popleft())
            room -= len(chosen[-1][0].wire)
        return chosen

    async def _write_puts(self, puts: Sequence[tuple[Outbound, "asyncio.Future[Put]"]]) -> None:
        if not puts:
            return
        answers: Sequence[Put | Exception]
        try:
            answers = await self._queue.put([outbound for outbound, _ in puts], self.settings.bounds)
        except Exception as error:  # whatever it is, the senders must hear of it, and the writing must go on
            answers = [error] * len(puts)
        at = self._clock()
        for (outbound, future), answer in zip(puts, answers, strict=True):
            if isinstance(answer, Put):
                self._is_put(outbound, answer, at)
            if future.done():  # its sender went away; the message is queued all the same
                continue
            if isinstance(answer, Put):
                future.set_result(answer)
            else:
                future.set_exception(answer)

    def _is_put(self, outbound: Outbound, answer: Put, at: float) -> None:
        if not answer.fresh:
            return
        self._something_for(outbound.node)
        for _, msg_id in answer.superseded:
            self._out_of_queue(outbound.node, msg_id, State.SUPERSEDED)
        if answer.state is not State.QUEUED:
            self._tell(Settlement(outbound.node, outbound.msg_id, answer.state))
            return
        line = self._line(outbound.node)
        if line is None:
            if self.elsewhere is not None:
                self.elsewhere.queued(outbound.node)
        elif self.elsewhere is None:
            self._carry_out(line, line.outbox.offer(msgspec.structs.replace(outbound, n=answer.n), at, busy=line.busy))
        else:  # another hub may have put one ahead of it, of which we hear in a moment: the queue is read, in its order
            self._carry_out(line, line.outbox.more(at, busy=line.busy))

    def _something_for(self, node: str) -> None:
        if self._waits_for is not None:
            self._waits_for.add(node)

    async def _write_ends(self, ends: Sequence[End]) -> None:
        if not ends:
            return
        now, at = self._now(), self._clock()
        outcomes = [_outcome(end, now, at) for end in ends]
        try:
            await self._queue.settle(outcomes)
        except EdgewardError as error:
            _log.warning("%d ends of messages were not written: %s", len(outcomes), printable(error))
            if not self._stopped:  # else they stay queued, and are sent again after the next start
                asyncio.get_running_loop().call_later(PAUSE, self._write_again, ends)
            return
        at = self._clock()
        for end in ends:
            outbound = end.outbound
            line = self._lines.get(outbound.node)
            if line is not None:
                self._carry_out(line, line.outbox.written(outbound.msg_id, at, busy=line.busy))
            answer = end.answer if isinstance(end.answer, Message) else None
            self._tell(Settlement(outbound.node, outbound.msg_id, end.state, answer))

    def _write_again(self, ends: Sequence[End]) -> None:
        self._ends[:0] = ends
        self._wake()

    async def _write_tried(self, tried: dict[str, Tried]) -> None:
        if not tried:
            return
        now = self._now()
        try:
            await self._queue.tried([(_attempted(one), now) for one in tried.values()])
        except EdgewardError as error:
            _log.warning("attempts of %d messages were not noted: %s", len(tried), printable(error))
        for msg_id, one in tried.items():
            if self._tried.get(msg_id) is one:
                del self._tried[msg_id]

    # --------------------------------------------------------------------------------------------------------- telling

    def _out_of_queue(self, node: str, msg_id: str, state: State) -> None:
        """A message was settled in the store by something else than its delivery."""
        superseded = state is State.SUPERSEDED
        if node in self._links:
            self.withdraw(node, msg_id, superseded=superseded)
        elif self.elsewhere is not None:
            self.elsewhere.withdrawn(node, msg_id, superseded)
        self._tell(Settlement(node, msg_id, state))

    def _tell(self, settlement: Settlement, *, here: bool = True) -> None:
        waiters = self._waiting.pop(settlement.msg_id, None)
        for waiter in waiters or ():
            if not waiter.future.done():
                waiter.future.set_result(settlement)
        self.observe(settlement)
        if here and self.elsewhere is not None:
            self.elsewhere.settled(settlement)

    def _as_seen_here(self, receipt: Receipt) -> Receipt:
        line = self._lines.get(receipt.node)
        if line is None or receipt.state is not State.QUEUED:
            return receipt
        current = line.outbox.under_way
        if current is None or current.msg_id != receipt.msg_id:
            return receipt
        return msgspec.structs.replace(receipt, state=State.SENDING, attempts=line.outbox.attempts)


def _attempted(tried: Tried) -> Outbound:
    return msgspec.structs.replace(tried.outbound, attempts=tried.attempts)


def _outcome(end: End, now: datetime, at: float) -> Outcome:
    outbound = end.outbound
    answer = None
    if isinstance(end.answer, Message) and len(memoryview(end.answer.content)) <= ANSWER:
        answer = bytes(end.answer.content).decode("utf-8", "replace")
    return Outcome(
        n=outbound.n,
        node=outbound.node,
        msg_id=outbound.msg_id,
        state=end.state,
        at=now,
        sent_at=now - timedelta(seconds=max(0.0, at - end.first)),
        attempts=end.attempts,
        answer=answer,
        uid=outbound.uid,
        version=outbound.version,
        forget=outbound.operation == DELETE,
    )
