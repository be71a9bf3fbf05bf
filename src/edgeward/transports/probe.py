"""Looking at a live TLS server: the certificates that it sends, before anything is believed of them.

The handshake verifies nothing on purpose: the point is to see what a client sees that refuses. Nothing is sent to the
server beyond the handshake, and time and octets are bounded.
"""

import socket
import ssl
from dataclasses import dataclass
from typing import Any, cast

from edgeward.errors import HandshakeFailed, Unreachable
from edgeward.model.address import joined

MAX_CHAIN = 256 * 1024
"""Octets of all certificates together; OpenSSL stops at 100 KiB by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What a server showed: its certificates in DER in the order sent, and what was agreed."""

    host: str
    address: str
    certificates: tuple[bytes, ...]
    version: str
    """`TLSv1.3`."""
    cipher: str


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Old servers are the ones that people need to look at.
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def _chain(tls: ssl.SSLSocket) -> list[bytes]:
    """The chain as the server sent it. Python has a public method for it since 3.13."""
    method = getattr(tls, "get_unverified_chain", None)
    if method is not None:
        return [bytes(der) for der in cast("list[bytes]", method())]
    inner: Any = tls._sslobj  # type: ignore[attr-defined]
    return [certificate.public_bytes(_DER) for certificate in inner.get_unverified_chain() or ()]


_DER = 2
"""`_ssl.ENCODING_DER`, which has no public name in 3.11 and 3.12."""


def greet(host: str, port: int, *, server_name: str | None = None, seconds: float = 10.0) -> Greeting:
    """Connect to `host` and `port` and take the certificates that the server sends.

    `server_name` is sent as SNI in place of `host` (an address is never sent). The whole takes at most about
    `seconds` for the connection and as many for the handshake. Raises `Unreachable` or `HandshakeFailed`.
    """
    address = joined(host, port)
    try:
        connection = socket.create_connection((host, port), timeout=seconds)
    except (OSError, UnicodeError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unreachable(address=address, why=why.lower()) from error
    with connection:
        connection.settimeout(seconds)
        try:
            with _context().wrap_socket(connection, server_hostname=server_name or host) as tls:
                certificates = _chain(tls)
                cipher = tls.cipher()
                version = tls.version() or "unknown"
        except (ssl.SSLError, OSError, ValueError) as error:
            why = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
            raise HandshakeFailed(address=address, why=str(why).lower().replace("_", " ")) from error
    if sum(len(der) for der in certificates) > MAX_CHAIN:
        raise HandshakeFailed(address=address, why=f"its certificates have more than {MAX_CHAIN} octets")
    return Greeting(
        host=host,
        address=address,
        certificates=tuple(certificates),
        version=version,
        cipher=cipher[0] if cipher else "unknown",
    )
