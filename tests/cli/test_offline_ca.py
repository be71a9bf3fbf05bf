"""Offline CAs: made, signing one request or hundreds, cross-signing; what openssl and our own verification say of the results."""

import asyncio
import contextlib
import functools
import itertools
import json
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgeward import app_offline
from edgeward.cli import bench, signing, workers
from edgeward.errors import Unavailable
from edgeward.keys.file import FileKeys
from edgeward.model import audit
from edgeward.model.authority import CertificateState
from edgeward.stores.sqlite import open_store
from tests.support.cli import Ran, run
from tests.support.programs import needs, ran

KEY = ec.generate_private_key(ec.SECP256R1())


CHEAP = functools.partial(FileKeys, scrypt_n=2**14)
"""Keys that open in a twentieth of the time: these tests open hundreds."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root and an intermediate with name constraints; tests work in copies, because making keys under scrypt takes a while."""
    place = tmp_path_factory.mktemp("offline")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app_offline, "FileKeys", CHEAP)
        patch.setenv("EDGEWARD_PASSPHRASE", "correct horse battery")
        patch.chdir(place)
        good(run("ca", "new", "--ca-dir", "root", "--name", "Test Root"))
        site = ("--permit", "dns:site.example", "--permit", "ip:10.0.0.0/8", "--exclude", "dns:secret.site.example")
        good(run("ca", "new", "--ca-dir", "site", "--name", "Site CA", "--intermediate-of", "root", *site))
    return place


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(app_offline, "FileKeys", CHEAP)
    monkeypatch.setenv("EDGEWARD_PASSPHRASE", "correct horse battery")
    shutil.copytree(made, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path / "w"


def good(done: Ran) -> Ran:
    assert done.status == 0, done.err
    assert "Traceback" not in done.err
    return done


def refused(done: Ran, status: int, *words: str) -> None:
    assert done.status == status, done.err
    for word in words:
        assert word in done.err
    assert "Traceback" not in done.err


def request(name: str, *sans: str, key: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if name else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(san) for san in sans]), False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def vendor_directory(place: Path, count: int) -> None:
    place.mkdir()
    for number in range(count):
        key = ec.generate_private_key(ec.SECP256R1())
        (place / f"edge-{number}.csr").write_bytes(request(f"edge-{number}", key=key))


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def rows(directory: Path) -> tuple[dict[str, CertificateState], list[audit.AuditRecord]]:
    """Every certificate of a CA by serial, and its audit log, whose chain is whole."""

    async def read() -> Sequence[audit.AuditRecord]:
        store = open_store(directory / "edgeward.db")
        try:
            return await store.audit(0, 100_000)
        finally:
            await store.close()

    with contextlib.closing(sqlite3.connect(directory / "edgeward.db")) as database:
        states = {
            serial: CertificateState(state)
            for serial, state in database.execute("SELECT serial, state FROM certificate")
        }
    log = asyncio.run(read())
    assert audit.first_bad(log) is None
    return states, list(log)


# --------------------------------------------------------------------------------------------------------------- chains


@needs("openssl")
def test_openssl_and_edgeward_verify_what_an_intermediate_signed(here: Path) -> None:
    (here / "web.csr").write_bytes(request("web.site.example", "web.site.example"))
    good(run("cert", "sign", "web.csr", "--ca-dir", "site", "--profile", "server", "--out", "web.crt"))
    good(run("cert", "sign", "web.csr", "--ca-dir", "site", "--node", "edge-1", "--out", "edge.crt"))
    for leaf, purpose in (("web.crt", "sslserver"), ("edge.crt", "sslclient")):
        ran(
            "openssl",
            "verify",
            "-x509_strict",
            "-purpose",
            purpose,
            "-CAfile",
            "root/ca.crt",
            "-untrusted",
            "site/ca.crt",
            leaf,
        )
    ran("openssl", "verify", "-CAfile", "site/chain.pem", "-verify_hostname", "web.site.example", "web.crt")
    good(
        run(
            "verify",
            "web.crt",
            "--chain",
            "site/ca.crt",
            "--ca",
            "root/ca.crt",
            "--name",
            "web.site.example",
            "--profile",
            "rfc5280",
        )
    )
    assert (
        run("verify", "web.crt", "--chain", "site/ca.crt", "--ca", "root/ca.crt", "--name", "other.site.example").status
        == 1
    )
    good(run("ca", "new", "--ca-dir", "stranger", "--name", "Test Root"))
    assert run("verify", "web.crt", "--chain", "site/ca.crt", "--ca", "stranger/ca.crt").status == 1
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", "stranger/ca.crt", "-untrusted", "site/ca.crt", "web.crt"],
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0


def test_the_intermediate_says_what_was_asked_of_it(here: Path) -> None:
    extensions = certificate(here / "site/ca.crt").extensions
    limits = extensions.get_extension_for_class(x509.NameConstraints)
    assert limits.critical
    assert [str(name.value) for name in limits.value.permitted_subtrees or ()] == ["site.example", "10.0.0.0/8"]
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    root = certificate(here / "root/ca.crt").extensions
    assert root.get_extension_for_class(x509.BasicConstraints).value.path_length is None
    assert len(x509.load_pem_x509_certificates((here / "site/chain.pem").read_bytes())) == 2


def test_a_name_outside_the_constraints_is_never_signed(here: Path) -> None:
    for san in ("other.example", "secret.site.example", "deep.secret.site.example"):
        (here / "x.csr").write_bytes(request("x", san))
        refused(
            run("cert", "sign", "x.csr", "--ca-dir", "site", "--profile", "server"),
            1,
            san,
            "name constraints of CN=Site CA",
        )
    assert len(rows(here / "site")[0]) == 0
    refused(run("ca", "new", "--ca-dir", "deep", "--name", "Deep", "--intermediate-of", "site"), 1, "path length")


def test_every_certificate_has_a_row_and_an_audit_record(here: Path) -> None:
    (here / "web.csr").write_bytes(request("web.site.example", "web.site.example"))
    good(run("cert", "sign", "web.csr", "--ca-dir", "site", "--profile", "server", "--out", "web.crt"))
    good(run("kit", "device", "--ca-dir", "root", "--node", "edge-9", "--out", "kit"))
    good(run("cert", "cross-sign", "site/ca.crt", "--ca-dir", "root", "--out", "cross.crt"))
    for directory, files in {
        "root": ["root/ca.crt", "site/ca.crt", "kit/device.crt", "cross.crt"],
        "site": ["web.crt"],
    }.items():
        states, log = rows(here / directory)
        serials = {format(certificate(here / file).serial_number, "x") for file in files}
        assert states == dict.fromkeys(serials, CertificateState.ISSUED)
        told = {record.object.removeprefix("certificate:") for record in log if record.action == "certificate.issued"}
        assert serials - told <= {format(certificate(here / "root/ca.crt").serial_number, "x")}
        assert "ca.created" in {record.action for record in log}


def test_the_audit_log_can_be_read_and_verified(here: Path) -> None:
    listed = good(run("audit", "list", "--ca-dir", "root")).out
    assert "ca.created" in listed
    assert "certificate.issued" in listed
    assert "the chain is whole" in good(run("audit", "verify", "--ca-dir", "root")).out
    with contextlib.closing(sqlite3.connect(here / "root/edgeward.db")) as database:
        database.execute("UPDATE audit SET actor = 'nobody' WHERE n = 2")
        database.commit()
    assert "record 2 does not follow" in run("audit", "verify", "--ca-dir", "root").out


# --------------------------------------------------------------------------------------------------------- one request


def test_what_is_dropped_is_said_and_not_signed(here: Path) -> None:
    (here / "greedy.csr").write_bytes(request("system:masters", "web.example"))
    done = good(run("cert", "sign", "greedy.csr", "--ca-dir", "root", "--node", "edge-1", "--out", "edge.crt"))
    assert "dropped: the request asks for common name system:masters instead of system:node:edge-1" in done.err
    assert "dropped: the request asks for subject alternative name web.example" in done.err
    signed = certificate(here / "edge.crt")
    assert "masters" not in signed.subject.rfc4514_string()
    assert [str(n.value) for n in signed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value] == [
        "spiffe://edgeward.internal/node/edge-1"
    ]


def test_a_dry_run_signs_nothing(here: Path) -> None:
    (here / "a.csr").write_bytes(request("edge-1"))
    before = rows(here / "root")[0]
    assert "would sign a.csr: device edge-1" in good(run("cert", "sign", "a.csr", "--ca-dir", "root", "--dry-run")).err
    assert rows(here / "root")[0] == before


def test_the_certificate_goes_to_standard_output_or_as_json(here: Path) -> None:
    done = good(run("cert", "sign", "-", "--ca-dir", "root", "--node", "edge-1", stdin=request("edge-1")))
    assert x509.load_pem_x509_certificate(done.octets)
    told = json.loads(
        good(run("cert", "sign", "-", "--ca-dir", "root", "--node", "edge-1", "--json", stdin=request("x"))).out
    )
    assert told["identity"] == "edge-1"
    assert told["status"] == "signed"
    assert told["dropped"] == ["common name x instead of system:node:edge-1"]


def test_bad_input_gets_one_clear_line(here: Path) -> None:
    (here / "empty.csr").write_bytes(b"")
    (here / "key.csr").write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    (here / "nobody.csr").write_bytes(request(""))
    (here / "a.csr").write_bytes(request("edge-1"))
    (here / "there.crt").write_bytes(b"mine")
    sign = ("cert", "sign")
    refused(run(*sign, "empty.csr", "--ca-dir", "root"), 65, "empty.csr: not a readable file: it is empty", "hint: ")
    refused(run(*sign, "key.csr", "--ca-dir", "root"), 65, "private key: keep it to yourself")
    refused(run(*sign, "root/ca.crt", "--ca-dir", "root"), 65, "this is CERTIFICATE")
    refused(run(*sign, "nobody.csr", "--ca-dir", "root"), 1, "no common name")
    refused(run(*sign, "a.csr", "--ca-dir", "root", "--profile", "server"), 1, "names no host")
    refused(run(*sign, "a.csr", "--ca-dir", "root", "--node", "UPPER"), 65, "not a node name")
    refused(run(*sign, "a.csr", "--ca-dir", "nowhere"), 1, "there is no CA in")
    refused(run(*sign, "a.csr", "--ca-dir", "root", "--out", "there.crt"), 2, "exists already")
    assert (here / "there.crt").read_bytes() == b"mine"
    refused(run(*sign, "a.csr"), 2, "--ca-dir")
    refused(run(*sign, "a.csr", "--node", "edge-1", "--san", "dns:x"), 2, "--san needs an offline CA")
    refused(run(*sign, "a.csr", "--ca-dir", "root", "--days", "0"), 2, "--days")
    refused(run("ca", "new", "--ca-dir", "root", "--name", "Again"), 1, "exists already")
    refused(run("ca", "new", "--ca-dir", "n", "--name", "N", "--permit", "dns:*.x"), 65, "name constraint")
    refused(run("cert", "cross-sign", "a.csr", "--ca-dir", "root"), 65, "holds no certificate")


def test_the_wrong_passphrase_opens_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWARD_PASSPHRASE", "another passphrase")
    (here / "a.csr").write_bytes(request("edge-1"))
    done = run("cert", "sign", "a.csr", "--ca-dir", "root")
    refused(done, 65, "password does not open")
    assert "another passphrase" not in done.err


# ------------------------------------------------------------------------------------------------------- many requests


SIGN = ("cert", "sign", "in", "--ca-dir", "root", "--profile", "device", "--out", "out")


@pytest.fixture(params=["one process", "a process a core"])
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tests of many requests, in this process and with others beside it."""
    if request.param != "one process":
        monkeypatch.setattr(workers, "MANY", 1)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    return str(request.param)


@pytest.mark.usefixtures("processes")
def test_a_run_that_stopped_goes_on_where_it_was(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor_directory(here / "in", 200)
    real, count = bench.write_file, itertools.count(1)

    def full_disk(path: str, octets: bytes, *, force: bool) -> None:
        if next(count) > 35:
            raise Unavailable(problem="no space left on device")
        real(path, octets, force=force)

    with monkeypatch.context() as stopped:
        stopped.setattr(bench, "write_file", full_disk)
        refused(run(*SIGN), 69, "no space left")
    assert 35 <= len(list((here / "out").glob("*.crt"))) <= 70
    after_the_stop = rows(here / "root")[0]
    assert CertificateState.PLANNED not in after_the_stop.values()
    next((here / "out").glob("*.crt")).unlink()
    again = good(run(*SIGN)).out
    authorities = {format(certificate(here / ca / "ca.crt").serial_number, "x") for ca in ("root", "site")}
    issued = {serial for serial, state in after_the_stop.items() if state is CertificateState.ISSUED}
    assert f"{len(issued) - 2} had their certificate before, 0 refused" in again
    written = list((here / "out").glob("*.crt"))
    assert len(written) == 200
    states = rows(here / "root")[0]
    assert {format(certificate(path).serial_number, "x") for path in written} == {
        serial for serial, state in states.items() if state is CertificateState.ISSUED
    } - authorities
    report = json.loads((here / "out/report.json").read_text())
    assert (report["signed"] + report["kept"], report["refused"]) == (200, 0)
    assert len(report["results"]) == 200


@pytest.mark.parametrize("beside", [False, True])
def test_a_killed_run_leaves_no_certificate_without_a_row(here: Path, beside: bool) -> None:
    """Killed while it signs: by its own hand in one process, and by that of a worker when it has some."""
    vendor_directory(here / "in", 300)
    kill = "os.kill(os.getppid(), 9)" if beside else "os._exit(9)"
    script = (
        "import os, edgeward.cli\nfrom edgeward.cli import bench, workers\nreal, n = bench.signed, []\n"
        f"def signed(*a):\n    n.append(1)\n    if len(n) == 100: {kill}\n    return real(*a)\n"
        f"bench.signed, workers.MANY = signed, {1 if beside else 10**6}\nos.sched_getaffinity = lambda _: {{0, 1}}\n"
        "edgeward.cli.run(['cert','sign','in','--ca-dir','root','--profile','device','--out','out'])\n"
    )
    (here / "killed.py").write_text(script)
    source = Path(signing.__file__).parents[2]
    killed = subprocess.run(
        [sys.executable, "killed.py"], env=os.environ | {"PYTHONPATH": str(source)}, capture_output=True, check=False
    )
    assert killed.returncode == (-9 if beside else 9)
    good(run(*SIGN))
    states = rows(here / "root")[0]
    assert CertificateState.PLANNED not in states.values(), "what the kill left planned is abandoned"
    assert CertificateState.ABANDONED in states.values()
    issued = {serial for serial, state in states.items() if state is CertificateState.ISSUED}
    assert {format(certificate(p).serial_number, "x") for p in (here / "out").glob("*.crt")} < issued
    assert len(issued) == 300 + 2, "one for each request, the root's own, and the intermediate's"


def test_one_bad_request_does_not_stop_the_others(here: Path) -> None:
    vendor_directory(here / "in", 3)
    (here / "in/broken.csr").write_bytes(
        b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n"
    )
    (here / "in/edge-2-again.csr").write_bytes(request("edge-2"))
    (here / "out").mkdir()
    (here / "out/edge-1.crt").write_bytes(b"somebody's")
    sign = ("cert", "sign", "in", "--ca-dir", "root", "--profile", "device", "--out", "out")
    done = run(*sign)
    refused(
        done,
        1,
        "broken.csr",
        "exists already",
        "with 2 different keys are all for edge-2",
        "4 of 5 requests were refused",
    )
    assert (here / "out/edge-1.crt").read_bytes() == b"somebody's"
    assert "refused  in/broken.csr" in (here / "out/report.txt").read_text()
    assert (here / "out/edge-0.crt").exists()
    (here / "out/edge-1.crt").unlink()
    again = run(*sign)
    assert "1 signed, 1 had their certificate before, 3 refused" in again.out


def test_what_a_vendor_calls_its_files_neither_stops_the_others_nor_moves_the_cursor(here: Path) -> None:
    """Names that are no text, that a terminal would obey and that end a line; a pipe, which nobody writes to; a link to elsewhere."""
    (here / "in").mkdir()
    for number, name in enumerate((b"good", b"\xff\xfe", b"\x1b[31mred", b"two\nlines", b"--ca-dir")):
        (here / "in" / os.fsdecode(name + b".csr")).write_bytes(request(f"edge-{number}"))
    os.mkfifo(here / "in/pipe.csr")
    (here / "in/shadow.csr").symlink_to("/etc/passwd")
    (here / "in/directory.csr").mkdir()
    done = good(run(*SIGN, "--json"))
    assert not any(character in done.err + done.out for character in "\x1b\udcff")
    assert "requests: in/\\x1b[31mred.csr, in/--ca-dir.csr, in/good.csr, …" in done.err
    report = json.loads((here / "out/report.json").read_bytes())
    assert report == json.loads(done.out)
    assert (report["signed"], report["refused"]) == (5, 0)
    assert r"in/\udcff\udcfe.csr" in [row["request"] for row in report["results"]]
    assert "two\\nlines.csr" in (here / "out/report.txt").read_text()
    assert len(list((here / "out").glob("*.crt"))) == 5


def test_requests_whose_certificates_are_in_each_other_s_way_are_refused_before_any_is_signed(here: Path) -> None:
    (here / "in/sub/a.crt").mkdir(parents=True)
    for name in ("sub/a.csr", "sub/a.crt/b.csr", "z.csr"):
        (here / "in" / name).write_bytes(request("edge-1"))
    refused(run(*SIGN), 2, "out/sub/a.crt would be a certificate and a directory")
    assert not (here / "out").exists()


def test_processes_of_their_own_do_the_same(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor_directory(here / "in", 40)
    (here / "in/broken.csr").write_bytes(b"nothing")
    monkeypatch.setattr(workers, "MANY", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2})
    refused(run(*SIGN, "--chain"), 1, "in/broken.csr", "1 of 41 requests were refused")
    states = rows(here / "root")[0]
    written = {format(certificate(path).serial_number, "x") for path in (here / "out").glob("*.crt")}
    assert len(written) == 40
    assert {states[serial] for serial in written} == {CertificateState.ISSUED}
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_ends_the_run_and_the_next_one_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor_directory(here / "in", 40)
    monkeypatch.setattr(workers, "MANY", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    with monkeypatch.context() as dying:
        dying.setattr(bench, "signed", lambda *_: os._exit(1))
        refused(run(*SIGN), 69, "has ended unexpectedly; run the same command again")
    assert "40 signed" in good(run(*SIGN)).out
    assert CertificateState.PLANNED not in rows(here / "root")[0].values()


def test_several_requests_say_themselves_whom_they_are_for(here: Path) -> None:
    vendor_directory(here / "in", 2)
    sign = ("cert", "sign", "in", "--ca-dir", "root")
    refused(run(*sign, "--node", "edge-1", "--out", "out"), 2, "are for one CSR")
    refused(run(*sign), 2, "--out DIR")
    (here / "empty").mkdir()
    refused(run("cert", "sign", "empty", "--ca-dir", "root", "--out", "out"), 2, "there are no requests")
    done = good(run(*sign, "--out", "out", "--json", "--chain", "--days", "7"))
    assert json.loads(done.out)["signed"] == 2


# -------------------------------------------------------------------------------------------- self-signed, cross-signed


@needs("openssl")
def test_a_self_signed_certificate_serves_both_sides(here: Path) -> None:
    good(run("cert", "self-signed", "--name", "localhost", "--san", "ip:127.0.0.1", "--out-dir", "."))
    assert (here / "localhost.key").stat().st_mode & 0o777 == 0o600
    ran("openssl", "verify", "-CAfile", "localhost.crt", "-verify_ip", "127.0.0.1", "localhost.crt")
    good(run("key", "match", "localhost.key", "localhost.crt"))
    refused(run("cert", "self-signed", "--name", "localhost", "--out-dir", "."), 2, "exists already")


@needs("openssl")
def test_who_trusts_us_trusts_what_is_below_a_cross_signed_ca(here: Path) -> None:
    """The other CA is openssl's, with a subject of many parts: the cross certificate carries it octet by octet."""
    subject = "/C=DE/O=Partner GmbH/OU=PKI/CN=Partner Root"
    ran(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "p.key",
        "-out",
        "p.crt",
        "-subj",
        subject,
        "-days",
        "90",
    )
    ran(
        "openssl",
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "l.key",
        "-out",
        "l.csr",
        "-subj",
        "/CN=web.partner.example",
    )
    (here / "ext").write_text("subjectAltName=DNS:web.partner.example\nauthorityKeyIdentifier=keyid\n")
    ran(
        "openssl",
        "x509",
        "-req",
        "-in",
        "l.csr",
        "-CA",
        "p.crt",
        "-CAkey",
        "p.key",
        "-CAcreateserial",
        "-extfile",
        "ext",
        "-out",
        "l.crt",
    )
    good(run("cert", "cross-sign", "p.crt", "--ca-dir", "root", "--permit", "dns:partner.example", "--out", "x.crt"))
    cross, own = certificate(here / "x.crt"), certificate(here / "p.crt")
    assert cross.subject.public_bytes() == own.subject.public_bytes()
    assert own.subject.public_bytes() in cross.tbs_certificate_bytes
    assert cross.not_valid_after_utc == own.not_valid_after_utc
    ran("openssl", "verify", "-CAfile", "root/ca.crt", "-untrusted", "x.crt", "l.crt")
    good(run("verify", "l.crt", "--chain", "x.crt", "--ca", "root/ca.crt", "--name", "web.partner.example"))
    good(run("cert", "cross-sign", "p.crt", "--ca-dir", "root", "--permit", "dns:elsewhere.example", "--out", "y.crt"))
    assert run("verify", "l.crt", "--chain", "y.crt", "--ca", "root/ca.crt").status == 1


def test_t49_a_process_that_opens_an_offline_ca_leaves_no_core(here: Path) -> None:
    program = (
        "import asyncio, os, resource\nfrom pathlib import Path\nfrom edgeward import app_offline\n"
        "async def main():\n    async with app_offline.directory(Path('root'), os.environ):\n"
        "        print(resource.getrlimit(resource.RLIMIT_CORE))\nasyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=here, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(0, 0)", done.stderr
