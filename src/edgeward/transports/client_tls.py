"""TLS as we dial: the context of an agent, and what all our contexts have in common. It loads nothing that only a server needs."""

import ssl
from pathlib import Path

from edgeward.errors import Unreadable

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""TLS 1.2: what RFC 9325 section 4.2 recommends; every KubeEdge edge since 1.3 offers one of them. TLS 1.3 has only sound ones."""


def strict(context: ssl.SSLContext) -> None:
    """What holds for every context of ours: TLS 1.2 and 1.3, sound suites, no tickets, no compression, no renegotiation."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])


def client_context() -> ssl.SSLContext:
    """The context of an agent without a certificate. It verifies NOTHING: the caller gives `connect` a `verify_server`.

    The authority is kept out of it on purpose: OpenSSL would append it to the certificate it sends, and a KubeEdge hub with
    authorisation refuses two certificates.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    strict(context)
    return context


def client_context_from(certificate: Path, key: Path) -> ssl.SSLContext:
    """The same with a pair that is in files (PEM, the key not encrypted), so that a device writes nothing when it dials."""
    context = client_context()
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # SSLError as well
        raise Unreadable(what="certificate and key pair", why=str(error)) from error
    return context


def presented_chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """The certificates (DER) that the peer of a finished handshake sent, its own first; nothing about them has been verified."""
    session = getattr(tls, "_sslobj", None)  # public only from Python 3.13 on
    chain = session.get_unverified_chain() if session is not None else None
    return tuple(ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in chain or ())
