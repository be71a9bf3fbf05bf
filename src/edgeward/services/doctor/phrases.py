"""What errors look like in the logs of Go programs, KubeEdge's and ours: the rule for each, most particular first.

A rule is tried on a line only if its needle, a piece of literal text, is in it. Its pattern takes linear time: what is open in it is
bounded, and nothing repeats inside a repetition. `meaning` is the id of a catalogue's entry, or decides from the match and its line.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field

Facts = dict[str, str]
Meaning = Callable[[re.Match[str], str], tuple[str, Facts]]

NAME = r"[^\s\"'`\\,;()<>]{1,255}"
"""A name or an address as people paste it, anonymised ones (`**IP**`, `xxx`) too."""

ADDRESS = r"(?:\[[0-9A-Fa-f:.%a-z]{2,60}\]|[A-Za-z0-9_.*-]{1,255}):[0-9]{1,5}"
HASH = r"[0-9a-fA-F]{64}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One message and what it means. `facts` are added to the groups of the pattern."""

    needle: str
    """Lower case; in the line, whose case does not count, before the pattern is tried."""
    pattern: re.Pattern[str]
    meaning: str | Meaning
    program: str
    facts: Facts = field(default_factory=dict)


def rule(program: str, needle: str, pattern: str, meaning: str | Meaning, **facts: str) -> Rule:
    """A line of a table."""
    return Rule(
        needle=needle.lower(), pattern=re.compile(pattern, re.IGNORECASE), meaning=meaning, program=program, facts=facts
    )


def groups(match: re.Match[str]) -> Facts:
    """The named groups that took part."""
    found = {name: value.strip() for name, value in match.groupdict().items() if value is not None}
    if "name" in found:
        found["name"] = found["name"].rstrip(".:")
    return found


def is_address(name: str) -> bool:
    """Whether a name is an IP address."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def named(match: re.Match[str], _line: str) -> tuple[str, Facts]:
    """The certificate has names, and not the one that was dialled."""
    facts = groups(match)
    if not is_address(facts["name"]):
        return "name-mismatch", facts
    facts.setdefault("valid_addresses", facts.get("valid", ""))
    return "address-mismatch", facts


def _unknown_authority(match: re.Match[str], line: str) -> tuple[str, Facts]:
    facts = groups(match)
    if of_client(line):
        detail = "a node shows a certificate of another CA"
        if "anchor_name" in facts:
            detail += f" of the same name, {facts['anchor_name']}: it was enrolled before the CA was made anew, or by another installation"
        return "client-unknown-authority", facts | {"issuer": facts.get("anchor_name", "another CA"), "detail": detail}
    if "anchor_name" not in facts:
        return "unknown-authority", facts
    reason = facts.get("go_reason", "")
    facts |= {"issuer": facts["anchor_name"]}
    if "insecure algorithm" in reason:
        return "weak-signature", facts | {"algorithm": reason.rpartition(" ")[2], "subject": "the server"}
    if "cannot sign" in reason:
        return "issuer-is-no-ca", facts | {"subject": facts["anchor_name"], "detail": reason}
    return "same-name-other-ca", facts


def of_client(line: str) -> bool:
    """Whether a server says this of its client's certificate."""
    return "TLS handshake error from" in line or "client certificate" in line or "client's certificate" in line


def _dates(match: re.Match[str], line: str) -> tuple[str, Facts]:
    facts = groups(match)
    early = facts.pop("when", "after").lower() == "before"
    facts["not_before" if early else "not_after"] = facts.pop("limit", "?")
    facts["subject"] = "the client" if of_client(line) else "the server"
    if of_client(line):
        return ("client-not-yet-valid" if early else "client-expired"), facts
    return ("not-yet-valid" if early else "expired"), facts


ALERTS = {
    "bad certificate": "client-refused",
    "bad record mac": "handshake-refused",
    "certificate expired": "client-expired",
    "certificate required": "client-certificate-missing",
    "certificate revoked": "client-revoked",
    "certificate unknown": "client-refused",
    "decrypt error": "client-refused",
    "access denied": "client-refused",
    "expired certificate": "client-expired",
    "handshake failure": "no-common-suite",
    "insufficient security": "no-common-suite",
    "internal error": "handshake-refused",
    "illegal parameter": "handshake-refused",
    "inappropriate fallback": "tls-too-old",
    "no application protocol": "alpn-refused",
    "protocol version": "tls-too-old",
    "protocol version not supported": "tls-too-old",
    "revoked certificate": "client-revoked",
    "unexpected message": "handshake-refused",
    "unknown ca": "client-unknown-authority",
    "unknown certificate authority": "client-unknown-authority",
    "unknown certificate": "client-refused",
    "unrecognized name": "name-unknown-to-server",
    "unsupported certificate": "client-eku",
}
"""What an alert means to a client that received it, by its name in RFC 8446 and in Go."""

_LONGEST_FIRST = sorted(ALERTS, key=len, reverse=True)

_SERVER_ALERTS = frozenset(
    {
        *(
            "bad certificate",
            "certificate expired",
            "certificate unknown",
            "expired certificate",
            "unknown ca",
            "decrypt error",
        ),
        *("unknown certificate authority", "unknown certificate", "unsupported certificate", "certificate revoked"),
        *("revoked certificate", "access denied"),
    }
)
"""Alerts with which a client refuses a server's certificate."""

_MEANINGS = {
    "handshake failure": "nothing that this client offers suits the server: version, suites, or a certificate that it wants and did not get",
    "internal error": "something failed on the server's side that it does not explain",
    "bad certificate": "the server does not take the certificate, or wants one and was shown none",
}


def alert(name: str, *, server: bool, client: str = "") -> tuple[str, Facts]:
    """What a received alert means; `server`: it stands in a server's log, and `client` sent it."""
    words = " ".join(name.lower().replace("_", " ").split())
    name = next((known for known in _LONGEST_FIRST if words.startswith(known)), words)
    facts = {"alert": name, "go_alert": name, "subject": "what was shown", "meaning": _MEANINGS.get(name, "")}
    if client:
        facts |= {"client": client, "client_address": client.rpartition(":")[0].strip("[]") or client}
    if server:
        return ("server-certificate-refused" if name in _SERVER_ALERTS else "handshake-refused"), facts
    return ALERTS.get(name, "handshake-refused"), facts


def _go_alert(match: re.Match[str], line: str) -> tuple[str, Facts]:
    found = groups(match)
    meaning, facts = alert(found["alert"], server="client" in found, client=found.get("client", ""))
    if meaning == "client-refused" and "/ca.crt" in line:
        # an edge has no certificate yet when it asks for the CA's, so this is a demand, and the server makes none
        return "client-certificate-missing", facts | {"authorities": "unknown"}
    return meaning, facts


def _client(meaning: str) -> Meaning:
    def decided(match: re.Match[str], _line: str) -> tuple[str, Facts]:
        facts = groups(match)
        return meaning, facts | {"client_address": facts.get("client", "").rpartition(":")[0].strip("[]")}

    return decided


def _dial(match: re.Match[str], _line: str) -> tuple[str, Facts]:
    facts = groups(match)
    why = " ".join(facts["why"].lower().split())
    host, _, port = facts["address"].rpartition(":")
    facts |= {"host": host.strip("[]"), "port": port}
    if "refuse" in why:
        return "port-closed", facts
    return ("no-route" if "unreachable" in why or "no route" in why else "no-answer"), facts | {"seconds": "?"}


def _answered(match: re.Match[str], line: str) -> tuple[str, Facts]:
    """What an enrolment server answered, where no rule before knows it better."""
    facts = groups(match)
    if facts["status"] in {"502", "503", "504"}:
        facts.setdefault("detail", "its program behind the proxy does not answer")
    return "request-refused", facts


def _wrong_node(match: re.Match[str], line: str) -> tuple[str, Facts]:
    facts = groups(match)
    if "is not match" in line:
        return "wrong-identity", facts | {"proven": "another node"}
    return "client-refused", facts | {
        "subject": facts.get("node", "?"),
        "alert": "none",
        "meaning": facts.pop("detail", ""),
    }


_HANDSHAKE = rf"TLS handshake error from (?P<client>{ADDRESS}):\s"

RULES: tuple[Rule, ...] = (
    # a server's log of its clients
    rule("Go", "handshake error from", _HANDSHAKE + r"remote error: tls: (?P<alert>[a-z ]{3,40})", _go_alert),
    rule("Go", "provide a certificate", _HANDSHAKE + r"tls: client didn.t provide a certificate", _client("client-certificate-missing"), authorities="unknown"),
    rule("Go", "provide a certificate", r"tls: client didn.t provide a certificate", "client-certificate-missing", authorities="unknown"),
    rule("Go", "first record does not look", _HANDSHAKE + r"tls: first record does not look like a TLS handshake", _client("client-not-tls")),
    rule("Go", "http request to an https", r"client sent an HTTP request to an HTTPS server", "client-not-tls"),
    rule("Go", "only unsupported versions", rf"(?:{_HANDSHAKE})?tls: client offered only unsupported versions: (?P<versions>\[[0-9a-fx ]{{0,60}}\])", _client("client-too-old")),
    rule("Go", "no cipher suite supported", rf"(?:{_HANDSHAKE})?tls: no cipher suite supported by both client and server", "no-common-suite", detail="the server's own list and the client's have nothing in common"),
    rule("Go", "handshake error from", _HANDSHAKE + r"(?:EOF|read tcp (?P<local>\S{1,80})->\S{1,80}: (?:read: connection reset by peer|i/o timeout))", _client("closed-during-handshake")),
    # names
    rule("Go", "certificate is valid for", rf"certificate is valid for (?P<valid>[^\n]{{1,1000}}?), not (?:for )?(?P<name>{NAME})", named),
    rule("Go", "contain any ip sans", rf"cannot validate certificate for (?P<name>{NAME}) because it doesn.t contain any IP SANs", "no-ip-sans", valid="names only"),
    rule("Go", "not valid for any names", rf"certificate is not valid for any names, but wanted to match (?P<name>{NAME})", "no-names"),
    rule("Go", "legacy common name", r"certificate relies on legacy Common Name field", "common-name-only"),
    # chains and dates
    rule("Go", "expired or is not yet valid", r"certificate has expired or is not yet valid(?:: ?current time (?P<now>\S{10,40}) is (?P<when>after|before) (?P<limit>[0-9TZ:+.-]{10,40}))?", _dates),
    rule("Go", "possibly because of", r"certificate signed by unknown authority \(possibly because of \"(?P<go_reason>[^\"]{1,300})\" while trying to verify candidate authority certificate \"(?P<anchor_name>[^\"]{1,200})", _unknown_authority),
    rule("Go", "signed by unknown authority", r"certificate signed by unknown authority", _unknown_authority),
    rule("Go", "incompatible key usage", r"certificate specifies an incompatible key usage", lambda m, line: ("client-eku" if of_client(line) else "eku-server", {"usages": "another", "subject": "it"})),
    rule("Go", "cannot parse ip address", r"x509: cannot parse IP address of length 0", "empty-advertise-address"),
    rule("Go", "unhandled critical", r"x509: unhandled critical extension", "critical-extension", subject="the server", oid="?"),
    rule("Go", "bit keys are insecure", r"crypto/rsa: (?P<bits>\d{1,5})-bit keys are insecure", "weak-key", subject="the server"),
    rule("Go", "not match public key", r"tls: private key does not match public key", "key-mismatch"),
    rule("Go", "find any pem data", r"tls: failed to find any PEM data in (?:certificate|key) input", "not-pem"),
    rule("Go", "invalid signature by the server", r"tls: invalid signature by the server certificate", "server-key-mismatch"),
    # tokens
    rule("KubeEdge", "credentials are in the wrong format", r"token (?:\S{1,4096} )?credentials are in the wrong format", "token-form", detail="it does not have four parts"),
    rule("KubeEdge", "credentials are in wrong format", r"token credentials are in wrong format", "token-form", detail="it does not have four parts"),
    rule("KubeEdge", "tokencahash", rf"failed to validate CA certificate\. ?tokenCAhash: (?P<pin>{HASH}), CAhash: (?P<actual>{HASH})", "token-other-ca"),
    rule("KubeEdge", "token is expired", r"token is expired(?: by (?P<ago>[0-9dhms.]{1,30}))?", "token-expired", expired_at="a moment that is over"),
    rule("KubeEdge", "token signature is invalid", r"token signature is invalid", "token-unknown", detail="its signature is of another CA key"),
    rule("KubeEdge", "signature is invalid", r"token validation failure, err: signature is invalid", "token-unknown", detail="its signature is of another CA key"),
    rule("KubeEdge", "token is malformed", r"token is malformed", "token-form", detail="it is not of three parts, or was cut"),
    rule("KubeEdge", "token contains an invalid number", r"token contains an invalid number of segments", "token-form", detail="it is not of three parts, or was cut"),
    rule("KubeEdge", "token cannot be split", r"token cannot be split", "token-form", detail="the header has no bearer token"),
    rule("KubeEdge", "token is empty", r"token validation failure, token is empty", "token-missing"),
    rule("KubeEdge", "invalid authorization token", r"Invalid authorization token", "token-refused"),
    rule("KubeEdge", "tokensecret", r"secrets? \"?tokensecret\"? not found", "token-not-there"),
    # KubeEdge's own
    rule("KubeEdge", "failed to verify the certificate", rf"failed to verify the certificate for edgenode: (?P<node>{NAME}), err: (?P<detail>[^\n]{{1,300}})", _wrong_node),
    rule("KubeEdge", "is not match with the certificate", r"request node name is not match with the certificate", "wrong-identity", proven="another node"),
    rule("KubeEdge", "cannot be nil when writing", r"certificate cannot be nil when writing to file", "empty-answer"),
    rule("KubeEdge", "ecprivatek", r"(?:unable to Parse|failed to parse )ECPrivateK", "ca-key-unusable", go_detail="asn1: structure error"),
    rule("KubeEdge", "ec private key", r"failed to parse EC private key", "ca-key-unusable", go_detail="asn1: structure error"),
    rule("KubeEdge", "instead for this key format", r"x509: failed to parse (?:EC )?private key \(use Parse(?:PKCS1|PKCS8|EC)PrivateKey instead", "ca-key-unusable"),
    rule("KubeEdge", "crypto handshake did not complete", r"Crypto handshake did not complete in time", "quic-handshake"),
    rule("KubeEdge", "close 1006", r"websocket: close 1006", "hub-closed"),
    rule("Go", "websocket: bad handshake", r"websocket: bad handshake", "upgrade-refused"),
    rule("KubeEdge", "not exist", r"(?P<file>TLSStream(?:PrivateKey|Cert|CA)File) not exist", "stream-certificate-missing"),
    rule("KubeEdge", "already exist", r"(?:the )?node(?: name)? \"?(?P<node>[a-z0-9.-]{1,63}\"?) (?:has )?already exist", "node-exists"),
    rule("KubeEdge", "rootca.crt", r"(?:open |stat )?(?P<file>/[^\s:\"']{1,200}rootCA\.crt)\"?:? (?:does )?(?:not exist|no such file)", "file-missing"),
    # the network
    rule("Go", "no such host", rf"lookup (?P<name>{NAME})(?: on (?P<resolver>{NAME}))?: no such host", "dns-not-found"),
    rule("Go", "server misbehaving", rf"lookup (?P<name>{NAME})(?: on (?P<resolver>{NAME}))?: server misbehaving", "dns-failed", why="server misbehaving"),
    rule("Go", "temporary failure in name", rf"(?:lookup (?P<name>{NAME})[^\n]{{0,80}}: )?Temporary failure in name resolution", "dns-failed", why="temporary failure in name resolution"),
    rule("Go", "dial tcp", rf"dial tcp (?P<address>{ADDRESS}): (?P<why>(?:connect: )?(?:connection refused?|i/o timeout|connection timed out|no route to host|network is unreachable|host is unreachable))", _dial),
    rule("Go", "tls handshake timeout", r"net/http: TLS handshake timeout", "silent", seconds="10"),
    rule("Go", "i/o timeout", rf"read tcp (?P<local>{ADDRESS})->(?P<address>{ADDRESS}): i/o timeout", "silent", seconds="30"),
    rule("Go", "connection reset by peer", rf"read tcp (?P<local>{ADDRESS})->(?P<address>{ADDRESS}): read: connection reset by peer", "closed-at-once"),
    rule("Go", "http response to https client", r"http: server gave HTTP response to HTTPS client", "plain-http"),
    rule("Go", "first record does not look", r"tls: first record does not look like a TLS handshake", "plain-http"),
    rule("Go", "unsupported protocol version", r"tls: server selected unsupported protocol version", "tls-too-old"),
    rule("Go", "bogus greeting", r"http2: server: error reading preface from client (?P<address>\S{1,80}): bogus greeting", "alpn-h2"),
    rule("Go", "remote error: tls", r"remote error: tls: (?P<alert>[a-z ]{3,40})", _go_alert),
    rule("Go", "tls: ", rf"(?<!remote error: )\btls: (?P<alert>{'|'.join(_LONGEST_FIRST)})\b", _go_alert),
    rule("KubeEdge", "failed to call http", r"failed to call http, code: (?P<status>\d{3}), message: (?P<detail>[^\n]{0,300})", _answered),
    # ours
    rule("Edgeward", "the token expired at", r"the token expired at (?P<expired_at>\S{10,40})", "token-expired"),
    rule("Edgeward", "handshake with", rf"handshake with (?P<client>{NAME}) failed: it sent the alert: (?P<alert>[a-z ]{{3,40}})", lambda m, _: alert(m["alert"], server=True, client=m["client"])),
    rule("Edgeward", "presented no client certificate", r"it presented no client certificate", "client-certificate-missing", authorities="its own CA"),
    rule("Edgeward", "speaks http without tls", rf"handshake with (?P<client>{NAME}) failed: it speaks HTTP without TLS", _client("client-not-tls")),
    rule("Edgeward", "closed the connection during the handshake", rf"handshake with (?P<client>{NAME}) failed: it closed the connection during the handshake", _client("closed-during-handshake")),
    rule("Edgeward", "not signed by the pinned ca", r"the certificate is not signed by the pinned CA", "unknown-authority", issuer="another CA"),
    rule("Edgeward", "is refused: it was revoked", r"the client certificate is refused: it was revoked at (?P<since>\S{10,40})", "client-revoked", detail="it was revoked on the server"),
    rule("Edgeward", "is refused: it expired", r"the client certificate is refused: it expired at (?P<not_after>\S{10,40})", "client-expired", subject="what was shown", ago="then"),
)  # fmt: skip
