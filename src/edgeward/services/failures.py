"""The record of those who fail: handshakes, enrolments and connections, counted together and written on the side.

1. Nothing happens here while nothing fails, and a failure costs its peer more than it costs us.
2. At most one write a second, of at most `MAX_PENDING` records; what is beyond that is counted and not told apart.
3. The store keeps a bounded number of records for each network and in all, the newest, for a month.
4. No secret comes in: a failure is made of names, addresses and reasons.
"""

import asyncio
import hashlib
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from edgeward.errors import EdgewardError, InputError, PolicyRefused, Unreadable, printable
from edgeward.model.address import host_of, network_of
from edgeward.model.failure import Failure, HandshakeFailure, Learnt, Listener, Shown
from edgeward.model.http import Request
from edgeward.pki import names, parse
from edgeward.services.doctor.story import covers
from edgeward.services.doctor.survey import AGENT
from edgeward.stores.port import Store

_log = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds between two writes."""

MAX_PENDING = 256
"""Records that wait for the next write."""

KEPT = timedelta(days=30)
"""For how long a record is kept after it happened last."""

ACQUAINTANCES = 4096
"""Addresses of which is remembered what they called us."""

LOOK = timedelta(seconds=10)
"""What an address fails at within it, after a request of our own doctor's, is part of the doctor's look, if a look fails like that."""

LONGEST_HOST = 255
"""Characters of what they called us: a name of the DNS has no more, and a header could have 16 KiB."""

_LOOKS = frozenset({"unused", "protocol", "closed"})
"""How the doctor's handshakes fail at a server that is well: it ends some of them when it has seen enough."""

_LOOKS_ALERTS = frozenset({"certificate required", "protocol version", "handshake failure"})
"""… or is refused: without its certificate, with old versions, with old suites."""

_LOOKS_REFUSALS = (InputError, PolicyRefused)
"""What it asks for in order to be refused: a request that could succeed might change something."""

_CA_PATH = "/ca.crt"
_NODE_PATH = re.compile(r"/node/([a-z0-9.-]{1,52})")


class Failures:
    """Takes failures from the listeners and gives them back to who asks why. `now` gives aware UTC, `names` those of the server's
    certificate."""

    def __init__(
        self, store: Store, *, now: Callable[[], datetime], names: Callable[[], Sequence[str]] = tuple
    ) -> None:
        self._store = store
        self._now = now
        self._names = names
        self._pending: dict[object, Failure] = {}
        self._writing: asyncio.Task[None] | None = None
        self._at_once = asyncio.Event()
        self._called: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._looked: OrderedDict[str, datetime] = OrderedDict()

    # ------------------------------------------------------------------------------------------------- what happens

    def introduced(self, request: Request) -> None:
        """A request for `/ca.crt` or `/node/NAME`, which an edge sends before it verifies anything: it says what the edge dials, and
        which node it means to become. A client that dials an address says so nowhere else. Our own doctor asks like that, too, under
        whichever name it was told: that is not what others at its address dial."""
        if self._look(request):
            return
        host, node = self._called.pop(request.address, ("", ""))
        if request.path == _CA_PATH:
            host = host_of(request.header("host"))[:LONGEST_HOST]
        elif (match := _NODE_PATH.fullmatch(request.path)) is not None:
            node = match[1]
        self._called[request.address] = (host, node)
        if len(self._called) > ACQUAINTANCES:
            self._called.popitem(last=False)

    def handshake(self, listener: Listener, failed: HandshakeFailure) -> None:
        """A TLS handshake failed, or succeeded and led to nothing."""
        host, node = self._called.get(failed.address, ("", ""))
        if (
            failed.code == "unused"
            and failed.certificate is None
            and covers(self._names(), failed.server_name or host or failed.local)
        ):
            return  # a load balancer or a monitor, that looks whether TLS comes about
        now = self._now()
        if self._looks(failed.address, now) and (failed.code in _LOOKS or failed.alert in _LOOKS_ALERTS):
            return
        self._note(
            Failure(
                first_at=now,
                last_at=now,
                listener=listener,
                address=failed.address,
                code=f"handshake.{failed.code}",
                reason=failed.reason,
                alert=failed.alert or "",
                received=failed.received,
                dialled=(failed.server_name or host or failed.local).lower(),
                learnt=Learnt.SNI if failed.server_name else Learnt.HOST if host else Learnt.LOCAL,
                node=_node_of(failed.certificate) or node,
                shown=_shown(failed.certificate),
            )
        )

    def refused(self, listener: Listener, request: Request, error: EdgewardError) -> None:
        """A request was refused; its answer has said so."""
        if self._look(request) and isinstance(error, _LOOKS_REFUSALS):
            return
        claimed = request.header("nodename") or request.header("node_id")
        host = host_of(request.header("host"))
        now = self._now()
        self._note(
            Failure(
                first_at=now,
                last_at=now,
                listener=listener,
                address=request.address,
                code=error.code,
                reason=str(error),
                dialled=host,
                learnt=Learnt.HOST if host else None,
                node=claimed or _node_of(request.peer_certificate),
                shown=_shown(request.peer_certificate),
            )
        )

    def turned_away(self, listener: Listener, address: str, status: int, sentence: str) -> None:
        """A request was refused by HTTP itself: too large, too slow, or not HTTP."""
        now = self._now()
        if self._looks(address, now):
            return
        self._note(
            Failure(
                first_at=now, last_at=now, listener=listener, address=address, code=f"http.{status}", reason=sentence
            )
        )

    def _look(self, request: Request) -> bool:
        """Whether `request` is of our own doctor's, whose look at this server is then no failure. Whoever says so falsely hides its own
        clumsiness from a report, and nothing from the log."""
        if request.header("user-agent") != AGENT:
            return False
        self._looked.pop(request.address, None)
        self._looked[request.address] = self._now()
        if len(self._looked) > ACQUAINTANCES:
            self._looked.popitem(last=False)
        return True

    def _looks(self, address: str, now: datetime) -> bool:
        return address in self._looked and abs(now - self._looked[address]) < LOOK  # a clock may be set back

    def _note(self, failure: Failure) -> None:
        known = self._pending.get(failure.key)
        if known is None and len(self._pending) >= MAX_PENDING:
            failure = Failure(
                first_at=failure.first_at,
                last_at=failure.last_at,
                listener=failure.listener,
                address="",
                code="flood",
                reason="more kinds of failures at a time than are told apart",
            )
            known = self._pending.get(failure.key)
        self._pending[failure.key] = failure if known is None else known.again(failure)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    # ------------------------------------------------------------------------------------------------- what is kept

    async def _write(self) -> None:
        """Gather for a moment and write, until nothing waits."""
        while self._pending:
            try:
                async with asyncio.timeout(PAUSE):
                    await self._at_once.wait()
            except TimeoutError:
                pass
            pending, self._pending = self._pending, {}
            rows = [(failure, network_of(failure.address)) for failure in pending.values()]
            try:
                await self._store.add_failures(rows, self._now() - KEPT)
            except EdgewardError as error:
                _log.warning("%d failures not recorded: %s", len(rows), printable(error))
        self._writing = None

    async def settle(self) -> None:
        """Write what waits, now; returns when it is written."""
        self._at_once.set()
        try:
            while self._writing is not None:
                await asyncio.shield(self._writing)
        finally:
            self._at_once.clear()

    async def recent(
        self, *, node: str = "", address: str = "", since: datetime | None = None, limit: int = 200
    ) -> Sequence[Failure]:
        """The records, the newest first, at most `limit`: all of them, or those of an address, or those of a node, which are the ones
        that bear its name and the nameless ones from addresses from which it enrolled or connected."""
        await self.settle()
        return await self._store.failures(node=node, address=address, since=since, limit=limit)


def _shown(der: bytes | None) -> Shown | None:
    """What a certificate says of itself, as far as it can be read."""
    if der is None:
        return None
    fingerprint = hashlib.sha256(der).hexdigest()
    try:
        certificate = parse.certificate(der)
    except Unreadable:
        return Shown(subject="(not readable)", issuer="(not readable)", fingerprint=fingerprint)
    return Shown(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        fingerprint=fingerprint,
        not_after=certificate.not_valid_after_utc,
    )


def _node_of(der: bytes | None) -> str:
    try:
        return "" if der is None else names.node_of(parse.certificate(der).subject) or ""
    except Unreadable:
        return ""
