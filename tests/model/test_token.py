"""Join tokens: what is in one, how it is read, and that nothing says what it was."""

import base64
import fnmatch
import ipaddress
import json
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from edgeward.errors import (
    BadToken,
    EdgewardError,
    TokenExpired,
    TokenNotForNode,
    TokenNotFromHere,
    TokenRevoked,
    UsageError,
)
from edgeward.model.token import MAX_BEARER, MAX_USES, Bearer, Hints, JoinToken, Secret, Token, make

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
PIN = "0123456789abcdef" * 4
TOKEN = Token(
    key_id="0" * 16,
    digest=bytes(32),
    node="edge-1",
    pattern=None,
    uses=1,
    expires_at=NOON + timedelta(hours=1),
    created_at=NOON,
)

octets_8, octets_32 = st.binary(min_size=8, max_size=8), st.binary(min_size=32, max_size=32)
addresses = st.lists(st.from_regex(r"[a-z0-9.]{1,30}:[0-9]{1,5}", fullmatch=True), max_size=4).map(tuple)
hints_ = st.builds(Hints, https=addresses, hub=addresses)


# ----------------------------------------------------------------------------------------------------------- made and read


@given(hints_, octets_8, octets_32)
def test_what_is_made_is_read_again(hints: Hints, key_id: bytes, secret: bytes) -> None:
    token, bearer = make(PIN, hints, key_id=key_id, secret=secret)
    text = token.reveal()
    assert text.count(".") == 3
    assert text.isascii()
    assert text.isprintable()
    assert JoinToken.parse(f"  {text}\n") == token
    assert (token.pin, token.hints) == (PIN, hints)
    assert Bearer.parse(token.bearer.reveal()) == bearer
    assert bearer.key_id == key_id.hex()
    stored = replace(TOKEN, key_id=bearer.key_id, digest=bearer.digest)
    assert stored.matches(bearer)
    assert secret not in bearer.digest


@given(octets_8, octets_32, st.integers(0, 10_000), st.integers(0, 255))
def test_t16_any_other_octet_is_another_token(key_id: bytes, secret: bytes, at: int, to: int) -> None:
    token, bearer = make(PIN, Hints(), key_id=key_id, secret=secret)
    text = token.bearer.reveal()
    at %= len(text)
    changed = text[:at] + chr(to) + text[at + 1 :]
    read = Bearer.parse(changed)
    stored = replace(TOKEN, key_id=bearer.key_id, digest=bearer.digest)
    assert (read is not None and stored.matches(read) and read.key_id == bearer.key_id) == (changed == text)


def test_hints_that_are_too_long_and_secrets_that_are_too_short_make_no_token() -> None:
    with pytest.raises(UsageError):
        make(PIN, Hints(https=("a" * MAX_BEARER,)), key_id=bytes(8), secret=bytes(32))
    with pytest.raises(UsageError):
        make(PIN, Hints(), key_id=bytes(8), secret=bytes(16))
    with pytest.raises(UsageError):
        make(PIN, Hints(), key_id=bytes(7), secret=bytes(32))


def test_a_real_kubeedge_token_has_the_same_outer_form(kubeedge: dict[str, Any]) -> None:
    token = JoinToken.parse(kubeedge["token"])
    assert token.pin == kubeedge["token"][:64]
    assert token.hints == Hints()
    assert Bearer.parse(token.bearer.reveal()) is None, "and it is none of ours"


GENUINE = make(PIN, Hints(https=("10.0.0.1:10002",)), key_id=b"\x11" * 8, secret=b"\x22" * 32)[0].reveal()
A, B, C = GENUINE.split(".")[1:]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            ".",
            "...",
            "....",
            A,
            f"{A}.{B}.{C}",
            GENUINE + ".x",
            "." + GENUINE,
            GENUINE.upper(),
            GENUINE[1:],
            "x" + GENUINE[1:],
        ),
        *(
            f"{PIN}..{B}.{C}",
            f"{PIN}.{A}..{C}",
            f"{PIN}.{A}.{B}.",
            PIN + "." + A + "." + B + "." + "x" * 5000,
            GENUINE * 2,
            "x" * 10_000_000,
        ),
        *(
            f"{PIN}.{A}.{B}\r\nX-Evil: 1.{C}",
            f"{PIN}.{A}.{B} {B}.{C}",
            f"{PIN}.{A}.{B}\0.{C}",
            f"{PIN}.{A}.{B}.é",
            f"{PIN}.{A}.{B}.\u202e",
        ),
        *("\u0660" * 64 + f".{A}.{B}.{C}", PIN.upper() + f".{A}.{B}.{C}"),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_t18_what_is_no_token_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(BadToken) as caught:
        JoinToken.parse(text)
    said = f"{caught.value} {caught.value.hint} {caught.value!r} {caught.value.facts}"
    for part in (C, B, A, PIN, text.strip()):
        assert len(part) < 5 or part not in said
    assert len(said) < 1000


@given(st.text(max_size=300) | st.builds(".".join, st.lists(st.text(max_size=80), min_size=3, max_size=5)))
def test_t18_whatever_it_is_it_is_read_or_refused(text: str) -> None:
    try:
        token = JoinToken.parse(text)
    except BadToken as error:
        assert len(text) < 20 or text not in str(error)
    else:
        assert token.reveal() == text.strip()


@given(st.text(max_size=200))
@example("0" * 16 + ".-.x")
@example("0" * 16 + "..")
@example("\u0660" * 16 + ".-.x")
@example("." * 1000)
def test_t18_the_server_takes_a_bearer_apart_or_knows_none(text: str) -> None:
    bearer = Bearer.parse(text)
    if bearer is not None:
        assert len(bearer.key_id) == 16
        assert text.startswith(bearer.key_id + ".")
        assert len(bearer.digest) == 32


def test_t17_a_token_and_its_parts_do_not_show_themselves() -> None:
    token = JoinToken.parse(GENUINE)
    secret = Secret("hunter22")
    for shown in (
        repr(token),
        str(token),
        f"{token}",
        f"{token.bearer}",
        f"{token.bearer!s:>40}",
        repr([token.bearer]),
    ):
        assert C not in shown
        assert "***" in shown
    for shown in (
        str(secret),
        repr(secret),
        f"{secret:>20}",
        f"{secret}",
        str(EdgewardError(x=secret)),
        str(BadToken(why=secret)),
    ):
        assert "hunter" not in shown
    assert secret.reveal() == "hunter22"
    assert Secret(pickle.loads(pickle.dumps("hunter22"))).reveal() == "hunter22"


# ------------------------------------------------------------------------------------------------------------------ hints


@given(st.text(max_size=100) | st.binary(max_size=100).map(lambda o: base64.urlsafe_b64encode(o).rstrip(b"=").decode()))
@example(base64.urlsafe_b64encode(b'{"q":' + b"[" * 3000).rstrip(b"=").decode())
@example(base64.urlsafe_b64encode(b'{"https":["a"],"https":7}').rstrip(b"=").decode())
@example(base64.urlsafe_b64encode(b'{"https":"a"}').rstrip(b"=").decode())
@example(base64.urlsafe_b64encode(b'{"https":[null]}').rstrip(b"=").decode())
def test_hints_that_are_garbage_are_none(part: str) -> None:
    hints = Hints.decode(part)
    assert all(isinstance(text, str) for text in hints.https + hints.hub)


def test_hints_of_a_later_version_are_read_as_far_as_they_are_known() -> None:
    part = (
        base64.urlsafe_b64encode(json.dumps({"https": ["a:1"], "quic": ["b:2"], "v": 2}).encode()).rstrip(b"=").decode()
    )
    assert Hints.decode(part) == Hints(https=("a:1",))
    assert Hints.decode("-") == Hints()
    assert Hints().encode() == "-"


# ------------------------------------------------------------------------------------------------------- what a token is for


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"node": None}, "--node"),
        ({"pattern": "*"}, "--node"),
        ({"uses": 0}, "uses"),
        ({"uses": -1}, "uses"),
        ({"uses": MAX_USES + 1}, "uses"),
        ({"node": "Edge 1"}, "node name"),
        ({"node": ""}, "node name"),
        ({"node": None, "pattern": ""}, "pattern"),
        ({"node": None, "pattern": "Edge-*"}, "pattern"),
        ({"node": None, "pattern": "a/*"}, "pattern"),
        ({"node": None, "pattern": "*" * 65}, "pattern"),
        ({"node": None, "pattern": "a\n"}, "pattern"),
        ({"node": None, "pattern": "*", "unblock": True}, "--unblock"),
    ],
)
def test_a_token_that_makes_no_sense_cannot_be(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(EdgewardError, match=problem) as caught:
        replace(TOKEN, **changes)
    assert caught.value.exit_status in (2, 65)


@pytest.mark.parametrize(
    ("pattern", "covered", "others"),
    [
        ("*", ["a", "a.b.c", "0"], []),
        ("edge-*", ["edge-1", "edge-1.site.example", "edge-"], ["edge", "xedge-1", "Edge-1"]),
        ("*.site-?", ["a.site-1", "a.b.site-2"], ["a.site-10", "site-1"]),
        ("edge-[0-3]", ["edge-0", "edge-3"], ["edge-4", "edge-10"]),
        ("edge-[!0-3]", ["edge-4"], ["edge-0"]),
        ("edge-1", ["edge-1"], ["edge-11", "aedge-1"]),
        ("[", ["["], ["a"]),
    ],
)
def test_t16_in_a_pattern_a_star_matches_dots_too(pattern: str, covered: list[str], others: list[str]) -> None:
    token = replace(TOKEN, node=None, pattern=pattern)
    assert [name for name in covered + others if token.covers(name)] == covered


@given(st.text("abc019-.*?[]!", min_size=1, max_size=64), st.text("abc019-.", max_size=52))
@example("*" * 64, "a" * 52)
@example("*a" * 32, "a" * 51 + "b")
def test_a_pattern_is_a_glob_and_no_more(pattern: str, name: str) -> None:
    token = replace(TOKEN, node=None, pattern=pattern)
    assert token.covers(name) == fnmatch.fnmatchcase(name, pattern)
    assert replace(TOKEN, node=None, pattern="*").covers(name)


def test_t16_a_genuine_token_says_why_it_does_not_work() -> None:
    TOKEN.check("edge-1", "192.0.2.1", NOON)
    TOKEN.check("edge-1", "anything", TOKEN.expires_at - timedelta(microseconds=1))
    cases: list[tuple[Token, type[EdgewardError], str, str, datetime]] = [
        (TOKEN, TokenExpired, "edge-1", "", TOKEN.expires_at),
        (TOKEN, TokenNotForNode, "edge-2", "", NOON),
        (replace(TOKEN, revoked_at=NOON), TokenRevoked, "edge-1", "", NOON),
        (replace(TOKEN, network=ipaddress.ip_network("10.0.0.0/8")), TokenNotFromHere, "edge-1", "192.0.2.1", NOON),
    ]
    for token, kind, node, address, at in cases:
        with pytest.raises(kind):
            token.check(node, address, at)


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        (
            "10.0.0.0/8",
            ["10.0.0.0", "10.255.255.255", "::ffff:10.0.0.1"],
            ["11.0.0.0", "::1", "::ffff:11.0.0.1", "::10.0.0.1", "", "x", "10.1"],
        ),
        ("fd00::/8", ["fd00::1", "fdff::"], ["fe80::1", "10.0.0.1", "::ffff:10.0.0.1"]),
        ("fe80::/10", ["fe80::1", "fe80::1%eth0"], ["fd00::1%eth0"]),
        ("0.0.0.0/0", ["192.0.2.1"], ["2001:db8::1"]),
        ("192.0.2.7/32", ["192.0.2.7"], ["192.0.2.8"]),
    ],
)
def test_t16_a_source_network_is_kept_to(network: str, inside: list[str], outside: list[str]) -> None:
    token = replace(TOKEN, network=ipaddress.ip_network(network))
    for address in inside:
        token.check("edge-1", address, NOON)
    for address in outside:
        with pytest.raises(TokenNotFromHere):
            token.check("edge-1", address, NOON)
