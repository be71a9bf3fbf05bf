"""KubeEdge's own tokens, taken apart strictly: T-15, case by case."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward.model.jwt import MAX_JWT, KubeEdgeJwt

KEY = b"a key"
HEADER = {"alg": "HS256", "typ": "JWT"}
CLAIMS = {"exp": 1795525154}


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def jwt(header: Any = HEADER, claims: Any = CLAIMS) -> str:
    """A token with a sound MAC over whatever is in it; text and octets are taken as they are."""
    parts = [
        one if isinstance(one, bytes) else json.dumps(one, separators=(",", ":")).encode() for one in (header, claims)
    ]
    signed = ".".join(b64(part) for part in parts)
    return f"{signed}.{b64(hmac.digest(KEY, signed.encode(), hashlib.sha256))}"


def test_a_real_one_is_read(kubeedge: dict[str, Any]) -> None:
    bearer = kubeedge["token"].partition(".")[2]
    read = KubeEdgeJwt.parse(bearer)
    assert read is not None
    assert read.signed == bearer.rpartition(".")[0].encode()
    assert b64(read.mac) == bearer.rpartition(".")[2]
    assert (read.expires_at, read.not_before) == (datetime(2026, 11, 24, 12, 59, 14, tzinfo=UTC), None)


def test_nbf_is_read_and_other_claims_are_passed_over() -> None:
    read = KubeEdgeJwt.parse(jwt(claims=CLAIMS | {"nbf": 5, "iss": "KubeEdge"}))
    assert read is not None
    assert read.not_before == datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)
    assert KubeEdgeJwt.parse(jwt(header={"alg": "HS256"})) is not None


HEADERS: list[Any] = [
    *(
        {"alg": alg, "typ": "JWT"}
        for alg in ("none", "None", "NONE", "", "hs256", "HS384", "HS512", "RS256", "ES256", None, 256, ["HS256"])
    ),
    *(HEADER | {name: "x"} for name in ("kid", "jku", "jwk", "x5u", "x5c", "crit", "zip", "enc", "cty", "b64")),
    *(HEADER | {"typ": typ} for typ in ("jwt", "at+jwt", "", None, 1)),
    HEADER | {"kid": "../../../../dev/null"},
    HEADER | {"kid": "' OR 1=1 --"},
    {"typ": "JWT"},
    {},
    [],
    "HS256",
    b"",
    b"{",
    b"\xff",
    b'{"alg":"none","alg":"HS256"}',
    b'{"alg":"HS256","\\u0061lg":"none"}',
    b'{"alg":"HS256"} {}',
]


@pytest.mark.parametrize("header", HEADERS, ids=str)
def test_t15_no_header_but_hs256_s_own(header: Any) -> None:
    assert KubeEdgeJwt.parse(jwt(header=header)) is None


PAYLOADS: list[Any] = [
    *(
        {"exp": exp}
        for exp in (
            "1795525154",
            1795525154.0,
            1.5,
            True,
            None,
            [1],
            {},
            -1,
            10**18,
            2**63,
            2**64,
            10**400,
            253_402_300_800,
        )
    ),
    *(CLAIMS | {"nbf": nbf} for nbf in ("5", 5.0, True, -1, 10**18)),
    {},
    {"nbf": 5},
    [],
    1795525154,
    b"",
    b'{"exp":1,"exp":1795525154}',
    b'{"exp":1795525154,"nbf":9,"nbf":1}',
    b'{"exp":1795525154,"\\u0065xp":1}',
    b'{"exp":NaN}',
    b'{"exp":1e9}',
    b'{"exp":01}',
    b'{"exp":1795525154}x',
    b'{"exp":1795525154,"x":' + b"[" * 1400,
    b'{"x":' + b'{"x":' * 250,
]


@pytest.mark.parametrize("claims", PAYLOADS, ids=lambda c: str(c)[:40])
def test_t14_t15_an_end_is_an_integer_and_there_once(claims: Any) -> None:
    assert KubeEdgeJwt.parse(jwt(claims=claims)) is None


def _spellings(text: str) -> list[str]:
    header, claims, mac = text.split(".")
    swapped = {
        "A": "B",
        "g": "h",
        "w": "x",
        "Q": "R",
        "E": "F",
        "I": "J",
        "M": "N",
        "U": "V",
        "Y": "Z",
        "c": "d",
        "k": "l",
        "o": "p",
    }
    loose = mac[:-1] + swapped.get(mac[-1], chr(ord(mac[-1]) + 1))
    return [
        *(
            text + "=",
            text + "==",
            text + ".",
            "." + text,
            text + ".x",
            f"{header}.{claims}",
            f"{header}.{claims}.",
            f"{header}..{mac}",
        ),
        *(
            f".{claims}.{mac}",
            f"{header}=.{claims}.{mac}",
            f" {text}",
            f"{text}\n",
            text.replace(".", ".\n", 1),
            text.replace(".", " .", 1),
        ),
        *(
            f"{header}.{claims}.{loose}",
            f"{header}.{claims}.{mac}é",
            "",
            ".",
            "..",
            "...",
            "a" * 300,
            "\x00",
            text[:-1],
        ),
    ]


@pytest.mark.parametrize("number", range(len(_spellings(jwt()))))
def test_t15_there_is_one_spelling(number: int) -> None:
    text = _spellings(jwt())[number]
    read = KubeEdgeJwt.parse(text)
    genuine = KubeEdgeJwt.parse(jwt())
    assert genuine is not None
    assert read is None or (read.mac != genuine.mac and len(read.mac) < 32)


def test_t15_standard_base64_is_not_base64url() -> None:
    mac = b"\xfb\xff\xfe" * 10 + b"\xfb\xff"
    signed = jwt().rpartition(".")[0]
    assert KubeEdgeJwt.parse(f"{signed}.{b64(mac)}") is not None
    assert KubeEdgeJwt.parse(f"{signed}.{base64.b64encode(mac).rstrip(b'=').decode()}") is None


@pytest.mark.parametrize("size", [MAX_JWT + 1, 1 << 20])
def test_t15_a_giant_is_not_looked_at(size: int) -> None:
    assert KubeEdgeJwt.parse("." * size) is None
    padded = jwt(claims=CLAIMS | {"x": "y" * size})
    assert KubeEdgeJwt.parse(padded) is None


@given(st.text() | st.builds(jwt, st.binary(max_size=200), st.binary(max_size=600)))
def test_whatever_it_is_it_is_read_or_it_is_not(text: str) -> None:
    read = KubeEdgeJwt.parse(text)
    assert read is None or f"{read.signed.decode()}.{b64(read.mac)}" == text
