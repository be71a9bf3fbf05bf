"""Out to a KubeEdge cloud: what it needs, in the forms that it reads, and the CA's key for those alone who ask for it."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.support.kubeedge_cloud import Cloud
from tests.support.world import NOON, World, run, world

from edgeward.errors import KeyPolicyRefused, UsageError
from edgeward.keys.memory import MemoryKeys
from edgeward.model.authority import KeyRef
from edgeward.model.token import JoinToken
from edgeward.services.kubeedge_tokens import Acceptance
from edgeward.services.migration import Brought, Exported


async def export(w: World, *, with_ca_key: bool = True) -> Exported:
    if not await w.authorities.advertised():
        await w.authorities.advertise(["cloud.example", "10.0.0.1"], actor="operator:test", now=w.now)
    return await w.migration.export(with_ca_key=with_ca_key, actor="operator:test", now=w.now)


def spki(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def test_the_secrets_are_what_cloudcore_reads() -> None:
    async def story() -> None:
        async with world() as w:
            secrets = (await export(w)).secrets
            ca = x509.load_der_x509_certificate(secrets["casecret"]["cadata"])
            key = secrets["casecret"]["cakeydata"]
            assert key[:7] == bytes.fromhex("30770201010420"), "SEC 1, which is all that it can sign with"
            assert spki(serialization.load_der_private_key(key, None).public_key()) == spki(ca.public_key())
            server = x509.load_der_x509_certificate(secrets["cloudcoresecret"]["cloudcoredata"])
            server.verify_directly_issued_by(ca)
            server_key = serialization.load_der_private_key(secrets["cloudcoresecret"]["cloudcorekeydata"], None)
            assert spki(server_key.public_key()) == spki(server.public_key())
            san = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert [str(name.value) for name in san] == ["cloud.example", "10.0.0.1"]
            usage = server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
            actions = [record.action for record in await w.store.audit(0, 1000)]
            assert actions.count("ca.key-exported") == 1
            assert actions.count("certificate.issued") == 1, "cloudcore's own pair, not ours"

    run(story())


def test_without_being_asked_for_the_ca_s_key_stays() -> None:
    async def story() -> None:
        async with world() as w:
            exported = await export(w, with_ca_key=False)
            assert list(exported.secrets["casecret"]) == ["cadata"]
            assert "can enrol and renew none" in exported.notes[0]
            assert "ca.key-exported" not in [record.action for record in await w.store.audit(0, 1000)]

    run(story())


def test_the_token_is_one_of_kubeedge_s() -> None:
    async def story() -> None:
        async with world() as w:
            token = JoinToken.parse((await export(w)).secrets["tokensecret"]["tokendata"].decode())
            assert token.pin == w.authorities.active.pin
            until = w.now + timedelta(days=30)
            await w.kubeedge_tokens.accept(Acceptance(pattern="*", until=until), actor="operator:test", now=w.now)
            assert w.kubeedge_tokens.check(token.bearer, "edge-1", w.now)
            assert not w.kubeedge_tokens.check(token.bearer, "edge-1", w.now - timedelta(seconds=1)), (
                "24 hours, no more"
            )

    run(story())


def test_an_rsa_ca_goes_out_as_pkcs1_and_what_that_means_is_said() -> None:
    async def story() -> None:
        async with world() as w:
            cloud = Cloud.new(rsa.generate_private_key(65537, 2048), now=NOON - timedelta(days=1))
            await w.migration.bring(
                Brought(certificate=cloud.der, key=cloud.key, advertised=["10.0.0.1"]), actor="operator:test", now=w.now
            )
            exported = await export(w)
            assert exported.secrets["casecret"]["cakeydata"] == cloud.key_der
            assert "v1.13 to v1.17" in exported.notes[0]

    run(story())


class Hardware(MemoryKeys):
    """Keys that only sign."""

    def kubeedge_mac(self, ref: KeyRef, message: bytes) -> bytes:
        raise KeyPolicyRefused(why="it is in hardware")

    def export(self, ref: KeyRef) -> bytes:
        raise KeyPolicyRefused(why="it is in hardware")


def test_a_key_in_hardware_stays_there() -> None:
    async def story() -> None:
        async with world() as w:
            hardware = Hardware()
            hardware._keys = w.keys._keys
            w.authorities._keys = hardware
            with pytest.raises(KeyPolicyRefused):
                await export(w)
            exported = await export(w, with_ca_key=False)
            assert "tokensecret" not in exported.secrets
            assert any("hardware" in note for note in exported.notes)

    run(story())


def test_without_a_name_to_dial_there_is_nothing_to_export() -> None:
    async def story() -> None:
        async with world() as w:
            with pytest.raises(UsageError, match="advertise add"):
                await w.migration.export(with_ca_key=True, actor="operator:test", now=w.now)
            assert "ca.key-exported" not in [record.action for record in await w.store.audit(0, 1000)]

    run(story())
