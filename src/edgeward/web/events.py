"""The part of the API that tells what happens, as it happens: server-sent events, or one JSON object a line."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from edgeward.errors import BadRequest
from edgeward.hub.delivery import MESSAGE, PRESENCE, TYPES, Event, Wanted, Watch
from edgeward.model.http import Request, Response
from edgeward.web.bodies import query
from edgeward.web.platform import Platform
from edgeward.web.shapes import DeliveryEvent, Happened, MessageEvent, PresenceEvent

KEEPALIVE = 15.0
"""Seconds of silence after which a comment is sent, so that both ends notice when the other one has gone."""

RETRY = 2000
"""Milliseconds after which a browser tries again."""

_FILTERS = frozenset({"type", "node", "group", "resource", "operation"})


def shown(event: Event) -> Happened:
    """An event for programs."""
    lost = event.lost_before
    if event.message is not None:
        return MessageEvent(node=event.node, received=event.at, message=event.message, lost=lost)
    if event.type == PRESENCE:
        return PresenceEvent(
            node=event.node, at=event.at, state=event.state, why=event.why, address=event.address, lost=lost
        )
    return DeliveryEvent(node=event.node, at=event.at, msg_id=event.msg_id, state=event.state, lost=lost)


def wanted(asked: dict[str, str], default: frozenset[str]) -> Wanted:
    """What a query asks for. Raises `BadRequest`."""
    types = frozenset(asked["type"].split(",")) if "type" in asked else default
    if not types or not types <= TYPES:
        raise BadRequest(why=f"type is one or more of {', '.join(sorted(TYPES))}, with commas between them")
    patterns = {name: asked.get(name, "*") for name in ("node", "group", "resource", "operation")}
    if any(len(pattern) > 256 or pattern.count("*") > 4 for pattern in patterns.values()):
        raise BadRequest(why="a pattern has at most 256 characters, and four of them may be `*`")
    return Wanted(types=types, **patterns)


async def lines(platform: Platform, request: Request) -> Response:
    """An endless stream of messages from nodes (or of what `type` says), one JSON object a line."""
    chosen = wanted(query(request, _FILTERS), frozenset({MESSAGE}))

    async def stream() -> AsyncIterator[bytes]:
        with platform.hub.watch(chosen) as watching:
            async for event in watching:
                yield msgspec.json.encode(shown(event)) + b"\n"

    return Response(status=200, content_type="application/x-ndjson", stream=stream())


async def server_sent(platform: Platform, request: Request) -> Response:
    """An endless stream of events (messages, presence, delivery) as a browser's EventSource reads it; `Last-Event-ID` goes on where an
    earlier one broke off, and an event `gap` says that something in between is not remembered any more."""
    asked = query(request, _FILTERS | {"after"})
    after = request.header("last-event-id") or asked.pop("after", "")
    chosen = wanted(asked, TYPES)

    async def stream() -> AsyncIterator[bytes]:
        with platform.hub.watch(chosen, after=after[:100]) as watching:
            yield f": connected\nretry: {RETRY}\n\n".encode()
            if watching.gap:
                yield b"event: gap\ndata: {}\n\n"
            async for event in _with_pauses(watching):
                if event is None:
                    yield b": still here\n\n"
                else:
                    head = f"id: {platform.hub.id_of(event)}\nevent: {event.type}\ndata: "
                    yield head.encode() + msgspec.json.encode(shown(event)) + b"\n\n"

    return Response(
        status=200, content_type="text/event-stream", headers=(("Cache-Control", "no-store"),), stream=stream()
    )


async def _with_pauses(watching: Watch) -> AsyncIterator[Event | None]:
    """The events, and None whenever there was none for a while."""
    while True:
        coming = asyncio.ensure_future(anext(watching))
        try:
            while not (await asyncio.wait({coming}, timeout=KEEPALIVE))[0]:
                yield None
            yield coming.result()
        except StopAsyncIteration:
            return
        finally:
            coming.cancel()
