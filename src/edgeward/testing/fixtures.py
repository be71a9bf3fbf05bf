"""The pytest fixture: `from edgeward.testing.fixtures import authority` in a `conftest.py` or a test module."""

import pytest

from edgeward import testing


@pytest.fixture(scope="session")
def authority() -> testing.Authority:
    """A throw-away CA, one for the whole session."""
    return testing.authority()
