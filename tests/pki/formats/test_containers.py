"""PKCS#7, PKCS#12, JKS and JCEKS: both directions with openssl, GnuTLS and keytool, and every store of the
library's vectors.
"""

from pathlib import Path

import cryptography_vectors
import pytest
from cryptography.hazmat.primitives.serialization import pkcs12 as library

from edgeward.errors import EdgewardError, PasswordNeeded, UnsupportedKey, WrongPassword
from edgeward.pki import asn1, der
from edgeward.pki.formats import jks, pem, pkcs7, pkcs8, pkcs12
from edgeward.pki.formats.detect import detect
from edgeward.pki.formats.item import Kind, leaves
from tests.support.programs import needs, ran
from tests.tools import seeds

DERS = [each.public_bytes(seeds.DER) for each in seeds.chain()]
PRIVATE = pkcs8.encode(seeds.key(9))
BAGS = [
    pkcs12.Bag(kind="key", data=PRIVATE, name="device", key_id=b"1"),
    pkcs12.Bag(kind="certificate", data=DERS[0], name="device", key_id=b"1"),
    *(pkcs12.Bag(kind="certificate", data=octets) for octets in DERS[1:]),
]
VECTORS = sorted((Path(cryptography_vectors.__file__).parent / "pkcs12").glob("*.p12"))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "key.pem").write_bytes(pem.write("PRIVATE KEY", PRIVATE))
    (tmp_path / "leaf.pem").write_bytes(pem.write("CERTIFICATE", DERS[0]))
    (tmp_path / "cas.pem").write_bytes(b"".join(pem.write("CERTIFICATE", octets) for octets in DERS[1:]))
    return tmp_path


# ----------------------------------------------------------------------------------------------------------------
# PKCS#12


@pytest.mark.parametrize("legacy", [False, True], ids=["modern", "legacy"])
def test_our_stores_open_with_us_and_the_library(legacy: bool) -> None:
    data = pkcs12.write(BAGS, "secret", entropy=seeds.entropy(), legacy=legacy)
    store = pkcs12.read(data, "secret")
    assert store.problem is None
    assert sorted(bag.data for bag in store.bags) == sorted([PRIVATE, *DERS])
    key, leaf, others = library.load_key_and_certificates(data, b"secret")
    assert key is not None
    assert leaf is not None
    assert leaf.public_bytes(seeds.DER) == DERS[0]
    assert len(others) == 2


@needs("openssl")
@pytest.mark.parametrize("legacy", [False, True], ids=["modern", "legacy"])
def test_openssl_opens_our_stores(tmp_path: Path, legacy: bool) -> None:
    (tmp_path / "x").write_bytes(pkcs12.write(BAGS, "gehäim", entropy=seeds.entropy(), legacy=legacy))
    text = ran("openssl", "pkcs12", "-in", tmp_path / "x", "-passin", "pass:gehäim", "-nodes").decode()
    assert text.count("BEGIN CERTIFICATE") == 3
    assert text.count("BEGIN PRIVATE KEY") == 1


@needs("certtool")
def test_gnutls_opens_our_stores(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(pkcs12.write(BAGS, "secret", entropy=seeds.entropy()))
    text = ran("certtool", "--p12-info", "--inder", "--infile", tmp_path / "x", "--password", "secret").decode()
    assert text.count("BEGIN CERTIFICATE") == 3


@needs("keytool")
@pytest.mark.parametrize("legacy", [False, True], ids=["modern", "legacy"])
def test_java_opens_our_stores_and_trust_stores(tmp_path: Path, legacy: bool) -> None:
    (tmp_path / "x").write_bytes(pkcs12.write(BAGS, "secret", entropy=seeds.entropy(), legacy=legacy))
    text = ran(
        "keytool", "-list", "-v", "-storetype", "PKCS12", "-keystore", tmp_path / "x", "-storepass", "secret"
    ).decode()
    assert "Alias name: device" in text
    assert "Certificate chain length: 3" in text
    trust = [pkcs12.Bag(kind="certificate", data=DERS[2], name="root", trusted=True)]
    (tmp_path / "t").write_bytes(pkcs12.write(trust, "secret", entropy=seeds.entropy(), legacy=legacy))
    text = ran("keytool", "-list", "-storetype", "PKCS12", "-keystore", tmp_path / "t", "-storepass", "secret").decode()
    assert "trustedCertEntry" in text


@needs("openssl")
@pytest.mark.parametrize(
    "options",
    [
        "",
        "-legacy",
        "-certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES -macalg sha1",
        "-certpbe NONE -keypbe AES-128-CBC -macalg sha512",
        "-nomac",
        "-certpbe AES-256-CBC -keypbe NONE",
    ],
)
def test_we_open_openssls_stores(files: Path, options: str) -> None:
    command = f"openssl pkcs12 -export -inkey {files}/key.pem -in {files}/leaf.pem -certfile {files}/cas.pem"
    data = ran(*command.split(), "-name", "device", "-passout", "pass:secret", *options.split())
    store = pkcs12.read(data, "secret")
    assert store.problem is None
    assert sorted(bag.data for bag in store.bags) == sorted([PRIVATE, *DERS])
    assert {bag.name for bag in store.bags if bag.kind == "key"} == {"device"}
    assert isinstance(pkcs12.read(data, "Secret").problem, WrongPassword)


@needs("certtool")
def test_we_open_gnutls_stores(files: Path) -> None:
    data = ran(
        "certtool", "--to-p12", "--outder", "--load-privkey", files / "key.pem",
        "--load-certificate", files / "leaf.pem", "--load-ca-certificate", files / "cas.pem",
        "--p12-name", "device", "--password", "secret",
    )  # fmt: skip
    store = pkcs12.read(data, "secret")
    assert store.problem is None
    assert [bag for bag in store.bags if bag.kind == "key" and bag.problem is None]


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.name)
def test_every_store_of_the_vectors_opens(path: Path) -> None:
    stores = [pkcs12.read(path.read_bytes(), password) for password in ("cryptography", "password", "", None)]
    opened = [store for store in stores if store.problem is None]
    assert opened
    assert all(bag.problem is None for bag in opened[0].bags)


def test_t45_two_keys_stay_two() -> None:
    second = pkcs12.Bag(kind="key", data=pkcs8.encode(seeds.key(11)), name="other", key_id=b"2")
    store = pkcs12.read(pkcs12.write([*BAGS, second], "secret", entropy=seeds.entropy()), "secret")
    assert len([bag for bag in store.bags if bag.kind == "key"]) == 2


def test_t45_an_empty_password_is_not_no_password_and_both_open() -> None:
    folder = Path(cryptography_vectors.__file__).parent / "pkcs12"
    for name in ("no-password.p12", "java-truststore.p12", "name-all-no-pwd.p12"):
        store = pkcs12.read((folder / name).read_bytes(), None)
        assert store.problem is None
        assert any("empty password" in note for note in store.notes)


def test_t45_without_or_with_a_wrong_password_it_says_so() -> None:
    data = pkcs12.write(BAGS, "secret", entropy=seeds.entropy())
    assert isinstance(pkcs12.read(data, None).problem, PasswordNeeded)
    assert isinstance(pkcs12.read(data, "wrong").problem, WrongPassword)


def _with_rounds(data: bytes, rounds: int) -> bytes:
    """A store whose MAC demands so many rounds."""
    top = asn1.exactly(data, "store")
    mac = top.children[2]
    changed = der.sequence(mac.children[0].encoded, mac.children[1].encoded, der.integer(rounds))
    return der.sequence(top.children[0].encoded, top.children[1].encoded, changed)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("rounds", [10**8, 2**2000, -5])
def test_t45_a_store_that_is_a_bomb_is_refused(rounds: int) -> None:
    data = _with_rounds(pkcs12.write(BAGS, "secret", entropy=seeds.entropy(), legacy=True), rounds)
    with pytest.raises(UnsupportedKey):
        pkcs12.read(data, "secret")


def test_ber_stores_are_read() -> None:
    """Every definite length of the outer values made indefinite, as Windows does it."""
    data = pkcs12.write(BAGS, "secret", entropy=seeds.entropy(), legacy=True)
    node = asn1.exactly(data, "store")
    inside = b"".join(child.encoded for child in node.children)
    store = pkcs12.read(b"\x30\x80" + inside + b"\0\0", "secret")
    assert store.problem is None
    assert any("BER" in note for note in store.notes)


# -----------------------------------------------------------------------------------------------------------------
# PKCS#7


@needs("openssl")
def test_pkcs7_both_ways_with_openssl(files: Path) -> None:
    (files / "x").write_bytes(pkcs7.write(DERS))
    text = ran("openssl", "pkcs7", "-inform", "DER", "-in", files / "x", "-print_certs").decode()
    assert text.count("BEGIN CERTIFICATE") == 3
    theirs = ran(
        "openssl",
        "crl2pkcs7",
        "-nocrl",
        "-certfile",
        files / "leaf.pem",
        "-certfile",
        files / "cas.pem",
        "-outform",
        "DER",
    )
    assert sorted(pkcs7.read(theirs).certificates) == sorted(DERS)


@needs("certtool")
def test_pkcs7_is_read_by_gnutls(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(pkcs7.write(DERS))
    assert b"Number of certificates: 3" in ran("certtool", "--p7-info", "--inder", "--infile", tmp_path / "x")


def test_pkcs7_in_ber_is_read_and_written_as_der() -> None:
    ber = (Path(cryptography_vectors.__file__).parent / "pkcs7" / "amazon-roots.p7b").read_bytes()
    bundle = pkcs7.read(ber)
    assert bundle.not_der
    again = pkcs7.write(bundle.certificates)
    assert not any(node.not_der for node in asn1.exactly(again, "bundle").walk())
    assert set(pkcs7.read(again).certificates) == set(bundle.certificates)


def test_pkcs7_that_is_something_else_says_what() -> None:
    data = (Path(cryptography_vectors.__file__).parent / "pkcs7" / "enveloped-no-content.der").read_bytes()
    with pytest.raises(EdgewardError, match="encrypted for a recipient"):
        pkcs7.read(data)


# -------------------------------------------------------------------------------------------------------- Java key
# stores


@needs("keytool")
def test_java_opens_our_jks(tmp_path: Path) -> None:
    entries = [
        jks.Entry(alias="device", created_ms=1_700_000_000_000, certificates=tuple(DERS), key=PRIVATE),
        jks.Entry(alias="root", created_ms=0, certificates=(DERS[2],)),
    ]
    (tmp_path / "x").write_bytes(jks.write(entries, "secret", entropy=seeds.entropy()))
    text = ran(
        "keytool", "-list", "-v", "-storetype", "JKS", "-keystore", tmp_path / "x", "-storepass", "secret"
    ).decode()
    assert "Your keystore contains 2 entries" in text
    ran(
        "keytool", "-importkeystore", "-srckeystore", tmp_path / "x", "-srcstoretype", "JKS", "-srcstorepass", "secret",
        "-destkeystore", tmp_path / "y", "-deststoretype", "PKCS12", "-deststorepass", "secret",
    )  # fmt: skip
    store = pkcs12.read((tmp_path / "y").read_bytes(), "secret")
    assert PRIVATE in [bag.data for bag in store.bags]


@needs("keytool")
@pytest.mark.parametrize("kind", ["JKS", "JCEKS"])
def test_we_open_javas_stores(tmp_path: Path, kind: str) -> None:
    ran(
        "keytool", "-genkeypair", "-alias", "device", "-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN=device",
        "-storetype", kind, "-keystore", tmp_path / "x", "-storepass", "secret", "-keypass", "secret",
    )  # fmt: skip
    data = (tmp_path / "x").read_bytes()
    store = jks.read(data, "secret")
    (entry,) = store.entries
    assert entry.problem is None
    assert entry.key is not None
    pkcs8.read(entry.key)
    assert isinstance(jks.read(data, None).entries[0].problem, PasswordNeeded)
    with pytest.raises(WrongPassword):
        jks.read(data, "Secret")
    items = detect(data, password="secret")
    assert [item.kind for item in leaves(items)] == [Kind.PRIVATE_KEY, Kind.CERTIFICATE]
