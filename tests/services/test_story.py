"""What a recorded failure means: each kind of record, told with who, what and the command that mends it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from edgeward.model.device import Device
from edgeward.model.failure import Failure, Learnt, Listener, Shown
from edgeward.pki.severity import Severity
from edgeward.services.doctor.story import Circumstances, covers, judge

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def record(**changes: Any) -> Failure:
    facts: dict[str, Any] = {
        "first_at": NOON,
        "last_at": NOON,
        "listener": Listener.ENROLMENT,
        "address": "10.1.2.3",
        "node": "edge-7",
        "code": "handshake.tls",
        "reason": "it sent the alert: bad certificate",
        "alert": "bad certificate",
        "received": True,
        "dialled": "121.46.27.183",
        "learnt": Learnt.HOST,
    }
    return Failure(**(facts | changes))


def known(**changes: Any) -> Circumstances:
    facts: dict[str, Any] = {"names": ("10.0.2.15", "localhost"), "authority": "CN=Edgeward CA 1", "now": NOON}
    return Circumstances(**(facts | changes))


def test_the_issues_own_story() -> None:
    told = judge(record(), known())
    assert told.id == "address-mismatch"
    assert told.why[0] == (
        "edge-7 at 10.1.2.3 refused our certificate (alert bad certificate): it dialled 121.46.27.183, which is not among"
        " [10.0.2.15, localhost]; add it with `edgeward advertise add 121.46.27.183`."
    )
    assert told.remedies[0].command == "edgeward advertise add 121.46.27.183"
    assert told.severity is Severity.ERROR


SENT = {"received": False, "learnt": None, "dialled": ""}
SHOWN = Shown(
    subject="CN=system:node:edge-7,O=system:nodes", issuer="CN=KubeEdge", fingerprint="ab" * 32, not_after=NOON
)


@pytest.mark.parametrize(
    ("changes", "meaning", "words"),
    [
        ({"dialled": "cloud.example.com", "learnt": Learnt.SNI}, "name-mismatch", "cloud.example.com, which is not among"),
        ({"dialled": "10.0.2.15", "learnt": Learnt.LOCAL}, "server-certificate-refused", "translated on the way"),
        ({"dialled": "10.0.2.15"}, "node-distrusts-ca", "does not trust our CA"),
        ({"dialled": "localhost", "learnt": Learnt.SNI, "alert": "unknown ca"}, "node-distrusts-ca", "does not trust our CA"),
        ({"dialled": "localhost", "learnt": Learnt.SNI, "alert": "unknown ca", "node": ""}, "unknown-authority", "does not trust our CA"),
        ({"alert": "certificate expired"}, "clock-ahead", "takes it for expired"),
        ({"alert": "protocol version"}, "client-too-old", "protocol version"),
        ({"alert": "unknown ca", "shown": SHOWN, **SENT}, "client-unknown-authority", "a certificate of CN=KubeEdge"),
        ({"alert": "unknown ca", **SENT}, "client-unknown-authority", "a certificate of another CA"),
        ({"alert": "certificate expired", "shown": SHOWN, **SENT}, "client-expired", "has expired"),
        ({"alert": "certificate required", **SENT}, "client-certificate-missing", "showed no client certificate"),
        ({"alert": "bad certificate", "reason": "its certificate does not verify: certificate is not yet valid", **SENT}, "client-not-yet-valid", "not valid yet"),
        ({"alert": "handshake failure", "reason": "it offers no cipher suite that is allowed here", **SENT}, "no-common-suite", "no cipher suite"),
        ({"code": "handshake.plain-http", "alert": "", **SENT}, "client-not-tls", "without TLS"),
        ({"code": "handshake.closed", "alert": "", **SENT}, "closed-during-handshake", "closed the connection"),
        ({"code": "handshake.unused", "alert": "", "shown": SHOWN, **SENT, "dialled": "10.0.2.15"}, "node-distrusts-ca", "which the certificate has, so it does not trust our CA"),
        ({"code": "handshake.unused", "alert": "", "shown": SHOWN, **SENT, "dialled": "10.9.9.9"}, "address-mismatch", "add it with `edgeward advertise add 10.9.9.9`"),
        ({"code": "handshake.unused", "alert": "", **SENT, "dialled": "10.0.2.15"}, "closed-during-handshake", "without a word"),
        ({"code": "handshake.protocol", "alert": "no application protocol", **SENT}, "alpn-refused", "ALPN"),
        ({"code": "token-spent", "alert": "", "reason": "the token has been used 1 of 1 times", **SENT}, "token-spent", "used 1 of 1 times"),
        ({"code": "unauthenticated", "alert": "", "reason": "the token is not valid here", **SENT}, "token-unknown", "not valid here"),
        ({"code": "node-blocked", "alert": "", "reason": "node edge-7 is blocked", **SENT}, "node-blocked", "blocked"),
        ({"code": "certificate-refused", "alert": "", "reason": "the client certificate is refused: it was revoked at 2026", **SENT}, "client-revoked", "revoked"),
        ({"code": "http.413", "alert": "", "reason": "the body is larger than 65536 bytes", **SENT}, "request-refused", "larger than"),
        ({"code": "http.426", "alert": "", "listener": Listener.HUB, **SENT}, "hub-is-not-enrolment", "no WebSocket"),
        ({"code": "flood", "alert": "", "address": "", "node": "", **SENT}, "failures-beyond-count", "many clients"),
        ({"code": "something-new", "alert": "", "reason": "a new refusal", **SENT}, "request-refused", "a new refusal"),
    ],
)  # fmt: skip
def test_every_kind_of_record(changes: dict[str, Any], meaning: str, words: str) -> None:
    told = judge(record(**changes), known())
    assert told.id == meaning
    assert words in " ".join(told.why)
    assert not any(
        "NODE" in remedy.command
        for remedy in told.remedies
        if remedy.system == "edgeward" and changes.get("node") != ""
    )


def test_commands_have_the_ports_of_this_authority() -> None:
    sent = SENT | {
        "code": "certificate-refused",
        "alert": "",
        "reason": "the client certificate is refused: it was revoked at 2026",
    }
    refused = record(**(sent | {"dialled": "cloud.example.com"}))

    def commands(**changes: Any) -> str:
        return "\n".join(remedy.command for remedy in judge(refused, known(**changes)).remedies)

    elsewhere = commands(ports={Listener.ENROLMENT: 21002, Listener.HUB: 21000})
    assert "edgeward join https://cloud.example.com:21002 " in elsewhere
    assert "--cloudcore-ipport=cloud.example.com:21000 --certport=21002 " in elsewhere
    assert "edgeward join https://cloud.example.com:10002 " in commands()


def test_a_record_without_a_name_speaks_of_the_nodes_that_came_from_there() -> None:
    assert judge(record(node=""), known(nodes=("edge-1",))).why[0].startswith("10.1.2.3 (where edge-1 connected from) ")
    assert (
        judge(record(node=""), known(nodes=("edge-1", "edge-2")))
        .why[0]
        .startswith("10.1.2.3 (where edge-1 or another of 2 nodes")
    )
    assert judge(record(node=""), known()).why[0].startswith("10.1.2.3 refused")


def test_what_is_over_is_a_note() -> None:
    device = Device(name="edge-7", created_at=NOON, last_seen=NOON + HOUR)
    told = judge(record(), known(device=device))
    assert told.severity is Severity.NOTE
    assert told.why[0] == "It is over: edge-7 has connected since (2026-11-23T13:00:00Z)."
    still = Device(name="edge-7", created_at=NOON, last_seen=NOON - HOUR)
    assert judge(record(), known(device=still)).severity is Severity.ERROR
    blocked = Device(name="edge-7", created_at=NOON, last_seen=NOON + HOUR, blocked_at=NOON)
    assert judge(record(), known(device=blocked)).severity is Severity.ERROR


def test_names_cover_what_was_dialled() -> None:
    names = ("localhost", "*.example.com", "10.0.0.1", "2001:db8::1")
    for dialled in ("localhost", "LOCALHOST.", "cloud.example.com", "10.0.0.1", "2001:0db8:0::1", "[2001:db8::1]"):
        assert covers(names, dialled), dialled
    for dialled in ("", "example.com", "a.cloud.example.com", "10.0.0.2", "2001:db8::2", "com"):
        assert not covers(names, dialled), dialled


def test_t51_hostile_text_in_a_record_reaches_no_command() -> None:
    told = judge(record(dialled="$(reboot)", node="a;reboot", learnt=Learnt.SNI), known())
    assert not [remedy.command for remedy in told.remedies if "reboot" in remedy.command]


@pytest.mark.parametrize("code", ["handshake.tls", "handshake.unused"])
@pytest.mark.parametrize("dialled", ["$(touch${ifs}x)", "a;id", "`id`", "a|sh", "-rf", "a\nb"])
def test_t51_what_a_stranger_dialled_is_no_command_in_the_story_either(code: str, dialled: str) -> None:
    told = judge(record(code=code, dialled=dialled, learnt=Learnt.SNI), known())
    assert told.id == "name-mismatch"
    assert not [line for line in told.why if "advertise add" in line]


def test_a_new_server_certificate_that_has_the_name_ends_it() -> None:
    over = known(names=("121.46.27.183",), certified_at=NOON + HOUR)
    told = judge(record(), over)
    assert told.severity is Severity.NOTE
    assert told.why[0].startswith("It is over: the certificate has 121.46.27.183 since 2026-11-23T13:00:00Z")
    before = known(names=("121.46.27.183",), certified_at=NOON - HOUR)
    assert judge(record(), before).severity is Severity.ERROR


def test_after_a_rotation_the_story_names_the_ca_that_was_replaced() -> None:
    rotated = known(retired=("CN=Edgeward CA 0",))
    own = Shown(subject="CN=system:node:edge-7", issuer="CN=Edgeward CA 0", fingerprint="ab" * 32)
    silent: dict[str, Any] = {"code": "handshake.unused", "alert": "", "received": False, "dialled": "10.0.2.15"}
    told = judge(record(**silent, shown=own), rotated)
    assert "Its own certificate is of CN=Edgeward CA 0, which CN=Edgeward CA 1 has replaced" in told.why[0]
    assert told.remedies[0].command == "edgeward token new --node edge-7 > token"
    told = judge(record(alert="unknown ca", dialled="localhost"), rotated)
    assert "(CN=Edgeward CA 1 has replaced CN=Edgeward CA 0)" in told.why[0]
    told = judge(record(dialled="10.0.2.15", learnt=Learnt.LOCAL), rotated)
    assert "does not trust our CA (CN=Edgeward CA 1 has replaced CN=Edgeward CA 0)" in told.why[0]
    assert "replaced" not in judge(record(alert="unknown ca"), known()).why[0]
