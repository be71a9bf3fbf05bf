"""The composition root: the one place that builds adapters, hands them to the services and starts the servers."""

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import uvloop

import edgeward
from edgeward import app_settings, app_shared, config, extras
from edgeward.app_directory import (
    KEYS,
    LOOPBACK,
    STORE,
    DataDirectory,
    dial_without_names,
    local_names,
    prepare_process,
    program,
)
from edgeward.app_operators import OperatorPort
from edgeward.app_shared import Sharing
from edgeward.errors import (
    CannotListen,
    EdgewardError,
    StoreUnavailable,
)
from edgeward.hub.others import Others
from edgeward.hub.serve import Hub
from edgeward.keys import passphrase
from edgeward.keys.file import FileKeys
from edgeward.keys.port import KeyStore
from edgeward.model.address import joined
from edgeward.model.authority import CertificateRecord
from edgeward.model.device import Cause
from edgeward.model.failure import HandshakeFailure, Listener
from edgeward.model.http import Request
from edgeward.model.token import Hints
from edgeward.pki import pem
from edgeward.protocols.kubeedge import routes as kubeedge
from edgeward.services.adoption import Adoption
from edgeward.services.authorities import Authorities, ServerCredential
from edgeward.services.failures import Failures
from edgeward.services.issuance import Issuance
from edgeward.services.kubeedge_tokens import Acceptance, KubeEdgeTokens
from edgeward.services.migration import Migration
from edgeward.services.operators import Operators
from edgeward.services.registrar import Registrar
from edgeward.services.revoker import Revoker
from edgeward.services.standing import StandingTokens
from edgeward.services.tokens import Tokens
from edgeward.stores.relational import RelationalStore
from edgeward.stores.replicas import Change
from edgeward.stores.sqlite import open_store
from edgeward.transports import contexts, http, shown, tcp, tls_server, websocket, websocket_server
from edgeward.transports.limits import HttpLimits, RateLimit, TlsLimits
from edgeward.transports.reasons import HandshakeLog, explain_connecting
from edgeward.web.api import Api
from edgeward.web.platform import Platform

_log = logging.getLogger(__name__)

RENEWAL_CHECK = timedelta(hours=6)
"""How often the server certificate's remaining life is looked at."""

RELOAD_RETRY = (1.0, 60.0)
"""Seconds until a reload that failed is tried again: at first, and at most."""

STANDING_CHECK = 60.0
"""Seconds between two looks at the standing tokens: a refresh is late by so much at most, also when the clock is set."""

GRACE = 5.0
"""Seconds for requests that are being answered when the server stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asks of a server; None leaves it to the configuration."""

    data: Path
    advertise: tuple[str, ...] = ()
    listen: str | None = None
    https_port: int | None = None
    hub_port: int | None = None
    quic_port: int | None = None
    api_port: int | None = None
    passphrase_file: Path | None = None
    kubeedge_tokens: Acceptance | None = None
    database: str | None = None
    bus: str | None = None
    worker: int | None = None
    """Which one of several processes this is that share a data directory and the ports; None: the only one."""
    inherited: tcp.Inherited = tcp.NOTHING


def new_loop() -> asyncio.AbstractEventLoop:
    """The event loop that the servers run on."""
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def new_id() -> str:
    """A message id that was never used: a UUIDv4 in lower case."""
    return str(uuid.uuid4())


def now() -> datetime:
    """The clock: aware UTC."""
    return datetime.now(UTC)


class Services:
    """Everything but the listeners: the store, the keys, the authority and the use cases, wired together."""

    def __init__(
        self,
        directory: DataDirectory,
        settings: config.Config,
        store: RelationalStore,
        keys: KeyStore,
        shared: Sharing | None = None,
    ) -> None:
        self.directory = directory
        self.shared = shared
        self.others: Others | None = None
        self.reload: Callable[[], Awaitable[object]] = _nothing
        self.settings = settings
        self.store = store
        profiles = settings.resolved_profiles()
        self.issuance = Issuance(store, profiles, settings.authority.trust_domain)
        self.authorities = Authorities(store, keys, self.issuance, profiles)
        self.kubeedge_tokens = KubeEdgeTokens(store, self.authorities.kubeedge_mac)
        self.failures = Failures(store, now=now, names=lambda: self.names)
        self.adoption = Adoption(store)
        self.migration = Migration(self.authorities, self.kubeedge_tokens, self.adoption)
        self.hub = Hub(
            store,
            now=now,
            new_id=new_id,
            failed=partial(self.failures.refused, Listener.HUB),
            adopt=self.adoption.adopt,
            bundle=lambda: self.authorities.bundle,
            settings=app_settings.hub(settings.hub),
            delivery_settings=app_settings.delivery(settings.delivery, settings.hub.message_limit),
        )
        self.registrar = Registrar(
            store,
            self.issuance,
            grace=timedelta(hours=settings.enrolment.renewal_grace_hours),
            foreign=self.kubeedge_tokens,
            adoption=self.adoption,
            revoked=self._cut,
        )
        self.revoker = Revoker(
            store,
            self._cut,
            self._block,
            expecting=lambda: self.adoption.terms.until is not None,
        )
        self.tokens = Tokens(store, lambda: self.authorities.active.pin, self.hints)
        self.standing = StandingTokens(store, keys, self.tokens, lambda: self.authorities.active.pin)
        self.operators = Operators(store, self.issuance)
        self.operator_port: OperatorPort | None = None
        self.dialled: tuple[str, ...] = ()
        self.names: tuple[str, ...] = ()
        self.ports = (settings.listen.https_port, settings.listen.hub_port)

    def _cut(self, revoked: Sequence[CertificateRecord]) -> None:
        self.hub.close_certificates([r.fingerprint for r in revoked if r.fingerprint is not None], Cause.REVOKED)
        if self.operator_port is not None:
            self.operator_port.cut(revoked)
        if self.others is not None:
            self.others.tell()

    def _block(self, node: str) -> None:
        self.hub.close_node(node, Cause.REVOKED)

    async def _changed(self, change: Change) -> None:
        """Something that concerns the servers was changed, here or at another replica."""
        if change.action in ("ca.imported", "ca.activated", "trust.changed"):
            await self.authorities.refresh(now())
            self.hub.trust.changed()
        await self.kubeedge_tokens.load()
        await self.adoption.load()
        await self.reload()
        if self.operator_port is not None:
            await self.operator_port.recheck()

    def hints(self) -> Hints:
        """Where a device that holds one of our tokens should go."""
        https, hub = self.ports
        return Hints(
            https=tuple(joined(name, https) for name in self.dialled[:4]),
            hub=tuple(joined(name, hub) for name in self.dialled[:4]),
        )

    def platform(
        self, reload: Callable[[], Awaitable[tuple[str, ...]]], describe: Callable[[], dict[str, Any]]
    ) -> Platform:
        """What the administrative API is a face of."""
        return Platform(
            store=self.store,
            authorities=self.authorities,
            registrar=self.registrar,
            tokens=self.tokens,
            revoker=self.revoker,
            hub=self.hub,
            operators=self.operators,
            failures=self.failures,
            migration=self.migration,
            standing=self.standing,
            reload=reload,
            describe=describe,
            now=now,
            new_id=new_id,
        )

    async def open(self, wanted: Wanted) -> None:
        """Load the authority or make it, and set what the command line and the configuration say."""
        moment = now()
        name = self.settings.authority.name or f"Edgeward CA {secrets.token_hex(4)}"
        await self.authorities.open(name, moment, await self.standing.key_refs())
        await self.kubeedge_tokens.load()
        await self.adoption.load()
        await self.standing.open()
        if wanted.kubeedge_tokens is not None:
            await self.kubeedge_tokens.accept(wanted.kubeedge_tokens, actor="operator:up", now=moment)
        advertise = wanted.advertise or self.settings.advertise
        if advertise is not None:
            await self.authorities.advertise(advertise, actor="operator:up", now=moment)
        await self.hub.start()
        if self.shared is not None:
            bus = await app_shared.open_bus(self.shared, self.store, self.authorities.active, moment)
            self.others = Others(
                self.hub,
                self.store,
                bus,
                now=now,
                clock=time.monotonic,
                changed=self._changed,
                orphaned=lambda rows: self.issuance.give_up(rows, now(), "its replica is dead: its answer never left"),
            )
            await self.others.start()


@contextlib.asynccontextmanager
async def _services(wanted: Wanted, environment: Mapping[str, str]) -> Any:
    directory = DataDirectory(wanted.data, wanted.worker)
    try:
        settings = config.load(directory.path / config.FILE)
        settings.resolved_profiles()
        shared = app_shared.sharing(
            wanted.database, wanted.bus, settings, environment, directory.path, wanted.worker or 0
        )
        keys: KeyStore
        if shared is None:
            word = passphrase.find(directory.path / KEYS, environment, wanted.passphrase_file)
            keys = FileKeys(directory.path / KEYS, word)
            store = open_store(directory.path / STORE)
        else:
            store, keys = app_shared.open_shared(shared, directory.path, environment, wanted.passphrase_file)
        try:
            services = Services(directory, settings, store, keys, shared)
            await services.open(wanted)
            yield services
            if services.others is not None:
                await services.others.stop()
        finally:
            await store.close()
    finally:
        directory.release()


class Server:
    """A running authority: three listeners over `services`."""

    def __init__(self, services: Services, wanted: Wanted) -> None:
        self._services = services
        self._wanted = wanted
        self._listeners: list[asyncio.Server] = []
        self._enrolment: http.Http | None = None
        self._administration: http.Http | None = None
        self._contexts: dict[str, Any] = {}
        self._credential: ServerCredential | None = None
        self._quic: Any = None
        self._quic_port: int | None = None
        self._since = now()
        self._started = time.monotonic()
        self._api_port: int | None = None
        self._reloading = asyncio.Lock()
        self._reload_failed = asyncio.Event()
        self._handshakes = HandshakeLog(clock=time.monotonic)

    @property
    def facts(self) -> dict[str, Any]:
        """What an operator wants to know of it."""
        https, hub = self._services.ports
        return {
            "version": edgeward.__version__,
            "program": program(),
            "data": str(self._services.directory.path),
            "since": self._since,
            "uptime": time.monotonic() - self._started,
            "pid": os.getpid(),
            "worker": self._wanted.worker,
            "pin": self._services.authorities.active.pin,
            "dial": self._services.dialled[0],
            "https_port": https,
            "hub_port": hub,
            "quic_port": self._quic_port,
            "api_port": self._api_port,
            "names": () if self._credential is None else self._credential.names,
            "certificate_sha256": "" if self._credential is None else sha256(self._credential.certificate).hexdigest(),
            **({} if self._services.shared is None else self._services.shared.shown),
        }

    async def start(self) -> None:
        """Listen on everything. Raises `CannotListen`."""
        services, limits = self._services, self._services.settings.limits
        await self.reload()
        tls_limits = TlsLimits(
            handshake_seconds=limits.handshake_seconds,
            handshakes=limits.handshakes,
            handshakes_per_address=limits.handshakes_per_address,
        )
        http_limits = HttpLimits(
            body_octets=services.settings.enrolment.csr_limit,
            head_seconds=limits.header_seconds,
            body_seconds=limits.body_seconds,
            idle_seconds=limits.idle_seconds,
        )
        enrolment = self._enrolment = http.Http(
            kubeedge.routes(
                services.registrar.enrol,
                lambda: services.authorities.active.certificate,
                services.registrar.refused,
                introduced=services.failures.introduced,
                failed=partial(services.failures.refused, Listener.ENROLMENT),
            ),
            now=now,
            turned_away=partial(services.failures.turned_away, Listener.ENROLMENT),
            limits=http_limits,
            rate=RateLimit(
                clock=time.monotonic, rate=limits.requests_per_second, burst=int(2 * limits.requests_per_second)
            ),
        )
        sessions = websocket_server.WebSocketServer(
            services.hub.admit,
            now=now,
            limits=websocket.Limits(message=services.settings.hub.message_limit),
            turned_away=partial(services.failures.turned_away, Listener.HUB),
            introduced=services.failures.introduced,
        )
        https = self._tls(Listener.ENROLMENT, enrolment, tls_limits)
        hub = self._tls(Listener.HUB, sessions, tls_limits, mutual=True)
        listen, wanted = services.settings.listen, self._wanted
        address = wanted.listen if wanted.listen is not None else listen.address
        https_port = listen.https_port if wanted.https_port is None else wanted.https_port
        hub_port = listen.hub_port if wanted.hub_port is None else wanted.hub_port
        https_port = await self._listen(https, address, https_port, wanted.inherited.https)
        hub_port = await self._listen(hub, address, hub_port, wanted.inherited.hub)
        services.ports = (https_port, hub_port)
        quic_port = listen.quic_port if wanted.quic_port is None else wanted.quic_port
        if quic_port is not None and not wanted.worker:  # one socket: a connection that migrates must find its process
            self._quic_port = await self._listen_for_quic(address, quic_port, sessions.limits, tls_limits)
        await self._listen_for_operators(address, tls_limits)

    def _tls(
        self, name: Listener, inner: Callable[[], asyncio.Protocol], limits: TlsLimits, *, mutual: bool = False
    ) -> tls_server.Listener:
        return tls_server.Listener(
            context=lambda: self._contexts[name],
            closer=lambda: self._contexts[f"{name}, watching"],
            inner=inner,
            limits=limits,
            refused=partial(self._failed, name),
            mutual=mutual,
        )

    def _failed(self, name: Listener, failure: HandshakeFailure) -> None:
        self._handshakes(failure)
        self._services.failures.handshake(name, failure)

    async def _listen(
        self, factory: Callable[[], asyncio.Protocol], address: str, port: int, inherited: Sequence[int] = ()
    ) -> int:
        backlog = self._wanted.inherited.backlog or self._services.settings.listen.backlog
        shared = self._wanted.worker is not None
        try:
            servers = await tcp.listen(factory, address, port, backlog=backlog, shared=shared, inherited=inherited)
        except OSError as error:
            raise CannotListen(address=f"{address or '*'}:{port}", why=explain_connecting(error)) from error
        self._listeners += servers
        bound: int = servers[0].sockets[0].getsockname()[1]
        return bound

    async def _listen_for_quic(self, address: str, port: int, limits: websocket.Limits, handshakes: TlsLimits) -> int:
        self._quic = extras.load("edgeward.transports.quic_server").Server(
            self._services.hub.admit,
            now=now,
            anchors=lambda: self._services.authorities.trusted,
            credential=lambda: self._credential,
            limits=limits,
            handshakes=handshakes,
            refused=partial(self._failed, Listener.HUB),
        )
        bound: int = await self._quic.listen(address, port)
        return bound

    async def _listen_for_operators(self, address: str, limits: TlsLimits) -> None:
        services = self._services
        path = services.directory.socket
        api = Api(services.platform(self.reload, lambda: self.facts))
        port = services.settings.listen.api_port if self._wanted.api_port is None else self._wanted.api_port
        if port is not None:  # the hub's contexts let in holders of our certificates alone; whose, the door decides
            services.operator_port = OperatorPort(api, services.operators, now=now, names=lambda: self.facts["names"])
            listener = self._tls(Listener.HUB, services.operator_port.serve, limits, mutual=True)
            self._api_port = await self._listen(listener, address, port)
        on_socket = HttpLimits(body_octets=64 * 1024 * 1024, idle_seconds=3600.0)
        self._administration = http.Http(api.respond, now=now, limits=on_socket)
        old = os.umask(0o177)
        try:
            path.unlink(missing_ok=True)
            server = await asyncio.get_running_loop().create_unix_server(self._administration, str(path))
        except OSError as error:
            raise StoreUnavailable(why=f"cannot make the socket {path}: {error.strerror}") from error
        finally:
            os.umask(old)
        self._listeners.append(server)

    async def reload(self) -> tuple[str, ...]:
        """Read the advertised names again, re-issue the server certificate if they changed or its end is near, and serve it from the
        next handshake on. Connections stay as they are. The names it is valid for. When it fails, `renew` tries again by itself."""
        try:
            return await self._reload()
        except Exception:  # whatever it is, `renew` must hear of it; the error goes on its way
            self._reload_failed.set()
            raise

    async def _reload(self) -> tuple[str, ...]:
        async with self._reloading:
            services = self._services
            advertised = await services.authorities.advertised()
            # the replicas of an authority have one certificate between them: its names are what is advertised
            local = local_names() if services.shared is None else LOOPBACK
            credential = await services.authorities.server_credential(local, now())
            services.names = credential.names
            services.dialled = advertised or dial_without_names(self._wanted.listen or services.settings.listen.address)
            anchors = services.authorities.trusted
            chain = pem.encode("CERTIFICATE", credential.certificate)
            if credential != self._credential or anchors != self._contexts.get("anchors"):
                self._contexts = {"anchors": anchors}
                for name, build in (
                    (Listener.ENROLMENT, contexts.enrolment_context),
                    (Listener.HUB, contexts.hub_context),
                ):
                    self._contexts[name] = build(certificate=chain, key=credential.key, anchors=anchors)
                    watched = build(certificate=chain, key=credential.key, anchors=anchors)
                    self._contexts[f"{name}, watching"] = shown.watching(watched)
                if services.others is not None:
                    services.others.tell()
            self._credential = credential
            return credential.names

    async def reread(self) -> None:
        """On SIGHUP: the configuration's advertised names, then `reload`. An error is logged, and the server goes on as it was."""
        try:
            settings = config.load(self._services.directory.path / config.FILE)
            if settings.advertise is not None and not self._wanted.advertise:
                await self._services.authorities.advertise(settings.advertise, actor="operator:sighup", now=now())
            _log.info("reloaded; the server certificate is valid for %s", ", ".join(await self.reload()))
        except EdgewardError as error:
            _log.error("not reloaded: %s", error)
        except (
            Exception
        ):  # the shell of a task: without it the certificate would never be renewed again, and nobody would know
            _log.exception("not reloaded")

    async def renew(self) -> None:
        """For as long as the server runs: look after the server certificate's remaining life, and after a reload that failed."""
        pause, longest = RELOAD_RETRY
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RENEWAL_CHECK.total_seconds()):
                    await self._reload_failed.wait()
            if self._reload_failed.is_set():
                self._reload_failed.clear()
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
            else:
                pause = RELOAD_RETRY[0]
            await self.reread()

    async def keep_tokens(self) -> None:
        """For as long as the server runs: keep the standing tokens current."""
        while True:
            try:
                if await self._services.store.replicas.leads():
                    await self._services.standing.tick(now())
            except Exception:  # the shell of a task: one hiccup of the store must not end it for good
                _log.exception("the standing tokens could not be looked after")
            await asyncio.sleep(STANDING_CHECK)

    async def stop(self) -> None:
        """Close the listeners, answer what was asked, close every session."""
        for listener in self._listeners:
            listener.close()
        with contextlib.suppress(OSError):  # what is in the way of the socket was said when it was to be made
            self._services.directory.socket.unlink(missing_ok=True)
        if self._enrolment is not None:
            await self._enrolment.close(GRACE)
        await self._services.hub.shutdown()
        if self._quic is not None:
            self._quic.close()
        await self._services.failures.settle()
        if self._administration is not None:
            await self._administration.close(GRACE)
        if self._services.operator_port is not None:
            await self._services.operator_port.serve.close(GRACE)


@contextlib.asynccontextmanager
async def running(wanted: Wanted, environment: Mapping[str, str]) -> Any:
    """A server that runs for as long as the block does; the block gets the `Server`."""
    async with _services(wanted, environment) as services:
        server = Server(services, wanted)
        tasks: list[asyncio.Task[None]] = []
        try:
            services.reload = server.reload
            await server.start()
            lasting = [services.hub.run(), server.renew(), server.keep_tokens()]
            if services.others is not None:
                lasting.append(services.others.run())
            tasks = [asyncio.create_task(one) for one in lasting]
            yield server
        finally:
            for task in tasks:
                task.cancel()
            await server.stop()


async def serve(wanted: Wanted, environment: Mapping[str, str], ready: Callable[[Server], None]) -> None:
    """Run a server until SIGTERM or SIGINT. `ready` is called once everything is listening."""
    prepare_process()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stopped.set)
    async with running(wanted, environment) as server:
        reloads: set[asyncio.Task[None]] = set()

        def reload() -> None:
            task = loop.create_task(server.reread())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
        if wanted.worker is not None:
            loop.add_reader(0, lambda: None if os.read(0, 64) else stopped.set())  # the parent is gone
        gc.collect()
        gc.freeze()
        ready(server)
        await stopped.wait()
        _log.info("stopping")


async def offline_call(data: Path, environment: Mapping[str, str], method: str, path: str, body: Any) -> Any:
    """An administrative call on a data directory whose server is not running: what that call would answer. Raises its error."""
    async with _services(Wanted(data=data), environment) as services:

        async def no_reload() -> tuple[str, ...]:
            return ()

        api = Api(services.platform(no_reload, dict))
        request = Request(method=method, target=path, headers={}, body=msgspec.json.encode(body), address="", at=now())
        return msgspec.json.decode((await api.answer(request)).body)


async def _nothing() -> None:
    """Before there are servers there is nothing to reload."""
