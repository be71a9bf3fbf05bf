"""Kits: the files that are in them, who may read those, and mutual TLS made of nothing else."""

import contextlib
import shutil
import socket
import stat
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from edgeward import app_offline
from tests.cli.test_offline_ca import CHEAP, good, here, made, refused, request, rows
from tests.support.cli import run
from tests.support.programs import needs, ran
from tests.support.server import server

__all__ = ["here", "made"]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(scope="module")
def kits(made: Path) -> Path:
    """A platform and a device of one intermediate CA, a device of a stranger's CA."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app_offline, "FileKeys", CHEAP)
        patch.setenv("EDGEWARD_PASSPHRASE", "correct horse battery")
        patch.chdir(made)
        Path("pw").write_text("a-long-password\n")
        good(run("ca", "new", "--ca-dir", "plain", "--name", "Plain CA", "--intermediate-of", "root"))
        good(
            run("kit", "backend", "--ca-dir", "plain", "--name", "localhost", "--san", "ip:127.0.0.1",
                "--password", "@pw", "--out", "cloud")
        )  # fmt: skip
        good(run("kit", "device", "--ca-dir", "plain", "--node", "edge-1", "--out", "edge"))
        good(run("ca", "new", "--ca-dir", "stranger", "--name", "Stranger"))
        good(run("kit", "device", "--ca-dir", "stranger", "--node", "edge-1", "--out", "intruder"))
    return made


@contextlib.contextmanager
def openssl_server(place: Path) -> Iterator[int]:
    """`openssl s_server` with the platform's kit, which asks for a client certificate."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    cloud = place / "cloud"
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-www", "-Verify", "3", "-verify_return_error", "-CAfile",
               cloud / "ca.crt", "-cert", cloud / "server.crt", "-cert_chain", cloud / "server.crt",
               "-key", cloud / "server.key"]  # fmt: skip
    with subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.02)
            yield port
        finally:
            server.kill()


def curl(place: Path, kit: str, port: int, host: str = "localhost", **others: str) -> int:
    """The exit status of curl with a device's kit."""
    ca = others.get("ca", f"{kit}/ca.crt")
    client = [] if others.get("client") == "none" else ["--cert", f"{kit}/device.crt", "--key", f"{kit}/device.key"]
    command = ["curl", "-sS", "-m", "10", "-o", "/dev/null", "--noproxy", "*", "--cacert", ca, *client]
    url = f"https://{host}:{port}/"
    return subprocess.run(
        [*command, "--resolve", f"{host}:{port}:127.0.0.1", url], cwd=place, capture_output=True, check=False
    ).returncode


@needs("openssl")
@needs("curl")
def test_mutual_tls_out_of_two_kits(kits: Path) -> None:
    with openssl_server(kits) as port:
        assert curl(kits, "edge", port) == 0
        assert curl(kits, "edge", port, host="127.0.0.1") == 0
        assert curl(kits, "edge", port, host="wrong.example") == 60, "the name is not in the certificate"
        assert curl(kits, "edge", port, ca="intruder/ca.crt") == 60, "another CA"
        assert curl(kits, "intruder", port, ca="edge/ca.crt") != 0, "a device of another CA"
        assert curl(kits, "edge", port, client="none") != 0, "no client certificate"


@needs("openssl")
def test_openssls_client_says_the_chain_holds(kits: Path) -> None:
    with openssl_server(kits) as port:
        said = ran("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", "-verify_hostname", "localhost",
                   "-CAfile", kits / "edge/ca.crt", "-cert", kits / "edge/device.crt", "-key", kits / "edge/device.key",
                   "-verify_return_error", stdin=b"GET / HTTP/1.0\r\n\r\n").decode()  # fmt: skip
    assert "Verify return code: 0 (ok)" in said


def test_a_device_gets_exactly_three_files(kits: Path) -> None:
    edge = kits / "edge"
    assert sorted(path.name for path in edge.iterdir()) == ["ca.crt", "device.crt", "device.key"]
    assert (mode(edge), mode(edge / "device.key"), mode(edge / "device.crt")) == (0o700, 0o600, 0o644)
    good(run("key", "match", edge / "device.key", edge / "device.crt"))
    good(
        run(
            "verify",
            edge / "device.crt",
            "--chain",
            edge / "ca.crt",
            "--ca",
            kits / "root/ca.crt",
            "--purpose",
            "client",
        )
    )


@needs("openssl")
def test_a_platform_gets_exactly_four_files_and_the_ca_key_is_encrypted(kits: Path) -> None:
    cloud = kits / "cloud"
    assert sorted(path.name for path in cloud.iterdir()) == ["ca.crt", "ca.key", "server.crt", "server.key"]
    assert mode(cloud / "ca.key") == mode(cloud / "server.key") == 0o600
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (cloud / "ca.key").read_bytes()
    ran("openssl", "pkey", "-in", cloud / "ca.key", "-passin", f"file:{kits / 'pw'}", "-noout")
    good(run("key", "match", cloud / "ca.key", cloud / "ca.crt", "--password", f"@{kits / 'pw'}"))
    assert "ca.key-exported" in {record.action for record in rows(kits / "plain")[1]}


def test_it_says_which_files_are_secret(here: Path) -> None:
    said = good(run("kit", "device", "--ca-dir", "root", "--node", "edge-2", "--out", "kit")).out
    assert "SECRET  kit/device.key" in said
    assert "public  kit/device.crt" in said
    assert "public  kit/ca.crt" in said
    assert "PRIVATE KEY" not in said


def test_a_vendors_request_gets_a_note_and_no_key(here: Path) -> None:
    (here / "v.csr").write_bytes(request("edge-3", "web.example"))
    done = good(run("kit", "device", "--ca-dir", "root", "--csr", "v.csr", "--out", "kit"))
    assert sorted(path.name for path in (here / "kit").iterdir()) == ["PUT-DEVICE-KEY-HERE.txt", "ca.crt", "device.crt"]
    assert "dropped: the request asks for subject alternative name web.example" in done.err
    assert "device.key" in (here / "kit/PUT-DEVICE-KEY-HERE.txt").read_text()
    good(run("key", "match", "v.csr", "kit/device.crt"))


def test_a_zip_keeps_the_modes(here: Path) -> None:
    good(run("kit", "device", "--ca-dir", "site", "--node", "edge-4", "--out", "kit.zip"))
    assert mode(here / "kit.zip") == 0o600
    with zipfile.ZipFile(here / "kit.zip") as archive:
        modes = {one.filename: (one.external_attr >> 16) & 0o777 for one in archive.infolist()}
        assert modes == {"ca.crt": 0o644, "device.crt": 0o644, "device.key": 0o600}
        assert len(x509.load_pem_x509_certificates(archive.read("ca.crt"))) == 2


def test_a_pkcs12_is_read_by_others(here: Path) -> None:
    (here / "pw").write_text("a-long-password\n")
    good(run("kit", "device", "--ca-dir", "root", "--node", "edge-5", "--out", "kit.p12", "--password", "@pw"))
    key, leaf, cas = pkcs12.load_key_and_certificates((here / "kit.p12").read_bytes(), b"a-long-password")
    assert key is not None
    assert leaf is not None
    assert "edge-5" in leaf.subject.rfc4514_string()
    assert [ca.subject.rfc4514_string() for ca in cas] == ["CN=Test Root"]
    if shutil.which("keytool"):
        assert b"PrivateKeyEntry" in ran("keytool", "-list", "-keystore", "kit.p12", "-storepass", "a-long-password")


def test_bad_wishes_are_refused_before_anything_is_signed(here: Path) -> None:
    before = rows(here / "root")[0]
    (here / "v.csr").write_bytes(request("edge-6"))
    (here / "kit").mkdir()
    (here / "kit/ca.crt").write_bytes(b"mine")
    device = ("kit", "device", "--ca-dir", "root")
    refused(run(*device, "--node", "edge-6", "--out", "kit"), 2, "exists already")
    refused(run(*device, "--out", "new"), 2, "for whom")
    refused(run(*device, "--csr", "v.csr", "--out", "kit.p12"), 2, "the vendor has")
    refused(run(*device, "--node", "edge-6", "--out", "kit.p12"), 2, "needs a password")
    refused(run(*device, "--node", "../etc", "--out", "new"), 65, "not a node name")
    refused(run("kit", "backend", "--ca-dir", "root", "--password", "@v.csr", "--out", "new"), 2, "what clients dial")
    refused(run("kit", "device", "--data", "nowhere", "--node", "edge-6", "--out", "new"), 69, "no edgeward is running")
    assert (here / "kit/ca.crt").read_bytes() == b"mine"
    assert rows(here / "root")[0] == before
    assert not (here / "new").exists()


def test_the_running_authority_makes_kits_too_and_is_no_offline_ca(tmp_path: Path) -> None:
    (tmp_path / "v.csr").write_bytes(request("edge-7"))
    with server() as authority:
        for arguments in (("--node", "edge-1", "--out", "kit"), ("--csr", "v.csr", "--out", "vendor.zip")):
            done = authority.home.run("kit", "device", "--data", authority.data, *arguments, cwd=tmp_path)
            assert done.status == 0, done.err
        assert sorted(path.name for path in (tmp_path / "kit").iterdir()) == ["ca.crt", "device.crt", "device.key"]
        verified = ("verify", "kit/device.crt", "--ca", "kit/ca.crt", "--purpose", "client")
        assert authority.home.run(*verified, cwd=tmp_path).status == 0
        assert {"edge-1", "edge-7"} <= authority.nodes().keys()
        sign = ("cert", "sign", "v.csr", "--ca-dir", authority.data)
        running = authority.home.run(*sign, cwd=tmp_path)
        assert running.status == 69
        assert "another edgeward is working in" in running.err
        authority.stop()
        stopped = authority.home.run(*sign, cwd=tmp_path)
        assert stopped.status == 2
        assert "is the data directory of an authority" in stopped.err
        assert (
            authority.home.run(
                "kit", "device", "--data", authority.data, "--node", "x", "--out", "y", cwd=tmp_path
            ).status
            == 69
        )
