"""A disk that is full: what cannot be recorded is not answered, and when there is room again everything goes on."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeward.errors import EdgewardError
from tests.support.server import Server, client_context, private_directory, until, without_traceback
from tests.support.world import csr


@pytest.fixture
def small() -> Iterator[Path]:
    """A file system of four mebibytes."""
    with private_directory() as directory:
        place = directory / "disk"
        place.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "none", str(place)], capture_output=True, check=False
        )
        if os.geteuid() != 0 or mounted.returncode:
            pytest.skip("NOT TESTED: a full disk needs the right to mount a tmpfs (run the tests as root)")
        try:
            yield place
        finally:
            subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_full_disk_refuses_and_recovers(small: Path) -> None:
    one = Server(small.parent)
    one.data = small / "data"
    one.client = type(one.client)(one.data)
    try:
        one.start()
        context, token = client_context(one.ca), one.token(pattern="*", uses=10_000)
        received = {}

        def enrol(name: str) -> int:
            answer = one.enrol(name, token, csr(name), context=context)
            if answer.status == 200:
                received[name] = answer.body
            assert answer.status in (200, 503), answer
            return answer.status

        assert enrol("before-1") == 200
        filler = small / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        statuses = [enrol(f"full-{number}") for number in range(200)]
        assert 503 in statuses, "it never became full"
        assert statuses[-20:] == [503] * 20, statuses
        with pytest.raises(EdgewardError, match="store"):
            one.token("full-x")
        assert one.api("GET", "/v1/status")["pid"], "reading goes on"
        filler.unlink()
        assert until(lambda: enrol("after-1") == 200, "room")
        assert one.token("after-2")
        one.restart()
        nodes = one.nodes()
        assert set(received) <= {name for name, node in nodes.items() if node["certificate"] is not None}
        assert one.issued() == len(received), "nothing was issued that nobody received, because nobody hung up"
        used = next(t for t in one.api("GET", "/v1/tokens") if t["pattern"])["used"]
        assert used == len(received)
        assert one.audit_is_whole()
        assert without_traceback(one.log), one.log[-3000:]
    finally:
        one.kill()
