"""Which certificate a peer showed in a handshake that did not succeed: OpenSSL forgets it, and whoever explains the failure needs it."""

import ssl
from typing import Any

from edgeward.transports import tap


def watching(context: ssl.SSLContext) -> ssl.SSLContext:
    """`context`, changed so that its handshakes remember which certificate the peer showed, for `shown`: OpenSSL forgets one that it
    refuses, and its own messages do not name it. This costs some microseconds a handshake and a little for each record, so it is for
    peers that were refused a moment ago. Call it before the first handshake.
    """
    return tap.listen(context, _remember)


def _remember(tls: Any, direction: str, _version: Any, _content: Any, kind: Any, message: bytes) -> None:
    """A TLS message went by: keep the first certificate of a Certificate message (RFC 8446 section 4.4.2, RFC 5246 section 7.4.6)."""
    if direction != "read" or getattr(kind, "name", "") != "CERTIFICATE" or len(message) < 12:
        return
    for start in (7, 8 + message[4]):  # TLS 1.2: the list's length; TLS 1.3: a context before it
        end = start + 3 + int.from_bytes(message[start : start + 3], "big")
        if start + 3 < end <= len(message) and message[start + 3] == 0x30:
            tls.shown = bytes(message[start + 3 : end])
            return


def shown(tls: ssl.SSLObject) -> bytes | None:
    """The certificate (DER) that the peer of an unfinished handshake showed, if its context is a `watching` one. Nothing about it
    is proved."""
    return getattr(tls, "shown", None)
