"""The request that asks for a WebSocket, as far as it can be judged without knowing who asks: its syntax and its origin."""

import re
from typing import NamedTuple

import httptools
from websockets.datastructures import Headers
from websockets.http11 import Request as Upgrade
from websockets.utils import accept_key

from edgeward.model import http
from edgeward.model.address import same_origin

_PLAIN = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
"""What a client says that wants a WebSocket and nothing else, each exactly once and in any case."""


class Asked(NamedTuple):
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
        key = headers.get("sec-websocket-key", ("",))
        if self.method != "GET" or self.version != "1.1" or len(key) != 1 or _KEY.fullmatch(key[0]) is None:
            return None
        if len(headers.get("host", ())) != 1 or "origin" in headers:
            return None
        for name, value in _PLAIN.items():
            said = headers.get(name, ())
            if len(said) != 1 or said[0].lower() != value:
                return None
        return _ACCEPTED % accept_key(key[0]).encode()


_KEY = re.compile("[A-Za-z0-9+/]{22}==")
"""16 octets in base64 (RFC 6455 section 4.1)."""

_ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %s\r\nServer: edgeward\r\n\r\n"
)


def parse(head: bytes) -> Asked | None:
    """The request with this whole head; None when it is not HTTP or announces a body."""
    parser = httptools.HttpRequestParser(_NOBODY)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return None
    # its syntax is sound; what is left are lines, unless one of them is folded or ends in a lone line feed, as no client's is
    first, *lines = head.decode("latin-1").split("\r\n")
    request = first.split(" ")
    if len(request) != 3 or not request[1].isascii() or head.count(b"\n") != len(lines):
        return None
    fields: list[tuple[str, str]] = []
    headers: dict[str, tuple[str, ...]] = {}
    for line in lines[:-2]:
        name, colon, value = line.partition(":")
        if not colon or not name.isascii() or name[:1].isspace():
            return None
        value = value.strip(" \t")
        fields.append((name, value))
        lower = name.lower()
        headers[lower] = (*headers[lower], value) if lower in headers else (value,)
    if "transfer-encoding" in headers or not set(headers.get("content-length", ())) <= {"0"}:
        return None
    return Asked(request[0], request[1], parser.get_http_version(), fields, headers)


_NOBODY = object()
"""Hears nothing of what the parser finds: it only judges."""


def foreign(asked: Asked) -> http.Response | None:
    """Why a well-formed upgrade is refused all the same: without exactly one Host, or from a web page of another origin."""
    hosts = asked.headers.get("host", ())
    if len(hosts) != 1:
        return http.text(400, "exactly one Host header is needed\n")
    if not all(same_origin(origin, hosts[0]) for origin in asked.headers.get("origin", ())):
        return http.text(403, "the Origin differs from the Host\n")
    return None
