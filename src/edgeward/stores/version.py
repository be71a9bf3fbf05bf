"""Which version of the schema is the newest. What brings a database there takes long to load, and a database needs it once."""

from pathlib import Path

_VERSIONS = Path(__file__).parent / "migrations" / "versions"

PRESENT = "SELECT version_num FROM alembic_version"


def newest() -> str:
    """The version of the last migration."""
    return max(file.name[1:5] for file in _VERSIONS.glob("v[0-9]*.py"))
