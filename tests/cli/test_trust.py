"""`edgeward trust` against real stores of its own: a system's below another root, an NSS database, a Java trust store."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeward.cli import truststores
from edgeward.testing import authority
from tests.support.cli import run
from tests.support.programs import needs, ran

CA = authority("Trust Test CA")


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    """What Debian's ca-certificates has, with one CA in it."""
    for folder in (
        "usr/local/share/ca-certificates",
        "usr/share/ca-certificates",
        "etc/ssl/certs",
        "etc/ca-certificates/update.d",
    ):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/ca-certificates.conf").touch()
    (tmp_path / "usr/local/share/ca-certificates/before.crt").write_bytes(authority("There before").certificate)
    return tmp_path


@needs("update-ca-certificates")
@needs("openssl")
def test_the_systems_store(debian: Path) -> None:
    done = run("trust", "install", CA.path, "--root", debian)
    assert done.status == 0, done.err
    assert "CN=Trust Test CA installed" in done.err
    bundle = debian / "etc/ssl/certs/ca-certificates.crt"
    assert CA.certificate.strip() in bundle.read_bytes()
    assert ran("openssl", "verify", "-CAfile", bundle, CA.server().certificate_path).endswith(b"OK\n")
    assert "is there already" in run("trust", "install", CA.path, "--root", debian).err
    assert len(json.loads(run("trust", "list", "--root", debian, "--json").out)["stores"][0]["installed"]) == 1
    assert run("trust", "remove", CA.path, "--root", debian).status == 0
    assert CA.certificate.strip() not in bundle.read_bytes()
    again = run("trust", "remove", CA.path, "--root", debian)
    assert again.status == 0 and "is not there" in again.err
    assert "nothing of ours" in run("trust", "list", "--root", debian).out


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        ("etc/pki/ca-trust/source/anchors", "chroot {root} update-ca-trust extract"),
        ("etc/ca-certificates/trust-source/anchors", "chroot {root} trust extract-compat"),
        ("usr/local/share/ca-certificates", "update-ca-certificates --certsconf {root}/etc/ca-certificates.conf"),
    ],
)
def test_a_dry_run_prints_the_commands_and_does_nothing(tmp_path: Path, folder: str, command: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    done = run("trust", "install", CA.path, "--root", tmp_path, "--dry-run")
    first, second = done.out.splitlines()
    assert done.status == 0
    assert first.startswith(f"install -m 644 {CA.path} {tmp_path / folder}/edgeward-")
    assert second.startswith(command.format(root=tmp_path))
    assert not list((tmp_path / folder).iterdir())


def test_a_store_that_cannot_be_gathered_is_left_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "etc/pki/ca-trust/source/anchors"
    folder.mkdir(parents=True)
    done = run("trust", "install", CA.path, "--root", tmp_path)  # no update-ca-trust in there
    assert done.status == 69
    assert done.err.startswith("error: chroot: ")
    assert not list(folder.iterdir())


@needs("certutil")
def test_an_nss_database(tmp_path: Path) -> None:
    ran("certutil", "-N", "-d", f"sql:{tmp_path}", "--empty-password")
    assert run("trust", "install", CA.path, "--nss", tmp_path).status == 0
    assert "is there already" in run("trust", "install", CA.path, "--nss", tmp_path).err
    server = CA.server("localhost")
    ran("certutil", "-A", "-d", f"sql:{tmp_path}", "-n", "server", "-t", ",,", "-i", server.certificate_path)
    assert b"certificate is valid" in ran("certutil", "-V", "-d", f"sql:{tmp_path}", "-n", "server", "-u", "V")
    assert "edgeward-" in run("trust", "list", "--nss", tmp_path).out
    assert run("trust", "remove", CA.path, "--nss", tmp_path).status == 0
    assert "is not there" in run("trust", "remove", CA.path, "--nss", tmp_path).err


@needs("keytool")
def test_a_java_trust_store(tmp_path: Path) -> None:
    store, password = tmp_path / "cacerts", tmp_path / "password"
    password.write_text("of my own\n")
    other = authority("There before")
    ran(
        "keytool", "-importcert", "-noprompt", "-alias", "before", "-file", other.path, "-keystore", store, "-storepass", "of my own"
    )  # fmt: skip
    options = ("--java", store, "--java-password", f"@{password}")
    assert run("trust", "install", CA.path, *options).status == 0
    assert "is there already" in run("trust", "install", CA.path, *options).err
    listed = json.loads(run("trust", "list", *options, "--json").out)["stores"]
    assert listed[0]["kind"] == "java" and len(listed[0]["installed"]) == 1
    wrong = run("trust", "remove", CA.path, "--java", store)
    assert wrong.status == 69 and "password" in wrong.err
    # Debian's hook puts what is in the system's store into Java's, under names of its own, and forgets it there.
    (alias,) = listed[0]["installed"]
    ran(
        "keytool", "-importcert", "-noprompt", "-alias", f"debian:{alias}.pem", "-file", CA.path, "-keystore", store,
        "-storepass", "of my own",
    )  # fmt: skip
    assert run("trust", "remove", CA.path, *options).status == 0
    left = ran("keytool", "-list", "-keystore", store, "-storepass", "of my own")
    assert b"before" in left and b"edgeward" not in left


@needs("keytool")
def test_a_password_is_neither_printed_nor_an_argument(tmp_path: Path) -> None:
    store = truststores.Java(kind="java", place="", keystore=tmp_path / "cacerts", password="secret-word")
    (step,) = store.install(b"x")
    assert "secret-word" not in step.words("ca.crt") + " ".join(step.command) + repr(store)


def test_a_macs_keychain_is_given_files_that_are_gone_afterwards() -> None:
    """The steps alone: there is no Mac here to take them."""
    store = truststores.Keychain(kind="system", place="the system keychain")
    for steps in (store.install(b"x"), store.remove(b"x")):
        first, *between, last = steps
        assert first.path == last.path and first.content is not None and last.content is None
        assert all(step.command[0] == "security" for step in between)
        assert str(first.path) in " ".join(between[0].command)


def test_what_is_no_ca_does_not_get_in(tmp_path: Path) -> None:
    (tmp_path / "usr/local/share/ca-certificates").mkdir(parents=True)
    for bad, why in ((CA.server().certificate_path, "it is no CA"),):
        done = run("trust", "install", bad, "--root", tmp_path)
        assert done.status == 1 and why in done.err
    assert run("trust", "install", CA.server().key_path, "--root", tmp_path).status == 65
    assert run("trust", "install", tmp_path / "nowhere", "--root", tmp_path).status == 69
    assert run("trust", "install", CA.path, "--nss", tmp_path).status == 2
    assert run("trust", "list", "--root", tmp_path / "nowhere").status == 69


def test_the_command_needs_no_network_and_no_server() -> None:
    script = (
        "import sys; from edgeward import cli; cli.run(['trust', '--help']); assert 'sqlalchemy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
