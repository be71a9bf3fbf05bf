"""The part of the administrative API that is about KubeEdge: its CA comes in, Secrets for it go out, tokens are kept current as it does."""

import base64
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from edgeward.errors import BadRequest, EdgewardError, Unavailable
from edgeward.model.http import Request, Response
from edgeward.pki import keys, names
from edgeward.pki.formats import pkcs8
from edgeward.services.adoption import Terms
from edgeward.services.kubeedge_tokens import Acceptance
from edgeward.services.migration import Brought
from edgeward.services.standing import Current
from edgeward.stores.port import ADOPTED
from edgeward.web.bodies import Strict, actor, body, json, octets
from edgeward.web.platform import Platform

_NAMED = 10
"""Nodes that a note names; of others it says how many."""


class Import(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/ca/import`: base64 of DER, the key as PKCS#8, SEC 1 or PKCS#1 in the clear; both or neither (then the CA is here already).

    `adopt_until`: null ends adoption, absent leaves it; the same for `allow_legacy_identity`.
    """

    certificate: str | None = None
    key: str | None = None
    kubeedge_tokens: Acceptance | None = None
    adopt_until: datetime | UnsetType | None = UNSET
    allow_legacy_identity: bool | UnsetType = UNSET
    advertise: tuple[str, ...] = ()


class ExportSecrets(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/kubeedge/export`."""

    with_ca_key: bool = False


class KeepToken(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`PUT /v1/tokens/standing`. `refresh_seconds` null: keep none for this pattern any more."""

    pattern: str
    refresh_seconds: float | None = 43_200
    network: str | None = None
    secret_file: str | None = None


async def _import(platform: Platform, request: Request) -> Response:
    """Take over a KubeEdge CA with its key; only on the machine of the authority."""
    given = body(request, Import)
    if (given.certificate is None) != (given.key is None):
        raise BadRequest(why="a CA certificate and its key come together")
    terms, present = None, platform.migration.terms
    if given.adopt_until is not UNSET or given.allow_legacy_identity is not UNSET:
        until = present.until if isinstance(given.adopt_until, UnsetType) else given.adopt_until
        if until is not None and until.tzinfo is None:
            raise BadRequest(why="adopt_until has no time zone")
        legacy = given.allow_legacy_identity
        terms = Terms(until=until, legacy=present.legacy if isinstance(legacy, UnsetType) else legacy)
        if until is not None and until == present.until:  # it may be past by now: that is not asked for anew
            terms = msgspec.structs.replace(terms, until=until if until > platform.now() else None)
    key = None if given.key is None else keys.issuer_key(pkcs8.read(octets(given.key, "key")))
    deviations = await platform.migration.bring(
        Brought(
            certificate=None if given.certificate is None else octets(given.certificate, "certificate"),
            key=key,
            advertised=given.advertise,
            tokens=given.kubeedge_tokens,
            terms=terms,
        ),
        actor=actor(request),
        now=platform.now(),
    )
    try:
        await platform.reload()
    except EdgewardError as error:
        raise Unavailable(
            problem=f"the CA is imported; the new server certificate is not served yet, and tried again by itself: {error}"
        ) from error
    return json({"pin": platform.authorities.active.pin, "deviations": deviations, **_terms(platform)})


def _terms(platform: Platform) -> dict[str, Any]:
    terms, tokens = platform.migration.terms, platform.migration.tokens
    return {
        "adopt_until": terms.until,
        "allow_legacy_identity": terms.legacy,
        "kubeedge_tokens": None if tokens is None else {"pattern": tokens.pattern, "until": tokens.until},
    }


async def _status(platform: Platform, request: Request) -> Response:
    """What of KubeEdge is honoured here, and until when. Nobody waits for nodes that are revoked."""
    adopted = []
    renewed = 0
    for node in await platform.store.nodes():
        if node.certificate is None or node.state == "revoked":
            continue
        if node.certificate.evidence == ADOPTED:
            adopted.append({"name": node.device.name, "not_after": node.certificate.not_after, "state": node.state})
        else:
            renewed += 1
    authority = platform.authorities.active
    shown = _terms(platform) | {"advertised": await platform.authorities.advertised()}
    return json({"pin": authority.pin, "origin": authority.origin, **shown, "adopted": adopted, "others": renewed})


async def _export(platform: Platform, request: Request) -> Response:
    """Secrets that a cloudcore loads; only on the machine of the authority."""
    given = body(request, ExportSecrets)
    exported = await platform.migration.export(with_ca_key=given.with_ca_key, actor=actor(request), now=platform.now())
    secrets = {
        name: {key: base64.b64encode(value).decode() for key, value in fields.items()}
        for name, fields in exported.secrets.items()
    }
    blocked = [node.device.name for node in await platform.store.nodes() if node.state == "revoked"]
    return json({"secrets": secrets, "notes": [*exported.notes, *_let_in_there(blocked)]})


def _let_in_there(blocked: list[str]) -> Iterator[str]:
    if blocked:
        more = f" and {len(blocked) - _NAMED} more" if len(blocked) > _NAMED else ""
        yield (
            f"cloudcore knows no revocation: {', '.join(blocked[:_NAMED])}{more}, blocked here, may connect there"
            " until their certificates expire"
        )


def _shown(current: Current) -> dict[str, Any]:
    standing, token = current.standing, current.token
    return {
        "token": current.text.reveal(),
        "pattern": standing.pattern,
        "key_id": standing.key_id,
        "refresh_seconds": standing.refresh_seconds,
        "made_at": standing.made_at,
        "next_at": standing.due,
        "expires_at": token.expires_at,
        "used": token.used,
        "network": standing.network,
        "secret_file": standing.secret_file,
    }


async def _keep(platform: Platform, request: Request) -> Response:
    """Keep a standing token, or stop keeping one."""
    given = body(request, KeepToken)
    now, who = platform.now(), actor(request)
    if given.refresh_seconds is None:
        await platform.standing.stop(given.pattern, actor=who, now=now)
        return json({"pattern": given.pattern, "stopped": True})
    current = await platform.standing.keep(
        given.pattern,
        timedelta(seconds=min(max(given.refresh_seconds, 0), 1e9)),
        network=None if given.network is None else names.network(given.network),
        secret_file=given.secret_file,
        actor=who,
        now=now,
    )
    return json(_shown(current))


async def _standing(platform: Platform, request: Request) -> Response:
    """The standing tokens that are kept."""
    return json([_shown(one) for one in await platform.standing.shown(None, platform.now())])


ROUTES: tuple[tuple[str, str, Callable[..., Awaitable[Response]]], ...] = (
    ("POST", r"/v1/ca/import", _import),
    ("GET", r"/v1/kubeedge", _status),
    ("POST", r"/v1/kubeedge/export", _export),
    ("PUT", r"/v1/tokens/standing", _keep),
    ("GET", r"/v1/tokens/standing", _standing),
)
