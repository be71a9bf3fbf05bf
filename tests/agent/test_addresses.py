"""A join tries its addresses before it begins: which answer, which are called so, in which order they are used."""

import asyncio
import json
import socket
from pathlib import Path

import pytest
from tests.support.fake_cloud import FakeCA, FakeCloud, running

from edgeward import cli
from edgeward.agent.addresses import Tried, best_first, tried
from edgeward.agent.endpoint import Endpoint
from edgeward.model.token import Hints, make


@pytest.fixture
def nobody() -> Endpoint:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return Endpoint(host="127.0.0.1", port=probe.getsockname()[1])


def test_what_is_said_of_each_address(tmp_path: Path, nobody: Endpoint) -> None:
    ca = FakeCA()
    with running(FakeCloud(ca), ca.server_context(tmp_path, "127.0.0.1")) as cloud:
        good = Endpoint(host="127.0.0.1", port=cloud.port)
        other = Endpoint(host="localhost", port=cloud.port)
        results = asyncio.run(tried((nobody, other, good), (nobody, other)))
    assert [(one.answers, one.named) for one in results] == [
        (False, None), (True, False), (True, True), (False, None), (True, False)
    ]  # fmt: skip
    assert "refused" in results[0].why
    assert "the certificate is valid for 127.0.0.1, not for localhost" in results[1].why
    assert results[2].why == ""
    assert best_first((nobody, other, good), results[:3]) == (good, other, nobody)


def test_something_that_is_no_tls_and_something_silent(tmp_path: Path) -> None:
    async def story() -> list[Tried]:
        async def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example ESMTP\r\n")
            await writer.drain()
            writer.close()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with (
            await asyncio.start_server(plain, "127.0.0.1", 0) as one,
            await asyncio.start_server(silent, "127.0.0.1", 0) as two,
        ):
            ports = [server.sockets[0].getsockname()[1] for server in (one, two)]
            return await tried([Endpoint(host="127.0.0.1", port=port) for port in ports], [], 0.5)

    plain, silent = asyncio.run(story())
    assert plain.why
    assert silent.why
    assert plain.named is None


def test_a_join_takes_the_address_that_answers_under_its_name_and_says_so_of_the_others(
    tmp_path: Path, nobody: Endpoint, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    ca = FakeCA()
    with running(FakeCloud(ca), ca.server_context(tmp_path, "127.0.0.1")) as cloud:
        https = (str(nobody), f"localhost:{cloud.port}", f"127.0.0.1:{cloud.port}")
        token, _ = make(ca.pin, Hints(https=https, hub=(str(nobody),)), key_id=bytes(8), secret=bytes(32))
        file = tmp_path / "token"
        file.write_text(token.reveal())
        file.chmod(0o600)
        command = ["join", "--token", f"@{file}", "--node", "edge-1", "--dir", str(tmp_path / "edge"), "--json"]
        assert cli.run(command) == 0
        assert cloud.connections
    said = json.loads(capsys.readouterr().out)
    assert [one["answers"] for one in said["tried"]] == [False, True, True, False]
    assert said["https"][0] == https[2]
    assert "not for localhost" in caplog.text
    assert str(nobody) in caplog.text


def test_no_address_that_answers_leaves_nothing_behind_and_the_token_unused(
    tmp_path: Path, nobody: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    token, _ = make("ab" * 32, Hints(https=(str(nobody),)), key_id=bytes(8), secret=bytes(32))
    file = tmp_path / "token"
    file.write_text(token.reveal())
    file.chmod(0o600)
    assert cli.run(["join", "--token", f"@{file}", "--node", "edge-1", "--dir", str(tmp_path / "edge")]) == 69
    assert str(nobody) in capsys.readouterr().err
