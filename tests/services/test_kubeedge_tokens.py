"""KubeEdge's own tokens after its CA was brought along: until a date, for new names, as long as the key may be used so."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from tests.support.world import World, csr, run, world

from edgeward.errors import (
    EdgewardError,
    KeyPolicyRefused,
    NodeBlocked,
    NodeHasCertificate,
    TokenExpired,
    TokenNotForNode,
    Unauthenticated,
    UsageError,
)
from edgeward.keys.memory import MemoryKeys
from edgeward.model.authority import KeyRef, Reason
from edgeward.model.evidence import TokenEvidence
from edgeward.model.token import JoinToken, Secret
from edgeward.services.kubeedge_tokens import Acceptance, KubeEdgeTokens

IMPORTED = datetime(2026, 11, 23, 13, 30, tzinfo=UTC)
"""Half an hour after the vectors were made; their token ends at 12:59:14 of the next day."""

UNTIL = IMPORTED + timedelta(days=30)


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def token(key: bytes, header: dict[str, Any] | None = None, **claims: Any) -> TokenEvidence:
    """A token as KubeEdge makes them, or nearly."""
    parts = [header or {"alg": "HS256", "typ": "JWT"}, claims]
    signed = ".".join(b64(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    return TokenEvidence(bearer=Secret(f"{signed}.{b64(hmac.digest(key, signed.encode(), hashlib.sha256))}"))


async def bring_along(w: World, kubeedge: dict[str, Any], pattern: str = "*") -> bytes:
    """Import the CA of the vectors and honour its tokens; its key, as the MAC wants it."""
    w.now = IMPORTED
    sec1: bytes = kubeedge["ca"]["private_key_sec1_der"]
    key: Any = serialization.load_der_private_key(sec1, None)
    await w.authorities.adopt(kubeedge["ca"]["certificate_der"], key, actor="operator:test", now=w.now)
    await w.kubeedge_tokens.accept(Acceptance(pattern=pattern, until=UNTIL), actor="operator:test", now=w.now)
    return sec1


def ends(at: datetime) -> int:
    return int(at.timestamp())


def test_a_real_token_enrols_a_real_edge(kubeedge: dict[str, Any]) -> None:
    async def story() -> None:
        async with world() as w:
            await bring_along(w, kubeedge)
            real = JoinToken.parse(kubeedge["token"])
            assert real.pin == w.authorities.active.pin
            der = await w.enrol("edge-1", real, kubeedge["edge_csr_der"])
            certificate = x509.load_der_x509_certificate(der)
            certificate.verify_directly_issued_by(x509.load_der_x509_certificate(kubeedge["ca"]["certificate_der"]))
            assert certificate.subject.rfc4514_string() == "CN=system:node:edge-1,O=system:nodes"
            record = (await w.store.valid_certificates("edge-1", "device", w.now))[0]
            assert (record.evidence, record.token) == ("kubeedge-token", None)

    run(story())


def test_nobody_s_token_is_honoured_before_it_was_said_so(kubeedge: dict[str, Any]) -> None:
    async def story() -> None:
        async with world() as w:
            with pytest.raises(Unauthenticated):
                await w.enrol("edge-1", JoinToken.parse(kubeedge["token"]))
            await bring_along(w, kubeedge)
            unasked = KubeEdgeTokens(w.store, w.authorities.kubeedge_mac)
            assert not unasked.check(JoinToken.parse(kubeedge["token"]).bearer, "edge-1", w.now)
            await unasked.load()
            assert unasked.check(JoinToken.parse(kubeedge["token"]).bearer, "edge-1", w.now), (
                "it is remembered over a start"
            )

    run(story())


def test_new_names_only(kubeedge: dict[str, Any]) -> None:
    async def story() -> None:
        async with world() as w:
            sec1 = await bring_along(w, kubeedge)
            good = token(sec1, exp=ends(IMPORTED + timedelta(hours=24)))
            assert await w.enrol("edge-1", good)
            with pytest.raises(NodeHasCertificate):
                await w.enrol("edge-1", good)
            assert await w.enrol("edge-2", good)
            await w.revoker.revoke("edge-2", Reason.UNSPECIFIED, actor="operator:test", now=w.now)
            with pytest.raises(NodeBlocked):
                await w.enrol("edge-2", good)
            with pytest.raises(TokenExpired):
                w.later(hours=24)
                await w.enrol("edge-3", good)

    run(story())


def test_until_the_date_and_for_the_pattern(kubeedge: dict[str, Any]) -> None:
    async def story() -> None:
        async with world() as w:
            sec1 = await bring_along(w, kubeedge, pattern="shop-*")
            good = token(sec1, exp=ends(IMPORTED + timedelta(hours=24)))
            assert await w.enrol("shop-1.site", good, csr("shop-1.site"))
            with pytest.raises(TokenNotForNode):
                await w.enrol("edge-1", good)
            for at, honoured in ((UNTIL - timedelta(seconds=1), True), (UNTIL, False)):
                fresh = token(sec1, exp=ends(at + timedelta(hours=24)))
                assert w.kubeedge_tokens.check(fresh.bearer, "shop-2", at) == honoured

    run(story())


def test_t14_t15_what_is_no_sound_token_is_none(kubeedge: dict[str, Any]) -> None:
    async def story() -> None:
        async with world() as w:
            sec1 = await bring_along(w, kubeedge)
            now, hour = ends(IMPORTED), 3600
            ca = x509.load_der_x509_certificate(kubeedge["ca"]["certificate_der"])
            public = ca.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            genuine = token(sec1, exp=now + hour).bearer.reveal()
            last = genuine[-1]
            bad = [
                token(b"guess", exp=now + hour),
                token(public, exp=now + hour),
                token(ca.public_bytes(serialization.Encoding.PEM), exp=now + hour),
                token(ca.public_bytes(serialization.Encoding.DER), exp=now + hour),
                token(b"", exp=now + hour),
                token(sec1, exp=now + 24 * hour + 1),
                token(sec1, exp=10**18),
                token(sec1, exp=now + hour, nbf=now + 1),
                token(sec1, exp=str(now + hour)),
                token(sec1, exp=float(now + hour)),
                token(sec1),
                token(sec1, {"alg": "none", "typ": "JWT"}, exp=now + hour),
                token(sec1, {"alg": "HS384", "typ": "JWT"}, exp=now + hour),
                token(sec1, {"alg": "HS256", "typ": "JWT", "kid": "../../dev/null"}, exp=now + hour),
                TokenEvidence(bearer=Secret(genuine.rpartition(".")[0] + ".")),
                TokenEvidence(bearer=Secret(genuine[:-1] + chr(ord(last) + 1))),
                TokenEvidence(bearer=Secret(genuine + "=")),
                TokenEvidence(
                    bearer=Secret(b64(b'{"alg":"HS256"}') + "." + b64(b'{"exp":1,"x":' + b"[" * 1200) + ".AA")
                ),
            ]
            answers = set()
            for evidence in bad:
                with pytest.raises(Unauthenticated) as caught:
                    await w.enrol("edge-1", evidence)
                answers.add((type(caught.value), str(caught.value)))
            assert len(answers) == 1
            assert await w.issued() == 0
            assert await w.enrol("edge-1", token(sec1, exp=now + 24 * hour, nbf=now))

    run(story())


def test_the_token_of_the_ca_that_was_before_is_none(kubeedge: dict[str, Any]) -> None:
    async def story() -> None:
        async with world() as w:
            await w.kubeedge_tokens.accept(Acceptance(pattern="*", until=UNTIL), actor="operator:test", now=w.now)
            with pytest.raises(Unauthenticated):
                w.now = IMPORTED
                await w.enrol("edge-1", JoinToken.parse(kubeedge["token"]))

    run(story())


class HardwareKeys(MemoryKeys):
    """Keys that sign and do nothing else, as a security module has them."""

    def kubeedge_mac(self, ref: KeyRef, message: bytes) -> bytes:
        raise KeyPolicyRefused(why="it is in hardware")


def test_hardware_keys_refuse_when_it_is_asked_for_and_not_when_a_node_waits() -> None:
    async def story() -> None:
        async with world() as w:
            keys = HardwareKeys()
            ref = keys.create("ec-p256")
            tokens = KubeEdgeTokens(w.store, lambda message: keys.kubeedge_mac(ref, message))
            with pytest.raises(KeyPolicyRefused):
                await tokens.accept(Acceptance(pattern="*", until=UNTIL), actor="operator:test", now=w.now)
            assert await w.store.setting("kubeedge-tokens") is None
            assert not tokens.check(token(b"", exp=ends(w.now) + 60).bearer, "edge-1", w.now)

    run(story())


@pytest.mark.parametrize("until", [IMPORTED, IMPORTED - timedelta(days=1)])
def test_a_date_that_is_past_is_refused(kubeedge: dict[str, Any], until: datetime) -> None:
    async def story() -> None:
        async with world() as w:
            await bring_along(w, kubeedge)
            with pytest.raises(UsageError) as caught:
                await w.kubeedge_tokens.accept(Acceptance(pattern="*", until=until), actor="operator:test", now=w.now)
            assert isinstance(caught.value, EdgewardError)
            assert "kubeedge-tokens.accepted" in [r.action for r in await w.store.audit()]

    run(story())
