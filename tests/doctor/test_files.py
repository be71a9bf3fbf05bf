"""`edgeward doctor FILES…`: files as they are found on disks, what is said of each, and the command that mends it, run."""

import base64
import json
import os
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgeward.cli import run
from edgeward.pki.formats.kubernetes import secret
from tests.support.fake_cloud import NOW, FakeCA, name
from tests.support.programs import needs, ran
from tests.support.server import Home, Server, private_directory

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
CLEAR = serialization.NoEncryption()


def key_octets(key: Any, form: str = "pkcs8", encoding: Any = PEM) -> bytes:
    formats = {"pkcs8": serialization.PrivateFormat.PKCS8, "sec1": serialization.PrivateFormat.TraditionalOpenSSL}
    return bytes(key.private_bytes(encoding, formats[form], CLEAR))


def write(path: Path, octets: bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(octets)
    path.chmod(mode)
    return path


def doctor(capsys: pytest.CaptureFixture[str], *things: object) -> tuple[int, list[str], dict[str, Any]]:
    """The exit status, the ids found, and everything."""
    status = run(["doctor", "--json", *map(str, things)])
    said = json.loads(capsys.readouterr().out)
    return status, [one["id"] for one in said["findings"]], said


def mended(said: dict[str, Any], id_: str, system: str = "edgeward", number: int = 0) -> None:
    """Type the remedy that a finding names."""
    (found,) = [one for one in said["findings"] if one["id"] == id_]
    command = [one["command"] for one in found["remedies"] if one["system"] == system][number]
    if command.startswith("edgeward "):
        done = subprocess.run(
            [sys.executable, "-m", "edgeward", *shlex.split(command)[1:]],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    else:
        done = subprocess.run(["bash", "-c", command], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, (command, done.stderr)


@pytest.fixture
def ca() -> FakeCA:
    return FakeCA("KubeEdge")


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


# ------------------------------------------------------------------------------------------------ how a file is written


def test_a_sound_pair_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str], ca: FakeCA, key: Any) -> None:
    files = (
        write(tmp_path / "device.crt", pem(ca.device(key.public_key(), "edge-1")), 0o644),
        write(tmp_path / "device.key", key_octets(key)),
        write(tmp_path / "ca.crt", ca.certificate.public_bytes(PEM), 0o644),
    )
    assert doctor(capsys, *files)[:2] == (0, [])
    assert doctor(capsys, tmp_path)[:2] == (0, [])


@pytest.mark.parametrize(
    ("file", "spoil", "id_", "remedies"),
    [
        ("a.crt", lambda text: b"\xef\xbb\xbf" + text, "file-bom", [("edgeward", 0), ("shell", 0)]),
        ("a.crt", lambda text: text.decode().encode("utf-16"), "file-utf16", [("edgeward", 0)]),
        ("a.crt", lambda text: text.replace(b"\n", b"\r\n"), "file-crlf", [("edgeward", 0), ("shell", 0)]),
        ("a.pem", lambda text: base64.b64decode(b"".join(text.split(b"\n")[1:-2])), "file-der", [("edgeward", 0)]),
        ("a.crt", lambda text: base64.b64decode(b"".join(text.split(b"\n")[1:-2])), "file-der", [("edgeward", 0)]),
        ("a.der", lambda text: text, "file-pem", [("edgeward", 0), ("openssl", 0)]),
        ("a.crt", lambda text: text.replace(b"CERTIFICATE", b"CERTIFICATE REQUEST"), "file-label", [("edgeward", 0)]),
        ("b c.crt", lambda text: b"\xef\xbb\xbf" + text, "file-bom", [("edgeward", 0)]),
    ],
    ids=["bom", "utf16", "crlf", "der.pem", "der.crt", "pem.der", "label", "a name with a space"],
)
def test_a_certificate_that_is_written_wrongly_and_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ca: FakeCA, key: Any,
    file: str, spoil: Callable[[bytes], bytes], id_: str, remedies: list[tuple[str, int]],
) -> None:  # fmt: skip
    for system, number in remedies:
        path = write(tmp_path / file, spoil(pem(ca.device(key.public_key(), "edge-1"))), 0o644)
        _, ids, said = doctor(capsys, path)
        assert ids == [id_]
        mended(said, id_, system, number)
        assert doctor(capsys, path)[:2] == (0, []), (system, number)


@pytest.mark.parametrize(
    ("label", "form"), [("PRIVATE KEY", "sec1"), ("EC PRIVATE KEY", "pkcs8"), ("RSA PRIVATE KEY", "pkcs8")]
)
def test_a_key_under_the_label_of_another_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: Any, label: str, form: str
) -> None:
    der = key_octets(key, form, DER)
    text = f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"
    path = write(tmp_path / "server.key", text.encode())
    _, ids, said = doctor(capsys, path)
    assert "file-label" in ids
    mended(said, "file-label")
    assert doctor(capsys, path)[:2] == (0, ["key-without-certificate"][:0])


@pytest.mark.parametrize("form", ["pkcs8", "sec1"])
@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_keys_of_every_sound_form_are_silent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, kind: str
) -> None:
    made = ec.generate_private_key(ec.SECP384R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    path = write(tmp_path / "device.key", key_octets(made, form))
    assert doctor(capsys, path)[:2] == (0, [])


@needs("openssl")
def test_keys_as_openssl_writes_them_are_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-out", tmp_path / "a.key")
    ran("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", tmp_path / "b.key")
    ran("openssl", "genpkey", "-algorithm", "ED25519", "-out", tmp_path / "c.key")
    for file in ("a.key", "b.key", "c.key"):
        (tmp_path / file).chmod(0o600)
        assert doctor(capsys, tmp_path / file)[:2] == (0, []), file


@pytest.mark.parametrize(
    ("octets", "id_"),
    [
        (b"", "file-empty"),
        (b"hello\n", "file-unreadable"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB\n", "file-block"),
        (b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "file-block"),
        (b"PK\x03\x04zip", "file-unreadable"),
        (b"<html>404</html>", "file-unreadable"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str], octets: bytes, id_: str) -> None:
    status, ids, _ = doctor(capsys, write(tmp_path / "a.crt", octets, 0o644))
    assert (status, ids) == (1, [id_])


def test_what_is_no_file_is_not_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.crt")
    assert doctor(capsys, tmp_path / "pipe.crt")[:2] == (1, ["file-unreadable"])
    (tmp_path / "dangling.crt").symlink_to(tmp_path / "nowhere")
    assert doctor(capsys, tmp_path / "dangling.crt")[:2] == (1, ["file-unreadable"])
    (tmp_path / "empty").mkdir()
    assert doctor(capsys, tmp_path / "empty")[:2] == (0, ["nothing-to-judge"])


# --------------------------------------------------------------------------------------------------- who may read it


@pytest.mark.parametrize(("mode", "verb"), [(0o644, "read"), (0o640, "read"), (0o622, "change"), (0o666, "change")])
def test_a_key_that_others_may_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: Any, mode: int, verb: str
) -> None:
    path = write(tmp_path / "server.key", key_octets(key), mode)
    status, ids, said = doctor(capsys, path)
    assert (status, ids) == (1, ["key-mode"])
    assert f"others may {verb}" in said["findings"][0]["what"]
    mended(said, "key-mode", "shell")
    assert doctor(capsys, path)[:2] == (0, [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_of_another_user(tmp_path: Path, capsys: pytest.CaptureFixture[str], key: Any) -> None:
    path = write(tmp_path / "server.key", key_octets(key))
    os.chown(path, 12345, 12345)
    assert doctor(capsys, path)[1] == ["key-owner"]


# -------------------------------------------------------------------------------------------------- files together


def test_a_key_of_another_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str], ca: FakeCA, key: Any) -> None:
    certificate = write(tmp_path / "server.crt", pem(ca.device(key.public_key(), "edge-1")), 0o644)
    other = write(tmp_path / "server.key", key_octets(ec.generate_private_key(ec.SECP256R1())))
    status, ids, said = doctor(capsys, certificate, other)
    assert (status, ids) == (1, ["key-mismatch"])
    assert str(other) in said["findings"][0]["what"]


def test_another_ca_of_the_same_name_and_a_wrong_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ca: FakeCA, key: Any
) -> None:
    certificate = write(tmp_path / "server.crt", pem(ca.device(key.public_key(), "edge-1")), 0o644)
    for called, words in (("KubeEdge", "has the same name"), ("Other", "Its issuer is CN=KubeEdge")):
        other = write(tmp_path / "ca.crt", FakeCA(called).certificate.public_bytes(PEM), 0o644)
        status, ids, said = doctor(capsys, certificate, other)
        assert (status, ids) == (1, ["not-signed-by-ca"])
        assert any(words in line for line in said["findings"][0]["why"])


@pytest.mark.parametrize(
    ("order", "id_"), [((2, 1, 0), "wrong-leaf-first"), ((1, 0, 2), "wrong-leaf-first"), ((0, 2, 1), "chain-order")]
)
def test_a_chain_that_is_mixed_up_and_mended(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ca: FakeCA,
    key: Any,
    order: tuple[int, ...],
    id_: str,
) -> None:
    middle = FakeCA("Middle", issuer=ca)
    chain = [
        pem(middle.device(key.public_key(), "edge-1")),
        middle.certificate.public_bytes(PEM),
        ca.certificate.public_bytes(PEM),
    ]
    path = write(tmp_path / "chain.crt", b"".join(chain[place] for place in order), 0o644)
    _, ids, said = doctor(capsys, path)
    assert ids == [id_]
    monkeypatch.chdir(tmp_path)
    mended(said, id_)
    (made,) = [one for one in tmp_path.iterdir() if one != path]
    assert doctor(capsys, made)[:2] == (0, [])
    sound = write(tmp_path / "sound.crt", b"".join(chain), 0o644)
    assert doctor(capsys, sound)[:2] == (0, [])


def test_dates_and_weak_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str], ca: FakeCA, key: Any) -> None:
    day = timedelta(days=1)
    now = datetime.now(UTC)
    for start, end, id_ in (
        (now - 10 * day, now - day, "expired"),
        (now + day, now + 10 * day, "not-yet-valid"),
        (now - 300 * day, now + 5 * day, "expires-soon"),
    ):
        path = write(tmp_path / "a.crt", pem(ca.device(key.public_key(), "edge-1", start=start, end=end)), 0o644)
        assert doctor(capsys, path)[1] == [id_]
    weak = rsa.generate_private_key(65537, 1024)
    path = write(
        tmp_path / "weak.crt",
        pem(ca.device(weak.public_key(), "edge-1")),
        0o644,
    )
    assert "weak-key" in doctor(capsys, path)[1]


# ------------------------------------------------------------------------------------------------------- edge directories

EDGECORE = """apiVersion: edgecore.config.kubeedge.io/v1alpha2
kind: EdgeCore
modules:
  edgeHub:
    enable: true
    httpServer: https://10.0.0.7:10002
    token: "{token}"
    websocket:
      enable: true
      server: 10.0.0.7:10000
  edged:
    hostnameOverride: {node}
"""


@pytest.fixture
def edge(tmp_path: Path, ca: FakeCA, key: Any) -> Path:
    """The directory of a sound KubeEdge node."""
    home = tmp_path / "kubeedge"
    write(home / "ca" / "rootCA.crt", ca.certificate.public_bytes(PEM), 0o644)
    write(home / "certs" / "server.crt", pem(ca.device(key.public_key(), "edge-1")), 0o600)
    write(home / "certs" / "server.key", key_octets(key, "sec1"))
    write(home / "config" / "edgecore.yaml", EDGECORE.format(token="", node="edge-1").encode(), 0o644)
    return home


def test_a_sound_kubeedge_node_is_silent(edge: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(capsys, edge)[:2] == (0, [])


def test_a_new_certificate_with_the_old_key(edge: Path, capsys: pytest.CaptureFixture[str], ca: FakeCA) -> None:
    write(edge / "certs" / "server.crt", pem(ca.device(ec.generate_private_key(ec.SECP256R1()).public_key(), "edge-1")))
    status, ids, said = doctor(capsys, edge)
    assert (status, ids) == (1, ["mixed-pair"])
    assert any("crash between the two" in line for line in said["findings"][0]["why"])


def test_a_node_that_calls_itself_otherwise_is_mended(edge: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(edge / "config" / "edgecore.yaml", EDGECORE.format(token="", node="edge-2").encode(), 0o644)
    status, ids, said = doctor(capsys, edge)
    assert (status, ids) == (1, ["edge-other-name"])
    mended(said, "edge-other-name", "shell")
    assert doctor(capsys, edge)[:2] == (0, [])


def test_the_ca_was_made_anew(edge: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(edge / "ca" / "rootCA.crt", FakeCA("KubeEdge").certificate.public_bytes(PEM), 0o644)
    assert doctor(capsys, edge)[1] == ["not-signed-by-ca"]


def test_modes_of_an_edge_with_umask_0(edge: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (edge / "certs" / "server.key").chmod(0o622)
    (edge / "certs").chmod(0o722)
    assert sorted(doctor(capsys, edge)[1]) == ["directory-mode", "key-mode"]


def test_an_identity_of_before_1_16_and_one_for_servers(
    edge: Path, capsys: pytest.CaptureFixture[str], ca: FakeCA, key: Any
) -> None:
    write(edge / "certs" / "server.crt", pem(ca.device(key.public_key(), "x", subject=name("kubeedge.io", "kubeEdge"))))
    assert doctor(capsys, edge)[1] == ["edge-old-identity"]
    write(
        edge / "certs" / "server.crt",
        pem(ca.device(key.public_key(), "edge-1", usages=(ExtendedKeyUsageOID.SERVER_AUTH,))),
    )
    assert doctor(capsys, edge)[1] == ["client-eku"]


def jwt(exp: int) -> str:
    parts = (b'{"alg":"HS256","typ":"JWT"}', b'{"exp":%d}' % exp, b"0" * 32)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.parametrize(
    ("token", "id_"),
    [
        (lambda ca: "cut.short", "token-form"),
        (lambda ca: f"{'0' * 64}.{jwt(4_000_000_000)}", "token-other-ca"),
        (lambda ca: f"{ca.pin}.{jwt(1_000_000_000)}", "token-expired"),
        (lambda ca: f"{ca.pin}.{jwt(4_000_000_000)}", None),
    ],
)
def test_the_token_of_a_node_that_has_not_joined(
    edge: Path, capsys: pytest.CaptureFixture[str], ca: FakeCA, token: Callable[[FakeCA], str], id_: str | None
) -> None:
    (edge / "certs" / "server.crt").unlink()
    (edge / "certs" / "server.key").unlink()
    text = token(ca)
    write(edge / "config" / "edgecore.yaml", EDGECORE.format(token=text, node="edge-1").encode(), 0o644)
    _, ids, said = doctor(capsys, edge)
    assert ids == ([] if id_ is None else [id_])
    assert text.rpartition(".")[2] not in json.dumps(said), "a token is shown"


def test_a_token_that_stayed_and_what_is_missing(edge: Path, capsys: pytest.CaptureFixture[str], ca: FakeCA) -> None:
    write(
        edge / "config" / "edgecore.yaml",
        EDGECORE.format(token=f"{ca.pin}.{jwt(4_000_000_000)}", node="edge-1").encode(),
        0o644,
    )
    status, ids, said = doctor(capsys, edge)
    assert (status, ids) == (0, ["edge-token-left"])
    mended(said, "edge-token-left", "shell")
    assert doctor(capsys, edge)[:2] == (0, [])
    (edge / "certs" / "server.key").unlink()
    assert doctor(capsys, edge)[1] == ["edge-incomplete"]


# ---------------------------------------------------------------------------------------------------------- Secrets


def test_kubeedges_secrets(tmp_path: Path, capsys: pytest.CaptureFixture[str], ca: FakeCA, key: Any) -> None:
    server = ca.server("10.0.0.7", key=key)
    sound = {
        "casecret": {"cadata": ca.der, "cakeydata": key_octets(ca.key, "sec1", DER)},
        "cloudcoresecret": {
            "cloudcoredata": server.public_bytes(DER),
            "cloudcorekeydata": key_octets(key, "sec1", DER),
        },
        "tokensecret": {"tokendata": f"{ca.pin}.{jwt(4_000_000_000)}".encode()},
    }

    def judged(changes: dict[str, dict[str, bytes]]) -> list[str]:
        merged = {name: fields | changes.get(name, {}) for name, fields in sound.items()}
        text = "---\n".join(secret(name, fields) for name, fields in merged.items())
        return doctor(capsys, write(tmp_path / "secrets.yaml", text.encode()))[1]

    assert judged({}) == []
    another = FakeCA("KubeEdge")
    stranger = key_octets(ec.generate_private_key(ec.SECP256R1()), "sec1", DER)
    assert judged({"casecret": {"cakeydata": key_octets(ca.key, "pkcs8", DER)}}) == ["secret-key-form"]
    assert judged({"casecret": {"cakeydata": key_octets(rsa.generate_private_key(65537, 2048), "sec1", DER)}}) == [
        "key-mismatch",
        "secret-key-form",
    ]
    assert judged({"casecret": {"cakeydata": stranger}}) == ["key-mismatch"]
    assert judged({"cloudcoresecret": {"cloudcorekeydata": stranger}}) == ["key-mismatch"]
    assert judged({"cloudcoresecret": {"cloudcoredata": another.server("10.0.0.7", key=key).public_bytes(DER)}}) == [
        "secret-other-ca"
    ]
    assert (
        judged({"cloudcoresecret": {"cloudcoredata": ca.server("10.0.0.7", "localhost", key=key).public_bytes(DER)}})
        == []
    )
    assert judged({"tokensecret": {"tokendata": f"{another.pin}.{jwt(4_000_000_000)}".encode()}}) == ["token-other-ca"]
    assert judged({"tokensecret": {"tokendata": f"{ca.pin}.{jwt(1_000_000_000)}".encode()}}) == ["token-expired"]
    assert judged({"tokensecret": {"tokendata": b""}}) == ["secret-field"]
    assert "secret-field" in judged({"casecret": {"cadata": b"garbage"}})


# ------------------------------------------------------------------------------------------------- our own directories


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Path]:
    """The data directory of an authority that ran once and was stopped."""
    root = tmp_path_factory.mktemp("stopped")
    with private_directory() as directory:
        server = Server(directory, EDGEWARD_PASSPHRASE="")
        server.start()
        server.stop()
        subprocess.run(["cp", "-a", f"{directory}/.", root], check=True)
    return Home.at(root / "home"), root / "data"


def test_a_data_directory(stopped: tuple[Home, Path], tmp_path: Path) -> None:
    home, data = stopped

    def ids(path: Path) -> list[str]:
        said = home.run("doctor", "--json", path)
        assert said.status in (0, 1), said
        return [one["id"] for one in said.json["findings"]]

    assert ids(data) == []

    def copy() -> Path:
        made = tmp_path / "copy"
        subprocess.run(["rm", "-rf", made], check=True)
        subprocess.run(["cp", "-a", data, made], check=True)
        return made

    spoilt = copy()
    (spoilt / "edgeward.db").chmod(0o644)
    assert ids(spoilt) == ["key-mode"]
    spoilt = copy()
    (spoilt / "keys").rename(spoilt / "gone")
    assert ids(spoilt) == ["data-incomplete"]
    spoilt = copy()
    for one in (home.path / "config" / "edgeward" / "passphrases").iterdir():
        one.rename(tmp_path / "kept")
        assert ids(spoilt) == ["data-passphrase"]
        (tmp_path / "kept").rename(one)
    spoilt = copy()
    with sqlite3.connect(spoilt / "edgeward.db") as database:
        database.execute("UPDATE audit SET actor = 'nobody' WHERE n = 2")
    database.close()
    assert ids(spoilt) == ["data-audit"]
    spoilt = copy()
    with (spoilt / "edgeward.db").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(40_000))
    for extra in ("edgeward.db-wal", "edgeward.db-shm"):
        (spoilt / extra).unlink(missing_ok=True)
    assert ids(spoilt) == ["data-damaged"]
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert ids(data) == []
    assert {path: path.read_bytes() for path in before} == before, "the doctor changed something"


def test_an_agents_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str], ca: FakeCA, key: Any) -> None:
    home = tmp_path / "agent"
    home.mkdir(mode=0o700)
    write(home / "ca" / "rootCA.crt", ca.certificate.public_bytes(PEM), 0o600)
    write(home / "certs.d" / "0001" / "server.crt", pem(ca.device(key.public_key(), "edge-1")), 0o600)
    write(home / "certs.d" / "0001" / "server.key", key_octets(key))
    (home / "certs").symlink_to("certs.d/0001")
    settings = 'node = "{}"\nhttps = ["cloud:10002"]\nhub = ["cloud:10000"]\n'
    write(home / "agent.toml", settings.format("edge-1").encode())
    assert doctor(capsys, home)[:2] == (0, [])
    write(home / "agent.toml", settings.format("edge-2").encode())
    assert doctor(capsys, home)[1] == ["edge-other-name"]
    write(home / "agent.toml", b"node = ")
    assert doctor(capsys, home)[1] == ["file-unreadable"]


def test_t51_hostile_names_of_files_and_in_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ca: FakeCA, key: Any
) -> None:
    spoilt = pem(
        ca.device(
            key.public_key(),
            "x",
            subject=name("a\x1b[2J\u202eb; reboot", "system:nodes"),
            end=NOW - timedelta(hours=1),
            start=NOW - timedelta(days=2),
        )
    )
    path = write(tmp_path / "a;reboot $(id)\x1b[31m.crt", b"\xef\xbb\xbf" + spoilt, 0o644)
    assert run(["doctor", str(path)]) == 1
    said = capsys.readouterr().out
    assert "\x1b[2J" not in said
    assert "\x1b[31m" not in said
    assert "\u202e" not in said
    _, _, found = doctor(capsys, path)
    for one in found["findings"]:
        for remedy in one["remedies"]:
            assert "reboot" not in remedy["command"] or "'" in remedy["command"]
