"""PKCS#8: what we encrypt opens elsewhere, what others encrypt opens here, and a bomb is refused before it goes off."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from edgeward.errors import PasswordNeeded, Unreadable, UnsupportedKey, WrongPassword
from edgeward.pki import der
from edgeward.pki.formats import pbe, pkcs8, rc2

KEY = ec.derive_private_key(7, ec.SECP256R1())
CLEAR = pkcs8.encode(KEY)
SALT, IV = bytes(range(16)), bytes(range(16, 32))

openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed: nothing to compare with")


def same(key: object) -> bool:
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.private_numbers() == KEY.private_numbers()


def test_portable_round_trip() -> None:
    encrypted = pkcs8.encrypt_portable(CLEAR, b"secret", salt=SALT, iv=IV)
    assert pkcs8.is_encrypted(encrypted)
    assert same(pkcs8.decrypt(encrypted, b"secret"))
    assert pkcs8.describe_encryption(encrypted) == "PBES2: PBKDF2-HMAC-SHA256, 600000 rounds, AES-256-CBC"


def test_scrypt_round_trip() -> None:
    encrypted = pkcs8.encrypt_scrypt(CLEAR, b"secret", salt=SALT, iv=IV)
    assert same(pkcs8.decrypt(encrypted, b"secret"))
    assert pkcs8.describe_encryption(encrypted) == "PBES2: scrypt n=131072 r=8 p=1, AES-256-CBC"


@openssl
@pytest.mark.parametrize("scheme", ["portable", "scrypt 2^14"])
def test_openssl_opens_what_we_encrypt(tmp_path: Path, scheme: str) -> None:
    encrypted = (
        pkcs8.encrypt_portable(CLEAR, b"secret", salt=SALT, iv=IV)
        if scheme == "portable"
        else pkcs8.encrypt_scrypt(CLEAR, b"secret", salt=SALT, iv=IV, n=2**14)
    )
    (tmp_path / "k").write_bytes(encrypted)
    out = subprocess.run(
        ["openssl", "pkcs8", "-inform", "DER", "-in", tmp_path / "k", "-passin", "pass:secret", "-outform", "DER"],
        capture_output=True,
        check=True,
    )
    assert same(serialization.load_der_private_key(out.stdout, None))


@openssl
@pytest.mark.parametrize(
    "options",
    [
        "-v2 aes-256-cbc -v2prf hmacWithSHA512 -iter 50000",
        "-v2 aes-128-cbc -v2prf hmacWithSHA1",
        "-v2 des3",
        "-scrypt",
        "-v1 PBE-SHA1-3DES",
        "-v1 PBE-SHA1-RC2-40",
        "-v1 PBE-MD5-DES",
    ],
)
def test_we_open_what_openssl_encrypts(tmp_path: Path, options: str) -> None:
    (tmp_path / "k").write_bytes(CLEAR)
    legacy = "-provider legacy -provider default" if "RC2" in options or "MD5" in options else ""
    command = f"openssl pkcs8 -topk8 -inform DER -in {tmp_path}/k -passout pass:secret -outform DER {options} {legacy}"
    encrypted = subprocess.run(command.split(), capture_output=True, check=True).stdout
    assert same(pkcs8.decrypt(encrypted, b"secret"))
    with pytest.raises(WrongPassword):
        pkcs8.decrypt(encrypted, b"Secret")


def test_without_a_password_it_asks_for_one() -> None:
    encrypted = pkcs8.encrypt_portable(CLEAR, b"secret", salt=SALT, iv=IV)
    with pytest.raises(PasswordNeeded, match=r"device\.key is encrypted"):
        pkcs8.decrypt(encrypted, None, what="device.key")
    with pytest.raises(PasswordNeeded):
        pkcs8.read(encrypted)


@pytest.mark.parametrize("password", [b"", b"wrong", b"secretx", "sécret".encode(), b"x" * 5000])
def test_a_wrong_password_is_said_to_be_wrong(password: bytes) -> None:
    with pytest.raises(WrongPassword):
        pkcs8.decrypt(pkcs8.encrypt_portable(CLEAR, b"secret", salt=SALT, iv=IV), password)


def bomb(derivation: bytes) -> bytes:
    scheme = der.algorithm(pbe.PBES2, der.sequence(derivation, der.algorithm(pbe.AES_256_CBC, der.octet_string(IV))))
    return der.sequence(scheme, der.octet_string(bytes(64)))


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "derivation",
    [
        der.algorithm(
            pbe.PBKDF2, der.sequence(der.octet_string(SALT), der.integer(10**8), der.algorithm(pbe.HMAC_SHA256))
        ),
        der.algorithm(
            pbe.PBKDF2, der.sequence(der.octet_string(SALT), der.integer(-1), der.algorithm(pbe.HMAC_SHA256))
        ),
        der.algorithm(pbe.PBKDF2, der.sequence(der.octet_string(SALT), der.integer(2**2000))),
        der.algorithm(
            pbe.SCRYPT, der.sequence(der.octet_string(SALT), der.integer(2**24), der.integer(8), der.integer(1))
        ),
        der.algorithm(
            pbe.SCRYPT, der.sequence(der.octet_string(SALT), der.integer(2), der.integer(8), der.integer(2**30))
        ),
    ],
)
def test_t45_a_derivation_that_is_a_bomb_is_refused(derivation: bytes) -> None:
    with pytest.raises(UnsupportedKey, match="demands"):
        pkcs8.decrypt(bomb(derivation), b"secret")


def test_bytes_that_are_no_key_are_unreadable() -> None:
    for junk in (b"", b"\x30", b"\x30\x00", b"hello", bytes(100), CLEAR[:-1], CLEAR + b"x"):
        with pytest.raises(Unreadable):
            pkcs8.read(junk)
        with pytest.raises(Unreadable):
            pkcs8.decrypt(junk, b"secret")


@pytest.mark.parametrize(
    "unsafe",
    [{"salt": b"short"}, {"iv": b"short"}, {"iterations": 599_999}, {"password": b""}],
    ids=lambda u: next(iter(u)),
)
def test_unsafe_parameters_are_not_written(unsafe: dict[str, object]) -> None:
    arguments = {"password": b"secret", "salt": SALT, "iv": IV} | unsafe
    with pytest.raises(ValueError, match=r"salt|rounds|password"):
        pkcs8.encrypt_portable(CLEAR, **arguments)  # type: ignore[arg-type]


def test_sec1_and_pkcs1_are_read_too() -> None:
    traditional = KEY.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    assert same(pkcs8.read(traditional))
    pkcs1 = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    assert isinstance(pkcs8.read(pkcs1), rsa.RSAPrivateKey)


def test_rc2_vector_of_rfc_2268() -> None:
    """RFC 2268 section 5: key 88, 64 effective bits, and the 40-bit use through CBC with a zero IV."""
    words = rc2._expand(bytes.fromhex("88bca90e90875a7f0f79c384627bafb2"), 128)
    assert rc2._decrypt_block(words, bytes.fromhex("2269552ab0f85ca6")) == bytes(8)
    words = rc2._expand(bytes(8), 63)
    assert rc2._decrypt_block(words, bytes.fromhex("ebb773f993278eff")) == bytes(8)
