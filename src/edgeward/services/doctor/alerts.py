"""TLS alerts in words: what each one means, what Go and Java call it. RFC 8446 section 6.2, crypto/tls/alert.go, sun.security.ssl.Alert."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """`name` is the standard's, `go` what Go prints after `remote error: tls: `, `words` a sentence."""

    name: str
    go: str
    words: str


def _m(name: str, go: str, words: str) -> Meaning:
    return Meaning(name=name, go=go, words=words)


ALERTS = {
    10: _m(
        "unexpected_message",
        "unexpected message",
        "It did not expect this message: it may speak another protocol inside TLS.",
    ),
    20: _m(
        "bad_record_mac",
        "bad record MAC",
        "What arrived was changed on the way, or the two sides computed different keys.",
    ),
    22: _m(
        "record_overflow",
        "record overflow",
        "A record was too long; a server that speaks another protocol says so too.",
    ),
    40: _m(
        "handshake_failure",
        "handshake failure",
        "It found nothing that both sides can do (suite, curve or signature), or in TLS 1.2 it missed a client certificate.",
    ),
    42: _m(
        "bad_certificate",
        "bad certificate",
        "It found our certificate broken, or does not want to say what is wrong with it.",
    ),
    43: _m(
        "unsupported_certificate",
        "unsupported certificate",
        "Our certificate is of a kind or for a purpose that it does not take.",
    ),
    44: _m("certificate_revoked", "revoked certificate", "Our certificate is on its list of revoked ones."),
    45: _m("certificate_expired", "expired certificate", "By its clock our certificate is not valid now."),
    46: _m(
        "certificate_unknown",
        "unknown certificate",
        "It does not accept our certificate, for a reason that has no alert of its own.",
    ),
    47: _m("illegal_parameter", "illegal parameter", "A field of the handshake was not what it allows."),
    48: _m("unknown_ca", "unknown certificate authority", "It does not know the CA that signed our certificate."),
    49: _m("access_denied", "access denied", "Our certificate is valid, and a rule of its own keeps us out."),
    50: _m("decode_error", "error decoding message", "It could not read a message."),
    51: _m(
        "decrypt_error",
        "error decrypting message",
        "A signature did not verify: a certificate and a key that do not belong together.",
    ),
    70: _m("protocol_version", "protocol version not supported", "It speaks no version of TLS that was offered."),
    71: _m("insufficient_security", "insufficient security level", "It wants stronger suites than were offered."),
    80: _m(
        "internal_error",
        "internal error",
        "Something failed on its side that has nothing to do with us; its log says what.",
    ),
    86: _m("inappropriate_fallback", "inappropriate fallback", "It speaks a later version than this attempt offered."),
    109: _m(
        "missing_extension",
        "missing extension",
        "It wants an extension that was not sent: often the server's name (SNI).",
    ),
    112: _m("unrecognized_name", "unrecognized name", "It has no certificate for the name that was called."),
    115: _m("unknown_psk_identity", "unknown PSK identity", "It knows no such pre-shared key."),
    116: _m("certificate_required", "certificate required", "It wants a client certificate, and none was shown."),
    120: _m(
        "no_application_protocol",
        "no application protocol",
        "It speaks none of the protocols that were offered (ALPN).",
    ),
}


def meaning(code: int) -> Meaning:
    """What alert `code` means."""
    return ALERTS.get(code, _m(f"alert {code}", f"alert({code})", "That is no alert of the standard."))
