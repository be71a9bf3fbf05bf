"""What an operator asks of an agent that nobody visits: it says how it is, tells other programs of a new certificate, and lives through
a full disk, a read-only one, a clock that jumps and a name that does not resolve."""

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.agent.test_run import DEADLINE, Edge, FakeHub, until
from tests.support.fake_cloud import FakeCA, FakeCloud, running

from edgeward import cli
from edgeward.agent import hook, status
from edgeward.agent.certificates import Certificates
from edgeward.agent.endpoint import Endpoint
from edgeward.errors import HookFailed, UsageError

HUNDRED = timedelta(seconds=100)


@pytest.fixture(scope="module")
def ca() -> FakeCA:
    return FakeCA()


@pytest.fixture
def hub(ca) -> FakeHub:
    return FakeHub(ca)


def nearly_due(edge: Edge) -> Edge:
    """Enrolled with a certificate whose last moment for a renewal is over in half a second."""
    now = datetime.now(UTC)
    return edge.enrolled(start=now - timedelta(seconds=890), end=now + timedelta(seconds=100.5))


def serial(edge: Edge) -> str:
    return f"{edge.files.pair().certificate.serial_number:x}"


@contextlib.contextmanager
def cloud_of(ca, tmp_path):
    with running(FakeCloud(ca), ca.server_context(tmp_path, "127.0.0.1")) as cloud:
        yield cloud


# ------------------------------------------------------------------------------------------------------------------ status


def test_it_says_how_it_is_to_its_owner_alone(ca, hub, tmp_path):
    async def main() -> None:
        edge = Edge(tmp_path, ca, [1]).enrolled()
        place = edge.files.directory
        assert status.ask(place) is None, "nobody is there"
        async with hub.up(hub.context(tmp_path, "127.0.0.1")):
            edge.settings = replace(edge.settings, hub=(Endpoint(host="127.0.0.1", port=hub.port),))
            async with edge.agent():
                await until(lambda: hub.received)
                found = await asyncio.to_thread(status.ask, place)
                assert stat.S_IMODE((place / status.SOCKET).lstat().st_mode) == 0o600
                assert (found.node, found.state, found.connections) == ("edge-1", "connected", 1)
                assert (found.hub, found.transport) == (f"wss://127.0.0.1:{hub.port}", "websocket")
                assert (found.certificate.serial, found.pid) == (serial(edge), os.getpid())
                assert found.certificate.not_before < found.certificate.renewal_at < found.certificate.not_after
                assert found.good(datetime.now(UTC))
                assert not found.good(found.certificate.not_after)
                connected = found.since
                hub.connections[0].transport.abort()
                await until(lambda: len(hub.connections) == 2)
                again = await asyncio.to_thread(status.ask, place)
                assert again.since > connected and again.last_error and again.last_error_at
        assert not (place / status.SOCKET).exists()
        assert status.ask(place) is None

    asyncio.run(main())


def test_a_socket_that_a_killed_agent_left_is_in_nobodys_way_and_a_long_path_neither(ca, tmp_path):
    deep = tmp_path / ("d" * 100)

    async def main() -> None:
        edge = Edge(deep, ca, [1]).enrolled()
        place = edge.files.directory
        left = f"import socket; socket.socket(socket.AF_UNIX).bind('{status.SOCKET}')"
        subprocess.run([sys.executable, "-c", left], cwd=place, check=True)
        assert status.ask(place) is None
        async with edge.agent():
            found = None
            async with asyncio.timeout(DEADLINE):
                while found is None:
                    found = await asyncio.to_thread(status.ask, place)
            assert found.state == "connecting"

    asyncio.run(main())


def test_the_command_shows_it_and_its_exit_status_says_whether_to_look(ca, tmp_path, capsys):
    edge = Edge(tmp_path, ca, [1]).enrolled()
    with edge.files.locked():
        edge.files.write_settings(edge.settings)
    assert cli.run(["agent", "status", "--dir", str(edge.files.directory), "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert (shown["state"], shown["node"], shown["certificate"]["serial"]) == ("stopped", "edge-1", serial(edge))
    assert cli.run(["agent", "status", "--dir", str(edge.files.directory)]) == 1
    shown = capsys.readouterr().out
    assert "no agent is running" in shown and "start it: edgeward agent" in shown


# -------------------------------------------------------------------------------------------------------------------- hooks


def writing(place: Path) -> tuple[str, ...]:
    """A hook that appends what it was told to a file; its arguments would do harm in a shell."""
    program = (
        "import os, sys, json\n"
        "told = {n: v for n, v in os.environ.items() if n.startswith('EDGEWARD_') or n == 'NOTIFY_SOCKET'}\n"
        "open(sys.argv[1], 'a').write(json.dumps([sys.argv[2:], told]) + chr(10))\n"
        "print('it\\x1b[2Jis done')"
    )
    return (sys.executable, "-c", program, str(place), "$(touch harm)", "; touch harm", "a\nb")


def with_hook(edge: Edge, command: tuple[str, ...]) -> Edge:
    edge.settings = replace(edge.settings, on_certificate_change=command)
    return edge


def test_t60_the_hook_runs_once_for_each_certificate_without_a_shell(ca, hub, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "edgeward.agent")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.delenv("EDGEWARD_LIMBO", raising=False)  # a setting of these tests
    told = tmp_path / "told"

    def lines() -> list:
        return [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []

    async def main(cloud: FakeCloud) -> None:
        async with hub.up(hub.context(tmp_path, "127.0.0.1")):
            edge = nearly_due(with_hook(Edge(tmp_path, ca, [hub.port], cloud.port), writing(told)))
            first = serial(edge)
            async with edge.agent():
                await until(lambda: len(lines()) == 2)
                await until(lambda: edge.files.announced() == serial(edge))
            assert [facts["EDGEWARD_SERIAL"] for _, facts in lines()] == [first, serial(edge)]
            arguments, facts = lines()[1]
            assert arguments == ["$(touch harm)", "; touch harm", "a\nb"]
            assert set(facts) == {f"EDGEWARD_{n}" for n in ("NODE", "SERIAL", "CERTIFICATE", "KEY", "CA")}
            for name in ("CERTIFICATE", "KEY", "CA"):
                assert Path(facts[f"EDGEWARD_{name}"]).read_bytes().startswith(b"-----BEGIN")
            async with edge.agent():  # it starts again: this certificate is known already
                await until(lambda: len(hub.connections) == 3)
            assert len(lines()) == 2

    with cloud_of(ca, tmp_path) as cloud:
        asyncio.run(main(cloud))
    assert not (tmp_path / "harm").exists()
    assert "it\\x1b[2Jis done" in caplog.text


@pytest.mark.parametrize(
    ("command", "time", "words"),
    [
        (("/nowhere/at-all",), DEADLINE, "No such file"),
        ((sys.executable, "-c", "import sys; sys.exit(3)"), DEADLINE, "it ended with status 3"),
        ((sys.executable, "-c", "while True: print('x' * 1000)"), 0.0, "longer than 0 s"),  # over before it began
    ],
)
def test_a_hook_that_fails_is_said_and_bounded(command, time, words):
    with pytest.raises(HookFailed, match=words):
        asyncio.run(hook.run(command, {}, time=time))


def test_what_a_hook_says_without_end_is_bounded(caplog):
    """It ends by itself after 4 MB, far more than a pipe and every buffer hold: all of it was read, and little was kept."""
    caplog.set_level("INFO", "edgeward.agent")
    asyncio.run(hook.run((sys.executable, "-c", "for n in range(4000): print('x' * 1000)"), {}, time=DEADLINE))
    said = [record.getMessage() for record in caplog.records if "xxx" in record.getMessage()]
    assert len(said) == 2 and sum(map(len, said)) < 3000


def test_a_daemon_that_a_hook_starts_is_not_waited_for_and_lives(tmp_path):
    """As a service's start script leaves one, with the hook's own output in its hands."""
    daemon = "import time, pathlib, sys, os; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"
    script = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {daemon!r}, sys.argv[1]], start_new_session=True)\n"
        "import pathlib\nwhile not pathlib.Path(sys.argv[1]).exists() or not pathlib.Path(sys.argv[1]).read_text(): pass"
    )
    asyncio.run(hook.run((sys.executable, "-c", script, str(tmp_path / "pid")), {}, time=DEADLINE))
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)  # fails when it is gone


def test_what_a_hook_leaves_behind_is_killed_with_it(tmp_path):
    child = "import time, pathlib, sys, os; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}, sys.argv[1]]); time.sleep(600)"

    async def main() -> int:
        running_hook = asyncio.create_task(hook.run((sys.executable, "-c", parent, str(tmp_path / "pid")), {}))
        await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        running_hook.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running_hook
        return int((tmp_path / "pid").read_text())

    pid = asyncio.run(main())

    def gone() -> bool:
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"

    async def wait() -> None:
        await until(gone)

    asyncio.run(wait())


def test_a_failed_hook_runs_again_at_the_next_start_and_its_failure_is_in_the_status(ca, tmp_path, caplog):
    async def main() -> None:
        edge = with_hook(Edge(tmp_path, ca, [1]).enrolled(), (sys.executable, "-c", "import sys; sys.exit(4)"))
        for times in (1, 2):
            async with edge.agent():
                await until(lambda times=times: caplog.text.count("it ended with status 4") >= times)
        assert edge.files.announced() == ""

    asyncio.run(main())


def test_settings_keep_the_hook_and_its_characters(tmp_path):
    edge = with_hook(Edge(tmp_path, FakeCA(), [1]), ("/bin/x", 'quo"te', "back\\slash", "new\nline\x7f", "ünï", ""))
    with edge.files.locked(make=True):
        edge.files.write_settings(edge.settings)
    assert edge.files.settings() == edge.settings
    with pytest.raises(UsageError, match="on_certificate_change"):
        with_hook(edge, ("",))


# ------------------------------------------------------------------------------------------------------------------ rotation


def test_a_new_connection_that_cannot_be_had_leaves_the_old_one_standing(ca, hub, tmp_path, caplog):
    async def main(cloud: FakeCloud) -> None:
        async with hub.up(hub.context(tmp_path, "127.0.0.1")):
            busy = threading.Event()  # the renewal is answered when the hub refuses, and not before
            cloud.edge_crt = lambda asked: cloud.sign(asked) if busy.wait(DEADLINE) else (500, b"")
            edge = nearly_due(Edge(tmp_path, ca, [hub.port], cloud.port))
            old = serial(edge)
            async with edge.agent():
                await until(lambda: len(hub.connections) == 1)
                hub.refusals += [(503, b"busy")] * 3
                busy.set()
                await until(lambda: serial(edge) != old)
                await until(lambda: caplog.text.count("the present one stays") == 3)
                found = await asyncio.to_thread(status.ask, edge.files.directory)
                many = len(hub.keepalives)
                await until(lambda: len(hub.connections) == 2)
                assert found.state == "connected" and "busy" in found.last_error
                assert many, "the old connection went on meanwhile"
        assert "not connected" not in caplog.text

    with cloud_of(ca, tmp_path) as cloud:
        asyncio.run(main(cloud))


# --------------------------------------------------------------------------------------------------------- disk, clock, names


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED: a full disk needs the right to mount a tmpfs (run the tests as root)")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def test_on_a_full_disk_nobody_is_asked_and_the_connection_stays(ca, hub, small_disk, tmp_path, caplog):
    async def main(cloud: FakeCloud) -> None:
        async with hub.up(hub.context(tmp_path, "127.0.0.1")):
            edge = nearly_due(Edge(small_disk, ca, [hub.port], cloud.port))
            old, filler = serial(edge), fill(small_disk)
            async with edge.agent():
                await until(lambda: caplog.text.count("No space left on device") >= 3)
                assert not cloud.asked
                assert len(hub.connections) == 1
                assert serial(edge) == old
                filler.unlink()
                await until(lambda: len(hub.connections) == 2)
                assert serial(edge) != old
                assert len(cloud.asked) == 1

    with cloud_of(ca, tmp_path) as cloud:
        asyncio.run(main(cloud))


def test_a_disk_that_fills_up_while_the_server_answers_costs_no_second_certificate(
    ca, hub, small_disk, tmp_path, caplog
):
    async def main(cloud: FakeCloud) -> None:
        async with hub.up(hub.context(tmp_path, "127.0.0.1")):
            edge = nearly_due(Edge(small_disk, ca, [hub.port], cloud.port))
            old = serial(edge)

            def sign_and_fill(asked):
                fill(small_disk)
                return cloud.sign(asked)

            cloud.edge_crt = sign_and_fill
            async with edge.agent():
                await until(lambda: caplog.text.count("was not renewed") >= 3)
                assert serial(edge) == old
                (small_disk / "filler").unlink()
                await until(lambda: len(hub.connections) == 2)
                assert len(cloud.asked) == 1
                assert not list(edge.files.directory.glob("pending-*"))

    with cloud_of(ca, tmp_path) as cloud:
        asyncio.run(main(cloud))


def test_on_a_read_only_file_system_it_stays_connected(ca, hub, small_disk, tmp_path, caplog):
    async def main() -> None:
        async with hub.up(hub.context(tmp_path, "127.0.0.1")):
            edge = Edge(small_disk, ca, [hub.port]).enrolled()
            subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
            async with edge.agent():
                await until(lambda: len(hub.keepalives) > 2)
            assert "edgeward agent status will not work: Read-only file system" in caplog.text

    asyncio.run(main())


def test_a_clock_that_jumps_keeps_the_connection_and_the_renewal_comes_when_it_is_due(ca, hub, tmp_path, monkeypatch):
    monkeypatch.setattr("edgeward.agent.run._LONGEST_SLEEP", 0.05)
    jump = timedelta(0)

    async def main(cloud: FakeCloud) -> None:
        nonlocal jump
        async with hub.up(hub.context(tmp_path, "127.0.0.1")):
            edge = Edge(tmp_path, ca, [hub.port], cloud.port, now=lambda: datetime.now(UTC) + jump)
            now = datetime.now(UTC)
            edge.enrolled(start=now - timedelta(days=800), end=now + timedelta(days=200))
            old = serial(edge)
            async with edge.agent():
                await until(lambda: hub.keepalives)
                for jump in (timedelta(days=-20000), timedelta(days=-1), timedelta(days=20000), timedelta(0)):
                    many = len(hub.keepalives)
                    await until(lambda many=many: len(hub.keepalives) > many + 4)
                    assert (len(hub.connections), serial(edge)) == (1, old), jump
                jump = timedelta(days=150)
                await until(lambda: serial(edge) != old)
                await until(lambda: len(hub.connections) == 2)

    with cloud_of(ca, tmp_path) as cloud:
        asyncio.run(main(cloud))


def test_a_name_that_does_not_resolve_is_said_and_tried_again_and_a_connection_lives_without_names(
    ca, hub, tmp_path, caplog
):
    async def main() -> None:
        edge = Edge(tmp_path, ca, [1]).enrolled()
        edge.settings = replace(edge.settings, hub=(Endpoint(host="hub.invalid", port=1),))
        async with edge.agent():
            await until(lambda: caplog.text.count("cannot reach hub.invalid:1") > 2)

    asyncio.run(main())


def test_an_agent_is_small(ca, hub, tmp_path):
    """At most 40 MB of resident memory on WebSocket, everything counted, with code that is shared."""

    async def main() -> None:
        async with hub.up(hub.context(tmp_path, "127.0.0.1")):
            edge = Edge(tmp_path, ca, [hub.port]).enrolled()
            with edge.files.locked():
                edge.files.write_settings(edge.settings)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "edgeward", "agent", "--dir", str(edge.files.directory),
                stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            try:
                await until(lambda: hub.keepalives)
                rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
                sizes = {line.split()[0]: int(line.split()[1]) for line in rollup[1:]}
            finally:
                process.terminate()
                assert await process.wait() == 0
            assert sizes["Rss:"] < 40_000, sizes

    asyncio.run(main())


def test_the_directory_of_another_agent_is_left_alone(ca, tmp_path):
    edge = Edge(tmp_path, ca, [1]).enrolled()
    with edge.files.locked():
        edge.files.write_settings(edge.settings)
        said = subprocess.run(
            [sys.executable, "-m", "edgeward", "agent", "--dir", str(edge.files.directory)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert said.returncode == 69
    assert said.stderr == (
        f"error: another edgeward join or agent is working on {edge.files.directory}\n"
        f"hint: see what runs there: edgeward agent status --dir {edge.files.directory}; stop it, or take another directory with --dir\n"
    )
    assert Certificates(edge.files.directory).pair()
