"""KubeEdge's enrolment over HTTPS: three routes, and what of a request is evidence.

`GET /ca.crt` is the authority's certificate, for anybody: the join token pins it. `GET /edge.crt`, with a CSR in its body, is a device
certificate for whoever shows a token or a client certificate. `GET /node/{name}` says of every node that it is unknown, which is what
`keadm join` wants to hear and tells a stranger nothing. Statuses and texts are those of KubeEdge where an edge may look at them.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

import msgspec

from edgeward.errors import BadRequest, EdgewardError, NoEvidence, Unauthenticated
from edgeward.model.evidence import CertificateEvidence, Enrolment, Evidence, TokenEvidence
from edgeward.model.http import Request, Respond, Response, text
from edgeward.model.token import Secret
from edgeward.pki import names, parse
from edgeward.protocols.kubeedge.answers import failure, status_of

CA_PATH = "/ca.crt"
EDGE_PATH = "/edge.crt"
NODE_PATH = "/node/"

CLIENT_AUTH = [2]
"""Go's number for clientAuth: the only purpose that an edge may ask for in `ExtKeyUsages`."""

MAX_EXT_KEY_USAGES = 256
"""Characters of that header that are looked at; `[2]` has three."""

DER = "application/octet-stream"

Enrol = Callable[[Enrolment], Awaitable[bytes]]
"""The certificate (DER) for an enrolment; raises the errors of the project."""


class Refused(Protocol):
    """Is told of a request that was refused before it was an enrolment, so that no refusal goes unrecorded."""

    async def __call__(self, error: EdgewardError, *, node: str, address: str, at: datetime) -> None: ...


async def _unrecorded(error: EdgewardError, *, node: str, address: str, at: datetime) -> None:
    """Nobody wants to know."""


def _unseen(request: Request) -> None:
    """Nobody wants to know."""


def _untold(request: Request, error: EdgewardError) -> None:
    """Nobody wants to know."""


def routes(
    enrol: Enrol,
    ca_certificate: Callable[[], bytes],
    refused: Refused = _unrecorded,
    *,
    introduced: Callable[[Request], None] = _unseen,
    failed: Callable[[Request, EdgewardError], None] = _untold,
) -> Respond:
    """The enrolment protocol as a function from request to answer.

    `enrol` issues, and records its own refusals; `refused` records those that come before it. `ca_certificate` gives the DER of the
    authority that issues now; it is asked at each request, so that a rotated authority shows at once. `introduced` hears of the
    requests that an edge makes before it verifies anything, `failed` of every refusal with its request. Errors of ours (status 500) are
    left to the transport, which logs them.
    """

    async def respond(request: Request) -> Response:
        path = request.path
        if path == EDGE_PATH:
            if request.method != "GET":
                return _wrong_method()
            try:
                enrolment = _enrolment(request)
            except EdgewardError as error:
                failed(request, error)
                await refused(error, node=request.header("nodename"), address=request.address, at=request.at)
                return failure(error)
            try:
                return Response(status=200, body=await enrol(enrolment), content_type=DER)
            except EdgewardError as error:
                if status_of(type(error)) == 500:
                    raise
                failed(request, error)
                return failure(error)
        if path == CA_PATH:
            introduced(request)
            return (
                Response(status=200, body=ca_certificate(), content_type=DER) if _is_get(request) else _wrong_method()
            )
        if path.startswith(NODE_PATH) and path.count("/") == 2 and path != NODE_PATH:
            introduced(request)
            return text(404, "Node not found") if _is_get(request) else _wrong_method()
        return text(404, "404: Page Not Found")

    return respond


def _is_get(request: Request) -> bool:
    return request.method == "GET"


def _wrong_method() -> Response:
    return text(405, "405: Method Not Allowed", ("Allow", "GET"))


def _enrolment(request: Request) -> Enrolment:
    evidence = _evidence(request)
    _purposes(request)
    return Enrolment(node=_node(request), csr=request.body, evidence=evidence, address=request.address, at=request.at)


def _evidence(request: Request) -> Evidence:
    """A client certificate if TLS has one, and then nothing else counts; else the token.

    KubeEdge splits the header on a single space, wants exactly two pieces and does not look at the first.
    """
    if request.peer_certificate is not None:
        return CertificateEvidence(der=request.peer_certificate)
    value = _only(request, "authorization")
    if not value:
        raise NoEvidence
    pieces = value.split(" ")
    if len(pieces) != 2 or not pieces[1]:
        raise Unauthenticated
    return TokenEvidence(bearer=Secret(pieces[1]))


def _purposes(request: Request) -> None:
    """Refuse every wish for an extended key usage but clientAuth, which is the default."""
    value = _only(request, "extkeyusages")
    if not value:
        return
    try:
        wanted = msgspec.json.decode(value, type=list[int]) if len(value) <= MAX_EXT_KEY_USAGES else None
    except msgspec.MsgspecError:
        wanted = None
    if wanted != CLIENT_AUTH:
        raise BadRequest(
            why="an edge certificate is for clientAuth alone: leave the header ExtKeyUsages out, or send [2]"
        )


def _node(request: Request) -> str:
    """The node that asks, by its header. Without one it is who the request for a certificate says it is; the rule of who may
    have which name is the registrar's either way."""
    claimed = _only(request, "nodename")
    if claimed:
        return names.node_name(claimed)
    node = names.node_of(parse.certificate_request(request.body).subject)
    if node is None:
        raise BadRequest(
            why="there is no NodeName header, and the subject of the CSR is not O=system:nodes, CN=system:node:NAME"
        )
    return node


def _only(request: Request, name: str) -> str:
    """The value of a header that may be there once."""
    values = request.headers.get(name)
    if values is None:
        return ""
    if len(values) > 1:
        raise BadRequest(why=f"the header {name} is there {len(values)} times")
    return values[0].strip(" \t")
