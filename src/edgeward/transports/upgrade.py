"""The request that asks for a WebSocket, as far as it can be judged without knowing who asks: its syntax and its origin."""

import httptools
from websockets.datastructures import Headers
from websockets.http11 import Request as Upgrade

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


def parse(head: bytes) -> Upgrade | None:
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
    headers = Headers(seen.headers)
    if "Transfer-Encoding" in headers or not set(headers.get_all("Content-Length")) <= {"0"}:
        return None
    method, version = parser.get_method().decode("ascii"), parser.get_http_version()
    return Upgrade(seen.target.decode("ascii"), headers, method, f"HTTP/{version}")


def foreign(upgrade: Upgrade) -> http.Response | None:
    """Why a well-formed upgrade is refused all the same: without exactly one Host, or from a web page of another origin."""
    hosts = upgrade.headers.get_all("Host")
    if len(hosts) != 1:
        return http.text(400, "exactly one Host header is needed\n")
    if not all(same_origin(origin, hosts[0]) for origin in upgrade.headers.get_all("Origin")):
        return http.text(403, "the Origin differs from the Host\n")
    return None
