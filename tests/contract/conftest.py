"""The fixture that runs a test against every adapter."""

from pathlib import Path

import pytest

from tests.support.places import PLACES, Place


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return PLACES[request.param](tmp_path)
