"""Several replicas on one database: who is alive, who holds which session and which planned row, and sealed keys."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables and columns of replicas."""
    op.create_table(
        "replica", sa.Column("id", sa.Text, primary_key=True), sa.Column("seen_at", sa.BigInteger, nullable=False)
    )
    op.create_table(
        "sealed_key", sa.Column("name", sa.Text, primary_key=True), sa.Column("sealed", sa.LargeBinary, nullable=False)
    )
    op.add_column("device", sa.Column("replica", sa.Text))
    op.add_column("device", sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("certificate", sa.Column("replica", sa.Text))
