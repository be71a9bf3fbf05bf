"""How an edge joins: a token and a name in, a directory that an agent (or KubeEdge's own edge) can live on out."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from cryptography import x509

from edgeward.agent import enrol, https
from edgeward.agent.addresses import PATIENCE, Tried, best_first, tried
from edgeward.agent.certificates import Certificates, Settings
from edgeward.agent.endpoint import HTTPS_PORT, HUB_PORT, QUIC_PORT, Endpoint
from edgeward.errors import EdgewardError, HandshakeFailed, NotFound, ServerFailing, Unreachable, UsageError
from edgeward.model.token import JoinToken
from edgeward.pki import names, parse

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What a join brought."""

    directory: Path
    settings: Settings
    pin: str
    """SHA-256 of the CA's DER, lower-case hex."""
    certificate: x509.Certificate
    endpoint: Endpoint
    """The server that gave the certificate."""
    resumed: bool
    """Whether an earlier join with this token went unanswered and its key was used again."""
    tried: tuple[Tried, ...] = ()
    """The addresses of servers and hubs, tried before it began."""


async def join(
    directory: Path,
    token: JoinToken,
    *,
    node: str,
    url: str | None,
    hub: str | None,
    quic: str | None = None,
    now: datetime,
    timeout: float = https.TIMEOUT,
) -> Joined:
    """Enrol `node` and write its directory. `url`, `hub` and `quic` are what a person gave; without them the token's own hints count.

    Every address is tried before anything else is done, and those that answer under their own name are used first. Nothing that was
    there is replaced before the new certificate is here and checked. Raises `UsageError` (no address, or the directory
    is another node's), `BadName`, `Unavailable` (an agent is running there) and what `enrol.enrol` raises.
    """
    names.node_name(node)
    servers, hubs = addresses(token, url, hub)
    tries = await tried(servers, hubs, min(timeout, PATIENCE))
    servers, hubs = best_first(servers, tries), best_first(hubs, tries)
    for one in tries:
        if one.why and (
            len(servers) > 1 or one.endpoint not in servers
        ):  # a lone server's trouble is said by the join itself
            _log.warning("%s", one.why)
    files = Certificates(directory)
    with files.locked(make=True):
        before = _settings_before(files, node)
        quics = _endpoints([quic] if quic else [], QUIC_PORT, "quic")
        settings = Settings(node=node, https=servers, hub=hubs, quic=quics)
        if before is not None:
            settings = replace(before, https=servers, hub=hubs, quic=quics)
        proof = token.bearer.reveal().encode()
        key = files.pending_key(proof)
        resumed = key is not None
        if key is None:
            key = enrol.new_key()
            files.keep_pending_key(proof, key)

        async def ask(endpoint: Endpoint) -> enrol.Enrolled:
            return await enrol.enrol(endpoint, token, node=node, key=key, now=now, timeout=timeout)

        endpoint, enrolled = await _first(servers, ask)
        files.write_ca(enrolled.ca)
        files.write_settings(settings)
        files.swap(enrolled.certificate, key)
    return Joined(
        directory=files.directory,
        settings=settings,
        pin=token.pin,
        certificate=parse.certificate(enrolled.certificate),
        endpoint=endpoint,
        resumed=resumed,
        tried=tuple(tries),
    )


async def _first(
    servers: Sequence[Endpoint], ask: Callable[[Endpoint], Awaitable[enrol.Enrolled]]
) -> tuple[Endpoint, enrol.Enrolled]:
    """The first server that can be asked, and its answer: any address of the same authority will do. Raises the first one's trouble."""
    failure: EdgewardError = UsageError(problem="there is no address to try")
    for n, endpoint in enumerate(servers):
        try:
            return endpoint, await ask(endpoint)
        except (Unreachable, HandshakeFailed, ServerFailing) as error:
            failure = failure if n else error
            if len(servers) > 1:
                _log.warning("%s", error)
    raise failure


def addresses(token: JoinToken, url: str | None, hub: str | None) -> tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]]:
    """The enrolment servers and the hubs to use, best first: what was given, else the token's hints, else the servers' hosts."""
    hints = token.hints
    servers = _endpoints([url] if url else hints.https, HTTPS_PORT, "https")
    if not servers:
        raise UsageError(problem="the token names no server, so give its URL: edgeward join https://HOST:10002 …")
    hubs = _endpoints([hub] if hub else hints.hub, HUB_PORT, "wss")
    return servers, hubs or tuple(Endpoint(host=server.host, port=HUB_PORT) for server in servers)


def _endpoints(texts: Sequence[str], port: int, scheme: str) -> tuple[Endpoint, ...]:
    return tuple(Endpoint.parse(text, default_port=port, scheme=scheme) for text in texts)


def _settings_before(files: Certificates, node: str) -> Settings | None:
    """What an earlier join of the same node left, perhaps edited since."""
    try:
        before = files.settings()
    except NotFound:
        return None
    if before.node != node:
        raise UsageError(problem=f"{files.directory} belongs to node {before.node}; give another directory with --dir")
    return before
