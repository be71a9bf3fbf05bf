"""What a node shows: tokens, KubeEdge's tokens, client certificates; good, spent, forged, revoked and expired ones."""

import base64
import json
import time
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.e2e.wire import sec1
from tests.support.fake_cloud import DAY, NOW, FakeCA
from tests.support.server import Answer, Pair, Server, bearer, server, until
from tests.support.world import csr, new_key, node_subject

SHORT_LIVED = """
[profiles.device]
lifetime_minutes = 1
"""


# ------------------------------------------------------------------------------------------------ T-14 … T-16: tokens


def test_t14_a_token_that_expired_a_moment_ago(authority: Server) -> None:
    token = authority.token("t14", lifetime_seconds=1)
    key_id = bearer(token)[:16]
    until(lambda: next(t for t in authority.api("GET", "/v1/tokens") if t["key_id"] == key_id)["state"] == "expired")
    with authority.refuses():
        answer = authority.enrol("t14", token)
        assert answer.status == 403 and "expired" in answer.text


def jwt(ca: FakeCA, payload: Any, header: Any = None, key: bytes | None = None) -> str:
    """A token as KubeEdge makes it."""

    def b64(octets: bytes) -> str:
        return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()

    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = f"{b64(json.dumps(header or {'alg': 'HS256', 'typ': 'JWT'}).encode())}.{b64(text)}"
    mac = hmac.HMAC(sec1(ca.key, serialization.Encoding.DER) if key is None else key, hashes.SHA256())
    mac.update(signed.encode())
    return f"{ca.pin}.{signed}.{b64(mac.finalize())}"


def seconds(**span: float) -> int:
    return int((NOW + timedelta(**span)).timestamp())


def test_a_genuine_token_of_kubeedge_works_for_a_new_name(migrated: Server, kubeedge_ca: FakeCA) -> None:
    token = jwt(kubeedge_ca, {"exp": seconds(hours=12)})
    assert migrated.enrol("jwt-1", token).status == 200
    for node in ("jwt-1", "other-1"):
        with migrated.refuses():
            assert migrated.enrol(node, token).status == 403, "a name that is there, or not in the pattern"


T14 = {
    "past": {"exp": seconds(minutes=-5)},
    "far": {"exp": seconds(days=2)},
    "endless": {"exp": 10**18},
    "beyond numbers": b'{"exp": 1e400}',
    "text": {"exp": str(seconds(hours=1))},
    "fraction": {"exp": seconds(hours=1) + 0.5},
    "truth": {"exp": True},
    "missing": {},
    "null": {"exp": None},
    "negative": {"exp": -1},
    "not yet": {"exp": seconds(hours=2), "nbf": seconds(hours=1)},
    "a list": [1],
    "twice": b'{"exp": %d, "exp": %d}' % (seconds(minutes=-5), seconds(hours=1)),
    "no JSON": b"\xff",
}


@pytest.mark.parametrize("case", T14)
def test_t14_times_of_foreign_tokens(migrated: Server, kubeedge_ca: FakeCA, case: str) -> None:
    with migrated.refuses():
        assert migrated.enrol(f"jwt-{case.replace(' ', '-').lower()}", jwt(kubeedge_ca, T14[case])).status in (401, 403)


def test_t15_forged_foreign_tokens(migrated: Server, kubeedge_ca: FakeCA) -> None:
    good = {"exp": seconds(hours=1)}
    public = kubeedge_ca.certificate.public_bytes(serialization.Encoding.PEM)
    whole = jwt(kubeedge_ca, good)
    pin, header, payload, mac = whole.split(".")
    forged = {
        "alg none": jwt(kubeedge_ca, good, {"alg": "none"}),
        "no signature": f"{pin}.{jwt(kubeedge_ca, good, {'alg': 'None'}).split('.')[1]}.{payload}.",
        "public key as secret": jwt(kubeedge_ca, good, key=public),
        "certificate as secret": jwt(kubeedge_ca, good, key=kubeedge_ca.der),
        "empty secret": jwt(kubeedge_ca, good, key=b""),
        "RS256": jwt(kubeedge_ca, good, {"alg": "RS256"}),
        "ES256": jwt(kubeedge_ca, good, {"alg": "ES256"}),
        "another CA": jwt(FakeCA("KubeEdge"), good),
        "kid": jwt(kubeedge_ca, good, {"alg": "HS256", "kid": "../../../dev/null"}, key=b""),
        "kid of SQL": jwt(kubeedge_ca, good, {"alg": "HS256", "kid": "x' UNION SELECT 'k"}, key=b"k"),
        "jwk": jwt(kubeedge_ca, good, {"alg": "HS256", "jwk": {"kty": "oct", "k": "aw"}}, key=b"k"),
        "jku": jwt(kubeedge_ca, good, {"alg": "HS256", "jku": "http://127.0.0.1:1/"}, key=b"k"),
        "padding": f"{pin}.{header}.{payload}.{mac}=",
        "loose bits": f"{pin}.{header}.{payload}.{mac[:-1]}{chr(ord(mac[-1]) + 1)}",
        "white space": f"{pin}.{header}.{payload}.{mac}\u00a0",
        "five parts": f"{whole}.x",
        "three parts": f"{pin}.{header}.{payload}",
    }  # fmt: skip
    for case, token in forged.items():
        with migrated.refuses():
            answer = migrated.enrol("jwt-forged", token)
            assert answer.status == 401, (case, answer)


def test_t15_malformed_tokens_of_our_own(authority: Server) -> None:
    a, b, c = bearer(authority.token("t15")).split(".")
    same = set()
    malformed = {
        "pin sent too": f"x.{'0' * 64}.{a}.{b}.{c}",
        "unknown id": f"x.{'0' * 16}.{b}.{c}",
        "wrong secret": f"x.{a}.{b}.{'A' * 43}",
        "no secret": f"x.{a}.{b}.",
        "other hints": f"x.{a}.-.{c}",
        "two parts": f"x.{a}.{c}",
        "upper case": f"x.{a.upper() if a.upper() != a else '0' * 16}.{b}.{c}",
        "padding": f"x.{a}.{b}.{c}=",
        "SQL": f"x.' OR 1=1 --.{b}.{c}",
        "wildcard": f"x.%.{b}.{c}",
        "long": f"x.{a}.{b}.{'A' * 8000}",
    }
    for case, token in malformed.items():
        with authority.refuses():
            answer = authority.enrol("t15", token)
            assert answer.status == 401, (case, answer)
            same.add(answer.body)
    assert len(same) == 1, "T-18: malformed, unknown and wrong get one and the same answer"
    before = authority.issued()
    assert authority.enrol("t15", "x." + "A" * 2**20).status in (0, 431)
    assert authority.issued() == before


def test_t15_no_token_at_all(authority: Server) -> None:
    for headers in (
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer a b"},
    ):
        with authority.refuses():
            assert authority.enrol("t15", headers=headers).status == 401
    sent = [
        ("Nodename", "t15"),
        ("Authorization", "Bearer x"),
        ("Authorization", f"Bearer {bearer(authority.token('t15'))}"),
    ]
    with authority.refuses():
        assert authority.request("GET", "/edge.crt", csr("t15"), sent).status == 400, "two of them"


def test_t16_tokens_of_another_authority_node_network_and_revoked_ones(authority: Server, migrated: Server) -> None:
    with authority.refuses():
        assert authority.enrol("t16", migrated.token("t16")).status == 401
    elsewhere = authority.token("t16", network="198.51.100.0/24")
    revoked = authority.token("t16")
    authority.api("POST", f"/v1/tokens/{bearer(revoked)[:16]}/revoke")
    spent = authority.token("t16-spent")
    assert authority.enrol("t16-spent", spent).status == 200
    pattern = authority.token(pattern="t16-*", uses=5)
    for node, token, words in (
        ("t16", elsewhere, "127.0.0.1"),
        ("t16", revoked, "revoked"),
        ("t16-spent", spent, "used 1 of 1"),
        ("t17-x", pattern, "not for node"),
        ("t16-spent", pattern, "already has a valid certificate"),
    ):
        with authority.refuses():
            answer = authority.enrol(node, token)
            assert answer.status == 403 and words in answer.text, (node, answer)
    assert authority.enrol("t16", authority.token("t16", network="127.0.0.0/8")).status == 200


# --------------------------------------------------------------------------- T-19, T-20: client certificates on renewal


def ends_in_tls(answer: Answer) -> bool:
    """Whether TLS refused the certificate with an alert."""
    return answer.status == 0 and b"alert" in answer.body.lower()


def test_t19_a_certificate_that_looks_like_the_victims(migrated: Server, kubeedge_ca: FakeCA) -> None:
    victim = migrated.device("t19-victim")
    certificate = x509.load_der_x509_certificate(victim.certificate)
    key = new_key()

    def double(issuer: FakeCA) -> Pair:
        builder = (
            x509.CertificateBuilder()
            .subject_name(certificate.subject)
            .issuer_name(certificate.issuer)
            .public_key(key.public_key())
            .serial_number(certificate.serial_number)
            .not_valid_before(certificate.not_valid_before_utc)
            .not_valid_after(certificate.not_valid_after_utc)
        )
        for extension in certificate.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        return Pair(builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER), key)

    forged = migrated.enrol("t19-victim", request=csr("t19-victim"), pair=double(FakeCA("KubeEdge")))
    assert ends_in_tls(forged), forged
    with migrated.refuses():
        answer = migrated.enrol("t19-victim", request=csr("t19-victim"), pair=double(kubeedge_ca))
        assert answer.status == 401 and "certificate" in answer.text, (
            "the CA's own key made it, but there is no row of it"
        )
    other = migrated.device("t19-other")
    with migrated.refuses():
        assert migrated.enrol("t19-victim", request=csr("t19-victim"), pair=other).status == 403
    assert migrated.enrol("t19-victim", request=csr("t19-victim"), pair=victim).status == 200


T20 = {
    "no organisation": [(NameOID.COMMON_NAME, "system:node:t20")],
    "no name": [(NameOID.ORGANIZATION_NAME, "system:nodes")],
    "two names": [*node_subject("t20"), (NameOID.COMMON_NAME, "system:node:t20-b")],
    "empty": [],
    "legacy": [(NameOID.ORGANIZATION_NAME, "KubeEdge"), (NameOID.COMMON_NAME, "kubeedge.io")],
    "as it should be": node_subject("t20"),
    "a unit alone": [(NameOID.ORGANIZATIONAL_UNIT_NAME, "x")],
}


@pytest.mark.parametrize("case", T20)
def test_t20_odd_subjects_in_client_certificates(migrated: Server, kubeedge_ca: FakeCA, case: str) -> None:
    """Of the trusted CA, and never issued here: refused in words, by the enrolment server and by the hub."""
    key = new_key()
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in T20[case]])
    pair = Pair(kubeedge_ca.device(key.public_key(), "t20", subject=subject), key)
    for token in (None, migrated.token("t20")):
        with migrated.refuses():
            assert migrated.enrol("t20", token, pair=pair).status == 401


def test_certificates_that_are_expired_revoked_foreign_or_not_for_clients(
    migrated: Server, kubeedge_ca: FakeCA
) -> None:
    def minted(ca: FakeCA, **fields: Any) -> Pair:
        key = new_key()
        return Pair(ca.device(key.public_key(), "t20", **fields), key)

    old = {"start": NOW - 20 * DAY, "end": NOW - 10 * DAY}
    for case, pair in {
        "expired": minted(kubeedge_ca, **old),
        "not yet": minted(kubeedge_ca, start=NOW + DAY, end=NOW + 2 * DAY),
        "for servers": minted(kubeedge_ca, usages=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        "foreign": minted(FakeCA("another")),
        "foreign and expired": minted(FakeCA("KubeEdge"), **old),
    }.items():
        before = migrated.issued()
        answer = migrated.enrol("t20", migrated.token("t20"), pair=pair)
        assert answer.status == 401 or ends_in_tls(answer), (case, answer)
        assert migrated.issued() == before


def test_a_certificate_that_was_revoked_renews_nothing(authority: Server) -> None:
    pair = authority.device("revoked-1")
    authority.revoke("revoked-1", "keyCompromise")
    with authority.refuses():
        answer = authority.enrol("revoked-1", request=csr("revoked-1"), pair=pair)
        assert answer.status == 401 and "revoked" in answer.text
    with authority.refuses():
        assert authority.enrol("revoked-1", authority.token("revoked-1")).status == 403, "the node is blocked"
    unblock = authority.token("revoked-1", unblock=True)
    with authority.refuses():
        answer = authority.enrol("revoked-1", unblock, csr("revoked-1", pair.key))
        assert answer.status == 403 and "compromised" in answer.text
    assert authority.enrol("revoked-1", unblock).status == 200


@pytest.mark.slow
def test_a_certificate_that_has_expired_renews_nothing() -> None:
    """Takes a minute: no certificate lives less."""
    with server(configuration=SHORT_LIVED) as short:
        pair = short.device("short-1")
        end = x509.load_der_x509_certificate(pair.certificate).not_valid_after_utc.timestamp()
        until(lambda: time.time() > end + 1, "the end of a certificate", 90)
        with short.refuses():
            answer = short.enrol("short-1", request=csr("short-1"), pair=pair)
            assert answer.status == 401 and "expired" in answer.text, answer
