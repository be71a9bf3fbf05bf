"""The administrative API for operators who are not on this machine, over mutual TLS; and the part of it about them.

1. Who asks is decided by the certificate's row, on every request; a stream ends when the certificate does, and is cut when it is revoked.
2. The Host must be a name of this server, so that no page in a browser reaches it under a name of its own (DNS rebinding); nobody speaks
   for another through a proxy's headers, and a page of another origin is refused.
3. What hands out or replaces the authority's key, what makes operators, and what writes files is for the socket alone (`LOCAL`).
"""

from collections.abc import AsyncIterator, Callable
from datetime import datetime

from msgspec.structs import replace

from edgeward.errors import BadRequest, EdgewardError, LocalOnly, Misdirected
from edgeward.model.address import host_of, same_origin
from edgeward.model.http import Request, Respond, Response
from edgeward.pki import parse, pem
from edgeward.services.operators import Operators
from edgeward.web import nodes
from edgeward.web.bodies import actor, body, json, octets
from edgeward.web.platform import Platform
from edgeward.web.problems import problem
from edgeward.web.shapes import NewOperator, Operator, OperatorMade

LOCAL = frozenset(
    {
        ("POST", "/v1/operators"),
        ("POST", "/v1/ca/export"),
        ("POST", "/v1/ca/import"),
        ("POST", "/v1/ca/prepare"),
        ("POST", "/v1/ca/activate"),
        ("POST", "/v1/kubeedge/export"),
        ("PUT", "/v1/tokens/standing"),
    }
)
"""Requests that only the socket takes."""

_PROXY = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "x-ssl-client-cert",
          "x-ssl-client-verify", "x-ssl-client-s-dn", "x-client-cert", "ssl-client-cert")  # fmt: skip


class Door:
    """Lets operators in to `respond`. `names`: what the server certificate is valid for."""

    def __init__(
        self,
        respond: Respond,
        operators: Operators,
        *,
        now: Callable[[], datetime],
        names: Callable[[], tuple[str, ...]],
    ) -> None:
        self._respond = respond
        self._operators = operators
        self._now = now
        self._names = names

    async def respond(self, request: Request) -> Response:
        """The answer to an operator's request, or why there is none."""
        try:
            self._is_for_us(request)
            record = await self._operators.admit(request.peer_certificate, self._now())
            if (request.method, request.path) in LOCAL:
                raise LocalOnly(what=f"{request.method} {request.path}")
        except EdgewardError as error:
            return problem(error)
        response = await self._respond(replace(request, actor=f"operator:{record.identity}"))
        if response.stream is not None:
            response = replace(response, stream=self._until(record.not_after, response.stream))
        return response

    def _is_for_us(self, request: Request) -> None:
        host = host_of(request.header("host"))
        if host not in self._names():
            raise Misdirected(host=host)
        if any(name in request.headers for name in _PROXY):
            raise BadRequest(why="it has headers of a proxy, and no proxy stands before this server")
        origin = request.header("origin")
        if origin and not same_origin(origin, request.header("host")):
            raise BadRequest(why="it comes from a page of another origin")

    async def _until(self, end: datetime, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in stream:
            if self._now() > end:
                return
            yield piece


async def new(platform: Platform, request: Request) -> Response:
    """A certificate for an operator: the name, and a CSR whose key stays with whoever made it."""
    asked = body(request, NewOperator)
    issued = await platform.operators.new(
        asked.name, octets(asked.csr, "csr"), actor=actor(request), now=platform.now()
    )
    made = OperatorMade(
        name=asked.name,
        serial=issued.serial,
        pem=pem.encode("CERTIFICATE", issued.der).decode(),
        ca_pem=pem.encode("CERTIFICATE", platform.authorities.active.certificate).decode(),
        not_after=parse.certificate(issued.der).not_valid_after_utc,
    )
    return json(made, 201)


async def every(platform: Platform, request: Request) -> Response:
    """The operators' certificates that have not reached their end."""
    return json(
        [
            Operator(name=one.identity, certificate=nodes.certificate(one))
            for one in await platform.operators.list(platform.now())
        ]
    )
