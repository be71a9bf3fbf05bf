"""Trying the addresses of a cloud before a join begins: which of them answer, and whether the server there is called so.

Nothing is sent but TLS hellos: no token, no name of a node. Nothing is trusted either; whether the server is the right one is
found out by the join itself, which compares its CA with the token's pin.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from edgeward.agent import trust
from edgeward.agent.endpoint import Endpoint
from edgeward.errors import EdgewardError, HandshakeFailed, Unreachable
from edgeward.pki import names, parse
from edgeward.transports import client_tls, dial
from edgeward.transports.limits import TlsLimits
from edgeward.transports.reasons import explain_connecting

PATIENCE = 5.0
"""Seconds for an address to answer. All are tried at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """An address that was tried. `answers`: TLS came about. `named`: its certificate has the name that was dialled; None where it
    showed none. `why`: what is wrong, empty when nothing is."""

    endpoint: Endpoint
    answers: bool
    named: bool | None
    why: str = ""

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {"address": str(self.endpoint), "answers": self.answers, "named": self.named, "why": self.why or None}


async def tried(servers: Sequence[Endpoint], hubs: Sequence[Endpoint], seconds: float = PATIENCE) -> list[Tried]:
    """Every address, tried: the enrolment servers, then the hubs, each in the order given.

    At a hub the port alone is tried: it would count a handshake without a certificate as a failure. Its name is looked for in the
    certificate of the servers, which is the same one in every cloud that edges know.
    """
    seen = await asyncio.gather(*(_try(endpoint, seconds) for endpoint in servers))
    leaf = next((one for _, one in seen if one is not None), None)
    opened = await asyncio.gather(*(_open(endpoint, leaf, seconds) for endpoint in hubs))
    return [*(one for one, _ in seen), *opened]


async def _try(endpoint: Endpoint, seconds: float) -> tuple[Tried, x509.Certificate | None]:
    chain: list[bytes] = []

    def seen(tls: ssl.SSLObject) -> None:
        chain.extend(client_tls.presented_chain(tls))

    try:
        connection, _ = await dial.connect(
            endpoint.host,
            endpoint.port,
            context=client_tls.client_context(),
            inner=asyncio.Protocol,
            verify_server=seen,
            limits=TlsLimits(handshake_seconds=seconds),
        )
        connection.close()
        leaf = parse.certificate(chain[0]) if chain else None
    except Unreachable as error:
        return Tried(endpoint=endpoint, answers=False, named=None, why=str(error)), None
    except EdgewardError as error:
        return Tried(endpoint=endpoint, answers=True, named=None, why=str(error)), None
    return _judged(endpoint, leaf), leaf


async def _open(endpoint: Endpoint, leaf: x509.Certificate | None, seconds: float) -> Tried:
    try:
        async with asyncio.timeout(seconds):
            transport, _ = await asyncio.get_running_loop().create_connection(
                asyncio.Protocol, endpoint.host, endpoint.port
            )
    except TimeoutError:
        why = str(Unreachable(address=endpoint, why=f"no answer in {seconds:g} s"))
        return Tried(endpoint=endpoint, answers=False, named=None, why=why)
    except OSError as error:
        why = str(Unreachable(address=endpoint, why=explain_connecting(error)))
        return Tried(endpoint=endpoint, answers=False, named=None, why=why)
    transport.close()
    return _judged(endpoint, leaf)


def _judged(endpoint: Endpoint, leaf: x509.Certificate | None) -> Tried:
    if leaf is None:
        return Tried(endpoint=endpoint, answers=True, named=None)
    if trust.matches(leaf, endpoint.host):
        return Tried(endpoint=endpoint, answers=True, named=True)
    valid = ", ".join(_names(leaf)) or "no names at all"
    why = f"the certificate is valid for {valid}, not for {endpoint.host}"
    return Tried(endpoint=endpoint, answers=True, named=False, why=str(HandshakeFailed(address=endpoint, why=why)))


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        return [names.show(name) for name in leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]
    except (x509.ExtensionNotFound, ValueError):
        return []


def best_first(endpoints: Sequence[Endpoint], results: Sequence[Tried]) -> tuple[Endpoint, ...]:
    """The same addresses, those that answer under their name first, those that do not answer last."""
    rank = {one.endpoint: (not one.answers, one.named is False) for one in results}
    return tuple(sorted(endpoints, key=lambda endpoint: rank[endpoint]))
