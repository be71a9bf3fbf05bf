"""The part of the API that says what is wrong: the failures that were recorded."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec

from edgeward.errors import BadRequest
from edgeward.files import room
from edgeward.model.audit import AuditRecord, first_bad
from edgeward.model.authority import Issuer, IssuerState
from edgeward.model.device import Device
from edgeward.model.diagnosis import Diagnosis
from edgeward.model.failure import Failure, Listener
from edgeward.model.finding import Finding
from edgeward.model.http import Request, Response
from edgeward.pki import parse
from edgeward.services.doctor import health, on_disk
from edgeward.services.doctor.story import Circumstances, judge
from edgeward.stores.port import Store
from edgeward.web.bodies import whole
from edgeward.web.platform import Platform

MOST = 1000
"""Records in one answer."""


async def failures(platform: Platform, request: Request) -> Response:
    """`GET /v1/failures?node=NAME&address=IP&since=TIME&limit=N`: failed handshakes, enrolments and connections, the newest first."""
    asked = _query(request, {"node", "address", "since", "limit"})
    limit = whole(asked, "limit", 200, MOST)
    if not limit:
        raise BadRequest(why=f"limit is between 1 and {MOST}")
    found = await platform.failures.recent(
        node=asked.get("node", ""),
        address=asked.get("address", ""),
        since=_moment(asked.get("since")),
        limit=limit,
    )
    told = [
        as_json(one) | {"finding": finding.as_json()}
        for one, finding in await judged(platform, found, asked.get("node", ""))
    ]
    return Response(status=200, body=msgspec.json.encode(told), content_type="application/json")


_PORTS = ((Listener.ENROLMENT, "https"), (Listener.HUB, "hub"))

FAILURE_DAYS = 7
"""For how long a failure that has not been seen again counts for the authority's health."""

VERIFIED = 20_000
"""Audit records that are verified in one examination, 0.2 s of them; more is for `edgeward audit verify`."""


async def doctor(platform: Platform, _request: Request) -> Response:
    """`GET /v1/doctor`: the authority's own examination, as `edgeward doctor --json` has it."""
    now, facts, store = platform.now(), platform.describe(), platform.store
    since = facts.get("since", now)
    recent = await platform.failures.recent(since=now - timedelta(days=FAILURE_DAYS), limit=MOST)
    await platform.hub.recorded()
    nodes = await store.nodes()
    server = await store.certificate(bytes.fromhex(facts.get("certificate_sha256", "")))
    last_record, audited = await _audited(store, facts.get("data", ""))
    free, total = room(Path(facts["data"])) if "data" in facts else (0, 0)
    one = health.Authority(
        now=now,
        since=since,
        uptime=timedelta(seconds=facts.get("uptime", (now - since).total_seconds())),
        directory=facts.get("data", ""),
        issuers=[
            parse.certificate(issuer.certificate)
            for issuer in await store.issuers()
            if issuer.state is not IssuerState.RETIRED
        ],
        server=None if server is None or server.der is None else parse.certificate(server.der),
        nodes=nodes,
        tokens=await platform.tokens.list(),
        planned=[record.planned_at for record in await store.planned()],
        failures=await judged(platform, recent),
        last_record=last_record,
        disk_free=free,
        disk_total=total,
    )
    shown: dict[str, Any] = {
        name: facts[name] for name in ("version", "since", "uptime", "pid", "names") if name in facts
    }
    shown |= {"nodes": len(nodes), "online": len(platform.hub.online()), "disk_free": free, "disk_total": total}
    shown |= {"failures": len(recent), "failure_days": FAILURE_DAYS}
    findings = (*health.judge(one), *audited)
    diagnosis = Diagnosis(subject=facts.get("data", ""), findings=findings, facts=shown)
    return Response(status=200, body=msgspec.json.encode(diagnosis.as_json()), content_type="application/json")


async def _audited(store: Store, directory: str) -> tuple[datetime | None, list[Finding]]:
    """When the newest audit record was written, and what is wrong with the chain. One page at a time, so that others get their turn."""
    records: list[AuditRecord] = []
    while page := await store.audit(records[-1].n if records else 0, 1000):
        records += page
        if len(records) > VERIFIED:
            return None, [on_disk.found("audit-not-verified", count=str(VERIFIED))]
    bad = first_bad(records)
    last = datetime.fromtimestamp(records[-1].at / 1000, UTC) if records else None
    return last, [] if bad is None else [on_disk.found("data-audit", directory=directory, detail=str(bad))]


async def judged(platform: Platform, found: Sequence[Failure], node: str = "") -> list[tuple[Failure, Finding]]:
    """Each record with what it means, by what the authority knows besides. `node`: the one that was asked about."""
    await platform.hub.recorded()
    facts = platform.describe()
    names = tuple(facts.get("names", ()))
    server = await platform.store.certificate(bytes.fromhex(facts.get("certificate_sha256", "")))
    authority = _subject(platform.authorities.active)
    retired = [_subject(one) for one in await platform.store.issuers() if one.state is IssuerState.RETIRED]
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
            retired=retired,
            ports={name: facts[f"{at}_port"] for name, at in _PORTS if f"{at}_port" in facts},
        )
        pairs.append((one, judge(one, known)))
    return pairs


def _subject(issuer: Issuer) -> str:
    return parse.certificate(issuer.certificate).subject.rfc4514_string()


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
        if name not in known or len(values) != 1 or "\0" in values[0]:
            raise BadRequest(why=f"the query may have {', '.join(sorted(known))}, each once, and no NUL")
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
