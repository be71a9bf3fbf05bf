"""The administrative API: what an operator may ask of a running authority, as JSON over HTTP.

Version 1, spoken on the Unix socket of the data directory; whoever can open that socket is the operator. Times are RFC 3339, serials
lower-case hex. `ROUTES` is the whole of it: what is not in that table does not exist.
"""

import base64
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Raw

from edgeward.errors import EdgewardError, NotFound
from edgeward.model.authority import Reason
from edgeward.model.evidence import Enrolment, Operator
from edgeward.model.http import Request, Response
from edgeward.model.token import Token as Known
from edgeward.pki import keys, names, parse, pem
from edgeward.services.tokens import Wanted
from edgeward.web import diagnosis, events, kubeedge, messages, nodes, openapi, operators, rotation
from edgeward.web.bodies import Strict, query, whole
from edgeward.web.bodies import actor as _actor
from edgeward.web.bodies import body as _body
from edgeward.web.bodies import json as _json
from edgeward.web.bodies import octets as _octets
from edgeward.web.platform import Platform
from edgeward.web.problems import problem
from edgeward.web.shapes import (
    CA,
    Advertised,
    AuditRecord,
    Export,
    Exported,
    Names,
    NewCertificate,
    NewToken,
    Readvertised,
    Revocation,
    RevokedCertificate,
    Signed,
    Token,
    TokenMade,
    TokenRevoked,
    TokenUse,
)

KEY_ID = r"[0-9a-f]{16}"
NAME = r"[^/]{1,253}"


class NewRevocation(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/revocations`: a node, `serial:HEX`, or `operator:NAME`, and with `tokens` the join tokens that the operator made."""

    target: str
    reason: Reason = Reason.UNSPECIFIED
    tokens: bool = False


class Api:
    """Answers the administrative requests. Every error becomes an RFC 9457 problem."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def respond(self, request: Request) -> Response:
        """The answer to a request, whatever it is."""
        try:
            return await self.answer(request)
        except EdgewardError as error:
            return problem(error)

    async def answer(self, request: Request) -> Response:
        """The answer to a request. Raises its error."""
        allowed = []
        for method, pattern, answer in ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match is not None and method == request.method:
                return await answer(self._platform, request, *match.groups())
            if match is not None:
                allowed.append(method)
        if allowed:
            return Response(status=405, headers=(("Allow", ", ".join(allowed)),))
        raise NotFound(what="resource", name=request.path)


def _token(token: Known, now: datetime) -> Token:
    if token.revoked_at is not None:
        state = "revoked"
    elif now >= token.expires_at:
        state = "expired"
    else:
        state = "spent" if token.used >= token.uses else "valid"
    return Token(
        key_id=token.key_id,
        state=state,
        node=token.node,
        pattern=token.pattern,
        uses=token.uses,
        used=token.used,
        expires_at=token.expires_at,
        network=None if token.network is None else str(token.network),
        unblock=token.unblock,
        created_at=token.created_at,
        revoked_at=token.revoked_at,
    )


# ------------------------------------------------------------------------------------------------------------- answers


async def _status(platform: Platform, request: Request) -> Response:
    """What there is to know about the server: its version, addresses, pin, and the names of its certificate."""
    authority = platform.authorities.active
    return _json(platform.describe() | {"pin": authority.pin, "advertised": await platform.authorities.advertised()})


async def _new_token(platform: Platform, request: Request) -> Response:
    """Make a join token."""
    body = _body(request, NewToken)
    wanted = Wanted(
        node=body.node,
        pattern=body.pattern,
        uses=body.uses,
        lifetime=timedelta(seconds=min(max(body.lifetime_seconds, 0), 1e9)),
        network=None if body.network is None else names.network(body.network),
        unblock=body.unblock,
    )
    now = platform.now()
    operator = request.actor.removeprefix("operator:")
    text, token = await platform.tokens.new(wanted, actor=_actor(request), now=now, operator=operator)
    return _json(TokenMade(token=text.reveal(), **msgspec.structs.asdict(_token(token, now))), 201)


async def _tokens(platform: Platform, request: Request) -> Response:
    """The join tokens that were made; their secrets are not kept."""
    now = platform.now()
    return _json([_token(token, now) for token in await platform.tokens.list()])


async def _token_uses(platform: Platform, request: Request, key_id: str) -> Response:
    """Every use of a join token."""
    uses = await platform.tokens.uses(key_id)
    return _json([TokenUse(at=use.at, node=use.node, address=use.address, serial=use.serial) for use in uses])


async def _revoke_token(platform: Platform, request: Request, key_id: str) -> Response:
    """Take a join token back."""
    revoked = await platform.tokens.revoke(key_id, actor=_actor(request), now=platform.now())
    return _json(TokenRevoked(key_id=key_id, revoked_now=revoked))


async def _revoke(platform: Platform, request: Request) -> Response:
    """Revoke a node, one certificate, or an operator."""
    body = _body(request, NewRevocation)
    now = platform.now()
    done = await platform.revoker.revoke(body.target, body.reason, tokens=body.tokens, actor=_actor(request), now=now)
    certificates = [
        RevokedCertificate(identity=record.identity, **msgspec.structs.asdict(nodes.certificate(record)))
        for record in done.revoked
    ]
    tokens = [_token(token, now) for token in done.tokens]
    return _json(Revocation(node=done.node, revoked=certificates, tokens=tokens))


async def _ca(platform: Platform, request: Request) -> Response:
    """The CA."""
    issuer = platform.authorities.active
    certificate = parse.certificate(issuer.certificate)
    return _json(
        CA(
            pem=pem.encode("CERTIFICATE", issuer.certificate).decode(),
            pin=issuer.pin,
            subject=certificate.subject.rfc4514_string(),
            serial=format(certificate.serial_number, "x"),
            key=keys.describe(parse.public_key(certificate)),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            origin=issuer.origin,
            state=issuer.state,
        )
    )


async def _export(platform: Platform, request: Request) -> Response:
    """The CA, with its key where it is asked for by name; only on the machine of the authority."""
    body = _body(request, Export)
    certificate = base64.b64encode(platform.authorities.active.certificate).decode()
    if not body.with_key:
        return _json(Exported(certificate=certificate))
    key = await platform.authorities.export_key(actor=_actor(request), now=platform.now())
    return _json(Exported(certificate=certificate, key=base64.b64encode(key).decode()))


async def _sign(platform: Platform, request: Request) -> Response:
    """A certificate for a node, for a CSR that an operator vouches for."""
    body = _body(request, NewCertificate)
    enrolment = Enrolment(
        node=body.node,
        csr=_octets(body.csr, "csr"),
        evidence=Operator(name=_actor(request).removeprefix("operator:")),
        address="",
        at=platform.now(),
    )
    issued = await platform.registrar.issue(enrolment)
    return _json(
        Signed(
            serial=issued.serial,
            pem=pem.encode("CERTIFICATE", issued.der).decode(),
            ca_pem=pem.encode("CERTIFICATE", platform.authorities.active.certificate).decode(),
            not_after=parse.certificate(issued.der).not_valid_after_utc,
            dropped=[] if issued.plan is None else list(issued.plan.dropped),
        ),
        201,
    )


async def _advertised(platform: Platform, request: Request) -> Response:
    """The names that clients dial."""
    return _json(Advertised(names=list(await platform.authorities.advertised())))


async def _advertise(platform: Platform, request: Request) -> Response:
    """Set the names that clients dial; the server certificate is issued again for them."""
    body = _body(request, Names)
    await platform.authorities.advertise(body.names, actor=_actor(request), now=platform.now())
    names_now = list(await platform.authorities.advertised())
    return _json(Readvertised(names=names_now, certificate_names=list(await platform.reload())))


async def _audit(platform: Platform, request: Request) -> Response:
    """Up to 1,000 records of the audit chain after a number."""
    after = whole(query(request, frozenset({"after"})), "after", 0, 2**62)
    records = await platform.store.audit(after, 1000)
    return _json(
        [
            AuditRecord(
                n=record.n,
                at=datetime.fromtimestamp(record.at / 1000, UTC),
                actor=record.actor,
                action=record.action,
                object=record.object,
                facts=Raw(record.facts.encode()),
                hash=record.hash.hex(),
            )
            for record in records
        ]
    )


async def _openapi(platform: Platform, request: Request) -> Response:
    """This document."""
    return _json(openapi.document(ROUTES))


_Answer = Callable[..., Awaitable[Response]]

_KEY_ID = rf"({KEY_ID})"
_NAME = rf"({NAME})"
_MSG_ID = rf"({messages.MSG_ID})"

ROUTES: tuple[tuple[str, str, _Answer], ...] = (
    ("GET", r"/v1/status", _status),
    ("GET", r"/v1/nodes", nodes.every),
    ("GET", rf"/v1/nodes/{_NAME}", nodes.one),
    ("GET", rf"/v1/nodes/{_NAME}/timeline", nodes.timeline),
    ("POST", r"/v1/tokens", _new_token),
    ("GET", r"/v1/tokens", _tokens),
    ("GET", rf"/v1/tokens/{_KEY_ID}/uses", _token_uses),
    ("POST", rf"/v1/tokens/{_KEY_ID}/revoke", _revoke_token),
    ("POST", r"/v1/revocations", _revoke),
    ("POST", r"/v1/operators", operators.new),
    ("GET", r"/v1/operators", operators.every),
    ("POST", r"/v1/messages", messages.send),
    ("GET", r"/v1/messages", events.lines),
    ("GET", r"/v1/events", events.server_sent),
    ("GET", rf"/v1/messages/{_MSG_ID}", messages.receipt),
    ("DELETE", rf"/v1/messages/{_MSG_ID}", messages.cancel),
    ("GET", r"/v1/queues", messages.queues),
    ("GET", r"/v1/receipts", messages.receipts),
    ("GET", r"/v1/ca", _ca),
    *kubeedge.ROUTES,
    *rotation.ROUTES,
    ("POST", r"/v1/ca/export", _export),
    ("POST", r"/v1/certificates", _sign),
    ("GET", r"/v1/advertised", _advertised),
    ("PUT", r"/v1/advertised", _advertise),
    ("GET", r"/v1/audit", _audit),
    ("GET", r"/v1/failures", diagnosis.failures),
    ("GET", r"/v1/doctor", diagnosis.doctor),
    ("GET", r"/v1/openapi.json", _openapi),
)
