"""`edgeward bundle --aia`: what is missing in a chain is fetched where the certificates say, and believed by its signature alone."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from edgeward.pki.formats import pem, pkcs7
from tests.support.cli import run
from tests.tools import seeds
from tests.transports.test_fetch import Handler, serving


def certificate(name: str, issuer: str, number: int, issuer_number: int, url: str = "", ca: bool = True) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(seeds.key(number).public_key())
        .serial_number(number)
        .not_valid_before(seeds.NOW)
        .not_valid_after(seeds.NOW + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca, None), True)
    )
    if url:
        place = x509.AccessDescription(
            x509.oid.AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(url)
        )
        builder = builder.add_extension(x509.AuthorityInformationAccess([place]), False)
    return builder.sign(seeds.key(issuer_number), hashes.SHA256()).public_bytes(seeds.DER)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(path: Path) -> list[str]:
    found = x509.load_pem_x509_certificates(path.read_bytes())
    return [one.subject.rfc4514_string() for one in found]


def test_a_chain_is_repaired_step_by_step(here: Path) -> None:
    content: dict[str, bytes] = {}

    def answer(request: Handler) -> None:
        request.send_response(200 if request.path in content else 404)
        request.end_headers()
        request.wfile.write(content.get(request.path, b""))

    with serving(answer) as port:
        at = f"http://127.0.0.1:{port}"
        content["/root.p7c"] = pkcs7.write([certificate("Root", "Root", 7, 7)])
        content["/middle.cer"] = certificate("Middle", "Root", 8, 7, f"{at}/root.p7c")
        leaf = certificate("Leaf", "Middle", 9, 8, f"{at}/middle.cer", ca=False)
        (here / "leaf.crt").write_bytes(pem.write("CERTIFICATE", leaf))
        done = run("bundle", "leaf.crt", "chain.pem", "--aia-private")
        assert done.status == 0, done.err
        assert names(here / "chain.pem") == ["CN=Leaf", "CN=Middle", "CN=Root"]
        assert done.err.count("fetched: ") == 2
        assert "is not in the input" not in done.err

        refused = run("bundle", "leaf.crt", "public.pem", "--aia")
        assert refused.status == 0
        assert "127.0.0.1 is not on the public Internet" in refused.err
        assert "hint: if it is a server of your own network: --aia-private" in refused.err
        assert names(here / "public.pem") == ["CN=Leaf"]
        assert "the issuer CN=Middle is not in the input" in refused.err
        assert names(here / "public.pem") == ["CN=Leaf"]

        assert "fetched" not in run("bundle", "leaf.crt", "without.pem").err, "nothing is fetched unasked"


def test_what_does_not_prove_itself_is_not_believed(here: Path) -> None:
    """A certificate of the right name with another key, and something that is none."""
    for body in (certificate("Middle", "Root", 11, 7), b"<html>", b"", b"\x30\x80"):

        def answer(request: Handler, body: bytes = body) -> None:
            request.send_response(200)
            request.end_headers()
            request.wfile.write(body)

        with serving(answer) as port:
            leaf = certificate("Leaf", "Middle", 9, 8, f"http://127.0.0.1:{port}/m", ca=False)
            (here / "leaf.crt").write_bytes(pem.write("CERTIFICATE", leaf))
            done = run("bundle", "leaf.crt", "chain.pem", "--aia-private", "--force")
            assert done.status == 0
            assert "warning: " in done.err
            assert names(here / "chain.pem") == ["CN=Leaf"]


def test_issuers_that_name_each_other_come_to_an_end(here: Path) -> None:
    count = 0

    def answer(request: Handler) -> None:
        nonlocal count
        count += 1
        request.send_response(200)
        request.end_headers()
        number = int(request.path.strip("/"))
        url = f"http://127.0.0.1:{request.server.server_address[1]}/{number + 1}"
        request.wfile.write(certificate(f"CA {number}", f"CA {number + 1}", 100 + number, 101 + number, url))

    with serving(answer) as port:
        leaf = certificate("Leaf", "CA 1", 9, 101, f"http://127.0.0.1:{port}/1", ca=False)
        (here / "leaf.crt").write_bytes(pem.write("CERTIFICATE", leaf))
        assert run("bundle", "leaf.crt", "chain.pem", "--aia-private").status == 0
    assert count == 10
    assert len(names(here / "chain.pem")) == 11
