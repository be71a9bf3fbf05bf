"""A CA of one's own on the first day: what is typed wrongly, what is said then, and how much is said when all is well."""

import functools
import json
import shlex
from pathlib import Path

import pytest

from edgeward import app_offline
from edgeward.keys.file import FileKeys
from tests.support.cli import run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root, an intermediate and a server's certificate, made as the help says."""
    monkeypatch.setattr(app_offline, "FileKeys", functools.partial(FileKeys, scrypt_n=2**14))
    monkeypatch.setenv("EDGEWARD_PASSPHRASE", "correct horse battery")
    monkeypatch.chdir(tmp_path)
    for command in (
        ("ca", "new", "--ca-dir", "root", "--name", "Root"),
        ("ca", "new", "--ca-dir", "issuing", "--name", "Issuing", "--intermediate-of", "root"),
        ("csr", "new", "web.csr", "--new-key", "web.key", "--no-password", "--subject", "CN=web.example"),
        ("cert", "sign", "web.csr", "--ca-dir", "issuing", "--profile", "server", "--chain", "--out", "web.crt"),
    ):
        assert run(*command).status == 0
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_a_valid_certificate_is_said_in_a_few_lines_and_every_check_with_all(here: Path) -> None:
    asked = ("verify", "web.crt", "--ca", "root/ca.crt", "--name", "web.example")
    short, whole = run(*asked), run(*asked, "--all")
    assert (short.status, whole.status) == (0, 0)
    assert len(short.out.splitlines()) <= 9
    assert "✓ CN=web.example: it is for web.example" in short.out
    assert "checks passed: path, signature, key, validity" in short.out
    assert "· revocation was not looked at" in short.out
    assert whole.out.count("✓") > 20
    assert "--all" not in whole.out


def test_what_is_wrong_is_not_lost_among_what_is_right(here: Path) -> None:
    done = run("verify", "web.crt", "--ca", "root/ca.crt", "--name", "other.example")
    assert done.status == 1
    assert [line.strip()[0] for line in done.out.splitlines() if line.strip()[:1] in set("✓✗·")] == ["✗", "·", "✓"]
    assert "it is not for other.example: it has DNS:web.example" in done.out


@pytest.mark.parametrize(
    ("command", "status", "hint"),
    [
        (("verify", "web.crt", "--ca", "root"), 2, "name what is in it: root/ca.crt"),
        (("verify", "web.crt", "--ca", "issuing/ca.cert"), 69, "did you mean issuing/ca.crt?"),
        (("verify", "wbe.crt", "--ca", "root/ca.crt"), 69, "did you mean web.crt?"),
        (("fingerprint", "web.cert"), 69, "did you mean web.crt?"),
        (("convert", "empty", "x.pem"), 2, "name what is in it: empty/*"),
        (("cert", "sign", "wbe.csr", "--ca-dir", "issuing"), 69, "did you mean web.csr?"),
        (("kit", "device", "--ca-dir", "issuing", "--node", "e", "--out", "e.jks"), 2, "edgeward convert KIT.p12 OUT.jks"),
        (("kit", "server", "--ca-dir", "issuing"), 2, "edgeward cert sign --profile server"),
        (("ca", "new", "--ca-dir", "root", "--name", "Root"), 1, "or make the new one in another directory"),
        (("csr", "new", "b.csr", "--new-key", "b.key", "--subject", "CN=b"), 65, "--no-password writes PEM and DER in the clear"),
    ],
)  # fmt: skip
def test_a_slip_has_a_hint(here: Path, command: tuple[str, ...], status: int, hint: str) -> None:
    done = run(*command)
    assert done.status == status, done.err
    assert hint in done.err.partition("hint: ")[2], done.err


@pytest.mark.parametrize("file", ["web.key", "web.crt", "store.p12"])
def test_a_file_that_is_no_password_does_not_become_one(here: Path, file: str) -> None:
    """`-----BEGIN PRIVATE KEY-----` is a password that everybody knows."""
    (here / "store.p12").write_bytes(b"0\x82\0\x10 whatever\n")
    done = run("convert", "web.key", "web.crt", "out.p12", "--new-password", f"@{file}")
    assert (done.status, (here / "out.p12").exists()) == (2, False)
    assert f"--new-password: {file} holds no password or token" in done.err
    assert "hint: put the password alone into a file of its own: --new-password @FILE" in done.err


def test_the_first_help_shows_the_way_to_a_ca_and_out_of_trouble() -> None:
    said = run("--help").out
    for command in (
        "edgeward up --advertise",
        "edgeward ca new --ca-dir root",
        "edgeward verify web.crt",
        "edgeward doctor HOST:PORT",
    ):
        assert command in said


def test_the_doctor_s_command_for_an_offline_ca_mends_the_name(here: Path) -> None:
    said = json.loads(run("doctor", "x509: certificate is valid for web.example, not other.example", "--json").out)
    (typed,) = [one["command"] for one in said["findings"][0]["remedies"] if one["system"] == "offline CA"]
    (here / "server.csr").write_bytes((here / "web.csr").read_bytes())
    assert run(*shlex.split(typed.replace(" DIR ", " issuing "))[1:]).status == 0
    done = run("verify", "server.crt", "--ca", "root/ca.crt", "--name", "other.example")
    assert done.status == 0, done.out


def test_names_as_openssl_lists_them_are_taken_apart(here: Path) -> None:
    sans = ("--san", "DNS:a.example,IP:192.0.2.1", "--san", "dns:b.example")
    assert (
        run("cert", "sign", "web.csr", "--ca-dir", "issuing", "--profile", "server", *sans, "--out", "two.crt").status
        == 0
    )
    for name in (("--name", "a.example"), ("--name", "b.example"), ("--ip", "192.0.2.1")):
        assert run("verify", "two.crt", "--chain", "issuing/ca.crt", "--ca", "root/ca.crt", *name).status == 0


def test_what_comes_over_a_pipe_is_not_called_a_file(here: Path) -> None:
    done = run("inspect", "-", stdin=b"y\n" * 50)
    assert done.status == 65
    assert "hint: see what comes in: the command before the |" in done.err
