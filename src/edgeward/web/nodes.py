"""The part of the API about nodes: who is there, since when and why, and what happened to each."""

from edgeward.errors import NotFound
from edgeward.model.authority import CertificateRecord
from edgeward.model.device import Node as Known
from edgeward.model.http import Request, Response
from edgeward.pki import names
from edgeward.web.bodies import json
from edgeward.web.platform import Platform
from edgeward.web.shapes import Certificate, Moment, Node, Refused


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
    await platform.hub.recorded()
    online = {one.node for one in platform.hub.online()}
    return json([_shown(node, node.device.name in online) for node in await platform.store.nodes()])


async def one(platform: Platform, request: Request, name: str) -> Response:
    """One node."""
    name = names.node_name(name)
    await platform.hub.recorded()
    device = await platform.store.device(name)
    if device is None:
        raise NotFound(what="node", name=name)
    valid = await platform.store.valid_certificates(name, "device", platform.now())
    known = Known(device=device, certificate=valid[0] if valid else None)
    return json(_shown(known, platform.hub.registry.of_node(name) is not None))


async def timeline(platform: Platform, request: Request, name: str) -> Response:
    """What happened to a node, the newest first; the last 200 moments."""
    name = names.node_name(name)
    await platform.hub.recorded()
    if await platform.store.device(name) is None:
        raise NotFound(what="node", name=name)
    return json(
        [
            Moment(at=moment.at, event=moment.event, why=moment.why, address=moment.address)
            for moment in await platform.store.timeline.of(name)
        ]
    )
