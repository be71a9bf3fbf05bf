"""Golden certificates: from fixed keys, times and serials come exactly these octets, and other implementations accept them.

A change of them is a change of what every device gets: make it on purpose, and say so in the changelog. To write the file again:
`python -m tests.pki.test_golden`.
"""

import base64
import json
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from edgeward.pki import conform, csr, pem
from edgeward.pki.issue import Grant, Plan, sign
from edgeward.pki.names import server_name
from edgeward.pki.verify import NameKind, PeerName, Profile, Purpose, Question, verify
from tests.pki.support import CA_KEY, LEAF_KEY, NOON, PROFILES, SERIAL, ca_plan, plan

FILE = Path(__file__).parent.parent / "vectors" / "golden.json"
KINDS = ("ca", "server", "device", "operator")
SERVER = ("cloud.example.com", "localhost", "10.0.0.1", "fd00::1")


def planned(kind: str) -> Plan:
    """The plan of a golden certificate."""
    if kind == "ca":
        return ca_plan()
    grant = {
        "server": Grant(identity=SERVER[0], names=tuple(server_name(name) for name in SERVER)),
        "device": Grant(identity="edge-1"),
        "operator": Grant(identity="alice"),
    }[kind]
    requested = csr.asked_by_key(LEAF_KEY.public_key())
    return plan(profile=PROFILES[kind], grant=grant, requested=requested, serial=SERIAL + KINDS.index(kind))


def made(kind: str) -> bytes:
    """Its octets, as they are made now."""
    return sign(planned(kind), CA_KEY)


def golden(kind: str) -> bytes:
    """Its octets, as they were written down."""
    return base64.b64decode(json.loads(FILE.read_text())[f"{kind}_der"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_octets_are_the_same_as_ever(kind: str) -> None:
    assert made(kind) == golden(kind)
    conform.conform(golden(kind), planned(kind), CA_KEY.public_key())


@pytest.mark.parametrize(
    ("kind", "purpose"), [("server", Purpose.SERVER), ("device", Purpose.CLIENT), ("operator", Purpose.CLIENT)]
)
def test_our_own_verification_accepts_them(kind: str, purpose: Purpose) -> None:
    strict = Question(purpose=purpose, profile=Profile.RFC5280)
    verdict = verify(golden(kind), now=NOON, anchors=[golden("ca")], question=strict)
    assert verdict.valid, verdict
    later = NOON + timedelta(days=4000)
    assert not verify(golden(kind), now=later, anchors=[golden("ca")], question=strict).valid
    other = Question(purpose=Purpose.CLIENT if purpose is Purpose.SERVER else Purpose.SERVER)
    assert not verify(golden(kind), now=NOON, anchors=[golden("ca")], question=other).valid


@pytest.mark.parametrize("name", SERVER)
def test_the_server_s_certificate_is_for_its_names(name: str) -> None:
    kind = NameKind.IP if ":" in name or name[0].isdigit() else NameKind.DNS
    for asked, good in ((name, True), ("192.0.2.99" if kind is NameKind.IP else "evil.example.com", False)):
        question = Question(purpose=Purpose.SERVER, names=(PeerName(kind=kind, value=asked),))
        assert verify(golden("server"), now=NOON, anchors=[golden("ca")], question=question).valid == good


def _openssl(*arguments: str) -> str:
    if shutil.which("openssl") is None:
        pytest.skip("NOT CHECKED against OpenSSL: there is no `openssl` on this machine")
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("ca", []),
        *(("server", ["-purpose", "sslserver", "-verify_hostname", name]) for name in SERVER[:2]),
        *(("server", ["-purpose", "sslserver", "-verify_ip", name]) for name in SERVER[2:]),
        ("device", ["-purpose", "sslclient"]),
        ("operator", ["-purpose", "sslclient"]),
    ],
)
def test_openssl_accepts_them_in_its_strictest_mode(tmp_path: Path, kind: str, arguments: list[str]) -> None:
    for one in ("ca", kind):
        (tmp_path / one).write_bytes(pem.encode("CERTIFICATE", golden(one)))
    at = str(int(NOON.timestamp()))
    strict = ["-x509_strict", "-policy_check", "-check_ss_sig", "-attime", at, "-CAfile", str(tmp_path / "ca")]
    assert _openssl("verify", *strict, *arguments, str(tmp_path / kind)) == f"{tmp_path / kind}: OK\n"


@pytest.mark.parametrize("kind", ["device", "operator"])
def test_openssl_refuses_a_client_s_certificate_for_a_server(tmp_path: Path, kind: str) -> None:
    for one in ("ca", kind):
        (tmp_path / one).write_bytes(pem.encode("CERTIFICATE", golden(one)))
    at = str(int(NOON.timestamp()))
    said = _openssl(
        "verify", "-attime", at, "-CAfile", str(tmp_path / "ca"), "-purpose", "sslserver", str(tmp_path / kind)
    )
    assert "purpose" in said


def test_the_library_s_own_verifier_accepts_the_server() -> None:
    roots = x509.verification.Store([x509.load_der_x509_certificate(golden("ca"))])
    builder = x509.verification.PolicyBuilder().store(roots).time(NOON)
    verifier = builder.build_server_verifier(x509.DNSName(SERVER[0]))
    assert len(verifier.verify(x509.load_der_x509_certificate(golden("server")), [])) == 2


if __name__ == "__main__":
    comment = "Made by `python -m tests.pki.test_golden`: the private scalars are 0xCA and 0x1EAF, the time and serials as in tests/pki."
    octets = {f"{kind}_der": base64.b64encode(made(kind)).decode() for kind in KINDS}
    FILE.write_text(json.dumps({"comment": comment} | octets, indent=1) + "\n")
