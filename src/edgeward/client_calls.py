"""The calls of the administrative API as values, and what its answers mean: what the blocking and the asynchronous client have in common.

Nothing here opens a connection. A function makes a `Call`; a client carries it to the server and gives what came to `Call.answer`.
"""

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from edgeward.errors import EdgewardError, Unreachable, UsageError
from edgeward.web.shapes import (
    Cancelled,
    Happened,
    Moment,
    Node,
    Receipt,
    Revocation,
    Sent,
    Token,
    TokenMade,
    TokenRevoked,
    Waiting,
)

SOCKET = "admin.sock"

PORT = 10010

MAX_ANSWER = 256 * 1024 * 1024
"""Octets of an answer: what is known of half a million nodes."""

MAX_LINE = 128 * 1024 * 1024
"""Octets of one event: a message of 32 MiB, and what escapes may make of it."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a subscription that broke is made again: doubling from the one to the other."""

_T = TypeVar("_T")


class Answered(EdgewardError):
    """A problem that the server answered, with its own words, hint and exit status; `members` has all of it, `status` the HTTP status."""

    sentence = "{title}"
    remedy = "{hint}"
    fact_limit = 2000

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(title=problem.get("title", "the server refused"), hint=problem.get("hint", ""))
        self.problem = dict(problem)
        self.status = _number(problem, "status", 500)
        self.exit_status = _number(problem, "exit_status", 1) or 1  # type: ignore[misc]  # this one error has another's status

    @property
    def code(self) -> str:
        """The class of the problem, such as `queue-full`."""
        return str(self.problem.get("code", "answered"))


class Gap(msgspec.Struct, frozen=True):
    """Events between the last one and the next are not remembered by the server any more."""


# ------------------------------------------------------------------------------------------------------------- what is asked


@dataclass(frozen=True, slots=True)
class Call(Generic[_T]):
    """A request of the API, the shape of its answer (`kind`), and what of that is wanted (`of`)."""

    method: str
    path: str
    kind: Any
    body: Any = None
    of: Callable[[Any], _T] = lambda answer: answer

    def answer(self, text: bytes, address: str) -> _T:
        """What the server at `address` has answered. Raises `Unreachable` for what cannot be understood."""
        return self.of(understood(text, self.kind, address))


def send(
    node: str,
    *,
    operation: str,
    resource: str,
    content: Any = None,
    wait: float | None = None,
    msg_id: str | None = None,
    **more: Any,
) -> Call[Sent]:
    """Queue a message for a node, durably; with `wait`, wait so many seconds for its end. `content` is anything that JSON knows.

    With a `msg_id` it may be sent again after a failure: the same id and content is the same message. `more`: the other members of
    `POST /v1/messages`, such as `group`, `source`, `resourceversion`, `acknowledge`, `lifetime_seconds`.
    """
    body = {"node": node, "operation": operation, "resource": resource, "content": content, **more}
    body |= {name: value for name, value in (("wait", wait), ("msg_id", msg_id)) if value is not None}
    return Call("POST", "/v1/messages", Sent, body)


def receipt(msg_id: str) -> Call[Receipt]:
    """What became of a message."""
    return Call("GET", f"/v1/messages/{_quoted(msg_id)}", Receipt)


def cancel(msg_id: str) -> Call[bool]:
    """Take a message back; False when it had ended."""
    return Call("DELETE", f"/v1/messages/{_quoted(msg_id)}", Cancelled, of=lambda answer: bool(answer.cancelled_now))


def receipts(node: str | None = None, *, live: bool = False, limit: int = 100) -> Call[list[Receipt]]:
    """Receipts, the newest first."""
    asked = {"limit": limit} | ({"node": node} if node else {}) | ({"live": 1} if live else {})
    return Call("GET", f"/v1/receipts?{urlencode(asked)}", list[Receipt])


def queues() -> Call[list[Waiting]]:
    """How much waits for each node."""
    return Call("GET", "/v1/queues", list[Waiting])


def nodes() -> Call[list[Node]]:
    """All nodes."""
    return Call("GET", "/v1/nodes", list[Node])


def node(name: str) -> Call[Node]:
    """One node."""
    return Call("GET", f"/v1/nodes/{_quoted(name)}", Node)


def timeline(name: str) -> Call[list[Moment]]:
    """What happened to a node, the newest first."""
    return Call("GET", f"/v1/nodes/{_quoted(name)}/timeline", list[Moment])


def new_token(node: str | None = None, *, pattern: str | None = None, **more: Any) -> Call[TokenMade]:
    """A join token for a node or for the names of a pattern; `more`: `uses`, `lifetime_seconds`, `network`, `unblock`."""
    return Call("POST", "/v1/tokens", TokenMade, {"node": node, "pattern": pattern, **more})


def tokens() -> Call[list[Token]]:
    """The join tokens that were made."""
    return Call("GET", "/v1/tokens", list[Token])


def revoke_token(key_id: str) -> Call[bool]:
    """Take a join token back; False when it was before."""
    path = f"/v1/tokens/{_quoted(key_id)}/revoke"
    return Call("POST", path, TokenRevoked, of=lambda answer: bool(answer.revoked_now))


def revoke(target: str, reason: str = "unspecified", *, tokens: bool = False) -> Call[Revocation]:
    """Revoke a node, `serial:HEX` or `operator:NAME`, for a reason of RFC 5280; `tokens`: also the join tokens that they made."""
    return Call("POST", "/v1/revocations", Revocation, {"target": target, "reason": reason, "tokens": tokens})


def events(types: Sequence[str], patterns: Mapping[str, str]) -> str:
    """The path of a subscription."""
    asked = dict(patterns) | ({"type": ",".join(types)} if types else {})
    return "/v1/events" + (f"?{urlencode(asked)}" if asked else "")


def resuming(after: str) -> dict[str, str]:
    """The header fields of a subscription that goes on behind the event `after`, if any. Raises `UsageError` for what is no id: a line
    break in it would begin another field, or another request."""
    if not after.isascii() or not after.isprintable():
        raise UsageError(problem=f"{after!r} is no id of an event")
    return {"Last-Event-ID": after} if after else {}


def _quoted(name: str) -> str:
    return quote(name, safe="")


# ----------------------------------------------------------------------------------------------------------- what is answered


def understood(text: bytes, kind: Any, address: str) -> Any:
    """An answer in JSON as a `kind`. Raises `Unreachable`: whoever answers otherwise is no server of this API."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreachable(address=address, why=f"its answer is not understood: {error}") from error


def refusal(status: int, text: bytes, address: str) -> EdgewardError:
    """The problem in an answer with a status of 400 or more."""
    try:
        return Answered(msgspec.json.decode(text, type=dict[str, Any]))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Unreachable(address=address, why=f"it answered {status}")


def unreachable(error: Exception, address: str) -> Unreachable:
    """Why a server could not be asked, in words."""
    if isinstance(error, TimeoutError) and error.errno is None:  # ours, not the kernel's
        return Unreachable(address=address, why="it does not answer in time")
    if isinstance(error, ssl.SSLError):
        return Unreachable(address=address, why=f"TLS: {(error.reason or str(error)).lower().replace('_', ' ')}")
    why = getattr(error, "strerror", None) or str(error) or "the server closed the connection"
    return Unreachable(address=address, why=why)


def stopped(address: str) -> Unreachable:
    """An answer that should have no end has ended."""
    return Unreachable(address=address, why="the server has stopped")


def cut_off(address: str, error: Exception | None = None) -> Unreachable:
    """An answer has ended before its end, or does not go on."""
    if isinstance(error, TimeoutError):
        return unreachable(error, address)
    return Unreachable(address=address, why="the server closed the connection")


class ServerSent:
    """Server-sent events (WHATWG HTML section 9.2), line by line."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._fields: dict[str, str] = {}

    def feed(self, line: bytes) -> tuple[str, Happened | Gap] | None:
        """The event that ends with this line, and its id; None for every other line."""
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text:
            name, _, value = text.partition(":")
            if name in ("event", "id", "data"):  # else it is a comment, or nothing that we send
                self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        if "event" not in fields:
            return None
        identity = fields.get("id", "")
        if not identity.isascii() or not identity.isprintable():  # it could not be sent back in a header
            identity = ""
        if fields["event"] == "gap":
            return identity, Gap()
        return identity, understood(fields.get("data", "").encode(), Happened, self._address)


# ----------------------------------------------------------------------------------------------------------- where it is


@dataclass(frozen=True, slots=True)
class Place:
    """Where an authority is asked: at the socket in its data directory, or over mutual TLS (`context`) at a host and port."""

    data: Path
    host: str = ""
    port: int = 0
    context: ssl.SSLContext | None = None

    @staticmethod
    def of(data: Path | str | None, server: str | None, operator: Path | str | None) -> "Place":
        """One of the two. Raises `UsageError`."""
        if (data is None) == (server is None):
            raise UsageError(problem="a client needs either the data directory or the server's URL")
        if server is None:
            return Place(Path(data or ""))
        if operator is None:
            raise UsageError(problem="a server elsewhere needs an operator's directory (EDGEWARD_OPERATOR)")
        return Place(Path(), *_host_and_port(server), _context(Path(operator)))

    @property
    def socket(self) -> Path:
        """The socket in the data directory."""
        return self.data / SOCKET

    @property
    def address(self) -> str:
        """The place for people."""
        return str(self.socket) if self.context is None else f"{self.host}:{self.port}"


def _number(problem: Mapping[str, Any], name: str, default: int) -> int:
    value = problem.get(name)
    return value if isinstance(value, int) else default


def _host_and_port(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        if parts.scheme == "https" and parts.hostname and parts.path in ("", "/"):
            return parts.hostname, parts.port or PORT
    except ValueError:  # brackets without an end, a port that is none
        pass
    raise UsageError(problem=f"{url!r} is no URL of a server: write https://HOST:{PORT}")


def _context(directory: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(directory / "ca.crt"))
        context.load_cert_chain(directory / "operator.crt", directory / "operator.key")
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            problem=f"{directory} has no usable ca.crt, operator.crt and operator.key: {getattr(error, 'strerror', None) or error}"
        ) from error
    return context
