"""The request that asks for a WebSocket, as far as it can be judged without knowing who asks: its syntax and its origin."""

import binascii
from dataclasses import dataclass
from email.utils import formatdate

import httptools
from websockets.datastructures import Headers
from websockets.http11 import Request as Upgrade
from websockets.utils import accept_key

from edgeward.model import http
from edgeward.model.address import same_origin


class _Head:
    """A request head, as the HTTP parser tells it."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[str, str]] = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))


_PLAIN = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
"""What a client says that wants a WebSocket and nothing else, each exactly once and in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request: its fields by name in lower case, and in the order in which they came."""

    method: str
    target: str
    version: str
    fields: list[tuple[str, str]]
    headers: dict[str, tuple[str, ...]]

    def in_full(self) -> Upgrade:
        """As the library wants it."""
        return Upgrade(self.target, Headers(self.fields), self.method, f"HTTP/{self.version}")

    def plain(self) -> bytes | None:
        """The answer to a request without anything to decide about, as all real edges send it: 101, without extensions. None for any
        other, which may be right or wrong: that is for the library to say."""
        headers = self.headers
        keys, hosts = headers.get("sec-websocket-key", ()), headers.get("host", ())
        if self.method != "GET" or self.version != "1.1" or len(keys) != 1 or len(hosts) != 1 or "origin" in headers:
            return None
        for name, value in _PLAIN.items():
            if [one.lower() for one in headers.get(name, ())] != [value]:
                return None
        try:
            if len(keys[0]) != 24 or len(binascii.a2b_base64(keys[0], strict_mode=True)) != 16:
                return None
        except ValueError:
            return None
        return _ACCEPTED % (formatdate(usegmt=True).encode(), accept_key(keys[0]).encode())


_ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nDate: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %s\r\nServer: edgeward\r\n\r\n"
)


def parse(head: bytes) -> Asked | None:
    """The request with this whole head; None when it is not HTTP or announces a body."""
    seen = _Head()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return None
    if not seen.target.isascii() or not all(name.isascii() for name, _ in seen.headers):
        return None
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in seen.headers:
        lower = name.lower()
        headers[lower] = (*headers.get(lower, ()), value)
    if "transfer-encoding" in headers or not set(headers.get("content-length", ())) <= {"0"}:
        return None
    return Asked(
        method=parser.get_method().decode("ascii"),
        target=seen.target.decode("ascii"),
        version=parser.get_http_version(),
        fields=seen.headers,
        headers=headers,
    )


def foreign(asked: Asked) -> http.Response | None:
    """Why a well-formed upgrade is refused all the same: without exactly one Host, or from a web page of another origin."""
    hosts = asked.headers.get("host", ())
    if len(hosts) != 1:
        return http.text(400, "exactly one Host header is needed\n")
    if not all(same_origin(origin, hosts[0]) for origin in asked.headers.get("origin", ())):
        return http.text(403, "the Origin differs from the Host\n")
    return None
