"""Private files: whole or not at all, owner alone, and nothing in the way is written through."""

import os
import stat
import threading
from pathlib import Path

import pytest

from edgeward import files
from edgeward.errors import AlreadyExists, InsecureDirectory, InsecureFile, NotFound, TooLarge


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_t47_files_are_0600_and_directories_0700_under_any_umask(tmp_path, umask):
    files.make_private_directory(tmp_path / "a" / "b")
    files.write_private(tmp_path / "a" / "b" / "key", b"secret")
    files.create_private(tmp_path / "a" / "b" / "once", b"secret")
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700
    assert mode(tmp_path / "a" / "b" / "key") == mode(tmp_path / "a" / "b" / "once") == 0o600
    assert files.read_private(tmp_path / "a" / "b" / "key") == b"secret"


def place(kind: str, path: Path, elsewhere: Path) -> None:
    elsewhere.write_bytes(b"theirs")
    if kind == "symlink":
        path.symlink_to(elsewhere)
    elif kind == "dangling symlink":
        path.symlink_to(elsewhere.with_name("nowhere"))
    elif kind == "hard link":
        os.link(elsewhere, path)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()


KINDS = ("symlink", "dangling symlink", "hard link", "fifo", "directory")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("write", [files.write_private, files.write_new, files.create_private])
def test_t47_what_stands_in_the_way_is_refused_and_not_written_through(tmp_path, kind, write):
    place(kind, tmp_path / "key", tmp_path / "elsewhere")
    before = (tmp_path / "key").lstat()
    with pytest.raises((InsecureFile, AlreadyExists)):
        write(tmp_path / "key", b"secret")
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"
    assert not (tmp_path / "nowhere").exists()
    assert (tmp_path / "key").lstat().st_ino == before.st_ino
    assert {p.name for p in tmp_path.iterdir()} == {"key", "elsewhere"}, "no temporary file stays"


@pytest.mark.parametrize("kind", KINDS)
def test_t47_what_stands_at_the_temporary_name_is_refused(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(files.os, "urandom", bytes)
    place(kind, tmp_path / ".key.0000000000000000.part", tmp_path / "elsewhere")
    with pytest.raises(InsecureFile):
        files.write_private(tmp_path / "key", b"secret")
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_what_is_not_a_plain_file_is_not_read(tmp_path, kind):
    place(kind, tmp_path / "key", tmp_path / "elsewhere")
    with pytest.raises(InsecureFile):
        files.read_private(tmp_path / "key")


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o602, 0o644])
def test_t47_a_secret_that_others_can_read_is_not_read(tmp_path, bits):
    files.write_private(tmp_path / "key", b"secret")
    (tmp_path / "key").chmod(bits)
    with pytest.raises(InsecureFile, match="others may") as caught:
        files.read_private(tmp_path / "key")
    assert "chmod 600" in caught.value.hint


def test_a_plain_file_may_be_readable_but_not_writable_by_others(tmp_path):
    files.write_private(tmp_path / "ca", b"public")
    (tmp_path / "ca").chmod(0o644)
    assert files.read_plain(tmp_path / "ca") == b"public"
    (tmp_path / "ca").chmod(0o664)
    with pytest.raises(InsecureFile, match="others may write"):
        files.read_plain(tmp_path / "ca")


def test_reading_is_bounded_and_says_what_is_missing(tmp_path):
    files.write_private(tmp_path / "key", b"x" * 11)
    assert files.read_private(tmp_path / "key", limit=11) == b"x" * 11
    with pytest.raises(TooLarge):
        files.read_private(tmp_path / "key", limit=10)
    with pytest.raises(NotFound):
        files.read_private(tmp_path / "none")


def test_t47_a_directory_that_others_may_change_is_refused(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    for name in ("shared", "link", "file"):
        with pytest.raises(InsecureDirectory):
            files.make_private_directory(tmp_path / name)


def test_of_many_creators_at_once_exactly_one_succeeds(tmp_path):
    won, lost, start = [], [], threading.Barrier(8)

    def create(number: int) -> None:
        start.wait()
        try:
            files.create_private(tmp_path / "ca.key", b"%d" % number)
            won.append(number)
        except AlreadyExists:
            lost.append(number)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == 7
    assert files.read_private(tmp_path / "ca.key") == b"%d" % won[0]
    assert [p.name for p in tmp_path.iterdir()] == ["ca.key"]


class Crash(BaseException):
    """Stands for the death of the process: nothing tidies up behind it, except `finally` and `with`."""


def test_a_failure_before_any_step_leaves_the_old_file_or_the_new_one(tmp_path):
    steps = []
    files.write_private(tmp_path / "count", b"", step=steps.append)
    assert steps == ["open", "write", "fsync", "rename", "fsync directory"]
    for dies_at in range(len(steps)):
        files.write_private(tmp_path / "key", b"old")
        left = iter(range(dies_at + 1))

        def step(_name, left=left, dies_at=dies_at):
            if next(left) == dies_at:
                raise Crash

        with pytest.raises(Crash):
            files.write_private(tmp_path / "key", b"new", step=step)
        assert files.read_private(tmp_path / "key") == (b"new" if steps[dies_at] == "fsync directory" else b"old")


def test_sweep_removes_what_a_crash_left_and_nothing_else(tmp_path):
    for name in (".key.0123456789abcdef.part", ".key.part", "key.0123456789abcdef.part", "key"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".dir.0123456789abcdef.part").mkdir()
    files.sweep(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        ".key.part",
        "key.0123456789abcdef.part",
        "key",
        ".dir.0123456789abcdef.part",
    }


def test_a_lock_is_one_process_s_and_says_whose(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = files.lock(path, lambda pid: NotFound(what="nobody", name=pid))
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(AlreadyExists, match=str(os.getpid())):
        files.lock(path, lambda pid: AlreadyExists(what="holder", name=pid))
    os.close(first)
    os.close(files.lock(path, lambda pid: NotFound(what="nobody", name=pid)))


def test_what_is_in_the_place_of_a_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "directory").mkdir()
    for name in ("link", "directory"):
        with pytest.raises(InsecureFile, match=name):
            files.lock(tmp_path / name, lambda pid: NotFound(what="nobody", name=pid))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(("exact", "mode"), [(True, 0o644), (False, 0o600)])
def test_what_somebody_asked_for_has_its_mode_whatever_the_umask_or_less_the_umask(
    tmp_path: Path, exact: bool, mode: int
) -> None:
    before = os.umask(0o077)
    try:
        files.write_output(tmp_path / "out", b"first", mode=0o644, exact=exact)
        with pytest.raises(AlreadyExists):
            files.write_output(tmp_path / "out", b"second", mode=0o644, replace=False)
        files.write_output(tmp_path / "out", b"third", mode=0o644, exact=exact, sync=False)
    finally:
        os.umask(before)
    assert (tmp_path / "out").read_bytes() == b"third"
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == mode
    assert [one.name for one in tmp_path.iterdir()] == ["out"], "no temporary file stays"
