"""`edgeward.testing`: a throw-away CA in one line, and what must fail."""

import json
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import edgeward.testing
from edgeward.pki.formats.pem import read
from edgeward.pki.verify import NameKind, PeerName, Purpose, Question, verify
from edgeward.testing import Authority, Identity
from edgeward.testing.fixtures import authority
from tests.programs.wire import greeting, serving

__all__ = ["authority"]  # the fixture, which pytest finds by its name in this module


def der(pem: bytes) -> list[bytes]:
    found = read(pem)
    assert found is not None
    return [block.data for block in found.blocks]


def valid(identity: Identity, ca: bytes, purpose: Purpose, *names: str) -> bool:
    leaf, *chain = der(identity.certificate)
    question = Question(purpose=purpose, names=tuple(PeerName(NameKind.DNS, name) for name in names))
    return verify(leaf, now=datetime.now(UTC), anchors=der(ca), intermediates=chain, question=question).valid


def test_one_line_makes_a_ca_and_pairs_that_verify(authority: Authority) -> None:
    assert valid(authority.server("localhost"), authority.certificate, Purpose.SERVER, "localhost")
    assert valid(authority.client("edge-1"), authority.certificate, Purpose.CLIENT)
    assert valid(authority.intermediate().server("localhost"), authority.certificate, Purpose.SERVER, "localhost")


def test_what_must_fail_fails(authority: Authority) -> None:
    ca = authority.certificate
    assert not valid(authority.expired("localhost"), ca, Purpose.SERVER, "localhost")
    assert not valid(authority.expired("edge-1", client=True), ca, Purpose.CLIENT)
    assert not valid(authority.not_yet_valid("localhost"), ca, Purpose.SERVER, "localhost")
    assert not valid(authority.wrong_name(), ca, Purpose.SERVER, "localhost")
    assert not valid(authority.other().server("localhost"), ca, Purpose.SERVER, "localhost")
    assert authority.other().name == authority.name
    assert not valid(authority.client("edge-1"), ca, Purpose.SERVER, "edge-1")


def test_two_authorities_share_nothing() -> None:
    one, two = edgeward.testing.authority(), edgeward.testing.authority()
    assert one.certificate != two.certificate
    assert one.server().x509.serial_number != two.server().x509.serial_number


def test_files_are_private_and_go_with_the_ca() -> None:
    ca = edgeward.testing.authority()
    server = ca.server()
    key, certificate = Path(server.key_path), Path(server.certificate_path)
    assert key.read_bytes() == server.key and certificate.read_bytes() == server.certificate
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert Path(server.ca_path).read_bytes() == Path(ca.path).read_bytes() == ca.certificate
    del ca, server
    assert not key.exists()


def test_a_key_is_not_shown() -> None:
    assert "PRIVATE" not in repr(edgeward.testing.authority().server())


@pytest.mark.parametrize("kind", ["ec:P-256", "ec:P-384", "rsa:2048", "ed25519"])
def test_every_kind_of_key_that_tls_takes(kind: str) -> None:
    ca = edgeward.testing.authority(key=kind)
    with serving(ca.server().server_context()) as server:
        assert greeting(server.port, ca.client("edge-1").client_context())[0] == "hello edge-1\n"


def test_importing_is_light() -> None:
    """What a program pays for: the package itself brings nothing; the contexts bring no store, no web and no command line."""
    script = (
        "import edgeward, sys, json; alone = sum(m.startswith('edgeward.') for m in sys.modules);"
        "import edgeward.tls; print(json.dumps([alone, sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    alone, modules = json.loads(done.stdout)
    assert alone == 0
    assert not {"sqlalchemy", "alembic", "click", "rich", "asyncio", "pytest", "websockets"} & set(modules)
