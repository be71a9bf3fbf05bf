"""The administrative API: what an operator may ask of a running authority, as JSON over HTTP.

Version 1, spoken on the Unix socket of the data directory; whoever can open that socket is the operator. Times are RFC 3339, serials
lower-case hex. `ROUTES` is the whole of it: what is not in that table does not exist.
"""

import base64
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Raw

from edgeward.errors import EdgewardError, NotFound
from edgeward.model.authority import CertificateRecord, Reason
from edgeward.model.evidence import Enrolment, Operator
from edgeward.model.http import Request, Response
from edgeward.model.token import Token
from edgeward.pki import keys, names, parse, pem
from edgeward.services.tokens import Wanted
from edgeward.web import diagnosis, events, kubeedge, messages, nodes
from edgeward.web.bodies import Strict
from edgeward.web.bodies import actor as _actor
from edgeward.web.bodies import body as _body
from edgeward.web.bodies import json as _json
from edgeward.web.bodies import octets as _octets
from edgeward.web.platform import Platform
from edgeward.web.problems import problem


class NewToken(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/tokens`."""

    node: str | None = None
    pattern: str | None = None
    uses: int = 1
    lifetime_seconds: float = 86400
    network: str | None = None
    unblock: bool = False


class NewRevocation(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/revocations`: a node, or `serial:HEX`."""

    target: str
    reason: Reason = Reason.UNSPECIFIED


class NewCertificate(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/certificates`: a CSR (base64 of DER) that an operator vouches for."""

    node: str
    csr: str


class Export(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/ca/export`."""

    with_key: bool = False


class Names(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`PUT /v1/advertised`."""

    names: list[str]


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


def _certificate(record: CertificateRecord) -> dict[str, Any]:
    return {
        "serial": record.serial,
        "not_before": record.not_before,
        "not_after": record.not_after,
        "revoked_at": record.revoked_at,
        "revocation_reason": record.revocation_reason,
    }


def _token(token: Token, now: datetime) -> dict[str, Any]:
    if token.revoked_at is not None:
        state = "revoked"
    elif now >= token.expires_at:
        state = "expired"
    else:
        state = "spent" if token.used >= token.uses else "valid"
    return {
        "key_id": token.key_id,
        "state": state,
        "node": token.node,
        "pattern": token.pattern,
        "uses": token.uses,
        "used": token.used,
        "expires_at": token.expires_at,
        "network": None if token.network is None else str(token.network),
        "unblock": token.unblock,
        "created_at": token.created_at,
        "revoked_at": token.revoked_at,
    }


# ------------------------------------------------------------------------------------------------------------- answers


async def _status(platform: Platform, request: Request) -> Response:
    authority = platform.authorities.active
    return _json(platform.describe() | {"pin": authority.pin, "advertised": await platform.authorities.advertised()})


async def _new_token(platform: Platform, request: Request) -> Response:
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
    text, token = await platform.tokens.new(wanted, actor=_actor(request), now=now)
    return _json({"token": text.reveal(), **_token(token, now)}, 201)


async def _tokens(platform: Platform, request: Request) -> Response:
    now = platform.now()
    return _json([_token(token, now) for token in await platform.tokens.list()])


async def _token_uses(platform: Platform, request: Request, key_id: str) -> Response:
    uses = await platform.tokens.uses(key_id)
    return _json([{"at": use.at, "node": use.node, "address": use.address, "serial": use.serial} for use in uses])


async def _revoke_token(platform: Platform, request: Request, key_id: str) -> Response:
    revoked = await platform.tokens.revoke(key_id, actor=_actor(request), now=platform.now())
    return _json({"key_id": key_id, "revoked_now": revoked})


async def _revoke(platform: Platform, request: Request) -> Response:
    body = _body(request, NewRevocation)
    done = await platform.revoker.revoke(body.target, body.reason, actor=_actor(request), now=platform.now())
    return _json(
        {
            "node": done.node,
            "revoked": [_certificate(record) | {"identity": record.identity} for record in done.revoked],
        }
    )


async def _ca(platform: Platform, request: Request) -> Response:
    issuer = platform.authorities.active
    certificate = parse.certificate(issuer.certificate)
    return _json(
        {
            "pem": pem.encode("CERTIFICATE", issuer.certificate).decode(),
            "pin": issuer.pin,
            "subject": certificate.subject.rfc4514_string(),
            "serial": format(certificate.serial_number, "x"),
            "key": keys.describe(parse.public_key(certificate)),
            "not_before": certificate.not_valid_before_utc,
            "not_after": certificate.not_valid_after_utc,
            "origin": issuer.origin,
            "state": issuer.state,
        }
    )


async def _export(platform: Platform, request: Request) -> Response:
    body = _body(request, Export)
    shown: dict[str, Any] = {"certificate": base64.b64encode(platform.authorities.active.certificate).decode()}
    if body.with_key:
        key = await platform.authorities.export_key(actor=_actor(request), now=platform.now())
        shown["key"] = base64.b64encode(key).decode()
    return _json(shown)


async def _sign(platform: Platform, request: Request) -> Response:
    body = _body(request, NewCertificate)
    enrolment = Enrolment(
        node=body.node,
        csr=_octets(body.csr, "csr"),
        evidence=Operator(name="socket"),
        address="",
        at=platform.now(),
    )
    issued = await platform.registrar.issue(enrolment)
    return _json(
        {
            "serial": issued.serial,
            "pem": pem.encode("CERTIFICATE", issued.der).decode(),
            "ca_pem": pem.encode("CERTIFICATE", platform.authorities.active.certificate).decode(),
            "not_after": parse.certificate(issued.der).not_valid_after_utc,
            "dropped": [] if issued.plan is None else issued.plan.dropped,
        },
        201,
    )


async def _advertised(platform: Platform, request: Request) -> Response:
    return _json({"names": await platform.authorities.advertised()})


async def _advertise(platform: Platform, request: Request) -> Response:
    body = _body(request, Names)
    await platform.authorities.advertise(body.names, actor=_actor(request), now=platform.now())
    return _json({"names": await platform.authorities.advertised(), "certificate_names": await platform.reload()})


async def _audit(platform: Platform, request: Request) -> Response:
    match = re.search(r"[?&]after=(\d{1,18})", request.target)
    records = await platform.store.audit(int(match[1]) if match else 0, 1000)
    return _json(
        [
            {
                "n": record.n,
                "at": datetime.fromtimestamp(record.at / 1000, UTC),
                "actor": record.actor,
                "action": record.action,
                "object": record.object,
                "facts": Raw(record.facts.encode()),
                "hash": record.hash.hex(),
            }
            for record in records
        ]
    )


_Answer = Callable[..., Awaitable[Response]]

_KEY_ID = r"([0-9a-f]{16})"
_NAME = r"([^/]{1,253})"
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
    ("POST", r"/v1/messages", messages.send),
    ("GET", r"/v1/messages", events.lines),
    ("GET", r"/v1/events", events.server_sent),
    ("GET", rf"/v1/messages/{_MSG_ID}", messages.receipt),
    ("DELETE", rf"/v1/messages/{_MSG_ID}", messages.cancel),
    ("GET", r"/v1/queues", messages.queues),
    ("GET", r"/v1/receipts", messages.receipts),
    ("GET", r"/v1/ca", _ca),
    *kubeedge.ROUTES,
    ("POST", r"/v1/ca/export", _export),
    ("POST", r"/v1/certificates", _sign),
    ("GET", r"/v1/advertised", _advertised),
    ("PUT", r"/v1/advertised", _advertise),
    ("GET", r"/v1/audit", _audit),
    ("GET", r"/v1/failures", diagnosis.failures),
    ("GET", r"/v1/doctor", diagnosis.doctor),
)
