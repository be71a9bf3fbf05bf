"""Which replica has a sealed key on trial: made, and not yet spoken of by a row."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column."""
    op.add_column("sealed_key", sa.Column("trial", sa.Text))
