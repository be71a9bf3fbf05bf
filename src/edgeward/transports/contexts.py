"""TLS as we speak it: the contexts of the enrolment listener and of the hub, out of certificates and keys in memory.

TLS 1.2 and 1.3, forward secrecy and authenticated encryption only, no renegotiation, no compression, no session tickets: a resumed
session would bring back a device that was revoked meanwhile. Contexts are never changed once built; a new certificate or a new
authority is a new context.
"""

import contextlib
import os
import secrets
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from edgeward.errors import Unreadable
from edgeward.transports import client_tls

NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which the ssl module does not name."""


def enrolment_context(*, certificate: bytes, key: PrivateKeyTypes, anchors: Sequence[bytes]) -> ssl.SSLContext:
    """The context of the enrolment listener: a client certificate is asked for and not required.

    `certificate`: PEM, the server's own first. `key`: its private key. `anchors`: DER of the authorities whose device certificates are
    let through; one of another authority ends the handshake with an alert. An expired one passes, so that the protocol can answer in
    words: whoever reads the peer certificate must check its time. Raises `Unreadable` when certificate and key do not go together.
    """
    context = _server(certificate, key, anchors)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= NO_CHECK_TIME
    return context


def hub_context(*, certificate: bytes, key: PrivateKeyTypes, anchors: Sequence[bytes]) -> ssl.SSLContext:
    """The context of a mutual-TLS listener: a client certificate of `anchors`, inside its validity, is required. Else as above."""
    context = _server(certificate, key, anchors)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(*, certificate: bytes, key: PrivateKeyTypes) -> ssl.SSLContext:
    """`client_tls.client_context` with a pair that is in memory."""
    context = client_tls.client_context()
    load_pair(context, certificate, key)
    return context


def _server(certificate: bytes, key: PrivateKeyTypes, anchors: Sequence[bytes]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client_tls.strict(context)
    # The client's order of suites counts: all of ours are sound, and it knows which one its processor has instructions for.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    # KubeEdge's authorities lack extensions that VERIFY_X509_STRICT (set from Python 3.13 on) asks for, and may be intermediates.
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    load_pair(context, _with_issuer(certificate, anchors), key)
    if anchors:
        context.load_verify_locations(cadata=b"".join(anchors))
    return context


def _with_issuer(certificate: bytes, anchors: Sequence[bytes]) -> bytes:
    """The server's chain with its issuer, where it is alone and the issuer is an anchor.

    A lone certificate makes OpenSSL look for its issuer among the anchors in every handshake, with a signature to verify each time; it
    would send the issuer anyway.
    """
    if certificate.count(b"-----BEGIN CERTIFICATE-----") != 1:
        return certificate
    try:
        leaf = x509.load_pem_x509_certificate(certificate)
        for der in anchors:
            issuer = x509.load_der_x509_certificate(der)
            with contextlib.suppress(ValueError, TypeError, InvalidSignature):  # not this one
                leaf.verify_directly_issued_by(issuer)
                return certificate.rstrip() + b"\n" + issuer.public_bytes(serialization.Encoding.PEM)
    except ValueError as error:
        raise Unreadable(what="server certificate", why=str(error)) from error
    return certificate


def load_pair(context: ssl.SSLContext, certificate: bytes, key: PrivateKeyTypes) -> None:
    """Load a pair, which the ssl module takes from a file only: one of mode 0600 that lives for a moment, the key in it encrypted
    with a password that nobody else ever had."""
    password = secrets.token_hex(32).encode("ascii")
    sealed = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),  # enough here: 256 random bits, thrown away below
    )
    handle, name = tempfile.mkstemp(prefix="edgeward-", suffix=".pem")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(certificate.rstrip() + b"\n" + sealed)
        context.load_cert_chain(name, password=password)
    except ssl.SSLError as error:
        why = (error.reason or str(error)).lower().replace("_", " ")
        raise Unreadable(what="certificate and key pair", why=why) from error
    finally:
        Path(name).unlink(missing_ok=True)
