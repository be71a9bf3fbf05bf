"""Starting: two at once, hostile files where ours should be, every umask, keys that others may read."""

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.support.server import Server, client_context, private_directory, server, until, without_traceback
from tests.support.world import csr

RACES = int(os.environ.get("EDGEWARD_RACES", "2"))


@pytest.fixture
def place() -> Iterator[Path]:
    with private_directory() as directory:
        yield directory


def start_twice(directory: Path) -> None:
    """Two on one empty directory: one serves, the other says so and goes; there is one CA."""
    twins = [Server(directory), Server(directory)]
    for number, one in enumerate(twins):
        one.log_path = directory / f"twin-{number}.log"
    try:
        for one in twins:
            one.launch()
        processes = [one.process for one in twins if one.process is not None]
        until(lambda: any(process.poll() is not None for process in processes), "the end of one", 30)
        loser = next(one for one in twins if one.process is not None and one.process.poll() is not None)
        winner = next(one for one in twins if one is not loser)
        assert loser.process is not None and loser.process.returncode == 69, loser.log
        assert "error: another edgeward is running on" in loser.log and "hint: talk to it instead" in loser.log
        winner.await_serving()
        assert [one["action"] for one in winner.audit()].count("ca.created") == 1
        assert winner.enrol("twin-1", winner.token("twin-1")).status == 200
        assert without_traceback(winner.log) and without_traceback(loser.log)
    finally:
        for one in twins:
            one.kill()


@pytest.mark.timeout(60 + 30 * RACES)
def test_t24_two_at_once_on_an_empty_directory_end_with_one_authority() -> None:
    for _ in range(RACES):
        with private_directory() as directory:
            start_twice(directory)


def test_a_start_after_a_start_that_was_killed_early(place: Path) -> None:
    """Killed at moments across the first start, the next one makes or finds one authority."""
    one = Server(place)
    for pause in (0.3, 0.5, 0.7, 0.9, 1.2):
        one.launch()
        time.sleep(pause)  # a moment, not a condition: what is on the disk then is what is tested
        one.kill()
    try:
        one.start()
        assert [record["action"] for record in one.audit()].count("ca.created") == 1
        assert one.audit_is_whole()
        assert one.enrol("early-1", one.token("early-1")).status == 200
    finally:
        one.kill()


# ------------------------------------------------------------------------------------------------------------- T-47


def private(directory: Path) -> list[str]:
    """What in a directory others may look into."""
    found = []
    for path in [directory, *directory.rglob("*")]:
        mode = path.lstat().st_mode
        if stat.S_IMODE(mode) & 0o077 and not stat.S_ISLNK(mode):
            found.append(f"{path} {stat.filemode(mode)}")
    return found


@pytest.mark.parametrize("umask", [0o000, 0o077], ids=oct)
def test_t47_every_file_is_ours_alone_whatever_the_umask(place: Path, umask: int) -> None:
    one = Server(place)
    del one.home.environment["EDGEWARD_PASSPHRASE"]  # so that one is generated, too
    old = os.umask(umask)
    try:
        one.start()
        token = one.token("modes-1")
    finally:
        os.umask(old)
    try:
        (place / "token").write_text(token)
        said = one.home.run(
            "join", f"https://127.0.0.1:{one.https}", "--token", f"@{place / 'token'}", "--node", "modes-1",
            "--dir", place / "agent", umask=umask,
        )  # fmt: skip
        assert said.status == 0, said
        exported = place / "exported.pem"
        (place / "password").write_text("correct horse")
        said = one.run(
            "ca", "export", "--with-key", "--password", f"@{place / 'password'}", "--out", exported, umask=umask
        )
        assert said.status == 0, said
        keys = [*place.glob("agent/**/*.key"), exported, *one.data.rglob("*.key"), one.data / "admin.sock"]
        assert len(keys) >= 5
        assert [path for path in keys if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
        assert private(one.data) == []
        assert private(place / "home" / "config" / "edgeward") == []
    finally:
        one.kill()


def said_on_start(one: Server) -> tuple[int, str]:
    """Status and words of a start that should fail."""
    one.launch()
    assert one.process is not None
    try:
        status = one.process.wait(30)
    finally:
        one.kill()
    assert without_traceback(one.log), one.log
    return status, one.log


@pytest.fixture
def stopped(place: Path) -> Server:
    """An authority that ran and does not."""
    one = Server(place)
    one.start()
    one.stop()
    one.log_path.unlink()
    return one


def test_t47_a_key_that_others_may_read_is_refused(stopped: Server) -> None:
    for mode in (0o640, 0o604, 0o660, 0o666):
        for key in (stopped.data / "keys").glob("*.key"):
            key.chmod(mode)
        status, words = said_on_start(stopped)
        assert status == 65 and "others may" in words and "hint: make it yours alone: chmod 600" in words, oct(mode)


def test_t47_key_files_that_are_no_plain_files_are_refused(stopped: Server) -> None:
    keys = sorted((stopped.data / "keys").glob("*.key"))
    aside = [key.rename(key.with_suffix(".aside")) for key in keys]
    for key, other in zip(keys, aside, strict=True):
        key.symlink_to(other)
    status, words = said_on_start(stopped)
    assert status == 65 and "symbolic link" in words
    for key in keys:
        key.unlink()
        os.mkfifo(key, 0o600)
    status, words = said_on_start(stopped)
    assert status == 65 and "not a plain file" in words


def test_t47_hostile_things_in_place_of_our_files(place: Path) -> None:
    """Links and pipes placed before the first start, at every name that a stranger can foresee."""
    elsewhere = place / "elsewhere"
    for name in ("edgeward.db", "lock"):
        with contextlib.ExitStack() as stack:
            directory = stack.enter_context(private_directory())
            one = Server(directory)
            one.data.mkdir(mode=0o700)
            (one.data / name).symlink_to(elsewhere)
            status, words = said_on_start(one)
            assert status in (65, 69) and "error:" in words and not elsewhere.exists(), (name, status, words)
    with private_directory() as directory:
        one = Server(directory)
        one.data.mkdir(mode=0o700)
        (one.data / "keys").symlink_to(elsewhere)
        status, words = said_on_start(one)
        assert status == 65 and not elsewhere.exists()
    with private_directory() as directory:
        one = Server(directory)
        one.data.mkdir(mode=0o777)
        one.data.chmod(0o777)
        status, words = said_on_start(one)
        assert status == 65 and "chmod 700" in words
    with private_directory() as directory:
        one = Server(directory)
        one.data.symlink_to(elsewhere)
        status, words = said_on_start(one)
        assert status == 65, words


def test_a_key_is_exported_under_a_password_of_any_octets(place: Path) -> None:
    with server() as one:
        password = b"\xfc is no UTF-8"
        (place / "password").write_bytes(password + b"\n")
        said = one.run("ca", "export", "--with-key", "--password", f"@{place / 'password'}", "--out", place / "ca.pem")
        assert said.status == 0, said
        found = re.search(b"-----BEGIN ENC.*", (place / "ca.pem").read_bytes(), re.DOTALL)
        assert found and serialization.load_pem_private_key(found[0], password)


def test_t47_an_export_replaces_nothing(place: Path) -> None:
    with server() as one:
        (place / "password").write_text("correct horse")
        target = place / "secret.pem"
        for make in (
            lambda: target.symlink_to(place / "x"),
            lambda: os.mkfifo(target),
            lambda: target.write_text("mine"),
        ):
            make()
            said = one.run("ca", "export", "--with-key", "--password", f"@{place / 'password'}", "--out", target)
            assert said.status in (1, 65), said
            assert not (place / "x").exists()
            assert target.is_fifo() or target.is_symlink() or target.read_text() == "mine"
            target.unlink()


def test_the_passphrase_decides(stopped: Server) -> None:
    good = stopped.home.environment["EDGEWARD_PASSPHRASE"]
    stopped.home.environment["EDGEWARD_PASSPHRASE"] = "another passphrase"
    status, words = said_on_start(stopped)
    assert status == 65 and "password" in words and "another passphrase" not in words
    stopped.home.environment["EDGEWARD_PASSPHRASE"] = "short"
    status, words = said_on_start(stopped)
    assert status == 2 and "passphrase" in words
    del stopped.home.environment["EDGEWARD_PASSPHRASE"]
    file = stopped.directory / "passphrase"
    file.write_text(good + "\n")
    file.chmod(0o644)
    stopped.options = ("--passphrase-file", str(file))
    status, words = said_on_start(stopped)
    assert status == 65 and "chmod 600" in words
    file.chmod(0o600)
    stopped.start()
    stopped.kill()


def test_a_broken_configuration_is_said(place: Path) -> None:
    for text, words in (
        ("[limits]\nhandshake = 1\n", "handshake"),
        ("[[[", "edgeward.toml"),
        ("[profiles.unknown]\n", "profiles"),
        ("[profiles.device]\nlifetime_minutes = 0.1\n", "lifetime"),
        ("advertise = ['not a name']\n", "not a name"),
    ):
        with private_directory() as directory:
            status, said = said_on_start(Server(directory, configuration=text))
            assert status in (2, 65) and words in said and "error:" in said, (text, status, said)


# --------------------------------------------------------------------------------------------------- the end of a run


def test_a_stop_under_load_ends_cleanly() -> None:
    """Every answer that was begun is given or not, the exit is 0, and the log has no traceback."""
    with server() as one:
        context, token = client_context(one.ca), one.token(pattern="*", uses=100_000)
        received: list[bytes] = []
        stop = False

        def enrol(client: int) -> None:
            count = 0
            while not stop:
                count += 1
                with contextlib.suppress(OSError):
                    answer = one.enrol(f"stop-{client}-{count}", token, csr(f"stop-{client}-{count}"), context=context)
                    assert answer.status in (0, 200, 503), answer
                    if answer.status == 200:
                        received.append(answer.body)

        with ThreadPoolExecutor(6) as pool:
            clients = [pool.submit(enrol, client) for client in range(6)]
            try:
                until(lambda: len(received) > 30, "load")
                began = time.monotonic()
                assert one.stop() == 0
                assert time.monotonic() - began < 10
            finally:
                stop = True
            for client in clients:
                client.result(30)
        assert without_traceback(one.log), one.log[-3000:]
        one.start()
        assert one.issued() >= len(received)
        assert one.audit_is_whole()
