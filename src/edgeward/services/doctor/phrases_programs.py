"""What errors look like in OpenSSL and the programs over it, in Java, Node, Python, browsers, GnuTLS, rustls and Windows."""

import re

from edgeward.services.doctor.phrases import ALERTS, NAME, Facts, Rule, alert, groups, named, rule

_VERIFY = {
    2: "unknown-authority",
    7: "same-name-other-ca",
    9: "not-yet-valid",
    10: "expired",
    18: "self-signed",
    19: "self-signed",
    20: "unknown-authority",
    21: "unknown-authority",
    23: "server-revoked",
    24: "issuer-is-no-ca",
    25: "chain-rule",
    26: "eku-server",
    32: "key-usage",
    34: "critical-extension",
    47: "chain-rule",
    48: "chain-rule",
    62: "name-mismatch",
    64: "address-mismatch",
    66: "weak-key",
    67: "weak-key",
    68: "weak-signature",
    79: "issuer-is-no-ca",
}
"""OpenSSL's X509_V_ERR numbers (openssl-verification-options(1)) about a server."""

_OF_CLIENTS = {
    "unknown-authority": "client-unknown-authority",
    "same-name-other-ca": "client-unknown-authority",
    "self-signed": "client-unknown-authority",
    "not-yet-valid": "client-not-yet-valid",
    "expired": "client-expired",
    "server-revoked": "client-revoked",
    "eku-server": "client-eku",
    "weak-key": "client-weak",
    "weak-signature": "client-weak",
}
"""The same when a server says it of its client."""

_WORDS = (
    ("unable to verify the first certificate", 21),
    ("unable to get local issuer certificate", 20),
    ("unable to get issuer certificate", 2),
    ("self-signed certificate in certificate chain", 19),
    ("self signed certificate in certificate chain", 19),
    ("self-signed certificate", 18),
    ("self signed certificate", 18),
    ("certificate has expired", 10),
    ("certificate is not yet valid", 9),
    ("certificate signature failure", 7),
    ("certificate revoked", 23),
    ("invalid ca certificate", 79),
    ("unsuitable certificate purpose", 26),
    ("unsupported certificate purpose", 26),
    ("hostname mismatch", 62),
    ("ip address mismatch", 64),
    ("ee certificate key too weak", 66),
    ("ca certificate key too weak", 67),
    ("ca signature digest algorithm too weak", 68),
    ("unhandled critical extension", 34),
    ("path length constraint exceeded", 25),
)

_NUMBERS = "|".join(re.escape(words) for words, _ in _WORDS)

_UNNAMED = {
    "subject": "the server",
    "usages": "another",
    "detail": "OpenSSL says so",
    "since": "some time",
    "oid": "?",
    "algorithm": "a weak one",
    "key_kind": "?",
}
"""What the message leaves open. Names that a command needs are not here: they stay to be filled in."""


def _in_server_log(line: str) -> bool:
    """Whether a line is of a server (nginx, mosquitto, haproxy, apache) that speaks of who dialled it."""
    lower = line.lower()
    if "upstream" in lower:
        return False
    return (
        "while ssl handshaking, client:" in lower
        or ("client:" in lower and "server:" in lower)
        or re.match(r"\d{10}: ", line) is not None  # mosquitto's broker stamps its lines, its clients do not
        or "ssl handshake failure" in lower
        or "[client " in lower
    )


_CLIENT = re.compile(rf"(?:client: |\[client |from )(?P<client>{NAME})", re.IGNORECASE)


def _who(line: str) -> Facts:
    found = _CLIENT.search(line)
    client = found["client"].rstrip("]") if found else "an unknown client"
    return {"client": client, "client_address": client}


def verified(number: int, line: str) -> tuple[str, Facts]:
    """A number of OpenSSL's verification, in a client or in a server."""
    meaning = _VERIFY.get(number, "chain-rule")
    facts = dict(_UNNAMED)
    if _in_server_log(line) or "client SSL certificate" in line:
        facts |= _who(line) | {"subject": "the client", "issuer": "another CA", "not_after": "a date that is over"}
        return _OF_CLIENTS.get(meaning, "client-refused"), facts | {
            "alert": "none",
            "meaning": "",
            "authorities": "another CA",
        }
    return meaning, facts


def _verify_number(match: re.Match[str], line: str) -> tuple[str, Facts]:
    return verified(int(match["number"]), line)


def _verify_words(match: re.Match[str], line: str) -> tuple[str, Facts]:
    words = match["words"].lower()
    return verified(next(number for known, number in _WORDS if words.startswith(known)), line)


def _alert(match: re.Match[str], line: str) -> tuple[str, Facts]:
    server = _in_server_log(line)
    who = _who(line)["client"] if server else ""
    return alert(match["alert"], server=server, client=who)


_ALERT_NAMES = "|".join(re.escape(name).replace(r"\ ", "[ _]") for name in sorted(ALERTS, key=len, reverse=True))

_REASONS: dict[str, tuple[str, str]] = {
    "wrong version number": ("plain-http", ""),
    "unknown protocol": ("plain-http", ""),
    "packet length too long": ("plain-http", ""),
    "http request": ("client-not-tls", "client-not-tls"),
    "unsupported protocol": ("tls-too-old", "client-too-old"),
    "version too low": ("tls-too-old", "client-too-old"),
    "no protocols available": ("tls-too-old", "client-too-old"),
    "no shared cipher": ("no-common-suite", ""),
    "no suitable signature algorithm": ("no-common-suite", ""),
    "peer did not return a certificate": ("client-certificate-missing", ""),
    "key values mismatch": ("key-mismatch", ""),
    "no start line": ("not-pem", ""),
    "unexpected eof while reading": ("closed-at-once", "closed-during-handshake"),
    "ee key too small": ("weak-key", "client-weak"),
    "ca md too weak": ("weak-signature", "client-weak"),
    "dh key too small": ("no-common-suite", ""),
    "bad signature": ("server-key-mismatch", ""),
    "bad decrypt": ("wrong-password", ""),
    "unsafe legacy renegotiation disabled": ("tls-too-old", ""),
    "certificate verify failed": ("unknown-authority", "client-unknown-authority"),
}
"""OpenSSL's reasons and what they mean to a client, and to a server where that differs."""

_REASON_NAMES = "|".join(re.escape(name).replace(r"\ ", "[ _]") for name in sorted(_REASONS, key=len, reverse=True))


def _reason(match: re.Match[str], line: str) -> tuple[str, Facts]:
    name = match["reason"].lower().replace("_", " ")
    client, server = _REASONS[name]
    facts = dict(_UNNAMED) | {"detail": "nothing in common"}
    if server and _in_server_log(line):
        return server, facts | _who(line) | {
            "issuer": "another CA",
            "authorities": "another CA",
            "versions": "old ones",
        }
    return client, facts | {"authorities": "unknown"}


CODES: dict[str, str] = {
    # Node
    "ERR_TLS_CERT_ALTNAME_INVALID": "name-mismatch",
    "UNABLE_TO_VERIFY_LEAF_SIGNATURE": "unknown-authority",
    "UNABLE_TO_GET_ISSUER_CERT_LOCALLY": "unknown-authority",
    "UNABLE_TO_GET_ISSUER_CERT": "unknown-authority",
    "DEPTH_ZERO_SELF_SIGNED_CERT": "self-signed",
    "SELF_SIGNED_CERT_IN_CHAIN": "self-signed",
    "CERT_HAS_EXPIRED": "expired",
    "CERT_NOT_YET_VALID": "not-yet-valid",
    "CERT_SIGNATURE_FAILURE": "same-name-other-ca",
    "CERT_REVOKED": "server-revoked",
    "INVALID_CA": "issuer-is-no-ca",
    "INVALID_PURPOSE": "eku-server",
    "ERR_SSL_WRONG_VERSION_NUMBER": "plain-http",
    "ERR_SSL_UNSUPPORTED_PROTOCOL": "tls-too-old",
    "ERR_SSL_NO_SHARED_CIPHER": "no-common-suite",
    "ERR_OSSL_X509_KEY_VALUES_MISMATCH": "key-mismatch",
    "ERR_OSSL_PEM_NO_START_LINE": "not-pem",
    "ERR_OSSL_BAD_DECRYPT": "wrong-password",
    # Chrome
    "ERR_CERT_AUTHORITY_INVALID": "unknown-authority",
    "ERR_CERT_COMMON_NAME_INVALID": "name-mismatch",
    "ERR_CERT_DATE_INVALID": "expired",
    "ERR_CERT_REVOKED": "server-revoked",
    "ERR_CERT_INVALID": "chain-rule",
    "ERR_CERT_WEAK_SIGNATURE_ALGORITHM": "weak-signature",
    "ERR_CERT_WEAK_KEY": "weak-key",
    "ERR_CERT_VALIDITY_TOO_LONG": "long-lived",
    "ERR_SSL_PROTOCOL_ERROR": "plain-http",
    "ERR_SSL_VERSION_OR_CIPHER_MISMATCH": "tls-too-old",
    "ERR_SSL_OBSOLETE_VERSION": "tls-too-old",
    "ERR_SSL_UNRECOGNIZED_NAME_ALERT": "name-unknown-to-server",
    "ERR_BAD_SSL_CLIENT_AUTH_CERT": "client-refused",
    "ERR_SSL_CLIENT_AUTH_CERT_NEEDED": "client-certificate-missing",
    "ERR_SSL_CLIENT_AUTH_NO_COMMON_ALGORITHMS": "client-refused",
    # Firefox
    "SEC_ERROR_UNKNOWN_ISSUER": "unknown-authority",
    "SEC_ERROR_UNTRUSTED_ISSUER": "unknown-authority",
    "SEC_ERROR_BAD_SIGNATURE": "same-name-other-ca",
    "SEC_ERROR_EXPIRED_CERTIFICATE": "expired",
    "SEC_ERROR_EXPIRED_ISSUER_CERTIFICATE": "expired",
    "SEC_ERROR_REVOKED_CERTIFICATE": "server-revoked",
    "SEC_ERROR_CA_CERT_INVALID": "issuer-is-no-ca",
    "SEC_ERROR_INADEQUATE_CERT_TYPE": "eku-server",
    "SEC_ERROR_INADEQUATE_KEY_USAGE": "key-usage",
    "SSL_ERROR_BAD_CERT_DOMAIN": "name-mismatch",
    "SSL_ERROR_UNSUPPORTED_VERSION": "tls-too-old",
    "SSL_ERROR_NO_CYPHER_OVERLAP": "no-common-suite",
    "SSL_ERROR_RX_RECORD_TOO_LONG": "plain-http",
    "SSL_ERROR_BAD_CERT_ALERT": "client-refused",
    "SSL_ERROR_RX_CERTIFICATE_REQUIRED_ALERT": "client-certificate-missing",
    "SSL_ERROR_UNRECOGNIZED_NAME_ALERT": "name-unknown-to-server",
    "MOZILLA_PKIX_ERROR_SELF_SIGNED_CERT": "self-signed",
    "MOZILLA_PKIX_ERROR_NOT_YET_VALID_CERTIFICATE": "not-yet-valid",
    "MOZILLA_PKIX_ERROR_CA_CERT_USED_AS_END_ENTITY": "chain-rule",
    "MOZILLA_PKIX_ERROR_V1_CERT_USED_AS_CA": "issuer-is-no-ca",
    # Windows
    "SEC_E_UNTRUSTED_ROOT": "unknown-authority",
    "CERT_E_UNTRUSTEDROOT": "unknown-authority",
    "CERT_E_CHAINING": "unknown-authority",
    "0X80090325": "unknown-authority",
    "0X800B0109": "unknown-authority",
    "0X800B010A": "unknown-authority",
    "SEC_E_WRONG_PRINCIPAL": "name-mismatch",
    "CERT_E_CN_NO_MATCH": "name-mismatch",
    "0X80090322": "name-mismatch",
    "0X800B010F": "name-mismatch",
    "SEC_E_CERT_EXPIRED": "expired",
    "CERT_E_EXPIRED": "expired",
    "0X80090328": "expired",
    "0X800B0101": "expired",
    "CERT_E_WRONG_USAGE": "eku-server",
    "0X800B0110": "eku-server",
    "CRYPT_E_REVOKED": "server-revoked",
    "0X80092010": "server-revoked",
    "CRYPT_E_NO_REVOCATION_CHECK": "revocation-unknown",
    "CRYPT_E_REVOCATION_OFFLINE": "revocation-unknown",
    "0X80092012": "revocation-unknown",
    "0X80092013": "revocation-unknown",
    "SEC_E_ALGORITHM_MISMATCH": "no-common-suite",
    "0X80090331": "no-common-suite",
    "SEC_E_INVALID_TOKEN": "plain-http",
    "0X80090308": "plain-http",
    "SEC_E_ILLEGAL_MESSAGE": "handshake-refused",
    "0X80090326": "handshake-refused",
    # .NET
    "REMOTECERTIFICATENAMEMISMATCH": "name-mismatch",
    "REMOTECERTIFICATECHAINERRORS": "unknown-authority",
    "REMOTECERTIFICATENOTAVAILABLE": "client-certificate-missing",
}
"""Codes that say it all by themselves, in capitals."""

_CODE_FACTS = dict(_UNNAMED) | {"alert": "not named", "meaning": "", "days": "too many"}

_CODE = re.compile(
    r"\b(?P<code>[A-Z][A-Z0-9]{2,12}_[A-Z0-9_]{3,60}|0[xX]80[0-9A-Fa-f]{6}|RemoteCertificate[A-Za-z]{10,20})\b"
)
_CODE_NEEDLES = (
    *("err_", "sec_e", "cert_", "ssl_error", "mozilla_pkix", "crypt_e", "unable_to", "depth_zero", "self_signed"),
    *("invalid_ca", "invalid_purpose", "0x80", "remotecertificate"),
)


def _code(match: re.Match[str], line: str) -> tuple[str, Facts]:
    code = match["code"].upper()
    if code not in CODES:
        found = re.fullmatch(
            r"(?:ERR_SSL|SSL)_(?:ERROR_)?(?:SSLV3|TLSV1|TLSV13)?_?(?:ALERT_)?([A-Z_]{3,40}?)(?:_ALERT)?", code
        )
        if found is None:
            return "", {}
        name = found[1].lower().replace("_", " ")
        return alert(name, server=_in_server_log(line)) if name in ALERTS else ("", {})
    return CODES[code], dict(_CODE_FACTS)


def _java_alert(match: re.Match[str], line: str) -> tuple[str, Facts]:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", match["alert"])  # Java says bad_certificate, rustls BadCertificate
    meaning, facts = alert(words, server=False)
    return meaning, facts | {"java_alert": match["alert"], "authorities": "unknown"}


_ALERT_NUMBERS = {
    40: "handshake failure",
    42: "bad certificate",
    43: "unsupported certificate",
    44: "certificate revoked",
    45: "certificate expired",
    46: "certificate unknown",
    48: "unknown ca",
    49: "access denied",
    51: "decrypt error",
    70: "protocol version",
    71: "insufficient security",
    80: "internal error",
    112: "unrecognized name",
    116: "certificate required",
    120: "no application protocol",
}
"""RFC 8446 section 6."""


def _numbered_alert(match: re.Match[str], line: str) -> tuple[str, Facts]:
    return alert(_ALERT_NUMBERS.get(int(match["number"]), f"number {match['number']}"), server=_in_server_log(line))


_RUSTLS = {
    "unknownissuer": "unknown-authority",
    "notvalidforname": "name-mismatch",
    "expired": "expired",
    "notvalidyet": "not-yet-valid",
    "badsignature": "same-name-other-ca",
    "revoked": "server-revoked",
    "invalidpurpose": "eku-server",
    "causedasendentity": "chain-rule",
    "other": "chain-rule",
    "badencoding": "unreadable-certificate",
    "unsupportedcertversion": "chain-rule",
}


def _rustls(match: re.Match[str], line: str) -> tuple[str, Facts]:
    return _RUSTLS.get(match["why"].lower(), "chain-rule"), dict(_CODE_FACTS)


def _bare(_match: re.Match[str], _line: str) -> tuple[str, Facts]:
    return "name-mismatch", {}


def _connecting(match: re.Match[str], line: str) -> tuple[str, Facts]:
    facts = groups(match)
    if "port" in facts:
        facts["address"] = f"{facts.get('host', '')}:{facts['port']}"
    lower = line.lower()
    if "refused" in lower or "ECONNREFUSED" in line:
        return "port-closed", facts
    return ("no-route" if "no route" in lower or "UNREACH" in line else "no-answer"), facts | {
        "seconds": "?",
        "why": "no route to host",
    }


RULES: tuple[Rule, ...] = (
    # names, where the message says which
    rule("Node", "cert's altnames", rf"Host: (?P<name>{NAME})\.? is not in the cert's altnames: (?P<altnames>[^\n]{{0,1000}})", named),
    rule("Node", "is not in the cert's list", rf"IP: (?P<name>{NAME}) is not in the cert's list: ?(?P<valid_addresses>[^\n\"]{{0,500}})", lambda m, line: (("address-mismatch" if m["valid_addresses"].strip() else "no-ip-sans"), groups(m) | {"valid": m["valid_addresses"].strip() or "names only"})),
    rule("Node", "does not contain a dns name", r"Cert does not contain a DNS name", "no-names"),
    rule("Java", "subject alternative dns name matching", rf"No subject alternative DNS name matching (?P<name>{NAME}) found", "name-mismatch"),
    rule("Java", "names matching ip address", rf"No subject alternative names matching IP address (?P<name>{NAME}) found", "address-mismatch"),
    rule("Java", "alternative names present", r"No subject alternative names present", "no-names"),
    rule("Java", "no name matching", rf"No name matching (?P<name>{NAME}) found", "no-names"),
    rule("Java", "hostname", rf"(?:Certificate for|Hostname) <?(?P<name>{NAME})>? (?:doesn't match any of the subject alternative names|not verified)", named),
    rule("Python", "mismatch, certificate is not valid for", rf"(?:Hostname|IP address) mismatch, certificate is not valid for '(?P<name>{NAME})'", named),
    rule("Python", "doesn't match", rf"hostname '(?P<name>{NAME})' doesn't match (?:either of )?'(?P<valid>[^\n]{{1,500}}?)'[)\"]*$", named),
    rule("curl", "matches target", rf"no alternative certificate subject name matches target (?:host|ipv[46] address) ?(?:name )?'(?P<name>{NAME})'", named),
    rule("nginx", "certificate does not match", rf"upstream SSL certificate does not match \"(?P<name>{NAME})\"", named),
    rule("rustls", "certificate not valid for name", rf"certificate not valid for name \"(?P<name>{NAME})\"(?:; certificate is only valid for (?P<valid>[^\n]{{1,500}}))?", named),
    rule("GnuTLS", "does not match the expected", r"The name in the certificate does not match the expected", _bare),
    # nginx and other servers of their clients
    rule("nginx", "client ssl certificate verify error", r"client SSL certificate verify error: \((?P<number>\d{1,3}):", _verify_number),
    rule("nginx", "sent no required ssl certificate", r"client sent no required SSL certificate", "client-certificate-missing", authorities="its client CA"),
    rule("nginx", "no required ssl certificate was sent", r"No required SSL certificate was sent", "client-certificate-missing", authorities="its client CA"),
    rule("nginx", "the ssl certificate error", r"400 The SSL certificate error", "client-unknown-authority", issuer="another CA", authorities="its client CA", detail="nginx verifies it and it does not pass"),
    rule("nginx", "plain http request", r"plain HTTP request (?:was sent )?to HTTPS port", "client-not-tls"),
    rule("nginx", "upstream ssl certificate verify error", r"upstream SSL certificate verify error: \((?P<number>\d{1,3}):", _verify_number),
    rule("nginx", "cannot load certificate", r"cannot load certificate(?: key)? \"(?P<file>[^\"\n]{1,300})\": BIO_new_file\(\) failed", "file-missing"),
    rule("nginx", "cannot load certificate", r"cannot load certificate(?: key)? \"(?P<file>[^\"\n]{1,300})\": PEM_", "not-pem"),
    rule("nginx", "connecting to upstream", r"\(111: Connection refused\) while connecting to upstream[^\n]{0,400}upstream: \"\w{2,8}://(?P<address>[^/\"\s]{1,255})", "port-closed"),
    rule("nginx", "upstream timed out", r"upstream timed out[^\n]{0,400}upstream: \"\w{2,8}://(?P<address>[^/\"\s]{1,255})", "no-answer", seconds="?"),
    # alerts, in every spelling
    rule("OpenSSL", "alert", rf"(?:sslv3|tlsv1|tlsv13|tls)[ _]alert[ _](?P<alert>{_ALERT_NAMES})", _alert),
    rule("OpenSSL", "unrecognized name", r"tlsv1[ _](?P<alert>unrecognized[ _]name)", _alert),
    rule("Java", "fatal alert", r"received fatal alert:? (?P<alert>[a-z_]{5,40})", _java_alert),
    rule("GnuTLS", "fatal alert has been received", r"A TLS fatal alert has been received[^\n]{0,80}?\[(?P<number>\d{1,3})\]", _numbered_alert),
    rule("GnuTLS", "received alert", r"Received alert \[(?P<number>\d{1,3})\]", _numbered_alert),
    # verification
    rule("OpenSSL", "num=", r"(?:verify error:num=|depth lookup:?\s?num=|error )(?P<number>\d{1,3})(?::| at)", _verify_number),
    rule("OpenSSL", "depth lookup", r"error (?P<number>\d{1,3}) at \d{1,3} depth lookup", _verify_number),
    rule("OpenSSL", "verify return code", r"Verify return code: (?P<number>[1-9]\d{0,2}) \(", _verify_number),
    rule("OpenSSL", "certificate", rf"(?:certificate verify failed|SSL certificate problem|certificate verify failed \()[^\n]{{0,20}}?:? ?\(?(?P<words>{_NUMBERS})", _verify_words),
    rule("Java", "pkix path building failed", r"PKIX path building failed", "unknown-authority"),
    rule("Java", "valid certification path", r"unable to find valid certification path to requested target", "unknown-authority"),
    rule("Java", "certificateexpiredexception", r"CertificateExpiredException: NotAfter: (?P<not_after>[^\n\"]{8,60})", "expired", subject="the server", ago="then"),
    rule("Java", "certificatenotyetvalidexception", r"CertificateNotYetValidException: NotBefore: (?P<not_before>[^\n\"]{8,60})", "not-yet-valid", subject="the server", ago="then"),
    rule("Java", "validity check failed", r"CertPathValidatorException: validity check failed", "expired", subject="the server", not_after="a date that is over"),
    rule("Java", "signature check failed", r"CertPathValidatorException: signature check failed", "same-name-other-ca"),
    rule("Java", "algorithm constraints check failed", r"Algorithm constraints check failed on (?P<what>keysize limits|signature algorithm|disabled algorithm)", lambda m, line: (("weak-key" if "keysize" in m["what"] else "weak-signature"), dict(_UNNAMED))),
    rule("Java", "certificaterevokedexception", r"CertificateRevokedException", "server-revoked", subject="the server", since="some time"),
    rule("Java", "extended key usage does not permit", r"Extended key usage does not permit use for TLS (?P<use>server|client) authentication", lambda m, line: (("eku-server" if m["use"] == "server" else "client-eku"), dict(_UNNAMED))),
    rule("Java", "not a ca certificate", r"basic constraints check failed|this is not a CA certificate", "issuer-is-no-ca", subject="a certificate of the chain", detail="its basic constraints do not say CA"),
    rule("Java", "trustanchors parameter", r"the trustAnchors parameter must be non-empty", "trust-store-empty"),
    rule("Java", "password was incorrect", r"password was incorrect", "wrong-password"),
    rule("Java", "unrecognized ssl message", r"(?:Unsupported or unrecognized|Unrecognized) SSL message", "plain-http"),
    rule("Java", "during handshake", r"Remote host (?:terminated the handshake|closed connection during handshake)", "closed-at-once"),
    rule("Java", "terminated the handshake", r"Remote host terminated the handshake", "closed-at-once"),
    rule("Java", "no appropriate protocol", r"No appropriate protocol", "tls-too-old", version="old versions"),
    rule("Java", "selected protocol version", r"The server selected protocol version (?P<version>\S{2,10}) is not accepted", "tls-too-old"),
    rule("Java", "unknownhostexception", rf"UnknownHostException: (?P<name>{NAME})", "dns-not-found"),
    rule("rustls", "invalid peer certificate", r"invalid peer certificate(?: contents)?: (?P<why>[A-Za-z]{4,40})", _rustls),
    rule("rustls", "invalidcontenttype", r"corrupt message of type InvalidContentType", "plain-http"),
    rule("rustls", "peer sent no certificates", r"peer sent no certificates", "client-certificate-missing", authorities="its client CA"),
    rule("GnuTLS", "certificate issuer is unknown", r"The certificate issuer is unknown", "unknown-authority"),
    rule("GnuTLS", "expired certificate", r"The certificate chain uses expired certificate", "expired", subject="the server"),
    rule("GnuTLS", "not yet activated", r"The certificate chain uses not yet valid certificate|not yet activated", "not-yet-valid", subject="the server"),
    rule("GnuTLS", "insecure algorithm", r"The certificate chain uses insecure algorithm", "weak-signature", subject="the server", algorithm="a weak one"),
    rule("GnuTLS", "certificate is revoked", r"The certificate chain is revoked|certificate is revoked", "server-revoked", subject="the server", since="some time"),
    rule("GnuTLS", "unexpected tls packet", r"An unexpected TLS packet was received", "plain-http"),
    rule("GnuTLS", "non-properly terminated", r"The TLS connection was non-properly terminated", "closed-at-once"),
    rule("GnuTLS", "required certificate", r"No certificate was found|Certificate is required", "client-certificate-missing", authorities="its client CA"),
    # codes and OpenSSL's other reasons
    *(Rule(needle=needle, pattern=_CODE, meaning=_code, program="codes") for needle in _CODE_NEEDLES),
    rule("OpenSSL", "ssl", rf"\b(?P<reason>{_REASON_NAMES})", _reason),
    rule("OpenSSL", "routines", rf"\b(?P<reason>{_REASON_NAMES})", _reason),
    rule("OpenSSL", "certificate", rf"(?P<words>{_NUMBERS})", _verify_words),
    rule("OpenSSL", "peer did not return", r"peer did not return a certificate", "client-certificate-missing", authorities="its client CA"),
    # the network
    rule("curl", "could not resolve host", rf"Could not resolve host: (?P<name>{NAME})", "dns-not-found"),
    rule("Node", "enotfound", rf"getaddrinfo ENOTFOUND (?P<name>{NAME})", "dns-not-found"),
    rule("Node", "eai_again", rf"getaddrinfo EAI_AGAIN (?P<name>{NAME})", "dns-failed", why="the resolver did not answer in time"),
    rule("Python", "name or service not known", r"Name or service not known", "dns-not-found"),
    rule("Node", "econnrefused", r"connect ECONNREFUSED (?P<address>\S{1,255})", "port-closed"),
    rule("Node", "etimedout", r"connect ETIMEDOUT (?P<address>\S{1,255})", "no-answer", seconds="?"),
    rule("Node", "unreach", r"connect E(?:HOST|NET)UNREACH (?P<address>\S{1,255})", "no-route", why="unreachable"),
    rule("curl", "failed to connect to", rf"Failed to connect to (?P<host>{NAME}) port (?P<port>\d{{1,5}})", _connecting),
    rule("openssl", "connect:errno", r"connect:errno=111", "port-closed"),
    rule("openssl", "connect:errno", r"connect:errno=110", "no-answer", seconds="?"),
    rule("Java", "connection refused", r"java\.net\.ConnectException: Connection refused", "port-closed"),
    rule("Java", "timed out", r"java\.net\.(?:SocketTimeoutException: [Cc]onnect timed out|ConnectException: Connection timed out)", "no-answer", seconds="?"),
    rule("Python", "connection refused", r"\[Errno 111\] Connection refused", "port-closed"),
    rule("Node", "before secure tls connection", r"Client network socket disconnected before secure TLS connection was established", "closed-at-once"),
)  # fmt: skip
