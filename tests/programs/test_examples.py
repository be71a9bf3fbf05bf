"""The programs in `examples/`: they run as they stand, are about a dozen lines each, and refuse whom they should."""

import ast
import os
import sys
from pathlib import Path

import pytest

import edgeward
from edgeward.testing import Identity, authority
from tests.interop.programs import announcing, ran
from tests.support.programs import needs

EXAMPLES = Path(__file__).parents[2] / "examples"
CA = authority()
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(edgeward.__file__).parents[1])}


def laid_out(directory: Path, **files: bytes) -> Path:
    """The files with their names as the examples have them: `server_crt` is server.crt."""
    for name, octets in files.items():
        (directory / name.replace("_", ".")).write_bytes(octets)
    return directory


@pytest.fixture
def place(tmp_path: Path) -> Path:
    server, client = CA.server("localhost"), CA.client("edge-1")
    return laid_out(
        tmp_path, ca_crt=CA.certificate, server_crt=server.certificate, server_key=server.key,
        client_crt=client.certificate, client_key=client.key,
    )  # fmt: skip


def started(name: str, place: Path) -> object:
    return announcing(sys.executable, EXAMPLES / f"{name}.py", 0, cwd=place, env=ENVIRONMENT)


def client(name: str, place: Path, *arguments: object) -> tuple[int, str, str]:
    done = ran("env", f"PYTHONPATH={ENVIRONMENT['PYTHONPATH']}", sys.executable, EXAMPLES / name, *arguments, cwd=place)
    return done.status, done.out, done.err


def test_mutual_server_and_client(place: Path) -> None:
    with started("mutual_server", place) as port:  # type: ignore[attr-defined]
        assert client("mutual_client.py", place, "localhost", port) == (0, "hello edge-1\n", "")
        stranger: Identity = CA.other().client("edge-1")
        laid_out(place, client_crt=stranger.certificate, client_key=stranger.key)
        status, out, err = client("mutual_client.py", place, "localhost", port)
        assert (status, out) == (1, "") and ("alert" in err or "hung up" in err)
        laid_out(place, ca_crt=CA.other().certificate)
        assert "certificate verify failed" in client("mutual_client.py", place, "localhost", port)[2]


def test_one_way_server_and_client(place: Path) -> None:
    with started("one_way_server", place) as port:  # type: ignore[attr-defined]
        address = f"https://localhost:{port}/"
        assert client("one_way_client.py", place, address, "ca.crt")[:2] == (0, "hello\n")
        assert "certificate verify failed" in client("one_way_client.py", place, address)[2]
        assert "not valid for" in client("one_way_client.py", place, f"https://127.0.0.1:{port}/", "ca.crt")[2]


@needs("curl")
def test_curl_reads_the_one_way_server(place: Path) -> None:
    with started("one_way_server", place) as port:  # type: ignore[attr-defined]
        own = ("--cacert", place / "ca.crt", "--noproxy", "*")
        assert ran("curl", "-sS", *own, f"https://localhost:{port}/").out == "hello\n"
        assert ran("curl", "-sS", "--noproxy", "*", f"https://localhost:{port}/").status == 60


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    assert ast.get_docstring(ast.parse(path.read_text()))
    assert len(lines) <= 20
