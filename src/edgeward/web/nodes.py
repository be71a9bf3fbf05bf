"""The part of the API about nodes: who is there, since when and why, and what happened to each."""

from datetime import datetime

import msgspec

from edgeward.errors import NotFound
from edgeward.model.authority import CertificateRecord
from edgeward.model.device import Node as Known
from edgeward.model.http import Request, Response
from edgeward.pki import names
from edgeward.web.bodies import json
from edgeward.web.platform import Platform


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate as lists show it: its serial in lower-case hex, its dates, and when and why it was revoked."""

    serial: str
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None = None
    revocation_reason: str | None = None


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The last connection that was refused in a node's name."""

    at: datetime
    why: str


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A node. `state` is online, offline or revoked; `cause` says why it is offline or revoked; `refused` is there when a connection in
    its name was refused since it was last online. `clock_skew_ms`: how far its clock is ahead."""

    name: str
    state: str
    connected: bool
    since: datetime
    cause: str | None
    last_seen: datetime | None
    address: str | None
    connections: int
    clock_skew_ms: int | None
    refused: Refused | None
    certificate: Certificate | None


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """Something in a node's history: `event` is online, offline, refused or clock."""

    at: datetime
    event: str
    why: str
    address: str


def certificate(record: CertificateRecord) -> Certificate:
    """A certificate for programs."""
    return Certificate(
        serial=record.serial,
        not_before=record.not_before,
        not_after=record.not_after,
        revoked_at=record.revoked_at,
        revocation_reason=record.revocation_reason,
    )


def _shown(node: Known, connected: bool) -> Node:
    device = node.device
    refused = None
    if (
        device.refused_at is not None
        and node.state != "online"
        and device.refused_at >= (device.offline_since or device.created_at)
    ):
        refused = Refused(at=device.refused_at, why=device.refused_why or "")
    return Node(
        name=device.name,
        state=node.state,
        connected=connected,
        since=node.since,
        cause=device.blocked_reason if node.state == "revoked" else device.offline_cause,
        last_seen=device.last_seen,
        address=device.address,
        connections=device.connections,
        clock_skew_ms=device.clock_skew_ms,
        refused=refused,
        certificate=None if node.certificate is None else certificate(node.certificate),
    )


async def every(platform: Platform, request: Request) -> Response:
    """All nodes, by name."""
    online = {one.node for one in platform.hub.online()}
    return json([_shown(node, node.device.name in online) for node in await platform.store.nodes()])


async def one(platform: Platform, request: Request, name: str) -> Response:
    """One node."""
    name = names.node_name(name)
    device = await platform.store.device(name)
    if device is None:
        raise NotFound(what="node", name=name)
    valid = await platform.store.valid_certificates(name, "device", platform.now())
    known = Known(device=device, certificate=valid[0] if valid else None)
    return json(_shown(known, platform.hub.registry.of_node(name) is not None))


async def timeline(platform: Platform, request: Request, name: str) -> Response:
    """What happened to a node, the newest first; the last 200 moments."""
    name = names.node_name(name)
    if await platform.store.device(name) is None:
        raise NotFound(what="node", name=name)
    return json(
        [
            Moment(at=moment.at, event=moment.event, why=moment.why, address=moment.address)
            for moment in await platform.store.timeline.of(name)
        ]
    )
