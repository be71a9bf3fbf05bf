"""Trust bundles for the devices that ask for them: sent when theirs is older, sent again when it changes, and their word that they have it.

Only Edgeward's own agents ask; a KubeEdge edge knows nothing of it and is never sent one. A confirmation is written to the audit trail.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta

from edgeward.errors import EdgewardError, InputError
from edgeward.model import bundle
from edgeward.model import message as messages
from edgeward.model.audit import Event
from edgeward.model.bundle import TrustBundle
from edgeward.model.message import Message

_log = logging.getLogger(__name__)

AT_ONCE = 500
"""Devices that are sent a new bundle at a time, so that a whole fleet's do not fill the queue and the memory together."""

AGAIN = timedelta(minutes=1)
BURST = 5
"""A bundle is a message with a receipt, and receipts are bounded: one device is sent one each `AGAIN`, after the first `BURST`."""

Send = Callable[[str, Message], Awaitable[Message | None]]
"""Send a message to a node and wait for its answer; None when none came."""


class TrustDesk:
    """`current` gives the present bundle, `note` writes an audit record in the background. `here`: whether a node is connected; one that
    is not asks when it comes back, and nobody waits for it."""

    def __init__(
        self,
        current: Callable[[], TrustBundle | None],
        send: Send,
        note: Callable[[Event], None],
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        here: Callable[[str], bool] = lambda _node: True,
    ) -> None:
        self._current, self._send, self._note, self._now, self._new_id = current, send, note, now, new_id
        self._here = here
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.held: dict[str, int] = {}
        """The number of the bundle of each device that asked since this server started."""
        self._confirmed: dict[str, int] = {}
        self._sending = asyncio.Semaphore(AT_ONCE)
        self._due: dict[str, datetime] = {}

    def asked(self, node: str, message: Message) -> None:
        """A device says which bundle it has."""
        try:
            self.held[node] = bundle.held(message.content)
        except InputError as error:
            _log.warning("node %s: %s", node, error)
            return
        self.push(node)

    def forget(self, node: str) -> None:
        """A device was revoked: nobody waits for it any more."""
        self.held.pop(node, None)
        self._confirmed.pop(node, None)
        self._due.pop(node, None)

    def changed(self) -> None:
        """There is a new bundle: whoever has asked before gets it."""
        for node in list(self.held):
            self.push(node)

    def behind(self, online: Iterable[str]) -> list[str]:
        """The devices that have not confirmed the present bundle: of those that are `online`, KubeEdge's edges too, which never will, and
        of those that have asked since this server started."""
        current = self._current()
        known = {**dict.fromkeys(online, 0), **self.held}
        return [] if current is None else sorted(node for node, held in known.items() if held < current.sequence)

    def push(self, node: str) -> None:
        """Send the present bundle to `node` if its own is older; one at a time."""
        current = self._current()
        if current is None or self.held.get(node, 0) >= current.sequence or node in self._tasks:
            return
        now = self._now()
        due = max(self._due.get(node, now), now)
        if due - now > (BURST + 1) * AGAIN:  # the clock was set back: nobody can owe so much
            due = now
        if due - now >= BURST * AGAIN:
            return
        self._due[node] = due + AGAIN
        task = asyncio.get_running_loop().create_task(self._in_turn(node))
        self._tasks[node] = task
        task.add_done_callback(lambda _done: self._tasks.pop(node, None))

    async def _in_turn(self, node: str) -> None:
        """The present bundle, and the next one if it came meanwhile."""
        sent = 0
        async with self._sending:
            while (current := self._current()) is not None and current.sequence > max(sent, self.held.get(node, 0)):
                if not self._here(node):
                    return
                sent = current.sequence
                await self._deliver(node, current)

    async def _deliver(self, node: str, current: TrustBundle) -> None:
        update = messages.make(
            bundle.encode(current),
            msg_id=self._new_id(),
            now=self._now(),
            operation="update",
            resource=bundle.RESOURCE,
            source="edgeward",
            group=bundle.GROUP,
        )
        try:
            answer = await self._send(node, update)
            if (
                answer is None
                or answer.operation != messages.RESPONSE
                or bundle.held(answer.content) != current.sequence
            ):
                _log.warning("node %s has not taken the trust bundle %d", node, current.sequence)
                return
        except EdgewardError as error:
            _log.info("the trust bundle %d did not reach node %s: %s", current.sequence, node, error)
            return
        self.held[node] = current.sequence
        if self._confirmed.get(node) == current.sequence:  # it asked as if it had nothing, and confirms once more
            return
        self._confirmed[node] = current.sequence
        facts: dict[str, str | int | list[str] | None] = {"sequence": current.sequence}
        self._note(
            Event(at=self._now(), actor=f"node:{node}", action="trust.confirmed", object=f"node:{node}", facts=facts)
        )
