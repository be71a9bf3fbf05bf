"""Revocation by an offline CA and its lists: what openssl and our own verification say of them, and what cannot go wrong."""

import functools
import json
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from edgeward import app_offline
from edgeward.keys.file import FileKeys
from tests.cli.test_offline_ca import good, refused
from tests.support.cli import run
from tests.support.programs import needs, ran
from tests.support.world import csr as request


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("revoking")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app_offline, "FileKeys", functools.partial(FileKeys, scrypt_n=2**14))
        patch.setenv("EDGEWARD_PASSPHRASE", "correct horse battery")
        patch.chdir(place)
        good(run("ca", "new", "--ca-dir", "root", "--name", "Root"))
        good(run("ca", "new", "--ca-dir", "devices", "--name", "Devices", "--intermediate-of", "root"))
        for n in (1, 2, 3):
            (place / f"{n}.csr").write_bytes(request(f"edge-{n}"))
            good(run("cert", "sign", f"{n}.csr", "--ca-dir", "devices", "--out", f"{n}.crt"))
    return place


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(app_offline, "FileKeys", functools.partial(FileKeys, scrypt_n=2**14))
    monkeypatch.setenv("EDGEWARD_PASSPHRASE", "correct horse battery")
    shutil.copytree(made, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path / "w"


def read(path: Path) -> x509.CertificateRevocationList:
    return x509.load_pem_x509_crl(path.read_bytes())


def number(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


@needs("openssl")
def test_t30_what_is_revoked_is_on_the_next_list_and_everybody_refuses_it(here: Path) -> None:
    good(run("ca", "revoke", "1.crt", "--ca-dir", "devices", "--reason", "keycompromise"))
    good(run("ca", "revoke", "edge-2", "--ca-dir", "devices"))
    good(run("ca", "revoke", "devices/ca.crt", "--ca-dir", "root", "--reason", "superseded"))
    assert "CRL number 1, 2 revoked" in good(run("ca", "crl", "--ca-dir", "devices")).out
    good(run("ca", "crl", "--ca-dir", "root"))
    reasons = [
        [e.value.reason.name for e in one.extensions if isinstance(e.value, x509.CRLReason)]
        for one in read(here / "devices/ca.crl")
    ]
    assert reasons == [["key_compromise"], []]
    (here / "both.pem").write_bytes((here / "root/ca.crt").read_bytes() + (here / "devices/ca.crt").read_bytes())
    check = ("openssl", "verify", "-CAfile", "both.pem", "-crl_check", "-CRLfile", "devices/ca.crl")
    assert b"3.crt: OK" in ran(*check, "3.crt")
    for name in ("1.crt", "2.crt"):
        done = subprocess.run([*check, name], capture_output=True, text=True, check=False)
        assert (done.returncode, "certificate revoked" in done.stderr) == (2, True)
    ours = ("--chain", "devices/ca.crt", "--ca", "root/ca.crt", "--crl", "devices/ca.crl", "--revocation", "leaf")
    good(run("verify", "3.crt", *ours))
    assert "it is revoked (keyCompromise)" in run("verify", "1.crt", *ours).out
    whole = run("verify", "3.crt", "--chain", "devices/ca.crt", "--ca", "root/ca.crt", "--crl", "root/ca.crl",
                "--crl", "devices/ca.crl")  # fmt: skip
    assert whole.status == 1
    assert "CN=Devices: it is revoked (superseded)" in whole.out
    assert "hint: nothing below this CA is to be used" in whole.out


def test_t30_every_list_is_later_than_the_one_before_also_in_the_same_second(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = app_offline.now()
    monkeypatch.setattr(app_offline, "now", lambda: moment)
    lists = []
    for _ in range(3):
        good(run("ca", "crl", "--ca-dir", "devices", "--days", "7"))
        lists.append(read(here / "devices/ca.crl"))
    assert [number(one) for one in lists] == [1, 2, 3]
    times = [one.last_update_utc for one in lists]
    assert times == sorted(set(times))
    monkeypatch.setattr(app_offline, "now", lambda: moment - timedelta(hours=1))
    refused(run("ca", "crl", "--ca-dir", "devices"), 1, "the last CRL was made at", "set the clock right")
    assert number(read(here / "devices/ca.crl")) == 3


def test_a_certificate_leaves_the_list_after_one_that_was_made_beyond_its_end(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good(run("ca", "revoke", "1.crt", "--ca-dir", "devices"))
    start, counts = app_offline.now(), []
    for days in (0, 300, 370, 371):
        monkeypatch.setattr(app_offline, "now", lambda days=days: start + timedelta(days=days))
        counts.append(json.loads(good(run("ca", "crl", "--ca-dir", "devices", "--json")).out)["revoked"])
    assert counts == [1, 1, 1, 0]


def test_t30_a_number_is_never_used_twice_even_when_its_list_was_lost(here: Path) -> None:
    """The record comes before the signature: a list that could not be written has had its number."""
    (here / "devices/ca.crl").mkdir()
    refused(run("ca", "crl", "--ca-dir", "devices"), 2, "not a plain file")
    good(run("ca", "crl", "--ca-dir", "devices", "--out", "new.crl"))
    assert number(read(here / "new.crl")) == 2


def test_a_compromised_key_is_never_certified_again_by_whatever_way(here: Path) -> None:
    good(run("ca", "revoke", "1.crt", "--ca-dir", "devices", "--reason", "keyCompromise"))
    refused(run("cert", "sign", "1.csr", "--ca-dir", "devices", "--out", "n.crt"), 1, "reported as compromised")
    refused(run("kit", "device", "--ca-dir", "devices", "--csr", "1.csr", "--out", "kit"), 1, "compromised")
    (here / "in").mkdir()
    shutil.copy("1.csr", "in")
    shutil.copy("3.csr", "in")
    many = ("cert", "sign", "in", "--ca-dir", "devices", "--out", "out")
    refused(run(*many, "--again"), 1, "1.csr: the certificate request is refused: the public key was reported")
    assert sorted(path.name for path in (here / "out").glob("*.crt")) == ["3.crt"]


def test_revoking_is_recorded_once_and_can_be_repeated(here: Path) -> None:
    serial = format(x509.load_pem_x509_certificate((here / "1.crt").read_bytes()).serial_number, "x")
    done = good(run("ca", "revoke", f"serial:{serial.upper()}", "--ca-dir", "devices", "--json"))
    assert [one["serial"] for one in json.loads(done.out)["revoked"]] == [serial]
    assert "it was revoked before" in good(run("ca", "revoke", "1.crt", "--ca-dir", "devices")).out
    log = good(run("audit", "list", "--ca-dir", "devices")).out
    assert len(re.findall(r"certificate\.revoked", log)) == 1
    good(run("audit", "verify", "--ca-dir", "devices"))


def test_words_that_name_nothing_are_said_to(here: Path) -> None:
    (here / "key.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    revoke = ("ca", "revoke")
    refused(
        run(*revoke, "nobody", "--ca-dir", "devices"), 1, "nobody is no certificate file", "audit list --ca-dir devices"
    )
    refused(run(*revoke, "f" * 32, "--ca-dir", "devices"), 1, "no certificate with serial")
    refused(run(*revoke, "serial:xyz", "--ca-dir", "devices"), 2, "1 to 40 hex digits")
    refused(run(*revoke, "key.pem", "--ca-dir", "devices"), 65, "key.pem")
    refused(run(*revoke, "1.csr", "--ca-dir", "devices"), 65, "1.csr: holds no certificate")
    refused(run(*revoke, "root/ca.crt", "--ca-dir", "devices"), 2, "holds no certificate of CN=Devices")
    refused(run(*revoke, "root/ca.crt", "--ca-dir", "root"), 2, "replaced, not revoked")
    refused(run(*revoke, "1.crt", "--ca-dir", "devices", "--reason", "certificateHold"), 2, "certificateHold")
    refused(run(*revoke, "1.crt", "--ca-dir", "nowhere"), 1, "there is no CA in")
    refused(run("ca", "crl", "--ca-dir", "devices", "--days", "0"), 2, "--days")


# -------------------------------------------------------------------------------------------- where the lists are published

URL = "http://pki.example.com/devices.crl"


def places(path: str) -> list[str]:
    """The URLs of lists that a certificate names."""
    certificate = x509.load_pem_x509_certificate(Path(path).read_bytes())
    return [
        name.value
        for extension in certificate.extensions
        if isinstance(extension.value, x509.CRLDistributionPoints)
        for point in extension.value
        for name in point.full_name or ()
    ]


def test_what_a_ca_signs_names_the_place_of_its_lists_and_its_own_certificate_does_not(here: Path) -> None:
    good(run("ca", "new", "--ca-dir", "top", "--name", "Top", "--crl-url", "http://pki.example.com/top.crl"))
    good(run("ca", "new", "--ca-dir", "below", "--name", "Below", "--intermediate-of", "top", "--crl-url", URL))
    good(run("cert", "sign", "1.csr", "--ca-dir", "below", "--out", "a.crt"))
    assert (places("top/ca.crt"), places("below/ca.crt"), places("a.crt")) == (
        [], ["http://pki.example.com/top.crl"], [URL],
    )  # fmt: skip
    assert places("1.crt") == [], "without --crl-url nothing is named"
    linted = good(run("lint", "a.crt", "below/ca.crt", "--json"))
    assert not [
        one for one in json.loads(linted.out)["certificates"] for f in one["findings"] if f["severity"] != "note"
    ]


def test_a_ca_that_is_there_begins_to_name_a_place_and_stops_again(here: Path) -> None:
    good(run("ca", "crl", "--ca-dir", "devices", "--url", URL, "--url", "http://backup.example.com/d.crl"))
    (here / "in").mkdir()
    for n in (4, 5):
        (here / f"in/{n}.csr").write_bytes(request(f"edge-{n}"))
    good(run("cert", "sign", "in", "--ca-dir", "devices", "--out", "out"))
    assert places("out/4.crt") == places("out/5.crt") == [URL, "http://backup.example.com/d.crl"]
    good(run("ca", "crl", "--ca-dir", "devices"))
    good(run("cert", "sign", "1.csr", "--ca-dir", "devices", "--out", "still.crt"))
    good(run("ca", "crl", "--ca-dir", "devices", "--url", "-"))
    good(run("cert", "sign", "1.csr", "--ca-dir", "devices", "--out", "plain.crt"))
    assert (len(places("still.crt")), places("plain.crt")) == (2, [])
    assert good(run("audit", "list", "--ca-dir", "devices")).out.count("crl.location") == 2


@pytest.mark.parametrize(
    "url",
    ["https://pki.example.com/x", "ldap://x/", "http://", "http://a b/", "http://u@x/", "http://x/#f", "http://[::1", "http://x:99999/",
     "http://bücher.example/", "http://x/" + "y" * 600, ""],
)  # fmt: skip
def test_a_place_where_nobody_could_fetch_a_list_is_refused_before_anything_is_made(here: Path, url: str) -> None:
    refused(run("ca", "new", "--ca-dir", "bad", "--name", "Bad", "--crl-url", url), 2)
    assert not (here / "bad").exists()
    refused(run("ca", "crl", "--ca-dir", "devices", "--url", url), 2)


@needs("openssl")
def test_openssl_reads_the_place_and_fetches_nothing_from_elsewhere(here: Path) -> None:
    good(run("ca", "crl", "--ca-dir", "devices", "--url", URL))
    good(run("cert", "sign", "2.csr", "--ca-dir", "devices", "--out", "named.crt"))
    assert f"URI:{URL}".encode() in ran(
        "openssl", "x509", "-in", "named.crt", "-noout", "-ext", "crlDistributionPoints"
    )
