"""The status line and the headers of an answer, as octets (RFC 9112 sections 4 and 5), and the names of a request's."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus

import msgspec

from edgeward.errors import InternalError
from edgeward.model.http import Request, Response

_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n" for s in HTTPStatus}
BODILESS = frozenset({204, 304})
"""Statuses whose answers have no body."""

KNOWN_NAMES = {
    name.encode("ascii"): name.lower()
    for name in (
        *("Host", "User-Agent", "Content-Length", "Authorization", "Nodename", "NodeName", "ExtKeyUsages"),
        *("Extkeyusages", "Accept", "Accept-Encoding", "Connection", "Content-Type", "Transfer-Encoding"),
    )
}
"""Header names as our peers spell them, to save the work of spelling them anew; any other spelling is as good."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A request that waits for its answer, or the answer to one that was refused unread; and what the answer must know of it."""

    asked: Request | Response
    at: datetime
    keep: bool = False
    """Whether the connection goes on after it."""
    method: str = ""
    chunks: bool = True
    """Whether the peer reads chunked bodies: HTTP/1.1."""
    last: bool = False
    """Whether the peer said itself that it asks nothing more."""


def fields(pairs: list[tuple[bytes, bytes]]) -> dict[str, tuple[str, ...]]:
    """A request's headers: names in lower case, of a repeated one all values in order."""
    headers: dict[str, tuple[str, ...]] = {
        KNOWN_NAMES.get(name) or name.lower().decode("latin-1"): (value.decode("latin-1"),) for name, value in pairs
    }
    if len(headers) < len(pairs):
        headers = {}
        for name, value in pairs:
            key = name.lower().decode("latin-1")
            headers[key] = (*headers.get(key, ()), value.decode("latin-1"))
    return headers


class Heads:
    """Makes heads; the Date of one is that of all in its second."""

    def __init__(self) -> None:
        self._since = self._until = datetime.min.replace(tzinfo=UTC)
        self._date = ""

    def head(self, response: Response, turn: Turn) -> bytes:
        """The head of `response`, which is the answer of `turn`."""
        if not self._since <= turn.at < self._until:  # the Date header (RFC 9110 section 6.6.1) is made once a second
            self._since = turn.at.replace(microsecond=0)
            self._until = self._since + timedelta(seconds=1)
            self._date = f"Date: {format_datetime(self._since, usegmt=True)}\r\n"
        start = (_STATUS_LINES.get(response.status) or f"HTTP/1.1 {response.status} \r\n") + self._date
        if response.status in BODILESS:
            body = ""
        elif response.stream is None:
            body = f"Content-Type: {response.content_type}\r\nContent-Length: {len(response.body)}\r\n"
        else:
            coding = "Transfer-Encoding: chunked\r\n" if turn.chunks else ""
            body = f"Content-Type: {response.content_type}\r\n{coding}"
        more = "".join([f"{name}: {value}\r\n" for name, value in response.headers]) if response.headers else ""
        if not turn.keep:
            more += "Connection: close\r\n"
        elif not turn.chunks:
            more += "Connection: keep-alive\r\n"
        return f"{start}{body}{more}\r\n".encode("latin-1")


def check(response: Response) -> None:
    """No answer of ours splits in two: a line break in a header is our bug."""
    for name, value in response.headers:
        if not (name + value).isprintable() or not (name + value).isascii():
            raise InternalError(problem=f"a header {name} that cannot be sent")
    if not response.content_type.isprintable():
        raise InternalError(problem="a content type that cannot be sent")
