"""Why a TLS handshake failed, in words: OpenSSL's reasons as sentences about the peer, and the alerts that went with them."""

import logging
import os
import re
import ssl
from collections.abc import Callable

from edgeward.model.allowance import Allowance
from edgeward.model.failure import HandshakeFailure

_log = logging.getLogger(__name__)


class HandshakeLog:
    """Writes failed handshakes to the log: `burst` lines at once and `rate` a second, so that a flood of strangers cannot fill a disk. The
    next line says how many were left out. `clock` gives seconds that never go back."""

    def __init__(self, *, clock: Callable[[], float], rate: float = 2.0, burst: float = 100.0) -> None:
        self._clock = clock
        self._allowance = Allowance(burst=burst, rate=rate)

    def __call__(self, failure: HandshakeFailure) -> None:
        """A handshake failed."""
        omitted = self._allowance.take(self._clock())
        if omitted is None:
            return
        more = f" ({omitted} failures before this one are not listed)" if omitted else ""
        if (
            failure.code == "unused"
        ):  # a port that is looked at, before a join for one, or a client that did not like what it saw
            _log.info("nothing was asked over a connection from %s: %s%s", failure.address, failure.reason, more)
        else:
            _log.info("handshake with %s failed: %s%s", failure.address, failure.reason, more)


_ALERT = re.compile(r"(?:SSLV3|TLSV1|TLSV13)_ALERT_(\w+)")

_REASONS = {
    "UNSUPPORTED_PROTOCOL": ("it offers no TLS version of 1.2 or later", "protocol version"),
    "VERSION_TOO_LOW": ("it offers no TLS version of 1.2 or later", "protocol version"),
    "WRONG_VERSION_NUMBER": ("it does not speak TLS, or an unknown version of it", "protocol version"),
    "NO_SHARED_CIPHER": ("it offers no cipher suite that is allowed here", "handshake failure"),
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": ("it presented no client certificate", "certificate required"),
    "EXCESSIVE_MESSAGE_SIZE": ("it sent a handshake message larger than allowed", "illegal parameter"),
    "NO_RENEGOTIATION": ("it asked for a renegotiation", "no renegotiation"),
    "BAD_SIGNATURE": ("its signature does not verify with the key of its certificate", "decrypt error"),
    "UNEXPECTED_EOF_WHILE_READING": ("it closed the connection without saying so", None),
}

_VERIFY_ALERTS = {
    7: "decrypt error",  # certificate signature failure
    9: "bad certificate",  # not yet valid
    10: "certificate expired",
    18: "unknown ca",  # self-signed
    19: "unknown ca",
    20: "unknown ca",  # no issuer found
    21: "unknown ca",
    23: "certificate revoked",
    26: "unsupported certificate",  # purpose
}
"""OpenSSL's X509_V_ERR numbers and the alerts that it sends for them (ssl/statem/statem_lib.c); for others it sends `bad certificate`."""


def explain(error: ssl.SSLError) -> tuple[str, str | None, bool]:
    """An error of OpenSSL as a sentence about the peer, the TLS alert that went with it, and whether the peer sent that alert."""
    if isinstance(error, ssl.SSLCertVerificationError):
        words = f"its certificate does not verify: {error.verify_message}"
        return words, _VERIFY_ALERTS.get(error.verify_code, "bad certificate"), False
    reason = error.reason or ""
    alert = _ALERT.fullmatch(reason)
    if alert is not None:
        name = alert[1].lower().replace("_", " ")
        return f"it sent the alert: {name}", name, True
    known = _REASONS.get(reason)
    if known is not None:
        return *known, False
    return (reason or str(error)).lower().replace("_", " "), None, False


def explain_connecting(error: OSError) -> str:
    """Why a connection could not be made, or a port not opened: the system's words, because asyncio puts its own around them."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
