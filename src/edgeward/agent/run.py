"""The life of an agent: stay connected, stay fresh, stop when asked.

Two tasks run side by side. One holds a connection to a hub and dials again, with growing waits, when it ends. The other renews the
certificate between 70 and 90 % of its life; then the first opens a connection with the new pair while the old one still stands, and the
hub lets the newest win, so a renewal interrupts nothing. While a new connection cannot be had, the old one stays.

Waits are of the monotonic clock; whether a certificate's moment has come is asked of the calendar, again and again, because a device's
calendar jumps.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Raw

import edgeward
from edgeward import extras
from edgeward.agent import enrol, hook, status, trust
from edgeward.agent.certificates import Certificates, Settings
from edgeward.agent.connection import HubConnection, World
from edgeward.agent.endpoint import QUIC_PORT, Endpoint
from edgeward.agent.enrol import Pair
from edgeward.agent.rhythm import Backoff, Dice, Renewal
from edgeward.agent.route import QUIC, WEBSOCKET, Route
from edgeward.agent.status import Status
from edgeward.agent.systemd import Systemd
from edgeward.errors import (
    BadRequest,
    CertificateRefused,
    EdgewardError,
    ExtraMissing,
    ServerRefused,
    StoreUnavailable,
    Unreachable,
    printable,
)
from edgeward.model import bundle as bundles
from edgeward.model import message
from edgeward.model.bundle import Held, TrustBundle
from edgeward.model.message import Message
from edgeward.pki import parse

_log = logging.getLogger(__name__)

TRANSPORTS = {QUIC: "edgeward.agent.over_quic", WEBSOCKET: "edgeward.agent.over_websocket"}
"""How a hub can be reached: modules with `connect`, loaded when they are used."""

_SCHEMES = {QUIC: "quic", WEBSOCKET: "wss"}

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
        self._world = replace(world, on_message=self._received)
        self._passed_on = world.on_message
        self._systemd = systemd or Systemd({})
        self._transports = _transports(settings.transport)
        self._route = _route(settings, self._transports, world.dice)
        self._bundle = files.bundle()
        self._pair = files.pair()
        self._renewal = Renewal(dice=world.dice)
        self._unwritten: tuple[bytes, ec.EllipticCurvePrivateKey] | None = None
        self._another = asyncio.Event()
        """Another connection is wanted, although the present one may stand."""
        self._changed = asyncio.Event()
        self._live: HubConnection | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._advised = ""
        self._take(self._pair)
        self._status = Status(
            node=settings.node,
            state="connecting",
            since=world.now(),
            started=world.now(),
            certificate=self._certificate(),
            trust=self._bundle.sequence,
            pid=os.getpid(),
            version=edgeward.__version__,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. What goes wrong outside is logged and tried again; nothing of it is raised."""
        self._changed.set()
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(status.answering(self._files.directory, lambda: self._status))
            except OSError as error:  # a directory that cannot be written to does not end the connection
                _log.warning("edgeward agent status will not work: %s", error.strerror or error)
            work = (self._stay_connected(), self._stay_fresh(), self._announce(), self._watchdog())
            tasks = [asyncio.create_task(one) for one in work]
            self._systemd.tell("READY=1", "STATUS=connecting")
            stopping = asyncio.create_task(stop.wait())
            try:
                done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {stopping}:
                    task.result()  # a task ends only by a bug, which is raised here
            finally:
                self._systemd.tell("STOPPING=1")
                for task in (stopping, *tasks, *self._retiring):
                    task.cancel()
                await asyncio.gather(stopping, *tasks, *self._retiring, return_exceptions=True)
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

    def _certificate(self) -> status.Certificate:
        certificate = self._pair.certificate
        return status.Certificate(
            serial=f"{certificate.serial_number:x}",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            renewal_at=self._renewal.at,
        )

    def _say(self, **changed: Any) -> None:
        """Change the status; a new state begins now."""
        if changed.get("state", self._status.state) != self._status.state:
            changed["since"] = self._world.now()
        self._status = msgspec.structs.replace(self._status, **changed)

    def _trouble(self, error: object) -> None:
        hint = printable(error.hint, 500) if isinstance(error, EdgewardError) else ""
        self._say(last_error=printable(error, 500), last_error_at=self._world.now(), last_hint=hint)

    def _advice(self) -> str:
        """What may be done about the last trouble, for the log: once, until something else is to be done or a connection stood."""
        hint = self._status.last_hint
        if hint in ("", self._advised):
            return ""
        self._advised = hint
        return f"; {hint}"

    # --------------------------------------------------------------------------------------------------------- stay connected

    async def _stay_connected(self) -> None:
        backoff = Backoff(dice=self._world.dice)
        attempt = 0
        while True:
            self._another.clear()
            try:
                connection = await self._dial(attempt)
            except EdgewardError as error:
                why: object = error
            else:
                took_over = self._live is not None and not self._live.ended.done()
                self._succeed(connection)
                ended = await self._hold(connection)
                if ended is None:
                    continue
                if connection.settled:
                    backoff.reset()
                elif took_over:  # a KubeEdge cloud that ends the older one may take the newer one for it
                    _log.info("the hub has ended the newer connection with the older one (%s); dialling again", ended)
                    self._live = None
                    continue
                why = ended
            attempt += 1
            wait = backoff.wait()
            self._trouble(why)
            hint = self._advice()
            if self._live is not None and not self._live.ended.done():
                _log.warning(
                    "no newer connection: %s; the present one stays, the next attempt is in %.1f s%s", why, wait, hint
                )
            else:
                self._live = None
                self._say(state="connecting")
                _log.warning("not connected: %s; the next attempt is in %.1f s%s", why, wait, hint)
                self._systemd.tell(f"STATUS=not connected: {printable(why)}")
            await asyncio.sleep(wait)

    async def _dial(self, attempt: int) -> HubConnection:
        """A connection by the best transport that works. Raises why the last one did not."""
        clock = asyncio.get_running_loop().time
        failure: EdgewardError = Unreachable(address="the hub", why="no address is configured")
        for transport, endpoint in self._route.choices(attempt, clock()):
            try:
                return await self._try(transport, endpoint)
            except ServerRefused:  # it was reached, and will say the same on every transport
                raise
            except EdgewardError as error:
                failure = error
                if transport == QUIC and len(self._transports) > 1:  # no trouble to look at, if WebSocket works
                    self._route.failed(clock())
                    _log.info("QUIC does not get through: %s; WebSocket is tried", error)
                else:
                    self._trouble(error)
        raise failure

    async def _try(self, transport: str, endpoint: Endpoint) -> HubConnection:
        connection = HubConnection(f"{_SCHEMES[transport]}://{endpoint}", self._world, transport)
        now, anchors = self._world.now(), _certificates(self._bundle)

        def check(chain: Sequence[bytes]) -> None:
            trust.verify_server(chain, anchors, endpoint.host, now)
            connection.chain, connection.host = tuple(chain), endpoint.host

        await self._transports[transport].connect(endpoint, self._settings, connection, pair=self._pair, check=check)
        if transport == QUIC:
            self._route.succeeded()
        return connection

    def _succeed(self, connection: HubConnection) -> None:
        """A new connection stands; what came before it goes."""
        before, self._live = self._live, connection
        self._advised = ""
        _log.info("connected to %s as node %s", connection.where, self._settings.node)
        self._systemd.tell(f"STATUS=connected to {connection.where}")
        self._say(
            state="connected",
            hub=connection.where,
            transport=connection.transport,
            connections=self._status.connections + 1,
        )
        if connection.ours:
            connection.send(
                message.make(
                    bundles.encode(Held(sequence=self._bundle.sequence)),
                    msg_id=self._world.new_id(),
                    now=self._world.now(),
                    operation="query",
                    resource=bundles.RESOURCE,
                    source="edgeward",
                    group=bundles.GROUP,
                )
            )
        if before is not None:
            retiring = asyncio.create_task(before.finish("a newer connection took over", patience=HANDOVER))
            self._retiring.add(retiring)
            retiring.add_done_callback(self._retiring.discard)

    async def _hold(self, connection: HubConnection) -> str | None:
        """Why the connection ended; None when another one is wanted while it stands. Beside WebSocket, QUIC is tried from time to time."""
        clock = asyncio.get_running_loop().time
        wanted = asyncio.create_task(self._another.wait())
        try:
            while True:
                either: set[asyncio.Future[Any]] = {connection.ended, wanted}
                rest = self._route.rest(clock()) if connection.transport == WEBSOCKET else None
                done, _ = await asyncio.wait(either, timeout=rest, return_when=asyncio.FIRST_COMPLETED)
                if done:
                    return connection.ended.result() if connection.ended.done() else None
                try:
                    better = await self._try(QUIC, self._route.quics[0])
                except EdgewardError as error:
                    self._route.failed(clock())
                    _log.info("QUIC still does not get through: %s", error)
                else:
                    self._succeed(better)
                    connection = better
        finally:
            wanted.cancel()

    # ------------------------------------------------------------------------------------------------------------------ trust

    def _received(self, received: Message) -> Raw | None:
        """A message from the hub: a trust bundle is ours, everything else is passed on."""
        if received.resource != bundles.RESOURCE or received.operation != "update":
            return self._passed_on(received)
        self._adopt(bundles.bundle(received.content))
        return bundles.encode(Held(sequence=self._bundle.sequence))

    def _adopt(self, bundle: TrustBundle) -> None:
        """Trust what `bundle` says from now on. It came over a connection whose other end is proved; all the same it must be newer than
        ours, hold nothing but CAs, and keep the hub trusted that it came from, so that no mistake locks this device out.

        Raises `BadRequest` or `Unreadable` (the hub's fault) or `StoreUnavailable`; then nothing has changed.
        """
        if bundle == self._bundle:
            return
        if bundle.sequence <= self._bundle.sequence:
            raise BadRequest(why=f"the trust bundle {bundle.sequence} is not newer than {self._bundle.sequence}")
        anchors = _certificates(bundle)
        if not all(trust.is_ca(one) for one in anchors):
            raise BadRequest(why="the trust bundle holds a certificate that is not a CA's")
        live = self._live
        if live is not None:
            try:
                trust.verify_server(live.chain, anchors, live.host, self._world.now())
            except EdgewardError as error:
                raise BadRequest(why=f"the hub itself is not trusted under its trust bundle: {error}") from error
        self._files.write_bundle(bundle)
        self._bundle = bundle
        self._say(trust=bundle.sequence)
        _log.info("trust bundle %d: CA certificates that are trusted now: %d", bundle.sequence, len(anchors))

    # ------------------------------------------------------------------------------------------------------------- stay fresh

    async def _stay_fresh(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            left = self._renewal.seconds_left(self._world.now(), clock())
            if left > 0:
                await asyncio.sleep(min(left, _LONGEST_SLEEP))
                continue
            try:
                self._take(await self._renew())
            except EdgewardError as error:
                self._complain(error, self._renewal.failed(self._world.now(), clock()))
            else:
                self._say(certificate=self._certificate())
                self._another.set()
                self._changed.set()

    async def _renew(self) -> Pair:
        """A new key, a new certificate for it, both on disk as the current pair. Raises the last server's error if none gives one.

        The key is on disk before anybody is asked, so that a full disk is noticed before it costs a certificate; one that fills up in
        between costs none either: what was issued is kept here until it can be written.
        """
        if self._unwritten is None:
            self._unwritten = await self._ask()
        self._files.swap(*self._unwritten)
        self._unwritten = None
        return self._files.pair()

    async def _ask(self) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
        proof = self._pair.certificate.public_bytes(Encoding.DER)
        key = self._files.pending_key(proof)
        if key is None:
            key = enrol.new_key()
            self._files.keep_pending_key(proof, key)
        failure: EdgewardError = Unreachable(address="the authority", why="no address is configured")
        for endpoint in self._settings.https:
            try:
                certificate = await enrol.renew(
                    endpoint,
                    anchors=_certificates(self._bundle),
                    node=self._settings.node,
                    key=key,
                    pair=self._pair,
                    now=self._world.now(),
                )
            except EdgewardError as error:
                failure = error
            else:
                return certificate, key
        raise failure

    def _complain(self, error: EdgewardError, wait: float) -> None:
        self._trouble(error)
        now, end = self._world.now(), self._renewal.not_after
        hint = ""
        if now >= end:
            again = (
                f"{CertificateRefused(why='expired').hint} && edgeward join --token @FILE --node {self._settings.node}"
            )
            refused = isinstance(error, ServerRefused)
            hint = f"; it has expired{'' if refused else ', and if the server does not renew it any more'}: {again}"
        _log.warning(
            "the certificate, valid until %s, was not renewed: %s; the next attempt is in %.0f s%s",
            _moment(end),
            error,
            wait,
            hint,
        )

    # ---------------------------------------------------------------------------------------------------------- tell the others

    async def _announce(self) -> None:
        """Run the operator's hook for each certificate: at least once, also when a crash came between the renewal and the hook."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            command, serial = self._settings.on_certificate_change, self._status.certificate.serial
            try:
                if command and self._files.announced() != serial:
                    await hook.run(command, self._facts(serial))
                    self._files.announce(serial)
            except StoreUnavailable as error:
                _log.warning("the hook will run once more: %s", error)
            except EdgewardError as error:
                self._trouble(error)
                _log.error("%s", error)

    def _facts(self, serial: str) -> dict[str, str]:
        place = self._files.directory
        return {
            "EDGEWARD_NODE": self._settings.node,
            "EDGEWARD_SERIAL": serial,
            "EDGEWARD_CERTIFICATE": str(place / "certs" / "server.crt"),
            "EDGEWARD_KEY": str(place / "certs" / "server.key"),
            "EDGEWARD_CA": str(self._files.trust_file),
        }

    # --------------------------------------------------------------------------------------------------------------- be watched

    async def _watchdog(self) -> None:
        """Tell systemd that the event loop turns."""
        while True:
            await asyncio.sleep(self._systemd.watchdog or 3600.0)
            if self._systemd.watchdog is not None:
                self._systemd.tell("WATCHDOG=1")


def _transports(wanted: str) -> dict[str, Any]:
    """The modules of the transports that may be used. Raises `ExtraMissing` when QUIC alone is wanted and its library is not there."""
    if wanted != "auto":
        return {wanted: extras.load(TRANSPORTS[wanted])}
    websocket = {WEBSOCKET: extras.load(TRANSPORTS[WEBSOCKET])}
    try:
        return {QUIC: extras.load(TRANSPORTS[QUIC]), **websocket}
    except ExtraMissing:
        return websocket


def _route(settings: Settings, transports: Collection[str], dice: Dice) -> Route:
    quics = settings.quic or tuple(Endpoint(host=hub.host, port=QUIC_PORT) for hub in settings.hub)
    return Route(
        hubs=settings.hub if WEBSOCKET in transports else (), quics=quics if QUIC in transports else (), dice=dice
    )


def _certificates(bundle: TrustBundle) -> list[x509.Certificate]:
    return [parse.certificate(der) for der in bundle.anchors]


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
