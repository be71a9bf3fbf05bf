"""What every key store must do: `keys.port.KeyStore`, said precisely. An adapter takes part by a line in `STORES`."""

import base64
import hashlib
import hmac
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from edgeward.errors import EdgewardError, KeyPolicyRefused, NotFound, UnsupportedKey
from edgeward.keys import port
from edgeward.keys.database import DatabaseKeys
from edgeward.keys.file import FileKeys
from edgeward.keys.memory import MemoryKeys
from edgeward.model.authority import KeyRef
from edgeward.model.token import Secret
from edgeward.stores.postgres import SealedKeys
from tests.support.postgres import Cluster

STORES: dict[str, Callable[[Path], port.KeyStore]] = {
    "file": lambda tmp: FileKeys(tmp / "keys", Secret("a passphrase"), scrypt_n=2**14),
    "memory": lambda _tmp: MemoryKeys(),
}


@pytest.fixture(params=[*STORES, "database"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> port.KeyStore:
    if request.param == "database":
        url = request.getfixturevalue("postgres").database(migrated=True)
        return DatabaseKeys(SealedKeys(url), Secret("a passphrase"), scrypt_n=2**14)
    return STORES[request.param](tmp_path)


@pytest.mark.parametrize("adapter", [FileKeys, MemoryKeys, DatabaseKeys])
def test_the_adapter_has_every_method_of_the_port_with_the_same_signature(adapter: type) -> None:
    methods = {
        name: one for name, one in inspect.getmembers(port.KeyStore, inspect.isfunction) if not name.startswith("_")
    }
    assert len(methods) == 8
    for name, wanted in methods.items():
        assert inspect.signature(getattr(adapter, name)) == inspect.signature(wanted), name


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [("ec-p256", ec.EllipticCurvePrivateKey), ("ec-p384", ec.EllipticCurvePrivateKey), ("rsa", rsa.RSAPrivateKey)],
)
def test_a_created_key_signs(keys: port.KeyStore, algorithm: str, kind: type) -> None:
    ref = keys.create(algorithm)
    assert KeyRef.parse(str(ref)) == ref
    key: Any = keys.signer(ref)
    assert isinstance(key, kind)
    if algorithm == "rsa":
        assert key.key_size == 3072
    else:
        assert key.curve.name == {"ec-p256": "secp256r1", "ec-p384": "secp384r1"}[algorithm]
        key.public_key().verify(key.sign(b"x", ec.ECDSA(hashes.SHA256())), b"x", ec.ECDSA(hashes.SHA256()))
    assert keys.create("ec-p256") != ref


@pytest.mark.parametrize("algorithm", ["", "ed25519", "dsa", "rsa ", "../x"])
def test_an_algorithm_that_no_authority_uses_is_refused(keys: port.KeyStore, algorithm: str) -> None:
    with pytest.raises(UnsupportedKey):
        keys.create(algorithm)


def test_an_adopted_key_is_the_very_key(keys: port.KeyStore) -> None:
    for key in (ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()):
        ref = keys.adopt(key)
        numbers = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        assert keys.signer(ref).public_key().public_bytes(*numbers) == key.public_key().public_bytes(*numbers)
        exported: Any = serialization.load_der_private_key(keys.export(ref), None)
        assert exported.public_key() == key.public_key()


def test_a_key_that_is_removed_or_was_never_there_is_not_found(keys: port.KeyStore) -> None:
    ref, kept = keys.create("ec-p256"), keys.create("ec-p256")
    keys.remove(ref)
    keys.remove(ref)
    for gone in (ref, KeyRef(store=ref.store, name="0" * 16)):
        for use in (keys.signer, keys.export, lambda r: keys.kubeedge_mac(r, b"x")):
            with pytest.raises(NotFound):
                use(gone)
    assert keys.signer(kept)


def test_a_key_that_is_confirmed_or_spoken_of_stays(keys: port.KeyStore) -> None:
    confirmed, kept = keys.create("ec-p256"), keys.create("ec-p256")
    keys.confirm(confirmed)
    keys.confirm(confirmed)
    keys.settle([kept])
    keys.settle([])
    for ref in (confirmed, kept):
        assert keys.signer(ref)
    keys.remove(confirmed)
    with pytest.raises(NotFound):
        keys.signer(confirmed)


def test_the_mac_is_the_one_that_kubeedge_s_token_carries(keys: port.KeyStore, kubeedge: dict[str, Any]) -> None:
    sec1 = kubeedge["ca"]["private_key_sec1_der"]
    key: Any = serialization.load_der_private_key(sec1, None)
    signed, _, mac = kubeedge["token"].partition(".")[2].rpartition(".")
    computed = keys.kubeedge_mac(keys.adopt(key), signed.encode())
    assert base64.urlsafe_b64encode(computed).rstrip(b"=").decode() == mac
    assert computed == hmac.digest(sec1, signed.encode(), hashlib.sha256)


def test_the_mac_of_an_rsa_key_is_under_its_pkcs1_form(keys: port.KeyStore) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pkcs1 = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    assert keys.kubeedge_mac(keys.adopt(key), b"x") == hmac.digest(pkcs1, b"x", hashlib.sha256)


def test_a_key_without_a_form_of_kubeedge_s_computes_no_mac(keys: port.KeyStore) -> None:
    with pytest.raises(KeyPolicyRefused) as caught:
        keys.kubeedge_mac(keys.adopt(ed25519.Ed25519PrivateKey.generate()), b"x")
    assert isinstance(caught.value, EdgewardError)


def test_a_key_in_the_database_is_on_trial_at_the_replica_that_made_it_alone(postgres: Cluster) -> None:
    url = postgres.database(migrated=True)
    a, b = (DatabaseKeys(SealedKeys(url, name), Secret("a passphrase"), scrypt_n=2**14) for name in "ab")
    refs = [a.create("ec-p256") for _ in range(3)]
    a.confirm(refs[0])
    assert b.settle([]) == 0, "what another replica makes just now is its own"
    assert a.settle([refs[1]]) == 1
    assert a.settle([]) == 0
    for ref in refs[:2]:
        assert b.signer(ref)
    with pytest.raises(NotFound):
        b.signer(refs[2])
