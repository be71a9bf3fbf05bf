"""One HTTPS request on one connection: the server proved, the answer read whole, time and size bounded.

No redirect is followed, no proxy is taken from the environment, no connection is kept. The TLS context holds no CA: OpenSSL would
append it to the client certificate that we present, and a server that insists on exactly one would refuse us. The server is verified
by `trust.verify_server` instead, after the handshake and before a byte of HTTP is sent.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httptools

from edgeward.agent.endpoint import Endpoint
from edgeward.errors import BadRequest, HandshakeFailed, TooLarge, Unreachable

MAX_BODY = 64 * 1024
"""Octets of an answer: a CA or a leaf certificate has under 20 KiB, even with post-quantum keys."""

TIMEOUT = 30.0
"""Seconds for a whole exchange, as a real edge gives it."""

Verify = Callable[[Sequence[bytes]], object]
"""Is given what the server presented (DER, its own certificate first) and raises when it is not trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    body: bytes


def client_context(certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """A TLS client (1.2 or newer) that verifies nothing by itself, and presents the certificate in these files, alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def presented_chain(connection: ssl.SSLObject) -> list[bytes]:
    """What the peer of this finished handshake presented: DER, its own certificate first."""
    if hasattr(connection, "get_unverified_chain"):  # Python 3.13 and later
        return list(connection.get_unverified_chain())
    chain = connection._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]  # public since 3.13 only
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain]


async def get(
    endpoint: Endpoint,
    path: str,
    *,
    context: ssl.SSLContext,
    verify: Verify | None,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    timeout: float = TIMEOUT,
) -> Answer:
    """The answer to `GET path` with `body`. `verify` None trusts anybody: only for what is pinned otherwise.

    Raises `Unreachable`, `HandshakeFailed`, `BadRequest` (the answer is not HTTP), `TooLarge`, or what `verify` raises.
    """
    lines = [f"GET {path} HTTP/1.1", f"Host: {endpoint}", "User-Agent: edgeward", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    request = "\r\n".join([*lines, "", ""]).encode("ascii") + body
    try:
        async with asyncio.timeout(timeout):
            return await _exchange(endpoint, request, context, verify)
    except TimeoutError as error:
        raise Unreachable(address=endpoint, why=f"no complete answer within {timeout:g} seconds") from error


async def _exchange(endpoint: Endpoint, request: bytes, context: ssl.SSLContext, verify: Verify | None) -> Answer:
    try:
        reader, writer = await asyncio.open_connection(
            endpoint.host, endpoint.port, ssl=context, server_hostname=endpoint.host
        )
    except ssl.SSLError as error:
        raise HandshakeFailed(address=endpoint, why=reason(error)) from error
    except OSError as error:
        raise Unreachable(address=endpoint, why=reason(error)) from error
    try:
        if verify is not None:
            verify(presented_chain(writer.get_extra_info("ssl_object")))
        writer.write(request)
        return await _read(reader, endpoint)
    except ssl.SSLError as error:  # TLS 1.3 tells only now that a client certificate is refused
        raise HandshakeFailed(address=endpoint, why=reason(error)) from error
    except OSError as error:
        raise Unreachable(address=endpoint, why=reason(error)) from error
    finally:
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader, endpoint: Endpoint) -> Answer:
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    try:
        while not answer.complete:
            octets = await reader.read(16 * 1024)
            if not octets:
                return answer.at_end(parser, endpoint)
            answer.count(len(octets))
            parser.feed_data(octets)
    except httptools.HttpParserError as error:
        raise BadRequest(why=f"{endpoint} does not answer in HTTP") from error
    return Answer(status=parser.get_status_code(), body=b"".join(answer.pieces))


class _Answer:
    """What the parser tells of an answer."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.complete = False
        self._received = 0
        self._until_close = True

    def count(self, octets: int) -> None:
        """Everything counts, header fields and chunk frames as well."""
        self._received += octets
        if self._received > MAX_BODY + 16 * 1024:
            raise TooLarge(what="the server's answer", limit=MAX_BODY)

    def at_end(self, parser: Any, endpoint: Endpoint) -> Answer:
        """The answer when the server has closed: complete only if it announced no length."""
        if not self.pieces or not self._until_close:
            raise Unreachable(address=endpoint, why="it closed the connection without a complete answer")
        return Answer(status=parser.get_status_code(), body=b"".join(self.pieces))

    def on_header(self, name: bytes, _value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._until_close = False

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        self.complete = True


def reason(error: OSError) -> str:
    """A failure of the network or of TLS in words: OpenSSL's reason without its source file, or the system's message."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error) or type(error).__name__
