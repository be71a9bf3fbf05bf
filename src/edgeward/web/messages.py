"""The part of the API about messages: send one, ask what became of it, take it back, see what waits, and hear what nodes say."""

import re
from datetime import timedelta

import msgspec
from msgspec import Raw

from edgeward.errors import BadRequest, NotFound
from edgeward.model import message as model
from edgeward.model.delivery import MAX_VERSION
from edgeward.model.delivery import Receipt as Known
from edgeward.model.http import Request, Response
from edgeward.model.message import Header, Message, Route
from edgeward.pki import names
from edgeward.web.bodies import body, json, query, whole
from edgeward.web.platform import Platform
from edgeward.web.shapes import Cancelled, NewMessage, Receipt, Sent, Waiting

MSG_ID = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}"
"""A message id that a sender may choose."""

LONGEST_WAIT = 3600.0

PAGE = 1000
"""Receipts in one answer at most."""


async def send(platform: Platform, request: Request) -> Response:
    """Queue a message for a node; it is durable when this answers, 202 while it is on its way and 200 when it has ended."""
    asked = body(request, NewMessage)
    if asked.wait is not None and not 0 < asked.wait <= LONGEST_WAIT:
        raise BadRequest(why="wait is between 0 and 3600 seconds")
    if asked.lifetime_seconds is not None and not 0 < asked.lifetime_seconds <= 1e9:
        raise BadRequest(why="lifetime_seconds is more than 0")
    if asked.msg_id is not None and re.fullmatch(MSG_ID, asked.msg_id) is None:
        raise BadRequest(why="msg_id is 1 to 128 letters, digits, dots, colons, hyphens and underscores")
    version = asked.resourceversion
    if version and not (
        version.isascii() and version.isdecimal() and len(version) < 20 and int(version) <= MAX_VERSION
    ):
        raise BadRequest(why="resourceversion is a whole number below 2^63, as text")
    route = Route(source=asked.source, group=asked.group, operation=asked.operation, resource=asked.resource)
    if "\0" in "".join((*msgspec.structs.astuple(route), asked.type, asked.parent_msg_id)):
        raise BadRequest(why="a NUL in the route or in an id is no name of anything")
    header = Header(
        msg_id=asked.msg_id or "",
        parent_msg_id=asked.parent_msg_id,
        resourceversion=version,
        type=asked.type,
    )
    message = Message(header=header, route=route, content=asked.content)
    if len(model.encode(Message(header=header, route=route))) > model.MAX_ENVELOPE // 2:
        raise BadRequest(why="the route and the ids are longer than any name")
    ended = await platform.hub.send(
        names.node_name(asked.node),
        message,
        wait=asked.wait,
        acknowledge=asked.acknowledge,
        lifetime=None if asked.lifetime_seconds is None else timedelta(seconds=asked.lifetime_seconds),
    )
    sent = Sent(msg_id=ended.msg_id, node=ended.node, state=ended.state, answer=ended.answer)
    return json(sent, 200 if ended.state.final else 202)


async def receipt(platform: Platform, request: Request, msg_id: str) -> Response:
    """What became of a message."""
    found = await platform.hub.courier.receipt(msg_id)
    if found is None:
        raise NotFound(what="message", name=msg_id)
    return json(shown(found))


async def cancel(platform: Platform, request: Request, msg_id: str) -> Response:
    """Take a message back that has not ended. It may have reached the node all the same."""
    if await platform.hub.courier.receipt(msg_id) is None:
        raise NotFound(what="message", name=msg_id)
    return json(Cancelled(msg_id=msg_id, cancelled_now=await platform.hub.courier.cancel(msg_id)))


async def queues(platform: Platform, request: Request) -> Response:
    """How much waits for each node for which anything does."""
    return json(
        [
            Waiting(node=one.node, messages=one.messages, octets=one.octets, oldest=one.oldest)
            for one in await platform.store.queue.depths()
        ]
    )


async def receipts(platform: Platform, request: Request) -> Response:
    """Receipts, the newest first: of all nodes or one (`node`), all or those that wait (`live=1`), `limit` of them before a `number`."""
    asked = query(request, frozenset({"node", "live", "before", "limit"}))
    found = await platform.hub.courier.receipts(
        names.node_name(asked["node"]) if "node" in asked else None,
        live=whole(asked, "live", 0, 1) == 1,
        before=whole(asked, "before", 0, 2**62),
        limit=max(1, whole(asked, "limit", 100, PAGE)),
    )
    return json([shown(one) for one in found])


def shown(known: Known) -> Receipt:
    """A receipt for programs."""
    return Receipt(
        number=known.n,
        msg_id=known.msg_id,
        node=known.node,
        state=known.state,
        operation=known.operation,
        resource=known.resource,
        octets=known.octets,
        acknowledge=known.acknowledge,
        attempts=known.attempts,
        queued_at=known.queued_at,
        expires_at=known.expires_at,
        sent_at=known.sent_at,
        settled_at=known.settled_at,
        answer=None if known.answer is None else Raw(known.answer.encode()),
    )
