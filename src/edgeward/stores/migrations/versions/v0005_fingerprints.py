"""A fingerprint is in its index from the moment it exists: a planned certificate has none, and costs the index nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the index of fingerprints one of those that are there."""
    op.drop_index("certificate_fingerprint", "certificate")
    op.create_index(
        "certificate_fingerprint",
        "certificate",
        ["fingerprint"],
        unique=True,
        sqlite_where=sa.text("fingerprint IS NOT NULL"),
        postgresql_where=sa.text("fingerprint IS NOT NULL"),
    )
