"""A client of a running authority for Python programs: send messages, wait for what becomes of them, hear what nodes say, and administer.

    from edgeward.client import Client

    with Client(data="/var/lib/edgeward") as authority:                 # on its machine, over the socket in its data directory
        sent = authority.send("edge-1", operation="update", resource="default/configmap/settings", content={"interval": 30}, wait=10)
        print(sent.state, sent.answer)

    authority = Client(server="https://cloud.example.com:10010", operator="alice")   # elsewhere, with what `edgeward operator new` made

Calls block; each takes a connection of its own, so one client may be used from several threads. What the server refuses is raised as
`Answered`, with `code`, `status` and the other members of its RFC 9457 problem; what cannot be reached as `Unreachable` or `NotRunning`.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from edgeward.errors import EdgewardError, NotRunning, TooLarge, Unreachable, UsageError
from edgeward.web.shapes import (
    Cancelled,
    Happened,
    MessageEvent,
    Moment,
    Node,
    PresenceEvent,
    Receipt,
    Revocation,
    Sent,
    Token,
    TokenMade,
    TokenRevoked,
    Waiting,
)

__all__ = ["Answered", "Client", "Gap", "MessageEvent", "PresenceEvent", "Receipt", "Sent"]

SOCKET = "admin.sock"

PORT = 10010

MAX_ANSWER = 256 * 1024 * 1024
"""Octets of an answer: what is known of half a million nodes."""

MAX_LINE = 128 * 1024 * 1024
"""Octets of one event: a message of 32 MiB, and what escapes may make of it."""

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


class _OnSocket(http.client.HTTPConnection):
    def __init__(self, path: Path, data: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._data = data

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunning(path=self._data) from error
        except OSError as error:
            raise Unreachable(address=self._path, why=error.strerror or str(error)) from error


class Client:
    """Calls to one authority: over the socket in its data directory `data`, or over mutual TLS to `server` (https://HOST:PORT) with the
    pair in the directory `operator` (operator.crt, operator.key, ca.crt). `timeout`: seconds that the server may be silent; None: any.
    """

    def __init__(
        self,
        data: Path | str | None = None,
        *,
        server: str | None = None,
        operator: Path | str | None = None,
        timeout: float | None = None,
    ) -> None:
        if (data is None) == (server is None):
            raise UsageError(problem="a client needs either the data directory or the server's URL")
        self._timeout = timeout
        self._data = Path(data) if data is not None else Path()
        self._host, self._port, self._context = "", 0, None
        self.address = str(self._data / SOCKET)
        if server is not None:
            if operator is None:
                raise UsageError(problem="a server elsewhere needs an operator's directory (EDGEWARD_OPERATOR)")
            self._host, self._port = _host_and_port(server)
            self._context = _context(Path(operator))
            self.address = f"{self._host}:{self._port}"

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is kept open between calls."""

    # ------------------------------------------------------------------------------------------------------- messages

    def send(
        self,
        node: str,
        *,
        operation: str,
        resource: str,
        content: Any = None,
        wait: float | None = None,
        msg_id: str | None = None,
        **more: Any,
    ) -> Sent:
        """Queue a message for a node, durably; with `wait`, wait so many seconds for its end. `content` is anything that JSON knows.

        With a `msg_id` it may be sent again after a failure: the same id and content is the same message. `more`: the other members of
        `POST /v1/messages`, such as `group`, `source`, `resourceversion`, `acknowledge`, `lifetime_seconds`.
        """
        body = {"node": node, "operation": operation, "resource": resource, "content": content, **more}
        body |= {name: value for name, value in (("wait", wait), ("msg_id", msg_id)) if value is not None}
        return self._typed("POST", "/v1/messages", Sent, body)

    def receipt(self, msg_id: str) -> Receipt:
        """What became of a message."""
        return self._typed("GET", f"/v1/messages/{quote(msg_id, safe='')}", Receipt)

    def cancel(self, msg_id: str) -> bool:
        """Take a message back; False when it had ended."""
        return self._typed("DELETE", f"/v1/messages/{quote(msg_id, safe='')}", Cancelled).cancelled_now

    def receipts(self, node: str | None = None, *, live: bool = False, limit: int = 100) -> list[Receipt]:
        """Receipts, the newest first."""
        asked = {"limit": limit} | ({"node": node} if node else {}) | ({"live": 1} if live else {})
        return self._typed("GET", f"/v1/receipts?{urlencode(asked)}", list[Receipt])

    def queues(self) -> list[Waiting]:
        """How much waits for each node."""
        return self._typed("GET", "/v1/queues", list[Waiting])

    def subscribe(
        self, types: Sequence[str] = (), *, after: str = "", again: bool = True, **patterns: str
    ) -> Iterator[Happened | Gap]:
        """What happens, as it happens, without end: messages from nodes, presence, deliveries, or the `types` named. `patterns`: for
        `node`, `group`, `resource`, `operation`.

        When the connection breaks it is made again (`again`) and goes on where it was; a `Gap` says when that was not possible.
        """
        asked = dict(patterns) | ({"type": ",".join(types)} if types else {})
        path = "/v1/events" + (f"?{urlencode(asked)}" if asked else "")
        pause = 1.0
        while True:
            try:
                for identity, event in self._server_sent(path, after):
                    after, pause = identity or after, 1.0
                    yield event
            except (Unreachable, NotRunning):
                if not again:
                    raise
            if not again:
                return
            time.sleep(pause)
            pause = min(pause * 2, 30.0)

    # ---------------------------------------------------------------------------------------------- nodes and tokens

    def nodes(self) -> list[Node]:
        """All nodes."""
        return self._typed("GET", "/v1/nodes", list[Node])

    def node(self, name: str) -> Node:
        """One node."""
        return self._typed("GET", f"/v1/nodes/{quote(name, safe='')}", Node)

    def timeline(self, name: str) -> list[Moment]:
        """What happened to a node, the newest first."""
        return self._typed("GET", f"/v1/nodes/{quote(name, safe='')}/timeline", list[Moment])

    def new_token(self, node: str | None = None, *, pattern: str | None = None, **more: Any) -> TokenMade:
        """A join token for a node or for the names of a pattern; `more`: `uses`, `lifetime_seconds`, `network`, `unblock`."""
        return self._typed("POST", "/v1/tokens", TokenMade, {"node": node, "pattern": pattern, **more})

    def tokens(self) -> list[Token]:
        """The join tokens that were made."""
        return self._typed("GET", "/v1/tokens", list[Token])

    def revoke_token(self, key_id: str) -> bool:
        """Take a join token back; False when it was before."""
        return self._typed("POST", f"/v1/tokens/{quote(key_id, safe='')}/revoke", TokenRevoked).revoked_now

    def revoke(self, target: str, reason: str = "unspecified", *, tokens: bool = False) -> Revocation:
        """Revoke a node, `serial:HEX` or `operator:NAME`, for a reason of RFC 5280; `tokens`: also the join tokens that they made."""
        return self._typed(
            "POST", "/v1/revocations", Revocation, {"target": target, "reason": reason, "tokens": tokens}
        )

    # ------------------------------------------------------------------------------------------------------- the wire

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call; the decoded JSON of its answer."""
        text = self._octets(method, path, body)
        return self._understood(text, Any) if text else None

    def stream(self, path: str) -> Iterator[Any]:
        """The JSON objects of an endless answer of lines, as they come. Raises `Unreachable` when the server stops."""
        response = self._request("GET", path, None)
        while line := self._line(response):
            yield self._understood(line, Any)
        raise Unreachable(address=self.address, why="the server has stopped")

    def _typed(self, method: str, path: str, kind: type[_T], body: Any = None) -> _T:
        understood: _T = self._understood(self._octets(method, path, body), kind)
        return understood

    def _understood(self, text: bytes, kind: Any) -> Any:
        try:
            return msgspec.json.decode(text, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Unreachable(address=self.address, why=f"its answer is not understood: {error}") from error

    def _octets(self, method: str, path: str, body: Any) -> bytes:
        return self._whole(self._request(method, path, body))

    def _whole(self, response: http.client.HTTPResponse) -> bytes:
        text = self._read(lambda: response.read(MAX_ANSWER + 1))
        if len(text) > MAX_ANSWER:
            raise TooLarge(what=f"the answer of {self.address}", limit=MAX_ANSWER)
        if response.length:  # of what the head announced, so much has not come
            raise Unreachable(address=self.address, why="the server closed the connection")
        return text

    def _line(self, response: http.client.HTTPResponse) -> bytes:
        line = self._read(lambda: response.readline(MAX_LINE + 1))
        if len(line) > MAX_LINE:
            raise TooLarge(what=f"an event of {self.address}", limit=MAX_LINE)
        return line

    def _server_sent(self, path: str, after: str) -> Iterator[tuple[str, Happened | Gap]]:
        response = self._request("GET", path, None, {"Last-Event-ID": after} if after else {})
        fields: dict[str, str] = {}
        while line := self._line(response):
            name, _, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
            elif "event" in fields:
                gap = fields["event"] == "gap"
                event = Gap() if gap else self._understood(fields.get("data", "").encode(), Happened)
                yield fields.get("id", ""), event
            if line.strip() == b"":
                fields = {}
        raise Unreachable(address=self.address, why="the server has stopped")

    def _read(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise Unreachable(address=self.address, why="the server closed the connection") from error

    def _connection(self) -> http.client.HTTPConnection:
        if self._context is None:
            return _OnSocket(self._data / SOCKET, self._data, self._timeout)
        return http.client.HTTPSConnection(self._host, self._port, context=self._context, timeout=self._timeout)

    def _request(
        self, method: str, path: str, body: Any, headers: Mapping[str, str] | None = None
    ) -> http.client.HTTPResponse:
        connection = self._connection()
        encoded = None if body is None else msgspec.json.encode(body)
        sent = dict(headers or {}) | ({"Content-Type": "application/json"} if encoded else {})
        try:
            connection.request(method, path, encoded, sent)
            response = connection.getresponse()
        except EdgewardError:
            raise
        except ssl.SSLError as error:
            why = (error.reason or str(error)).lower().replace("_", " ")
            raise Unreachable(address=self.address, why=f"TLS: {why}") from error
        except (http.client.HTTPException, OSError) as error:
            raise Unreachable(
                address=self.address,
                why=getattr(error, "strerror", None) or str(error) or "the server closed the connection",
            ) from error
        if response.status >= 400:
            text = self._whole(response)
            try:
                raise Answered(msgspec.json.decode(text, type=dict[str, Any]))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise Unreachable(address=self.address, why=f"it answered {response.status}") from error
        return response


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
