"""The files of an edge: a pair is one thing, old or new, whatever happens; and KubeEdge can use it."""

import os
import random
import signal
import stat
import subprocess
import time
from hashlib import sha256

import pytest
from cryptography import x509
from tests.support.fake_cloud import FakeCA

from edgeward.agent import enrol
from edgeward.agent.certificates import Certificates, Settings, certificate_pem, key_pem
from edgeward.agent.endpoint import Endpoint
from edgeward.errors import (
    BadName,
    EdgewardError,
    InsecureDirectory,
    InsecureFile,
    NotFound,
    StoreUnavailable,
    Unavailable,
    Unreadable,
    UsageError,
)

CA = FakeCA()
PROOF = b"0123456789abcdef.-.c2VjcmV0"
PENDING = f"pending-{sha256(PROOF).hexdigest()[:16]}.key"
PAIRS = []
for _ in range(4):
    _key = enrol.new_key()
    PAIRS.append((CA.device(_key.public_key(), "edge-1"), _key))
SERIALS = [x509.load_der_x509_certificate(der).serial_number for der, _ in PAIRS]


@pytest.fixture
def edge(tmp_path):
    files = Certificates(tmp_path / "edge")
    with files.locked(make=True):
        files.write_ca(CA.der)
        yield files


def serial(files: Certificates) -> int:
    """The serial of the current pair, which is checked to be one."""
    return files.pair().certificate.serial_number


def test_the_files_have_kubeedges_names_and_formats_and_openssl_agrees_that_they_belong_together(edge):
    edge.swap(*PAIRS[0])
    for file in ("ca/rootCA.crt", "certs/server.crt", "certs/server.key"):
        assert stat.S_IMODE((edge.directory / file).lstat().st_mode) == 0o600
    assert (edge.directory / "certs/server.key").read_bytes().startswith(b"-----BEGIN EC PRIVATE KEY-----\n")
    ours = [(edge.directory / "certs" / f).read_bytes() for f in ("server.crt", "server.key")]
    assert [octets.count(b"-----BEGIN") for octets in ours] == [1, 1]
    of = ("x509", "-pubkey", "-noout", "-in", "certs/server.crt"), ("pkey", "-pubout", "-in", "certs/server.key")
    shown = [subprocess.run(["openssl", *a], cwd=edge.directory, capture_output=True, check=True).stdout for a in of]
    assert shown[0] == shown[1]
    command = ["openssl", "verify", "-CAfile", "ca/rootCA.crt", "certs/server.crt"]
    assert subprocess.run(command, cwd=edge.directory, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
def test_t47_modes_do_not_depend_on_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        files = Certificates(tmp_path / "a" / "edge")
        with files.locked(make=True):
            files.write_ca(CA.der)
            files.write_settings(settings())
            files.keep_pending_key(PROOF, PAIRS[0][1])
            files.swap(*PAIRS[0])
            files.keep_pending_key(PROOF, PAIRS[1][1])
    finally:
        os.umask(before)
    for path in (tmp_path / "a", *(tmp_path / "a").rglob("*")):
        expected = {stat.S_IFDIR: 0o700, stat.S_IFREG: 0o600}.get(stat.S_IFMT(path.lstat().st_mode))
        assert expected is None or stat.S_IMODE(path.lstat().st_mode) == expected, path


def test_a_swap_replaces_the_pair_and_forgets_the_old_one_and_the_pending_key(edge):
    assert edge.pending_key(PROOF) is None
    for number, pair in enumerate(PAIRS, 1):
        edge.keep_pending_key(PROOF, pair[1])
        assert edge.pending_key(PROOF).private_numbers() == pair[1].private_numbers()
        edge.swap(*pair)
        assert serial(edge) == SERIALS[number - 1]
        assert [p.name for p in (edge.directory / "certs.d").iterdir()] == [f"{number:04d}"]
        assert edge.pending_key(PROOF) is None
    assert {p.name for p in edge.directory.iterdir()} == {"ca", "certs", "certs.d", "lock"}


def place(kind: str, path, elsewhere) -> None:
    elsewhere.mkdir()
    match kind:
        case "symlink":
            path.symlink_to(elsewhere)
        case "symlink with dots":
            path.symlink_to("certs.d/../../elsewhere")
        case "directory":
            path.mkdir()
        case "file":
            path.write_bytes(b"")
        case "fifo":
            os.mkfifo(path)


@pytest.mark.parametrize("kind", ["symlink", "symlink with dots", "directory", "file", "fifo"])
def test_t47_a_certs_that_is_not_ours_is_neither_followed_nor_replaced(edge, kind, tmp_path):
    place(kind, edge.directory / "certs", tmp_path / "elsewhere")
    before = (edge.directory / "certs").lstat().st_ino
    for attempt in (lambda: edge.swap(*PAIRS[0]), edge.pair):
        with pytest.raises(InsecureFile):
            attempt()
    assert (edge.directory / "certs").lstat().st_ino == before
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("kind", ["symlink", "file", "fifo"])
@pytest.mark.parametrize("name", ["certs.d", "certs.d/0002", "ca", PENDING, "agent.toml", "lock"])
def test_t47_nothing_is_written_through_what_somebody_put_in_the_way(tmp_path, kind, name):
    files = Certificates(tmp_path / "edge")
    with files.locked(make=True):
        if name == "certs.d/0002":
            files.swap(*PAIRS[0])
    (files.directory / name).unlink(missing_ok=True)
    place(kind, files.directory / name, tmp_path / "elsewhere")
    replaceable = (kind == "file" and "." in name.removeprefix("certs.d")) or (kind, name) == ("file", "lock")
    try:
        with files.locked():
            files.keep_pending_key(PROOF, PAIRS[1][1])
            files.write_ca(CA.der)
            files.write_settings(settings())
            files.swap(*PAIRS[1])
    except (InsecureFile, StoreUnavailable):
        pass
    else:
        assert replaceable
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_t47_a_key_that_others_can_read_is_not_used(edge):
    edge.swap(*PAIRS[0])
    (edge.directory / "certs/server.key").chmod(0o640)
    with pytest.raises(InsecureFile, match="others may read"):
        edge.pair()
    edge.directory.chmod(0o777)
    with pytest.raises(InsecureDirectory), Certificates(edge.directory).locked():
        pass


def test_a_pair_that_does_not_belong_together_is_said_to_be_none(edge):
    edge.swap(*PAIRS[0])
    place_ = edge.directory / "certs"
    (place_ / "server.key").write_bytes(key_pem(PAIRS[1][1]))
    with pytest.raises(Unreadable, match="does not belong"):
        edge.pair()
    for bad in (b"", b"garbage", 2 * certificate_pem(PAIRS[0][0])):
        (place_ / "server.crt").write_bytes(bad)
        with pytest.raises(Unreadable):
            edge.pair()


def test_only_one_process_works_on_a_directory(edge):
    with pytest.raises(Unavailable, match="another edgeward"), Certificates(edge.directory).locked():
        pass


def test_before_the_first_join_there_is_nothing(tmp_path):
    files = Certificates(tmp_path / "edge")
    with pytest.raises(NotFound), files.locked():
        pass
    with files.locked(make=True):
        for attempt in (files.pair, files.ca, files.settings):
            with pytest.raises(NotFound):
                attempt()


# ---------------------------------------------------------------------------------------------------------------- crashes


def steps_of_a_swap(tmp_path) -> list[str]:
    steps: list[str] = []
    files = Certificates(tmp_path / "steps", step=steps.append)
    with files.locked(make=True):
        files.swap(*PAIRS[0])
        steps.clear()
        files.swap(*PAIRS[1])
    return steps


def dies(child) -> int:
    """The signal that ended a forked process that runs `child`, or 0."""
    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_t48_a_swap_killed_before_any_of_its_steps_leaves_the_old_pair_or_the_new_one(tmp_path):
    steps = steps_of_a_swap(tmp_path)
    assert steps.count("swap") == 1
    assert len(steps) > 12
    for number, name in enumerate(steps):
        directory = tmp_path / str(number)
        with Certificates(directory).locked(make=True):
            Certificates(directory).swap(*PAIRS[0])

        def child(directory=directory, number=number) -> None:
            left = iter(range(number + 1))

            def step(_name: str) -> None:
                if next(left) == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            files = Certificates(directory, step=step)
            files.swap(*PAIRS[1])

        assert dies(child) == -signal.SIGKILL
        files = Certificates(directory)
        swapped = number > steps.index("swap")
        assert serial(files) == SERIALS[1 if swapped else 0], name
        with files.locked():
            files.swap(*PAIRS[2])
        assert serial(files) == SERIALS[2]
        assert len(list((directory / "certs.d").iterdir())) == 1
        assert {p.name for p in directory.iterdir()} == {"certs", "certs.d", "lock"}


def test_t48_a_swap_that_fails_at_any_step_before_its_rename_leaves_the_old_pair(tmp_path):
    steps = steps_of_a_swap(tmp_path)
    for number in range(steps.index("swap") + 1):
        directory = tmp_path / f"fails-{number}"
        left = iter(range(1000))

        def step(_name: str, left=left, number=number) -> None:
            if next(left) == number:
                raise OSError(28, "No space left on device")

        with Certificates(directory).locked(make=True):
            Certificates(directory).swap(*PAIRS[0])
            with pytest.raises(StoreUnavailable, match="No space left"):
                Certificates(directory, step=step).swap(*PAIRS[1])
        assert serial(Certificates(directory)) == SERIALS[0]


@pytest.mark.parametrize("moments", [100, pytest.param(500, marks=pytest.mark.slow)])
def test_t48_killed_at_random_moments_there_is_always_a_pair(tmp_path, moments):
    files = Certificates(tmp_path)
    with files.locked(make=True):
        began = time.perf_counter()
        files.swap(*PAIRS[0])
        takes = min(time.perf_counter() - began, 0.02)
    dice = random.Random(48)
    seen = set()
    for _ in range(moments):
        order = dice.sample(PAIRS, len(PAIRS))
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writer, b"!")
                while True:
                    for pair in order:
                        files.swap(*pair)
            finally:
                os._exit(0)
        os.read(reader, 1)
        os.close(reader)
        os.close(writer)
        takes *= 1 if len(seen) > 1 else 1.1  # on a busy machine it takes longer until the first swap is finished
        until = time.perf_counter() + dice.uniform(0, 2 * takes)
        while time.perf_counter() < until:  # busy: the moments are finer than a timer's
            pass
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        seen.add(serial(files))
    assert len(seen) > 1, "some swaps were finished"
    with files.locked():
        files.swap(*PAIRS[0])
    assert len(list((tmp_path / "certs.d").iterdir())) == 1


# --------------------------------------------------------------------------------------------------------------- settings


def settings(**fields) -> Settings:
    fields = {
        "node": "edge-1",
        "https": (Endpoint(host="cloud.example", port=10002),),
        "hub": (Endpoint(host="fd00::1", port=10000), Endpoint(host="10.0.0.1", port=30000)),
        **fields,
    }
    return Settings(**fields)


def test_settings_are_read_as_they_were_written(edge):
    edge.write_settings(settings())
    assert edge.settings() == settings()


@pytest.mark.parametrize(
    "fields",
    [
        {"node": "../x"},
        {"node": ""},
        {"https": ()},
        {"hub": ()},
        {"project": ""},
        {"project": "a/b"},
        {"transport": "a.b"},
    ],
)
def test_settings_that_make_no_sense_cannot_be_made(fields):
    with pytest.raises((UsageError, BadName)):
        settings(**fields)


@pytest.mark.parametrize(
    "text",
    ["", "node = 1", "node = [", 'node = "a"\nhttps = "x"\nhub = 1', 'node = "a"\nhttps = [1]\nhub = ["x"]', "\xff"],
)
def test_a_configuration_that_does_not_say_what_is_needed_is_refused_in_words(edge, text):
    (edge.directory / "agent.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(EdgewardError):
        edge.settings()


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("https://cloud.example:10002", "cloud.example", 10002),
        ("https://cloud.example/", "cloud.example", 10002),
        ("HTTPS://Cloud.Example", "cloud.example", 10002),
        ("cloud.example:1", "cloud.example", 1),
        ("10.0.0.1", "10.0.0.1", 10002),
        ("10.0.0.1:65535", "10.0.0.1", 65535),
        ("[fd00::1]:7", "fd00::1", 7),
        ("fd00::1", "fd00::1", 10002),
        ("https://[::1]", "::1", 10002),
    ],
)
def test_addresses_are_read_as_people_write_them(text, host, port):
    endpoint = Endpoint.parse(text, default_port=10002, scheme="https")
    assert (endpoint.host, endpoint.port) == (host, port)
    assert Endpoint.parse(str(endpoint), default_port=1, scheme="https") == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://a",
        "a:0",
        "a:65536",
        "a:x",
        "a:",
        "a/b",
        "https://u@a",
        "a b",
        "a\r\nHost: b",
        "[::1",
        "-a",
        "a:²",
        "https://a?x",
    ],
)
def test_addresses_that_are_none_are_refused(text):
    if text in ("a:", "[::1"):  # tolerated: the default port, a forgotten bracket
        return
    with pytest.raises(UsageError):
        Endpoint.parse(text, default_port=10002, scheme="https")
