"""Who gets a certificate, and who does not: the rules of enrolment, each with its attack."""

import asyncio
import ipaddress
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from tests.support.world import NOON, World, csr, new_key, node_subject, run, world

from edgeward.errors import (
    BadName,
    BadProof,
    CertificateRefused,
    EdgewardError,
    InputError,
    NodeBlocked,
    NodeHasCertificate,
    PolicyRefused,
    Refusal,
    TokenExpired,
    TokenNotForNode,
    TokenNotFromHere,
    TokenRevoked,
    TokenSpent,
    Unauthenticated,
    Unreadable,
    UnsupportedKey,
    WrongIdentity,
)
from edgeward.model.audit import Event
from edgeward.model.authority import Reason
from edgeward.model.evidence import CertificateEvidence, TokenEvidence
from edgeward.model.token import JoinToken, Secret


def subject_of(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).subject.rfc4514_string()


async def refused(w: World, kind: type[EdgewardError], *args: object, **kwargs: object) -> EdgewardError:
    """The refusal of an enrolment, once it is sure that nothing was issued and one record was left."""
    issued, records = await w.issued(), len(await w.store.audit(0, 100_000))
    with pytest.raises(kind) as caught:
        await w.enrol(*args, **kwargs)  # type: ignore[arg-type]
    assert await w.issued() == issued
    left = (await w.store.audit(0, 100_000))[records:]
    assert [r.action for r in left] == [f"enrolment.refused.{caught.value.code}"]
    assert not await w.store.planned()
    return caught.value


def test_a_token_gets_its_node_a_certificate_with_the_profile_s_contents() -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-1")
            der = await w.enrol("edge-1", token)
            certificate = x509.load_der_x509_certificate(der)
            assert subject_of(der) == "CN=system:node:edge-1,O=system:nodes"
            assert certificate.not_valid_before_utc == NOON - timedelta(minutes=5)
            assert certificate.not_valid_after_utc == NOON + timedelta(days=365)
            assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
                ExtendedKeyUsageOID.CLIENT_AUTH
            ]
            assert certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
            assert not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment
            certificate.verify_directly_issued_by(x509.load_der_x509_certificate(w.authorities.active.certificate))

    run(story())


def test_the_real_edge_s_request_is_accepted(kubeedge: dict) -> None:  # type: ignore[type-arg]
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-1")
            assert subject_of(await w.enrol("edge-1", token, kubeedge["edge_csr_der"])).startswith(
                "CN=system:node:edge-1"
            )

    run(story())


def test_t01_a_request_whose_signature_does_not_verify_is_refused() -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-1")
            good = csr("edge-1")
            parsed = x509.load_der_x509_csr(good)
            flipped = bytearray(good)
            flipped[good.index(parsed.signature) + 20] ^= 1
            await refused(w, InputError, "edge-1", token, bytes(flipped))
            other = x509.load_der_x509_csr(csr("edge-1"))
            spki = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            swapped = good.replace(parsed.public_key().public_bytes(*spki), other.public_key().public_bytes(*spki))
            await refused(w, BadProof, "edge-1", token, swapped)

    run(story())


def test_t02_a_token_for_one_node_does_not_enrol_another() -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-a")
            await refused(w, PolicyRefused, "edge-a", token, csr("edge-b"))
            await refused(w, TokenNotForNode, "edge-b", token, csr("edge-b"))
            await refused(w, TokenNotForNode, "edge-b", token, csr("edge-a"))

    run(story())


def test_t03_renewal_to_another_node_s_name_is_refused() -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-a")
            der = await w.enrol("edge-a", token)
            await refused(w, PolicyRefused, "edge-a", der, csr("edge-b"))
            await refused(w, WrongIdentity, "edge-b", der, csr("edge-b"))

    run(story())


@pytest.mark.parametrize(
    "subject",
    [
        [(NameOID.ORGANIZATION_NAME, "system:masters"), (NameOID.COMMON_NAME, "system:node:edge-1")],
        [
            (NameOID.ORGANIZATION_NAME, "system:nodes"),
            (NameOID.ORGANIZATION_NAME, "system:masters"),
            (NameOID.COMMON_NAME, "system:node:edge-1"),
        ],
        [(NameOID.COMMON_NAME, "system:node:edge-1"), (NameOID.COMMON_NAME, "system:node:edge-2")],
        [*node_subject("edge-1"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "admins")],
        [*node_subject("edge-1"), (NameOID.EMAIL_ADDRESS, "root@example.com")],
        [(NameOID.ORGANIZATION_NAME, "system:nodes")],
        [(NameOID.ORGANIZATION_NAME, "KubeEdge"), (NameOID.COMMON_NAME, "kubeedge.io")],
        [],
    ],
)
def test_t04_no_part_of_the_subject_is_copied_from_the_request(subject: list) -> None:  # type: ignore[type-arg]
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-1")
            await refused(w, PolicyRefused, "edge-1", token, csr(subject))

    run(story())


_ESCALATIONS: dict[str, x509.ExtensionType] = {
    "a CA": x509.BasicConstraints(ca=True, path_length=None),
    "keyCertSign": x509.KeyUsage(True, False, False, False, False, True, False, False, False),
    "serverAuth": x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
    "OCSPSigning": x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.OCSP_SIGNING]),
    "any purpose": x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
    "its own key identifier": x509.SubjectKeyIdentifier(b"\1" * 20),
    "its own policies": x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("1.2.3"), None)]),
    "its own CRL": x509.CRLDistributionPoints(
        [x509.DistributionPoint([x509.UniformResourceIdentifier("http://evil/")], None, None, None)]
    ),
    "name constraints": x509.NameConstraints([x509.DNSName("evil")], None),
    "a Windows SID": x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.311.25.2"), b"\x30\x00"),
}


@pytest.mark.parametrize("asked", _ESCALATIONS)
def test_t06_extensions_of_the_request_are_refused(asked: str) -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-1")
            await refused(w, PolicyRefused, "edge-1", token, csr("edge-1", extensions=[(_ESCALATIONS[asked], True)]))

    run(story())


def test_t06_an_operator_s_word_drops_them_and_the_certificate_has_the_profile_s_alone() -> None:
    async def story() -> None:
        async with world() as w:
            for value in _ESCALATIONS.values():
                node = "edge-1"
                der = await w.enrol(node, None, csr([(NameOID.COMMON_NAME, "localhost")], extensions=[(value, True)]))
                kinds = [e.oid for e in x509.load_der_x509_certificate(der).extensions]
                plain = x509.load_der_x509_certificate(await w.enrol(node, None, csr(node)))
                assert kinds == [e.oid for e in plain.extensions]
                assert (
                    not x509.load_der_x509_certificate(der)
                    .extensions.get_extension_for_class(x509.BasicConstraints)
                    .value.ca
                )
                assert subject_of(der) == "CN=system:node:edge-1,O=system:nodes"

    run(story())


@pytest.mark.parametrize(
    "name",
    [
        x509.DNSName("cloud.example.com"),
        x509.DNSName("edge-1"),
        x509.RFC822Name("root@example.com"),
        x509.UniformResourceIdentifier("spiffe://edgeward/node/edge-2"),
        x509.OtherName(ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x05admin"),
        x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "system:node:edge-2")])),
        x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
        x509.RegisteredID(ObjectIdentifier("1.2.3")),
    ],
)
def test_t07_no_subject_alternative_name_but_its_own_uri(name: x509.GeneralName) -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-1")
            await refused(
                w,
                PolicyRefused,
                "edge-1",
                token,
                csr("edge-1", extensions=[(x509.SubjectAlternativeName([name]), False)]),
            )
            own = x509.UniformResourceIdentifier("spiffe://edgeward/node/edge-1")
            der = await w.enrol(
                "edge-1", token, csr("edge-1", extensions=[(x509.SubjectAlternativeName([own]), False)])
            )
            san = (
                x509.load_der_x509_certificate(der)
                .extensions.get_extension_for_class(x509.SubjectAlternativeName)
                .value
            )
            assert list(san) == [own]

    run(story())


@pytest.mark.parametrize(
    "name",
    [
        "*",
        "*.com",
        "a\0.b",
        "edge\u202e1",
        "xn--\u00fc",
        "edge.",
        "e" * 53,
        ("a" * 63 + ".") * 4,
        "Edge-1",
        "",
        "\u0435dge-1",
        "-a",
        "a-",
        "a..b",
    ],
)
def test_t08_names_that_are_no_node_names_are_refused(name: str) -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token(None, pattern="*", uses=5)
            await refused(w, BadName, name, token, csr("edge-1"))
            if 0 < len(name) <= 52 and "\0" not in name:
                await refused(w, PolicyRefused, "edge-1", token, csr([(NameOID.COMMON_NAME, f"system:node:{name}")]))

    run(story())


@pytest.mark.parametrize(
    "name", ["../../etc/x", "a/b", ".", "..", "%2e%2e", "CON", "a\nb", "a" * 10_240, "a'; DROP TABLE token;--", "a b"]
)
def test_t09_path_characters_and_worse_never_reach_a_file_a_query_or_a_log(name: str) -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token(None, pattern="*", uses=5)
            error = await refused(w, BadName, name, token, csr("edge-1"))
            assert "\n" not in str(error)
            assert len(str(error)) < 500
            assert await w.store.nodes() == []

    run(story())


def _rsa_with(p_bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, p_bits)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(lambda: ec.generate_private_key(ec.SECP256K1()), id="secp256k1"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP192R1()), id="P-192"),
        pytest.param(lambda: ec.generate_private_key(ec.BrainpoolP256R1()), id="brainpool"),
        pytest.param(lambda: _rsa_with(1024), id="RSA-1024"),
        pytest.param(lambda: rsa.generate_private_key(3, 2048), id="e=3"),
    ],
)
def test_t10_weak_and_unusual_keys_are_refused(key: object) -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-1")
            await refused(w, UnsupportedKey, "edge-1", token, csr("edge-1", key()))  # type: ignore[operator]

    run(story())


def test_t10_sound_keys_of_other_kinds_are_taken() -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token(None, pattern="*", uses=9)
            for number, key in enumerate(
                [ed25519.Ed25519PrivateKey.generate(), _rsa_with(2048), ec.generate_private_key(ec.SECP384R1())]
            ):
                builder = x509.CertificateSigningRequestBuilder(
                    x509.Name([x509.NameAttribute(oid, value) for oid, value in node_subject(f"edge-{number}")])
                )
                algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
                request = builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)
                assert await w.enrol(f"edge-{number}", token, request)

    run(story())


def test_t11_a_key_reported_as_compromised_and_the_ca_s_own_key_are_never_certified_again() -> None:
    async def story() -> None:
        async with world() as w:
            key = new_key()
            token, _ = await w.token("edge-1")
            await w.enrol("edge-1", token, csr("edge-1", key))
            await w.revoker.revoke("edge-1", Reason.KEY_COMPROMISE, actor="operator:test", now=w.now)
            again, _ = await w.token("edge-1", unblock=True)
            await refused(w, PolicyRefused, "edge-1", again, csr("edge-1", key))
            await refused(w, PolicyRefused, "edge-1", again, csr("edge-1", w.keys.signer(w.authorities.active.key)))
            assert await w.enrol("edge-1", again, csr("edge-1"))

    run(story())


def test_t13_a_token_is_spent_as_often_as_it_says_also_by_a_hundred_racers() -> None:
    async def story() -> None:
        async with world() as w:
            token, made = await w.token("edge-1")
            requests = [csr("edge-1") for _ in range(100)]
            results = await asyncio.gather(*(w.enrol("edge-1", token, r) for r in requests), return_exceptions=True)
            assert sum(isinstance(result, bytes) for result in results) == 1
            assert all(isinstance(result, bytes | TokenSpent) for result in results)
            assert await w.issued() == 1
            assert len(await w.store.token_uses(made.key_id)) == 1
            await refused(w, TokenSpent, "edge-1", token, csr("edge-1"))
            several, made = await w.token(None, pattern="shop-*", uses=7)
            results = await asyncio.gather(
                *(w.enrol(f"shop-{i}", several, csr(f"shop-{i}")) for i in range(50)), return_exceptions=True
            )
            assert sum(isinstance(result, bytes) for result in results) == 7
            stored = await w.store.token(made.key_id)
            assert stored is not None and stored.used == 7

    run(story())


def test_racers_for_one_new_name_with_a_pattern_token_get_one_certificate_between_them() -> None:
    async def story() -> None:
        async with world() as w:
            one, _ = await w.token(None, pattern="*", uses=100)
            two, _ = await w.token(None, pattern="*", uses=100)
            requests = [csr("edge-1") for _ in range(40)]
            results = await asyncio.gather(
                *(w.enrol("edge-1", (one, two)[i % 2], r) for i, r in enumerate(requests)), return_exceptions=True
            )
            assert sum(isinstance(result, bytes) for result in results) == 1
            assert all(isinstance(result, bytes | NodeHasCertificate) for result in results), results

    run(story())


def test_t14_a_token_works_until_its_last_moment_and_not_a_second_longer() -> None:
    async def story() -> None:
        async with world() as w:
            token, made = await w.token("edge-1", uses=2, lifetime=timedelta(hours=1))
            w.now = made.expires_at - timedelta(seconds=1)
            assert await w.enrol("edge-1", token)
            w.now = made.expires_at
            await refused(w, TokenExpired, "edge-1", token)

    run(story())


def test_t16_a_token_is_bound_to_node_network_and_may_be_revoked() -> None:
    async def story() -> None:
        async with world() as w:
            token, made = await w.token(None, pattern="edge-*", uses=5, network="10.2.0.0/16")
            await refused(w, TokenNotFromHere, "edge-1", token, address="10.3.0.1")
            await refused(w, TokenNotFromHere, "edge-1", token, address="2001:db8::1")
            await refused(w, TokenNotForNode, "shop-1", token, csr("shop-1"), address="10.2.0.1")
            assert await w.enrol("edge-1", token, address="10.2.0.1")
            assert await w.enrol("edge-2", token, address="::ffff:10.2.0.1")
            await w.tokens.revoke(made.key_id, actor="operator:test", now=w.now)
            await refused(w, TokenRevoked, "edge-3", token, csr("edge-3"), address="10.2.0.1")

    run(story())


@pytest.mark.parametrize(
    "part",
    ["", "x", "a.b", "a.b.c.d", "0123456789abcdef.-.c" + "x" * 100_000, "0123456789abcdef.-.wrong", "\u00e9.b.c"],
)
def test_t18_malformed_unknown_and_wrong_tokens_get_one_and_the_same_answer(part: str) -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-1")
            genuine = token.bearer.reveal()
            wrong_secret = genuine[:-2] + ("AA" if not genuine.endswith("AA") else "BB")
            answers = set()
            for bearer in (part, wrong_secret, "f" * 16 + genuine[16:]):
                error = await refused(w, Unauthenticated, "edge-1", TokenEvidence(bearer=Secret(bearer)))
                answers.add((str(error), error.hint, type(error)))
            assert len(answers) == 1

    run(story())


def test_t19_renewal_needs_this_very_certificate_and_not_one_that_looks_like_it() -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-1")
            der = await w.enrol("edge-1", token)
            real = x509.load_der_x509_certificate(der)
            forger = new_key()
            forged = (
                x509.CertificateBuilder(
                    real.issuer,
                    real.subject,
                    forger.public_key(),
                    real.serial_number,
                    real.not_valid_before_utc,
                    real.not_valid_after_utc,
                )
                .sign(forger, hashes.SHA256())
                .public_bytes(serialization.Encoding.DER)
            )
            await refused(w, CertificateRefused, "edge-1", forged)
            await refused(w, CertificateRefused, "edge-1", w.authorities.active.certificate)
            other, _ = await w.token("edge-2")
            await refused(w, WrongIdentity, "edge-1", await w.enrol("edge-2", other))
            await refused(w, CertificateRefused, "edge-1", CertificateEvidence(der=b"garbage"))
            assert await w.enrol("edge-1", der)

    run(story())


def test_renewal_ends_with_the_certificate_s_life_and_its_grace() -> None:
    async def story() -> None:
        async with world(grace=timedelta(hours=6)) as w:
            token, _ = await w.token("edge-1")
            der = await w.enrol("edge-1", token)
            w.later(days=365, hours=5)
            assert await w.enrol("edge-1", der)
            w.later(hours=2)
            await refused(w, CertificateRefused, "edge-1", der)
        async with world() as w:
            token, _ = await w.token("edge-1")
            der = await w.enrol("edge-1", token)
            w.later(days=365, seconds=1)
            await refused(w, CertificateRefused, "edge-1", der)

    run(story())


def test_a_revoked_node_stays_out_on_every_path_until_it_is_let_back() -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-1", uses=3)
            der = await w.enrol("edge-1", token)
            done = await w.revoker.revoke("edge-1", Reason.KEY_COMPROMISE, actor="operator:test", now=w.now)
            assert [r.serial for r in done.revoked] == [r.serial for r in w.cut]
            await refused(w, CertificateRefused, "edge-1", der)
            await refused(w, NodeBlocked, "edge-1", token)
            with pytest.raises(NodeBlocked):
                await w.enrol("edge-1", None)
            plain, _ = await w.token("edge-1")
            await refused(w, NodeBlocked, "edge-1", plain)
            back, _ = await w.token("edge-1", unblock=True)
            assert await w.enrol("edge-1", back)
            device = await w.store.device("edge-1")
            assert device is not None and device.blocked_at is None
            await refused(w, CertificateRefused, "edge-1", der)

    run(story())


def test_a_token_made_before_a_revocation_does_not_undo_it() -> None:
    async def story() -> None:
        async with world() as w:
            back, _ = await w.token("edge-1", unblock=True, uses=5)
            assert await w.enrol("edge-1", back)
            await w.revoker.revoke("edge-1", Reason.PRIVILEGE_WITHDRAWN, actor="operator:test", now=w.now)
            await refused(w, TokenRevoked, "edge-1", back)
            device = await w.store.device("edge-1")
            assert device is not None and device.blocked_at is not None

    run(story())


def test_a_certificate_that_is_revoked_while_it_renews_itself_gets_nothing() -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-1")
            der = await w.enrol("edge-1", token)
            serial = format(x509.load_der_x509_certificate(der).serial_number, "x")
            revoking = asyncio.create_task(
                w.revoker.revoke(f"serial:{serial}", Reason.KEY_COMPROMISE, actor="operator:test", now=w.now)
            )
            await asyncio.sleep(0)  # it waits for its commit, and nobody can read of it yet
            issued = await w.issued()
            with pytest.raises(CertificateRefused):
                await w.enrol("edge-1", der)
            assert await w.issued() == issued and (await revoking).revoked

    run(story())


def test_a_lost_answer_is_given_again_to_the_same_key() -> None:
    async def story() -> None:
        async with world() as w:
            token, made = await w.token("edge-1")
            request = csr("edge-1", new_key())
            der = await w.enrol("edge-1", token, request)
            assert await w.enrol("edge-1", token, request) == der
            assert await w.issued() == 1
            w.now = made.expires_at
            await refused(w, TokenExpired, "edge-1", token, request)

    run(story())


def test_a_later_use_replaces_a_certificate_that_never_connected_and_revokes_it() -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token(None, pattern="edge-*", uses=3)
            lost = await w.enrol("edge-1", token)
            der = await w.enrol("edge-1", token)
            assert der != lost
            await refused(w, CertificateRefused, "edge-1", lost)
            other, _ = await w.token(None, pattern="*", uses=3)
            await refused(w, NodeHasCertificate, "edge-1", other)
            record = next(r for r in await w.store.valid_certificates("edge-1", "device", w.now))
            await w.store.first_connection(record, w.now, _event(w))
            await refused(w, NodeHasCertificate, "edge-1", token)
            w.later(seconds=1)
            exact, _ = await w.token("edge-1")
            newer = await w.enrol("edge-1", exact)
            assert len(await w.store.valid_certificates("edge-1", "device", w.now)) == 2
            record = (await w.store.valid_certificates("edge-1", "device", w.now))[0]
            assert record.der == newer
            assert [r.der for r in await w.store.first_connection(record, w.now, _event(w))] == [der]
            assert [r.der for r in await w.store.valid_certificates("edge-1", "device", w.now)] == [newer]

    run(story())


def _event(w: World) -> Event:
    return Event(at=w.now, actor="test", action="test", object="test", facts={})


@pytest.mark.parametrize(
    "junk", [b"", b"\x00", b"\x30\x80", b"garbage", b"-----BEGIN CERTIFICATE REQUEST-----\n", b"\x30\x03\x02\x01\x01"]
)
def test_garbage_for_a_request_is_refused(junk: bytes) -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-1")
            await refused(w, Unreadable, "edge-1", token, junk or b"\x30")
            trailing = csr("edge-1") + b"\x00"
            await refused(w, Unreadable, "edge-1", token, trailing)

    run(story())


def test_a_flood_of_refusals_does_not_fill_the_audit_log() -> None:
    async def story() -> None:
        async with world() as w:
            before = len(await w.store.audit(0, 100_000))
            nothing, request = TokenEvidence(bearer=Secret("x")), csr("edge-1")
            for _ in range(500):
                with pytest.raises(Refusal):
                    await w.enrol("edge-1", nothing, request)
            assert len(await w.store.audit(0, 100_000)) - before == 100
            w.later(minutes=1)
            with pytest.raises(Refusal):
                await w.enrol("edge-1", nothing, request)
            assert '"omitted_before":400' in (await w.store.audit(0, 100_000))[-1].facts

    run(story())


def test_join_token_text_never_shows_its_secret() -> None:
    async def story() -> None:
        async with world() as w:
            token, _ = await w.token("edge-1")
            secret = token.reveal().split(".")[3]
            assert secret not in repr(token) + str(token.bearer) + f"{token.bearer}"
            assert JoinToken.parse(token.reveal()) == token
            await w.enrol("edge-1", token)
            assert all(secret not in record.facts for record in await w.store.audit(0, 1000))

    run(story())
