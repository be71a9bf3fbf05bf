"""`edgeward lint` as people and build servers use it."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgeward.cli import rfc5280
from edgeward.keys import generate
from edgeward.pki import csr, keys
from edgeward.pki.issue import Grant, decide, serial_number, sign
from edgeward.pki.profile import default_profiles
from edgeward.testing import authority
from tests.support.cli import run
from tests.support.programs import needs

CA = authority()
SERVER = CA.server("web.example", "10.0.0.1")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The article's server certificate: version 1, no names, serial number 1."""
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=ca",
        "req -new -newkey rsa:2048 -nodes -keyout x.key -out x.csr -subj /CN=localhost",
        "x509 -req -in x.csr -CA ca.crt -CAkey ca.key -set_serial 1 -out x.crt",
    ):
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, capture_output=True, check=True)
    return tmp_path


def test_a_good_certificate_is_good() -> None:
    done = run("lint", SERVER.certificate_path, CA.path, "--fail-on", "warning")
    assert done.status == 0, done.out
    assert "0 errors, 0 warnings" in done.out


@needs("openssl")
def test_the_articles_certificate_is_not(old: Path) -> None:
    done = run("lint", old / "x.crt", old / "ca.crt")
    assert done.status == 1
    assert "its only name is the common name 'localhost'" in done.out
    assert "hint: sign it again with the name in subjectAltName: dns:localhost" in done.out
    for rule in ("cn-only; RFC 9525 2", "serial-predictable; CA/B BR 7.1", "version-1; RFC 5280 4.1.2.1"):
        assert rule in done.out


@needs("openssl")
def test_json_is_for_programs(old: Path) -> None:
    done = run("lint", "--json", old / "x.crt", old / "ca.crt")
    answer = json.loads(done.out)
    assert answer.keys() == {"certificates", "counts", "rfc5280", "notes"}
    assert answer["rfc5280"] is True and answer["notes"] == []
    first = answer["certificates"][0]
    assert (first["file"], first["place"], first["subject"]) == (str(old / "x.crt"), 1, "CN=localhost")
    assert first["findings"][0].keys() == {"id", "severity", "text", "paragraph", "remedy", "source", "field"}
    assert {finding["source"] for finding in first["findings"]} == {"edgeward", "rfc5280"}
    assert answer["counts"]["error"] > 0


@needs("openssl")
def test_the_threshold_and_the_exceptions_decide(old: Path) -> None:
    assert run("lint", "--fail-on", "never", old / "x.crt").status == 0
    assert run("lint", "--no-rfc5280", "--ignore", "cn-only", old / "x.crt").status == 0
    assert run("lint", "--no-rfc5280", "--ignore", "cn-only", "--fail-on", "warning", old / "x.crt").status == 1
    assert run("lint", "--fail-on", "note", SERVER.certificate_path, CA.path).status == 1
    assert run("lint", "--at", "2050-01-01", SERVER.certificate_path).status == 1


def test_a_key_that_others_may_read_is_found(tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(SERVER.certificate + SERVER.key)
    both.chmod(0o644)
    done = run("lint", both)
    assert done.status == 1 and "everybody on this machine may read it" in done.out
    assert "PRIVATE" not in done.out + done.err
    both.chmod(0o600)
    assert run("lint", both).status == 0


def test_without_pkilint_a_note_says_what_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rfc5280, "installed", lambda: False)
    done = run("lint", SERVER.certificate_path)
    assert done.status == 0
    assert done.err == "note: RFC 5280 to the letter was not checked: pip install 'edgeward[lint]'\n"
    assert json.loads(run("lint", "--json", SERVER.certificate_path).out)["notes"]
    assert run("lint", "--no-rfc5280", SERVER.certificate_path).err == ""


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "cut.crt").write_bytes(SERVER.certificate[:300])
    (tmp_path / "x.csr").write_bytes(b"-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n")
    for bad in ("empty", "cut.crt", "x.csr"):
        done = run("lint", tmp_path / bad)
        assert done.status == 65, bad
        assert done.err.startswith("error: ") and "Traceback" not in done.err
    assert run("lint").status == 2
    assert run("lint", "--ignore", "no-such-rule", "--no-rfc5280", SERVER.certificate_path).status == 2
    assert run("lint", tmp_path / "nowhere").status == 69


def test_a_devices_certificate_of_the_default_profile_is_good(tmp_path: Path) -> None:
    """pkilint takes SPIFFE for no scheme; that is a note here."""
    key = generate.new()
    plan = decide(
        default_profiles()["device"],
        csr.asked_by_key(key.public_key()),  # type: ignore[arg-type]
        Grant(identity="edge-1"),
        issuer=None,
        trust_domain="cluster.local",
        now=datetime.now(UTC).replace(microsecond=0),
        serial=serial_number(bytes(16)),
    )
    device = tmp_path / "device.der"
    device.write_bytes(sign(plan, keys.issuer_key(key)))
    findings = json.loads(run("lint", device, "--json").out)["certificates"][0]["findings"]
    # Signed with its own key, because this test has no CA; that is said, and nothing else.
    assert {finding["id"] for finding in findings if finding["severity"] != "note"} == {"self-signed-leaf"}, findings
    assert "pkix.invalid_uri_syntax" in {finding["id"] for finding in findings}


def test_the_rules_are_listed() -> None:
    listed = run("lint", "--rules").out
    assert "device-two-identities" in listed and "RFC 5280 4.2.1.12" in listed
    assert {"id", "severity", "paragraph", "remedy"} == json.loads(run("lint", "--rules", "--json").out)["rules"][
        0
    ].keys()


def test_a_certificate_that_breaks_pkilint_is_judged_all_the_same() -> None:
    """A critical extension of a known kind whose value is none."""
    assert rfc5280.Linter().lint(b"\x30\x03\x02\x01\x01")[0].id in {"pkilint-gave-up", "pkix.substrate_decode_failed"}


def test_our_rules_alone_do_not_load_pkilint() -> None:
    script = "import sys; from edgeward import cli; cli.run(['lint', '--no-rfc5280', sys.argv[1]]); assert 'pkilint' not in sys.modules"
    subprocess.run([sys.executable, "-c", script, SERVER.certificate_path], capture_output=True, check=True)
