"""Judging what an enrolment server or a hub answers: tokens, nodes, and which of the two it is."""

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

import msgspec
from cryptography import x509

from edgeward.errors import BadToken, printable
from edgeward.model.handshake import Answer, Contact, Handshake, Outcome
from edgeward.model.jwt import KubeEdgeJwt
from edgeward.model.token import JoinToken
from edgeward.pki.severity import Severity
from edgeward.services.doctor.case import Case, moment, read
from edgeward.services.doctor.client import HUB_PORTS, turned_away

_HTTP2 = re.compile(rb"\x00\x00.\x04[\x00\x01]\x00\x00\x00\x00", re.DOTALL)
"""A SETTINGS frame, with which an HTTP/2 server begins. RFC 9113 section 3.4."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """An answer that contains `words` (a pattern over its first line) means the finding `id`."""

    words: re.Pattern[str]
    id: str


def _rules(*pairs: tuple[str, str]) -> tuple[_Rule, ...]:
    return tuple(_Rule(re.compile(words), id_) for words, id_ in pairs)


_ANSWERS = _rules(
    (r"the token is not valid here", "token-unknown"),
    (r"the token expired at (?P<expired_at>\S+)", "token-expired"),
    (r"has been used (?P<uses>\d+) of \d+ times", "token-spent"),
    (r"the token was revoked at (?P<revoked_at>\S+)", "token-revoked"),
    (r"the token is not for node", "token-not-for-node"),
    (r"may not be used from (?P<client_address>\S+)", "token-not-from-here"),
    (r"token has invalid claims: token is expired|token is expired", "token-expired"),
    (r"token signature is invalid|signature is invalid", "token-unknown"),
    (r"token is malformed|token cannot be spli|Invalid authorization token", "token-form"),
    (r"is blocked: (?P<detail>.*)", "node-blocked"),
    (r"it was revoked at (?P<since>\S+)", "client-revoked"),
    (r"it expired at", "client-expired"),
    (r"the certificate is for node (?P<proven>\S+), not for", "wrong-identity"),
    (r"request node name is not match", "wrong-identity"),
    (r"not a device certificate|failed to verify edge certificate|its device is not known", "client-unknown-authority"),
    (r"already has a valid certificate", "node-refused"),
)
"""The sentences of `edgeward.errors` and of KubeEdge's enrolment server, as answers carry them."""


def text_of(answer: Answer | None, secret: str = "") -> str:
    """The first line of an answer's body, made printable; a server that repeats our `secret`, or a part of it, is not quoted there."""
    if answer is None:
        return ""
    text = answer.body[:8192].decode("utf-8", "replace").partition("\n")[0]
    for part in (secret, *secret.split(".")):
        text = text.replace(part, "***") if len(part) > 8 else text
    return printable(text, 300)


def is_enrolment(contact: Contact) -> bool:
    """Whether the server gives out a CA, as enrolment servers do."""
    return ca_of(contact) is not None


def ca_of(contact: Contact) -> bytes | None:
    """The CA (DER) that the server gives out at /ca.crt, or None."""
    for one in (contact.main, contact.bare):
        if (
            one is not None
            and one.answer is not None
            and one.answer.status == 200
            and read(one.answer.body) is not None
        ):
            return one.answer.body
    return None


def pins(token: JoinToken, ca: bytes) -> bool:
    """Whether the token is for this CA (DER)."""
    return hashlib.sha256(ca).hexdigest() == token.pin


def is_hub(contact: Contact) -> bool:
    """Whether the server speaks WebSocket, or is on a hub's port and wants a client certificate."""
    hub = contact.hub
    if hub is not None and hub.answer is not None:
        versions = hub.answer.header("sec-websocket-version")
        if versions or hub.answer.status == 426 or b"websocket" in hub.answer.body[:400].lower():
            return True
    main = contact.main
    known = contact.port in HUB_PORTS or _made_by_a_cloud(main)
    return known and main is not None and main.asked and not is_enrolment(contact)


def _made_by_a_cloud(main: Handshake | None) -> bool:
    """Whether the certificate is one that an Edgeward or a KubeEdge cloud makes for its own ports."""
    leaf = read(main.certificates[0]) if main is not None and main.certificates else None
    made = leaf.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME) if leaf is not None else []
    return any(one.value in ("Edgeward", "KubeEdge") for one in made)


def is_edgeward_hub(contact: Contact) -> bool:
    """Whether it is a hub that answers an unsupported version in the words of ours, which refuses before it opens a session."""
    hub = contact.hub
    return hub is not None and hub.answer is not None and b"invalid Sec-WebSocket-Version header: 0" in hub.answer.body


def token(case: Case, text: str, now: datetime) -> JoinToken | None:
    """Judge a token by itself: its form, its pin, its expiry where it says one. The token if it may be asked about."""
    try:
        parsed = JoinToken.parse(text)
    except BadToken as error:
        case.add("token-form", {"detail": f"{error.facts['why']}{_hint(text)}"})
        return None
    jwt = KubeEdgeJwt.parse(parsed.bearer.reveal())
    if cut := _cut(parsed):
        case.add("token-form", {"detail": cut})
        return None
    actual = ca_of(case.contact)
    if actual is None:
        _no_ca(case)
        return None
    if not pins(parsed, actual):
        case.add("token-other-ca", {"pin": parsed.pin, "actual": hashlib.sha256(actual).hexdigest()})
        return None
    if jwt is not None and now >= jwt.expires_at:
        case.add("token-expired", {"expired_at": moment(jwt.expires_at)})
        return None
    hinted = parsed.hints.https
    if hinted and not any(one.endswith(f":{case.contact.port}") for one in hinted):
        case.add(
            "token-elsewhere",
            {"hinted": ", ".join(hinted[:4]), "dialled": case.contact.address},
            severity=Severity.NOTE,
        )
    return parsed


_KEY_ID = re.compile(r"[0-9a-f]{16}")
_LAST_PART = 43
"""Characters of the last part of a token, ours and KubeEdge's with HS256: 32 octets in base64url."""


def _cut(token: JoinToken) -> str:
    """What is missing of a token whose outer form is right; empty for nothing."""
    first, middle, last = token.bearer.reveal().split(".")
    if first.startswith("eyJ"):
        header, claims = _decoded(first), _decoded(middle)
        if header is None or claims is None:
            return "one of its parts cannot be read: something of it is missing or was changed"
        if header.get("alg") != "HS256":
            return ""
    elif not _KEY_ID.fullmatch(first):
        return ""
    if len(last) == _LAST_PART:
        return ""
    how = "cut" if len(last) < _LAST_PART else "too much"
    return f"its last part has {len(last)} characters instead of {_LAST_PART}: {how} at its end"


def _decoded(part: str) -> dict[str, object] | None:
    """The JSON object in one part of a JWT, or None."""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)), type=dict[str, object])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _hint(text: str) -> str:
    text = text.strip()
    if text.lower().startswith("bearer "):
        return "; it begins with `Bearer`, which is no part of it"
    if text.startswith(('"', "'", "`", "<")):
        return "; it is in quotes, which are no part of it"
    if text.startswith("eyJ"):
        return "; it begins with the second part: the first, the 64 digits of the CA's hash, is missing"
    if len(text.split()) > 1:
        return "; there is white space in the middle of it"
    return ""


def _no_ca(case: Case) -> None:
    contact = case.contact
    if is_hub(contact) or turned_away(contact.main):
        case.add("hub-is-not-enrolment")
        return
    main = contact.main
    answer = main.answer if main is not None else None
    detail = f"it answers {answer.status}" if answer is not None and answer.status else "it does not answer like HTTP"
    if answer is not None and 300 <= answer.status < 400:
        detail = f"it answers {answer.status} and sends clients elsewhere"
    case.add("no-authority-answer", {"detail": detail})


def answered(case: Case, one: Handshake, *, about: str, secret: str = "") -> bool:
    """Judge the answer to a question about a token, a certificate or a session; whether it was a refusal. `about` says which; `secret`
    is what the question told and the answer may repeat."""
    answer = one.answer
    if answer is None or answer.status in (0, 101, 200):
        return False
    words = text_of(answer, secret)
    if "the certificate request is refused" in words:
        return False  # as it should be: whoever asks for nobody's name and is told so has shown good proof
    for rule in _ANSWERS:
        found = rule.words.search(words)
        if found is not None:
            facts = {key: value.rstrip(".,;)") for key, value in found.groupdict().items() if value}
            case.add(rule.id, _mine(case) | {"detail": words, "authorities": "its own devices alone"} | facts)
            return True
    if answer.status in (429, 503):
        case.add("rate-limited", {"status": str(answer.status)})
        return True
    if answer.status in (401, 403):
        case.add(
            "token-unknown" if about == "token" else "node-refused", {"detail": f"it answers {answer.status}: {words}"}
        )
        return True
    return False


def _mine(case: Case) -> dict[str, str]:
    if case.mine is None:
        return {}
    leaf = case.mine.leaf
    return {
        "subject": leaf.subject.rfc4514_string(),
        "issuer": leaf.issuer.rfc4514_string(),
        "not_after": moment(leaf.not_valid_after_utc),
        "cert": case.mine.cert,
        "key": case.mine.key,
    }


def kind(case: Case, *, token_given: bool, connect: bool) -> None:
    """Whether it is the kind of server that was meant, and whether its protocol is one that edges speak."""
    contact = case.contact
    main = contact.main
    if main is None or case.shown is None:
        return
    meant = "hub" if contact.scheme == "wss" or connect else "enrolment" if contact.scheme == "https" else ""
    if meant == "enrolment" and is_hub(contact) and not token_given:
        case.add("hub-is-not-enrolment")
    elif meant == "hub" and is_enrolment(contact):
        case.add("enrolment-is-not-hub")
    _protocol(case)
    answer = main.answer
    if answer is not None and 300 <= answer.status < 400:
        case.add(
            "redirects",
            {"status": str(answer.status), "location": printable(answer.header("location"), 200) or "nothing"},
        )
    if answer is not None and answer.status in (429, 503):
        case.add("rate-limited", {"status": str(answer.status)})


def _protocol(case: Case) -> None:
    contact, main = case.contact, case.contact.main
    if main is not None and main.answer is not None and _HTTP2.match(main.answer.octets):
        case.add(
            "alpn-refused", {"detail": "it answers in HTTP/2 a client that named no protocol", "go_detail": r"\x00\x00"}
        )
    h2 = contact.h2
    if h2 is None:
        return
    if h2.offer.protocols == ("http/1.1",) and h2.outcome is Outcome.ALERT:
        case.add("alpn-refused", {"detail": "it refuses http/1.1 and wants h2 alone"})
    elif h2.protocol == "h2" and is_hub(contact):
        case.add("alpn-h2", {"go_detail": r"\x00\x00\x12\x04"}, severity=Severity.NOTE if _is_kubeedge(case) else None)


def _is_kubeedge(case: Case) -> bool:
    """Whether the server's certificate is one that a cloudcore makes: then choosing h2 is how it is, and its edges know."""
    shown = case.shown
    leaf = read(shown.certificates[0]) if shown is not None else None
    return leaf is not None and leaf.subject.rfc4514_string() in ("CN=KubeEdge,O=KubeEdge", "O=KubeEdge,CN=KubeEdge")
