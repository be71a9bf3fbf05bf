"""The files that `edgeward kit` lays out, in programs that are not ours: nginx, mosquitto, and the article's server and client in Go.

Each is asked the same: a device of the CA comes in; one without a certificate, one of another CA and a revoked one do not; a device
refuses a platform with another name or of another CA.
"""

import functools
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeward import app_offline
from edgeward.keys.file import FileKeys
from tests.interop.programs import announcing, free_port, listening, ran
from tests.support.cli import run
from tests.support.programs import needs

HERE = Path(__file__).parent
CONNECT = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04edge"
"""MQTT 3.1.1: CONNECT of a client called `edge`, a clean session."""


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA below a root, with the kits of a platform and of two devices, one of which is revoked; and a device of a stranger's CA."""
    place = tmp_path_factory.mktemp("kits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app_offline, "FileKeys", functools.partial(FileKeys, scrypt_n=2**14))
        patch.setenv("EDGEWARD_PASSPHRASE", "correct horse battery")
        patch.chdir(place)
        (place / "pw").write_text("a-long-password\n")
        for words in (
            "ca new --ca-dir root --name Root",
            "ca new --ca-dir devices --name Devices --intermediate-of root",
            "kit backend --ca-dir devices --name localhost --san ip:127.0.0.1 --password @pw --out cloud",
            "kit device --ca-dir devices --node edge-1 --out edge-1",
            "kit device --ca-dir devices --node edge-2 --out edge-2",
            "ca revoke edge-2 --ca-dir devices --reason keyCompromise",
            "ca crl --ca-dir devices",
            "ca crl --ca-dir root",
            "ca new --ca-dir strange --name Strange",
            "kit device --ca-dir strange --node edge-1 --out stranger",
        ):
            done = run(*words.split())
            assert done.status == 0, f"{words}: {done.err}"
        (place / "all.crl").write_bytes((place / "devices/ca.crl").read_bytes() + (place / "root/ca.crl").read_bytes())
    return place


def context(kits: Path, device: str | None, ca: str = "edge-1") -> ssl.SSLContext:
    """A client's, with the files of a kit and nothing else."""
    made = ssl.create_default_context(cafile=str(kits / ca / "ca.crt"))
    if device is not None:
        made.load_cert_chain(kits / device / "device.crt", kits / device / "device.key")
    return made


def spoken(port: int, tls: ssl.SSLContext, said: bytes, name: str = "localhost") -> bytes:
    """What a server answers; nothing when it refuses, during the handshake (TLS 1.2) or after it (1.3)."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        try:
            with tls.wrap_socket(plain, server_hostname=name) as connection:
                connection.sendall(said)
                return connection.recv(4096)
        except ssl.SSLCertVerificationError:
            raise
        except (ssl.SSLError, ConnectionError):
            return b""


def asked(kits: Path, port: int, said: bytes, welcome: Callable[[bytes], bool]) -> None:
    """The questions of this file, put to a server with the files of the platform's kit and the revocation lists."""
    assert welcome(spoken(port, context(kits, "edge-1"), said))
    assert welcome(spoken(port, context(kits, "edge-1"), said, "127.0.0.1"))
    for device in (None, "stranger", "edge-2"):
        assert not welcome(spoken(port, context(kits, device), said)), device
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        spoken(port, context(kits, "edge-1"), said, "other.example")
    with pytest.raises(ssl.SSLCertVerificationError, match=r"self-signed certificate|unable to get local issuer"):
        spoken(port, context(kits, "edge-1", ca="stranger"), said)


@needs("nginx")
def test_nginx_with_a_platform_kit(kits: Path, tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path {tmp_path}; proxy_temp_path {tmp_path}; fastcgi_temp_path {tmp_path};
            uwsgi_temp_path {tmp_path}; scgi_temp_path {tmp_path};
            server {{
                listen 127.0.0.1:{(port := free_port())} ssl;
                ssl_certificate {kits}/cloud/server.crt; ssl_certificate_key {kits}/cloud/server.key;
                ssl_client_certificate {kits}/cloud/ca.crt; ssl_verify_client on; ssl_verify_depth 2; ssl_crl {kits}/all.crl;
                location / {{ return 200 "hello $ssl_client_s_dn\\n"; }}
            }}
        }}
    """)
    nginx = shutil.which("nginx")
    with listening((nginx, "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-e", tmp_path / "error.log"), port):
        get = b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"
        asked(kits, port, get, lambda answer: b"hello CN=system:node:edge-1,O=system:nodes" in answer)


@needs("mosquitto")
def test_mosquitto_with_a_platform_kit(kits: Path, tmp_path: Path) -> None:
    (tmp_path / "mosquitto.conf").write_text(f"""
listener {(port := free_port())} 127.0.0.1
cafile {kits}/cloud/ca.crt
certfile {kits}/cloud/server.crt
keyfile {kits}/cloud/server.key
crlfile {kits}/all.crl
require_certificate true
use_identity_as_username true
user root
""")
    with listening((shutil.which("mosquitto"), "-c", tmp_path / "mosquitto.conf"), port):
        asked(kits, port, CONNECT, lambda answer: answer == b"\x20\x02\x00\x00")


@needs("go")
@needs("openssl")
def test_the_article_s_server_and_client_in_go_with_our_files_and_with_openssl_s(kits: Path, tmp_path: Path) -> None:
    """With our kits, and with the files that the article makes: version 1 certificates whose one name is a common name. Those Go has
    refused as a server's since 1.15, which is why a kit has alternative names."""
    program = tmp_path / "mutual"
    built = ran("go", "build", "-o", program, ".", cwd=HERE / "go")
    assert built.status == 0, built.err
    cloud, edge, strange = kits / "cloud", kits / "edge-1", kits / "stranger"
    pair = (edge / "device.crt", edge / "device.key")
    with announcing(program, "serve", cloud / "ca.crt", cloud / "server.crt", cloud / "server.key") as port:
        dial = functools.partial(ran, program, "dial")
        good = dial(f"127.0.0.1:{port}", edge / "ca.crt", *pair)
        assert (good.status, good.out) == (0, "hello system:node:edge-1\n"), good.err
        assert "unknown authority" in dial(f"127.0.0.1:{port}", strange / "ca.crt", *pair).err
        assert dial(f"127.0.0.1:{port}", edge / "ca.crt", "", "").status == 1
        assert dial(f"127.0.0.1:{port}", edge / "ca.crt", strange / "device.crt", strange / "device.key").status == 1

    for line in (
        "openssl genrsa -out ca.key 2048",
        "openssl req -x509 -new -nodes -key ca.key -days 5000 -out ca.crt -subj /CN=fridayhub.cn",
        "openssl genrsa -out server.key 2048",
        "openssl req -new -key server.key -subj /CN=localhost -out server.csr",
        "openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 5000",
        "openssl genrsa -out client.key 2048",
        "openssl req -new -key client.key -subj /CN=localhost -out client.csr",
        "openssl x509 -req -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out client.crt -days 5000",
    ):
        subprocess.run(line.split(), cwd=tmp_path, check=True, capture_output=True)
    for leaf in ("server.crt", "client.crt"):
        done = run("verify", str(tmp_path / leaf), "--ca", str(tmp_path / "ca.crt"))
        assert done.status == 0, done.out
    with announcing(program, "serve", *(tmp_path / name for name in ("ca.crt", "server.crt", "server.key"))) as port:
        theirs = ran(
            program, "dial", f"localhost:{port}", *(tmp_path / n for n in ("ca.crt", "client.crt", "client.key"))
        )
        assert "legacy Common Name field" in theirs.err
        ours = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        ours.check_hostname = False
        ours.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
        assert spoken(port, ours, b"") == b"hello localhost\n"
    said = run("inspect", str(tmp_path / "server.crt")).out
    assert "version 1 has no extensions, so no names for a server" in said
