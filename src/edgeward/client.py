"""A client of a running authority for Python programs: send messages, wait for what becomes of them, hear what nodes say, and administer.

    from edgeward.client import Client

    with Client(data="/var/lib/edgeward") as authority:                 # on its machine, over the socket in its data directory
        sent = authority.send("edge-1", operation="update", resource="default/configmap/settings", content={"interval": 30}, wait=10)
        print(sent.state, sent.answer)

    authority = Client(server="https://cloud.example.com:10010", operator="alice")   # elsewhere, with what `edgeward operator new` made

Calls block; each takes a connection of its own, so one client may be used from several threads. What the server refuses is raised as
`Answered`, with `code`, `status` and the other members of its RFC 9457 problem; what cannot be reached as `Unreachable` or `NotRunning`.
`edgeward.client_async` is the same for asyncio.
"""

import functools
import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from edgeward import client_calls
from edgeward.client_calls import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    MAX_ANSWER,
    MAX_LINE,
    Answered,
    Call,
    Gap,
    Place,
    ServerSent,
)
from edgeward.errors import EdgewardError, NotRunning, TooLarge, Unreachable
from edgeward.web.shapes import Happened, MessageEvent, PresenceEvent, Receipt, Sent

__all__ = ["Answered", "Client", "Gap", "MessageEvent", "PresenceEvent", "Receipt", "Sent"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _blocking(call: Callable[_P, Call[_T]]) -> "Callable[Concatenate[Client, _P], _T]":
    """The method that makes a call and waits for its answer."""

    @functools.wraps(call)
    def method(client: "Client", /, *arguments: _P.args, **named: _P.kwargs) -> _T:
        return client.ask(call(*arguments, **named))

    return method


class _OnSocket(http.client.HTTPConnection):
    def __init__(self, place: Place, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._place = place

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._place.socket))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunning(path=self._place.data) from error
        except OSError as error:
            raise Unreachable(address=self._place.address, why=error.strerror or str(error)) from error


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
        self._place = Place.of(data, server, operator)
        self._timeout = timeout
        self.address = self._place.address

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is kept open between calls."""

    send = _blocking(client_calls.send)
    receipt = _blocking(client_calls.receipt)
    cancel = _blocking(client_calls.cancel)
    receipts = _blocking(client_calls.receipts)
    queues = _blocking(client_calls.queues)
    nodes = _blocking(client_calls.nodes)
    node = _blocking(client_calls.node)
    timeline = _blocking(client_calls.timeline)
    new_token = _blocking(client_calls.new_token)
    tokens = _blocking(client_calls.tokens)
    revoke_token = _blocking(client_calls.revoke_token)
    revoke = _blocking(client_calls.revoke)

    def subscribe(
        self, types: Sequence[str] = (), *, after: str = "", again: bool = True, **patterns: str
    ) -> Iterator[Happened | Gap]:
        """What happens, as it happens, without end: messages from nodes, presence, deliveries, or the `types` named. `patterns`: for
        `node`, `group`, `resource`, `operation`.

        When the connection breaks it is made again (`again`) and goes on where it was; a `Gap` says when that was not possible.
        """
        path = client_calls.events(types, patterns)
        pause = FIRST_PAUSE
        while True:
            try:
                for identity, event in self._server_sent(path, after):
                    after, pause = identity or after, FIRST_PAUSE
                    yield event
            except (Unreachable, NotRunning):
                if not again:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def ask(self, call: Call[_T]) -> _T:
        """Make a call of `edgeward.client_calls`."""
        return call.answer(self._octets(call.method, call.path, call.body), self.address)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call by its path; the decoded JSON of its answer."""
        text = self._octets(method, path, body)
        return client_calls.understood(text, Any, self.address) if text else None

    def stream(self, path: str) -> Iterator[Any]:
        """The JSON objects of an endless answer of lines, as they come. Raises `Unreachable` when the server stops."""
        response = self._request("GET", path, None)
        while line := self._line(response):
            yield client_calls.understood(line, Any, self.address)
        raise client_calls.stopped(self.address)

    # ------------------------------------------------------------------------------------------------------- the wire

    def _octets(self, method: str, path: str, body: Any) -> bytes:
        return self._whole(self._request(method, path, body))

    def _whole(self, response: http.client.HTTPResponse) -> bytes:
        text = self._read(lambda: response.read(MAX_ANSWER + 1))
        if len(text) > MAX_ANSWER:
            raise TooLarge(what=f"the answer of {self.address}", limit=MAX_ANSWER)
        if response.length:  # of what the head announced, so much has not come
            raise client_calls.cut_off(self.address)
        return text

    def _line(self, response: http.client.HTTPResponse) -> bytes:
        line = self._read(lambda: response.readline(MAX_LINE + 1))
        if len(line) > MAX_LINE:
            raise TooLarge(what=f"an event of {self.address}", limit=MAX_LINE)
        return line

    def _server_sent(self, path: str, after: str) -> Iterator[tuple[str, Happened | Gap]]:
        response = self._request("GET", path, None, client_calls.resuming(after))
        events = ServerSent(self.address)
        while line := self._line(response):
            event = events.feed(line)
            if event is not None:
                yield event
        raise client_calls.stopped(self.address)

    def _read(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise client_calls.cut_off(self.address, error) from error

    def _connection(self) -> http.client.HTTPConnection:
        place = self._place
        if place.context is None:
            return _OnSocket(place, self._timeout)
        return http.client.HTTPSConnection(place.host, place.port, context=place.context, timeout=self._timeout)

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
        except (http.client.HTTPException, ssl.SSLError, OSError) as error:
            raise client_calls.unreachable(error, self.address) from error
        if response.status >= 400:
            raise client_calls.refusal(response.status, self._whole(response), self.address)
        return response
