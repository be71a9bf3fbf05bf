"""What the tests of enrolment write to the wire themselves."""

import contextlib
import socket

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.server import Server


def raw(authority: Server, octets: bytes) -> bytes:
    """What the server answers to these very octets, at least the head of it."""
    received = b""
    with (
        socket.create_connection(("127.0.0.1", authority.https), timeout=10) as tcp,
        authority.context().wrap_socket(tcp, server_hostname="127.0.0.1") as tls,
    ):
        with contextlib.suppress(OSError):
            tls.sendall(octets)
        with contextlib.suppress(OSError):
            while piece := tls.recv(65536):
                received += piece
                if b"\r\n\r\n" in received:
                    break
    return received


def sec1(key: ec.EllipticCurvePrivateKey, encoding: serialization.Encoding) -> bytes:
    return key.private_bytes(encoding, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
