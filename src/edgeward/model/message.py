"""The message that an edge and its hub exchange, and its JSON form on the wire.

    { "header": { "msg_id", "parent_msg_id"?, "timestamp", "resourceversion"?, "sync"?, "type"? },
      "route":  { "source"?, "destination"?, "group"?, "operation"?, "resource"? },
      "content": any JSON value }

`?` is omitted when empty. The writer is Go's encoder, so the reader reads as Go's decoder does: unknown members are ignored, names are
matched without regard to case, absent members and null are zero, of a repeated member the last one counts. What it does not do is
allocate for members that nobody will read: the content is kept as the bytes it came in, and everything else together is small.
"""

from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Raw

from edgeward.errors import TooLarge, Unreadable

MAX_ENVELOPE = 64 * 1024
"""Octets of a message outside its content. A real one has about 300; a resource name adds at most a few hundred."""

NULL = Raw(b"null")
ACK = Raw(b'"ack"')
"""What answers a control message (`ping`, `pong`, `config`)."""

OK_TEXT = "OK"
"""What a real edge acknowledges with, and a cloud answers with where there is nothing to say."""

RESPONSE = "response"
ERROR = "error"

Milliseconds = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


def _null() -> Raw:
    return NULL


class Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """Who a message is, which one it answers, and when it was made. `msg_id` and `timestamp` are written even when empty."""

    # a default from a factory is always written, a plain default is omitted
    msg_id: str = msgspec.field(default_factory=str)
    parent_msg_id: str = ""
    timestamp: Milliseconds = msgspec.field(default_factory=int)
    resourceversion: str = ""
    sync: bool = False
    type: str = ""


class Route(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """Where a message comes from and what it is about."""

    source: str = ""
    destination: str = ""
    group: str = ""
    operation: str = ""
    resource: str = ""


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """One message. `content` is JSON text, unparsed: `msgspec.json.decode(message.content)` reads it.

    A struct of the JSON library instead of a dataclass, because one is made for every keepalive of every node: 0.7 us, decoding
    included.
    """

    header: Header = msgspec.field(default_factory=Header)
    route: Route = msgspec.field(default_factory=Route)
    content: Raw = msgspec.field(default_factory=_null)

    @property
    def msg_id(self) -> str:
        """Its name: a lower-case UUIDv4 by convention, any text in practice."""
        return self.header.msg_id

    @property
    def parent_msg_id(self) -> str:
        """The name of the message that this one answers; empty when it answers none."""
        return self.header.parent_msg_id

    @property
    def timestamp(self) -> int:
        """When it was made by its maker's clock, in milliseconds since 1970."""
        return self.header.timestamp

    @property
    def source(self) -> str:
        """The module that made it, such as `edged` or `edgecontroller`."""
        return self.route.source

    @property
    def group(self) -> str:
        """The group of modules that it is for, such as `resource` or `meta`."""
        return self.route.group

    @property
    def operation(self) -> str:
        """What to do: `insert`, `update`, `query`, `response`, `keepalive` …"""
        return self.route.operation

    @property
    def resource(self) -> str:
        """What to do it to: `<namespace>/<type>[/<name>]`."""
        return self.route.resource


class _Skimmed(msgspec.Struct, gc=False):
    """The content alone; everything else is skipped without being kept."""

    content: Raw = msgspec.field(default_factory=_null)


_Part = TypeVar("_Part", Header, Route)

_strict = msgspec.json.Decoder(Message)
_skim = msgspec.json.Decoder(_Skimmed)
_members = msgspec.json.Decoder(dict[str, Raw])
_values: dict[type, msgspec.json.Decoder[Any]] = {
    str: msgspec.json.Decoder(str),
    bool: msgspec.json.Decoder(bool),
    int: msgspec.json.Decoder(Milliseconds),
}
_encode = msgspec.json.Encoder().encode

_FIELDS: dict[type, dict[str, type]] = {
    Header: {
        "msg_id": str,
        "parent_msg_id": str,
        "timestamp": int,
        "resourceversion": str,
        "sync": bool,
        "type": str,
    },
    Route: dict.fromkeys(Route.__struct_fields__, str),
}


def make(
    content: Raw, *, msg_id: str, now: datetime, operation: str, resource: str, source: str = "", group: str = ""
) -> Message:
    """A new message. `content` is JSON text; `msg_id` should be unlike any other."""
    header = Header(msg_id=msg_id, timestamp=milliseconds(now))
    return Message(
        header=header,
        route=Route(source=source, group=group, operation=operation, resource=resource),
        content=content,
    )


def keepalive(msg_id: str, now: datetime) -> Message:
    """What an edge sends right after connecting and then every 15 s, exactly as KubeEdge's does."""
    return make(
        Raw(b'"ping"'),
        msg_id=msg_id,
        now=now,
        operation="keepalive",
        resource="node",
        source="websocket",
        group="resource",
    )


def response_to(message: Message, content: Raw, *, msg_id: str, now: datetime) -> Message:
    """The answer to `message`: its source, group, resource and type, operation `response`, no destination."""
    asked = message.route
    return Message(
        header=Header(
            msg_id=msg_id,
            parent_msg_id=message.header.msg_id,
            timestamp=milliseconds(now),
            type=message.header.type,
        ),
        route=Route(source=asked.source, group=asked.group, operation=RESPONSE, resource=asked.resource),
        content=content,
    )


def error_to(message: Message, sentence: str, *, msg_id: str, now: datetime) -> Message:
    """The answer to `message` that says it failed: its resource, operation `error`, the sentence as content."""
    return Message(
        header=Header(msg_id=msg_id, parent_msg_id=message.header.msg_id, timestamp=milliseconds(now)),
        route=Route(operation=ERROR, resource=message.route.resource),
        content=Raw(_encode(sentence)),
    )


def milliseconds(now: datetime) -> int:
    """A moment as messages carry it."""
    return round(now.timestamp() * 1000)


def encode(message: Message) -> bytes:
    """The JSON form with the newline that Go's encoder writes. `<`, `>` and `&` stay as they are: to a JSON reader they are the same."""
    return _encode(message) + b"\n"


def decode(octets: bytes | bytearray) -> Message:
    """The message in `octets`, one JSON document. Raises `Unreadable` or `TooLarge`: the sender's fault.

    The work is one pass over the octets, and the memory what the envelope needs: the content is not copied and not parsed, so its
    depth, its numbers and the count of its members cost nothing. Nested deeper than Python's recursion limit it is refused.
    """
    try:
        try:
            message = _strict.decode(octets)
        except msgspec.ValidationError:  # well-formed, but not spelt as we would: an unknown member, other case, null
            return _as_go_reads(octets)
        if len(octets) > MAX_ENVELOPE:
            _bound_envelope(octets, message.content)
        return message
    except RecursionError as error:
        raise Unreadable(what="message", why="it is nested too deeply") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(what="message", why=str(error)) from error


def _bound_envelope(octets: bytes | bytearray, content: Raw) -> None:
    if len(octets) - len(memoryview(content)) > MAX_ENVELOPE:
        raise TooLarge(what="a message without its content", limit=MAX_ENVELOPE)


def _as_go_reads(octets: bytes | bytearray) -> Message:
    _bound_envelope(octets, _skim.decode(octets).content)
    header, route, content = Header(), Route(), NULL
    for name, value in _members.decode(octets).items():
        match name.lower():
            case "header":
                header = _part(Header, value)
            case "route":
                route = _part(Route, value)
            case "content":
                content = value
    return Message(header=header, route=route, content=content)


def _part(kind: type[_Part], octets: Raw) -> _Part:
    if octets == NULL:
        return kind()
    fields: dict[str, Any] = {}
    for name, value in _members.decode(octets).items():
        folded = name.lower()
        if folded in _FIELDS[kind] and value != NULL:
            fields[folded] = _values[_FIELDS[kind][folded]].decode(value)
    return kind(**fields)
