"""The configuration: defaults, changes, and a place and a reason for every mistake."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from edgeward import config
from edgeward.errors import UsageError
from edgeward.pki.profile import default_profiles


def load(tmp_path: Path, text: str) -> config.Config:
    path = tmp_path / config.FILE
    path.write_text(text)
    return config.load(path)


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    assert config.load(tmp_path / "none.toml") == config.Config()
    assert load(tmp_path, "") == config.Config()
    assert config.Config().resolved_profiles() == default_profiles()


def test_what_the_reference_shows_is_the_default(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "reference" / "configuration.md").read_text()
    shown = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    read = load(tmp_path, shown[1])
    assert read.advertise
    default = config.Config()
    assert (read.authority, read.listen, read.enrolment, read.limits, read.hub, read.delivery) == (
        *(default.authority, default.listen, default.enrolment, default.limits, default.hub, default.delivery),
    )
    assert read.resolved_profiles() == default.resolved_profiles()


def test_a_profile_is_changed_where_the_file_says_so(tmp_path: Path) -> None:
    changed = load(
        tmp_path,
        """
        [authority]
        lifetime_days = 100
        [profiles.ca]
        key_algorithms = ["ec-p384"]
        [profiles.device]
        lifetime_minutes = 90
        backdate_minutes = 0
        uri = ""
        """,
    ).resolved_profiles()
    assert changed["ca"].lifetime == timedelta(days=100)
    assert changed["ca"].key_algorithms == {"ec-p384"}
    assert (changed["ca"].ca, changed["ca"].path_length) == (True, 0)
    assert (changed["device"].lifetime, changed["device"].backdate) == (timedelta(minutes=90), timedelta(0))
    assert changed["device"].names("edge-1", "x.example") == ()
    assert changed["server"] == default_profiles()["server"]


def test_the_profile_of_the_ca_has_the_last_word_on_its_lifetime(tmp_path: Path) -> None:
    text = "[authority]\nlifetime_days = 100\n[profiles.ca]\nlifetime_days = 50\n"
    assert load(tmp_path, text).resolved_profiles()["ca"].lifetime == timedelta(days=50)


MISTAKES = {
    "advertize = []": "advertize",
    "advertise = 1": "advertise",
    "[limits]\nhandshake = 1": "handshake",
    "[limits]\nhandshakes = 0": "handshakes",
    "[limits]\nhandshakes = -1": "handshakes",
    "[limits]\nhandshakes = true": "handshakes",
    '[limits]\nhandshakes = "many"': "handshakes",
    "[limits]\nrequests_per_second = 0": "requests_per_second",
    "[limits]\nidle_seconds = nan": "idle_seconds",
    "[limits]\nidle_seconds = inf": "idle_seconds",
    "[limits]\nbody_seconds = -1": "body_seconds",
    "[listen]\nhttps_port = 65536": "https_port",
    "[listen]\nhub_port = -1": "hub_port",
    "[enrolment]\ncsr_limit = 0": "csr_limit",
    "[enrolment]\nrenewal_grace_hours = -1": "renewal_grace_hours",
    "[enrolment]\nrenewal_grace_hours = inf": "renewal_grace_hours",
    "[hub]\nmessages_per_second = 0": "messages_per_second",
    "[authority]\nlifetime_days = 0": "lifetime_days",
    "[authority]\nlifetime_days = 99999999999": "lifetime_days",
    '[authority]\ntrust_domain = "a b"': "trust_domain",
    '[authority]\ntrust_domain = ""': "trust_domain",
    "[profiles.device]\nlifetime_days = 1e300": "lifetime_days",
    "[profiles.device]\nlifetime_days = 0": "lifetime",
    "[profiles.device]\nlifetime_days = 99999": "lifetime",
    "[profiles.device]\nbackdate_minutes = 2000": "backdate",
    '[profiles.device]\nkey_algorithms = ["dsa"]': "dsa",
    '[profiles.device]\ncommon_name = ""': "common_name",
    '[profiles.device]\ncommon_name = "{nobody}"': "nobody",
    '[profiles.device]\npurposes = ["serverAuth"]': "purposes",
    "[profiles.devise]": "devise",
    "profiles = 1": "profiles",
    "[authority": "end of document",
    "a = 1\na = 2": "overwrite",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=MISTAKES[text]) as caught:
        load(tmp_path, text).resolved_profiles()
    assert caught.value.exit_status == 2


def test_a_file_that_is_none_is_said_so(tmp_path: Path) -> None:
    (tmp_path / config.FILE).mkdir()
    with pytest.raises(UsageError, match="cannot read"):
        config.load(tmp_path / config.FILE)
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"x\.toml"):
        config.load(tmp_path / "x.toml")
