"""The toolkit's commands as people call them: what they print, what they write, how they refuse."""

import contextlib
import importlib.util
import json
import os
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeward.pki.formats import pem, pkcs12
from tests.support.cli import run
from tests.support.programs import needs, ran
from tests.tools import seeds

LEAF, MIDDLE, ROOT = (pem.write("CERTIFICATE", each.public_bytes(seeds.DER)) for each in seeds.chain())
KEY = pem.write("PRIVATE KEY", seeds.seeds()["key.der"])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a chain, its key and a password, which is the current one."""
    monkeypatch.chdir(tmp_path)
    for name, octets in {
        "leaf.crt": LEAF,
        "middle.crt": MIDDLE,
        "root.crt": ROOT,
        "leaf.key": KEY,
        "pw": b"secret1\n",
    }.items():
        (tmp_path / name).write_bytes(octets)
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ----------------------------------------------------------------------------------------------------------------
# inspect


def test_inspect_explains_a_certificate(here: Path) -> None:
    done = run("inspect", "leaf.crt")
    assert done.status == 0
    assert "subject       CN=edge-1,O=Example" in done.out
    assert "serverAuth: proves a server to its clients" in done.out
    assert done.err == ""


def test_inspect_reads_standard_input(here: Path) -> None:
    assert "CN=root" in run("inspect", "-", stdin=ROOT).out
    assert "the CA's private key" in run("inspect", "-", stdin=seeds.secret_yaml()).out


def test_inspect_writes_json(here: Path) -> None:
    written = json.loads(run("inspect", "--json", "leaf.crt", "root.crt").out)
    assert [each["input"] for each in written["inputs"]] == ["leaf.crt", "root.crt"]
    assert written["inputs"][1]["self_signed"] is True


def test_inspect_takes_a_directory_apart_and_draws_what_belongs_together(here: Path) -> None:
    done = run("inspect", ".")
    assert done.status == 0
    assert "── leaf.key" in done.out
    assert "── pw" not in done.out
    assert done.out.rstrip().endswith("└─ CN=edge-1,O=Example")


def test_inspect_draws_asn1(here: Path) -> None:
    done = run("inspect", "--asn1", "leaf.crt")
    assert "tbsCertificate" in done.out
    assert "extnValue (subjectAltName)" in done.out


@pytest.mark.parametrize(
    ("name", "octets", "status", "said"),
    [
        ("empty", b"", 65, "it is empty"),
        ("junk", b"hello", 65, "text without a PEM block"),
        ("cut", LEAF[:-50], 65, "has no END line"),
        ("cut.der", seeds.seeds()["certificate.der"][:-5], 65, "5 octets are missing"),
        ("bad.pem", LEAF.replace(b"\nM", b"\n!", 1), 65, "is not base64"),
    ],
)
def test_inspect_refuses_in_one_line(here: Path, name: str, octets: bytes, status: int, said: str) -> None:
    (here / name).write_bytes(octets)
    done = run("inspect", name)
    assert done.status == status
    assert done.err.startswith(f"error: {name}: ")
    assert said in done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 2


def test_a_file_that_is_not_there(here: Path) -> None:
    done = run("inspect", "nowhere.crt")
    assert (done.status, done.err) == (69, "error: nowhere.crt: no such file or directory\n")


def test_a_locked_store_is_no_failure_and_a_wrong_password_is_one(here: Path) -> None:
    run("convert", "leaf.key", "leaf.crt", "x.p12", "--new-password", "@pw")
    locked = run("inspect", "x.p12")
    assert locked.status == 0
    assert "no password was given" in locked.out
    (here / "other").write_text("wrong")
    wrong = run("inspect", "x.p12", "--password", "@other")
    assert wrong.status == 65
    assert wrong.err.startswith("error: x.p12: the password does not open the PKCS#12 store\nhint: ")
    assert run("inspect", "x.p12", "--password", "-", stdin=b"secret1\n").out.count("CN=edge-1") == 1


def test_a_broken_certificate_says_where_to_look(here: Path) -> None:
    data = bytearray(seeds.seeds()["certificate.der"])
    place = data.index(b"\x55\x1d\x11")
    data[place + 7] ^= 0xFF
    (here / "x.der").write_bytes(bytes(data))
    done = run("inspect", "x.der")
    assert done.status == 65
    assert "hint: see where it breaks: edgeward inspect --asn1 x.der" in done.err
    assert run("inspect", "--asn1", "x.der").status == 0


def test_a_secret_on_the_command_line_is_warned_of(here: Path) -> None:
    done = run("key", "new", "x.key", "--password", "literal")
    assert "seen by everybody" in done.err
    assert "literal" not in done.err


@pytest.fixture
def server(here: Path) -> Iterator[int]:
    """A TLS server with the leaf and its issuer."""
    (here / "sent.pem").write_bytes(LEAF + MIDDLE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(here / "sent.pem", here / "leaf.key")
    listener = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
    listener.settimeout(10)

    def serve() -> None:
        try:
            connection, _ = listener.accept()
            connection.close()
        except (OSError, ValueError):
            pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.close()
    thread.join(5)


def test_a_live_server_is_inspected_and_its_name_compared(server: int) -> None:
    done = run("inspect", f"127.0.0.1:{server}")
    assert done.status == 0
    assert "TLSv1.3" in done.out
    assert "CN=middle" in done.out
    assert "clients that connect to 127.0.0.1 refuse it: it is valid for dns:edge-1.example" in done.out


def test_a_live_server_under_its_own_name_fits(server: int) -> None:
    assert "refuse it" not in run("inspect", f"127.0.0.1:{server}", "--name", "edge-1.example").out


def test_a_server_that_is_not_there_is_unavailable() -> None:
    done = run("inspect", "127.0.0.1:1")
    assert done.status == 69
    assert "connection refused" in done.err


# --------------------------------------------------------------------------------------------------------------- key,
# csr


@needs("openssl")
@pytest.mark.parametrize("kind", ["ec:P-256", "rsa:2048", "ed25519", "ed448"])
def test_a_new_key_is_encrypted_and_opens_with_openssl(here: Path, kind: str) -> None:
    done = run("key", "new", "x.key", "--type", kind, "--password", "@pw", "--public", "x.pub")
    assert done.status == 0, done.err
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (here / "x.key").read_bytes()
    assert mode(here / "x.key") == 0o600
    public = ran("openssl", "pkey", "-in", "x.key", "-passin", "file:pw", "-pubout")
    assert public == (here / "x.pub").read_bytes()


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_t47_a_key_is_its_owners_alone_whatever_the_umask(here: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        assert run("key", "new", "x.key", "--no-password").status == 0
    finally:
        os.umask(before)
    assert mode(here / "x.key") == 0o600


def test_t47_links_and_files_that_are_there_are_not_written_to(here: Path) -> None:
    (here / "target").write_text("precious")
    (here / "link.key").symlink_to("target")
    os.mkfifo(here / "pipe.key")
    for name in ("link.key", "pipe.key"):
        assert run("key", "new", name, "--no-password", "--force").status == 2
    assert run("key", "new", "target", "--no-password").status == 2
    assert (here / "target").read_text() == "precious"
    assert run("key", "new", "target", "--no-password", "--force").status == 0
    assert sorted(path.name for path in here.iterdir() if path.name.startswith(".")) == []


def test_without_a_password_and_a_terminal_no_key_is_made(here: Path) -> None:
    done = run("key", "new", "x.key")
    assert done.status == 65
    assert "no password was given" in done.err
    assert not (here / "x.key").exists()


@needs("openssl")
def test_a_key_changes_its_form_and_its_password(here: Path) -> None:
    assert run("key", "convert", "leaf.key", "e.key", "--new-password", "@pw").status == 0
    assert (
        run("key", "convert", "e.key", "sec1.key", "--password", "@pw", "--no-password", "--form", "sec1").status == 0
    )
    assert (here / "sec1.key").read_bytes().startswith(b"-----BEGIN EC PRIVATE KEY")
    assert run("key", "convert", "sec1.key", "back.key", "--no-password").status == 0
    assert (here / "back.key").read_bytes() == KEY
    assert run("key", "convert", "leaf.key", "s.key", "--new-password", "@pw", "--scrypt", "--der").status == 0
    assert run("key", "match", "s.key", "leaf.key", "--password", "@pw").status == 0
    assert run("key", "convert", "leaf.key", "p.key", "--no-password", "--form", "pkcs1").status == 2
    ran("openssl", "ec", "-in", "sec1.key", "-noout")


def test_key_match_tells_what_belongs_together(here: Path) -> None:
    run("csr", "new", "x.csr", "--key", "leaf.key", "--subject", "CN=x")
    assert run("key", "match", "leaf.key", "leaf.crt", "x.csr").status == 0
    done = run("key", "match", "leaf.key", "root.crt")
    assert done.status == 1
    assert "1 of 2 do not belong to leaf.key" in done.err


@needs("openssl")
def test_a_request_is_made_with_the_common_name_as_a_name(here: Path) -> None:
    done = run(
        "csr",
        "new",
        "x.csr",
        "--new-key",
        "x.key",
        "--no-password",
        "--subject",
        "/O=E/CN=web.example",
        "--san",
        "192.0.2.1",
    )
    assert done.status == 0, done.err
    assert "web.example is asked for as an alternative name too" in done.err
    text = ran("openssl", "req", "-in", "x.csr", "-noout", "-text", "-verify").decode()
    assert "DNS:web.example, IP Address:192.0.2.1" in text
    assert run("csr", "verify", "x.csr").status == 0
    run("csr", "new", "y.csr", "--key", "x.key", "--subject", "CN=web.example", "--no-cn-san")
    assert "Alternative" not in ran("openssl", "req", "-in", "y.csr", "-noout", "-text").decode()


def test_csr_verify_finds_a_changed_request(here: Path) -> None:
    data = bytearray(seeds.seeds()["request.der"])
    data[data.index(b"edge-1")] ^= 1
    (here / "x.csr").write_bytes(bytes(data))
    done = run("csr", "verify", "x.csr")
    assert done.status == 1
    assert "does not fit" in done.err
    assert run("csr", "verify", "leaf.crt").status == 65


# -------------------------------------------------------------------------------------------- convert, bundle, split,
# diff


@needs("openssl")
@pytest.mark.parametrize("form", ["pem", "der", "p12", "jks", "p7b"])
def test_everything_converts_there_and_back(here: Path, form: str) -> None:
    if form == "der":
        assert run("convert", "leaf.crt", "x.der").status == 0
        assert run("convert", "x.der", "y.pem").status == 0
        assert (here / "y.pem").read_bytes() == LEAF
        return
    sources = ["root.crt", "leaf.crt", "middle.crt"] + (["leaf.key"] if form != "p7b" else [])
    protect = [] if form == "p7b" else ["--no-password"] if form == "pem" else ["--new-password", "@pw"]
    done = run("convert", *sources, f"x.{form}", *protect)
    assert done.status == 0, done.err
    back = run("convert", f"x.{form}", "y.pem", "--password", "@pw", *([] if form == "p7b" else ["--no-password"]))
    assert back.status == 0, back.err
    expected = LEAF + MIDDLE + ROOT
    assert (here / "y.pem").read_bytes() == (expected if form == "p7b" else KEY + expected)
    assert mode(here / f"x.{form}") == (0o644 & ~_umask() if form == "p7b" else 0o600)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@needs("keytool")
def test_a_trust_store_for_java(here: Path) -> None:
    run("convert", "root.crt", "trust.p12", "--new-password", "@pw", "--alias", "root")
    text = ran("keytool", "-list", "-keystore", "trust.p12", "-storepass", "secret1").decode()
    assert "root, " in text
    assert "trustedCertEntry" in text


@needs("node")
def test_node_takes_our_store_and_agrees_on_the_certificate(here: Path) -> None:
    run("convert", "leaf.key", "leaf.crt", "middle.crt", "x.p12", "--new-password", "@pw")
    script = (
        "const {X509Certificate}=require('crypto'),tls=require('tls'),fs=require('fs');"
        "tls.createSecureContext({pfx:fs.readFileSync('x.p12'),passphrase:'secret1'});"
        "console.log(new X509Certificate(fs.readFileSync('leaf.crt')).fingerprint256)"
    )
    theirs = ran("node", "-e", script).decode().strip()
    assert run("fingerprint", "leaf.crt", "--colons").out.split()[0] == theirs


@needs("go")
def test_go_reads_our_key_and_chain_and_checks_our_request(here: Path) -> None:
    run("convert", "leaf.key", "leaf.crt", "middle.crt", "pair.pem", "--no-password")
    run("csr", "new", "x.csr", "--key", "leaf.key", "--subject", "CN=web.example", "--der")
    (here / "main.go").write_text(
        'package main\nimport ("crypto/tls";"crypto/x509";"fmt";"os")\nfunc main(){\n'
        'if _,e:=tls.LoadX509KeyPair("pair.pem","pair.pem");e!=nil{panic(e)}\n'
        'd,_:=os.ReadFile("x.csr");r,e:=x509.ParseCertificateRequest(d);if e!=nil{panic(e)}\n'
        "if e:=r.CheckSignature();e!=nil{panic(e)}\nfmt.Println(r.DNSNames)}\n"
    )
    environment = os.environ | {"GOCACHE": str(here / "cache"), "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
    done = subprocess.run(["go", "run", "main.go"], capture_output=True, env=environment, check=False)
    assert done.stdout.strip() == b"[web.example]", done.stderr.decode()


def test_a_bundle_is_put_in_order(here: Path) -> None:
    done = run("bundle", "root.crt", "leaf.crt", "root.crt", "middle.crt", "chain.pem", "--no-root")
    assert done.status == 0, done.err
    assert (here / "chain.pem").read_bytes() == LEAF + MIDDLE
    assert run("bundle", "leaf.crt", "-", "--leaf", "leaf.crt").octets == LEAF
    assert "the issuer CN=middle,O=Example is not in the input" in run("bundle", "leaf.crt", "-").err


def test_split_writes_each_thing_and_never_a_path_of_the_input(here: Path) -> None:
    hostile = seeds.certificate("../../etc/passwd")
    (here / "x.pem").write_bytes(LEAF + KEY + pem.write("CERTIFICATE", hostile.public_bytes(seeds.DER)))
    assert run("split", "x.pem", "out", "--no-password").status == 0
    assert sorted(path.name for path in (here / "out").iterdir()) == [
        "01-edge-1.crt",
        "02-private-key.key",
        "03-etc-passwd.crt",
    ]
    assert mode(here / "out" / "02-private-key.key") == 0o600


def test_fingerprints_are_the_same_for_every_form(here: Path) -> None:
    run("convert", "leaf.crt", "leaf.der")
    of_certificate = {line.split()[0] for line in run("fingerprint", "leaf.crt", "leaf.der").out.splitlines()}
    of_key = {line.split()[0] for line in run("fingerprint", "--key", "leaf.crt", "leaf.key").out.splitlines()}
    assert len(of_certificate) == len(of_key) == 1


def test_diff_says_what_a_renewal_changed(here: Path) -> None:
    (here / "new.crt").write_bytes(
        pem.write(
            "CERTIFICATE",
            seeds.certificate("edge-1", "middle", number=9, issuer_number=8, days=700).public_bytes(seeds.DER),
        )
    )
    assert run("diff", "leaf.crt", "leaf.crt").status == 0
    done = run("diff", "leaf.crt", "new.crt")
    assert done.status == 1
    assert "- 2027-11-23T12:00:00Z" in done.out
    assert "subjectAltName" not in done.out
    assert json.loads(run("diff", "leaf.crt", "new.crt", "--json").out)["same"] is False


def test_what_a_format_cannot_hold_is_refused(here: Path) -> None:
    assert "DER holds one thing" in run("convert", "leaf.crt", "root.crt", "x.der").err
    assert "PKCS#7 holds certificates" in run("convert", "leaf.crt", "leaf.key", "x.p7b", "--no-password").err
    assert "does not say in what format" in run("convert", "leaf.crt", "x.unknown").err
    assert not list(here.glob("x.*"))


def test_two_files_with_a_bad_one_leave_nothing_half_written(here: Path) -> None:
    (here / "bad").write_bytes(LEAF[:-50])
    assert run("convert", "leaf.crt", "bad", "x.pem").status == 65
    assert not (here / "x.pem").exists()


def test_a_store_keeps_its_names(here: Path) -> None:
    run("convert", "leaf.key", "leaf.crt", "x.p12", "--alias", "Gerät 7", "--new-password", "@pw")
    store = pkcs12.read((here / "x.p12").read_bytes(), "secret1")
    assert {bag.name for bag in store.bags} == {"Gerät 7"}


# ----------------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize(
    "command",
    [
        "inspect",
        "key",
        "key new",
        "key convert",
        "key match",
        "csr new",
        "csr verify",
        "convert",
        "bundle",
        "split",
        "fingerprint",
        "diff",
    ],
)
def test_every_command_explains_itself(command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.status == 0
    assert "Usage: edgeward" in done.out
    assert run(*command.split(), "--no-such-option").status == 2


LIGHT = {
    "edgeward", "edgeward.__main__", "edgeward.errors",
    "edgeward.cli", "edgeward.cli.address", "edgeward.cli.inspect", "edgeward.cli.reading",
    "edgeward.pki", "edgeward.pki.asn1", "edgeward.pki.der", "edgeward.pki.oids", "edgeward.pki.parse", "edgeward.pki.severity",
    "edgeward.pki.formats", "edgeward.pki.formats.detect", "edgeward.pki.formats.item", "edgeward.pki.formats.pem",
    "edgeward.pki.formats.shape",
    "edgeward.pki.inspect", "edgeward.pki.inspect.certificate", "edgeward.pki.inspect.certificate_warnings",
    "edgeward.pki.inspect.describe", "edgeward.pki.inspect.extensions", "edgeward.pki.inspect.names", "edgeward.pki.inspect.private",
    "edgeward.pki.inspect.publickey", "edgeward.pki.inspect.report", "edgeward.pki.inspect.text",
}  # fmt: skip
"""What looking at one certificate may load of ours: a module more is a millisecond more, for everybody. Decision 7."""

LIGHT_LIBRARIES = {"click", "cryptography", "_cffi_backend"}


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_looking_at_a_certificate_loads_what_a_certificate_needs(here: Path, form: tuple[str, ...]) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-X", "importtime", "-m", "edgeward", "inspect", "leaf.crt", *form]
    done = subprocess.run(command, capture_output=True, check=True, env=environment, text=True)
    start = done.stderr.index("| edgeward\n")  # what the interpreter loads before us is its own affair
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr[start:].splitlines()}
    assert {name for name in loaded if name.startswith("edgeward")} <= LIGHT
    ours = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert {name for name in ours if importlib.util.find_spec(name)} <= LIGHT_LIBRARIES | {"edgeward"}
    heavy = {"asyncio", "dataclasses", "logging", "multiprocessing", "shutil", "ssl", "subprocess", "tempfile"}
    assert not loaded & heavy


def test_the_program_ends_with_everything_written_and_the_exit_status(here: Path) -> None:
    """It ends without taking itself apart: what waits for the end gets it, and nothing is lost in a buffer."""
    script = (
        "import atexit, sys; from edgeward.__main__ import leave; atexit.register(sys.stdout.write, 'last');"
        "sys.stdout.write('first, '); leave(65)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (65, b"first, last")
    thread = script.replace("leave(65)", "threading.Timer(0.05, sys.stdout.write, ['thread, ']).start(); leave(1)")
    done = subprocess.run(
        [sys.executable, "-c", f"import threading; {thread}"], capture_output=True, check=False, env=environment
    )
    assert (done.returncode, done.stdout) == (1, b"first, thread, last")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_standard_stream_that_is_closed_is_no_bug_of_ours(here: Path, closed: str) -> None:
    for file, status in (("leaf.crt", 0), ("nothing", 69)):
        command = f"exec {sys.executable} -m edgeward inspect {file} {closed}"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(["sh", "-c", command], capture_output=True, check=False, env=environment)
        assert done.returncode == status, done.stderr
        assert b"internal error" not in done.stderr


# ------------------------------------------------------------------------------------------------ what people type first


def test_verify_opens_containers(here: Path) -> None:
    (here / "all.pem").write_bytes((here / "leaf.crt").read_bytes() + b"".join(
        pem.write("CERTIFICATE", each.public_bytes(seeds.DER)) for each in seeds.chain()[1:]
    ))  # fmt: skip
    (here / "root.crt").write_bytes(pem.write("CERTIFICATE", seeds.chain()[2].public_bytes(seeds.DER)))
    ask = ("--ca", "root.crt", "--at", "2026-11-23", "--name", "edge-1.example")
    for out in ("x.p12", "x.jks", "x.p7b"):
        sources = ("all.pem",) if out == "x.p7b" else ("leaf.key", "all.pem")
        assert run("convert", *sources, out, "--new-password", "@pw").status == 0
        done = run("verify", out, "--password", "@pw", *ask)
        assert done.status == 0, f"{out}: {done.out}{done.err}"
    locked = run("verify", "x.p12", *ask)
    assert (locked.status, "no password was given" in locked.err) == (65, True)


def test_verify_looks_at_a_live_server_and_says_why_a_client_refuses_it(here: Path, server: int) -> None:
    (here / "root.crt").write_bytes(pem.write("CERTIFICATE", seeds.chain()[2].public_bytes(seeds.DER)))
    ask = ("--ca", "root.crt", "--at", "2026-11-23", "--name")
    done = run("verify", f"127.0.0.1:{server}", *ask, "www.example")
    assert done.status == 1
    assert "✗ CN=edge-1,O=Example: it is not for www.example: it has DNS:edge-1.example" in done.out
    assert len(done.out.split("✗")) == 2, "nothing else is wrong with it"
    assert run("verify", "127.0.0.1:1", *ask, "www.example").status == 69


@pytest.mark.parametrize(("more", "status"), [((), 1), (("--purpose", "any"), 0)])
def test_verify_wants_a_live_server_to_be_who_was_dialled(
    here: Path, server: int, more: tuple[str, ...], status: int
) -> None:
    (here / "root.crt").write_bytes(pem.write("CERTIFICATE", seeds.chain()[2].public_bytes(seeds.DER)))
    done = run("verify", f"127.0.0.1:{server}", "--ca", "root.crt", "--at", "2026-11-23", *more)
    assert done.status == status, done.out
    assert ("it is not for 127.0.0.1" in done.out) == bool(status)
    assert ("valid for server authentication" in done.out) == bool(status)


def test_verify_asks_a_live_server_for_the_name_that_is_wanted(here: Path) -> None:
    (here / "sent.pem").write_bytes(LEAF + MIDDLE)
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(here / "sent.pem", here / "leaf.key")
    context.sni_callback = lambda _connection, name, _context: asked.append(name)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True):
                pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        run("verify", f"127.0.0.1:{listener.getsockname()[1]}", "--name", "edge-1.example")
        thread.join(10)
    assert asked == ["edge-1.example"]


def test_fingerprints_of_what_a_live_server_sends(server: int) -> None:
    assert run("fingerprint", f"127.0.0.1:{server}").out.count("certificate") == 2


def test_two_private_keys_are_said_to_be_too_many(here: Path) -> None:
    run("key", "new", "other.key", "--no-password")
    (here / "two.pem").write_bytes((here / "leaf.key").read_bytes() + (here / "other.key").read_bytes())
    for words in (
        ("convert", "two.pem", "two.p12", "--new-password", "@pw"),
        ("key", "match", "two.pem", "leaf.crt"),
        ("csr", "new", "x.csr", "--key", "two.pem", "--subject", "CN=x"),
    ):
        done = run(*words)
        assert done.status == 65, words
        assert "hint: " in done.err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("x509", "-in", "x"), "edgeward inspect FILE"),
        (("ca", "sign"), "edgeward cert sign CSR --ca-dir DIR"),
        (("cert", "revoke"), "edgeward ca revoke FILE --ca-dir DIR"),
        (("ca", "nww"), "edgeward ca new --help"),
        (("verfiy",), "edgeward verify --help"),
        (("ca", "quux"), "edgeward ca --help"),
        (("quux",), "edgeward --help"),
    ],
)
def test_a_command_that_does_not_exist_is_answered_with_the_one_that_does(typed: tuple[str, ...], meant: str) -> None:
    done = run(*typed)
    assert done.status == 2
    assert f"hint: {meant}" in done.err or meant in done.err
    assert "no command" in done.err


def test_a_request_says_what_it_asks_for(here: Path) -> None:
    done = run("csr", "new", "web.csr", "--new-key", "web.key", "--no-password", "--subject", "CN=web.example")
    assert "web.csr: request for CN=web.example, web.example, with its new key in web.key" in done.err


def test_a_token_is_no_asn1_and_that_is_said(here: Path) -> None:
    (here / "token.txt").write_text(seeds.TOKEN)
    done = run("inspect", "--asn1", "token.txt")
    assert done.status == 65
    assert "token.txt holds no ASN.1, but 1 KubeEdge join token" in done.err
    assert seeds.TOKEN[70:] not in done.err
