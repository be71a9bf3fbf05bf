"""The fixture that runs a test against every adapter."""

from pathlib import Path

import pytest

from edgeward.stores import postgres
from tests.support.places import PLACES, Place


@pytest.fixture(params=[*PLACES, "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").database(migrated=True)
        return Place(lambda: postgres.open_store(url), True, sqlite=False)
    return PLACES[request.param](tmp_path)
