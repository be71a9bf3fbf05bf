"""The part of the API that says what is wrong: the failures that were recorded."""

from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import msgspec

from edgeward.errors import BadRequest
from edgeward.model.failure import Failure
from edgeward.model.http import Request, Response
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
    return Response(
        status=200, body=msgspec.json.encode([as_json(one) for one in found]), content_type="application/json"
    )


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
