"""`edgeward verify` as people and programs meet it: what it prints and how it exits."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edgeward.cli import command, reading
from edgeward.errors import UsageError
from tests.pki.verify.support import NOW, Made, ca, crl, leaf, ocsp_response

ROOT = ca("CN=Root")
ISSUING = ca("CN=Issuing", ROOT)
LEAF = leaf(ISSUING)
AT = ["--at", NOW.isoformat()]


def pem(*made: Made) -> bytes:
    return b"".join(one.certificate.public_bytes(Encoding.PEM) for one in made)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    contents = {
        "leaf.pem": pem(LEAF),
        "leaf.der": LEAF.der,
        "full.pem": pem(LEAF, ISSUING),
        "issuing.pem": pem(ISSUING),
        "root.pem": pem(ROOT),
        "root.der": ROOT.der,
        "root.crl": crl(ROOT),
        "issuing.crl": x509.load_der_x509_crl(crl(ISSUING)).public_bytes(Encoding.PEM),
        "revoked.crl": crl(ISSUING, LEAF),
        "leaf.ocsp": ocsp_response(LEAF, ISSUING, ISSUING),
        "junk.pem": b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n",
        "junk.der": b"\x30\x03junk",
    }
    for name, octets in contents.items():
        (tmp_path / name).write_bytes(octets)
    return tmp_path


def run(*arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(command, ["verify", *arguments, *AT], input=given)


@pytest.mark.usefixtures("files")
class TestVerify:
    @pytest.mark.parametrize(
        "arguments",
        [
            ("leaf.pem", "--chain", "issuing.pem", "--ca", "root.pem"),
            ("leaf.der", "--chain", "issuing.pem", "--ca", "root.der"),
            ("full.pem", "--ca", "root.pem", "--name", "edge.example.com", "--profile", "rfc5280"),
            ("full.pem", "--ca", "root.pem", "--crl", "root.crl", "--crl", "issuing.crl"),
            ("full.pem", "--ca", "root.pem", "--crl", "root.crl", "--ocsp", "leaf.ocsp"),
            ("full.pem", "--ca", "root.pem", "--purpose", "client", "--max-intermediates", "1"),
        ],
    )
    def test_a_valid_certificate_exits_with_0(self, arguments: tuple[str, ...]) -> None:
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        assert result.output.startswith("valid ")
        assert "✗" not in result.output

    def test_standard_input_is_a_file_too(self) -> None:
        assert run("-", "--ca", "root.pem", given=pem(LEAF, ISSUING)).exit_code == 0

    def test_the_path_is_drawn_from_the_anchor_down(self) -> None:
        lines = run("full.pem", "--ca", "root.pem").output.splitlines()
        assert [line.split(",")[0] for line in lines[2:5]] == [
            "  CN=Root (trusted)",
            "  └─ CN=Issuing",
            "     └─ CN=edge.example.com",
        ]

    def test_an_invalid_certificate_exits_with_1_and_says_what_to_do(self) -> None:
        result = run("full.pem", "--ca", "root.pem", "--name", "hub.example.com")
        assert result.exit_code == 1
        assert result.output.startswith("not valid for server authentication")
        assert "✗ CN=edge.example.com: it is not for hub.example.com: it has DNS:edge.example.com" in result.output
        assert "hint: issue a certificate whose subjectAltName has DNS:hub.example.com" in result.output

    def test_a_revoked_certificate_exits_with_1(self) -> None:
        result = run("full.pem", "--ca", "root.pem", "--crl", "root.crl", "--crl", "revoked.crl")
        assert result.exit_code == 1
        assert "it is revoked" in result.output

    @pytest.mark.parametrize("name", ["junk.pem", "junk.der"])
    def test_what_is_no_certificate_exits_with_65(self, name: str) -> None:
        result = run(name, "--ca", "root.pem")
        assert result.exit_code == 65
        assert result.stderr.startswith(f"error: {name}: not a readable ")
        assert "hint: " in result.stderr

    @pytest.mark.parametrize(
        "arguments",
        [
            ("full.pem", "--ip", "example.com"),
            ("full.pem", "--purpose", "cooking"),
            (),
        ],
    )
    def test_wrong_usage_does_not_look_like_a_verdict(self, arguments: tuple[str, ...]) -> None:
        assert run(*arguments).exit_code in (2, 65)

    def test_a_file_that_is_not_there_does_not_either(self) -> None:
        assert run("nothing-here.pem").exit_code == 69

    def test_a_wrong_time_is_wrong_usage(self) -> None:
        result = CliRunner().invoke(command, ["verify", "full.pem", "--at", "tomorrow"])
        assert result.exit_code == 2
        assert "2027-01-31" in result.stderr

    def test_json_has_the_answer_the_checks_the_path_and_the_rejected(self) -> None:
        result = run("full.pem", "--ca", "root.pem", "--chain", "junk.der", "--json")
        answer = json.loads(result.output)
        assert answer["valid"] is True
        assert [step["anchor"] for step in answer["verdict"]["path"]] == [False, False, True]
        assert {check["outcome"] for check in answer["verdict"]["checks"]} == {"pass", "skip"}
        assert answer["verdict"]["rejected"][0]["path"] == ["certificate 2"]

    def test_help_has_examples(self) -> None:
        result = run("--help")
        assert result.exit_code == 0
        assert "edgeward verify edge.crt --ca rootCA.crt" in result.output


@pytest.mark.parametrize("text", ["tomorrow", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_is_none_or_out_of_range(text):
    with pytest.raises(UsageError, match="is not a time"):
        reading.moment(text)
