"""The part of the API that says what is wrong: the failures that were recorded."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import msgspec

from edgeward.errors import BadRequest
from edgeward.model.device import Device
from edgeward.model.failure import Failure
from edgeward.model.finding import Finding
from edgeward.model.http import Request, Response
from edgeward.pki import parse
from edgeward.services.doctor.story import Circumstances, judge
from edgeward.web.platform import Platform

MOST = 1000
"""Records in one answer."""


async def failures(platform: Platform, request: Request) -> Response:
    """`GET /v1/failures?node=NAME&address=IP&since=TIME&limit=N`: failed handshakes, enrolments and connections, the newest first."""
    asked = _query(request, {"node", "address", "since", "limit"})
    limit = asked.get("limit", "200")
    if not limit.isdecimal() or not 0 < int(limit) <= MOST:
        raise BadRequest(why=f"limit is between 1 and {MOST}")
    found = await platform.failures.recent(
        node=asked.get("node", ""),
        address=asked.get("address", ""),
        since=_moment(asked.get("since")),
        limit=int(limit),
    )
    told = [
        as_json(one) | {"finding": finding.as_json()}
        for one, finding in await judged(platform, found, asked.get("node", ""))
    ]
    return Response(status=200, body=msgspec.json.encode(told), content_type="application/json")


async def judged(platform: Platform, found: Sequence[Failure], node: str = "") -> list[tuple[Failure, Finding]]:
    """Each record with what it means, by what the authority knows besides. `node`: the one that was asked about."""
    facts = platform.describe()
    names = tuple(facts.get("names", ()))
    server = await platform.store.certificate(bytes.fromhex(facts.get("certificate_sha256", "")))
    authority = parse.certificate(platform.authorities.active.certificate).subject.rfc4514_string()
    devices: dict[str, Device | None] = {node: await platform.store.device(node)} if node else {}
    at: dict[str, Sequence[str]] = {}
    pairs = []
    for one in found:
        if one.node and one.node not in devices:
            devices[one.node] = await platform.store.device(one.node)
        if not one.node and one.address not in at:
            at[one.address] = await platform.store.nodes_at(one.address) if one.address else ()
        known = Circumstances(
            names=names,
            authority=authority,
            now=platform.now(),
            nodes=() if one.node else at[one.address],
            device=devices.get(one.node or node),
            certified_at=None if server is None else server.issued_at,
        )
        pairs.append((one, judge(one, known)))
    return pairs


def as_json(failure: Failure) -> dict[str, Any]:
    """A record for programs. Fields are only ever added."""
    shown = failure.shown
    return {
        "first": failure.first_at,
        "last": failure.last_at,
        "count": failure.count,
        "listener": failure.listener,
        "address": failure.address or None,
        "node": failure.node or None,
        "dialled": failure.dialled or None,
        "dialled_known_from": failure.learnt,
        "code": failure.code,
        "reason": failure.reason,
        "alert": failure.alert or None,
        "alert_from": None if not failure.alert else "peer" if failure.received else "server",
        "certificate": None
        if shown is None
        else {
            "subject": shown.subject,
            "issuer": shown.issuer,
            "sha256": shown.fingerprint,
            "not_after": shown.not_after,
        },
    }


def _query(request: Request, known: set[str]) -> dict[str, str]:
    """The query's members, each at most once, none unknown."""
    try:
        members = parse_qs(
            request.target.partition("?")[2], keep_blank_values=True, strict_parsing=bool("?" in request.target)
        )
    except ValueError as error:
        raise BadRequest(why="the query is not made of NAME=VALUE") from error
    for name, values in members.items():
        if name not in known or len(values) != 1:
            raise BadRequest(why=f"the query may have {', '.join(sorted(known))}, each once")
    return {name: values[0] for name, values in members.items()}


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(why="since is an RFC 3339 time") from error
    if moment.tzinfo is None:
        raise BadRequest(why="since needs a time zone")
    return moment
