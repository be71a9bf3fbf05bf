"""Devices that were away while the CA was replaced: they refuse the new one, `edgeward why` tells, its command lets them back."""

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import needs
from tests.support.server import Server, server, until


class Site:
    """A server whose CA has been replaced, two agents that joined before, and the CA that they know."""

    def __init__(self, authority: Server, place: Path) -> None:
        self.server, self.place = authority, place
        self.old_ca = place / "old-ca.crt"
        self.old_ca.write_text(authority.api("GET", "/v1/ca")["pem"])
        for node in ("edge-1", "edge-2"):
            self.join(node, authority.token(node))
        assert authority.run("ca", "rotate", "--name", "Site CA 2").status == 0
        assert authority.run("ca", "rotate", "--activate").status == 0

    def join(self, node: str, token: str) -> None:
        (self.place / "token").write_text(token)
        done = self.server.home.run(
            "join", f"https://127.0.0.1:{self.server.https}", "--hub", f"127.0.0.1:{self.server.hub}", "--token",
            f"@{self.place / 'token'}", "--node", node, "--dir", self.place / node,
        )  # fmt: skip
        assert done.status == 0, done.err

    def dialled(self, node: str) -> tuple[str, ...]:
        pair = self.place / node / "certs"
        return (f"127.0.0.1:{self.server.hub}", "--cert", str(pair / "server.crt"), "--key", str(pair / "server.key"))

    def agent(self, node: str) -> "subprocess.Popen[bytes]":
        return self.server.home.start("agent", "--dir", self.place / node, log=self.place / f"{node}.log")

    def said(self, node: str) -> str:
        """The log of its agent."""
        return (self.place / f"{node}.log").read_text()

    def told(self, node: str) -> dict[str, object]:
        """The first finding about it."""
        findings = self.server.run("why", node, "--json").json["findings"]
        return dict(findings[0]) if findings else {}

    def told_of(self, words: str) -> dict[str, Any]:
        """The finding about this machine's address that has these words; the server may hear of it after the client has ended."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            findings = self.server.run("why", "127.0.0.1", "--json").json["findings"]
            found[:] = [one for one in findings if words in one["why"][0]]
            return bool(found)

        until(is_there, f"the record of {words}", 30)
        (told,) = found
        return told


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with server() as authority:
        yield Site(authority, tmp_path_factory.mktemp("site"))


def test_an_agent_that_was_away_is_told_of_and_let_back_by_the_command_given(site: Site) -> None:
    agent = site.agent("edge-1")
    try:
        until(lambda: site.told("edge-1"), "the record of its refusal", 30)
        said = site.server.run("why", "edge-1")
        assert said.status == 1
        assert "node edge-1 does not trust the CA CN=Site CA 2" in said.out
        assert "which CN=Site CA 2 has replaced, and it has not been told so" in said.out
        found = site.told("edge-1")
        assert found["id"] == "node-distrusts-ca"
        command = str(found["remedies"][0]["command"])  # type: ignore[index]
        assert command == "edgeward token new --node edge-1 > token"
        # and on the device, once in the log and for who asks
        here = site.server.home.run("agent", "status", "--dir", site.place / "edge-1")
        assert here.status == 1
        assert (
            "  next         if its CA was replaced while this node was away, join again with a new token: " in here.out
        )
        until(lambda: site.said("edge-1").count("not connected: ") > 1, "the second attempt", 30)
        assert site.said("edge-1").count("join again with a new token") == 1
    finally:
        agent.terminate()
        agent.wait(20)
    site.join("edge-1", site.server.run(*shlex.split(command.partition(" > ")[0])[1:]).out)
    agent = site.agent("edge-1")
    try:
        until(lambda: site.server.state("edge-1") == "online", "the agent's connection", 30)
        until(lambda: not site.told("edge-1"), "the end of the finding", 30)
        over = site.server.run("why", "edge-1", "--all")
        assert over.status == 0 and "It is over: edge-1 has connected since" in over.out
    finally:
        agent.terminate()
        agent.wait(20)


@needs("openssl")
def test_openssl_with_the_old_ca(site: Site) -> None:
    target, _, certificate, _, key = site.dialled("edge-2")
    done = subprocess.run(
        ["openssl", "s_client", "-connect", target, "-brief", "-verify_return_error", "-CAfile", site.old_ca, "-cert",
         certificate, "-key", key],
        input=b"", capture_output=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode != 0 and b"certificate verify failed" in done.stderr
    told = site.told_of("alert unknown ca")
    assert told["id"] in {"unknown-authority", "node-distrusts-ca"}
    assert "CN=Site CA 2 has replaced CN=Edgeward CA" in told["why"][0]


@needs("go")
@pytest.mark.slow  # builds a program
def test_go_with_the_old_ca_dials_an_address(site: Site, tmp_path: Path) -> None:
    program = tmp_path / "mutual"
    subprocess.run(["go", "build", "-o", program, "."], cwd=Path(__file__).parents[1] / "interop" / "go", check=True)
    target, _, certificate, _, key = site.dialled("edge-2")
    done = subprocess.run(
        [program, "dial", target, site.old_ca, certificate, key], capture_output=True, check=False, timeout=30
    )
    assert b"certificate signed by unknown authority" in done.stderr
    told = site.told_of("alert bad certificate")
    assert "does not trust our CA" in told["why"][0] and "(CN=Site CA 2 has replaced CN=Edgeward CA" in told["why"][0]


def test_a_look_of_the_doctor_leaves_nothing_behind(site: Site) -> None:
    ca = site.place / "ca.crt"
    ca.write_text(site.server.api("GET", "/v1/ca")["pem"])
    before = site.server.api("GET", "/v1/failures")
    hub, *pair = site.dialled("edge-2")
    for port in (hub, f"127.0.0.1:{site.server.https}"):
        looked = site.server.run("doctor", port, "--ca", ca, *pair)
        assert looked.status == 0, looked.out
    assert site.server.api("GET", "/v1/failures") == before
