"""The life of an agent: stay connected, stay fresh, stop when asked.

Two tasks run side by side. One holds a connection to a hub and dials again, with growing waits, when it ends. The other renews the
certificate between 70 and 90 % of its life; then the first opens a connection with the new pair while the old one still stands, and the
hub lets the newest win, so a renewal interrupts nothing.
"""

import asyncio
import importlib
import logging
from datetime import datetime
from functools import partial
from typing import Any

from cryptography import x509

from edgeward.agent import enrol
from edgeward.agent.certificates import Certificates, Settings
from edgeward.agent.connection import HubConnection, World
from edgeward.agent.enrol import Pair
from edgeward.agent.rhythm import Backoff, Renewal
from edgeward.agent.systemd import Systemd
from edgeward.errors import CertificateRefused, EdgewardError, Unreachable, UsageError
from edgeward.pki import parse

_log = logging.getLogger(__name__)

TRANSPORTS = {"websocket": "edgeward.agent.over_websocket"}
"""How a hub can be reached, by the names that `agent.toml` uses: modules with `connect`, loaded when they are used."""

HANDOVER = 5.0
"""Seconds that the hub has to close an older connection of ours before we do."""

_LONGEST_SLEEP = 60.0
"""Seconds between two looks at the clock: a device's clock jumps when it wakes or first hears of the time."""


class Agent:
    """The agent on the directory `files`, which its caller has locked."""

    def __init__(
        self, files: Certificates, settings: Settings, *, world: World, systemd: Systemd | None = None
    ) -> None:
        self._files = files
        self._settings = settings
        self._world = world
        self._systemd = systemd or Systemd({})
        if settings.transport not in TRANSPORTS:
            raise UsageError(problem=f"there is no transport {settings.transport!r}, only {', '.join(TRANSPORTS)}")
        self._transport: Any = importlib.import_module(TRANSPORTS[settings.transport])
        self._ca = files.ca()
        self._pair = files.pair()
        self._renewal = Renewal(dice=world.dice)
        self._renewed = asyncio.Event()
        self._live: HubConnection | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. What goes wrong outside is logged and tried again; nothing of it is raised."""
        self._take(self._pair)
        tasks = [asyncio.create_task(work) for work in (self._stay_connected(), self._stay_fresh(), self._watchdog())]
        self._systemd.tell("READY=1", "STATUS=connecting")
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()  # a task ends only by a bug, which is raised here
        finally:
            self._systemd.tell("STOPPING=1")
            for task in (stopping, *tasks):
                task.cancel()
            await asyncio.gather(stopping, *tasks, return_exceptions=True)
            if self._live is not None:
                await self._live.finish("the agent is stopping", patience=0)
            _log.info("stopped")

    def _take(self, pair: Pair) -> None:
        self._pair = pair
        self._renewal.begin(pair.certificate.not_valid_before_utc, pair.certificate.not_valid_after_utc)
        _log.info(
            "the certificate %x of node %s is valid until %s and will be renewed at %s",
            pair.certificate.serial_number,
            self._settings.node,
            _moment(pair.certificate.not_valid_after_utc),
            _moment(self._renewal.at),
        )

    # --------------------------------------------------------------------------------------------------------- stay connected

    async def _stay_connected(self) -> None:
        backoff = Backoff(dice=self._world.dice)
        attempt = 0
        while True:
            endpoint = self._settings.hub[attempt % len(self._settings.hub)]
            self._renewed.clear()
            connection = HubConnection(f"wss://{endpoint}", self._world)
            try:
                await self._transport.connect(
                    endpoint,
                    self._settings,
                    connection,
                    context=enrol.client_context(self._pair),
                    verify=partial(enrol.verify_server, ca=self._anchor, host=endpoint.host, now=self._world.now()),
                )
            except EdgewardError as error:
                why: str | None = str(error)
            else:
                why = await self._hold(connection)
                if why is None:
                    continue
                if connection.settled:
                    backoff.reset()
            attempt += 1
            wait = backoff.wait()
            _log.warning("not connected: %s; the next attempt is in %.1f s", why, wait)
            self._systemd.tell(f"STATUS=not connected: {why}")
            await asyncio.sleep(wait)

    @property
    def _anchor(self) -> x509.Certificate:
        return parse.certificate(self._ca)

    async def _hold(self, connection: HubConnection) -> str | None:
        """Live on a new connection until it ends: why it did; or None when a renewed certificate asks for another one."""
        before, self._live = self._live, connection
        _log.info("connected to %s as node %s", connection.where, self._settings.node)
        self._systemd.tell(f"STATUS=connected to {connection.where}")
        if before is not None:
            await before.finish("a newer connection took over", patience=HANDOVER)
        renewed = asyncio.create_task(self._renewed.wait())
        try:
            either: set[asyncio.Future[Any]] = {connection.ended, renewed}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            renewed.cancel()
        if not connection.ended.done():
            return None
        self._live = None
        return connection.ended.result()

    # ------------------------------------------------------------------------------------------------------------- stay fresh

    async def _stay_fresh(self) -> None:
        while True:
            left = self._renewal.seconds_left(self._world.now())
            if left > 0:
                await asyncio.sleep(min(left, _LONGEST_SLEEP))
                continue
            try:
                self._take(await self._renew())
            except EdgewardError as error:
                self._renewal.failed(self._world.now())
                self._complain(error)
            else:
                self._renewed.set()

    async def _renew(self) -> Pair:
        """A new key, a new certificate for it, both on disk as the current pair. Raises the last server's error if none gives one."""
        key = enrol.new_key()
        failure: EdgewardError = Unreachable(address="the authority", why="no address is configured")
        for endpoint in self._settings.https:
            try:
                enrolled = await enrol.renew(
                    endpoint,
                    ca=self._ca,
                    node=self._settings.node,
                    key=key,
                    pair=self._pair,
                    now=self._world.now(),
                )
            except EdgewardError as error:
                failure = error
            else:
                self._files.swap(enrolled.certificate, key)
                return self._files.pair()
        raise failure

    def _complain(self, error: EdgewardError) -> None:
        now, end = self._world.now(), self._renewal.not_after
        hint = ""
        if now >= end:
            hint = f"; it has expired: {CertificateRefused(why='expired').hint}, then edgeward join"
        _log.warning(
            "the certificate, valid until %s, was not renewed: %s; the next attempt is at %s%s",
            _moment(end),
            error,
            _moment(self._renewal.at),
            hint,
        )

    # --------------------------------------------------------------------------------------------------------------- be watched

    async def _watchdog(self) -> None:
        """Tell systemd that the event loop turns."""
        while True:
            await asyncio.sleep(self._systemd.watchdog or 3600.0)
            if self._systemd.watchdog is not None:
                self._systemd.tell("WATCHDOG=1")


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
