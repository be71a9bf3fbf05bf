"""Where the passphrase comes from: four sources in their order, each with its mistakes."""

import stat
from pathlib import Path

import pytest

from edgeward.errors import EdgewardError, InsecureFile, NotFound, PassphraseGone, UsageError
from edgeward.keys import passphrase


def private(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return path


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with a home and nothing else."""
    (tmp_path / "home").mkdir(mode=0o700)
    return {"HOME": str(tmp_path / "home")}


def test_the_first_source_that_is_set_is_used(tmp_path: Path, home: dict[str, str]) -> None:
    (tmp_path / "credentials").mkdir()
    private(tmp_path / "credentials" / "edgeward-passphrase", "from systemd")
    environment = home | {
        "EDGEWARD_PASSPHRASE_FILE": str(private(tmp_path / "file", "from the file\n")),
        "EDGEWARD_PASSPHRASE": "from the environment",
        "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"),
    }
    found = [passphrase.find(tmp_path / "keys", environment, private(tmp_path / "named", "the named one\r\n")).reveal()]
    for name in ("EDGEWARD_PASSPHRASE_FILE", "EDGEWARD_PASSPHRASE", "CREDENTIALS_DIRECTORY"):
        found.append(passphrase.find(tmp_path / "keys", environment).reveal())
        del environment[name]
    assert found == ["the named one", "from the file", "from the environment", "from systemd"]
    assert not (tmp_path / "keys").exists(), "a passphrase that was given leaves no trace"
    assert len(passphrase.find(tmp_path / "keys", environment).reveal()) > 40


def test_an_empty_variable_is_one_that_is_not_set(tmp_path: Path, home: dict[str, str]) -> None:
    empty = {"EDGEWARD_PASSPHRASE_FILE": "", "EDGEWARD_PASSPHRASE": "", "CREDENTIALS_DIRECTORY": ""}
    first = passphrase.find(tmp_path / "keys", home | empty)
    assert passphrase.find(tmp_path / "keys", home).reveal() == first.reveal()


def test_a_credentials_directory_without_ours_is_passed_over(tmp_path: Path, home: dict[str, str]) -> None:
    (tmp_path / "credentials").mkdir()
    assert passphrase.find(tmp_path / "keys", home | {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})


@pytest.mark.parametrize("xdg", [False, True])
def test_a_generated_one_is_kept_outside_the_key_directory_for_its_owner_alone(
    tmp_path: Path, home: dict[str, str], xdg: bool
) -> None:
    environment = home | ({"XDG_CONFIG_HOME": str(tmp_path / "xdg")} if xdg else {})
    base = tmp_path / "xdg" if xdg else tmp_path / "home" / ".config"
    word = passphrase.find(tmp_path / "data" / "keys", environment)
    (file,) = (base / "edgeward" / "passphrases").iterdir()
    assert file.read_text().strip() == word.reveal()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    for path in (tmp_path / "data").rglob("*"):
        assert path.is_dir() or word.reveal() not in path.read_text()
    assert passphrase.find(tmp_path / "data" / "keys", environment).reveal() == word.reveal()
    assert passphrase.find(tmp_path / "other" / "keys", environment).reveal() != word.reveal()


def test_a_generated_one_that_is_gone_is_said_so_and_not_made_again(tmp_path: Path, home: dict[str, str]) -> None:
    passphrase.find(tmp_path / "keys", home)
    (file,) = (tmp_path / "home" / ".config" / "edgeward" / "passphrases").iterdir()
    file.unlink()
    assert passphrase.place(tmp_path / "keys", home) == file
    with pytest.raises(PassphraseGone, match="passphrases") as gone:
        passphrase.find(tmp_path / "keys", home)
    assert "--passphrase-file" in gone.value.hint
    private(tmp_path / "keys" / "passphrase-id", "../../etc/passwd")
    with pytest.raises(UsageError, match="passphrase-id"):
        passphrase.find(tmp_path / "keys", home)


@pytest.mark.parametrize("text", ["", "short", "1234567\n", "x" * 5000, b"\xff\xfe" * 20])
def test_one_that_is_too_short_too_long_or_no_text_is_refused_without_showing_it(
    tmp_path: Path, home: dict[str, str], text: str | bytes
) -> None:
    with pytest.raises(UsageError, match="between 8 and 4096") as caught:
        passphrase.find(tmp_path / "keys", home, private(tmp_path / "named", text))
    assert "1234567" not in str(caught.value)
    (tmp_path / "credentials").mkdir()
    private(tmp_path / "credentials" / "edgeward-passphrase", text)
    with pytest.raises(UsageError, match="between 8 and 4096"):
        passphrase.find(tmp_path / "keys", home | {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})


def test_one_of_eight_characters_will_do(tmp_path: Path, home: dict[str, str]) -> None:
    assert passphrase.find(tmp_path / "keys", home | {"EDGEWARD_PASSPHRASE": "pässword"}).reveal() == "pässword"


def test_a_named_file_that_is_missing_or_open_to_others_is_refused(tmp_path: Path, home: dict[str, str]) -> None:
    errors: list[tuple[Path, type[EdgewardError]]] = [(tmp_path / "missing", NotFound), (tmp_path, InsecureFile)]
    shown = private(tmp_path / "shown", "a passphrase")
    shown.chmod(0o644)
    for path, kind in [*errors, (shown, InsecureFile)]:
        with pytest.raises(kind, match=str(path)):
            passphrase.find(tmp_path / "keys", home, path)
    (tmp_path / "credentials" / "edgeward-passphrase").mkdir(parents=True)
    with pytest.raises(EdgewardError, match="credential"):
        passphrase.find(tmp_path / "keys", home | {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})
