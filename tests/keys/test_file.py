"""Keys in files: under scrypt, the owner's alone, nothing in the clear, and clear words about whatever else is there."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgeward.errors import EdgewardError, InputError, InsecureFile, NotFound, PasswordNeeded, Unreadable, WrongPassword
from edgeward.keys.file import FileKeys
from edgeward.model.authority import KeyRef
from edgeward.model.token import Secret
from edgeward.pki import pem
from edgeward.pki.formats import pkcs8

WORD = Secret("correct horse battery staple")


def quick(directory: Path, word: Secret = WORD) -> FileKeys:
    return FileKeys(directory, word, scrypt_n=2**14)


def test_a_key_file_is_pkcs8_under_scrypt_with_128_mib(tmp_path: Path) -> None:
    keys = FileKeys(tmp_path / "keys", WORD)
    ref = keys.create("ec-p256")
    keys.confirm(ref)
    blocks = pem.decode((tmp_path / "keys" / f"{ref.name}.key").read_bytes())
    assert [block.label for block in blocks] == ["ENCRYPTED PRIVATE KEY"]
    words = pkcs8.describe_encryption(blocks[0].der)
    assert "scrypt" in words
    assert "131072" in words
    assert "AES-256-CBC" in words
    n_r_p = bytes.fromhex("0203020000") + bytes.fromhex("020108") + bytes.fromhex("020101")
    assert n_r_p in blocks[0].der
    opened: Any = FileKeys(tmp_path / "keys", WORD).signer(ref)
    assert opened.curve.name == "secp256r1"


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_t47_the_files_are_the_owner_s_alone(tmp_path: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        quick(tmp_path / "keys").create("ec-p256")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    (only,) = (tmp_path / "keys").iterdir()
    assert stat.S_IMODE(only.stat().st_mode) == 0o600


def test_t49_nothing_of_a_key_is_at_rest_in_the_clear(tmp_path: Path) -> None:
    keys = quick(tmp_path / "keys")
    key: Any = keys.signer(keys.create("ec-p256"))
    scalar = key.private_numbers().private_value.to_bytes(32, "big")
    texts = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    decoded = [block.der for text in texts for block in pem.decode(text)]
    assert len(texts) == len(decoded) == 1
    for octets in texts + decoded:
        for secret in (scalar, scalar.hex().encode(), scalar[:16], WORD.reveal().encode()):
            assert secret not in octets


def test_a_key_survives_its_process_and_opens_with_its_passphrase_alone(tmp_path: Path) -> None:
    keys = quick(tmp_path / "keys")
    ref = keys.create("ec-p256")
    numbers = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    assert quick(tmp_path / "keys").signer(ref).public_key().public_bytes(*numbers) == keys.signer(
        ref
    ).public_key().public_bytes(*numbers)
    with pytest.raises(WrongPassword) as caught:
        quick(tmp_path / "keys", Secret("wrong horse battery staple")).signer(ref)
    assert str(tmp_path) in str(caught.value)
    assert "horse" not in str(caught.value)


def _plain() -> bytes:
    return pem.encode("PRIVATE KEY", pkcs8.encode(ec.generate_private_key(ec.SECP256R1())))


def _under_pbkdf2() -> bytes:
    """As `openssl pkcs8 -topk8` writes it, under the right passphrase."""
    key = pkcs8.encode(ec.generate_private_key(ec.SECP256R1()))
    sealed = pkcs8.encrypt_pbkdf2(key, WORD.reveal().encode(), salt=bytes(16), iv=bytes(16), iterations=1000)
    return pem.encode("ENCRYPTED PRIVATE KEY", sealed)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", Unreadable),
        (b"garbage", Unreadable),
        (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n!!!\n-----END ENCRYPTED PRIVATE KEY-----\n", Unreadable),
        (pem.encode("ENCRYPTED PRIVATE KEY", b"\x30\x03\x02\x01\x01"), InputError),
        (pem.encode("ENCRYPTED PRIVATE KEY", b""), InputError),
        (_plain(), Unreadable),
        (_under_pbkdf2(), Unreadable),
        (bytes(2 * 1024 * 1024), InputError),
    ],
)
def test_a_file_that_holds_no_sealed_key_is_said_so(tmp_path: Path, content: bytes, kind: type[EdgewardError]) -> None:
    keys = quick(tmp_path / "keys")
    path = tmp_path / "keys" / "0011223344556677.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(kind) as caught:
        keys.signer(KeyRef(store="file", name="0011223344556677"))
    assert not isinstance(caught.value, PasswordNeeded)


def test_t47_a_key_file_that_others_may_read_is_not_read(tmp_path: Path) -> None:
    keys = quick(tmp_path / "keys")
    ref = keys.create("ec-p256")
    keys.confirm(ref)
    (tmp_path / "keys" / f"{ref.name}.key").chmod(0o640)
    with pytest.raises(InsecureFile) as caught:
        quick(tmp_path / "keys").signer(ref)
    assert "chmod 600" in caught.value.hint


def test_t47_a_key_directory_into_which_others_may_write_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys").chmod(0o777)
    with pytest.raises(InsecureFile):
        quick(tmp_path / "keys")


def test_a_removed_key_leaves_no_file(tmp_path: Path) -> None:
    keys = quick(tmp_path / "keys")
    ref = keys.create("ec-p256")
    keys.remove(ref)
    assert list((tmp_path / "keys").iterdir()) == []
    with pytest.raises(NotFound):
        quick(tmp_path / "keys").signer(ref)


def test_what_a_crash_left_half_written_is_swept_away(tmp_path: Path) -> None:
    ref = FileKeys(tmp_path / "keys", WORD, scrypt_n=2**14).create("ec-p256")
    left = tmp_path / "keys" / f".{ref.name}.key.0123456789abcdef.part"
    left.write_bytes(b"half a key")
    assert FileKeys(tmp_path / "keys", WORD).signer(ref)
    assert not left.exists()


def test_what_a_crash_left_on_trial_is_settled_at_the_next_start(tmp_path: Path) -> None:
    before = FileKeys(tmp_path / "keys", Secret("a passphrase"), scrypt_n=2**14)
    left, spoken, confirmed = (before.create("ec-p256") for _ in range(3))
    before.confirm(confirmed)
    after = FileKeys(tmp_path / "keys", Secret("a passphrase"), scrypt_n=2**14)
    assert after.signer(spoken), "a key on trial works"
    assert after.settle([spoken]) == 1
    assert sorted(p.name for p in (tmp_path / "keys").iterdir()) == sorted(
        [f"{spoken.name}.key", f"{confirmed.name}.key"]
    )
    with pytest.raises(NotFound):
        after.signer(left)
    assert after.settle([]) == 0, "a confirmed key is never removed, whatever the store says"


def test_keys_share_one_derivation_also_with_those_that_an_earlier_process_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived: list[bytes] = []
    derive = pkcs8.scrypt

    def counted(password: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
        derived.append(salt)
        return derive(password, salt, n, r, p)

    monkeypatch.setattr(pkcs8, "scrypt", counted)
    keys = quick(tmp_path / "keys")
    refs = [keys.create("ec-p256") for _ in range(3)]
    assert len(derived) == 1
    later = quick(tmp_path / "keys")
    for ref in refs:
        later.signer(ref)
    later.create("ec-p256")
    assert len(derived) == 2
    sealed = {(tmp_path / "keys" / f"{ref.name}.key.trial").read_bytes() for ref in refs}
    assert len(sealed) == 3


def test_keys_sealed_with_salts_of_their_own_open_as_well(tmp_path: Path) -> None:
    made = [quick(tmp_path / "keys").create("ec-p256") for _ in range(2)]
    later = quick(tmp_path / "keys")
    publics = {later.signer(ref).public_key().public_bytes(*_SPKI) for ref in made}
    assert len(publics) == 2


_SPKI = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
