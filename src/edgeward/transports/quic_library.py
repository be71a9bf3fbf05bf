"""What we do to aioquic that its interface does not offer, all of it in this one file: client certificates, and limits on streams.

The library asks for a client certificate only behind a private switch ("for test purposes only"), lets a client go on that sends none,
and looks at no chain. Here the switch is on, no certificate ends the handshake, and one that is not of our authorities, not for clients or
not in its time does too, before anything is sent with the keys of the application. What holds even if the library changes:

- `proved()` gives a certificate only after its chain was verified *and* the library has checked the signature with its key; a server
  asks it before it looks at a single octet of a stream. Were one of the hooks not called any more, every connection would be refused.
- No session ticket is ever issued or looked up: a resumed session shows no certificate, so it has none that is proved.

`tests/transports/test_quic_library.py` fails when the library behaves otherwise than it is described here.
"""

import logging
from collections.abc import Callable
from typing import Any

from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edgeward.errors import EdgewardError, printable

Verify = Callable[[x509.Certificate], None]
"""Looks at a peer's certificate and raises an `EdgewardError` when it is not acceptable."""

logging.getLogger("quic").setLevel(logging.WARNING)  # below that it speaks of every connection

ALPN = "edgeward/1"
"""Our own protocol: the session of kubeedge-wire section 5.3 over RFC 9000. KubeEdge's own QUIC has no ALPN and another version."""

_SIGNATURES = (
    tls.SignatureAlgorithm.ECDSA_SECP256R1_SHA256,
    tls.SignatureAlgorithm.ECDSA_SECP384R1_SHA384,
    tls.SignatureAlgorithm.RSA_PSS_RSAE_SHA256,
    tls.SignatureAlgorithm.RSA_PSS_RSAE_SHA384,
    tls.SignatureAlgorithm.ED25519,
)
"""With which a peer may prove its key: no SHA-1, no PKCS#1 v1.5 (RFC 8446 section 4.2.3)."""


class CertificateRequired(tls.Alert):
    """RFC 8446 section 6.2."""

    description = tls.AlertDescription.certificate_required


class _MutualContext(tls.Context):
    """The library's TLS of a server, with a client certificate that is required and verified."""

    edgeward_verify: Verify
    edgeward_verified: x509.Certificate | None = None
    edgeward_proved: x509.Certificate | None = None

    def _server_handle_certificate(self, input_buf: Any) -> None:
        super()._server_handle_certificate(input_buf)
        if self._peer_certificate is None:
            raise CertificateRequired("no client certificate was presented")
        if self._peer_certificate_chain:
            raise tls.AlertUnsupportedCertificate("a client presents its certificate alone")
        try:
            self.edgeward_verify(self._peer_certificate)
        except EdgewardError as error:
            raise tls.AlertBadCertificate(printable(error, 500)) from error
        self.edgeward_verified = self._peer_certificate

    def _server_handle_certificate_verify(self, input_buf: Any) -> None:
        super()._server_handle_certificate_verify(input_buf)  # raises unless the signature is right
        if self.edgeward_verified is self._peer_certificate:
            self.edgeward_proved = self.edgeward_verified


class Connection(QuicConnection):
    """The library's connection; `verify` judges the certificate of a client, for a server."""

    def __init__(self, *, configuration: QuicConfiguration, verify: Verify | None, **rest: Any) -> None:
        super().__init__(configuration=configuration, **rest)
        self._edgeward_verify = verify
        self._local_max_streams_uni.value = 0  # nobody needs one
        self._local_max_streams_bidi.value = 16

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self.tls._signature_algorithms = list(_SIGNATURES)
        if not self._is_client:
            if self._edgeward_verify is None:
                raise RuntimeError("a server without a verifier")
            context: Any = self.tls
            context.__class__ = _MutualContext
            context.edgeward_verify = self._edgeward_verify
            context._request_client_certificate = True

    def proved(self) -> bytes | None:
        """For a server: the client's certificate (DER), verified and its key proved; None when there is none."""
        certificate = getattr(getattr(self, "tls", None), "edgeward_proved", None)
        if certificate is None or self.tls.session_resumed:
            return None
        return bytes(certificate.public_bytes(Encoding.DER))

    def presented(self) -> tuple[bytes, ...]:
        """For a client: the certificates (DER) that the server presented, its own first; the key of the first is proved, nothing else."""
        first = self.tls._peer_certificate
        chain = [] if first is None else [first, *self.tls._peer_certificate_chain]
        return tuple(one.public_bytes(Encoding.DER) for one in chain)

    def unsent(self, stream: int) -> int:
        """Octets of a stream of ours that the peer has not acknowledged, sent or not."""
        found = self._streams.get(stream)
        return 0 if found is None else len(found.sender._buffer)
