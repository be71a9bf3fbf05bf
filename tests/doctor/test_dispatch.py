"""Which kind of patient an argument is: an existing file, else HOST:PORT, else a pasted error."""

from pathlib import Path

import pytest

from edgeward.cli import reading
from edgeward.cli.address import Server, server
from edgeward.cli.doctor import patient
from edgeward.errors import UsageError

SERVERS = {
    "cloud.example.com:10002": ("", "cloud.example.com", 10002),
    "10.0.2.15:10000": ("", "10.0.2.15", 10000),
    "[::1]:10002": ("", "::1", 10002),
    "[fe80::1%eth0]:10002": ("", "fe80::1%eth0", 10002),
    "https://cloud.example.com:10002/ca.crt": ("https", "cloud.example.com", 10002),
    "https://cloud.example.com": ("https", "cloud.example.com", 443),
    "wss://cloud.example.com:10000/e632/edge-1/events": ("wss", "cloud.example.com", 10000),
    "bücher.example:443": ("", "xn--bcher-kva.example", 443),
}


@pytest.mark.parametrize(("thing", "means"), SERVERS.items())
def test_a_server(thing: str, means: tuple[str, str, int]) -> None:
    assert patient((thing,)) == "server"
    scheme, host, port = means
    assert server(thing) == Server(scheme=scheme, host=host, port=port)


@pytest.mark.parametrize(
    "words",
    [
        ("x509: certificate is valid for 2.2.2.2, not for 1.1.1.1",),
        ("x509:", "certificate", "signed", "by", "unknown", "authority"),
        ("dial tcp 10.0.2.15:10002: connect: connection refused",),
        ("-",),
    ],
)
def test_a_pasted_error(words: tuple[str, ...]) -> None:
    assert patient(words) == "text"


def test_files_and_the_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.crt").touch()
    (tmp_path / "host:10002").touch()
    monkeypatch.chdir(tmp_path)
    assert patient(()) == "authority"
    assert patient(("a.crt", ".")) == "files"
    assert patient(("host:10002",)) == "files"


@pytest.mark.parametrize("thing", ["nothing.crt", "cloud.example.com", "10.0.2.15", "localhost", "fe80::1"])
def test_what_is_neither_file_nor_server_is_a_usage_error(thing: str) -> None:
    with pytest.raises(UsageError):
        patient((thing,))


@pytest.mark.parametrize(
    "text", ["host:70000", "host:0", "b..c:443", f"{'a' * 64}.example:443", f"https://{'ü' * 64}/"]
)
def test_a_port_or_a_host_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError):
        server(text)
    with pytest.raises(UsageError):
        reading.server(text)
