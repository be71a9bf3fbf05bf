"""HTTP as values: a request that has been read whole, and the answer to it. Pure; the transport owns the wire."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime

import msgspec


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request as a protocol sees it. Header names are in lower case; of a repeated header all values are kept, in order."""

    method: str
    target: str
    """The request target as sent: path and query."""
    headers: dict[str, tuple[str, ...]]
    body: bytes
    address: str
    """The peer's IP address."""
    at: datetime
    peer_certificate: bytes | None = None
    """DER of the client certificate whose key TLS has proved; None without one. Proved possession is all that this says."""
    actor: str = ""
    """Who asks, as the audit log names them, where the front-end has decided that; empty elsewhere."""

    def header(self, name: str) -> str:
        """The first value of a header, empty when it is absent. `name` in lower case."""
        values = self.headers.get(name)
        return values[0] if values else ""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: a whole body, or a stream of pieces that ends when the peer goes away."""

    status: int
    body: bytes = b""
    content_type: str = "application/octet-stream"
    headers: tuple[tuple[str, str], ...] = ()
    stream: AsyncIterator[bytes] | None = None


Respond = Callable[[Request], Awaitable[Response]]
"""What a protocol offers to a transport."""


def text(status: int, sentence: str, *headers: tuple[str, str]) -> Response:
    """A plain text answer."""
    return Response(status=status, body=sentence.encode(), content_type="text/plain; charset=utf-8", headers=headers)
