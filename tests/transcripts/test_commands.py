"""Every command explains itself; long-running ones end cleanly; the demonstration leaves nothing behind."""

import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edgeward import cli
from tests.support.server import Home, Pair, Server, acknowledged, private_directory, server, until, without_traceback
from tests.support.world import csr, new_key


@pytest.fixture(scope="module")
def authority() -> Iterator[Server]:
    with server() as one:
        yield one


def every_command(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command and group."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path[-1] if path else "edgeward")
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None, name
            yield from every_command(found, (*path, name))


COMMANDS = list(every_command(cli.command))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--help", "-h"):
        assert cli.run([*words, option]) == 0
        said = capsys.readouterr()
        assert said.err == "" and said.out.startswith("Usage: edgeward")
        assert "Traceback" not in said.out
        is_group = re.search(r"^Commands:", said.out, re.MULTILINE)
        assert is_group or re.search(r"^  Examples?:\n    edgeward ", said.out, re.MULTILINE), "an example is missing"


@pytest.mark.parametrize("words", [words for words in COMMANDS if words], ids=" ".join)
def test_an_unknown_option_is_a_usage_error_with_a_hint(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*words, "--nonsense"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"error: [^\n]*--nonsense[^\n]*[^.\n]\nhint: edgeward [^\n]*--help\n", said.err), said.err


def test_json_outputs_parse_and_have_the_promised_members(authority: Server) -> None:
    authority.device("json-1")
    for words in ("nodes", "token list", "ca show", "audit list", "audit verify", "advertise list"):
        said = authority.run(*words.split(), "--json")
        assert said.status == 0 and json.loads(said.out) is not None, words
    node = next(n for n in authority.run("nodes", "--json").json if n["name"] == "json-1")
    assert {"name", "state", "since", "certificate"} <= set(node)
    assert {"serial", "not_after"} <= set(node["certificate"])
    assert re.fullmatch(r"[0-9a-f]+", node["certificate"]["serial"])
    for moment in (node["since"], node["certificate"]["not_after"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", moment)
    made = authority.run("token", "new", "--node", "json-2", "--json").json
    assert made["token"].count(".") == 3 and made["state"] == "valid"
    revoked = authority.run("revoke", "json-1", "--json").json
    assert revoked["node"] == "json-1" and len(revoked["revoked"]) == 1


def test_a_device_whose_request_an_operator_signed_is_admitted(authority: Server) -> None:
    key = new_key()
    (authority.directory / "device.csr").write_bytes(csr("made-elsewhere", key))
    out = authority.directory / "device.crt"
    said = authority.run("cert", "sign", authority.directory / "device.csr", "--node", "vendor-1", "--out", out)
    assert said.status == 0, said
    der = ssl.PEM_cert_to_DER_cert(out.read_text())
    with authority.connect(Pair(der, key), "vendor-1") as connection:
        assert acknowledged(connection)
    authority.revoke("vendor-1")
    said = authority.run("cert", "sign", authority.directory / "device.csr", "--node", "vendor-1")
    assert said.status == 1 and "blocked" in said.err, "an operator is told, too"


# --------------------------------------------------------------------------------------------------- clean ends


def test_an_interrupt_ends_the_server_and_the_agent_without_a_traceback(tmp_path: Path) -> None:
    with server() as one:
        (tmp_path / "token").write_text(one.token("ends-1"))
        said = one.home.run(
            "join", "--token", f"@{tmp_path / 'token'}", "--node", "ends-1", "--dir", tmp_path / "agent"
        )
        assert said.status == 0, said
        for number in (signal.SIGINT, signal.SIGTERM):
            log = tmp_path / f"agent-{number}.log"
            agent = one.home.start("agent", "--dir", tmp_path / "agent", log=log)
            try:
                until(lambda: one.state("ends-1") == "online", "the agent", 30)
                second = one.home.run("agent", "--dir", tmp_path / "agent")
                assert second.status == 69 and "error:" in second.err, second
                agent.send_signal(number)
                assert agent.wait(10) == 0, log.read_text()
            finally:
                agent.kill()
                agent.wait()
            assert without_traceback(log.read_text())
            until(lambda: one.state("ends-1") == "offline", "its leave")
        assert one.stop(signal.SIGINT) == 0
        assert without_traceback(one.log)
        assert not (one.data / "admin.sock").exists()


def test_an_interrupt_while_it_waits_for_its_hub_or_starts(tmp_path: Path) -> None:
    with server() as one:
        (tmp_path / "token").write_text(one.token("waits-1"))
        assert (
            one.home.run(
                "join", "--token", f"@{tmp_path / 'token'}", "--node", "waits-1", "--dir", tmp_path / "a"
            ).status
            == 0
        )
        one.stop()
        log = tmp_path / "agent.log"
        agent = one.home.start("agent", "--dir", tmp_path / "a", log=log)
        try:
            until(
                lambda: "refused" in log.read_text().lower() or "cannot reach" in log.read_text(),
                "a failed attempt",
                30,
            )
            agent.send_signal(signal.SIGINT)
            assert agent.wait(10) == 0, log.read_text()
        finally:
            agent.kill()
            agent.wait()
        assert without_traceback(log.read_text())
        one.launch()
        assert one.process is not None
        until(lambda: (one.data / "lock").read_text().strip() == str(one.process.pid), "the lock")  # type: ignore[union-attr]
        assert one.stop(signal.SIGINT) in (0, 130, -signal.SIGINT)
        assert without_traceback(one.log), one.log


def test_an_interrupt_ends_a_watch(tmp_path: Path) -> None:
    with server() as one:
        for words in (("watch",), ("nodes", "--watch")):
            log = tmp_path / f"{words[0]}.log"
            process = one.home.start(*words, "--data", one.data, log=log)
            try:
                until(lambda process=process: connected(process, one), f"{words[0]} to be at it", 20)
                process.send_signal(signal.SIGINT)
                assert process.wait(10) in (0, 130), log.read_text()
            finally:
                process.kill()
                process.wait()
            assert without_traceback(log.read_text())
        log = tmp_path / "left.log"
        process = one.home.start("watch", "--data", one.data, log=log)
        until(lambda: connected(process, one), "a watch", 20)
        assert one.stop() == 0, "a watch does not hold up the stop"
        assert process.wait(10) in (0, 69), log.read_text()
        assert without_traceback(log.read_text())


def connected(process: subprocess.Popen[bytes], one: Server) -> bool:
    """Whether a process has used the authority's socket: it is past its imports."""
    with contextlib.suppress(OSError):
        if any("socket:" in str(entry.readlink()) for entry in Path(f"/proc/{process.pid}/fd").iterdir()):
            return True
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        return (
            "_socket" in maps
            and Path(f"/proc/{process.pid}/wchan").read_text() not in ("", "0")
            and "nodes" in str(process.args)
        )
    return False


def test_the_demonstration_ends_well_and_leaves_nothing_behind() -> None:
    with private_directory() as place:
        home = visitor(place)
        said = home.run("demo", seconds=110)
        assert said.status == 0, said
        assert "done; everything is cleaned up" in said.out and said.err == ""
        assert nothing_left(place)


def test_a_demonstration_that_cannot_start_says_why(tmp_path: Path) -> None:
    place = tmp_path / ("a-long-name-" * 8)
    place.mkdir()
    said = visitor(place).run("demo", seconds=60)
    assert said.status == 69 and "too long for a Unix socket" in said.err, said
    assert nothing_left(place)


def visitor(place: Path) -> Home:
    """Somebody with an empty home and a temporary directory of their own."""
    (place / "tmp").mkdir()
    return Home.at(place / "home", TMPDIR=str(place / "tmp"))


def nothing_left(place: Path) -> bool:
    """Whether neither a file nor a process is left of it."""
    assert list((place / "tmp").iterdir()) == []
    assert [path for path in (place / "home").rglob("*") if path.is_file()] == []
    assert processes_below(place) == []
    return True


def test_an_interrupted_demonstration_leaves_nothing_behind(tmp_path: Path) -> None:
    log = tmp_path / "demo.log"
    with private_directory() as place:
        process = visitor(place).start("demo", log=log, start_new_session=True)
        try:
            until(lambda: "its CA" in log.read_text() or process.poll() is not None, "the beginning", 60)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
            assert process.wait(30) == 130, log.read_text()
        finally:
            process.kill()
            process.wait()
        assert without_traceback(log.read_text()), log.read_text()
        assert nothing_left(place)


def processes_below(place: Path) -> list[str]:
    """Processes whose environment names a directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(place).encode() in (entry / "environ").read_bytes() and entry.name != str(os.getpid()):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def test_the_temporary_directory_of_the_tests_is_short() -> None:
    assert len(tempfile.gettempdir()) < 60, "a Unix socket's path may have 107 characters"
